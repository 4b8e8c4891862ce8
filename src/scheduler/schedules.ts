/**
 * Fires the schedules that are due, each in a transaction of its own. An organization has one of the slots at a time,
 * and all schedules whose last start failed share one: the slow schedules of one delay nobody else's.
 */
import { LIMITS } from '../constants.ts';
import { classifyFailure, raisedError } from '../engine/errors.ts';
import { type DueSchedule, Schedules } from '../engine/schedules.ts';
import { watchPool } from '../metrics.ts';
import { everySecond } from './every.ts';

export interface ScheduleRunnerOptions {
  /** Connection string of flowgres_worker. */
  connectionString: string;
  /** As many schedules fire at a time, each over a connection of its own; {@link SCHEDULES}' when not given. */
  slots?: number;
  /** Longest time for the start of one tick, in milliseconds; {@link SCHEDULES}' when not given. */
  firingTimeoutMs?: number;
  /** Makes the partitions that maintenance should have made. */
  mend(): Promise<void>;
  onProblem(message: string, error: unknown): void;
}

export const SCHEDULES = LIMITS.schedules;
const QUERY_CANCELED = '57014';

export class ScheduleRunner {
  readonly #options: Required<ScheduleRunnerOptions>;
  readonly #schedules: Schedules;
  #timer: { stop(): void } | undefined;
  /** What the slots are taken for: an organization, or all that are in quarantine. */
  readonly #firing = new Map<string, Promise<void>>();
  #waiting: DueSchedule[] = [];
  #listing: Promise<void> | undefined;
  /** Whether something was fired since it was asked what is due. */
  #hasFired = false;
  #isStopped = false;

  constructor(options: ScheduleRunnerOptions) {
    this.#options = { ...SCHEDULES, ...options };
    const { slots, firingTimeoutMs } = this.#options;
    this.#schedules = new Schedules(options.connectionString, slots + 1, firingTimeoutMs);
    watchPool('schedules', this.#schedules.pool);
  }

  /** Begins with the next second. */
  start(): void {
    this.#timer = everySecond(() => this.#list());
  }

  /** Fires no more, and resolves when what fires now has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.stop();
    await this.#listing;
    await Promise.all(this.#firing.values());
    await this.#schedules.end();
  }

  /** Asks what is due; every worker does so: what one fires the others skip. */
  #list(): Promise<void> {
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

  /** Gives the free slots to the first of those that wait. */
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

  /** A schedule that catches up is due again at once. */
  #release(share: string): void {
    this.#firing.delete(share);
    this.#fill();
    if (this.#hasFired && this.#firing.size === 0 && !this.#isStopped) void this.#list();
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
      // Unpublished or published again meanwhile: what is due now is asked once more.
      this.#hasFired = true;
    } else if (failure.sqlstate === QUERY_CANCELED) {
      const message = `Starting the run took longer than ${this.#options.firingTimeoutMs} ms.`;
      await this.#schedules.fail(schedule, { code: 'TIMEOUT', message });
    } else if (failure.kind === 'no_partition') {
      // All ticks wait until there is one.
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
