/**
 * One typed method for each SQL function of the engine that a process calls. Calls of one process are coalesced
 * into batches; a batch is one statement, so it is committed or rolled back as a whole.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import type { z } from 'zod';
import { type BatchCall, Batches, batchOf } from './batches.ts';
import { type CoalesceOptions, Coalescer } from './coalesce.ts';
import { LIMITS } from '../constants.ts';
import { requestError } from './errors.ts';
import { encodeResult } from './result.ts';
import { Statements } from './statements.ts';
import {
  COMPLETE_STEPS,
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
  type WebhookDelivery,
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
import { DUE_WORK, type DueWork, dueWorkAnswer } from './due_work.ts';
import { type JsonText, encodeJson } from '../json/json.ts';
import { encodeStorableJson } from '../json/strict.ts';

export { createEnginePool } from './statements.ts';
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

/** Less than the lease of 15 seconds, so that after a hanging heartbeat another one can be sent in time. */
const HEARTBEAT_TIMEOUT_MS = 4_000;

/** Starts of one organization that wait in a process, and their characters: what a burst may keep of its memory. */
const STARTS_OF_ORGANIZATION = LIMITS.starts;

/**
 * The engine as one process uses it. Methods throw FlowgresError: with the code that a SQL function raised,
 * REFUSED for what the database refuses every time, or UNAVAILABLE when it cannot be reached.
 */
export class Engine {
  readonly workerId: string;
  readonly #statements: Statements;
  readonly #batches: Batches;
  readonly #claimOnStart: () => ClaimedSlot | undefined;
  readonly #starts: Coalescer<z.infer<typeof startAnswer>>;
  readonly #begins: Coalescer<BeginAnswer>;
  readonly #completes: Coalescer<CompleteAnswer>;
  readonly #logs: Coalescer<true>;

