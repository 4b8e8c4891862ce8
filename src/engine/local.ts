/** Local steps: the database does their work, in a transaction limited by the step's timeout. */
import pg from 'pg';
import { z } from 'zod';
import { NotSent, classifyFailure, refused, unavailable } from './errors.ts';
import { parseJson } from '../json/json.ts';
import { encodeStorableJson } from '../json/strict.ts';
import { SharedSlots } from './slots.ts';
import type { StepFailure, StepTask } from './types.ts';

const QUERY_CANCELED = '57014';

const localOutcome = z.union([
  z.object({ error: z.looseObject({ code: z.string(), message: z.string(), retryable: z.boolean() }) }),
  z.object({ properties: z.record(z.string(), z.unknown()) }),
  z.object({ port: z.string().optional(), output: z.unknown() }),
]);

/** The result of a local step, the evaluated properties of an isolated step, or the failure. */
export type LocalOutcome = { port?: string; output: unknown } | { properties: unknown } | { error: StepFailure };

/** Limits of {@link LocalSteps}. */
export interface LocalOptions {
  /** Longest time for evaluating the expressions of one isolated step, in milliseconds. */
  evaluationTimeoutMs: number;
  /** Local steps of one organization at a time. */
  perOrganization: number;
}

/** Runs local steps on separate connections, a limited number of each organization at a time. */
export class LocalSteps {
  readonly #pool: pg.Pool;
  readonly #evaluationTimeoutMs: number;
  readonly #slots: SharedSlots;

  constructor(pool: pg.Pool, { evaluationTimeoutMs, perOrganization }: LocalOptions) {
    this.#pool = pool;
    this.#evaluationTimeoutMs = evaluationTimeoutMs;
    this.#slots = new SharedSlots(perOrganization);
  }

  /**
   * Runs the step's SQL. When it resolves to an output, what the SQL wrote is committed. Null: the step is no
   * longer open.
   *
   * @throws FlowgresError UNAVAILABLE when the database cannot be reached
   */
  run(task: StepTask): Promise<LocalOutcome | null> {
    return this.#slots.use(task.organizationId, () =>
      task.isolated ? evaluateStep(this.#pool, task, this.#evaluationTimeoutMs) : runLocal(this.#pool, task),
    );
  }
}

/** Evaluates the expressions of a step, and runs the node when it is pure. */
function evaluateStep(pool: pg.Pool, { runId, node }: StepTask, timeoutMs: number): Promise<LocalOutcome | null> {
  return inTransaction(pool, 'select engine.evaluate_step($1::uuid, $2)::text as outcome', [runId, node], timeoutMs, {
    code: 'EXPRESSION_TIMEOUT',
    message: `The expressions of the node took longer than ${timeoutMs} ms.`,
    retryable: false,
    details: { hint: 'Let them read less: a smaller part of the input, no .**, no walk of one list for each item of another.' },
  });
}

async function runLocal(pool: pg.Pool, task: StepTask): Promise<LocalOutcome | null> {
  const { type, properties, input, timeoutMs } = task;
  const values = [encodeStorableJson({ type, properties, input: input ?? null })];
  return inTransaction(pool, 'select engine.run_local($1::jsonb)::text as outcome', values, timeoutMs, {
    code: 'TIMEOUT',
    message: `The step took longer than ${timeoutMs} ms.`,
    retryable: false,
  });
}

async function inTransaction(
  pool: pg.Pool,
  text: string,
  values: unknown[],
  timeoutMs: number,
  timedOut: StepFailure,
): Promise<LocalOutcome | null> {
  const client = await pool.connect().catch((error: unknown) => {
    throw unavailable(classifyFailure(new NotSent(error)));
  });
  let broken: Error | undefined;
  try {
    await client.query('begin');
    await client.query(`select set_config('statement_timeout', $1, true)`, [String(timeoutMs)]);
    const { rows } = await client.query<{ outcome: string | null }>(text, values);
    const { outcome } = rows[0]!;
    const parsed = outcome === null ? null : localOutcome.parse(parseJson(outcome));
    await client.query('commit');
    return parsed as LocalOutcome | null;
  } catch (error) {
    // Closing the connection rolls the transaction back.
    broken = error as Error;
    if (error instanceof pg.DatabaseError && error.code === QUERY_CANCELED) return { error: timedOut };
    const failure = classifyFailure(error);
    throw failure.kind === 'refused' ? refused(failure) : unavailable(failure);
  } finally {
    client.release(broken);
  }
}
