/** What subscriptions have in common: read, send, wait for news, read again under the subscriber's own rights. */
import { setTimeout as delay } from 'node:timers/promises';
import type { WithPgClient } from 'postgraphile/@dataplan/pg';
import { SafeError } from 'postgraphile/grafast';
import type { LiveRuns, Changes } from './live.ts';
import type { Reading, SharedReads } from './shared_reads.ts';
import type { SubscriptionLimits } from '../limits/subscription_limits.ts';

/** Notifications are hints: a subscription reads again this often without any, and so learns that its token has ended. */
const REREAD_MS = 4_000;

/** What a subscription gets of Grafast's context. */
export interface RequestContext {
  withPgClient: WithPgClient;
  pgSettings: Record<string, string>;
}

/** Where subscriptions hear of changes, and what they may cost. */
export interface Subscriptions {
  live: LiveRuns;
  limits: SubscriptionLimits;
  reads: SharedReads;
}

export interface Query {
  text: string;
  values: unknown[];
}

export interface Page<T> {
  /** Whose run or workflow it is. */
  organizationId: string;
  items: T[];
  /** There may be more to read at once. */
  full: boolean;
  /** Nothing can follow. */
  done: boolean;
}

export interface Topic<T> {
  /** What is new since the last page. */
  query(): Query;
  /** Takes in what the query gave; null when the request may not see it, or not any more. */
  page(rows: readonly unknown[]): Page<T> | null;
  concerns(runs: Changes, workflows: Changes): boolean;
  /** What there is none of, for NOT_FOUND. */
  thing: string;
  /** Least time between two reads. */
  pauseMs?: number;
}

/**
 * Authorises now, by the first read, then returns the stream. Every read is made under the rights of the request; requests
 * of the same token that ask the same at once are answered by one read.
 */
export async function subscribe<T>(
  { live, limits, reads }: Subscriptions,
  request: RequestContext,
  topic: Topic<T>,
): Promise<AsyncIterableIterator<T>> {
  const { pgSettings } = request;
  const leave = [limits.enter('token', pgSettings['flowgres.session'] ?? '')];
  const alarm = new Alarm();
  let organizationId: string | undefined;
  let reading: Reading | undefined;
  const read = async (): Promise<Page<T> | null> => {
    const query = topic.query();
    const found = await limits.share(
      JSON.stringify([pgSettings['role'], pgSettings['flowgres.session'], query]),
      organizationId,
      async () => {
        const result = await request.withPgClient(pgSettings, (client) => client.query<Record<string, unknown>>(query));
        return { rows: result.rows, reading: reads.newReading() };
      },
    );
    reading = found.reading;
    return topic.page(found.rows);
  };
  // Before the first read, so that nothing comes between the two.
  leave.push(
    live.subscribe((runs, workflows) => {
      if (topic.concerns(runs, workflows)) alarm.ring();
    }),
  );
  const close = () => {
    for (const each of leave) each();
    alarm.close();
  };
  try {
    const first = await read();
    if (!first) throw new SafeError(`There is no such ${topic.thing} in this organization.`, { code: 'NOT_FOUND' });
    organizationId = first.organizationId;
    leave.push(limits.enter('organization', organizationId));
    const pace = async () => {
      await limits.pace(first.organizationId);
      if (reading) reads.tellOf(pgSettings, reading);
    };
    return closing(pages(first, { read, pace, pauseMs: topic.pauseMs }, alarm), close);
  } catch (error) {
    close();
    throw error;
  }
}

/** The stream, calling `close` when it ends or is given up. */
function closing<T>(stream: AsyncGenerator<T, undefined>, close: () => void): AsyncIterableIterator<T> {
  const stop = async (): Promise<IteratorResult<T>> => {
    close();
    return stream.return(undefined);
  };
  const iterator: AsyncIterableIterator<T> = {
    next: async () => {
      const result = await stream.next();
      if (result.done) close();
      return result;
    },
    return: stop,
    throw: stop,
    [Symbol.asyncIterator]: () => iterator,
  };
  return iterator;
}

interface Following<T> {
  read(): Promise<Page<T> | null>;
  /** Before each item is sent: its fields are read, too. */
  pace(): Promise<void>;
  pauseMs: number | undefined;
}

async function* pages<T>(first: Page<T>, { read, pace, pauseMs }: Following<T>, alarm: Alarm): AsyncGenerator<T, undefined> {
  let page: Page<T> | null | undefined = first;
  while (!alarm.closed) {
    for (const item of page?.items ?? []) {
      await pace();
      yield item;
    }
    if (page?.done) return;
    if (!page?.full) {
      if (pauseMs) await delay(pauseMs);
      await alarm.wait(REREAD_MS);
    }
    alarm.reset();
    // The database may be away for a moment: the cursor stays, so the next read goes on where this one would have.
    page = await read().catch(() => undefined);
    // What is topic is gone, or the token is no longer valid.
    if (page === null) return;
  }
}

/** Wakes its one waiter; a ring before the wait counts. */
class Alarm {
  closed = false;
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  reset(): void {
    this.#rung = false;
  }

  close(): void {
    this.closed = true;
    this.ring();
  }

  async wait(ms: number): Promise<void> {
    if (this.#rung) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, ms).unref();
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }
}
