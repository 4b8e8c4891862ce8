/** The vault: seals values of credentials and variables, and opens them, with the key ring of this process. */
import { randomBytes } from 'node:crypto';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { parseJson } from '../json/json.ts';
import { type Binding, type Envelope, formatEnvelope, rewrap, seal, unseal } from './envelope.ts';
import { KeyRing, type KeySource } from './keys.ts';

/** Seals and opens JSON values. */
export class Vault {
  readonly ring: KeyRing;

  constructor(ring: KeyRing) {
    this.ring = ring;
  }

  /** Reads the keys. Errors as of {@link KeyRing.read}. */
  static async read(source: KeySource): Promise<Vault> {
    return new Vault(await KeyRing.read(source));
  }

  /**
   * Returns the envelope of a value, for a row and version.
   *
   * @throws FlowgresError TOO_LARGE
   */
  seal(binding: Binding, value: unknown): string {
    const text = Buffer.from(JSON.stringify(value));
    if (text.length > LIMITS.vault.maxSecretBytes) {
      throw new FlowgresError('TOO_LARGE', `A secret has at most ${LIMITS.vault.maxSecretBytes / 1024} KiB as JSON.`, {
        details: { limit: LIMITS.vault.maxSecretBytes },
      });
    }
    return formatEnvelope(seal(this.ring, binding, text));
  }

  /**
   * Returns the value in an envelope.
   *
   * @throws FlowgresError VAULT_KEY_UNKNOWN, ENVELOPE_INVALID
   */
  async open(binding: Binding, envelope: Envelope): Promise<unknown> {
    return parseJson((await unseal(this.ring, binding, envelope)).toString('utf8'));
  }

  /** Wraps a data key with the current master key. Errors as of {@link Vault.open}. */
  rewrap(binding: Binding, wrapped: Omit<Envelope, 'sealed'>): Promise<Omit<Envelope, 'sealed'>> {
    return rewrap(this.ring, binding, wrapped);
  }
}

/**
 * Returns the vault, or says how to get one.
 *
 * @throws FlowgresError VAULT_UNAVAILABLE
 */
export function requireVault(vault: Vault | undefined): Vault {
  if (vault) return vault;
  throw new FlowgresError('VAULT_UNAVAILABLE', 'This process has no keys for secrets: FLOWGRES_VAULT_KEYS is not set.', {
    hint: 'Make a key file by `flowgres keys create FILE`, and let FLOWGRES_VAULT_KEYS name it for every process.',
  });
}

/** Returns a new UUIDv7 for a row whose secret is sealed before the row is there. */
export function newSecretId(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
