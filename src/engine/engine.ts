/**
 * One typed method for each SQL function of the engine that a process calls. Calls of one process are coalesced
 * into batches; a batch is one statement, so it is committed or rolled back as a whole.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { type BatchRequest, type CoalesceOptions, Coalescer } from './coalesce.ts';
import { createPool } from '../database/connections.ts';
import { FlowgresError } from '../errors.ts';
import { type Failure, NotSent, classifyFailure, isLasting, mayRepeat, refused, requestError, unavailable, unreadable } from './errors.ts';
import {
  type AttemptRef,
  type BeginAnswer,
  type CompleteAnswer,
  type HeldRuns,
  type LogEntry,
  type ReconcileAction,
  type RepairAction,
  type RunAnswer,
  type StartAnswer,
  type StartRequest,
  type StepRef,
  type StepResult,
  type WebhookRoute,
  type WorkerCapacity,
  abortAnswer,
  beginAnswer,
  completeAnswer,
  describeRun,
  reconcileAnswer,
  repairAnswer,
  runAnswer,
  startAnswer,
  webhookRoute,
} from './types.ts';
import { JsonText, encodeJson } from '../json/json.ts';
import { MAX_JSON_DEPTH, encodeStorableJson, refuseUnstorable } from '../json/strict.ts';
import { SharedSlots } from './slots.ts';

export type * from './types.ts';

/** Options of an {@link Engine}. */
export interface EngineOptions extends CoalesceOptions {
  /** Id of this process as a worker; a random UUID when not given. */
  workerId?: string;
  /**
   * Claims a slot in a worker of this process, so that the first step of a started run needs no job; undefined
   * when no slot is free.
   */
  claimOnStart?: () => ClaimedSlot | undefined;
}

/** Uses a claimed slot: called once, with the step to execute, or with null when there is none. */
export type ClaimedSlot = (step: StepRef | null) => void;

/** Longest time for one batch, in the server. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** Shorter than the statement timeout, so that waiting for a lock fails with an error of its own. */
const LOCK_TIMEOUT_MS = 5_000;
/** The server answers within its own timeout; after this time the connection is considered lost. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/** Less than the lease of 15 seconds, so that after a hanging heartbeat another one can be sent in time. */
const HEARTBEAT_TIMEOUT_MS = 4_000;
/** Connecting fails early, so that callers learn of an unreachable database at once. */
const CONNECT_TIMEOUT_MS = 2_000;
/** A batch is not sent again after this time, since its callers have time limits of their own. */
const RETRY_FOR_MS = 2_000;
const RETRIES = 5;
/** Larger results do not get as far as the engine, which allows 1 MiB of `jsonb`. */
const MAX_RESULT_LENGTH = LIMITS.worker.maxResultLength;
const RETRY_DELAY_MS = 20;

/** Starts of one organization that wait in a process, and their characters: what a burst may keep of its memory. */
const STARTS_OF_ORGANIZATION = LIMITS.starts;

/** Creates a pool whose statements have the time limits of a batch. */
export function createEnginePool(connectionString: string, name: string, max = 10): pg.Pool {
  const pool = createPool(connectionString, {
    name,
    max,
    settings: {
      statement_timeout: String(STATEMENT_TIMEOUT_MS),
      lock_timeout: String(LOCK_TIMEOUT_MS),
      idle_in_transaction_session_timeout: String(STATEMENT_TIMEOUT_MS),
    },
  });
  pool.options.connectionTimeoutMillis = CONNECT_TIMEOUT_MS;
  return pool;
}

/** Keeps `jsonb` as text until its row is parsed, so that invalid JSON fails its own row only. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.JSONB
      ? (text: string) => new JsonText(text)
      : (pg.types.getTypeParser(oid, format as 'text') as (text: string) => unknown),
};

/** A SQL function that handles a batch. */
interface BatchCall<Row> {
  /** The statement, with the batch as its first parameter; prepared under `name`. */
  text: string;
  name: string;
  values: unknown[];
  row: z.ZodType<Row>;
  /** Whether the call may be repeated when it is unknown whether the first one was committed. */
  idempotent: boolean;
}

