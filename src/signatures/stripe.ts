/** Stripe: `stripe-signature` is `t=<seconds>,v1=<hex>,…` over `t.body`; the secret is used as it is written. */
import { LIMITS } from '../constants.ts';
import { checkTimestamp, fromHex, keysOf, limitSignatures, malformed, matchSignature, requireHeader } from './checks.ts';
import type { Verify } from './types.ts';

const HEADER = 'stripe-signature';

/**
 * Verifies an event. The id of the delivery is the signature: Stripe signs each attempt anew, so a trigger that
 * wants one run for each event adds `dedupe` with the id in the body.
 */
export const verifyStripe: Verify = ({ headers, body, now }, secrets, { toleranceSeconds = LIMITS.signatures.toleranceSeconds }) => {
  const fields = requireHeader(headers, HEADER)
    .split(',')
    .map((field) => /^([a-z]\w{0,9})=(\w{1,256})$/.exec(field.trim()) ?? undefined);
  limitSignatures(HEADER, fields);
  const valuesOf = (name: string) => fields.filter((field) => field?.[1] === name).map((field) => field![2]!);
  const [timestamp, ...others] = valuesOf('t');
  const given = valuesOf('v1').map(fromHex);
  if (fields.includes(undefined) || timestamp === undefined || others.length || !given.length || given.includes(undefined)) {
    throw malformed(HEADER);
  }
  checkTimestamp(HEADER, timestamp, now, toleranceSeconds);
  const signatures = given.filter((signature) => signature !== undefined);
  const signature = matchSignature('sha256', keysOf(secrets), [`${timestamp}.`, body], signatures);
  return { deliveryId: signature.toString('base64url') };
};
