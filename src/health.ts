/** What /readyz and /metrics ask the database, as the role that may see no tenant's data. */
import type pg from 'pg';
import { createPool } from './database.ts';
import { watchNumber } from './metrics.ts';
import { schemaProblems } from './schema_state.ts';
import { type Sources, readSources } from './sources.ts';

const TIMEOUT = '2s';

interface Queue {
  workers: number;
  ready_jobs: number;
  running_steps: number;
}

export interface Health {
  /** What keeps this process from doing its work; empty when nothing does. */
  problems(): Promise<string[]>;
  close(): Promise<void>;
}

/**
 * @param connectionString with the login of flowgres_monitor
 * @param isWorkerAlive    of a process that works; one that only serves is ready without a worker, for what it accepts
 *                         waits for one
 * @param sources          what this process was started from; the files may be those of another build afterwards
 */
export function createHealth(
  connectionString: string,
  isWorkerAlive: () => boolean = () => true,
  sources: Sources = readSources(),
): Health {
  const pool = createPool(connectionString, { name: 'flowgres health', max: 2, settings: { statement_timeout: TIMEOUT } });
  watchNumber('flowgres_workers', 'Workers whose heartbeat is fresh.', async () => (await readQueue(pool)).workers);
  watchNumber('flowgres_ready_jobs', 'Jobs that wait for a worker, at most 10000.', async () => (await readQueue(pool)).ready_jobs);
  watchNumber('flowgres_running_steps', 'Steps that run, at most 10000.', async () => (await readQueue(pool)).running_steps);
  return {
    async problems() {
      try {
        return [...(await schemaProblems(pool, sources)), ...(isWorkerAlive() ? [] : ["this worker's heartbeats do not get through"])];
      } catch (error) {
        return [`the database does not answer: ${error instanceof Error ? error.message : String(error)}`];
      }
    },
    close: () => pool.end(),
  };
}

async function readQueue(pool: pg.Pool): Promise<Queue> {
  const { rows } = await pool.query<Queue>('select workers, ready_jobs, running_steps from monitor.queue()');
  return rows[0]!;
}
