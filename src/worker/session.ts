/**
 * The session of a worker: a connection of its own that holds the worker's advisory lock and is otherwise idle but
 * for one statement a second. The server frees the lock as soon as the process dies, which other workers see.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { connect } from '../database/connections.ts';
import { DUE_WORK, type DueWork, HOLD_SESSION, dueWorkAnswer } from '../engine/due_work.ts';

/** Options of {@link WorkerSession}. */
export interface WorkerSessionOptions {
  /** Connection string of flowgres_worker, without a transaction pooler, since the session holds a lock. */
  connectionString: string;
  workerId: string;
  /** Called when the session begins and when it has ended: the next heartbeat tells others. */
  onChange(): void;
  onProblem(message: string, error: unknown): void;
}

const RETRY_MS = [50, 100, 250, 500, 1_000];
/** Longest time for one statement, in milliseconds. Then the session is replaced. */
const ANSWER_TIMEOUT_MS = 5_000;
/** How long closing waits for the end of the connection, in milliseconds. */
const CLOSE_MS = 1_000;
/**
 * How long a session has to last before it judges those of others, in milliseconds, when it replaces one that was
 * lost: what ended it may have ended theirs, and they need a moment as well.
 */
const SETTLING_MS = 5_000;
const SETTINGS = {
  statement_timeout: '4s',
  lock_timeout: '4s',
  // A network that swallows packets: the server keeps the session for longer than a lease, 10 + 3 * 3 seconds.
  tcp_keepalives_idle: '10',
  tcp_keepalives_interval: '3',
  tcp_keepalives_count: '3',
};

/** Keeps a session that holds the lock of a worker; opens another one when it is lost. */
export class WorkerSession {
  readonly #options: WorkerSessionOptions;
  readonly #closed = new AbortController();
  readonly #tried = Promise.withResolvers<void>();
  #keeping: Promise<void> | undefined;
  #client: pg.Client | undefined;
  /** When the session may judge others, by performance.now(). */
  #judgesAt = 0;
  /** Ends the session from this side. */
  #drop: () => void = () => undefined;

  constructor(options: WorkerSessionOptions) {
    this.#options = options;
  }

  /** Resolves when the session holds the lock, or when the first attempt has failed; further ones follow. */
  async open(): Promise<void> {
    this.#keeping ??= this.#keep();
    await this.#tried.promise;
  }

  /** Ends the session for good. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#drop();
    await this.#keeping;
  }

  /**
   * Asks over the session what is due. Resolves to undefined when there is no session at the moment. A session
   * that does not answer is replaced.
   *
   * @throws what pg rejects with
   */
  async dueWork(): Promise<DueWork | undefined> {
    const client = this.#client;
    if (!client) return undefined;
    try {
      const values = [this.#options.workerId, performance.now() >= this.#judgesAt];
      return dueWorkAnswer.parse((await ask(client, DUE_WORK, values))[0]);
    } catch (error) {
      if (client === this.#client) this.#drop();
      throw error;
    }
  }

  async #keep(): Promise<void> {
    for (let failures = 0; !this.#closed.signal.aborted; ) {
      try {
        await this.#hold(() => (failures = 0));
      } catch (error) {
        if (failures === 0 && !this.#closed.signal.aborted) this.#options.onProblem('The session of the worker was not opened.', error);
      }
      this.#tried.resolve();
      const wait = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]!;
      await delay(wait, undefined, { signal: this.#closed.signal, ref: false }).catch(() => undefined);
    }
  }

  /** Opens a session and takes the lock. Resolves when the session has ended. */
  async #hold(onHeld: () => void): Promise<void> {
    const client = await connect(this.#options.connectionString, { application_name: 'flowgres worker session', ...SETTINGS });
    const ended = new Promise<void>((resolve) => {
      client.once('end', resolve);
      this.#drop = () => {
        client.end().catch(() => undefined);
        resolve();
      };
    });
    try {
      if (this.#closed.signal.aborted) return;
      await ask(client, HOLD_SESSION, [this.#options.workerId]);
      this.#client = client;
      onHeld();
      this.#tried.resolve();
      this.#options.onChange();
      await ended;
    } finally {
      this.#client = undefined;
      this.#judgesAt = performance.now() + SETTLING_MS;
      // A network that swallows packets would delay the end, and with it the next session.
      const end = client.end().catch(() => undefined);
      if (this.#closed.signal.aborted) await Promise.race([end, delay(CLOSE_MS, undefined, { ref: false })]);
      else this.#options.onChange();
    }
  }
}

async function ask(client: pg.Client, text: string, values: unknown[]): Promise<Record<string, unknown>[]> {
  const query = { text, values, query_timeout: ANSWER_TIMEOUT_MS } as pg.QueryConfig;
  return (await client.query<Record<string, unknown>>(query)).rows;
}
