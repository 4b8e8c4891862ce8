/**
 * What subscribers of the same token are told of one change is read once for all of them. A subscription reads which things
 * have changed, and Grafast then the fields of each: as many statements as there are subscribers, most of them the same.
 */

/** What one reading of changes has led to: whatever changes later is found by a later reading. */
export class Reading {
  readonly #until: number;
  readonly #results = new Map<string, Promise<unknown>>();

  /** @param until when its results are too old to be told, on the clock of performance.now() */
  constructor(until: number) {
    this.#until = until;
  }

  /** The result of the first `read` with this key, which is forgotten when it fails. */
  once<T>(key: string, read: () => Promise<T>): Promise<T> {
    if (performance.now() > this.#until) return read();
    const known = this.#results.get(key) as Promise<T> | undefined;
    if (known) return known;
    const made = read();
    this.#results.set(key, made);
    made.catch(() => this.#results.delete(key));
    return made;
  }
}

/** The rights of a token are looked up for each reading, so what it found is not told for longer. */
const FRESH_MS = 1_000;

export class SharedReads {
  /** By the settings of a subscription, which all statements of it come with. */
  readonly #readings = new WeakMap<object, Reading>();

  newReading(): Reading {
    return new Reading(performance.now() + FRESH_MS);
  }

  /** From now on the subscription with these settings tells of what this reading found. */
  tellOf(settings: object, reading: Reading): void {
    this.#readings.set(settings, reading);
  }

  /** The reading that a statement with these settings belongs to. */
  readingOf(settings: object): Reading | undefined {
    return this.#readings.get(settings);
  }
}
