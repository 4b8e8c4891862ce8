/** The loop that all subscriptions share: read under the subscriber's own rights, send, wait for a change. */
import { setTimeout as delay } from 'node:timers/promises';
import type { WithPgClient } from 'postgraphile/@dataplan/pg';
import { SafeError } from 'postgraphile/grafast';
import type { LiveRuns, Changes } from '../engine/live.ts';
import type { Reading, SharedReads } from './shared_reads.ts';
import type { SubscriptionLimits } from '../limits/subscription_limits.ts';

/**
 * Milliseconds after which a subscription reads again without a notification, and so notices that its token has
 * expired.
 */
const REREAD_MS = 4_000;

/** The parts of Grafast's context that a subscription uses. */
export interface RequestContext {
  withPgClient: WithPgClient;
  pgSettings: Record<string, string>;
}

/** Sources and limits that all subscriptions share. */
export interface Subscriptions {
  live: LiveRuns;
  limits: SubscriptionLimits;
  reads: SharedReads;
}

/** A statement with its values. */
export interface Query {
  text: string;
  values: unknown[];
}

/** The result of one read. */
export interface Page<T> {
  /** Organization of the run or workflow. */
  organizationId: string;
  items: T[];
  /** Whether there may be more rows, to be read at once. */
  full: boolean;
  /** Whether nothing can follow, so that the subscription ends. */
  done: boolean;
}

/** What one subscription reads. */
export interface Topic<T> {
  /** The query for what is new since the last page. */
  query(): Query;
  /** Records the rows and returns the page; null when the request may not see the topic, or no longer. */
  page(rows: readonly unknown[]): Page<T> | null;
  concerns(runs: Changes, workflows: Changes): boolean;
  /** The name of the topic for the error NOT_FOUND. */
  thing: string;
  /** Least time between two reads, in milliseconds. */
  pauseMs?: number;
}

/**
 * Checks the rights by a first read, then returns the stream. Every read uses the rights of the request;
 * simultaneous equal reads of the same token are executed once.
 *
 * @throws SafeError NOT_FOUND, UNAUTHENTICATED or LIMIT_REACHED before the stream begins
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
  // Subscribe before the first read, so that no change between both is missed.
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

/** Returns the stream; calls `close` when it ends or its consumer stops. */
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
  /** Waits before each item is sent, since its fields are read then. */
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
    // The database may be unavailable for a moment: the cursor is kept, and the next read continues from it.
    page = await read().catch((error: unknown) => (isRefusal(error) ? null : undefined));
    // The topic was deleted, or the token is no longer valid.
    if (page === null) return;
  }
}

/** Whether an error of Flowgres refuses the read: the request may not see the topic any more. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('WF');
}

/** Wakes its one waiter; a ring before the wait is kept. */
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
