/**
 * Shares reads among subscriptions of the same token. After a change each subscription reads what has changed,
 * and Grafast reads the fields of each: without sharing, one statement for every subscriber, most of them
 * identical.
 */

/** Results of one read of changes. Later changes are found by a later read. */
export class Reading {
  readonly #until: number;
  readonly #results = new Map<string, Promise<unknown>>();

  /** @param until when its results are too old to be sent, on the clock of performance.now() */
  constructor(until: number) {
    this.#until = until;
  }

  /** Returns the result of the first `read` with this key; forgets it when it fails. */
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

/** Results are used for this many milliseconds: the rights of a token are checked for each read. */
const FRESH_MS = 1_000;

/** The current read of each subscription. */
export class SharedReads {
  /** Reads by the settings object of a subscription, which all its statements carry. */
  readonly #readings = new WeakMap<object, Reading>();

  newReading(): Reading {
    return new Reading(performance.now() + FRESH_MS);
  }

  /** Makes statements with these settings use this read from now on. */
  tellOf(settings: object, reading: Reading): void {
    this.#readings.set(settings, reading);
  }

  /** Returns the read that a statement with these settings belongs to. */
  readingOf(settings: object): Reading | undefined {
    return this.#readings.get(settings);
  }
}
