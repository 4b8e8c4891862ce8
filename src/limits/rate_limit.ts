/** The rate limit: token buckets in the database, which all processes share. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { z } from 'zod';
import { requestError } from '../http/errors.ts';

/** The rate of one bucket. */
export interface Rate {
  /** Requests per second in the long run. */
  perSecond: number;
  /** Capacity: requests at once after a pause. */
  burst: number;
}

/** Most tokens that a process takes in advance for a busy caller, so that not every request asks the database. */
const MAX_LEASE = 32;
const LEASE_MS = 250;
/** Longest delay of a refusal, in milliseconds, which slows down callers that retry at once. */
const REFUSAL_MS = 200;
const MAX_CALLERS = 10_000;

const spentTokens = z.object({ granted: z.number(), retry_after_ms: z.number().nullable() });

interface Lease {
  left: number;
  until: number;
  /** Tokens to take next: as many as were used this time. */
  wanted: number;
  asking: Promise<void> | undefined;
  /** Until when the bucket is empty by the last answer; the database is not asked before that. */
  refusedUntil: number;
}

/** Takes tokens from the buckets, some in advance. */
export class RateLimiter {
  readonly #pool: pg.Pool;
  readonly #leases = new Map<string, Lease>();

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /**
   * Takes one token of the caller's bucket.
   *
   * @throws SafeError RATE_LIMITED with retryAfterMs when it is empty
   */
  async spend(key: string, rate: Rate): Promise<void> {
    try {
      await this.#spend(key, rate);
    } catch (error) {
      if (error instanceof Refusal) await delay(Math.min(REFUSAL_MS, error.retryAfterMs), undefined, { ref: false });
      throw error instanceof Refusal ? refused(error.retryAfterMs) : error;
    }
  }

  async #spend(key: string, rate: Rate): Promise<void> {
    const lease = this.#leaseOf(key);
    const refusedMs = lease.refusedUntil - Date.now();
    if (refusedMs > 0) throw new Refusal(refusedMs);
    while (lease.left <= 0 || lease.until < Date.now()) {
      lease.asking ??= this.#ask(key, rate, lease).finally(() => {
        lease.asking = undefined;
      });
      await lease.asking;
    }
    lease.left -= 1;
  }

  #leaseOf(key: string): Lease {
    const lease = this.#leases.get(key) ?? { left: 0, until: 0, wanted: 1, asking: undefined, refusedUntil: 0 };
    // Drop the least recently used leases first.
    this.#leases.delete(key);
    this.#leases.set(key, lease);
    if (this.#leases.size > MAX_CALLERS) this.#leases.delete(this.#leases.keys().next().value!);
    return lease;
  }

  async #ask(key: string, { perSecond, burst }: Rate, lease: Lease): Promise<void> {
    const usedUp = lease.left <= 0 && lease.until >= Date.now();
    lease.wanted = usedUp ? Math.min(lease.wanted * 2, MAX_LEASE) : 1;
    const { rows } = await this.#pool.query({
      text: 'select * from engine.spend_rate_tokens($1, $2, $3, $4)',
      values: [key, lease.wanted, perSecond, burst],
    });
    const { granted, retry_after_ms: retryAfterMs } = spentTokens.parse(rows[0]);
    if (granted === 0) {
      lease.refusedUntil = Date.now() + Math.min(LEASE_MS, retryAfterMs ?? 0);
      throw new Refusal(retryAfterMs ?? LEASE_MS);
    }
    lease.left = granted;
    lease.until = Date.now() + LEASE_MS;
  }
}

class Refusal extends Error {
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number) {
    super('refused');
    this.retryAfterMs = Math.ceil(retryAfterMs);
  }
}

function refused(retryAfterMs: number): Error {
  return requestError(429, 'RATE_LIMITED', 'Too many requests.', {
    hint: 'Wait for retryAfterMs; send fewer requests, or larger ones.',
    details: { retryAfterMs },
  });
}
