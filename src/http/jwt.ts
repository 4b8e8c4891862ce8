/** Tokens of an external identity provider: verified here, by its secret or its published keys, and nowhere else. */
import { type JWTPayload, type JWTVerifyGetKey, createRemoteJWKSet, decodeProtectedHeader, errors, jwtVerify } from 'jose';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';

export interface JwtConfig {
  /** Shared with the provider, for HS256. */
  secret?: string | undefined;
  /** Where the provider publishes its keys, for signatures. */
  jwksUrl?: string | undefined;
  issuer: string;
  audience: string;
}

/** What a valid token says of its bearer. */
export interface Identity {
  issuer: string;
  subject: string;
  expiresAt: Date;
  email: string | null;
  emailVerified: boolean;
  name: string | null;
}

/**
 * Which algorithms a kind of key may be used with. It is fixed by our configuration, never by the token: a published
 * key must not pass as the secret of an HMAC.
 */
const SHARED = ['HS256'];
const PUBLISHED = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
const JWKS_TIMEOUT_MS = 5_000;

/** PostgreSQL's text cannot hold the character U+0000, nor half of a pair of surrogates. */
const text = (longest: number) =>
  z
    .string()
    .max(longest)
    .refine((each) => !each.includes('\0') && each.isWellFormed());

const claimsOfToken = z.object({
  iss: z.string(),
  sub: text(255).refine((each) => each !== ''),
  // What PostgreSQL and JavaScript have as a time.
  exp: z.number().int().min(0).max(253_402_300_799),
  // Whether it can be one, the database says.
  email: text(1_000).nullish().catch(null),
  email_verified: z.boolean().nullish().catch(false),
  name: text(10_000).nullish().catch(null),
});

export class JwtVerifier {
  readonly #config: JwtConfig;
  readonly #secret: Uint8Array | undefined;
  readonly #keys: JWTVerifyGetKey | undefined;

  constructor(config: JwtConfig) {
    this.#config = config;
    this.#secret = config.secret === undefined ? undefined : new TextEncoder().encode(config.secret);
    // It asks again for a key that it does not know, at most every half minute.
    this.#keys =
      config.jwksUrl === undefined ? undefined : createRemoteJWKSet(new URL(config.jwksUrl), { timeoutDuration: JWKS_TIMEOUT_MS });
  }

  /** Throws UNAUTHENTICATED for a token that is not valid, UNAVAILABLE when the keys cannot be had. */
  async verify(token: string): Promise<Identity> {
    try {
      const { iss, sub, exp, email, email_verified, name } = claimsOfToken.parse(await this.#payload(token));
      return {
        issuer: iss,
        subject: sub,
        expiresAt: new Date(exp * 1_000),
        email: email ?? null,
        emailVerified: email_verified ?? false,
        name: name ?? null,
      };
    } catch (error) {
      throw isFaultOfToken(error) ? refused(error) : unavailable(error);
    }
  }

  async #payload(token: string): Promise<JWTPayload> {
    const { issuer, audience } = this.#config;
    const options = { issuer, audience, requiredClaims: ['exp', 'sub', 'iss', 'aud'] };
    const isShared = SHARED.includes(algorithm(token));
    if (isShared && this.#secret) return (await jwtVerify(token, this.#secret, { ...options, algorithms: SHARED })).payload;
    if (this.#keys) return (await jwtVerify(token, this.#keys, { ...options, algorithms: PUBLISHED })).payload;
    throw new errors.JOSEAlgNotAllowed('no key for this algorithm');
  }
}

function algorithm(token: string): string {
  try {
    return decodeProtectedHeader(token).alg ?? '';
  } catch (cause) {
    throw new errors.JWTInvalid('not a token', { cause });
  }
}

/** What says that the token is wrong, and not the way to the keys. */
const REFUSALS = [
  errors.JWTExpired,
  errors.JWTClaimValidationFailed,
  errors.JWTInvalid,
  errors.JWSInvalid,
  errors.JWSSignatureVerificationFailed,
  errors.JOSEAlgNotAllowed,
  errors.JOSENotSupported,
  errors.JWKSNoMatchingKey,
  errors.JWKSMultipleMatchingKeys,
  z.ZodError,
];

function isFaultOfToken(error: unknown): boolean {
  return REFUSALS.some((kind) => error instanceof kind);
}

function refused(cause: unknown): FlowgresError {
  return new FlowgresError('UNAUTHENTICATED', 'The identity provider’s token is not valid.', { hint: 'Get a new one.', cause });
}

function unavailable(cause: unknown): FlowgresError {
  return new FlowgresError('UNAVAILABLE', 'The keys of the identity provider cannot be read.', { hint: 'Try again in a moment.', cause });
}
