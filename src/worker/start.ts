/** A worker: takes jobs, executes steps, fires schedules, sends heartbeats, and runs the reconciler. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { z } from 'zod';
import { Engine, type ClaimedSlot, type StepRef, type WorkerCapacity, createEnginePool } from '../engine/engine.ts';
import { LocalSteps } from '../engine/local.ts';
import { onlyOriginal } from '../database/installation.ts';
import { LIMITS } from '../constants.ts';
import { log } from '../log.ts';
import { watchNumber, watchPool } from '../metrics.ts';
import type { NodeConfig } from '../nodes/types.ts';
import { Attempts } from './attempts.ts';
import { JobRunner } from './jobs.ts';
import { every, everySecond } from '../scheduler/every.ts';
import { ScheduleRunner } from '../scheduler/schedules.ts';
import { WorkerSession } from './session.ts';
import { Credentials } from '../vault/credentials.ts';
import type { Vault } from '../vault/vault.ts';
import { WebhookEndpoints, sendWebhookEvents } from './webhook_endpoints.ts';
import { type Slot, Slots } from './slots.ts';
import { StepCredentials } from './step_credentials.ts';

/** Options of {@link startWorker}. A limit that is not given is that of src/constants.ts. */
export interface WorkerOptions {
  /** Connection string of flowgres_worker, without a transaction pooler, since it listens for jobs. */
  connectionString: string;
  /**
   * Steps in flight at a time. A step that waits for the network takes a socket and some
   * memory, but no job.
   */
  concurrency?: number;
  /**
   * Steps in flight of one organization while others have steps. The values of all workers are added.
   */
  organizationConcurrency?: number;
  nodes?: NodeConfig;
  /** Longest time for the expressions of one isolated step, in milliseconds. */
  evaluationTimeoutMs?: number;
  /** Local steps of one organization that this process runs at a time. */
  localPerOrganization?: number;
  /** Schedules that fire at a time. */
  scheduleSlots?: number;
  /** Longest time for the start of a schedule's run, in milliseconds. */
  firingTimeoutMs?: number;
  /** The keys that open credentials; steps that need one fail when not given. */
  vault?: Vault | undefined;
  /** How long stopping waits for running attempts before it releases them, in milliseconds. */
  graceMs?: number;
  /** Receives problems that the worker survives; they are logged when not given. */
  onProblem?: (message: string, error: unknown) => void;
}

/** A running worker. */
export interface RunningWorker {
  /** Identity in engine.workers. */
  id: string;
  /** Whether its heartbeats succeed; otherwise other workers will soon take over its steps. */
  isAlive(): boolean;
  /** Claims a slot for the first step of a run that this process is about to start; undefined when none is free. */
  claimOnStart(): ClaimedSlot | undefined;
  /** Takes no more jobs, waits for running attempts up to `graceMs`, and releases the rest. */
  stop(): Promise<void>;
}

const HEARTBEAT_MS = 2_500;
/** The worker counts as dead after two missed heartbeats. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
const RECONCILE_MS = 10_000;
const REPAIR_MS = 60_000;
const LAST_WORDS_MS = 3_000;
/**
 * Successful heartbeats in a row before this worker reconciles: after an outage all workers look dead for a
 * moment.
 */
const HEARTBEATS_BEFORE_RECONCILE = 2;
/** Rows that one pass of the reconciler handles. */
const RECONCILE_LIMIT = 1_000;

/**
 * How long a job waits for a slot of this process, in milliseconds; then its step is deferred until a slot of
 * any worker is free.
 */
const SLOT_PATIENCE_MS = 2_000;

/** A little longer than engine.absence_time(): then a worker whose session has ended is dead, or has shown itself. */
const LOOK_AGAIN_MS = 1_050;

/** Steps that one call wakes. */
const WAKE_LIMIT = 1_000;

const stepShape = z.object({ runId: z.string(), node: z.string() });
const runShape = z.object({ runId: z.string() });
const heldShape = z.object({ workflowId: z.string(), by: z.enum(['run', 'concurrency', 'rate']), key: z.string() });
const operationShape = z.object({ id: z.string() });

/**
 * Starts a worker. It continues after a loss of the database; only the first connection must succeed.
 *
 * @throws when the first heartbeat fails: FlowgresError UNAVAILABLE, or REFUSED
 */
export async function startWorker(options: WorkerOptions): Promise<RunningWorker> {
  const worker = new Worker(options);
  await worker.start();
  return { id: worker.id, isAlive: () => worker.isAlive(), claimOnStart: () => worker.claimOnStart(), stop: () => worker.stop() };
}

