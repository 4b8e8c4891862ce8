/** The slots of a worker: how many steps it has in flight at a time, and which jobs wait for one. */

/** Room for one step in flight. A second release has no effect. */
export interface Slot {
  release(): void;
}

type Waiter = (slot: Slot | undefined) => void;

/** The slots of one process. */
export class Slots {
  readonly capacity: number;
  readonly #waiting = new Set<Waiter>();
  #used = 0;
  #closed = false;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Number of slots in use. */
  get used(): number {
    return this.#used;
  }

  /** Returns a slot if one is free; undefined otherwise. */
  tryAcquire(): Slot | undefined {
    return this.#closed || this.#used >= this.capacity ? undefined : this.#grant();
  }

  /**
   * Resolves to the next free slot, in the order of the calls; undefined after `patienceMs` milliseconds, or
   * when closed.
   */
  acquire(patienceMs: number): Promise<Slot | undefined> {
    const slot = this.tryAcquire();
    if (slot || this.#closed) return Promise.resolve(slot);
    return new Promise((resolve) => {
      const waiter: Waiter = (granted) => {
        clearTimeout(timer);
        this.#waiting.delete(waiter);
        resolve(granted);
      };
      const timer = setTimeout(waiter, patienceMs, undefined);
      this.#waiting.add(waiter);
    });
  }

  /** Grants no more slots; waiting calls resolve to undefined. */
  close(): void {
    this.#closed = true;
    for (const waiter of [...this.#waiting]) waiter(undefined);
  }

  #grant(): Slot {
    this.#used += 1;
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        this.#used -= 1;
        const [next] = this.#waiting;
        next?.(this.#grant());
      },
    };
  }
}
