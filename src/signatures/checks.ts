/** The checks that schemes have in common: headers, times, secrets, and comparisons in constant time. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { LIMITS } from '../constants.ts';
import { SignatureError } from './errors.ts';

/** Hash functions of an HMAC. */
export type HmacAlgorithm = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** Returns the header. Throws SIGNATURE_MISSING without it, SIGNATURE_MALFORMED for one that came several times. */
export function requireHeader(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  if (value === undefined || value === '') throw new SignatureError('SIGNATURE_MISSING', `The header ${name} is missing.`);
  if (typeof value !== 'string') throw malformed(name);
  return value;
}

/** Returns the error for a header that is not written as its scheme says. */
export function malformed(name: string): SignatureError {
  return new SignatureError('SIGNATURE_MALFORMED', `The header ${name} is not written as its scheme says.`);
}

/**
 * Checks a time in seconds since 1970, in decimal digits.
 *
 * @throws SignatureError SIGNATURE_MALFORMED, or SIGNATURE_EXPIRED when it is further from `now` than the tolerance
 */
export function checkTimestamp(name: string, text: string, now: number, toleranceSeconds: number): void {
  if (!/^\d{1,15}$/.test(text)) throw malformed(name);
  if (Math.abs(Math.floor(now / 1_000) - Number(text)) > toleranceSeconds) {
    throw new SignatureError('SIGNATURE_EXPIRED', `The signed time is more than ${toleranceSeconds} s from the time here.`);
  }
}

/**
 * Returns the active secrets as keys.
 *
 * @throws SignatureError SECRET_UNUSABLE when there is none, an empty one, or more than may be active
 */
export function keysOf(secrets: readonly string[], decode: (secret: string) => Buffer = utf8): Buffer[] {
  const most = LIMITS.signatures.activeSecrets;
  if (secrets.length === 0) throw unusable('There is no secret.');
  if (secrets.length > most) throw unusable(`More than ${most} secrets are active.`);
  return secrets.map((secret) => {
    const key = decode(secret);
    if (key.length === 0) throw unusable('A secret is empty.');
    return key;
  });
}

/** Returns the error for a secret that cannot be used. */
export function unusable(message: string): SignatureError {
  return new SignatureError('SECRET_UNUSABLE', message);
}

function utf8(secret: string): Buffer {
  return Buffer.from(secret, 'utf8');
}

/** Returns the HMAC of the parts, one after the other. */
export function hmac(algorithm: HmacAlgorithm, key: Buffer, parts: readonly (string | Buffer)[]): Buffer {
  const mac = createHmac(algorithm, key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

/**
 * Compares every given signature with that of every key, in a time that depends on their numbers only. Returns
 * the signature that is right.
 *
 * @throws SignatureError SIGNATURE_MISMATCH when none is
 */
export function matchSignature(
  algorithm: HmacAlgorithm,
  keys: readonly Buffer[],
  parts: readonly (string | Buffer)[],
  given: readonly Buffer[],
): Buffer {
  let matched: Buffer | undefined;
  for (const key of keys) {
    const wanted = hmac(algorithm, key, parts);
    for (const signature of given) {
      if (signature.length === wanted.length && timingSafeEqual(signature, wanted)) matched = wanted;
    }
  }
  if (!matched) throw new SignatureError('SIGNATURE_MISMATCH', 'No active secret made this signature of these bytes.');
  return matched;
}

/** Returns base64 as bytes; undefined when it is not base64 in its one canonical form, with its padding. */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Returns hexadecimal digits as bytes; undefined for other texts. */
export function fromHex(text: string): Buffer | undefined {
  return /^(?:[0-9a-fA-F]{2})+$/.test(text) ? Buffer.from(text, 'hex') : undefined;
}

/** Refuses more signatures than a request may carry. */
export function limitSignatures(name: string, signatures: readonly unknown[]): void {
  if (signatures.length > LIMITS.signatures.perRequest) throw malformed(name);
}