/** The fields of a request that name the version it runs. */
const quarantineShape = z.looseObject({
  organizationId: z.string().optional(),
  workflowId: z.string().optional(),
  version: z.number().optional(),
  runId: z.string().optional(),
});

/**
 * The engine as one process uses it. Methods throw FlowgresError: with the code that a SQL function raised,
 * REFUSED for what the database refuses every time, or UNAVAILABLE when it cannot be reached.
 */
export class Engine {
  readonly workerId: string;
  readonly #pool: pg.Pool;
  readonly #claimOnStart: () => ClaimedSlot | undefined;
  readonly #starts: Coalescer<z.infer<typeof startAnswer>>;
  readonly #begins: Coalescer<BeginAnswer>;
  readonly #completes: Coalescer<CompleteAnswer>;
  readonly #logs: Coalescer<true>;
  /** Repeats requests of a batch that took too long, each alone, one of each owner at a time. */
  readonly #alone = new SharedSlots(1);
  #mending: Promise<void> | undefined;

  constructor(pool: pg.Pool, options: EngineOptions = {}) {
    const { workerId = randomUUID(), claimOnStart = () => undefined, ...limits } = options;
    this.#pool = pool;
    this.#claimOnStart = claimOnStart;
    this.workerId = workerId;
    const coalescer = <Row extends { index: number }>(call: BatchCall<Row>, more: CoalesceOptions = {}) =>
      new Coalescer<Row>((requests) => this.#batch(call, requests), { ...more, ...limits });
    this.#starts = coalescer(
      {
        name: 'start_runs',
        text: 'select index, run_id, status, output, response, error, duplicate, claimed from engine.start_runs($1::jsonb)',
        values: [],
        row: startAnswer,
        idempotent: false,
      },
      { ofOwner: STARTS_OF_ORGANIZATION },
    );
    this.#begins = coalescer({
      name: 'begin_steps',
      text: 'select index, outcome, run_id, task from engine.begin_steps($1::jsonb, $2::uuid)',
      values: [workerId],
      row: beginAnswer,
      idempotent: true,
    });
    this.#completes = coalescer({
      name: 'complete_steps',
      text: 'select index, outcome, run_id, status, next from engine.complete_steps($1::jsonb, $2::uuid)',
      values: [workerId],
      row: completeAnswer,
      idempotent: true,
    });
    this.#logs = new Coalescer(async (entries) => {
      await this.#ask('append_logs', 'select engine.append_logs($1::jsonb)', [batchOf(entries)]);
      return entries.map(() => ({ status: 'fulfilled', value: true }));
    }, limits);
  }

  /**
   * Starts a run. When it resolves, the run is committed.
   *
   * @throws FlowgresError with the engine's code (NOT_PUBLISHED, LIMIT_REACHED, CONFLICT, …), or UNAVAILABLE
   *   when the database cannot be reached, or the connection was lost before the answer: then it is unknown
   *   whether the run was started
   */
  async startRun(request: StartRequest): Promise<StartAnswer> {
    const { input, ...rest } = request;
    const slot = this.#claimOnStart();
    let step: StepRef | null = null;
    try {
      const head = JSON.stringify(slot ? { ...rest, claim: true } : rest);
      const answer = await this.#starts.call(`${head.slice(0, -1)},"input":${encodeJson(input)}}`, request.organizationId);
      if (answer.run_id === null) throw requestError(answer.error);
      if (answer.claimed !== null) step = { runId: answer.run_id, node: answer.claimed };
      return { ...describeRun(answer), duplicate: answer.duplicate };
    } finally {
      slot?.(step);
    }
  }

  /** Begins an attempt of a queued step. */
  beginStep(step: StepRef): Promise<BeginAnswer> {
    return this.#begins.call(JSON.stringify({ runId: step.runId, node: step.node }), step.runId);
  }

  /** Does what a step needs no slot for. A step that needs one is deferred until a slot of any worker is free. */
  deferStep(step: StepRef): Promise<BeginAnswer> {
    return this.#begins.call(JSON.stringify({ runId: step.runId, node: step.node, defer: true }));
  }

  /** Records the result of an attempt, once. Resolves to the next step of the branch, if there is one. */
  completeStep(result: StepResult): Promise<CompleteAnswer> {
    return this.#completes.call(encodeResult(result), result.runId);
  }

  /** Fails a run whose requests the database cannot handle. */
  async failRun(runId: string, code: string, message: string): Promise<void> {
    await this.#ask('fail_run', 'select engine.fail_run($1, $2, $3)', [runId, code, message]);
  }

  /**
   * Records that this worker is alive and extends the leases of its attempts. Resolves to the attempts that are
   * to be aborted, because their run has ended or another worker has the step.
   */
  async heartbeat(running: AttemptRef[], jobPool: string | null = null, capacity?: WorkerCapacity): Promise<AttemptRef[]> {
    const { rows } = await this.#ask(
      'heartbeat',
      'select run_id, node from engine.heartbeat($1::uuid, $2::jsonb, $3, $4, $5)',
      [this.workerId, JSON.stringify(running), jobPool, capacity?.steps ?? null, capacity?.perOrganization ?? null],
      HEARTBEAT_TIMEOUT_MS,
    );
    const pointless = new Set(rows.map((row) => abortAnswer.parse(row)).map(({ run_id, node }) => `${run_id}/${node}`));
    return running.filter(({ runId, node }) => pointless.has(`${runId}/${node}`));
  }

  /** Returns the steps of these attempts to the queue; the attempts do not count. */
  async releaseSteps(running: AttemptRef[]): Promise<void> {
    await this.#ask('release_steps', 'select engine.release_steps($1::uuid, $2::jsonb)', [this.workerId, JSON.stringify(running)]);
  }

  /** Runs one pass of the reconciler. Resolves to what it did, at most 1,000 rows. */
  async reconcile(): Promise<ReconcileAction[]> {
    const { rows } = await this.#ask('reconcile', 'select action, run_id, node from engine.reconcile()', []);
    return rows.map((row) => reconcileAnswer.parse(row));
  }

  /** Creates partitions that maintenance should have created; usually there are none to create. */
  async ensurePartitions(): Promise<void> {
    await this.#query('ensure_partitions', 'select engine.ensure_partitions()', []);
  }

  /** Releases held runs of a workflow, as far as its limits allow. */
  async releaseRuns({ workflowId, by, key }: HeldRuns): Promise<void> {
    await this.#ask('release_runs', 'select engine.release_runs($1::uuid, $2, $3)', [workflowId, by, key]);
  }

  /** Handles the next runs of a bulk operation. */
  async workBulkOperation(id: string): Promise<void> {
    await this.#ask('work_bulk_operation', 'select engine.work_bulk_operation($1::uuid)', [id]);
  }

  /** Repairs runs that have lost the row or job to continue with. Resolves to what it repaired. */
  async repairRuns(): Promise<RepairAction[]> {
    const { rows } = await this.#ask('repair_runs', 'select action, run_id from engine.repair_runs()', []);
    return rows.map((row) => repairAnswer.parse(row));
  }

  /** Unlocks the jobs that graphile-worker has locked under these pool names. */
  async unlockJobs(pools: string[]): Promise<void> {
    await this.#ask('unlock_jobs', 'select engine.unlock_jobs($1::text[])', [pools]);
  }

  /** Adds jobs for the steps whose time has come. Resolves to their number. */
  async wakeSteps(): Promise<number> {
    const { rows } = await this.#ask('wake_steps', 'select count(*)::int as woken from engine.wake_steps()', []);
    return Number(rows[0]?.['woken']);
  }

  /** Cancels child runs of a run that has ended; a further job handles those beyond one batch. */
  async cancelChildren(runId: string): Promise<void> {
    await this.#ask('cancel_children', 'select engine.cancel_children($1::uuid)', [runId]);
  }

  /** Ends the wait of a run by a request to `/resume/<token>`. Resolves to the id of the run. */
  async resumeRun(token: string, request: JsonText): Promise<string> {
    const { rows } = await this.#ask('resume_by_token', 'select engine.resume_by_token($1, $2::jsonb) as run', [token, request.text]);
    return String(rows[0]?.['run']);
  }

  /** Writes a line to the log of a run. Resolves when it is stored. */
  async appendLog(entry: LogEntry): Promise<void> {
    await this.#logs.call(encodeStorableJson(entry), entry.organizationId);
  }

  /** Returns the webhook of a path below `/hooks/<organization key>`; null when there is none. */
  async findWebhook(organizationKey: string, method: string, path: string): Promise<WebhookRoute | null> {
    const { rows } = await this.#ask('find_webhook', 'select engine.find_webhook($1, $2, $3) as route', [organizationKey, method, path]);
    return webhookRoute.parse(rows[0]?.['route'] ?? null);
  }

  /** Returns the current states of the given runs. */
  async runAnswers(runIds: string[]): Promise<RunAnswer[]> {
    const { rows } = await this.#ask(
      'run_answers',
      'select run_id, status, output, response, error, continues_in_ms from engine.run_answers($1::uuid[])',
      [runIds],
    );
    return rows.map((row) => describeRun(runAnswer.parse(row)));
  }

  /**
   * Sends one batch, again after a temporary failure. Splits a batch that fails until each request that cannot
   * be handled is alone.
   */
  async #batch<Row extends { index: number }>(
    call: BatchCall<Row>,
    requests: BatchRequest[],
  ): Promise<(PromiseSettledResult<Row> | Promise<Row>)[]> {
    const startedAt = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#answers(call, requests);
      } catch (error) {
        const failure = classifyFailure(error);
        const patient = attempt < RETRIES && performance.now() - startedAt < RETRY_FOR_MS;
        if (patient && (mayRepeat(failure, call.idempotent) || (await this.#isMended(failure)))) {
          await delay(RETRY_DELAY_MS * 2 ** attempt * (0.5 + Math.random()));
        } else if (!isLasting(failure)) {
          return requests.map(() => ({ status: 'rejected', reason: unavailable(failure) }));
        } else if (requests.length > 1 && failure.kind === 'timed_out') {
          return requests.map((request) => this.#repeatAlone(call, request));
        } else if (requests.length > 1) {
          return (await Promise.all(requests.map((request) => this.#batch(call, [request])))).flat();
        } else if (failure.kind === 'timed_out' ? !(await this.#quarantine(requests[0]!)) : isFinal(failure, attempt)) {
          return [{ status: 'rejected', reason: refused(failure) }];
        }
      }
    }
  }

  /** Repeats a request alone after its batch took too long, possibly because of another request. */
  async #repeatAlone<Row extends { index: number }>(call: BatchCall<Row>, request: BatchRequest): Promise<Row> {
    const [result] = await this.#alone.use(request.owner, () => this.#batch(call, [request]));
    if (result instanceof Promise || result === undefined) return result ?? Promise.reject(new Error('No answer.'));
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  }

  /**
   * Quarantines the request's version, so that it is evaluated in local steps. Resolves to whether it was not
   * quarantined before: then the request may succeed now.
   */
  async #quarantine(request: BatchRequest): Promise<boolean> {
    try {
      const { organizationId, workflowId, version, runId } = quarantineShape.parse(JSON.parse(request.text));
      const key = runId === undefined ? { organizationId, workflowId, version } : { runId };
      const { rows } = await this.#query('quarantine', 'select engine.quarantine($1::jsonb) as is_new', [JSON.stringify(key)]);
      return rows[0]?.['is_new'] === true;
    } catch {
      return false;
    }
  }

  async #answers<Row extends { index: number }>(call: BatchCall<Row>, requests: BatchRequest[]): Promise<PromiseSettledResult<Row>[]> {
    const { rows } = await this.#query(call.name, call.text, [batchOf(requests), ...call.values]);
    const answers: PromiseSettledResult<Row>[] = [];
    for (const row of rows) {
      const answer = call.row.safeParse(row);
      answers[Number(row['index'])] = answer.success
        ? { status: 'fulfilled', value: answer.data }
        : { status: 'rejected', reason: unreadable(call.name, answer.error) };
    }
    return answers;
  }

  /** Runs a statement that is not part of a batch. */
  async #ask(name: string, text: string, values: unknown[], timeoutMs?: number): Promise<pg.QueryResult<Record<string, unknown>>> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#query(name, text, values, timeoutMs);
      } catch (error) {
        const failure = classifyFailure(error);
        if (attempt === 1 && (await this.#isMended(failure))) continue;
        throw isLasting(failure) ? refused(failure) : unavailable(failure);
      }
    }
  }

  /**
   * Creates missing partitions after a failure for lack of one. Resolves to whether the statement may be
   * repeated.
   */
  async #isMended(failure: Failure): Promise<boolean> {
    if (failure.kind !== 'no_partition') return false;
    this.#mending ??= this.ensurePartitions().finally(() => (this.#mending = undefined));
    return this.#mending.then(
      () => true,
      () => false,
    );
  }

  async #query(
    name: string,
    text: string,
    values: unknown[],
    timeoutMs = ANSWER_TIMEOUT_MS,
  ): Promise<pg.QueryResult<Record<string, unknown>>> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw new NotSent(error);
    });
    let failure: Error | undefined;
    try {
      return await client.query({ name, text, values, types, query_timeout: timeoutMs } as pg.QueryConfig);
    } catch (error) {
      // A server error leaves the connection usable; after any other error it is closed.
      if (!(error instanceof pg.DatabaseError)) failure = error as Error;
      throw error;
    } finally {
      client.release(failure);
    }
  }
}

