/** A worker: takes jobs, executes steps, fires schedules, sends heartbeats, and runs the reconciler. */
import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type Logger as GraphileLogger, Logger, type Runner, type WorkerEvents, type WorkerPool, run } from 'graphile-worker';
import type pg from 'pg';
import { z } from 'zod';
import { Engine, type ClaimedSlot, type StepRef, type WorkerCapacity, createEnginePool } from '../engine/engine.ts';
import { LocalSteps } from '../engine/local.ts';
import { onlyOriginal } from '../database/installation.ts';
import { log } from '../log.ts';
import { watchNumber, watchPool } from '../metrics.ts';
import type { NodeConfig } from '../nodes/types.ts';
import { Attempts } from './attempts.ts';
import { every, everySecond } from '../scheduler/every.ts';
import { SCHEDULES, ScheduleRunner } from '../scheduler/schedules.ts';
import { type Slot, Slots } from './slots.ts';

/** Options of {@link startWorker}. */
export interface WorkerOptions {
  /** Connection string of flowgres_worker, without a transaction pooler, since it listens for jobs. */
  connectionString: string;
  /**
   * Steps in flight at a time; 2,000 when not given. A step that waits for the network takes a socket and some
   * memory, but no job.
   */
  concurrency?: number;
  /**
   * Steps in flight of one organization while others have steps; 200 when not given. The values of all workers
   * are added.
   */
  organizationConcurrency?: number;
  nodes?: NodeConfig;
  /** Longest time for the expressions of one isolated step, in milliseconds; 1,000 when not given. */
  evaluationTimeoutMs?: number;
  /** Local steps of one organization that this process runs at a time; 2 when not given. */
  localPerOrganization?: number;
  /** Schedules that fire at a time; 4 when not given. */
  scheduleSlots?: number;
  /** Longest time for the start of a schedule's run, in milliseconds; 3,000 when not given. */
  firingTimeoutMs?: number;
  /** How long stopping waits for running attempts before it releases them, in milliseconds; 5,000 when not given. */
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
const POLL_MS = 1_000;
const RESTART_MS = 1_000;
const GIVING_UP_MS = 2_000;
const LAST_WORDS_MS = 3_000;
/** Connections for local steps of all organizations. */
const LOCAL_CONNECTIONS = 8;
/** Jobs that wait longer in this process, in milliseconds, are returned for other workers. */
const LOCAL_QUEUE_TTL_MS = 5_000;
/**
 * Successful heartbeats in a row before this worker reconciles: after an outage all workers look dead for a
 * moment.
 */
const HEARTBEATS_BEFORE_RECONCILE = 2;
/** Rows that one pass of the reconciler handles. */
const RECONCILE_LIMIT = 1_000;

/** Jobs handled at a time, as many as a batch has requests. A job ends when its step has begun. */
const JOBS = 100;
/**
 * How long a job waits for a slot of this process, in milliseconds; then its step is deferred until a slot of
 * any worker is free.
 */
const SLOT_PATIENCE_MS = 2_000;

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
  readonly #options: Required<WorkerOptions>;
  readonly #pool: pg.Pool;
  readonly #localPool: pg.Pool;
  readonly #engine: Engine;
  readonly #attempts: Attempts;
  readonly #schedules: ScheduleRunner;
  readonly #slots: Slots;
  readonly #capacity: WorkerCapacity;
  readonly #claimed = new Set<Promise<void>>();
  readonly #timers: { stop(): void }[] = [];
  #runner: Promise<Runner> | undefined;
  #stopping: Promise<void> | undefined;
  #heartbeats = 0;
  #heardAt = -Infinity;

