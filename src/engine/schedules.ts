/** The engine's functions for schedules. Each firing is a transaction of its own with its own time limit. */
import type pg from 'pg';
import { z } from 'zod';
import { createPool } from '../database/connections.ts';
import { onlyOriginal } from '../database/installation.ts';

/**
 * The lock timeout as a part of the statement timeout: shorter, so that waiting for a lock fails with an error
 * of its own.
 */
const LOCK_PART = 2 / 3;
/** Shorter than the default, since ticks wait for a connection. */
const CONNECT_TIMEOUT_MS = 2_000;

const dueSchedule = z.object({
  organization_id: z.string(),
  workflow_id: z.string(),
  node: z.string(),
  is_quarantined: z.boolean(),
});

/** A schedule that is due. */
export type DueSchedule = z.infer<typeof dueSchedule>;

/** Calls the engine's functions for schedules. Rejects with the server's errors. */
export class Schedules {
  readonly pool: pg.Pool;

  /**
   * @param connections number of schedules that fire at a time
   * @param firingTimeoutMs longest time for the start of one tick in the server, in milliseconds
   */
  constructor(connectionString: string, connections: number, firingTimeoutMs: number) {
    const pool = createPool(connectionString, {
      name: 'flowgres schedules',
      max: connections,
      settings: {
        statement_timeout: String(firingTimeoutMs),
        lock_timeout: String(Math.floor(firingTimeoutMs * LOCK_PART)),
        idle_in_transaction_session_timeout: String(firingTimeoutMs),
      },
    });
    pool.options.connectionTimeoutMillis = CONNECT_TIMEOUT_MS;
    this.pool = onlyOriginal(pool);
  }

  /** Returns the due schedules: the first of each organization before the second of any. */
  async due(): Promise<DueSchedule[]> {
    const { rows } = await this.pool.query({ name: 'due_schedules', text: 'select * from engine.due_schedules()' });
    return rows.map((row) => dueSchedule.parse(row));
  }

  /**
   * Starts the run of a schedule. Returns false when it is no longer due. After a rejection nothing was
   * started, unless the connection was lost.
   */
  async fire({ organization_id, workflow_id, node }: DueSchedule): Promise<boolean> {
    const text = 'select engine.fire_schedule($1::uuid, $2::uuid, $3) as fired';
    const { rows } = await this.pool.query<{ fired: boolean }>({
      name: 'fire_schedule',
      text,
      values: [organization_id, workflow_id, node],
    });
    return rows[0]!.fired;
  }

  /** Records why a schedule was not fired, and sets its next time. */
  async fail({ organization_id, workflow_id, node }: DueSchedule, error: { code: string; message: string }): Promise<void> {
    const text = 'select engine.fail_schedule($1::uuid, $2::uuid, $3, $4::jsonb)';
    await this.pool.query({ name: 'fail_schedule', text, values: [organization_id, workflow_id, node, JSON.stringify(error)] });
  }

  async end(): Promise<void> {
    await this.pool.end();
  }
}
