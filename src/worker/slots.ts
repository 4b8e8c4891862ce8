/** The steps that a process has in flight: how many at a time, and who waits for one of them to end. */

/** Room for one step. Releasing it twice does no harm. */
export interface Slot {
  release(): void;
}

type Waiter = (slot: Slot | undefined) => void;

export class Slots {
  readonly capacity: number;
  readonly #waiting = new Set<Waiter>();
  #used = 0;
  #closed = false;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Slots that are taken. */
  get used(): number {
    return this.#used;
  }

  /** A slot that is free now and that nobody waits for. */
  tryAcquire(): Slot | undefined {
    return this.#closed || this.#used >= this.capacity ? undefined : this.#grant();
  }

  /** The next free slot, in the order of the calls; undefined when there was none for `patienceMs`, or when this is closed. */
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

  /** Grants no more slots; whoever waits is told so. */
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
