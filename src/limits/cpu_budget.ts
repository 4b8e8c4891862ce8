/**
 * When a document may block the event loop: validating and planning one happens in one piece, in which nobody else is
 * answered. Each caller has a bucket, which fills with time, and between two pieces of anybody the loop is left free for
 * as long as the first one took. The buckets belong to the process, as its event loop does; the limit on how many requests
 * there are is in the database (rate_limit.ts).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '../constants.ts';
import { requestError } from '../http/errors.ts';

/** A bucket: whose it is, and how much it gains per second. */
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
  /** In milliseconds. */
  now(): number;
  wait(ms: number): Promise<unknown>;
}

/**
 * What a piece of `ms` costs. Its square counts: one that blocks the loop for 200 ms makes everybody who asks meanwhile
 * wait for 100 ms on average, eight of 25 ms with pauses between them delay nobody noticeably.
 */
export function priceOf(ms: number): number {
  return ms * Math.max(1, ms / CPU_LIMITS.harmlessMs);
}

export class CpuBudget {
  readonly #buckets = new Map<string, Bucket>();
  readonly #clock: Clock;
  /** When the next piece may begin. */
  #freeAt = 0;

  constructor(clock: Clock = { now: () => performance.now(), wait: delay }) {
    this.#clock = clock;
  }

  /**
   * Resolves to what a piece is estimated at, in milliseconds, when it may begin, and takes its price out of all `shares`.
   * Those of one caller begin in the order of the calls.
   *
   * @param estimate is called only when the caller has something left
   * @throws SafeError RATE_LIMITED (HTTP 429), with when to come again, and takes nothing
   */
  async admit(shares: readonly CpuShare[], estimate: () => number): Promise<number> {
    // Without a limit there is nothing to share.
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

  /** What a piece has taken, instead of what was estimated: 0 when it was not admitted. */
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

  /** A negative price gives back. */
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
    // Those who have asked for nothing for longest go first: their buckets are the fullest.
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

/** Milliseconds of CPU that this thread has had; the clock's where Node cannot tell (before 23.9). */
export function threadCpuMs(): number {
  if (typeof process.threadCpuUsage !== 'function') return performance.now();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
