/**
 * Passwords become keys here, by scrypt, and nowhere else: the database sees a key's SHA-256. So a password is in no
 * statement, no log of statements and no dump, and what the database stores is not enough to log in with.
 */
import { createHash, randomBytes, scrypt } from 'node:crypto';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';

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
/** Hashing is memory and time: so much of it happens at once … */
const AT_ONCE = 2;
/** … and so many wait; more would wait for longer than clients do. */
const WAITING = 50;

export class Passwords {
  readonly parameters: ScryptParameters;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

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

  /** What the database stores. */
  async hash(text: string): Promise<string> {
    const settings = this.newSettings();
    return `${settings}$${base64(
      createHash('sha256')
        .update(await this.key(text, settings))
        .digest(),
    )}`;
  }

  /** What proves that somebody knows the password. */
  async key(text: string, settings: string): Promise<Buffer> {
    const [, ln, r, p, salt] = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)$/.exec(settings) ?? [];
    if (!salt) throw new Error('these are no settings of scrypt');
    const N = 2 ** Number(ln);
    const options = { N, r: Number(r), p: Number(p), maxmem: 256 * N * Number(r) };
    await this.#enter();
    try {
      return await new Promise<Buffer>((resolve, reject) => {
        // The same letters typed on another keyboard may be other code points.
        scrypt(text.normalize('NFKC'), Buffer.from(salt, 'base64'), KEY_BYTES, options, (error, key) => {
          if (error) reject(error);
          else resolve(key);
        });
      });
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #enter(): Promise<void> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= WAITING) {
        throw new FlowgresError('RATE_LIMITED', 'Too many people log in at the moment.', {
          hint: 'Try again in a moment.',
          details: { retryAfterMs: 1_000 },
        });
      }
      await new Promise<void>((resolve) => void this.#waiting.push(resolve));
    }
    this.#running += 1;
  }
}

/** Without padding, as the PHC string format has it. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
