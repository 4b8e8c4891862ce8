/**
 * Enforces the limit api_calls_per_hour. Counts calls in the process and reports them to the database once a
 * second, so that no call costs a transaction. Exact for one process; with several, an organization can exceed
 * the limit by the calls of the others within that second.
 */
import type pg from 'pg';
import { SafeError } from 'postgraphile/grafast';
import { z } from 'zod';

const usageAnswer = z.object({
  session: z.string(),
  organization_id: z.string(),
  used: z.number(),
  limit: z.number().nullable(),
  resets_at: z.date(),
});

interface Usage {
  used: number;
  limit: number | null;
  resetsAt: Date;
}

const FLUSH_MS = 1_000;
/** Milliseconds for which the state of an organization is used: its plan may change. */
const FRESH_MS = 5_000;
const MAX_SESSIONS = 10_000;

/** Counts API calls against the hourly limit of the organization. */
export class ApiCalls {
  readonly #pool: pg.Pool;
  /** The organization of each session; null when it has none. */
  readonly #sessions = new Map<string, { organization: string | null; until: number }>();
  readonly #usages = new Map<string, Usage>();
  /** Calls not yet reported, by session; 0 requests the state only. */
  #unreported = new Map<string, number>();
  /** One report at a time, so that each answer covers all earlier calls. */
  #asking: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /**
   * Counts a call of a session.
   *
   * @throws SafeError LIMIT_REACHED (HTTP 429) when the calls of this hour are used up
   */
  async admit(session: string): Promise<void> {
    if ((this.#sessions.get(session)?.until ?? 0) <= Date.now()) {
      this.#count(session, 0);
      await this.#ask();
    }
    const usage = this.#usages.get(this.#sessions.get(session)?.organization ?? '');
    if (!usage) return;
    if (usage.limit !== null && usage.used >= usage.limit) throw limitReached(usage.limit, usage.resetsAt);
    usage.used += 1;
    this.#count(session, 1);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      // Drop calls that cannot be reported: without the database no call was answered either.
      this.#ask().catch(() => undefined);
    }, FLUSH_MS).unref();
  }

  /** Returns the organization of an admitted session; null when it has none. */
  organizationOf(session: string): string | null {
    return this.#sessions.get(session)?.organization ?? null;
  }

  /** Reports the remaining calls. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#ask().catch(() => undefined);
  }

  #count(session: string, calls: number): void {
    this.#unreported.set(session, (this.#unreported.get(session) ?? 0) + calls);
  }

  #ask(): Promise<void> {
    const asked = this.#asking.then(() => this.#tell());
    this.#asking = asked.catch(() => undefined);
    return asked;
  }

  async #tell(): Promise<void> {
    const reported = this.#unreported;
    if (!reported.size) return;
    this.#unreported = new Map();
    const { rows } = await this.#pool.query({
      text: 'select session, organization_id, used, "limit", resets_at from engine.count_api_calls($1::jsonb)',
      values: [JSON.stringify([...reported].map(([session, count]) => ({ session, count })))],
    });
    if (this.#sessions.size > MAX_SESSIONS) this.#sessions.clear();
    const until = Date.now() + FRESH_MS;
    for (const session of reported.keys()) this.#sessions.set(session, { organization: null, until });
    for (const answer of rows.map((row) => usageAnswer.parse(row))) {
      this.#sessions.set(answer.session, { organization: answer.organization_id, until });
      this.#usages.set(answer.organization_id, { used: answer.used, limit: answer.limit, resetsAt: answer.resets_at });
    }
    // Add the calls admitted during the report.
    for (const [session, calls] of this.#unreported) {
      const usage = this.#usages.get(this.#sessions.get(session)?.organization ?? '');
      if (usage) usage.used += calls;
    }
  }
}

function limitReached(limit: number, resetsAt: Date): SafeError {
  return new SafeError(`The organization's plan allows ${limit} API calls an hour.`, {
    code: 'LIMIT_REACHED',
    hint: 'Wait until details.resetAt, or change to a larger plan.',
    details: { metric: 'api_calls_per_hour', limit, resetAt: resetsAt.toISOString() },
    statusCode: 429,
  });
}
