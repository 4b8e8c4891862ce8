/** The schemes by name. */
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { type GenericOptions, verifyGeneric } from './generic.ts';
import { verifyGithub } from './github.ts';
import { verifyShopify } from './shopify.ts';
import { verifySlack } from './slack.ts';
import { verifyStandard } from './standard.ts';
import { verifyStripe } from './stripe.ts';
import type { SignedRequest, Verified, Verify } from './types.ts';

const header = z.string().regex(/^[A-Za-z0-9-]{1,64}$/);
const toleranceSeconds = z.number().int().min(1).max(LIMITS.signatures.maxToleranceSeconds).optional();

/** How requests are signed: the property `signature` of a webhookTrigger. */
export const signatureOptions = z.union([
  z.strictObject({ scheme: z.enum(['standard', 'stripe', 'slack']), toleranceSeconds }),
  z.strictObject({ scheme: z.enum(['github', 'shopify']) }),
  z.strictObject({
    scheme: z.literal('generic'),
    header,
    algorithm: z.enum(['sha1', 'sha256', 'sha384', 'sha512']).optional(),
    encoding: z.enum(['hex', 'base64', 'base64url']).optional(),
    prefix: z.string().max(64).optional(),
    timestampHeader: header.optional(),
    toleranceSeconds,
    content: z
      .string()
      .max(200)
      .refine((text) => text.split('{body}').length === 2, 'has {body} once')
      .optional(),
  }),
]);
/** Which scheme, and its options. */
export type SignatureOptions = z.infer<typeof signatureOptions>;

const SCHEMES: Record<Exclude<SignatureOptions['scheme'], 'generic'>, Verify> = {
  standard: verifyStandard,
  github: verifyGithub,
  stripe: verifyStripe,
  slack: verifySlack,
  shopify: verifyShopify,
};

/**
 * Checks the signature of a request, in constant time.
 *
 * @param secrets the active secrets, of which one has to have made it
 * @throws SignatureError
 */
export function verifySignature(request: SignedRequest, secrets: readonly string[], options: SignatureOptions): Verified {
  if (options.scheme === 'generic') return verifyGeneric(request, secrets, withoutUndefined(options));
  const tolerance = 'toleranceSeconds' in options ? options.toleranceSeconds : undefined;
  return SCHEMES[options.scheme](request, secrets, tolerance === undefined ? {} : { toleranceSeconds: tolerance });
}

function withoutUndefined({ scheme: _scheme, ...options }: Extract<SignatureOptions, { scheme: 'generic' }>): GenericOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as unknown as GenericOptions;
}
