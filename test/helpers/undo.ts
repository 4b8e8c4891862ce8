/** Rolls back every transaction of this process, including PostGraphile's. */
import pg from 'pg';
import { atEndOfFile } from './end_of_file.ts';

let restore: (() => void) | undefined;
atEndOfFile(() => {
  restore?.();
  restore = undefined;
});

/**
 * Replaces commits by rollbacks until the test file ends. Patches pg itself, because PostGraphile takes
 * connections by itself.
 */
export function undoCommits(): void {
  const original = pg.Client.prototype.query;
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    const [first, ...rest] = args;
    const send = (...all: unknown[]) => (original as (...all: unknown[]) => unknown).apply(this, all);
    if (isSubmittable(first)) {
      // A message that is a transaction by itself; within another transaction it is a part of that.
      send('begin', () => undefined);
      const sent = send(...args);
      send('rollback', () => undefined);
      return sent;
    }
    const query = typeof first === 'string' ? { text: first } : (first as { text?: string } | null);
    return query?.text?.toLowerCase() === 'commit' ? send('rollback', ...rest) : send(...args);
  } as typeof original;
  restore = () => {
    pg.Client.prototype.query = original;
  };
}

function isSubmittable(query: unknown): boolean {
  return typeof (query as { submit?: unknown } | null)?.submit === 'function';
}
