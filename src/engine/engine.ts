/**
 * The engine's SQL functions, one typed method each. Calls of one process are coalesced into batches; a batch is one
 * statement, so it is committed or not as a whole.
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

export interface EngineOptions extends CoalesceOptions {
  /** Identity of this process as a worker; random when not given. */
  workerId?: string;
  /** ClaimedSlot in a worker of this process: the first step of a run that is started then needs no job. */
  claimOnStart?: () => ClaimedSlot | undefined;
}

/** ClaimedSlot for one step, which waits for it. Called with the step, or with null when there is none. */
export type ClaimedSlot = (step: StepRef | null) => void;

/** Longest time for one batch, in the server. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** Shorter, so that waiting for a lock is told apart from working too long. */
const LOCK_TIMEOUT_MS = 5_000;
/** The server answers within its own timeout; past this the connection is considered lost. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/** A heartbeat that hangs must leave time for another one before leases end, 15 seconds after the last. */
const HEARTBEAT_TIMEOUT_MS = 4_000;
/** Connecting fails sooner: whoever waits for an answer is better told at once. */
const CONNECT_TIMEOUT_MS = 2_000;
/** A batch is not sent again after that time; its callers may have patience of their own. */
const RETRY_FOR_MS = 2_000;
const RETRIES = 5;
/** Larger results do not get as far as the engine, which allows 1 MiB of `jsonb`. */
const MAX_RESULT_LENGTH = LIMITS.worker.maxResultLength;
const RETRY_DELAY_MS = 20;

/** Starts of one organization that wait in a process, and their characters: what a burst may keep of its memory. */
const STARTS_OF_ORGANIZATION = LIMITS.starts;

/** A pool whose every statement, which is a batch, has its time limit. */
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

/** `jsonb` stays text until its row is looked at: one that cannot be parsed concerns nobody else. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.JSONB
      ? (text: string) => new JsonText(text)
      : (pg.types.getTypeParser(oid, format as 'text') as (text: string) => unknown),
};

/** A batched SQL function. */
interface BatchCall<Row> {
  /** Statement with the batch as its first parameter; also the name of the prepared statement. */
  text: string;
  name: string;
  values: unknown[];
  row: z.ZodType<Row>;
  /** Calling it again does no harm when it is not known whether the first call was committed. */
  idempotent: boolean;
}

/** What a request says of the version that it runs. */
const quarantineShape = z.looseObject({
  organizationId: z.string().optional(),
  workflowId: z.string().optional(),
  version: z.number().optional(),
  runId: z.string().optional(),
});

/** The engine, as one process uses it. */
export class Engine {
  readonly workerId: string;
  readonly #pool: pg.Pool;
  readonly #claimOnStart: () => ClaimedSlot | undefined;
  readonly #starts: Coalescer<z.infer<typeof startAnswer>>;
  readonly #begins: Coalescer<BeginAnswer>;
  readonly #completes: Coalescer<CompleteAnswer>;
  readonly #logs: Coalescer<true>;
  /** Requests that are repeated alone, because the batch that they were in took too long: one of each owner at a time. */
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
   * @throws FlowgresError with the engine's code (NOT_PUBLISHED, LIMIT_REACHED, CONFLICT, …), or UNAVAILABLE when the
   *   database cannot be reached or the connection was lost before it answered: then nobody knows whether it started
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

  /** Begins an attempt of a step that was queued. */
  beginStep(step: StepRef): Promise<BeginAnswer> {
    return this.#begins.call(JSON.stringify({ runId: step.runId, node: step.node }), step.runId);
  }

  /** Does for a step what needs no slot. One that needs one is deferred until a slot of some worker is free. */
  deferStep(step: StepRef): Promise<BeginAnswer> {
    return this.#begins.call(JSON.stringify({ runId: step.runId, node: step.node, defer: true }));
  }

  /** Records what an attempt came to, once, and hands back the branch's next step if there is one. */
  completeStep(result: StepResult): Promise<CompleteAnswer> {
    return this.#completes.call(encodeResult(result), result.runId);
  }

  /** Ends a run that no batch survives. */
  async failRun(runId: string, code: string, message: string): Promise<void> {
    await this.#ask('fail_run', 'select engine.fail_run($1, $2, $3)', [runId, code, message]);
  }

  /** Tells that this worker lives and what it executes. Resolves to those of the attempts that have become pointless. */
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

  /** Gives steps that this worker stops executing back to the queue; the attempt does not count. */
  async releaseSteps(running: AttemptRef[]): Promise<void> {
    await this.#ask('release_steps', 'select engine.release_steps($1::uuid, $2::jsonb)', [this.workerId, JSON.stringify(running)]);
  }

  /** Returns the steps of dead workers to the queue, fires what is overdue, wakes what nothing would move. */
  async reconcile(): Promise<ReconcileAction[]> {
    const { rows } = await this.#ask('reconcile', 'select action, run_id, node from engine.reconcile()', []);
    return rows.map((row) => reconcileAnswer.parse(row));
  }

