/** Work that needs a connection each, of many callers: each caller has a part of the connections and a place to wait. */
import { FlowgresError } from '../errors.ts';
import { FairShare, type Release } from './fair_share.ts';

export interface FairQueueOptions {
  /** Pieces of work at a time; of one key about half of them, see {@link FairShare}. */
  total: number;
  /** Calls of one key that wait; more are refused. */
  maxWaiting: number;
  /** How long one waits, in milliseconds. */
  maxWaitMs: number;
}

/** When to come again after a refusal, in milliseconds. */
const RETRY_AFTER_MS = 1_000;

/** Those of one key that wait are served in the order of their calls; of several keys, the one that holds least. */
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
   * Calls `work` when it is the key's turn. Rejects as `work` does.
   *
   * @throws FlowgresError RATE_LIMITED, before `work` is called, when too many calls of the key wait, or it waits too long
   */
  async use<T>(key: string, work: () => Promise<T>): Promise<T> {
    const release = this.#share.tryAcquire(key, 1) ?? (await this.#wait(key));
    try {
      return await work();
    } finally {
      release();
    }
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

/** What a caller is told who has too much under way. */
export function tooMany(): FlowgresError {
  return new FlowgresError('RATE_LIMITED', 'Too many requests of the same caller wait for the database.', {
    hint: 'Wait for retryAfterMs, and send fewer at a time.',
    details: { retryAfterMs: RETRY_AFTER_MS },
  });
}
