/** Who a request is: the bearer token's hash, checked against the database at most every five seconds. */
import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { SafeError } from 'postgraphile/grafast';
import { requestError } from './errors.ts';

const CACHE_MS = 5_000;
const CACHE_SIZE = 10_000;

/** SHA-256 in hex, as the setting `flowgres.session` wants it; null for a request without a token. */
export function sessionOf(authorization: string | undefined): string | null {
  if (authorization === undefined) return null;
  const token = /^Bearer +(\S{1,256})$/i.exec(authorization)?.[1];
  if (!token) throw unauthenticated('The Authorization header is not "Bearer <token>".');
  return createHash('sha256').update(token).digest('hex');
}

export class Authenticator {
  readonly #pool: pg.Pool;
  readonly #known = new Map<string, { valid: Promise<boolean>; until: number }>();

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Throws UNAUTHENTICATED (HTTP 401) unless the token is valid now; a request without one is anonymous, which is fine. */
  async check(authorization: string | undefined): Promise<void> {
    const session = sessionOf(authorization);
    if (session !== null && !(await this.#isValid(session))) throw unauthenticated('The token is unknown, expired or revoked.');
  }

  #isValid(session: string): Promise<boolean> {
    const now = Date.now();
    const known = this.#known.get(session);
    if (known && known.until > now) return known.valid;
    // Insertion order is age here, so this drops the oldest.
    this.#known.delete(session);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size < CACHE_SIZE) break;
      this.#known.delete(oldest);
    }
    const valid = this.#ask(session);
    this.#known.set(session, { valid, until: now + CACHE_MS });
    valid.catch(() => this.#known.delete(session));
    return valid;
  }

  async #ask(session: string): Promise<boolean> {
    const { rows } = await this.#pool.query<{ valid: boolean }>({
      text: `select coalesce(public.current_organization_id(), public.current_user_id()) is not null as valid
             from (select set_config('flowgres.session', $1, true)) as request`,
      values: [session],
    });
    return rows[0]!.valid;
  }
}

function unauthenticated(message: string): SafeError {
  return requestError(401, 'UNAUTHENTICATED', message, {
    hint: 'Send "Authorization: Bearer <token>" with a token from create_api_token.',
  });
}
