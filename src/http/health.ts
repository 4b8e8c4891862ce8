/** What /readyz and /metrics ask the database, and whether each part of the process can do its work there. */
import type pg from 'pg';
import { createPool } from '../database/connections.ts';
import { copyProblem } from '../database/installation.ts';
import { watchNumber, watchPool } from '../metrics.ts';
import { schemaProblems } from '../database/schema_state.ts';
import { type Sources, ownSources } from '../database/sources.ts';

const TIMEOUT_MS = 2_000;
/** However many ask, the database is asked once in this time. */
export const READY_MS = 1_000;

interface Queue {
  workers: number;
  ready_jobs: number;
  running_steps: number;
}

/** How a part of the process comes to the database: its role, through its pooler if it has one. */
export interface Way {
  /** Of the pool, as in flowgres_pool_connections. */
  name: string;
  connectionString: string;
}

export interface HealthOptions {
  /** With the login of flowgres_monitor. */
  connectionString: string;
  /** Every way that the process's parts take. */
  ways?: Way[];
  /** Of a process that works; one that only serves is ready without a worker, for what it accepts waits for one. */
  isWorkerAlive?: (() => boolean) | undefined;
  /** What this process was started from; the files may be those of another build afterwards. */
  sources?: Sources;
}

export interface Health {
  /** What keeps this process from doing its work; empty when nothing does. */
  problems(): Promise<string[]>;
  /** Why nothing must come of the database; null when it is the installation itself. */
  copyProblem(): Promise<string | null>;
  close(): Promise<void>;
}

export function createHealth(options: HealthOptions): Health {
  const { ways = [], isWorkerAlive = () => true, sources = ownSources() } = options;
  const pool = createPool(options.connectionString, {
    name: 'flowgres health',
    max: 2,
    settings: { statement_timeout: `${TIMEOUT_MS}ms` },
  });
  pool.options.connectionTimeoutMillis = TIMEOUT_MS;
  watchPool('health', pool);
  // Connections of their own: a pool whose connections are all at work is ready.
  const probes = ways.map(({ name, connectionString }) => ({ name, probe: createProbe(connectionString) }));
  const count = (name: string, help: string, read: () => Promise<number>) => watchNumber(name, help, read);
  count('flowgres_workers', 'Workers whose heartbeat is fresh.', async () => (await readQueue(pool)).workers);
  count('flowgres_ready_jobs', 'Jobs that wait for a worker, at most 10000.', async () => (await readQueue(pool)).ready_jobs);
  count('flowgres_running_steps', 'Steps that run, at most 10000.', async () => (await readQueue(pool)).running_steps);
  count('flowgres_failing_jobs', 'SQL jobs whose last run failed, or that did not run at their times.', () => countFailingJobs(pool));

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
    return [`the database does not answer: ${error instanceof Error ? error.message : String(error)}`];
  }
}

/** One connection; no setting at its start, which a pooler may not know. */
function createProbe(connectionString: string): pg.Pool {
  const probe = createPool(connectionString, { name: 'flowgres readiness', max: 1 });
  probe.options.connectionTimeoutMillis = TIMEOUT_MS;
  return probe;
}

/** Whether that way leads to a server that can be written. */
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
    return [`pool ${name}: the database does not answer: ${error instanceof Error ? error.message : String(error)}`];
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
