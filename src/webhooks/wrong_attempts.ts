/** Limits requests that are not authenticated: a token bucket for each webhook and network, in this process. */
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';

const BURST = LIMITS.webhooks.wrongAttempts;
const PER_MS = LIMITS.webhooks.wrongAttemptsPerSecond / 1_000;
const MAX_BUCKETS = 10_000;

interface Bucket {
  tokens: number;
  at: number;
}

/** Counts attempts by key. */
export class WrongAttempts {
  readonly #buckets = new Map<string, Bucket>();
  readonly #now: () => number;

  /** @param now the time in milliseconds */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Throws RATE_LIMITED when so many attempts were wrong that no further one is checked. */
  refuseGuessing(key: string): void {
    const bucket = this.#fill(key);
    if (bucket && bucket.tokens < 1) throw rateLimited(bucket);
  }

  /** Counts a wrong attempt. Throws RATE_LIMITED when there were too many before it. */
  count(key: string): void {
    const bucket = this.#fill(key) ?? { tokens: BURST, at: this.#now() };
    // The least recently used bucket is the first one.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MAX_BUCKETS) this.#buckets.delete(this.#buckets.keys().next().value!);
    if (bucket.tokens < 1) throw rateLimited(bucket);
    bucket.tokens -= 1;
  }

  #fill(key: string): Bucket | undefined {
    const bucket = this.#buckets.get(key);
    if (!bucket) return undefined;
    const now = this.#now();
    bucket.tokens = Math.min(BURST, bucket.tokens + Math.max(0, now - bucket.at) * PER_MS);
    bucket.at = now;
    return bucket;
  }
}

function rateLimited({ tokens }: Bucket): FlowgresError {
  const retryAfterMs = Math.ceil((1 - tokens) / PER_MS);
  return new FlowgresError('RATE_LIMITED', 'Too many requests were not authenticated.', {
    hint: 'Wait for retryAfterMs, and check the secret.',
    details: { retryAfterMs },
  });
}
