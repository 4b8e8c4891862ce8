/**
 * Whose password is hashed next. Hashing is memory and time, so little of it happens at once. Logins go before
 * registrations, which rest between two of them; the callers of each kind take turns, so that a flood of one delays itself.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';

/** Logging in is work of people who have an account; registering, and a new password by a code, is anybody's. */
export type HashKind = 'login' | 'registration';

export interface HashCaller {
  kind: HashKind;
  /** The network that asks. */
  network: string;
}

export const HASH_LIMITS = LIMITS.passwords;

const RETRY_AFTER_MS = 2_000;

interface Waiting {
  start(): void;
  refuse(error: FlowgresError): void;
}

interface Kind {
  running: number;
  waiting: number;
  /** The next of the first network is the next; then that network is the last. */
  networks: Map<string, Waiting[]>;
}

interface Clock {
  /** In milliseconds. */
  now(): number;
  wait(ms: number): Promise<unknown>;
}

export class HashQueue {
  readonly #kinds: Record<HashKind, Kind> = {
    login: { running: 0, waiting: 0, networks: new Map() },
    registration: { running: 0, waiting: 0, networks: new Map() },
  };
  readonly #clock: Clock;
  /** Logins begun since the last registration, and when the next one may begin. */
  #logins = 0;
  #registrationsFrom = 0;
  #isResting = false;

  constructor(clock: Clock = { now: () => performance.now(), wait: delay }) {
    this.#clock = clock;
  }

  /** Runs `work` when it is the caller's turn. Throws TOO_BUSY, before anything has run, when too many wait. */
  async run<T>(caller: HashCaller, work: () => Promise<T>): Promise<T> {
    const kind = this.#kinds[caller.kind];
    await new Promise<void>((resolve, reject) => {
      this.#enter(kind, caller.network, { start: resolve, refuse: reject });
      this.#startNext();
    });
    const startedAt = this.#clock.now();
    try {
      return await work();
    } finally {
      kind.running -= 1;
      const now = this.#clock.now();
      if (caller.kind === 'registration') this.#registrationsFrom = now + (now - startedAt) * HASH_LIMITS.rest;
      this.#startNext();
    }
  }

  #enter(kind: Kind, network: string, entry: Waiting): void {
    const own = kind.networks.get(network) ?? [];
    if (own.length >= HASH_LIMITS.waitingOfNetwork) {
      entry.refuse(tooBusy());
      return;
    }
    if (kind.waiting >= HASH_LIMITS.waiting) {
      // The last of the network that has most makes room, unless this one has as many.
      const longest = [...kind.networks.values()].reduce((most, each) => (each.length > most.length ? each : most), own);
      if (longest.length <= own.length + 1) {
        entry.refuse(tooBusy());
        return;
      }
      longest.pop()!.refuse(tooBusy());
      kind.waiting -= 1;
    }
    own.push(entry);
    kind.networks.set(network, own);
    kind.waiting += 1;
  }

  #startNext(): void {
    const { login, registration } = this.#kinds;
    while (login.running + registration.running < HASH_LIMITS.atOnce) {
      const mayRegister = registration.waiting > 0 && registration.running < HASH_LIMITS.registrations && this.#isRested();
      if (login.waiting > 0 && !(mayRegister && this.#logins >= HASH_LIMITS.loginsFirst)) {
        this.#logins += 1;
        this.#start(login);
      } else if (mayRegister) {
        this.#logins = 0;
        this.#start(registration);
      } else return;
    }
  }

  /** Whether a registration may begin now; if not, this is asked again when it may. */
  #isRested(): boolean {
    const restMs = this.#registrationsFrom - this.#clock.now();
    if (restMs <= 0) return true;
    if (!this.#isResting) {
      this.#isResting = true;
      void this.#clock.wait(restMs).then(() => {
        this.#isResting = false;
        this.#startNext();
      });
    }
    return false;
  }

  #start(kind: Kind): void {
    const [network, entries] = kind.networks.entries().next().value!;
    const entry = entries.shift()!;
    kind.networks.delete(network);
    if (entries.length > 0) kind.networks.set(network, entries);
    kind.waiting -= 1;
    kind.running += 1;
    entry.start();
  }
}

function tooBusy(): FlowgresError {
  return new FlowgresError('TOO_BUSY', 'Too many passwords are being checked at the moment.', {
    hint: 'Try again in a moment. This does not count as an attempt.',
    details: { retryAfterMs: RETRY_AFTER_MS },
  });
}
