/**
 * Decides when a document may block the event loop: validating and planning run without interruption, and no
 * other request is answered meanwhile. Each caller has a bucket that fills with time. After each piece of work
 * the event loop is left free for as long as the piece took. Buckets are per process, as the event loop is;
 * rate_limit.ts limits the number of requests in the database.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '../constants.ts';
import { requestError } from '../http/errors.ts';

/** One bucket: its key, and how many milliseconds it gains per second. */
export interface CpuShare {
  key: string;
  perSecond: number;
}

const CPU_LIMITS = LIMITS.cpu;

const MAX_BUCKETS = 10_000;

interface Bucket {
  left: number;
  at: number;
}

interface Clock {
  /** The current time in milliseconds. */
  now(): number;
  wait(ms: number): Promise<unknown>;
}

/**
 * Returns the price of a piece of `ms` milliseconds. It grows with the square: one piece of 200 ms makes all
 * requests in that time wait 100 ms on average, while eight of 25 ms with pauses delay none noticeably.
 */
export function priceOf(ms: number): number {
  return ms * Math.max(1, ms / CPU_LIMITS.harmlessMs);
}

/** The CPU buckets of this process. */
export class CpuBudget {
  readonly #buckets = new Map<string, Bucket>();
  readonly #clock: Clock;
  /** When the next piece may begin, in milliseconds. */
  #freeAt = 0;

  constructor(clock: Clock = { now: () => performance.now(), wait: delay }) {
    this.#clock = clock;
  }

  /**
   * Resolves to the estimate of a piece, in milliseconds, when it may begin; takes its price from all `shares`.
   * Pieces of one caller begin in the order of the calls.
   *
   * @param estimate is called only when the caller's buckets are not empty
   * @throws SafeError RATE_LIMITED (HTTP 429) with retryAfterMs; takes nothing then
   */
  async admit(shares: readonly CpuShare[], estimate: () => number): Promise<number> {
    // Without shares no limit applies.
    if (shares.length === 0) return 0;
    const ownMs = Math.max(0, ...shares.map((each) => (-this.#fill(each).left / each.perSecond) * 1_000));
    if (ownMs > CPU_LIMITS.maxWaitMs) return this.#refuse(ownMs);
    const ms = estimate();
    this.#charge(shares, priceOf(ms));
    if (ownMs > 0) await this.#clock.wait(ownMs);
    const waitMs = this.#freeAt - this.#clock.now();
    if (waitMs > CPU_LIMITS.maxWaitMs) {
      this.#charge(shares, -priceOf(ms));
      return this.#refuse(waitMs);
    }
    this.#reserve(2 * ms);
    if (waitMs > 0) await this.#clock.wait(waitMs);
    return ms;
  }

  /**
   * Replaces the estimate that was charged by the actual duration; `estimatedMs` is 0 when the piece was not
   * admitted.
   */
  settle(shares: readonly CpuShare[], estimatedMs: number, ms: number): void {
    if (shares.length === 0) return;
    this.#charge(shares, -priceOf(estimatedMs));
    this.#charge(shares, priceOf(ms));
    this.#freeAt = Math.max(this.#freeAt, this.#clock.now() + ms);
  }

  async #refuse(waitMs: number): Promise<never> {
    await this.#clock.wait(CPU_LIMITS.refusalMs);
    throw refusal(waitMs);
  }

  #reserve(ms: number): void {
    this.#freeAt = Math.max(this.#freeAt, this.#clock.now()) + ms;
  }

  /** Takes a price from the shares; a negative price gives back. */
  #charge(shares: readonly CpuShare[], price: number): void {
    for (const each of shares) {
      const most = each.perSecond * CPU_LIMITS.mostSeconds;
      this.#fill(each).left -= Math.max(-most, Math.min(price, most));
    }
  }

  #fill({ key, perSecond }: CpuShare): Bucket {
    const now = this.#clock.now();
    const burst = perSecond * CPU_LIMITS.burstSeconds;
    const bucket = this.#buckets.get(key) ?? { left: burst, at: now };
    bucket.left = Math.min(burst, bucket.left + ((now - bucket.at) / 1_000) * perSecond);
    bucket.at = now;
    // Drop the least recently used buckets first: they are the fullest.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MAX_BUCKETS) this.#buckets.delete(this.#buckets.keys().next().value!);
    return bucket;
  }
}

function refusal(waitMs: number): Error {
  return requestError(429, 'RATE_LIMITED', 'Your documents have taken too much of the server’s time.', {
    hint: 'Wait for retryAfterMs; send the same documents with other variables, or smaller ones: documents that the server knows cost nothing.',
    details: { retryAfterMs: Math.ceil(waitMs) },
  });
}

/**
 * Returns the milliseconds of CPU that this thread has used; wall-clock time where Node cannot report it
 * (before 23.9).
 */
export function threadCpuMs(): number {
  if (typeof process.threadCpuUsage !== 'function') return performance.now();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
