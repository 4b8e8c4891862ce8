/** JSON Web Tokens of webhooks, checked by a shared secret, a public key, or published keys. */
import {
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  createRemoteJWKSet,
  customFetch,
  decodeProtectedHeader,
  errors,
  importSPKI,
  jwtVerify,
} from 'jose';
import { fetch } from 'undici';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { checkUrl, createGuardedAgent, parseAllowList } from '../nodes/ssrf.ts';
import { unusable } from '../signatures/checks.ts';
import { SignatureError } from '../signatures/errors.ts';

/** What a credential of type jwt holds. */
const keyShape = z.object({
  secret: z.string().min(1).optional(),
  publicKey: z.string().min(1).optional(),
  jwksUrl: z.string().min(1).optional(),
  issuer: z.string().optional(),
  audience: z.string().optional(),
});

/** The credential decides the kind of key, never the token: a public key must not be used as a secret. */
const SHARED = ['HS256', 'HS384', 'HS512'];
const PUBLIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];
const JWKS_TIMEOUT_MS = 5_000;
const MAX_KEY_SETS = 1_000;

/** Hosts with private addresses that may publish keys, and name servers. */
export interface FetchConfig {
  httpAllow: string[];
  dnsServers?: string[];
}

/** Checks tokens; fetches published keys through the guard of httpRequest, at most every 30 seconds. */
export class BearerTokens {
  readonly #allow: ReadonlySet<string>;
  readonly #agent: ReturnType<typeof createGuardedAgent>;
  readonly #keySets = new Map<string, JWTVerifyGetKey>();

  constructor({ httpAllow, dnsServers = [] }: FetchConfig) {
    this.#allow = parseAllowList(httpAllow);
    this.#agent = createGuardedAgent(this.#allow, dnsServers);
  }

  /** Closes the connections to who publishes keys. */
  async close(): Promise<void> {
    await this.#agent.close();
  }

  /**
   * Checks the token of the header `authorization`, which has to expire.
   *
   * @throws SignatureError; any other error means that the keys could not be fetched
   */
  async check(authorization: string | undefined, data: Record<string, unknown>, now: number): Promise<void> {
    if (authorization === undefined) throw new SignatureError('SIGNATURE_MISSING', 'The header authorization is missing.');
    const token = /^Bearer +(\S{1,8192})$/i.exec(authorization)?.[1];
    const parsed = keyShape.safeParse(data);
    if (!parsed.success) throw unusable('The credential is no key for tokens.');
    if (token === undefined) throw new SignatureError('SIGNATURE_MALFORMED', 'The header authorization is not "Bearer <token>".');
    try {
      await this.#verify(token, parsed.data, now);
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw new SignatureError('SIGNATURE_EXPIRED', 'The token has expired.');
      // What jose says of tokens and keys; a failed fetch has no code or JOSEError's own.
      if (error instanceof errors.JOSEError && !UNREACHABLE.has(error.code)) {
        throw new SignatureError('SIGNATURE_MISMATCH', 'The token is not valid.');
      }
      throw error;
    }
  }

  async #verify(token: string, { secret, publicKey, jwksUrl, issuer, audience }: z.infer<typeof keyShape>, now: number): Promise<void> {
    const options: JWTVerifyOptions = {
      currentDate: new Date(now),
      clockTolerance: LIMITS.webhooks.jwtSkewSeconds,
      requiredClaims: ['exp'],
      ...(issuer ? { issuer } : {}),
      ...(audience ? { audience } : {}),
    };
    const isShared = SHARED.includes(algorithmOf(token));
    if (secret !== undefined && isShared) {
      await jwtVerify(token, new TextEncoder().encode(secret), { ...options, algorithms: SHARED });
    } else if (publicKey !== undefined && !isShared) {
      await jwtVerify(token, await importPublicKey(publicKey, algorithmOf(token)), { ...options, algorithms: PUBLIC });
    } else if (jwksUrl !== undefined && !isShared) {
      await jwtVerify(token, this.#keySet(jwksUrl), { ...options, algorithms: PUBLIC });
    } else if (secret === undefined && publicKey === undefined && jwksUrl === undefined) {
      throw unusable('The credential has no key for tokens.');
    } else {
      throw new errors.JOSEAlgNotAllowed('no key for this algorithm');
    }
  }

  #keySet(url: string): JWTVerifyGetKey {
    const known = this.#keySets.get(url);
    if (known) return known;
    const keySet = createRemoteJWKSet(checkUrl(url, this.#allow), {
      timeoutDuration: JWKS_TIMEOUT_MS,
      [customFetch]: (address: string, init: RequestInit) => this.#fetch(address, init),
    });
    if (this.#keySets.size >= MAX_KEY_SETS) this.#keySets.delete(this.#keySets.keys().next().value!);
    this.#keySets.set(url, keySet);
    return keySet;
  }

  async #fetch(url: string, { headers, signal }: RequestInit): Promise<Response> {
    const response = await fetch(url, {
      dispatcher: this.#agent,
      redirect: 'error',
      headers: Object.fromEntries(new Headers(headers).entries()),
      signal: signal ?? null,
    });
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body ?? []) {
      size += chunk.length;
      if (size > LIMITS.webhooks.jwksBytes) throw new Error(`The published keys are larger than ${LIMITS.webhooks.jwksBytes} bytes.`);
      chunks.push(chunk);
    }
    return new Response(Buffer.concat(chunks), { status: response.status });
  }
}

/** Codes of jose for keys that could not be fetched. */
const UNREACHABLE = new Set(['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID']);

function algorithmOf(token: string): string {
  try {
    return decodeProtectedHeader(token).alg ?? '';
  } catch (cause) {
    throw new errors.JWTInvalid('not a token', { cause });
  }
}

async function importPublicKey(pem: string, algorithm: string) {
  if (!PUBLIC.includes(algorithm)) throw new errors.JOSEAlgNotAllowed('no public key has this algorithm');
  try {
    return await importSPKI(pem, algorithm);
  } catch {
    // A key of another kind than the token says: the token is of somebody else, or the text is no key.
    throw new errors.JOSEAlgNotAllowed('the public key is not of this algorithm');
  }
}
