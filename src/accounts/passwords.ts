/**
 * Derives keys from passwords by scrypt. The database receives only a key's SHA-256, so a password is in no
 * statement, no statement log and no dump, and the stored value does not suffice to log in.
 */
import { createHash, randomBytes, scrypt } from 'node:crypto';
import { z } from 'zod';
import { type HashCaller, HashQueue } from './hash_queue.ts';

/** Parameters of scrypt, in the names of the PHC string format. */
export interface ScryptParameters {
  /** Logarithm to base 2 of scrypt's cost N. */
  ln: number;
  r: number;
  p: number;
}

/** As OWASP recommends: 32 MiB of memory and a few tenths of a second per hash. */
export const SCRYPT: ScryptParameters = { ln: 15, r: 8, p: 3 };

/** A password that a user chooses. The upper limit only bounds the time of hashing. */
export const password = z
  .string()
  .min(10, 'A password has at least 10 characters.')
  .refine((text) => Buffer.byteLength(text) <= 1_024, 'A password has at most 1,024 bytes.');

const KEY_BYTES = 32;
/** The caller of the command line, where nobody competes for hashing. */
const NOBODY: HashCaller = { kind: 'registration', network: '' };

/** Hashes passwords, as many at once as {@link HashQueue} allows. */
export class Passwords {
  readonly parameters: ScryptParameters;
  readonly #queue = new HashQueue();

  constructor(parameters: ScryptParameters = SCRYPT) {
    this.parameters = parameters;
  }

  /** Returns `$scrypt$ln=15,r=8,p=3$<salt>` with a new random salt. */
  newSettings(): string {
    const { ln, r, p } = this.parameters;
    return `$scrypt$ln=${ln},r=${r},p=${p}$${base64(randomBytes(16))}`;
  }

  /** Whether a stored password was hashed with other parameters than the current ones. */
  isOutdated(settings: string): boolean {
    const { ln, r, p } = this.parameters;
    return !settings.startsWith(`$scrypt$ln=${ln},r=${r},p=${p}$`);
  }

  /** Returns the settings and the SHA-256 of the key: what the database stores. Throws TOO_BUSY. */
  async hash(text: string, caller: HashCaller = NOBODY): Promise<string> {
    const settings = this.newSettings();
    return `${settings}$${base64(
      createHash('sha256')
        .update(await this.key(text, settings, caller))
        .digest(),
    )}`;
  }

  /** Returns the key that proves knowledge of the password, derived with the stored `settings`. Throws TOO_BUSY. */
  async key(text: string, settings: string, caller: HashCaller = NOBODY): Promise<Buffer> {
    const [, ln, r, p, salt] = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)$/.exec(settings) ?? [];
    if (!salt) throw new Error('these are no settings of scrypt');
    const N = 2 ** Number(ln);
    const options = { N, r: Number(r), p: Number(p), maxmem: 256 * N * Number(r) };
    const hashed = () =>
      new Promise<Buffer>((resolve, reject) => {
        // NFKC: another keyboard may send other code points for the same letters.
        scrypt(text.normalize('NFKC'), Buffer.from(salt, 'base64'), KEY_BYTES, options, (error, key) => {
          if (error) reject(error);
          else resolve(key);
        });
      });
    return this.#queue.run(caller, hashed);
  }
}

/** Base64 without padding, as the PHC string format requires. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
