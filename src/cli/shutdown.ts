/**
 * Stops the process after a signal or a failure: runs the registered steps in reverse order, within the time
 * that supervisors allow.
 */
import { LIMITS } from '../constants.ts';
import { log } from '../log.ts';
import { describeError } from '../database/describe_error.ts';

const EXIT_MS = 300;
/** SIGHUP is sent when the terminal closes. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The steps that end a process. */
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

  /** Resolves at the first signal. */
  get requested(): Promise<void> {
    return this.#requested.promise;
  }

  /** Registers a step. The one added last runs first. */
  add(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  /** Throws Interrupted when a signal has arrived during startup. */
  check(): void {
    if (this.#isRequested) throw new Interrupted();
  }

  async run(): Promise<void> {
    const deadline = setTimeout(() => process.exit(1), LIMITS.stopping.allMs);
    for (const step of this.#steps.splice(0).reverse()) {
      await step().catch((error: unknown) => log.error(describeError(error)));
    }
    clearTimeout(deadline);
    // Exit even if a library keeps a handle open.
    setTimeout(() => process.exit(), EXIT_MS).unref();
  }
}

/** Thrown to end the startup early after a signal; not a failure. */
export class Interrupted extends Error {}
