/**
 * The key ring: master keys by id, one of which is current. It comes from a file that only its owner may read,
 * or from a command, for example one that asks a key management service. Keys never enter the database.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { FlowgresError, reasonOf } from '../errors.ts';
import { tryParseJson } from '../json/json.ts';

/** Bytes of a master key and of a data key: AES-256. */
export const KEY_BYTES = 32;
/** Time after which an unknown key id makes the ring be read again, in milliseconds. */
const RELOAD_MS = 1_000;

const keyId = z.string().regex(/^[A-Za-z0-9_-]{1,32}$/);
const ringShape = z
  .strictObject({
    current: keyId,
    keys: z.record(keyId, z.base64()),
  })
  .refine(({ keys }) => Object.values(keys).every((key) => Buffer.from(key, 'base64').length === KEY_BYTES))
  .refine(({ current, keys }) => current in keys);
type RingContent = z.infer<typeof ringShape>;

/** Where the key ring comes from. */
export type KeySource = { file: string } | { command: string };

/** A master key with its id. */
export interface MasterKey {
  id: string;
  key: Buffer;
}

/**
 * The master keys of this process. A key id that it does not know makes it read the source again, so that a
 * rotation elsewhere needs no restart here.
 */
export class KeyRing {
  readonly #source: KeySource;
  #content: RingContent;
  #readAt = performance.now();
  #reading: Promise<void> | undefined;

  private constructor(source: KeySource, content: RingContent) {
    this.#source = source;
    this.#content = content;
  }

  /**
   * Reads the keys.
   *
   * @throws FlowgresError VAULT_KEYS_MISSING (no such file, or the command fails), VAULT_KEYS_EXPOSED (others may
   * read the file), VAULT_KEYS_INVALID
   */
  static async read(source: KeySource): Promise<KeyRing> {
    return new KeyRing(source, await readRing(source));
  }

  /** The ids of all keys, the current one first. */
  get ids(): string[] {
    const { current, keys } = this.#content;
    return [current, ...Object.keys(keys).filter((id) => id !== current)];
  }

  /** The key that seals. */
  get current(): MasterKey {
    const { current, keys } = this.#content;
    return { id: current, key: Buffer.from(keys[current]!, 'base64') };
  }

  /**
   * Returns the key with this id.
   *
   * @throws FlowgresError VAULT_KEY_UNKNOWN
   */
  async find(id: string): Promise<Buffer> {
    if (!this.#has(id) && performance.now() - this.#readAt > RELOAD_MS) await this.#reload();
    if (this.#has(id)) return Buffer.from(this.#content.keys[id]!, 'base64');
    throw new FlowgresError('VAULT_KEY_UNKNOWN', `The master key ${JSON.stringify(id.slice(0, 32))} is not in the key ring.`, {
      hint: 'Put the key back into the file of FLOWGRES_VAULT_KEYS, or enter the secret again.',
      details: { keyId: id.slice(0, 32) },
    });
  }

  /** Reads the source again. */
  async reload(): Promise<void> {
    this.#content = await readRing(this.#source);
    this.#readAt = performance.now();
  }

  #has(id: string): boolean {
    return Object.hasOwn(this.#content.keys, id);
  }

  /** Reads the source again, once for all that ask meanwhile; keeps the keys it has when that fails. */
  async #reload(): Promise<void> {
    this.#reading ??= this.reload()
      .catch(() => {
        this.#readAt = performance.now();
      })
      .finally(() => {
        this.#reading = undefined;
      });
    await this.#reading;
  }
}

/** Creates a key file with one key, readable by its owner only; does nothing when there is a file. */
export async function createKeyFile(file: string): Promise<void> {
  const id = newKeyId();
  const content: RingContent = { current: id, keys: { [id]: randomBytes(KEY_BYTES).toString('base64') } };
  try {
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.writeFile(formatRing(content));
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new FlowgresError('VAULT_KEYS_MISSING', `The key file ${file} cannot be created: ${reasonOf(error)}.`, {
      hint: 'Let FLOWGRES_VAULT_KEYS name a file in a folder that this user may write to.',
      cause: error,
    });
  }
}

/** Adds a key to the file and makes it the current one; the others stay. Returns its id. */
export async function addKey(file: string): Promise<string> {
  const { keys } = await readRing({ file });
  const id = newKeyId();
  await writeRing(file, { current: id, keys: { ...keys, [id]: randomBytes(KEY_BYTES).toString('base64') } });
  return id;
}

/** Removes keys that are not current from the file. */
export async function removeKeys(file: string, ids: readonly string[]): Promise<void> {
  const { current, keys } = await readRing({ file });
  const kept = Object.fromEntries(Object.entries(keys).filter(([id]) => id === current || !ids.includes(id)));
  await writeRing(file, { current, keys: kept });
}

function newKeyId(): string {
  return `k${randomBytes(6).toString('hex')}`;
}

function formatRing(content: RingContent): string {
  return `${JSON.stringify(content, null, 2)}\n`;
}

/** Writes a new file and renames it, so that a reader sees the old ring or the new one. */
async function writeRing(file: string, content: RingContent): Promise<void> {
  const temporary = `${file}.${randomBytes(4).toString('hex')}.new`;
  await writeFile(temporary, formatRing(content), { mode: 0o600, flush: true });
  await rename(temporary, file);
}

async function readRing(source: KeySource): Promise<RingContent> {
  const text = 'file' in source ? await readKeyFile(source.file) : await runKeyCommand(source.command);
  const parsed = ringShape.safeParse(tryParseJson(text));
  if (parsed.success) return parsed.data;
  // Without the parser's words: they could repeat a key.
  throw new FlowgresError('VAULT_KEYS_INVALID', `${sourceName(source)} gives no key ring.`, {
    hint: 'It is JSON: {"current": "k1", "keys": {"k1": "<32 bytes in base64>"}}; `flowgres keys create FILE` makes one.',
  });
}

async function readKeyFile(file: string): Promise<string> {
  let mode: number;
  let text: string;
  try {
    ({ mode } = await stat(file));
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new FlowgresError('VAULT_KEYS_MISSING', `The key file ${file} cannot be read: ${reasonOf(error)}.`, {
      hint: 'Restore it from its backup; for a new installation: `flowgres keys create FILE`.',
      cause: error,
    });
  }
  if (process.platform !== 'win32' && mode & 0o077) {
    throw new FlowgresError(
      'VAULT_KEYS_EXPOSED',
      `The key file ${file} can be read by others: its mode is ${(mode & 0o777).toString(8)}.`,
      {
        hint: `chmod 600 ${file}`,
      },
    );
  }
  return text;
}

/** Runs the command with the shell. What it writes to standard error is not repeated, since it may hold a key. */
async function runKeyCommand(command: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const options = { timeout: LIMITS.vault.keyCommandMs, maxBuffer: LIMITS.vault.maxKeyRingBytes };
  execFile('/bin/sh', ['-c', command], options, (error, stdout) => {
    if (!error) return resolve(stdout);
    const why = error.killed ? `it took longer than ${LIMITS.vault.keyCommandMs} ms` : `exit status ${String(error.code)}`;
    reject(
      new FlowgresError('VAULT_KEYS_MISSING', `The command of FLOWGRES_VAULT_KEYS_COMMAND failed: ${why}.`, {
        hint: 'Run it in a shell of the same user: it must print the key ring.',
      }),
    );
  });
  return promise;
}

function sourceName(source: KeySource): string {
  return 'file' in source ? `The file ${source.file}` : 'The command of FLOWGRES_VAULT_KEYS_COMMAND';
}
