/** What subscriptions may cost: how many of one token and of one organization, and how often they read again. */
import { setTimeout as delay } from 'node:timers/promises';
import { SafeError } from 'postgraphile/grafast';
import { LIMITS } from '../constants.ts';

export interface SubscriptionSettings {
  /** Subscriptions of one token, and of one organization, in one process. */
  perToken: number;
  perOrganization: number;
  /** Reads a second of all subscriptions of one organization in one process; a change that is sent is one, too. */
  readsPerSecond: number;
}

export const DEFAULT_SUBSCRIPTIONS: SubscriptionSettings = LIMITS.subscriptions;

/** After a pause so many seconds' worth of reads may be made at once, and others wait for all of them. */
export const BURST_SECONDS = 0.1;

/** Counts keys, each up to a limit. */
export class Counts {
  readonly #counts = new Map<string, number>();

  /** Counts one more, unless there are `limit` already. */
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
   * Counts one more subscription until the returned function is called.
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
   * One read for all who ask the same before it is made: `key` says who asks and what. Whoever asks later reads anew, since
   * what happened since may be what it was told of.
   */
  share<T>(key: string, organizationId: string | undefined, read: () => Promise<T>): Promise<T> {
    const pending = this.#pending.get(key) as Promise<T> | undefined;
    if (pending) return pending;
    const made = (async () => {
      // Those that the same notification has woken come within this pace of the event loop.
      await new Promise((resolve) => setImmediate(resolve));
      if (organizationId !== undefined) await this.pace(organizationId);
      this.#pending.delete(key);
      return read();
    })();
    this.#pending.set(key, made);
    return made;
  }

  /** Organizations that have a full burst again; those that read last stand last. */
  #forget(now: number): void {
    for (const [organizationId, at] of this.#nextAt) {
      if (at > now - BURST_SECONDS * 1_000) return;
      this.#nextAt.delete(organizationId);
    }
  }
}
