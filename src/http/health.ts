/** Answers of /readyz and /metrics that need the database, and whether each part of the process can work there. */
import type pg from 'pg';
import { createPool } from '../database/connections.ts';
import { copyProblem } from '../database/installation.ts';
import { watchNumber, watchPool } from '../metrics.ts';
import { schemaProblems } from '../database/schema_state.ts';
import { type Sources, ownSources } from '../database/sources.ts';
import { reasonOf } from '../errors.ts';

const TIMEOUT_MS = 2_000;
/** The database is asked at most once in this time, in milliseconds, however many requests come. */
export const READY_MS = 1_000;

interface Queue {
  workers: number;
  ready_jobs: number;
  running_steps: number;
}

/** A connection that a part of the process uses: its role, and its pooler if it has one. */
export interface Way {
  /** Name of the pool, as in flowgres_pool_connections. */
  name: string;
  connectionString: string;
}

/** Options of {@link createHealth}. */
export interface HealthOptions {
  /** Connection string of flowgres_monitor. */
  connectionString: string;
  /** The connections of all parts of the process. */
  ways?: Way[];
  /** Whether the worker is alive; not given for a process without one, which is ready without a worker. */
  isWorkerAlive?: (() => boolean) | undefined;
  /** The sources that this process was started from; an upgrade may replace the files later. */
  sources?: Sources;
}

/** Health checks of a process. */
export interface Health {
  /** Returns what keeps the process from working; empty when it is ready. */
  problems(): Promise<string[]>;
  /** Returns why the database must have no side effects; null when it is the installation itself. */
  copyProblem(): Promise<string | null>;
  close(): Promise<void>;
}

/** Creates the checks, with connections of their own. */
export function createHealth(options: HealthOptions): Health {
  const { ways = [], isWorkerAlive = () => true, sources = ownSources() } = options;
  const pool = createPool(options.connectionString, {
    name: 'flowgres health',
    max: 2,
    settings: { statement_timeout: `${TIMEOUT_MS}ms` },
  });
  pool.options.connectionTimeoutMillis = TIMEOUT_MS;
  watchPool('health', pool);
  // Separate connections: a pool whose connections are all in use is still ready.
  const probes = ways.map(({ name, connectionString }) => ({ name, probe: createProbe(connectionString) }));
  // The metrics of a scrape are collected at once: one statement answers all of them.
  let reading: Promise<Queue> | undefined;
  const queue = () => (reading ??= readQueue(pool).finally(() => (reading = undefined)));
  watchNumber('flowgres_workers', 'Workers whose heartbeat is fresh.', async () => (await queue()).workers);
  watchNumber('flowgres_ready_jobs', 'Jobs that wait for a worker, at most 10000.', async () => (await queue()).ready_jobs);
  watchNumber('flowgres_running_steps', 'Steps that run, at most 10000.', async () => (await queue()).running_steps);
  watchNumber('flowgres_failing_jobs', 'SQL jobs whose last run failed, or that did not run at their times.', () => countFailingJobs(pool));

  const ask = async (): Promise<string[]> => {
    const [own, ...others] = await Promise.all([
      schemaAndWorker(pool, sources, isWorkerAlive),
      ...probes.map(({ name, probe }) => wayProblems(name, probe)),
    ]);
    return [...own, ...others.flat()];
  };
  let asked: { problems: Promise<string[]>; until: number } | undefined;
  return {
    problems() {
      if (!asked || asked.until < performance.now()) asked = { problems: ask(), until: performance.now() + READY_MS };
      return asked.problems;
    },
    copyProblem: () => copyProblem(pool),
    close: async () => void (await Promise.all([pool.end(), ...probes.map(({ probe }) => probe.end())])),
  };
}

async function schemaAndWorker(pool: pg.Pool, sources: Sources, isWorkerAlive: () => boolean): Promise<string[]> {
  try {
    const problems = await schemaProblems(pool, sources);
    const copy = await copyProblem(pool);
    if (copy !== null) return [...problems, copy];
    return [...problems, ...(isWorkerAlive() ? [] : ["this worker's heartbeats do not get through"])];
  } catch (error) {
    return [`the database does not answer: ${reasonOf(error)}`];
  }
}

/** Returns a pool of one connection that sends no settings, which a pooler might refuse. */
function createProbe(connectionString: string): pg.Pool {
  const probe = createPool(connectionString, { name: 'flowgres readiness', max: 1 });
  probe.options.connectionTimeoutMillis = TIMEOUT_MS;
  return probe;
}

/** Checks that the connection leads to a server that accepts writes. */
async function wayProblems(name: string, probe: pg.Pool): Promise<string[]> {
  try {
    const question = {
      text: `select pg_is_in_recovery() as is_standby, current_setting('transaction_read_only')::boolean as is_read_only`,
      query_timeout: TIMEOUT_MS,
    } as pg.QueryConfig;
    const { rows } = await probe.query<{ is_standby: boolean; is_read_only: boolean }>(question);
    const { is_standby, is_read_only } = rows[0]!;
    if (is_standby) return [`pool ${name}: the server is a standby, which cannot be written`];
    return is_read_only ? [`pool ${name}: the server is read-only (default_transaction_read_only)`] : [];
  } catch (error) {
    return [`pool ${name}: the database does not answer: ${reasonOf(error)}`];
  }
}

async function countFailingJobs(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ count: number }>('select count(*)::int as count from monitor.jobs() where problem is not null');
  return rows[0]!.count;
}

async function readQueue(pool: pg.Pool): Promise<Queue> {
  const { rows } = await pool.query<Queue>('select workers, ready_jobs, running_steps from monitor.queue()');
  return rows[0]!;
}
