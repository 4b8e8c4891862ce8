/**
 * Envelopes: AES-256-GCM with a data key for each secret, which a master key wraps. Both ciphertexts are bound to the
 * organization, the row and the version, so that one that was copied to another row does not open.
 *
 * The text of an envelope is `fv1.<id of the master key>.<wrapped data key>.<sealed secret>`; each part is base64url of
 * a nonce of 12 bytes, the ciphertext, and a tag of 16 bytes.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { FlowgresError } from '../errors.ts';
import { KEY_BYTES, type KeyRing } from './keys.ts';

const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const FORMAT = /^fv1\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]{80})\.([A-Za-z0-9_-]{40,})$/;

/** The row that a secret belongs to. An envelope opens for this row and version only. */
export interface Binding {
  organizationId: string;
  /** The id of the credential, or of the secret of a variable. */
  id: string;
  /** 1 for the first secret of a row; each change adds 1. */
  version: number;
}

/** An envelope in its parts, as the database keeps them. */
export interface Envelope {
  keyId: string;
  wrappedKey: Buffer;
  sealed: Buffer;
}

/** Seals a secret with the current master key. */
export function seal(ring: KeyRing, binding: Binding, secret: Buffer): Envelope {
  const { id, key } = ring.current;
  const dataKey = randomBytes(KEY_BYTES);
  return {
    keyId: id,
    wrappedKey: encrypt(key, keyData(binding), dataKey),
    sealed: encrypt(dataKey, secretData(binding), secret),
  };
}

/**
 * Opens an envelope.
 *
 * @throws FlowgresError VAULT_KEY_UNKNOWN, or ENVELOPE_INVALID when it was cut, changed, or is of another row
 */
export async function unseal(ring: KeyRing, binding: Binding, { keyId, wrappedKey, sealed }: Envelope): Promise<Buffer> {
  const dataKey = decrypt(await ring.find(keyId), keyData(binding), wrappedKey);
  return decrypt(dataKey, secretData(binding), sealed);
}

/**
 * Wraps the data key with the current master key; the sealed secret stays as it is.
 *
 * @throws FlowgresError VAULT_KEY_UNKNOWN, ENVELOPE_INVALID
 */
export async function rewrap(
  ring: KeyRing,
  binding: Binding,
  { keyId, wrappedKey }: Omit<Envelope, 'sealed'>,
): Promise<Omit<Envelope, 'sealed'>> {
  const dataKey = decrypt(await ring.find(keyId), keyData(binding), wrappedKey);
  const { id, key } = ring.current;
  return { keyId: id, wrappedKey: encrypt(key, keyData(binding), dataKey) };
}

/** Returns the envelope as one text, for the SQL functions that take it. */
export function formatEnvelope({ keyId, wrappedKey, sealed }: Envelope): string {
  return ['fv1', keyId, wrappedKey.toString('base64url'), sealed.toString('base64url')].join('.');
}

/**
 * Returns the parts of an envelope.
 *
 * @throws FlowgresError ENVELOPE_INVALID
 */
export function parseEnvelope(text: string): Envelope {
  const [, keyId, wrappedKey, sealed] = FORMAT.exec(text) ?? [];
  if (keyId === undefined || wrappedKey === undefined || sealed === undefined) throw invalid();
  return { keyId, wrappedKey: Buffer.from(wrappedKey, 'base64url'), sealed: Buffer.from(sealed, 'base64url') };
}

function secretData({ organizationId, id, version }: Binding): Buffer {
  return Buffer.from(`flowgres secret 1|${organizationId.toLowerCase()}|${id.toLowerCase()}|${version}`);
}

function keyData(binding: Binding): Buffer {
  return Buffer.concat([Buffer.from('key of '), secretData(binding)]);
}

function encrypt(key: Buffer, data: Buffer, text: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES }).setAAD(data);
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Buffer, data: Buffer, box: Buffer): Buffer {
  try {
    const cipher = createDecipheriv(ALGORITHM, key, box.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    cipher.setAAD(data).setAuthTag(box.subarray(-TAG_BYTES));
    return Buffer.concat([cipher.update(box.subarray(NONCE_BYTES, -TAG_BYTES)), cipher.final()]);
  } catch {
    throw invalid();
  }
}

function invalid(): FlowgresError {
  return new FlowgresError('ENVELOPE_INVALID', 'The sealed secret cannot be opened: it was cut or changed, or is of another row.', {
    hint: 'Enter the secret again, or restore the row from a backup.',
  });
}
