/** Nothing that is called stays: every transaction of this process ends with a rollback, PostGraphile's too. */
import pg from 'pg';
import { afterAll } from 'vitest';

/** From now on, until the test file ends. It stands in pg itself, because PostGraphile takes connections by itself. */
export function undoCommits(): void {
  const original = pg.Client.prototype.query;
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    const [first, ...rest] = args;
    const query = typeof first === 'string' ? { text: first } : (first as { text?: string } | null);
    const given = query?.text?.toLowerCase() === 'commit' ? ['rollback', ...rest] : args;
    return (original as (...all: unknown[]) => unknown).apply(this, given);
  } as typeof original;
  afterAll(() => {
    pg.Client.prototype.query = original;
  });
}
