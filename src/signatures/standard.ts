/**
 * Standard Webhooks 1.0 (standardwebhooks.com), symmetric: `webhook-id`, `webhook-timestamp` and
 * `webhook-signature`, which is a list of `v1,<base64>` over `id.timestamp.body`. A secret is base64, with or
 * without `whsec_`.
 */
import { LIMITS } from '../constants.ts';
import { checkTimestamp, fromBase64, hmac, keysOf, limitSignatures, malformed, matchSignature, requireHeader, unusable } from './checks.ts';
import type { Verify } from './types.ts';

const PREFIX = 'whsec_';

/** Verifies a message. Its `webhook-id` is signed, and is the id of the delivery. */
export const verifyStandard: Verify = ({ headers, body, now }, secrets, { toleranceSeconds = LIMITS.signatures.toleranceSeconds }) => {
  const id = requireHeader(headers, 'webhook-id');
  const timestamp = requireHeader(headers, 'webhook-timestamp');
  const list = requireHeader(headers, 'webhook-signature').split(' ');
  // A point in the id would make two messages of one signed text.
  if (id.length > LIMITS.signatures.idLength || !/^[\x21-\x2d\x2f-\x7e]+$/.test(id)) throw malformed('webhook-id');
  limitSignatures('webhook-signature', list);
  const signatures = list.map(readSignature).filter((signature) => signature !== null);
  checkTimestamp('webhook-timestamp', timestamp, now, toleranceSeconds);
  matchSignature('sha256', keysOf(secrets, decodeSecret), [`${id}.${timestamp}.`, body], signatures);
  return { deliveryId: id };
};

/** Returns a `v1` signature; null for one of another version, such as the asymmetric `v1a`. */
function readSignature(text: string): Buffer | null {
  const [, version, base64] = /^(v\d+[a-z]?),([\w+/=-]+)$/.exec(text) ?? [];
  if (version === undefined || base64 === undefined) throw malformed('webhook-signature');
  if (version !== 'v1') return null;
  const signature = fromBase64(base64);
  if (!signature) throw malformed('webhook-signature');
  return signature;
}

function decodeSecret(secret: string): Buffer {
  const key = fromBase64(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
  if (!key) throw unusable('A secret of Standard Webhooks is base64, with or without whsec_ before it.');
  return key;
}

/** A message to be signed. */
export interface StandardMessage {
  /** The same for every attempt. */
  id: string;
  /** The time of this attempt, in milliseconds since 1970. */
  now: number;
  body: string | Buffer;
}

/**
 * Returns the three headers of a message, with a signature of each active secret.
 *
 * @throws SignatureError SECRET_UNUSABLE
 */
export function signStandard({ id, now, body }: StandardMessage, secrets: readonly string[]): Record<string, string> {
  const timestamp = String(Math.floor(now / 1_000));
  const signatures = keysOf(secrets, decodeSecret).map(
    (key) => `v1,${hmac('sha256', key, [`${id}.${timestamp}.`, body]).toString('base64')}`,
  );
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}
