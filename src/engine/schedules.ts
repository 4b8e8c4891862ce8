/** The engine's calls about schedules: each fires one, in a transaction of its own with a time limit of its own. */
import type pg from 'pg';
import { z } from 'zod';
import { createPool } from '../database/connections.ts';
import { onlyOriginal } from '../database/installation.ts';

/** Waiting for a lock ends sooner than the rest, so that it is told apart from working too long. */
const LOCK_PART = 2 / 3;
/** Connecting fails sooner than by default: ticks wait. */
const CONNECT_TIMEOUT_MS = 2_000;

const dueSchedule = z.object({
  organization_id: z.string(),
  workflow_id: z.string(),
  node: z.string(),
  is_quarantined: z.boolean(),
});

/** A schedule that is due. */
export type DueSchedule = z.infer<typeof dueSchedule>;

export class Schedules {
  readonly pool: pg.Pool;

  /** @param connections as many schedules fire at a time; @param firingTimeoutMs longest time for the start of one tick, in the server */
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

  /** Those that are due, the first of each organization before the second of any. */
  async due(): Promise<DueSchedule[]> {
    const { rows } = await this.pool.query({ name: 'due_schedules', text: 'select * from engine.due_schedules()' });
    return rows.map((row) => dueSchedule.parse(row));
  }

  /** Starts the run of one; false when it is not due any more. Rejects with the server's error; then nothing was started, but where the connection was lost. */
  async fire({ organization_id, workflow_id, node }: DueSchedule): Promise<boolean> {
    const text = 'select engine.fire_schedule($1::uuid, $2::uuid, $3) as fired';
    const { rows } = await this.pool.query<{ fired: boolean }>({
      name: 'fire_schedule',
      text,
      values: [organization_id, workflow_id, node],
    });
    return rows[0]!.fired;
  }

  /** Records why one was not fired, and sets its next time. */
  async fail({ organization_id, workflow_id, node }: DueSchedule, error: { code: string; message: string }): Promise<void> {
    const text = 'select engine.fail_schedule($1::uuid, $2::uuid, $3, $4::jsonb)';
    await this.pool.query({ name: 'fail_schedule', text, values: [organization_id, workflow_id, node, JSON.stringify(error)] });
  }

  async end(): Promise<void> {
    await this.pool.end();
  }
}