  constructor(options: WorkerOptions) {
    this.#options = {
      concurrency: 2_000,
      organizationConcurrency: 200,
      nodes: { httpAllow: [] },
      evaluationTimeoutMs: 1_000,
      localPerOrganization: 2,
      scheduleSlots: SCHEDULES.slots,
      firingTimeoutMs: SCHEDULES.firingTimeoutMs,
      graceMs: 5_000,
      onProblem: (message, error) => log.error(message, { error }),
      ...options,
    };
    this.#pool = onlyOriginal(createEnginePool(this.#options.connectionString, 'flowgres worker'));
    this.#engine = new Engine(this.#pool);
    const { concurrency, organizationConcurrency, nodes, onProblem } = this.#options;
    const { evaluationTimeoutMs, localPerOrganization } = this.#options;
    // A separate pool: local steps hold their connections while they work, and the engine must not wait for
    // one.
    this.#localPool = onlyOriginal(createEnginePool(this.#options.connectionString, 'flowgres local', LOCAL_CONNECTIONS));
    const local = new LocalSteps(this.#localPool, { evaluationTimeoutMs, perOrganization: localPerOrganization });
    this.#attempts = new Attempts(this.#engine, local, nodes, onProblem);
    this.#slots = new Slots(concurrency);
    this.#capacity = { steps: concurrency, perOrganization: Math.min(organizationConcurrency, concurrency) };
    this.#schedules = new ScheduleRunner({
      connectionString: this.#options.connectionString,
      slots: this.#options.scheduleSlots,
      firingTimeoutMs: this.#options.firingTimeoutMs,
      mend: () => this.#engine.ensurePartitions(),
      onProblem,
    });
    watchPool('worker', this.#pool);
    watchPool('local', this.#localPool);
    watchNumber('flowgres_steps_in_flight', 'Steps that this process executes.', async () => this.#slots.used);
  }

  get id(): string {
    return this.#engine.workerId;
  }

  /**
   * Ignores a rejection of graphile-worker 0.18: a runner that gives up while the database is unavailable, with
   * jobs in its local queue, rejects a promise without a handler. The next runner unlocks those jobs.
   */
  readonly #forgotten = (error: unknown): void => {
    if (!(error instanceof Error) || !error.message.includes('returning jobs from local queue')) throw error;
    this.#options.onProblem('Jobs were not given back.', error);
  };

  /** The pool name under which graphile-worker locks jobs for this worker. */
  get #jobPool(): string {
    return `pool-${this.id}`;
  }

  async start(): Promise<void> {
    process.on('unhandledRejection', this.#forgotten);
    try {
      await this.#engine.heartbeat([], this.#jobPool, this.#capacity);
      this.#heardAt = performance.now();
      this.#runner = this.#runJobs();
      await this.#runner;
    } catch (error) {
      process.off('unhandledRejection', this.#forgotten);
      await Promise.all([this.#pool.end(), this.#localPool.end()]);
      throw error;
    }
    // Reconcile and create partitions at once, for steps that an earlier process has left and after a long
    // pause.
    void this.#ensurePartitions();
    void this.#reconcile();
    this.#schedules.start();
    this.#timers.push(
      every(HEARTBEAT_MS, () => this.#heartbeat()),
      every(RECONCILE_MS, async () => {
        if (this.#heartbeats >= HEARTBEATS_BEFORE_RECONCILE) await this.#reconcile();
      }),
      every(REPAIR_MS, () => this.#repair()),
      every(REPAIR_MS, () => this.#ensurePartitions()),
      everySecond(() => this.#wakeSteps()),
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
    const stopped = Promise.all([this.#stopRunner(), this.#schedules.stop(), ...this.#claimed]).then(() => this.#attempts.ended());
    const grace = new AbortController();
    await Promise.race([stopped, delay(this.#options.graceMs, undefined, { signal: grace.signal }).catch(() => undefined)]);
    grace.abort();
    for (const timer of this.#timers) timer.stop();
    process.off('unhandledRejection', this.#forgotten);
    await this.#attempts.handBack().catch((error: unknown) => this.#options.onProblem('Steps were not handed back.', error));
    // Limit the wait: without a database graphile-worker would try for minutes to unlock its jobs. The
    // reconciler unlocks them.
    await Promise.race([
      stopped.then(() => Promise.all([this.#pool.end(), this.#localPool.end()])),
      delay(LAST_WORDS_MS, undefined, { ref: false }),
    ]);
  }

  async #stopRunner(): Promise<void> {
    try {
      const runner = await this.#runner;
      await runner?.stop();
    } catch {
      // The runner has stopped already, or was being restarted.
    }
  }

  /** Runs graphile-worker, and starts it again when it gives up after a long loss of the database. */
  async #runJobs(): Promise<Runner> {
    // An earlier runner of this process may have been unable to unlock its jobs.
    await this.#engine.unlockJobs([this.#jobPool]);
    const events: WorkerEvents = new EventEmitter();
    // Set the name before the first job is locked: when this process dies, the reconciler knows whose jobs to
    // unlock.
    events.on('pool:create', ({ workerPool }: { workerPool: WorkerPool }) => {
      workerPool.id = this.#jobPool;
    });
    holdLocalQueue(events);
    // A runner that loses the database at a certain moment shuts down without settling its promise.
    const givingUp = new Promise<void>((resolve) => {
      events.once('pool:gracefulShutdown', () => resolve(delay(GIVING_UP_MS, undefined, { ref: false })));
    });
    const runner = await run({
      pgPool: this.#pool,
      events,
      logger: this.#logger(),
      taskList: {
        run_step: (payload) => this.#runStep(stepShape.parse(payload)),
        release_runs: (payload) => this.#engine.releaseRuns(heldShape.parse(payload)),
        work_bulk_operation: (payload) => this.#engine.workBulkOperation(operationShape.parse(payload).id),
        cancel_children: (payload) => this.#engine.cancelChildren(runShape.parse(payload).runId),
      },
      parsedCronItems: [],
      noHandleSignals: true,
      preset: {
        worker: {
          concurrentJobs: Math.min(JOBS, this.#options.concurrency),
          pollInterval: POLL_MS,
          localQueue: { size: 500, ttl: LOCAL_QUEUE_TTL_MS },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        },
      },
    });
    void this.#restartAfter(Promise.race([runner.promise, givingUp]));
    return runner;
  }

  async #restartAfter(ended: Promise<void>): Promise<void> {
    await ended.catch((error: unknown) => this.#options.onProblem('Taking jobs failed.', error));
    while (!this.#stopping) {
      try {
        await delay(RESTART_MS);
        if (this.#stopping) return;
        this.#runner = this.#runJobs();
        await this.#runner;
        return;
      } catch (error) {
        this.#options.onProblem('Taking jobs failed.', error);
      }
    }
  }

  async #heartbeat(): Promise<void> {
    try {
      this.#attempts.abort(await this.#engine.heartbeat(this.#attempts.running(), this.#jobPool, this.#capacity));
      this.#heartbeats += 1;
      this.#heardAt = performance.now();
    } catch (error) {
      this.#heartbeats = 0;
      this.#options.onProblem('A heartbeat failed.', error);
    }
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

  #logger(): GraphileLogger {
    return new Logger(() => (level, message, meta) => {
      if (level === 'error') this.#options.onProblem(message, meta?.['error']);
    });
  }
}

/**
 * Keeps the local queue of graphile-worker 0.18 busy until it is released: released while idle, it considers
 * itself finished, throws, and its jobs remain locked.
 */
function holdLocalQueue(events: WorkerEvents): void {
  const released = Promise.withResolvers<void>();
  events.once('localQueue:init', ({ localQueue }) => localQueue['background'](released.promise));
  events.on('localQueue:setMode', ({ newMode }) => {
    if (newMode === 'RELEASED') queueMicrotask(released.resolve);
  });
}