  /** Makes the partitions that maintenance should have made; mostly there is nothing to do. */
  async ensurePartitions(): Promise<void> {
    await this.#query('ensure_partitions', 'select engine.ensure_partitions()', []);
  }

  /** Lets held runs of a workflow in, as far as its limits allow. */
  async releaseRuns({ workflowId, by, key }: HeldRuns): Promise<void> {
    await this.#ask('release_runs', 'select engine.release_runs($1::uuid, $2, $3)', [workflowId, by, key]);
  }

  /** Works off the next runs of a command on many. */
  async workBulkOperation(id: string): Promise<void> {
    await this.#ask('work_bulk_operation', 'select engine.work_bulk_operation($1::uuid)', [id]);
  }

  /** Repairs runs that nothing would move. Resolves to what it found. */
  async repairRuns(): Promise<RepairAction[]> {
    const { rows } = await this.#ask('repair_runs', 'select action, run_id from engine.repair_runs()', []);
    return rows.map((row) => repairAnswer.parse(row));
  }

  /** Makes the jobs free for others that graphile-worker has locked under these names. */
  async unlockJobs(pools: string[]): Promise<void> {
    await this.#ask('unlock_jobs', 'select engine.unlock_jobs($1::text[])', [pools]);
  }

  /** Gives jobs to the steps whose time has come. Resolves to how many. */
  async wakeSteps(): Promise<number> {
    const { rows } = await this.#ask('wake_steps', 'select count(*)::int as woken from engine.wake_steps()', []);
    return Number(rows[0]?.['woken']);
  }

  /** Cancels children of a run that has ended; the rest of them gets a job. */
  async cancelChildren(runId: string): Promise<void> {
    await this.#ask('cancel_children', 'select engine.cancel_children($1::uuid)', [runId]);
  }

  /** A request to `/resume/<token>`. Resolves to the run. */
  async resumeRun(token: string, request: JsonText): Promise<string> {
    const { rows } = await this.#ask('resume_by_token', 'select engine.resume_by_token($1, $2::jsonb) as run', [token, request.text]);
    return String(rows[0]?.['run']);
  }

  /** Writes a line to the log of a run. */
  async appendLog(entry: LogEntry): Promise<void> {
    await this.#logs.call(encodeStorableJson(entry), entry.organizationId);
  }

  /** The webhook of a path below `/hooks/<organization key>`; null when there is none. */
  async findWebhook(organizationKey: string, method: string, path: string): Promise<WebhookRoute | null> {
    const { rows } = await this.#ask('find_webhook', 'select engine.find_webhook($1, $2, $3) as route', [organizationKey, method, path]);
    return webhookRoute.parse(rows[0]?.['route'] ?? null);
  }

  /** How the given runs stand. */
  async runAnswers(runIds: string[]): Promise<RunAnswer[]> {
    const { rows } = await this.#ask(
      'run_answers',
      'select run_id, status, output, response, error, continues_in_ms from engine.run_answers($1::uuid[])',
      [runIds],
    );
    return rows.map((row) => describeRun(runAnswer.parse(row)));
  }

  /** One batch: answered, or split until the requests that cannot be answered stand alone. */
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

  /** A request of a batch that took too long, perhaps because of another one. */
  async #repeatAlone<Row extends { index: number }>(call: BatchCall<Row>, request: BatchRequest): Promise<Row> {
    const [result] = await this.#alone.use(request.owner, () => this.#batch(call, [request]));
    if (result instanceof Promise || result === undefined) return result ?? Promise.reject(new Error('No answer.'));
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  }

  /** Whether the request may succeed now: its version is evaluated in local steps from now on, and was not before. */
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

  /** A statement that is not part of a batch. */
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

  /** After months without maintenance whoever cannot write makes the partitions. Resolves to whether it is worth another try. */
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
      // An error that the server reported leaves the connection as good as it was.
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

/** Whether a request that was sent alone has failed for good. */
function isFinal(failure: Failure, attempt: number): boolean {
  return attempt >= 2 || (failure.sqlstate?.startsWith('WF') ?? false);
}

/** A result as the database takes it. What it would refuse is a failure of the step. */
function encodeResult(result: StepResult): string {
  const { runId, node, attempt, ms } = result;
  const failed = (message: string) =>
    JSON.stringify({ runId, node, attempt, ms, ok: false, error: { code: 'TOO_LARGE', message, retryable: false } });
  if (!result.ok) return encodeStorableJson(result);
  try {
    const text = encodeStorableJson(result);
    if (text.length > MAX_RESULT_LENGTH) return failed('The output of the step is too large.');
    // Properties may hold values of 64 levels in their own.
    const maxDepth = 'properties' in result ? 2 * MAX_JSON_DEPTH : MAX_JSON_DEPTH;
    refuseUnstorable(text, { maxDepth, around: 1, strings: 'ignore' });
    return text;
  } catch (error) {
    // Beyond some thousand levels JSON.stringify itself gives up.
    if (error instanceof FlowgresError) return failed(`The output of the step is refused: ${error.message}`);
    if (error instanceof RangeError) return failed(`The output of the step is nested deeper than ${MAX_JSON_DEPTH} levels.`);
    throw error;
  }
}
