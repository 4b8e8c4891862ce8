/**
 * Authenticates requests by the hash of the bearer secret, which is checked against the database at most every
 * five seconds.
 */
import { hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type pg from 'pg';
import type { SafeError } from 'postgraphile/grafast';
import { FlowgresError } from '../errors.ts';
import { requestError } from './errors.ts';
import type { JwtVerifier } from './jwt.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

const CACHE_MS = 5_000;
const CACHE_SIZE = 10_000;
/** Interval of reporting used secrets, in milliseconds; the database records the use of one at most once a minute. */
const RECORD_MS = 15_000;

/**
 * Returns the SHA-256 of the bearer secret in hex, the value of the setting `flowgres.session`; null without a
 * secret.
 */
export function sessionOf(authorization: string | undefined): string | null {
  const secret = secretOf(authorization);
  return secret === null ? null : hash('sha256', secret);
}

/**
 * Returns the bearer secret; null without one. Throws UNAUTHENTICATED for one whose checksum is wrong, which
 * was cut or mistyped.
 */
function secretOf(authorization: string | undefined): string | null {
  if (authorization === undefined) return null;
  const secret = /^Bearer +(\S{1,8192})$/i.exec(authorization)?.[1];
  if (!secret) throw unauthenticated('The Authorization header is not "Bearer <token>".');
  if (/^f[gs]_/.test(secret) && checksum(secret.slice(0, -6)) !== secret.slice(-6)) {
    throw unauthenticated('The token is incomplete or mistyped.');
  }
  return secret;
}

/** The checksum that private.new_secret puts into secrets. */
function checksum(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 6);
}

/**
 * Throws INVALID_ARGUMENT for a secret in the address, since addresses are logged, and for several Authorization
 * headers, of which all but one would be ignored.
 */
export function refuseAmbiguous(request: IncomingMessage): void {
  if (/[?&](?:access_token|token|api_key)=/i.test(request.url ?? '')) {
    throw new FlowgresError('INVALID_ARGUMENT', 'A token does not belong into an address.', {
      hint: 'Send it as a header: "Authorization: Bearer <token>". Revoke this one: addresses are kept in logs.',
    });
  }
  if ((request.headersDistinct['authorization']?.length ?? 0) > 1) {
    throw new FlowgresError('INVALID_ARGUMENT', 'The request has several Authorization headers.', { hint: 'Send one.' });
  }
}

/** Checks secrets against the database, and remembers the results for five seconds. */
export class Authenticator {
  readonly #pool: pg.Pool;
  readonly #jwt: JwtVerifier | undefined;
  readonly #known = new Map<string, { valid: Promise<boolean>; until: number }>();
  readonly #used = new Set<string>();
  readonly #recording: NodeJS.Timeout;

  /**
   * @param pool logs in as flowgres_api
   * @param jwt verifies tokens of an external identity provider, where one is configured
   */
  constructor(pool: pg.Pool, jwt?: JwtVerifier) {
    this.#pool = pool;
    this.#jwt = jwt;
    this.#recording = setInterval(() => void this.#record(), RECORD_MS).unref();
  }

  /**
   * Returns the session, as {@link sessionOf} does, if its secret is valid now; null without a secret.
   *
   * @throws SafeError UNAUTHENTICATED (HTTP 401)
   */
  async check(authorization: string | undefined): Promise<string | null> {
    const secret = secretOf(authorization);
    if (secret === null) return null;
    const session = hash('sha256', secret);
    if (!(await this.#isValid(secret, session))) throw unauthenticated('The token is unknown, expired or revoked.');
    if (this.#used.size < CACHE_SIZE) this.#used.add(session);
    return session;
  }

  /** Reports the secrets used since the last report, and stops reporting. */
  async close(): Promise<void> {
    clearInterval(this.#recording);
    await this.#record();
  }

  #isValid(secret: string, session: string): Promise<boolean> {
    const now = Date.now();
    const known = this.#known.get(session);
    if (known && known.until > now) return known.valid;
    // A Map keeps insertion order, so the first entry is the oldest.
    this.#known.delete(session);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < CACHE_SIZE) break;
      this.#known.delete(oldest);
    }
    // A JSON Web Token has three parts separated by points; API tokens and session secrets contain none.
    const valid = this.#jwt && secret.split('.').length === 3 ? this.#exchange(this.#jwt, secret) : this.#ask(session);
    this.#known.set(session, { valid, until: now + CACHE_MS });
    valid.catch(() => this.#known.delete(session));
    return valid;
  }

  async #ask(session: string): Promise<boolean> {
    const { rows } = await this.#pool.query<{ valid: boolean }>({
      text: `select coalesce(${API_SCHEMA}.current_organization_id(), ${API_SCHEMA}.current_user_id()) is not null as valid
             from (select set_config('flowgres.session', $1, true)) as request`,
      values: [session],
    });
    return rows[0]!.valid;
  }

  /** Creates a session for the token, so that the database knows it by its hash like any other secret. */
  async #exchange(jwt: JwtVerifier, token: string): Promise<boolean> {
    const { issuer, subject, expiresAt, email, emailVerified, name } = await jwt.verify(token).catch((error: unknown) => {
      throw error instanceof FlowgresError ? safe(error) : error;
    });
    const { rows } = await this.#pool.query<{ valid: boolean }>({
      text: `select open_identity_session(
               issuer => $1, subject => $2, token_hash => $3, expires_at => $4, email => $5, email_verified => $6, name => $7
             ) as valid`,
      values: [issuer, subject, hash('sha256', token, 'buffer'), expiresAt, email, emailVerified, name],
    });
    return rows[0]!.valid;
  }

  /** Reports used secrets. Requests neither wait for it nor fail with it. */
  async #record(): Promise<void> {
    const used = [...this.#used];
    this.#used.clear();
    if (used.length > 0) await this.#pool.query('select engine.record_use($1)', [used]).catch(() => undefined);
  }
}

function unauthenticated(message: string): SafeError {
  return requestError(401, 'UNAUTHENTICATED', message, {
    hint: 'Send "Authorization: Bearer <token>" with a token from create_api_token or login.',
  });
}

function safe({ code, message, hint }: FlowgresError): SafeError {
  return requestError(code === 'UNAVAILABLE' ? 503 : 401, code, message, hint ? { hint } : {});
}
