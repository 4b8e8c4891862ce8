/**
 * Fires due schedules, each in a transaction of its own. An organization has one slot at a time, and all
 * schedules whose last start failed share one, so that slow schedules of one organization do not delay others.
 */
import { LIMITS } from '../constants.ts';
import { classifyFailure, raisedError } from '../engine/errors.ts';
import { type DueSchedule, Schedules } from '../engine/schedules.ts';
import { watchPool } from '../metrics.ts';

/** Options of {@link ScheduleRunner}. */
export interface ScheduleRunnerOptions {
  /** Connection string of flowgres_worker. */
  connectionString: string;
  /** Schedules that fire at a time, each over a connection of its own; those of {@link SCHEDULES} when not given. */
  slots?: number;
  /** Longest time for the start of one tick, in milliseconds; that of {@link SCHEDULES} when not given. */
  firingTimeoutMs?: number;
  /** Creates partitions that maintenance should have created. */
  mend(): Promise<void>;
  onProblem(message: string, error: unknown): void;
}

export const SCHEDULES = LIMITS.schedules;
const QUERY_CANCELED = '57014';

/** Fires schedules in one worker. */
export class ScheduleRunner {
  readonly #options: Required<ScheduleRunnerOptions>;
  readonly #schedules: Schedules;
  /** What occupies a slot: an organization, or all schedules in quarantine. */
  readonly #firing = new Map<string, Promise<void>>();
  #waiting: DueSchedule[] = [];
  #listing: Promise<void> | undefined;
  /** Whether a schedule was fired since the last query for due ones. */
  #hasFired = false;
  #isStopped = false;

  constructor(options: ScheduleRunnerOptions) {
    this.#options = { ...SCHEDULES, ...options };
    const { slots, firingTimeoutMs } = this.#options;
    this.#schedules = new Schedules(options.connectionString, slots + 1, firingTimeoutMs);
    watchPool('schedules', this.#schedules.pool);
  }

  /** Fires no further schedule; resolves when those in progress have ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#listing;
    await Promise.all(this.#firing.values());
    await this.#schedules.end();
  }

  /**
   * Queries the due schedules and begins to fire them: the worker calls it each second in which some are due. Every
   * worker does; a schedule that another worker fires is skipped. Never rejects.
   */
  fireDue(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#listing ??= this.#ask().finally(() => (this.#listing = undefined));
    return this.#listing;
  }

  async #ask(): Promise<void> {
    try {
      this.#hasFired = false;
      this.#waiting = await this.#schedules.due();
      this.#fill();
    } catch (error) {
      if (!this.#isStopped) this.#options.onProblem('Schedules were not fired.', error);
    }
  }

  /** Assigns free slots to the first waiting schedules. */
  #fill(): void {
    const skipped: DueSchedule[] = [];
    while (!this.#isStopped && this.#firing.size < this.#options.slots) {
      const next = this.#waiting.shift();
      if (!next) break;
      const share = next.is_quarantined ? 'quarantine' : next.organization_id;
      if (this.#firing.has(share)) skipped.push(next);
      else
        this.#firing.set(
          share,
          this.#fire(next).finally(() => this.#release(share)),
        );
    }
    this.#waiting = [...skipped, ...this.#waiting];
  }

  /** Frees a slot. A schedule that catches up is due again at once. */
  #release(share: string): void {
    this.#firing.delete(share);
    this.#fill();
    if (this.#hasFired && this.#firing.size === 0 && !this.#isStopped) void this.fireDue();
  }

  async #fire(schedule: DueSchedule): Promise<void> {
    try {
      if (await this.#schedules.fire(schedule)) this.#hasFired = true;
    } catch (error) {
      await this.#fail(schedule, error).catch((failure: unknown) => {
        this.#options.onProblem('That a schedule was not fired could not be recorded.', failure);
      });
    }
  }

  async #fail(schedule: DueSchedule, error: unknown): Promise<void> {
    const failure = classifyFailure(error);
    const raised = raisedError(failure);
    if (raised?.code === 'CONFLICT') {
      // The workflow was unpublished or published again meanwhile: query the due schedules again.
      this.#hasFired = true;
    } else if (failure.sqlstate === QUERY_CANCELED) {
      const message = `Starting the run took longer than ${this.#options.firingTimeoutMs} ms.`;
      await this.#schedules.fail(schedule, { code: 'TIMEOUT', message });
    } else if (failure.kind === 'no_partition') {
      // Partitions are missing: every start would fail without them.
      await this.#options.mend();
    } else if (failure.sqlstate && failure.kind !== 'unable') {
      const { code, message } = raised ?? { code: 'INTERNAL', message: failure.message };
      await this.#schedules.fail(schedule, { code, message });
      if (failure.kind === 'refused') this.#options.onProblem(`A schedule was not fired: ${describe(schedule)}.`, error);
    } else if (!this.#isStopped) {
      this.#options.onProblem('Schedules were not fired.', error);
    }
  }
}

function describe({ workflow_id, node }: DueSchedule): string {
  return `workflow ${workflow_id}, node ${node}`;
}
