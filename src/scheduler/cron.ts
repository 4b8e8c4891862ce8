/**
 * Runs the jobs of schema cron. One of all processes that maintain leads: it holds an advisory lock in the session in which it
 * ticks, so a process that has lost the lock cannot tick. The session of a leader that dies ends at once; that
 * of one that hangs ends by its idle timeout. Commands run in this process and not as jobs of the queue: the
 * queue may have hours of backlog, and the lock already guarantees a single runner.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { connect, createPool } from '../database/connections.ts';
import { log } from '../log.ts';
import { watchPool } from '../metrics.ts';
import { CronRun } from './cron_run.ts';
import { untilNextSecond } from './every.ts';

/** Options of {@link startCron}. */
export interface CronOptions {
  /** Connection string of flowgres_worker, without a transaction pooler, since the session holds a lock. */
  connectionString: string;
  /** A connection string for each user whose jobs run; jobs of others fail with `connection failed`. */
  users: Record<string, string>;
  /** Longest time for a command, in milliseconds; 0 (the default) sets no limit. */
  timeoutMs?: number;
  /** How long stopping waits for running commands before it cancels them, in milliseconds. */
  graceMs?: number;
  onProblem?: (message: string, error: unknown) => void;
}

/** A running scheduler. */
export interface CronRunner {
  /** Whether this process leads at the moment. */
  readonly leads: boolean;
  /** Gives up the lock, waits for running commands, then cancels them. */
  stop(): Promise<void>;
}

/** Key of the advisory lock that the leader holds; an arbitrary constant. */
const LOCK = 4_608_275_070;
/** Interval of trying for the lock, in milliseconds. */
const TRY_MS = 250;
/** Interval of checking whether schema cron still belongs to pg_cron, in milliseconds. */
const ELSEWHERE_MS = 10_000;
/**
 * Longest pause between two sessions, in milliseconds. It begins at TRY_MS and doubles with each session that
 * is lost before it ticked.
 */
const MAX_PAUSE_MS = 5_000;
/** How long the session of the leader may idle, in milliseconds, beyond the time that it rests. */
const IDLE_MS = 1_600;
/** Longest rest of a leader without due jobs, in milliseconds: it notices a clock that jumps ahead this late. */
const MAX_REST_MS = 10_000;
/** Ticks in a row without anything to do, after which the leader rests. */
const TICKS_BEFORE_REST = 3;
const LEADER_SETTINGS = {
  idle_session_timeout: `${IDLE_MS}ms`,
  statement_timeout: '10s',
  lock_timeout: '5s',
  // Detect a peer that disappeared without closing the connection.
  tcp_keepalives_idle: '1',
  tcp_keepalives_interval: '1',
  tcp_keepalives_count: '1',
};
const ANSWER_TIMEOUT_MS = 12_000;

const taskRow = z.object({
  action: z.enum(['run', 'cancel']),
  runid: z.number(),
  command: z.string().nullable(),
  database: z.string().nullable(),
  username: z.string().nullable(),
});

/** Starts a scheduler that leads as soon as no other process does. Waits while schema cron belongs to pg_cron. */
export function startCron(options: CronOptions): CronRunner {
  return new Runner(options);
}

class Runner implements CronRunner {
  readonly #options: Required<CronOptions>;
  readonly #pool: pg.Pool;
  readonly #runs = new Map<number, CronRun>();
  readonly #ends = new Set<Promise<void>>();
  readonly #stopped = new AbortController();
  readonly #abandoned = new AbortController();
  readonly #leading: Promise<void>;
  /** Aborts when there is work before the next second. */
  #bell = new AbortController();
  #changed = false;
  /** Ticks in a row that had nothing to do. */
  #idleTicks = 0;
  /** Whether the session may idle for longer than {@link IDLE_MS}. */
  #mayIdle = false;
  /** Sessions in a row that were lost before they ticked. */
  #failures = 0;
  #stopping: Promise<void> | undefined;
  leads = false;

