/** Takes jobs from graphile-worker, and restarts it when it gives up. */
import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Logger as GraphileLogger,
  Logger,
  type Runner,
  type TaskList,
  type WorkerEvents,
  type WorkerPool,
  run,
} from 'graphile-worker';
import type pg from 'pg';
import type { Engine } from '../engine/engine.ts';

/**
 * Interval of polling the queue, in milliseconds. Notifications tell of new jobs, and {@link JobRunner.nudge} of
 * those whose time has come; a poll is for the case that neither gets through.
 */
const POLL_MS = 10_000;
const RESTART_MS = 1_000;
const GIVING_UP_MS = 2_000;
/** Jobs that wait longer in this process, in milliseconds, are returned for other workers. */
const LOCAL_QUEUE_TTL_MS = 5_000;
/** Jobs handled at a time, as many as a batch has requests. A job ends when its step has begun. */
const JOBS = 100;

/** Options of {@link JobRunner}. */
export interface JobRunnerOptions {
  engine: Engine;
  /** Pool of flowgres_worker, without a transaction pooler. */
  pgPool: pg.Pool;
  /** What each kind of job does. */
  taskList: TaskList;
  /** Steps in flight at a time; fewer than {@link JOBS} limit the jobs as well. */
  concurrency: number;
  onProblem(message: string, error: unknown): void;
}

/** The jobs of one worker. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  #runner: Promise<Runner> | undefined;
  #workerPool: WorkerPool | undefined;
  #stopping = false;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** The pool name under which graphile-worker locks jobs for this worker. */
  get poolName(): string {
    return `pool-${this.#options.engine.workerId}`;
  }

  /** Takes jobs until {@link stop}. Rejects when the first connection fails. */
  async start(): Promise<void> {
    this.#runner = this.#runJobs();
    await this.#runner;
  }

  /** Takes no more jobs; resolves when those in progress have ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    try {
      const runner = await this.#runner;
      await runner?.stop();
    } catch {
      // The runner has stopped already, or was being restarted.
    }
  }

  /** Looks for jobs now, unless it does already or has enough. */
  nudge(): void {
    this.#workerPool?.nudge(1);
  }

  /** Handles rejections of graphile-worker that would end the process, until {@link unguard}. */
  guard(): void {
    process.on('unhandledRejection', this.#forgotten);
  }

  /** Ends {@link guard}. */
  unguard(): void {
    process.off('unhandledRejection', this.#forgotten);
  }

  /**
   * Ignores a rejection of graphile-worker 0.18: a runner that gives up while the database is unavailable, with
   * jobs in its local queue, rejects a promise without a handler. The next runner unlocks those jobs.
   */
  readonly #forgotten = (error: unknown): void => {
    if (!(error instanceof Error) || !error.message.includes('returning jobs from local queue')) throw error;
    this.#options.onProblem('Jobs were not given back.', error);
  };

  /** Runs graphile-worker, and starts it again when it gives up after a long loss of the database. */
  async #runJobs(): Promise<Runner> {
    // An earlier runner of this process may have been unable to unlock its jobs.
    await this.#options.engine.unlockJobs([this.poolName]);
    const events: WorkerEvents = new EventEmitter();
    // Set the name before the first job is locked: when this process dies, the reconciler knows whose jobs to
    // unlock.
    events.on('pool:create', ({ workerPool }: { workerPool: WorkerPool }) => {
      workerPool.id = this.poolName;
      this.#workerPool = workerPool;
    });
    holdLocalQueue(events);
    // A runner that loses the database at a certain moment shuts down without settling its promise.
    const givingUp = new Promise<void>((resolve) => {
      events.once('pool:gracefulShutdown', () => resolve(delay(GIVING_UP_MS, undefined, { ref: false })));
    });
    const runner = await run({
      pgPool: this.#options.pgPool,
      events,
      logger: this.#logger(),
      taskList: this.#options.taskList,
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
