/** What subscriptions have in common: read, send, wait for news, read again under the subscriber's own rights. */
import { setTimeout as delay } from 'node:timers/promises';
import type { WithPgClient } from 'postgraphile/@dataplan/pg';
import { SafeError } from 'postgraphile/grafast';
import type { LiveRuns, News } from './live.ts';

/** Notifications are hints: a subscription reads again this often without any, and so learns that its token has ended. */
const REREAD_MS = 4_000;

/** What a subscription gets of Grafast's context. */
export interface RequestContext {
  withPgClient: WithPgClient;
  pgSettings: Record<string, string>;
}

export interface Page<T> {
  items: T[];
  /** There may be more to read at once. */
  full: boolean;
  /** Nothing can follow. */
  done: boolean;
}

export interface Followed<T> {
  /** Reads what is new since the last call; null when the request may not see it, or not any more. */
  read(): Promise<Page<T> | null>;
  concerns(news: News): boolean;
  /** What there is none of, for NOT_FOUND. */
  thing: string;
  /** Least time between two reads. */
  pauseMs?: number;
}

/** Authorises now, by the first read, then returns the stream. */
export async function follow<T>(live: LiveRuns, followed: Followed<T>): Promise<AsyncIterableIterator<T>> {
  const alarm = new Alarm();
  // Before the first read, so that nothing comes between the two.
  const unsubscribe = live.subscribe((news) => {
    if (followed.concerns(news)) alarm.ring();
  });
  const close = () => {
    unsubscribe();
    alarm.close();
  };
  const first = await followed.read().catch((error: unknown) => {
    close();
    throw error;
  });
  if (!first) {
    close();
    throw new SafeError(`There is no such ${followed.thing} in this organization.`, { code: 'NOT_FOUND' });
  }
  const stream = pages(first, followed, alarm);
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

async function* pages<T>(first: Page<T>, { read, pauseMs }: Followed<T>, alarm: Alarm): AsyncGenerator<T, undefined> {
  let page: Page<T> | null | undefined = first;
  while (!alarm.closed) {
    yield* page?.items ?? [];
    if (page?.done) return;
    if (!page?.full) {
      if (pauseMs) await delay(pauseMs);
      await alarm.wait(REREAD_MS);
    }
    alarm.reset();
    // The database may be away for a moment: the cursor stays, so the next read goes on where this one would have.
    page = await read().catch(() => undefined);
    // What is followed is gone, or the token is no longer valid.
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
