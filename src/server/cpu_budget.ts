/**
 * What the documents of a caller cost the event loop: buckets of CPU time, one per caller. They belong to the process,
 * as its event loop does; the limit on how many requests there are is in the database (rate_limit.ts).
 */
import { requestError } from './errors.ts';

/** A bucket: whose it is, and how many milliseconds of CPU it gains per second. */
export interface CpuShare {
  key: string;
  perSecond: number;
}

/** After a pause a caller may spend at once what it may spend in so many seconds. */
const BURST_SECONDS = 10;
const MAX_BUCKETS = 10_000;

interface Bucket {
  left: number;
  at: number;
}

export class CpuBudget {
  readonly #buckets = new Map<string, Bucket>();
  readonly #now: () => number;

  /** @param now the time in milliseconds, for tests */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Throws RATE_LIMITED (HTTP 429), with when to come again, while one of the buckets is empty. */
  require(shares: readonly CpuShare[]): void {
    const waits = shares.map(({ key, perSecond }) => (-this.#fill(key, perSecond).left / perSecond) * 1_000);
    const retryAfterMs = Math.ceil(Math.max(0, ...waits));
    if (retryAfterMs === 0) return;
    throw requestError(429, 'RATE_LIMITED', 'Your documents have taken too much of the server’s time.', {
      hint: 'Wait for retryAfterMs; send the same documents with other variables, or smaller ones: documents that the server knows cost nothing.',
      details: { retryAfterMs },
    });
  }

  /** Takes `ms` out of all of them, below nothing too; a negative number gives back. */
  charge(shares: readonly CpuShare[], ms: number): void {
    for (const { key, perSecond } of shares) {
      const bucket = this.#fill(key, perSecond);
      bucket.left = Math.min(bucket.left - ms, perSecond * BURST_SECONDS);
    }
  }

  #fill(key: string, perSecond: number): Bucket {
    const now = this.#now();
    const burst = perSecond * BURST_SECONDS;
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

/** Milliseconds of CPU that this thread has had; the clock's where Node cannot tell (before 23.9). */
export function threadCpuMs(): number {
  if (typeof process.threadCpuUsage !== 'function') return performance.now();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
