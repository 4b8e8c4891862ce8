/**
 * Rotation of the master key: wraps the data keys of all secrets with the current master key, in batches. The secrets
 * themselves stay as they are and are not read. Can be ended at any point and run again.
 */
import type pg from 'pg';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';
import { rewrap } from './envelope.ts';
import type { KeyRing } from './keys.ts';

/** Secrets of one batch, which is one transaction. */
const BATCH = 500;

const wrapped = z.object({
  organization_id: z.string(),
  id: z.string(),
  version: z.number(),
  key_id: z.string(),
  wrapped_key: z.instanceof(Buffer),
});
type Wrapped = z.infer<typeof wrapped>;

/** Secrets that could not be wrapped anew, because of their key or because they are damaged. */
export interface FailedSecrets {
  keyId: string;
  secrets: number;
  message: string;
}

/** What a rotation has done. */
export interface Rotation {
  rewrapped: number;
  failed: FailedSecrets[];
}

/** Returns how many secrets each master key wraps. `client` logs in as flowgres_maintenance. */
export async function countSecrets(client: pg.ClientBase): Promise<Map<string, number>> {
  const { rows } = await client.query('select key_id, secrets from engine.secret_keys()');
  return new Map(
    z
      .array(z.object({ key_id: z.string(), secrets: z.number() }))
      .parse(rows)
      .map((row) => [row.key_id, row.secrets]),
  );
}

/**
 * Wraps all secrets with the current key of the ring.
 *
 * @param client logs in as flowgres_maintenance
 * @param onProgress is told how many are done
 */
export async function rotateSecrets(
  client: pg.ClientBase,
  ring: KeyRing,
  onProgress: (done: number) => void = () => undefined,
): Promise<Rotation> {
  const rotation: Rotation = { rewrapped: 0, failed: [] };
  const givenUp: string[] = [];
  let after: Wrapped | undefined;
  for (;;) {
    const batch = await nextBatch(client, ring.current.id, givenUp, after);
    if (batch.length === 0) return rotation;
    after = batch.at(-1);
    const done: { secret: Wrapped; key: Buffer }[] = [];
    for (const secret of batch) {
      if (givenUp.includes(secret.key_id)) continue;
      try {
        done.push({ secret, key: await rewrapOne(ring, secret) });
      } catch (error) {
        if (!(error instanceof FlowgresError)) throw error;
        if (error.code === 'VAULT_KEY_UNKNOWN') {
          givenUp.push(secret.key_id);
          rotation.failed.push({
            keyId: secret.key_id,
            secrets: (await countSecrets(client)).get(secret.key_id) ?? 0,
            message: error.message,
          });
        } else {
          countDamaged(rotation.failed, secret.key_id, error.message);
        }
      }
    }
    rotation.rewrapped += await store(client, ring.current.id, done);
    onProgress(rotation.rewrapped);
  }
}

async function nextBatch(client: pg.ClientBase, current: string, givenUp: string[], after: Wrapped | undefined): Promise<Wrapped[]> {
  const { rows } = await client.query(
    `select * from engine.secrets_to_rewrap(p_current_key_id => $1, p_unavailable_key_ids => $2,
       p_after_key_id => $3, p_after_organization_id => $4, p_after_id => $5, p_limit => $6)`,
    [current, givenUp, after?.key_id ?? '', after?.organization_id ?? null, after?.id ?? null, BATCH],
  );
  return z.array(wrapped).parse(rows);
}

async function rewrapOne(
  ring: KeyRing,
  { organization_id: organizationId, id, version, key_id: keyId, wrapped_key: wrappedKey }: Wrapped,
): Promise<Buffer> {
  return (await rewrap(ring, { organizationId, id, version }, { keyId, wrappedKey })).wrappedKey;
}

async function store(client: pg.ClientBase, keyId: string, done: { secret: Wrapped; key: Buffer }[]): Promise<number> {
  if (done.length === 0) return 0;
  const { rows } = await client.query(
    `select engine.rewrap_secrets(p_organization_ids => $1, p_ids => $2, p_versions => $3, p_wrapped_keys => $4, p_key_id => $5) as done`,
    [
      done.map(({ secret }) => secret.organization_id),
      done.map(({ secret }) => secret.id),
      done.map(({ secret }) => secret.version),
      done.map(({ key }) => key),
      keyId,
    ],
  );
  return z.array(z.object({ done: z.number() })).parse(rows)[0]!.done;
}

function countDamaged(failed: FailedSecrets[], keyId: string, message: string): void {
  const known = failed.find((each) => each.keyId === keyId && each.message === message);
  if (known) known.secrets += 1;
  else failed.push({ keyId, secrets: 1, message });
}
