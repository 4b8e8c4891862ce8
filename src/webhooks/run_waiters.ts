/**
 * Lets callers wait for runs: woken by notifications, and by one query for all of them every second in case one
 * was lost.
 */
import type { Engine, RunAnswer } from '../engine/engine.ts';

/** The part of LiveRuns that is used here. */
export interface RunNotifications {
  subscribe(listener: (runIds: readonly string[] | 'many') => void): () => void;
}

interface Waiter {
  runId: string;
  /** Returns true when this state of the run ends the wait. */
  offer(run: RunAnswer): boolean;
}

const LOOK_MS = 1_000;
/**
 * Stay subscribed for this long after the last waiter, in milliseconds, since a new subscription takes effect
 * with a delay.
 */
const IDLE_MS = 30_000;
const MAX_IDS = 500;

/** Waits for runs on behalf of many callers. */
export class RunWaiters {
  readonly #engine: Engine;
  readonly #notifications: RunNotifications;
  readonly #waiters = new Map<string, Set<Waiter>>();
  readonly #unread = new Set<string>();
  #unsubscribe: (() => void) | undefined;
  #look: NodeJS.Timeout | undefined;
  #reading = false;
  #idleSince = 0;

  constructor(engine: Engine, notifications: RunNotifications) {
    this.#engine = engine;
    this.#notifications = notifications;
  }

  /**
   * Resolves to the first answer that `settle` returns for a state of the run; undefined after `timeoutMs`, or
   * when `signal` aborts.
   */
  wait<Answer>(
    runId: string,
    settle: (run: RunAnswer) => Answer | undefined,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Answer | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    const waiter: Waiter = {
      runId,
      offer: (run) => {
        const answer = settle(run);
        if (answer !== undefined) resolve(answer);
        return answer !== undefined;
      },
    };
    const giveUp = () => resolve(undefined);
    const timer = setTimeout(giveUp, timeoutMs);
    signal.addEventListener('abort', giveUp, { once: true });
    this.#add(waiter);
    return promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      this.#remove(waiter);
    });
  }

  /** Ends the subscription. Callers that still wait time out. */
  close(): void {
    clearInterval(this.#look);
    this.#look = undefined;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  #add(waiter: Waiter): void {
    const waiters = this.#waiters.get(waiter.runId) ?? new Set();
    this.#waiters.set(waiter.runId, waiters.add(waiter));
    this.#unsubscribe ??= this.#notifications.subscribe((runIds) => this.#heard(runIds));
    this.#look ??= setInterval(() => this.#lookAtAll(), LOOK_MS);
    // The run may have finished between its start and this subscription.
    this.#heard([waiter.runId]);
  }

  #remove(waiter: Waiter): void {
    const waiters = this.#waiters.get(waiter.runId);
    waiters?.delete(waiter);
    if (waiters?.size === 0) this.#waiters.delete(waiter.runId);
    if (!this.#waiters.size) this.#idleSince = Date.now();
  }

  #lookAtAll(): void {
    if (this.#waiters.size) this.#heard('many');
    else if (Date.now() - this.#idleSince > IDLE_MS) this.close();
  }

  #heard(runIds: readonly string[] | 'many'): void {
    for (const runId of runIds === 'many' ? this.#waiters.keys() : runIds) {
      if (this.#waiters.has(runId)) this.#unread.add(runId);
    }
    if (this.#unread.size && !this.#reading) {
      this.#reading = true;
      setImmediate(() => this.#read());
    }
  }

  async #read(): Promise<void> {
    while (this.#unread.size) {
      const runIds = [...this.#unread].slice(0, MAX_IDS);
      for (const runId of runIds) this.#unread.delete(runId);
      try {
        for (const run of await this.#engine.runAnswers(runIds)) this.#offer(run);
      } catch {
        // The next query tries again; meanwhile the time limits of the callers apply.
        break;
      }
    }
    this.#reading = false;
  }

  #offer(run: RunAnswer): void {
    for (const waiter of [...(this.#waiters.get(run.runId) ?? [])]) {
      if (waiter.offer(run)) this.#remove(waiter);
    }
  }
}
