/**
 * Queues work of many callers for a fixed number of connections. Each caller has a share of the connections and
 * a limited number of waiting calls.
 */
import { FlowgresError } from '../errors.ts';
import { FairShare, type Release } from './fair_share.ts';
import { useThenRest } from './rest.ts';

/** Options of {@link FairQueue}. */
export interface FairQueueOptions {
  /** Pieces of work at a time; one key gets about half of them, see {@link FairShare}. */
  total: number;
  /** Waiting calls of one key; further ones are refused. */
  maxWaiting: number;
  /** Longest wait, in milliseconds. */
  maxWaitMs: number;
}

/** Value of retryAfterMs in a refusal. */
const RETRY_AFTER_MS = 1_000;

/** Runs waiting calls of one key in their order; among keys, the one that holds least first. */
export class FairQueue {
  readonly #share: FairShare;
  readonly #options: FairQueueOptions;

  constructor(options: FairQueueOptions) {
    this.#share = new FairShare(options.total);
    this.#options = options;
  }

  /** Whether another call of the key would be refused now. */
  isFull(key: string): boolean {
    return this.#share.waitingOf(key) >= this.#options.maxWaiting;
  }

  /**
   * Calls `work` when the key has a share, which rests after slow work. Rejects as `work` does.
   *
   * @throws FlowgresError RATE_LIMITED, before `work` is called, when too many calls of the key wait, or the
   *   call has waited too long
   */
  async use<T>(key: string, work: () => Promise<T>): Promise<T> {
    const release = this.#share.tryAcquire(key, 1) ?? (await this.#wait(key));
    return useThenRest(work, release);
  }

  async #wait(key: string): Promise<Release> {
    if (this.isFull(key)) throw tooMany();
    const gaveUp = new AbortController();
    const timer = setTimeout(() => gaveUp.abort(tooMany()), this.#options.maxWaitMs);
    try {
      return await this.#share.acquire(key, 1, gaveUp.signal);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The error for a caller with too many waiting calls. */
export function tooMany(): FlowgresError {
  return new FlowgresError('RATE_LIMITED', 'Too many requests of the same caller wait for the database.', {
    hint: 'Wait for retryAfterMs, and send fewer at a time.',
    details: { retryAfterMs: RETRY_AFTER_MS },
  });
}
