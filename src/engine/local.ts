/**
 * Local steps: the database does their work, in a transaction limited by the step's timeout that also records the
 * result of the step, so that what the SQL wrote and the success of the step are committed together.
 */
import pg from 'pg';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { parseJson } from '../json/json.ts';
import { encodeStorableJson } from '../json/strict.ts';
import { NotSent, classifyFailure, isLasting, refused, unavailable } from './errors.ts';
import { SharedSlots } from './slots.ts';
import { JSON_AS_TEXT, Statements } from './statements.ts';
import { COMPLETE_STEPS, type CompleteAnswer, type StepFailure, type StepResult, type StepTask, completeAnswer } from './types.ts';

const QUERY_CANCELED = '57014';
/** Longest time for recording the result of a step, which may start what follows it, in milliseconds. */
const RECORD_TIMEOUT_MS = LIMITS.worker.localRecordMs;

const failed = z.object({ error: z.looseObject({ code: z.string(), message: z.string(), retryable: z.boolean() }) });
const done = z.object({ port: z.string().optional(), output: z.unknown() });
const localOutcome = z.union([failed, done]);
const evaluatedStep = z.union([failed, z.object({ properties: z.record(z.string(), z.unknown()) }), done]);

/** What came of the expressions of an isolated step. */
export type EvaluatedStep = { port?: string; output: unknown } | { properties: unknown } | { error: StepFailure };

/** What came of a local step: the answer to its result, which is committed together with what its SQL wrote, or the failure. */
export type LocalAnswer = { answer: CompleteAnswer } | { error: StepFailure };

/** How the caller follows the transaction of a local step. */
export interface LocalProgress {
  /**
   * Called when the SQL is done, before its result is recorded. Returns how long it took, in milliseconds; throws to
   * undo the work.
   */
  done(): number;
  /** Called when the result was not recorded after that: the transaction is undone. */
  undone(): void;
}

/** Options of {@link LocalSteps}. */
export interface LocalOptions {
  /** Id of the worker for which the next steps of the branch begin. */
  workerId: string;
  /** Longest time for evaluating the expressions of one isolated step, in milliseconds. */
  evaluationTimeoutMs: number;
  /** Local steps of one organization at a time. */
  perOrganization: number;
}

/** Runs local steps on separate connections, a limited number of each organization at a time. */
export class LocalSteps {
  readonly #pool: pg.Pool;
  readonly #statements: Statements;
  readonly #workerId: string;
  readonly #evaluationTimeoutMs: number;
  readonly #slots: SharedSlots;

  constructor(pool: pg.Pool, { workerId, evaluationTimeoutMs, perOrganization }: LocalOptions) {
    this.#pool = pool;
    this.#statements = new Statements(pool);
    this.#workerId = workerId;
    this.#evaluationTimeoutMs = evaluationTimeoutMs;
    this.#slots = new SharedSlots(perOrganization);
  }