  constructor(options: CronOptions) {
    this.#options = {
      timeoutMs: 0,
      graceMs: LIMITS.stopping.sqlJobsMs,
      onProblem: (message, error) => log.error(message, { error }),
      ...options,
    };
    this.#pool = createPool(options.connectionString, { name: 'flowgres cron', max: 4, settings: { statement_timeout: '10s' } });
    watchPool('cron', this.#pool);
    this.#leading = this.#tryToLead();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#stopped.abort();
    this.#bell.abort();
    await this.#leading;
    const ended = Promise.all(this.#ends);
    await Promise.race([ended, delay(this.#options.graceMs, undefined, { ref: false })]);
    for (const run of this.#runs.values()) run.cancel();
    await Promise.race([ended, delay(this.#options.graceMs, undefined, { ref: false })]);
    this.#abandoned.abort();
    await this.#pool.end();
  }

  async #tryToLead(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      try {
        await this.#lead();
      } catch (error) {
        this.#failures += 1;
        this.#options.onProblem('The scheduler lost its session.', error);
      }
      this.leads = false;
      await this.#pause(Math.min(TRY_MS * 2 ** Math.max(this.#failures - 1, 0), MAX_PAUSE_MS));
    }
  }

  /** Waits for the lock in a session, then ticks in it until the session ends. */
  async #lead(): Promise<void> {
    const session = await connect(leaderUrl(this.#options.connectionString), LEADER_SETTINGS);
    try {
      for (let state = await this.#mayLead(session); state !== 'leads'; state = await this.#mayLead(session)) {
        // Where schema cron belongs to pg_cron, open a session only for each check.
        if (state === 'elsewhere') return await session.end().then(() => this.#pause(ELSEWHERE_MS));
        await this.#pause(TRY_MS);
        if (this.#stopped.signal.aborted) return;
      }
      this.leads = true;
      session.on('notification', () => {
        this.#changed = true;
        this.#bell.abort();
      });
      await ask(session, 'listen flowgres_cron');
      await ask(session, 'select cron.lead()');
      this.#idleTicks = 0;
      this.#mayIdle = false;
      while (!this.#stopped.signal.aborted) {
        await this.#tick(session);
        this.#failures = 0;
        await this.#untilNextTick(session);
        this.#bell = new AbortController();
      }
    } finally {
      await session.end().catch(() => undefined);
    }
  }

  /**
   * Whether this process may lead, waits for the lock, or has no schema cron to run. Reads the catalog, which
   * also answers roles without rights in that schema.
   */
  async #mayLead(session: pg.Client): Promise<'leads' | 'waits' | 'elsewhere'> {
    const [row] = await ask(
      session,
      `select case
         when not exists (
           select from pg_class as c
           join pg_namespace as n on n.oid = c.relnamespace
           where n.nspname = 'cron' and c.relname = 'job_state'
         ) then 'elsewhere'
         when pg_try_advisory_lock($1) then 'leads'
         else 'waits'
       end as state`,
      [LOCK],
    );
    return z.enum(['leads', 'waits', 'elsewhere']).parse(row?.['state']);
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopped.signal }).catch(() => undefined);
  }

  async #tick(session: pg.Client): Promise<void> {
    const changed = this.#changed;
    this.#changed = false;
    const rows = await ask(session, 'select * from cron.tick($1, $2)', [[...this.#runs.keys()], changed]);
    this.#idleTicks = rows.length || changed || this.#runs.size ? 0 : this.#idleTicks + 1;
    for (const row of rows) {
      const { action, runid, command, database, username } = taskRow.parse(row);
      if (action === 'cancel') this.#runs.get(runid)?.cancel();
      else
        this.#start(
          new CronRun({ runid, command: command!, database: database!, username: username! }, { pool: this.#pool, ...this.#options }),
        );
    }
  }

  /** Resolves at the next full second, or later while no job is due; at once when the bell rings. */
  async #untilNextTick(session: pg.Client): Promise<void> {
    const rests = this.#idleTicks >= TICKS_BEFORE_REST;
    if (rests || this.#mayIdle) {
      const [row] = await ask(session, 'select cron.rest($1, $2) as ms', [rests ? MAX_REST_MS : 0, IDLE_MS]);
      const ms = Number(row?.['ms']);
      this.#mayIdle = ms > 0;
      await delay(ms, undefined, { signal: this.#bell.signal }).catch(() => undefined);
    }
    await untilNextSecond(this.#bell.signal);
  }

  #start(run: CronRun): void {
    this.#runs.set(run.task.runid, run);
    const end = run.execute(this.#abandoned.signal).finally(() => {
      this.#runs.delete(run.task.runid);
      this.#ends.delete(end);
      // Another run of the job may have waited for this one.
      this.#bell.abort();
    });
    this.#ends.add(end);
  }
}

async function ask(session: pg.Client, text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const query = { text, values, query_timeout: ANSWER_TIMEOUT_MS } as pg.QueryConfig;
  return (await session.query<Record<string, unknown>>(query)).rows;
}

function leaderUrl(connectionString: string): string {
  const url = new URL(connectionString);
  url.searchParams.set('application_name', 'flowgres cron leader');
  return url.href;
}