  constructor(pool: pg.Pool, options: EngineOptions = {}) {
    const { workerId = randomUUID(), claimOnStart = () => undefined, ...limits } = options;
    this.#statements = new Statements(pool);
    this.#batches = new Batches(this.#statements);
    this.#claimOnStart = claimOnStart;
    this.workerId = workerId;
    const coalescer = <Row extends { index: number }>(call: BatchCall<Row>, more: CoalesceOptions = {}) =>
      new Coalescer<Row>((requests) => this.#batches.send(call, requests), { ...more, ...limits });
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
      text: COMPLETE_STEPS,
      values: [workerId],
      row: completeAnswer,
      idempotent: true,
    });
    this.#logs = new Coalescer(async (entries) => {
      await this.#statements.ask('append_logs', 'select engine.append_logs($1::jsonb)', [batchOf(entries)]);
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
    await this.#statements.ask('fail_run', 'select engine.fail_run($1, $2, $3)', [runId, code, message]);
  }

  /**
   * Records that this worker is alive and extends the leases of its attempts. Resolves to the attempts that are
   * to be aborted, because their run has ended or another worker has the step.
   */
  async heartbeat(running: AttemptRef[], jobPool: string | null = null, capacity?: WorkerCapacity): Promise<AttemptRef[]> {
    const { rows } = await this.#statements.ask(
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
    await this.#statements.ask('release_steps', 'select engine.release_steps($1::uuid, $2::jsonb)', [
      this.workerId,
      JSON.stringify(running),
    ]);
  }

  /** Runs one pass of the reconciler. Resolves to what it did, at most 1,000 rows. */
  async reconcile(): Promise<ReconcileAction[]> {
    const { rows } = await this.#statements.ask('reconcile', 'select action, run_id, node from engine.reconcile()', []);
    return rows.map((row) => reconcileAnswer.parse(row));
  }

  /** Creates partitions that maintenance should have created; usually there are none to create. */
  async ensurePartitions(): Promise<void> {
    await this.#statements.ensurePartitions();
  }

  /** Releases held runs of a workflow, as far as its limits allow. */
  async releaseRuns({ workflowId, by, key }: HeldRuns): Promise<void> {
    await this.#statements.ask('release_runs', 'select engine.release_runs($1::uuid, $2, $3)', [workflowId, by, key]);
  }

  /** Handles the next runs of a bulk operation. */
  async workBulkOperation(id: string): Promise<void> {
    await this.#statements.ask('work_bulk_operation', 'select engine.work_bulk_operation($1::uuid)', [id]);
  }

  /** Repairs runs that have lost the row or job to continue with. Resolves to what it repaired. */
  async repairRuns(): Promise<RepairAction[]> {
    const { rows } = await this.#statements.ask('repair_runs', 'select action, run_id from engine.repair_runs()', []);
    return rows.map((row) => repairAnswer.parse(row));
  }

  /** Unlocks the jobs that graphile-worker has locked under these pool names. */
  async unlockJobs(pools: string[]): Promise<void> {
    await this.#statements.ask('unlock_jobs', 'select engine.unlock_jobs($1::text[])', [pools]);
  }

  /** Asks what is due, for a worker without a session: it does not judge those of others. */
  async dueWork(): Promise<DueWork> {
    const { rows } = await this.#statements.ask('due_work', DUE_WORK, [this.workerId, false]);
    return dueWorkAnswer.parse(rows[0]);
  }

  /** Declares dead the workers whose session has ended and who are silent. Resolves to their number. */
  async expireLostWorkers(): Promise<number> {
    const { rows } = await this.#statements.ask('expire_lost_workers', 'select engine.expire_lost_workers() as lost', []);
    return Number(rows[0]?.['lost']);
  }

  /** Adds jobs for the steps whose time has come. Resolves to their number. */
  async wakeSteps(): Promise<number> {
    const { rows } = await this.#statements.ask('wake_steps', 'select count(*)::int as woken from engine.wake_steps()', []);
    return Number(rows[0]?.['woken']);
  }

  /** Cancels child runs of a run that has ended; a further job handles those beyond one batch. */
  async cancelChildren(runId: string): Promise<void> {
    await this.#statements.ask('cancel_children', 'select engine.cancel_children($1::uuid)', [runId]);
  }

  /** Ends the wait of a run by a request to `/resume/<token>`. Resolves to the id of the run. */
  async resumeRun(token: string, request: JsonText): Promise<string> {
    const { rows } = await this.#statements.ask('resume_by_token', 'select engine.resume_by_token($1, $2::jsonb) as run', [
      token,
      request.text,
    ]);
    return String(rows[0]?.['run']);
  }

  /** Writes a line to the log of a run. Resolves when it is stored. */
  async appendLog(entry: LogEntry): Promise<void> {
    await this.#logs.call(encodeStorableJson(entry), entry.organizationId);
  }

  /** Returns the webhook of a path below `/hooks/<organization key>`; null when there is none. */
  async findWebhook(organizationKey: string, method: string, path: string): Promise<WebhookRoute | null> {
    const { rows } = await this.#statements.ask('find_webhook', 'select engine.find_webhook($1, $2, $3) as route', [
      organizationKey,
      method,
      path,
    ]);
    return webhookRoute.parse(rows[0]?.['route'] ?? null);
  }

  /** Starts the runs that send what is queued for webhook endpoints. */
  async sendWebhookEvents(): Promise<void> {
    await this.#statements.ask('send_webhook_events', 'select engine.send_webhook_events()', []);
  }

  /** Records requests to webhooks, as far as the organization's share of the list allows. */
  async logDeliveries(deliveries: WebhookDelivery[]): Promise<void> {
    await this.#statements.ask('log_webhook_deliveries', 'select engine.log_webhook_deliveries($1::jsonb)', [JSON.stringify(deliveries)]);
  }

  /** Returns the current states of the given runs. */
  async runAnswers(runIds: string[]): Promise<RunAnswer[]> {
    const { rows } = await this.#statements.ask(
      'run_answers',
      'select run_id, status, output, response, error, continues_in_ms from engine.run_answers($1::uuid[])',
      [runIds],
    );
    return rows.map((row) => describeRun(runAnswer.parse(row)));
  }
}
