/** What /readyz and /metrics ask the database, as the role that may see no tenant's data. */
import { readdir } from 'node:fs/promises';
import type pg from 'pg';
import { createPool } from './database.ts';
import { watchNumber } from './metrics.ts';

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
 */
export function createHealth(connectionString: string, isWorkerAlive: () => boolean = () => true): Health {
  const pool = createPool(connectionString, { name: 'flowgres health', max: 2, settings: { statement_timeout: TIMEOUT } });
  watchNumber('flowgres_workers', 'Workers whose heartbeat is fresh.', async () => (await readQueue(pool)).workers);
  watchNumber('flowgres_ready_jobs', 'Jobs that wait for a worker, at most 10000.', async () => (await readQueue(pool)).ready_jobs);
  watchNumber('flowgres_running_steps', 'Steps that run, at most 10000.', async () => (await readQueue(pool)).running_steps);
  return {
    async problems() {
      try {
        const [version, wanted] = await Promise.all([schemaVersion(pool), newestMigration()]);
        return [
          ...(wanted && version !== wanted ? [`the schema is at migration ${version ?? 'none'}, this process needs ${wanted}`] : []),
          ...(isWorkerAlive() ? [] : ["this worker's heartbeats do not get through"]),
        ];
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

/** The number of the newest migration that was applied, such as 000003. */
async function schemaVersion(pool: pg.Pool): Promise<string | undefined> {
  const { rows } = await pool.query<{ number: string }>(
    'select left(filename, 6) as number from graphile_migrate.migrations order by filename desc limit 1',
  );
  return rows[0]?.number;
}

/** A process of an older or newer release than the schema says so, instead of failing in odd ways. */
async function newestMigration(): Promise<string | undefined> {
  const files = await readdir(new URL('../migrations/committed', import.meta.url)).catch(() => []);
  return files
    .filter((file) => file.endsWith('.sql'))
    .map((file) => file.slice(0, 6))
    .sort()
    .at(-1);
}
