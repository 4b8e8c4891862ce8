/** A worker: takes jobs, executes steps, fires schedules, tells that it lives, and keeps what died moving. */
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

export interface WorkerOptions {
  /** Connection string of flowgres_worker: a direct one, since it listens for jobs. */
  connectionString: string;
  /** Steps that are in flight at a time. One that waits for the network costs a socket and some memory, no job. */
  concurrency?: number;
  /** How many of these one organization may have, where there are others. What all workers say adds up. */
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
  /** How long stopping waits for running attempts before it hands them back, in milliseconds. */
  graceMs?: number;
  /** Where trouble is told; the process's standard error when not given. */
  onProblem?: (message: string, error: unknown) => void;
}

export interface RunningWorker {
  /** Identity in engine.workers. */
  id: string;
  /** Whether its heartbeats get through: else others will soon take over what it does. */
  isAlive(): boolean;
  /** ClaimedSlot for the first step of a run that this process is about to start, if a slot is free that no job waits for. */
  claimOnStart(): ClaimedSlot | undefined;
  /** Takes no more jobs, lets running attempts finish for a while, and hands back the rest. */
  stop(): Promise<void>;
}

const HEARTBEAT_MS = 2_500;
/** Two heartbeats missed. */
const SILENCE_MS = 3 * HEARTBEAT_MS;
const RECONCILE_MS = 10_000;
const REPAIR_MS = 60_000;
const POLL_MS = 1_000;
const RESTART_MS = 1_000;
const GIVING_UP_MS = 2_000;
const LAST_WORDS_MS = 3_000;
/** Local steps that one process runs at a time, of all organizations. */
const LOCAL_CONNECTIONS = 8;
/** Jobs that wait in this process longer than that go back, for workers that are free. */
const LOCAL_QUEUE_TTL_MS = 5_000;
/** Heartbeats in a row before this worker judges others: after an outage everybody looks dead for a moment. */
const HEARTBEATS_BEFORE_RECONCILE = 2;
/** As many rows as one pass of the reconciler may handle. */
const RECONCILE_LIMIT = 1_000;

/** Jobs that are handled at a time: a job ends when its step has begun. As many requests as a batch has. */
const JOBS = 100;
/** A job waits that long for a slot of this process; then its step is deferred until one is free in any. */
const SLOT_PATIENCE_MS = 2_000;

/** As many steps as are woken at a time. */
const WAKE_LIMIT = 1_000;

const stepShape = z.object({ runId: z.string(), node: z.string() });
const runShape = z.object({ runId: z.string() });
const heldShape = z.object({ workflowId: z.string(), by: z.enum(['run', 'concurrency', 'rate']), key: z.string() });
const operationShape = z.object({ id: z.string() });

/** Starts a worker. It survives the loss of the database; only the first connection must succeed. */
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
    // Local steps hold their connection while they work: those of the engine must not wait for one.
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
   * A runner of graphile-worker 0.18 that gives up while the database is away, with jobs in its local queue, rejects a
   * promise that nobody holds. That must not end the process; the next runner unlocks those jobs.
   */
  readonly #forgotten = (error: unknown): void => {
    if (!(error instanceof Error) || !error.message.includes('returning jobs from local queue')) throw error;
    this.#options.onProblem('Jobs were not given back.', error);
  };

  /** The name under which graphile-worker locks jobs for this worker. */
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
    // What died with an earlier process need not wait for the first turn, nor does what nobody has maintained.
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

  /** Should it fail, the step gets a job in a few seconds. */
  async #executeClaimed(claimed: Promise<StepRef | null>, slot: Slot): Promise<void> {
    try {
      const step = await claimed;
      if (step) await this.#attempts.start(step, slot);
      else slot.release();
    } catch (error) {
      if (!this.#stopping) this.#options.onProblem('A step was not executed.', error);
    }
  }

  /** The job of a step: it has ended when the step has begun. From then on the lease says who has it. */
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
    // Without a database graphile-worker would try for minutes to tell it which jobs are free again; the reconciler will know.
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
      // It has stopped already, or it was being restarted.
    }
  }

  /** Runs graphile-worker, and runs it again when it gives up, as it does after a long loss of the database. */
  async #runJobs(): Promise<Runner> {
    // What an earlier runner of this process held it may have had no database to give back to.
    await this.#engine.unlockJobs([this.#jobPool]);
    const events: WorkerEvents = new EventEmitter();
    // A name known before the first job is locked: whenever this process dies, the reconciler knows whose jobs to unlock.
    events.on('pool:create', ({ workerPool }: { workerPool: WorkerPool }) => {
      workerPool.id = this.#jobPool;
    });
    holdLocalQueue(events);
    // A runner that loses the database in the wrong moment shuts down without ever saying that it has ended.
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

  /** What it finds should never have come to be: somebody ought to know. */
  async #repair(): Promise<void> {
    try {
      for (const { action, run_id } of await this.#engine.repairRuns()) {
        this.#options.onProblem(`Run ${run_id} was repaired: nothing would have moved it on (${action}).`, undefined);
      }
    } catch (error) {
      this.#options.onProblem('The repair of runs failed.', error);
    }
  }

  /** Should the daily maintenance not run, for whatever reason: nothing can be written without partitions. */
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
 * The local queue of graphile-worker 0.18 cannot give back its jobs when it is released with nothing else under way: it
 * takes itself for finished, throws, and the jobs stay locked. So something is under way until it is released.
 */
function holdLocalQueue(events: WorkerEvents): void {
  const released = Promise.withResolvers<void>();
  events.once('localQueue:init', ({ localQueue }) => localQueue['background'](released.promise));
  events.on('localQueue:setMode', ({ newMode }) => {
    if (newMode === 'RELEASED') queueMicrotask(released.resolve);
  });
}
