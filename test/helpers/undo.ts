/** Nothing that is called stays: every transaction of this process ends with a rollback, PostGraphile's too. */
import pg from 'pg';
import { afterAll } from 'vitest';

/** From now on, until the test file ends. It stands in pg itself, because PostGraphile takes connections by itself. */
export function undoCommits(): void {
  const original = pg.Client.prototype.query;
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    const [first, ...rest] = args;
    const send = (...all: unknown[]) => (original as (...all: unknown[]) => unknown).apply(this, all);
    if (isSubmittable(first)) {
      // A message that is a transaction by itself; inside of another one it is part of that.
      send('begin', () => undefined);
      const sent = send(...args);
      send('rollback', () => undefined);
      return sent;
    }
    const query = typeof first === 'string' ? { text: first } : (first as { text?: string } | null);
    return query?.text?.toLowerCase() === 'commit' ? send('rollback', ...rest) : send(...args);
  } as typeof original;
  afterAll(() => {
    pg.Client.prototype.query = original;
  });
}

function isSubmittable(query: unknown): boolean {
  return typeof (query as { submit?: unknown } | null)?.submit === 'function';
}
