/**
 * Passwords become keys here, by scrypt, and nowhere else: the database sees a key's SHA-256. So a password is in no
 * statement, no log of statements and no dump, and what the database stores is not enough to log in with.
 */
import { createHash, randomBytes, scrypt } from 'node:crypto';
import { z } from 'zod';
import { type HashCaller, HashQueue } from './hash_queue.ts';

export interface ScryptParameters {
  /** Logarithm to base 2 of N, scrypt's cost. */
  ln: number;
  r: number;
  p: number;
}

/** As OWASP recommends: 32 MiB and a few tenths of a second. */
export const SCRYPT: ScryptParameters = { ln: 15, r: 8, p: 3 };

/** A password that a person chooses. The upper limit is no limit for people: longer text would only cost time. */
export const password = z
  .string()
  .min(10, 'A password has at least 10 characters.')
  .refine((text) => Buffer.byteLength(text) <= 1_024, 'A password has at most 1,024 bytes.');

const KEY_BYTES = 32;
/** Of the command line, which has nobody beside it. */
const NOBODY: HashCaller = { kind: 'registration', network: '' };

export class Passwords {
  readonly parameters: ScryptParameters;
  readonly #queue = new HashQueue();

  constructor(parameters: ScryptParameters = SCRYPT) {
    this.parameters = parameters;
  }

  /** `$scrypt$ln=15,r=8,p=3$<salt>` of a new salt. */
  newSettings(): string {
    const { ln, r, p } = this.parameters;
    return `$scrypt$ln=${ln},r=${r},p=${p}$${base64(randomBytes(16))}`;
  }

  /** Whether a stored password was hashed with other parameters than today's. */
  isOutdated(settings: string): boolean {
    const { ln, r, p } = this.parameters;
    return !settings.startsWith(`$scrypt$ln=${ln},r=${r},p=${p}$`);
  }

  /** What the database stores. Throws TOO_BUSY. */
  async hash(text: string, caller: HashCaller = NOBODY): Promise<string> {
    const settings = this.newSettings();
    return `${settings}$${base64(
      createHash('sha256')
        .update(await this.key(text, settings, caller))
        .digest(),
    )}`;
  }

  /** What proves that somebody knows the password. Throws TOO_BUSY. */
  async key(text: string, settings: string, caller: HashCaller = NOBODY): Promise<Buffer> {
    const [, ln, r, p, salt] = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)$/.exec(settings) ?? [];
    if (!salt) throw new Error('these are no settings of scrypt');
    const N = 2 ** Number(ln);
    const options = { N, r: Number(r), p: Number(p), maxmem: 256 * N * Number(r) };
    const hashed = () =>
      new Promise<Buffer>((resolve, reject) => {
        // The same letters typed on another keyboard may be other code points.
        scrypt(text.normalize('NFKC'), Buffer.from(salt, 'base64'), KEY_BYTES, options, (error, key) => {
          if (error) reject(error);
          else resolve(key);
        });
      });
    return this.#queue.run(caller, hashed);
  }
}

/** Without padding, as the PHC string format has it. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
