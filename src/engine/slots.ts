/** Limits the calls of each owner, such as an organization, that use a shared resource at a time. */
import { useThenRest } from '../limits/rest.ts';

/**
 * Limits the calls of one owner that are in progress at a time. Calls of different owners do not wait for each
 * other.
 */
export class SharedSlots {
  readonly #perOwner: number;
  readonly #used = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(perOwner: number) {
    this.#perOwner = perOwner;
  }

  /** Calls `work` when the owner has a slot, which rests after slow work. Rejects as `work` does. */
  async use<T>(owner: string, work: () => Promise<T>): Promise<T> {
    await this.#enter(owner);
    return useThenRest(work, () => this.#leave(owner));
  }

  #enter(owner: string): Promise<void> {
    const used = this.#used.get(owner) ?? 0;
    return new Promise((resolve) => {
      if (used < this.#perOwner) {
        this.#used.set(owner, used + 1);
        resolve();
        return;
      }
      const waiting = this.#waiting.get(owner);
      if (waiting) waiting.push(resolve);
      else this.#waiting.set(owner, [resolve]);
    });
  }

  /** Passes the slot to the owner's next waiting call, if there is one. */
  #leave(owner: string): void {
    const waiting = this.#waiting.get(owner);
    const next = waiting?.shift();
    if (waiting && waiting.length === 0) this.#waiting.delete(owner);
    if (next) {
      next();
      return;
    }
    const used = (this.#used.get(owner) ?? 1) - 1;
    if (used === 0) this.#used.delete(owner);
    else this.#used.set(owner, used);
  }
}
