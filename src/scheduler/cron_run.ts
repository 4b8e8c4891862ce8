/** One run of a job: a connection of its own as the job's user, one command, and the record of what it came to. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { withDatabase } from '../database/connections.ts';
import { type Outcome, runCommand } from './cron_command.ts';

/** What the leader's tick hands out. */
export interface Task {
  runid: number;
  command: string;
  database: string;
  username: string;
}

export interface RunOptions {
  /** Where runs are recorded, as flowgres_worker. */
  pool: pg.Pool;
  /** A connection string for each user whose jobs are run. */
  users: Record<string, string>;
  /** Longest time for a command, in milliseconds; 0 sets no limit. */
  timeoutMs: number;
}

const CONNECT_TIMEOUT_MS = 10_000;
const RECORD_AGAIN_MS = 500;
const CANCELED: Outcome = { status: 'failed', message: 'job canceled' };

export class CronRun {
  readonly task: Task;
  readonly #options: RunOptions;
  readonly #canceled = new AbortController();

  constructor(task: Task, options: RunOptions) {
    this.task = task;
    this.#options = options;
  }

  /** Ends the command as soon as the server can. */
  cancel(): void {
    this.#canceled.abort();
  }

  /** Resolves when the outcome is recorded, or `signal` says that nobody waits for that any more. */
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

  /** What the run came to; undefined when it turned out to be somebody else's. */
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

/** A user may cancel what the same user runs. */
async function cancelBackend(url: string, pid: number): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select pg_cancel_backend($1)', [pid]);
  } catch {
    // The server is out of reach: the command has lost its connection as well.
  } finally {
    await client.end().catch(() => undefined);
  }
}
