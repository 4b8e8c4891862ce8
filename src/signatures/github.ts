/** GitHub: `x-hub-signature-256` is `sha256=<hex>` over the body. The time is not signed. */
import { fromHex, keysOf, malformed, matchSignature, requireHeader } from './checks.ts';
import type { Verify } from './types.ts';

const HEADER = 'x-hub-signature-256';
const DELIVERY = 'x-github-delivery';

/**
 * Verifies a delivery. Its id is `x-github-delivery`, as GitHub recommends, although GitHub does not sign it: two
 * events may have the same body. Without that header it is the signature.
 */
export const verifyGithub: Verify = ({ headers, body }, secrets) => {
  const [, hex = ''] = /^sha256=([0-9a-fA-F]{64})$/.exec(requireHeader(headers, HEADER)) ?? [];
  const given = fromHex(hex);
  if (!given) throw malformed(HEADER);
  const signature = matchSignature('sha256', keysOf(secrets), [body], [given]);
  const delivery = headers[DELIVERY];
  return { deliveryId: typeof delivery === 'string' && delivery ? delivery : signature.toString('base64url') };
};
