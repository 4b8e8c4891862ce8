/** `flowgres keys create`, `list` and `rotate`: the master keys of secrets. */
import { resolve } from 'node:path';
import { type Config, requireRoleUrl } from '../config.ts';
import { connect } from '../database/connections.ts';
import { FlowgresError } from '../errors.ts';
import { type KeySource, KeyRing, addKey, createKeyFile, removeKeys } from '../vault/keys.ts';
import { countSecrets, rotateSecrets } from '../vault/rotate.ts';
import { ProgressBars } from './progress_bar.ts';
import { table } from './terminal.ts';

/** `flowgres keys create FILE`. Does nothing when there is such a file. */
export async function createCommand(file: string): Promise<void> {
  await createKeyFile(resolve(file));
  const ring = await KeyRing.read({ file: resolve(file) });
  console.log(`${resolve(file)}: the current key is ${ring.current.id}. Keep a copy of the file apart from the copies of the database.`);
}

/** `flowgres keys list`: the keys of the ring and of the database, with the secrets that each wraps. Exits with 1 when one is missing. */
export async function listCommand(config: Config): Promise<void> {
  const ring = await KeyRing.read(requireKeys(config));
  const counts = await withDatabase(config, countSecrets);
  const ids = [...new Set([...ring.ids, ...counts.keys()])];
  const stateOf = (id: string) => (id === ring.current.id ? 'current' : ring.ids.includes(id) ? 'older' : 'missing from the key ring');
  console.log(
    table(
      ['key', 'state', 'secrets'],
      ids.map((id) => [id, stateOf(id), String(counts.get(id) ?? 0)]),
    ),
  );
  if (ids.some((id) => !ring.ids.includes(id))) process.exitCode = 1;
}

/**
 * `flowgres keys rotate`: makes a new current key, unless `keep`, wraps all secrets with it, and with `prune` removes
 * keys that wrap none any more. Interrupted, it goes on when it is run again with `keep`.
 */
export async function rotateCommand(config: Config, { keep, prune }: { keep?: boolean; prune?: boolean }): Promise<void> {
  const source = requireKeys(config);
  if (!keep) {
    if (!('file' in source)) {
      throw new FlowgresError('VAULT_KEYS_INVALID', 'The keys come from a command: a new one is made where it gets them from.', {
        hint: 'Make a new current key there, then run `flowgres keys rotate --keep`.',
      });
    }
    console.log(`  The current key is ${await addKey(source.file)} now.`);
  }
  const ring = await KeyRing.read(source);
  const bars = new ProgressBars();
  const { rewrapped, failed } = await withDatabase(config, async (client) => {
    const counts = await countSecrets(client);
    const total = [...counts].reduce((sum, [id, count]) => (id === ring.current.id ? sum : sum + count), 0);
    return rotateSecrets(client, ring, bars.step('Secrets', total));
  });
  bars.end();
  console.log(`  ${rewrapped.toLocaleString('en')} secrets are wrapped by ${ring.current.id} now.`);
  for (const { keyId, secrets, message } of failed) {
    console.log(`  ${secrets.toLocaleString('en')} secrets still need ${keyId}: ${message}`);
  }
  if (failed.length > 0) process.exitCode = 1;
  else if (prune && 'file' in source) await pruneKeys(config, source.file, ring);
  else console.log('  Older keys can be removed: flowgres keys rotate --keep --prune');
}

/** Removes keys that no secret needs. Processes that run keep them in memory until they have read the file again. */
async function pruneKeys(config: Config, file: string, ring: KeyRing): Promise<void> {
  const counts = await withDatabase(config, countSecrets);
  const unused = ring.ids.filter((id) => id !== ring.current.id && !counts.has(id));
  await removeKeys(file, unused);
  console.log(unused.length > 0 ? `  Removed: ${unused.join(', ')}.` : '  There was no older key.');
}

/** Where the keys come from. Throws when no setting says it. */
export function requireKeys(config: Config): KeySource {
  if (config.vaultKeys) return config.vaultKeys;
  throw new FlowgresError('VAULT_UNAVAILABLE', 'FLOWGRES_VAULT_KEYS is not set.', {
    hint: 'Let it name the key file, or FLOWGRES_VAULT_KEYS_COMMAND the command that prints it; `flowgres start` keeps vault-keys.json in its data folder.',
  });
}

async function withDatabase<T>(config: Config, work: (client: Awaited<ReturnType<typeof connect>>) => Promise<T>): Promise<T> {
  const client = await connect(requireRoleUrl(config, 'flowgres_maintenance'));
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
