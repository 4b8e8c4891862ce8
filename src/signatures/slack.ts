/** Slack: `x-slack-signature` is `v0=<hex>` over `v0:<x-slack-request-timestamp>:body`. */
import { LIMITS } from '../constants.ts';
import { checkTimestamp, fromHex, keysOf, malformed, matchSignature, requireHeader } from './checks.ts';
import type { Verify } from './types.ts';

const HEADER = 'x-slack-signature';
const TIMESTAMP = 'x-slack-request-timestamp';

/** Verifies a request. The id of the delivery is the signature, in which the time is. */
export const verifySlack: Verify = ({ headers, body, now }, secrets, { toleranceSeconds = LIMITS.signatures.toleranceSeconds }) => {
  const timestamp = requireHeader(headers, TIMESTAMP);
  const [, hex = ''] = /^v0=([0-9a-fA-F]{64})$/.exec(requireHeader(headers, HEADER)) ?? [];
  const given = fromHex(hex);
  if (!given) throw malformed(HEADER);
  checkTimestamp(TIMESTAMP, timestamp, now, toleranceSeconds);
  const signature = matchSignature('sha256', keysOf(secrets), [`v0:${timestamp}:`, body], [given]);
  return { deliveryId: signature.toString('base64url') };
};
