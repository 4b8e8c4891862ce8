/** Shopify: `x-shopify-hmac-sha256` is base64 over the body. The time is not signed. */
import { fromBase64, keysOf, malformed, matchSignature, requireHeader } from './checks.ts';
import type { Verify } from './types.ts';

const HEADER = 'x-shopify-hmac-sha256';
const DELIVERY = 'x-shopify-webhook-id';

/** Verifies a delivery. Its id is `x-shopify-webhook-id`, which Shopify does not sign; without it the signature. */
export const verifyShopify: Verify = ({ headers, body }, secrets) => {
  const given = fromBase64(requireHeader(headers, HEADER));
  if (!given) throw malformed(HEADER);
  const signature = matchSignature('sha256', keysOf(secrets), [body], [given]);
  const delivery = headers[DELIVERY];
  return { deliveryId: typeof delivery === 'string' && delivery ? delivery : signature.toString('base64url') };
};