class Worker {
  readonly #options: Required<Omit<WorkerOptions, 'vault'>>;
  readonly #pool: pg.Pool;
  readonly #localPool: pg.Pool;
  readonly #engine: Engine;
  readonly #attempts: Attempts;
  readonly #credentials: StepCredentials;
  readonly #jobs: JobRunner;
  readonly #schedules: ScheduleRunner;
  readonly #session: WorkerSession;
  readonly #slots: Slots;
  readonly #capacity: WorkerCapacity;
  readonly #claimed = new Set<Promise<void>>();
  readonly #timers: { stop(): void }[] = [];
  #stopping: Promise<void> | undefined;
  #lookingAgain: NodeJS.Timeout | undefined;
  #heartbeats = 0;
  #heardAt = -Infinity;

  constructor(options: WorkerOptions) {
    this.#options = {
      concurrency: LIMITS.worker.concurrency,
      organizationConcurrency: LIMITS.worker.organizationConcurrency,
      nodes: { httpAllow: [] },
      evaluationTimeoutMs: LIMITS.worker.expressionTimeoutMs,
      localPerOrganization: LIMITS.worker.organizationLocalSteps,
      scheduleSlots: LIMITS.schedules.slots,
      firingTimeoutMs: LIMITS.schedules.firingTimeoutMs,
      graceMs: LIMITS.stopping.workerMs,
      onProblem: (message, error) => log.error(message, { error }),
      ...options,
    };
    this.#pool = onlyOriginal(createEnginePool(this.#options.connectionString, 'flowgres worker'));
    this.#engine = new Engine(this.#pool);
    const { concurrency, organizationConcurrency, nodes, onProblem } = this.#options;
    const { evaluationTimeoutMs, localPerOrganization } = this.#options;
    // A separate pool: local steps hold their connections while they work, and the engine must not wait for
    // one.
    this.#localPool = onlyOriginal(createEnginePool(this.#options.connectionString, 'flowgres local', LIMITS.worker.localConnections));
    const local = new LocalSteps(this.#localPool, {
      workerId: this.#engine.workerId,
      evaluationTimeoutMs,
      perOrganization: localPerOrganization,
    });
    const endpoints = new WebhookEndpoints(this.#pool, new Credentials(this.#pool, options.vault));
    this.#credentials = new StepCredentials(this.#pool, options.vault, nodes, onProblem);
    this.#attempts = new Attempts(this.#engine, local, { ...nodes, endpoints }, this.#credentials, onProblem);
    this.#slots = new Slots(concurrency);
    this.#capacity = { steps: concurrency, perOrganization: Math.min(organizationConcurrency, concurrency) };
    this.#schedules = new ScheduleRunner({
      connectionString: this.#options.connectionString,
      slots: this.#options.scheduleSlots,
      firingTimeoutMs: this.#options.firingTimeoutMs,
      mend: () => this.#engine.ensurePartitions(),
      onProblem,
    });
    this.#jobs = new JobRunner({
      engine: this.#engine,
      pgPool: this.#pool,
      taskList: {
        run_step: (payload) => this.#runStep(stepShape.parse(payload)),
        release_runs: (payload) => this.#engine.releaseRuns(heldShape.parse(payload)),
        work_bulk_operation: (payload) => this.#engine.workBulkOperation(operationShape.parse(payload).id),
        cancel_children: (payload) => this.#engine.cancelChildren(runShape.parse(payload).runId),
      },
      concurrency,
      onProblem,
    });
    this.#session = new WorkerSession({
      connectionString: this.#options.connectionString,
      workerId: this.#engine.workerId,
      // At once, so that others know whether they may judge this worker by its session.
      onChange: () => void (this.#heardAt > -Infinity && this.#heartbeat()),
      onProblem,
    });
    watchPool('worker', this.#pool);
    watchPool('local', this.#localPool);
    watchNumber('flowgres_steps_in_flight', 'Steps that this process executes.', async () => this.#slots.used);
  }

  get id(): string {
    return this.#engine.workerId;
  }

  async start(): Promise<void> {
    this.#jobs.guard();
    try {
      await this.#session.open();
      await this.#engine.heartbeat([], this.#jobs.poolName, this.#capacity);
      this.#heardAt = performance.now();
      await this.#jobs.start();
    } catch (error) {
      this.#jobs.unguard();
      await Promise.all([this.#session.close(), this.#pool.end(), this.#localPool.end()]);
      throw error;
    }
    // Reconcile and create partitions at once, for steps that an earlier process has left and after a long
    // pause.
    void this.#ensurePartitions();
    void this.#reconcile();
    void this.#lookForWork();
    this.#credentials.start();
    this.#timers.push(
      every(HEARTBEAT_MS, () => this.#heartbeat()),
      every(RECONCILE_MS, async () => {
        if (this.#heartbeats >= HEARTBEATS_BEFORE_RECONCILE) await this.#reconcile();
      }),
      sendWebhookEvents(this.#engine, this.#options.onProblem),
      every(REPAIR_MS, () => this.#repair()),
      every(REPAIR_MS, () => this.#ensurePartitions()),
      everySecond(() => this.#lookForWork()),
    );
  }

  isAlive(): boolean {
    return !this.#stopping && performance.now() - this.#heardAt < SILENCE_MS;
  }

  claimOnStart(): ClaimedSlot | undefined {
    const slot = this.isAlive() ? this.#slots.tryAcquire() : undefined;
    if (!slot) return undefined;
    const { promise: step, resolve: claim } = Promise.withResolvers<StepRef | null>();
    const claimed = this.#executeClaimed(step, slot).finally(() => this.#claimed.delete(claimed));
    this.#claimed.add(claimed);
    return claim;
  }

  /** Executes a claimed step. When it fails, the reconciler gives the step a job in a few seconds. */
  async #executeClaimed(claimed: Promise<StepRef | null>, slot: Slot): Promise<void> {
    try {
      const step = await claimed;
      if (step) await this.#attempts.start(step, slot);
      else slot.release();
    } catch (error) {
      if (!this.#stopping) this.#options.onProblem('A step was not executed.', error);
    }
  }

  /** Handles the job of a step. It ends when the step has begun; from then on the step's lease names its worker. */
  async #runStep(step: StepRef): Promise<void> {
    const slot = await this.#slots.acquire(SLOT_PATIENCE_MS);
    if (slot) await this.#attempts.start(step, slot);
    else if (this.#stopping) await this.#attempts.returnStep(step);
    else await this.#attempts.defer(step);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#attempts.beginStopping();
    this.#slots.close();
    const stopped = Promise.all([this.#jobs.stop(), this.#schedules.stop(), ...this.#claimed]).then(() => this.#attempts.ended());
    const grace = new AbortController();
    await Promise.race([stopped, delay(this.#options.graceMs, undefined, { signal: grace.signal }).catch(() => undefined)]);
    grace.abort();
    for (const timer of this.#timers) timer.stop();
    clearTimeout(this.#lookingAgain);
    this.#jobs.unguard();
    await this.#attempts.handBack().catch((error: unknown) => this.#options.onProblem('Steps were not handed back.', error));
    // Limit the wait: without a database graphile-worker would try for minutes to unlock its jobs. The
    // reconciler unlocks them.
    await Promise.race([
      stopped.then(() => this.#credentials.stop()).then(() => Promise.all([this.#pool.end(), this.#localPool.end()])),
      delay(LAST_WORDS_MS, undefined, { ref: false }),
    ]);
    // Last: without its session this worker counts as dead a second later.
    await this.#session.close();
  }

  async #heartbeat(): Promise<void> {
    try {
      this.#attempts.abort(await this.#engine.heartbeat(this.#attempts.running(), this.#jobs.poolName, this.#capacity));
      this.#heartbeats += 1;
      this.#heardAt = performance.now();
    } catch (error) {
      this.#heartbeats = 0;
      this.#options.onProblem('A heartbeat failed.', error);
    }
  }

  /** Does what is due, each second. */
  async #lookForWork(): Promise<void> {
    try {
      const due = (await this.#session.dueWork()) ?? (await this.#engine.dueWork());
      if (this.#stopping) return;
      if (due.jobs) this.#jobs.nudge();
      if (due.schedules) void this.#schedules.fireDue();
      if (due.suspects) this.#lookAgain();
      if (due.lost_workers && (await this.#engine.expireLostWorkers()) > 0) await this.#reconcile();
      if (due.steps) await this.#wakeSteps();
    } catch (error) {
      if (!this.#stopping) this.#options.onProblem('What is due was not done.', error);
    }
  }

  /** Looks as soon as a worker whose session has ended may be declared dead. */
  #lookAgain(): void {
    this.#lookingAgain ??= setTimeout(() => {
      this.#lookingAgain = undefined;
      void this.#lookForWork();
    }, LOOK_AGAIN_MS);
  }

  async #reconcile(): Promise<void> {
    try {
      while ((await this.#engine.reconcile()).length >= RECONCILE_LIMIT && !this.#stopping);
    } catch (error) {
      this.#options.onProblem('The reconciler failed.', error);
    }
  }

  /** Repairs runs. Each repair is reported, since it shows a fault. */
  async #repair(): Promise<void> {
    try {
      for (const { action, run_id } of await this.#engine.repairRuns()) {
        this.#options.onProblem(`Run ${run_id} was repaired: nothing would have moved it on (${action}).`, undefined);
      }
    } catch (error) {
      this.#options.onProblem('The repair of runs failed.', error);
    }
  }

  /** Creates partitions in case the daily maintenance does not run: without them nothing can be written. */
  async #ensurePartitions(): Promise<void> {
    try {
      await this.#engine.ensurePartitions();
    } catch (error) {
      this.#options.onProblem('Partitions were not maintained.', error);
    }
  }

  async #wakeSteps(): Promise<void> {
    try {
      while ((await this.#engine.wakeSteps()) >= WAKE_LIMIT && !this.#stopping);
    } catch (error) {
      this.#options.onProblem('Steps were not woken.', error);
    }
  }
}