function batchOf(requests: BatchRequest[]): string {
  return `[${requests.map(({ text }) => text).join(',')}]`;
}

/** Whether a request that was sent alone has failed permanently. */
function isFinal(failure: Failure, attempt: number): boolean {
  return attempt >= 2 || (failure.sqlstate?.startsWith('WF') ?? false);
}

/** Encodes a result. A result that the database would refuse becomes a failure of the step. */
function encodeResult(result: StepResult): string {
  const { runId, node, attempt, ms } = result;
  const failed = (message: string) =>
    JSON.stringify({ runId, node, attempt, ms, ok: false, error: { code: 'TOO_LARGE', message, retryable: false } });
  if (!result.ok) return encodeStorableJson(result);
  try {
    const text = encodeStorableJson(result);
    if (text.length > MAX_RESULT_LENGTH) return failed('The output of the step is too large.');
    // Each property may have a value with 64 levels of its own.
    const maxDepth = 'properties' in result ? 2 * MAX_JSON_DEPTH : MAX_JSON_DEPTH;
    refuseUnstorable(text, { maxDepth, around: 1, strings: 'ignore' });
    return text;
  } catch (error) {
    // JSON.stringify overflows the stack at some thousand levels.
    if (error instanceof FlowgresError) return failed(`The output of the step is refused: ${error.message}`);
    if (error instanceof RangeError) return failed(`The output of the step is nested deeper than ${MAX_JSON_DEPTH} levels.`);
    throw error;
  }
}
