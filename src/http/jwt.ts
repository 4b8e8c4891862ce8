/** Verifies tokens of an external identity provider, by its shared secret or its published keys. */
import { type JWTPayload, type JWTVerifyGetKey, createRemoteJWKSet, decodeProtectedHeader, errors, jwtVerify } from 'jose';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';

/** The identity provider. */
export interface JwtConfig {
  /** Secret shared with the provider, for HS256. */
  secret?: string | undefined;
  /** Address of the provider's published keys, for signatures. */
  jwksUrl?: string | undefined;
  issuer: string;
  audience: string;
}

/** What a valid token states. */
export interface Identity {
  issuer: string;
  subject: string;
  expiresAt: Date;
  email: string | null;
  emailVerified: boolean;
  name: string | null;
}

/**
 * Algorithms allowed for each kind of key. Configuration decides the kind, never the token: otherwise a
 * published key could be used as the secret of an HMAC.
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
  // Up to the year 9999, which both PostgreSQL and JavaScript can represent.
  exp: z.number().int().min(0).max(253_402_300_799),
  // The database checks whether it is an email address.
  email: text(1_000).nullish().catch(null),
  email_verified: z.boolean().nullish().catch(false),
  name: text(10_000).nullish().catch(null),
});

/** Verifies tokens of one identity provider. */
export class JwtVerifier {
  readonly #config: JwtConfig;
  readonly #secret: Uint8Array | undefined;
  readonly #keys: JWTVerifyGetKey | undefined;

  constructor(config: JwtConfig) {
    this.#config = config;
    this.#secret = config.secret === undefined ? undefined : new TextEncoder().encode(config.secret);
    // Fetches the keys again for an unknown key id, at most every 30 seconds.
    this.#keys =
      config.jwksUrl === undefined ? undefined : createRemoteJWKSet(new URL(config.jwksUrl), { timeoutDuration: JWKS_TIMEOUT_MS });
  }

  /**
   * Returns what the token states.
   *
   * @throws FlowgresError UNAUTHENTICATED for an invalid token, UNAVAILABLE when the keys cannot be fetched
   */
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

/** Errors of jose that mean that the token is invalid; others mean that the keys could not be fetched. */
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
