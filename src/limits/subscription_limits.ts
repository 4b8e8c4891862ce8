/** Limits subscriptions: how many per token and per organization, and how often they read. */
import { setTimeout as delay } from 'node:timers/promises';
import { SafeError } from 'postgraphile/grafast';
import { LIMITS } from '../constants.ts';

/** Limits of subscriptions in one process. */
export interface SubscriptionSettings {
  /** Subscriptions of one token, and of one organization. */
  perToken: number;
  perOrganization: number;
  /** Reads per second of all subscriptions of one organization; each sent change counts as a read. */
  readsPerSecond: number;
}

export const DEFAULT_SUBSCRIPTIONS: SubscriptionSettings = LIMITS.subscriptions;

/** Reads in this many seconds that may be made at once after a pause; further ones wait. */
export const BURST_SECONDS = 0.1;

/** Counts keys, each up to a limit. */
export class Counts {
  readonly #counts = new Map<string, number>();

  /** Counts one more. Returns false when `limit` is reached. */
  add(key: string, limit: number): boolean {
    const count = this.#counts.get(key) ?? 0;
    if (count >= limit) return false;
    this.#counts.set(key, count + 1);
    return true;
  }

  remove(key: string): void {
    const count = (this.#counts.get(key) ?? 1) - 1;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
}

/** Counts subscriptions, and delays and shares their reads. */
export class SubscriptionLimits {
  readonly #settings: SubscriptionSettings;
  readonly #counts = new Counts();
  /** When the next read of an organization may be made, on the clock of performance.now(). */
  readonly #nextAt = new Map<string, number>();
  readonly #pending = new Map<string, Promise<unknown>>();

  constructor(settings: SubscriptionSettings) {
    this.#settings = settings;
  }

  /**
   * Counts a subscription until the returned function is called.
   *
   * @param kind `token` or `organization`
   * @throws SafeError LIMIT_REACHED
   */
  enter(kind: 'token' | 'organization', id: string): () => void {
    const limit = kind === 'token' ? this.#settings.perToken : this.#settings.perOrganization;
    const key = `${kind}:${id}`;
    if (!this.#counts.add(key, limit)) {
      throw new SafeError(`There are ${limit} subscriptions of this ${kind} already.`, { code: 'LIMIT_REACHED', details: { limit } });
    }
    let counted = true;
    return () => {
      if (counted) this.#counts.remove(key);
      counted = false;
    };
  }

  /** Resolves when a subscription of the organization may read, in the order of the calls. */
  async pace(organizationId: string): Promise<void> {
    const now = performance.now();
    const everyMs = 1_000 / this.#settings.readsPerSecond;
    const at = Math.max(this.#nextAt.get(organizationId) ?? 0, now - BURST_SECONDS * 1_000);
    this.#nextAt.delete(organizationId);
    this.#nextAt.set(organizationId, at + everyMs);
    this.#forget(now);
    if (at > now) await delay(at - now, undefined, { ref: false });
  }

  /**
   * Executes one read for all calls with the same `key` (caller and query) that arrive before it starts. A
   * later call reads again, since the change that woke it may have happened after the read.
   */
  share<T>(key: string, organizationId: string | undefined, read: () => Promise<T>): Promise<T> {
    const pending = this.#pending.get(key) as Promise<T> | undefined;
    if (pending) return pending;
    const made = (async () => {
      // Subscriptions woken by the same notification call within this iteration of the event loop.
      await new Promise((resolve) => setImmediate(resolve));
      if (organizationId !== undefined) await this.pace(organizationId);
      this.#pending.delete(key);
      return read();
    })();
    this.#pending.set(key, made);
    return made;
  }

  /** Drops organizations whose burst is full again; those that read last are at the end. */
  #forget(now: number): void {
    for (const [organizationId, at] of this.#nextAt) {
      if (at > now - BURST_SECONDS * 1_000) return;
      this.#nextAt.delete(organizationId);
    }
  }
}
