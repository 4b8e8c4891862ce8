/** Stopping: by a signal or a failure, in the reverse order of starting, within a time that supervisors allow. */
import { log } from '../log.ts';
import { describeError } from '../database/describe_error.ts';

/** Supervisors send SIGKILL after 10 s. */
const DEADLINE_MS = 9_500;
const EXIT_MS = 300;
/** SIGHUP comes when the terminal closes. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class Shutdown {
  readonly #steps: (() => Promise<unknown>)[] = [];
  readonly #requested = Promise.withResolvers<void>();
  #isRequested = false;

  constructor() {
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (!this.#isRequested && process.stdout.isTTY) console.log('\nStopping …');
        this.#isRequested = true;
        this.#requested.resolve();
      });
    }
  }

  /** Resolves at the first of the signals. */
  get requested(): Promise<void> {
    return this.#requested.promise;
  }

  /** What to do when the process stops; what was added last is done first. */
  add(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  /** Ends a boot that a signal has interrupted. */
  check(): void {
    if (this.#isRequested) throw new Interrupted();
  }

  async run(): Promise<void> {
    const deadline = setTimeout(() => process.exit(1), DEADLINE_MS);
    for (const step of this.#steps.splice(0).reverse()) {
      await step().catch((error: unknown) => log.error(describeError(error)));
    }
    clearTimeout(deadline);
    // Whatever a library still keeps open is of no interest.
    setTimeout(() => process.exit(), EXIT_MS).unref();
  }
}

/** Thrown to leave a boot early; not a failure. */
export class Interrupted extends Error {}
