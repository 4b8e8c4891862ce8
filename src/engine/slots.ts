/** Slots of a resource that organizations share: each holds a few of them at most, the others of its calls wait. */

/** At most so many calls of one owner are under way at a time; those of different owners never wait for each other. */
export class SharedSlots {
  readonly #perOwner: number;
  readonly #used = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(perOwner: number) {
    this.#perOwner = perOwner;
  }

  /** Calls `work` when the owner has a slot. Rejects as `work` does. */
  async use<T>(owner: string, work: () => Promise<T>): Promise<T> {
    await this.#enter(owner);
    try {
      return await work();
    } finally {
      this.#leave(owner);
    }
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

  /** The next call of the owner takes the slot over, if one waits. */
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
