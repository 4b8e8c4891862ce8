/** A scheme in its own words: which header, which algorithm, which encoding, and what is signed. */
import { LIMITS } from '../constants.ts';
import { type HmacAlgorithm, checkTimestamp, fromBase64, fromHex, keysOf, malformed, matchSignature, requireHeader } from './checks.ts';
import type { Verify, VerifyOptions } from './types.ts';

/** How a sender signs. */
export interface GenericOptions extends VerifyOptions {
  /** The header with the signature. */
  header: string;
  /** sha256 when not given. */
  algorithm?: HmacAlgorithm;
  /** hex when not given. */
  encoding?: 'hex' | 'base64' | 'base64url';
  /** What stands before the signature in its header, such as `sha256=`. */
  prefix?: string;
  /** The header with the time in seconds since 1970. Without one the time is not checked. */
  timestampHeader?: string;
  /**
   * What is signed, with `{timestamp}` and one `{body}`: `{timestamp}.{body}` with a header for the time,
   * `{body}` without.
   */
  content?: string;
}

/**
 * Verifies a request. With a time the id of the delivery is the signature; without one there is none, since two
 * equal messages have the same signature.
 */
export const verifyGeneric: Verify<GenericOptions> = ({ headers, body, now }, secrets, options) => {
  const { algorithm = 'sha256', encoding = 'hex', prefix = '', toleranceSeconds = LIMITS.signatures.toleranceSeconds } = options;
  const header = options.header.toLowerCase();
  const timestampHeader = options.timestampHeader?.toLowerCase();
  const text = requireHeader(headers, header);
  const given = text.startsWith(prefix) ? decode(text.slice(prefix.length), encoding) : undefined;
  if (!given) throw malformed(header);
  let timestamp = '';
  if (timestampHeader !== undefined) {
    timestamp = requireHeader(headers, timestampHeader);
    checkTimestamp(timestampHeader, timestamp, now, toleranceSeconds);
  }
  const content = options.content ?? (timestampHeader === undefined ? '{body}' : '{timestamp}.{body}');
  const [before = '', after = ''] = content.split('{body}').map((part) => part.replaceAll('{timestamp}', timestamp));
  const signature = matchSignature(algorithm, keysOf(secrets), [before, body, after], [given]);
  const isTimeSigned = timestampHeader !== undefined && content.includes('{timestamp}');
  return { deliveryId: isTimeSigned ? signature.toString('base64url') : null };
};

function decode(text: string, encoding: 'hex' | 'base64' | 'base64url'): Buffer | undefined {
  if (encoding === 'hex') return fromHex(text);
  if (encoding === 'base64') return fromBase64(text);
  const bytes = Buffer.from(text, 'base64url');
  return bytes.length > 0 && bytes.toString('base64url') === text.replace(/=+$/, '') ? bytes : undefined;
}