  /**
   * Evaluates the expressions of an isolated step, and runs the node when it is pure. Null: the step is no longer open.
   *
   * @throws FlowgresError UNAVAILABLE when the database cannot be reached
   */
  async evaluate({ organizationId, runId, node }: StepTask): Promise<EvaluatedStep | null> {
    const timeoutMs = this.#evaluationTimeoutMs;
    const timedOut = {
      code: 'EXPRESSION_TIMEOUT',
      message: `The expressions of the node took longer than ${timeoutMs} ms.`,
      retryable: false,
      details: { hint: 'Let them read less: a smaller part of the input, no .**, no walk of one list for each item of another.' },
    };
    const text = 'select engine.evaluate_step($1::uuid, $2)::text as outcome';
    return this.#slots.use(organizationId, () =>
      this.#inTransaction(timeoutMs, timedOut, async (client) => {
        const { rows } = await client.query<{ outcome: string | null }>({ name: 'evaluate_step', text, values: [runId, node] });
        const { outcome } = rows[0]!;
        return outcome === null ? null : (evaluatedStep.parse(parseJson(outcome)) as EvaluatedStep);
      }),
    );
  }

  /**
   * Runs the SQL of a local step and records its result, in one transaction: when it resolves to an answer `recorded`,
   * both are committed; otherwise nothing is.
   *
   * @throws FlowgresError UNAVAILABLE when the database cannot be reached or another transaction is in the way: repeat
   *   it, which does nothing once the result was recorded; else as the engine raises
   */
  run(task: StepTask, progress: LocalProgress): Promise<LocalAnswer> {
    const { type, properties, input, organizationId, timeoutMs } = task;
    const timedOut = { code: 'TIMEOUT', message: `The step took longer than ${timeoutMs} ms.`, retryable: false };
    const text = 'select engine.run_local($1::jsonb)::text as outcome';
    const values = [encodeStorableJson({ type, properties, organizationId, input: input ?? null })];
    return this.#slots.use(organizationId, () =>
      this.#inTransaction(timeoutMs, timedOut, async (client, undo) => {
        const { rows } = await client.query<{ outcome: string }>({ name: 'run_local', text, values });
        const outcome = localOutcome.parse(parseJson(rows[0]!.outcome));
        if ('error' in outcome) {
          undo();
          return { error: outcome.error as StepFailure };
        }
        const answer = await this.#record(client, task, outcome, progress);
        if (answer.outcome !== 'recorded') undo();
        return { answer };
      }),
    );
  }

  async #record(
    client: pg.PoolClient,
    { runId, node, attempt }: StepTask,
    { port, output }: z.infer<typeof done>,
    progress: LocalProgress,
  ): Promise<CompleteAnswer> {
    const result: StepResult = { runId, node, attempt, ms: progress.done(), ok: true, output, ...(port === undefined ? {} : { port }) };
    const values = [`[${encodeStorableJson(result)}]`, this.#workerId];
    try {
      await client.query(`set local statement_timeout = ${RECORD_TIMEOUT_MS}`);
      const { rows } = await client.query({ name: 'complete_steps', text: COMPLETE_STEPS, values, types: JSON_AS_TEXT });
      return completeAnswer.parse(rows[0]);
    } catch (error) {
      progress.undone();
      const failure = classifyFailure(error);
      if (failure.kind !== 'timed_out') throw error;
      // What follows the step takes too long in a transaction of the engine: from now on local steps evaluate it.
      throw (await this.#quarantine(runId)) ? unavailable(failure) : refused(failure);
    }
  }

  /** Resolves to whether the version of the run was not quarantined before: then the result may be recorded now. */
  async #quarantine(runId: string): Promise<boolean> {
    const { rows } = await this.#statements.ask('quarantine', 'select engine.quarantine($1::jsonb) as is_new', [JSON.stringify({ runId })]);
    return rows[0]?.['is_new'] === true;
  }

  /**
   * Commits what `work` does, unless it calls `undo` or throws. The connection of a transaction that failed is closed,
   * which rolls it back.
   */
  async #inTransaction<T>(
    timeoutMs: number,
    timedOut: StepFailure,
    work: (client: pg.PoolClient, undo: () => void) => Promise<T>,
  ): Promise<T | { error: StepFailure }> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw unavailable(classifyFailure(new NotSent(error)));
    });
    let end = 'commit';
    let isBroken = true;
    try {
      await client.query(`begin; set local statement_timeout = ${Math.trunc(timeoutMs)}`);
      const result = await work(client, () => (end = 'rollback'));
      await client.query(end);
      isBroken = false;
      return result;
    } catch (error) {
      // What the caller or this class has thrown.
      if (!(error instanceof Error) || error instanceof FlowgresError) throw error;
      if (error instanceof pg.DatabaseError && error.code === QUERY_CANCELED) return { error: timedOut };
      const failure = classifyFailure(error);
      await this.#statements.isMended(failure);
      throw isLasting(failure) ? refused(failure) : unavailable(failure);
    } finally {
      client.release(isBroken);
    }
  }
}
