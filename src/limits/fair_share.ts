/** Shares a limited resource of a process, such as bytes or connections, among organizations. */

/** Returns what was granted. Further calls have no effect. */
export type Release = () => void;

interface Waiter {
  key: string;
  amount: number;
  grant(release: Release): void;
}

/**
 * Grants amounts of a total. A key that already holds something gets more only while it then holds no more than
 * remains free, so that a new key always finds something. Waiting keys are served by what they hold, least
 * first, then in the order of their calls.
 */
export class FairShare {
  readonly total: number;
  readonly #used = new Map<string, number>();
  #free: number;
  #waiting: Waiter[] = [];

  /** @param total the whole amount, in any unit */
  constructor(total: number) {
    this.total = total;
    this.#free = total;
  }

  /** Number of waiting calls of a key. */
  waitingOf(key: string): number {
    return this.#waiting.reduce((count, waiter) => count + Number(waiter.key === key), 0);
  }

  /** Like {@link acquire} without waiting: null when it would have to wait. */
  tryAcquire(key: string, wanted: number): Release | null {
    const amount = Math.min(wanted, this.total);
    return this.#fits(key, amount) ? this.#grant(key, amount) : null;
  }

  /** The amount that is not granted. */
  get free(): number {
    return this.#free;
  }

  /**
   * Resolves once `wanted` is granted; more than the total counts as the total.
   *
   * @throws the signal's reason when it aborts before
   */
  acquire(key: string, wanted: number, signal?: AbortSignal): Promise<Release> {
    signal?.throwIfAborted();
    const amount = Math.min(wanted, this.total);
    if (this.#fits(key, amount)) return Promise.resolve(this.#grant(key, amount));
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting = this.#waiting.filter((each) => each !== waiter);
        reject(signal?.reason);
      };
      const waiter: Waiter = {
        key,
        amount,
        grant: (release) => {
          signal?.removeEventListener('abort', abort);
          resolve(release);
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #fits(key: string, amount: number): boolean {
    const used = this.#used.get(key) ?? 0;
    return amount <= this.#free && (used === 0 || used + amount <= this.#free - amount);
  }

  #grant(key: string, amount: number): Release {
    this.#add(key, amount);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#add(key, -amount);
      this.#serve();
    };
  }

  #add(key: string, amount: number): void {
    this.#free -= amount;
    const used = (this.#used.get(key) ?? 0) + amount;
    if (used > 0) this.#used.set(key, used);
    else this.#used.delete(key);
  }

  #serve(): void {
    for (;;) {
      let next: Waiter | undefined;
      let least = Number.POSITIVE_INFINITY;
      for (const waiter of this.#waiting) {
        const used = this.#used.get(waiter.key) ?? 0;
        if (used < least && this.#fits(waiter.key, waiter.amount)) [next, least] = [waiter, used];
      }
      if (!next) return;
      this.#waiting = this.#waiting.filter((each) => each !== next);
      next.grant(this.#grant(next.key, next.amount));
    }
  }
}
