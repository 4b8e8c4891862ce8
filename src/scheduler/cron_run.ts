/** One run of a job: opens a connection as the job's user, runs the command, and records the outcome. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { withDatabase } from '../database/connections.ts';
import { type Outcome, runCommand } from './cron_command.ts';

/** A run that the leader's tick returns. */
export interface Task {
  runid: number;
  command: string;
  database: string;
  username: string;
}

/** Options of {@link CronRun}. */
export interface RunOptions {
  /** Pool of flowgres_worker, which records the runs. */
  pool: pg.Pool;
  /** A connection string for each user whose jobs run. */
  users: Record<string, string>;
  /** Longest time for a command, in milliseconds; 0 sets no limit. */
  timeoutMs: number;
}

const CONNECT_TIMEOUT_MS = 10_000;
const RECORD_AGAIN_MS = 500;
const CANCELED: Outcome = { status: 'failed', message: 'job canceled' };

/** One run of a job. */
export class CronRun {
  readonly task: Task;
  readonly #options: RunOptions;
  readonly #canceled = new AbortController();

  constructor(task: Task, options: RunOptions) {
    this.task = task;
    this.#options = options;
  }

  /** Cancels the command. */
  cancel(): void {
    this.#canceled.abort();
  }

  /** Executes the run. Resolves when the outcome is recorded, or when `signal` aborts. */
  async execute(signal: AbortSignal): Promise<void> {
    const outcome = await this.#perform();
    while (outcome && !signal.aborted) {
      try {
        await this.#options.pool.query('select cron.end_run($1, $2, $3)', [this.task.runid, outcome.status, outcome.message]);
        return;
      } catch {
        await delay(RECORD_AGAIN_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** Returns the outcome; undefined when another process has taken the run over. */
  async #perform(): Promise<Outcome | undefined> {
    const url = this.#options.users[this.task.username];
    if (url === undefined) return { status: 'failed', message: 'connection failed' };
    const client = new pg.Client({
      connectionString: withDatabase(url, this.task.database),
      application_name: 'pg_cron',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      statement_timeout: this.#options.timeoutMs || false,
      keepAlive: true,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
    } catch (error) {
      const isLate = error instanceof Error && /timeout expired/.test(error.message);
      return { status: 'failed', message: isLate ? 'job startup timeout' : 'connection failed' };
    }
    try {
      return await this.#send(client, url);
    } catch {
      return { status: 'failed', message: 'connection lost' };
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async #send(client: pg.Client, url: string): Promise<Outcome | undefined> {
    const { processID: pid } = client as pg.Client & { processID: number };
    if (this.#canceled.signal.aborted) return CANCELED;
    const { rows } = await this.#options.pool.query<{ ours: boolean }>('select cron.begin_run($1, $2) as ours', [this.task.runid, pid]);
    if (!rows[0]?.ours) return undefined;
    this.#canceled.signal.addEventListener('abort', () => void cancelBackend(url, pid));
    const outcome = await runCommand(client, this.task.command);
    return this.#canceled.signal.aborted && outcome.status === 'failed' ? CANCELED : outcome;
  }
}

/** Cancels a backend in a session of the same user, which has the right to do so. */
async function cancelBackend(url: string, pid: number): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select pg_cancel_backend($1)', [pid]);
  } catch {
    // When the server is out of reach, the command has lost its connection as well.
  } finally {
    await client.end().catch(() => undefined);
  }
}
