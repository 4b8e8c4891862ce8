/**
 * Schedules password hashing, which takes much memory and CPU, so only few run at once. Logins go before
 * registrations, which pause between two of them. Within each kind the networks alternate, so that a flood from
 * one network delays only itself.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';

/**
 * `login`: the caller claims an existing account. `registration`: anybody can ask, for a new account or a new
 * password by a code.
 */
export type HashKind = 'login' | 'registration';

/** Who asks for a hash. */
export interface HashCaller {
  kind: HashKind;
  /** The network of the request, as networkOf() returns it. */
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
  /**
   * Calls by network, in the order in which the networks are served: the first network's oldest call is next,
   * then that network moves to the end.
   */
  networks: Map<string, Waiting[]>;
}

interface Clock {
  /** The current time in milliseconds. */
  now(): number;
  wait(ms: number): Promise<unknown>;
}

/** Orders hash computations of this process by kind and network. */
export class HashQueue {
  readonly #kinds: Record<HashKind, Kind> = {
    login: { running: 0, waiting: 0, networks: new Map() },
    registration: { running: 0, waiting: 0, networks: new Map() },
  };
  readonly #clock: Clock;
  /** Logins begun since the last registration. */
  #logins = 0;
  #registrationsFrom = 0;
  #isResting = false;

  constructor(clock: Clock = { now: () => performance.now(), wait: delay }) {
    this.#clock = clock;
  }

  /**
   * Calls `work` when the caller is next. Rejects as `work` does.
   *
   * @throws FlowgresError TOO_BUSY, before `work` is called, when too many calls wait
   */
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
      // The newest call of the network with the most waiting calls is refused instead, unless this network has
      // as many.
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

  /** Whether a registration may begin now; if not, sets a timer that checks again when it may. */
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
