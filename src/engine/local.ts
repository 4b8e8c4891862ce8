/** Local steps: the database does their work, in a transaction that ends with the step's time limit. */
import pg from 'pg';
import { z } from 'zod';
import { NotSent, classifyFailure, poison, unavailable } from './errors.ts';
import { encodeStorableJson, parseJson } from './json.ts';
import type { StepFailure, StepTask } from './types.ts';

const QUERY_CANCELED = '57014';

const localOutcome = z.union([
  z.object({ error: z.looseObject({ code: z.string(), message: z.string(), retryable: z.boolean() }) }),
  z.object({ port: z.string().optional(), output: z.unknown() }),
]);

/** What the SQL of a local step gave, or why it failed. */
export type LocalOutcome = { port?: string; output: unknown } | { error: StepFailure };

/**
 * Runs the step's SQL. When it resolves with an output, what the SQL wrote is committed.
 *
 * @throws FlowgresError UNAVAILABLE when the database cannot be reached
 */
export async function runLocal(pool: pg.Pool, task: StepTask): Promise<LocalOutcome> {
  const { type, properties, input, timeoutMs } = task;
  const client = await pool.connect().catch((error: unknown) => {
    throw unavailable(classifyFailure(new NotSent(error)));
  });
  let broken: Error | undefined;
  try {
    await client.query('begin');
    await client.query(`select set_config('statement_timeout', $1, true)`, [String(timeoutMs)]);
    const { rows } = await client.query<{ outcome: string }>('select engine.run_local($1::jsonb)::text as outcome', [
      encodeStorableJson({ type, properties, input: input ?? null }),
    ]);
    const outcome = localOutcome.parse(parseJson(rows[0]!.outcome));
    await client.query('commit');
    return outcome as LocalOutcome;
  } catch (error) {
    // Closing the connection is the rollback.
    broken = error as Error;
    if (error instanceof pg.DatabaseError && error.code === QUERY_CANCELED) {
      return { error: { code: 'TIMEOUT', message: `The step took longer than ${timeoutMs} ms.`, retryable: false } };
    }
    const failure = classifyFailure(error);
    throw failure.kind === 'refused' ? poison(failure) : unavailable(failure);
  } finally {
    client.release(broken);
  }
}
