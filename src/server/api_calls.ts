/**
 * The limit api_calls_per_hour. Calls are counted in the process and told to the database once a second, so no call
 * costs a transaction: exact for one process; with several, an organization may be over by what the others let through
 * within that second.
 */
import type pg from 'pg';
import { SafeError } from 'postgraphile/grafast';
import { z } from 'zod';

const Answer = z.object({
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
  /** Calls of each session that the database does not know of yet. */
  pending: Map<string, number>;
}

const FLUSH_MS = 1_000;
/** A new answer after this long also where nothing was called: the plan may have changed. */
const FRESH_MS = 5_000;

export class ApiCalls {
  readonly #pool: pg.Pool;
  /** What is known of the organization of each session; null: it has none. */
  readonly #sessions = new Map<string, { usage: Promise<Usage | null>; until: number }>();
  readonly #organizations = new Map<string, Usage>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Counts a call of a session. Throws LIMIT_REACHED (HTTP 429) when the hour's calls are used up. */
  async admit(session: string): Promise<void> {
    const usage = await this.#usageOf(session);
    if (!usage) return;
    if (usage.limit !== null && usage.used >= usage.limit) throw limitReached(usage.limit, usage.resetsAt);
    usage.used += 1;
    usage.pending.set(session, (usage.pending.get(session) ?? 0) + 1);
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  }

  /** Tells the database what is left. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  #usageOf(session: string): Promise<Usage | null> {
    const now = Date.now();
    const known = this.#sessions.get(session);
    if (known && known.until > now) return known.usage;
    if (this.#sessions.size > 10_000) this.#sessions.clear();
    const usage = this.#tell(new Map([[session, 0]])).then(([answer]) => answer ?? null);
    this.#sessions.set(session, { usage, until: now + FRESH_MS });
    usage.catch(() => this.#sessions.delete(session));
    return usage;
  }

  #flush(): void {
    this.#timer = undefined;
    const calls = new Map<string, number>();
    for (const { pending } of this.#organizations.values()) {
      for (const [session, count] of pending) calls.set(session, count);
      pending.clear();
    }
    // What the database cannot be told is forgotten: it answers no calls either.
    if (calls.size) this.#writing = this.#tell(calls).catch(() => []);
  }

  async #tell(calls: Map<string, number>): Promise<Usage[]> {
    const { rows } = await this.#pool.query({
      name: 'count_api_calls',
      text: 'select session, organization_id, used, "limit", resets_at from engine.count_api_calls($1::jsonb)',
      values: [JSON.stringify([...calls].map(([session, count]) => ({ session, count })))],
    });
    return rows.map((row) => {
      const answer = Answer.parse(row);
      const usage = this.#organizations.get(answer.organization_id) ?? { pending: new Map() };
      // What was let through meanwhile comes on top.
      const pending = [...usage.pending.values()].reduce((sum, count) => sum + count, 0);
      const known = Object.assign(usage, { used: answer.used + pending, limit: answer.limit, resetsAt: answer.resets_at });
      this.#organizations.set(answer.organization_id, known);
      return known;
    });
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
