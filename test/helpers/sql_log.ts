/** Records the statements that PostGraphile sends, with their values. */
import pg from 'pg';

/** A statement as it was sent. */
export interface SentStatement {
  text: string;
  values: unknown[];
}

/**
 * Records every statement of this process that reads a table of the API while `work` runs. Patches pg itself,
 * because PostGraphile takes connections from the pool by itself.
 */
export async function recordStatements(work: () => Promise<unknown>): Promise<SentStatement[]> {
  const sent: SentStatement[] = [];
  const original = pg.Client.prototype.query;
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    const [first, second] = args;
    const query = typeof first === 'string' ? { text: first, values: second } : (first as Partial<SentStatement> | null);
    if (query?.text && /from "?public"?\./.test(query.text)) sent.push({ text: query.text, values: (query.values ?? []) as unknown[] });
    return (original as (...all: unknown[]) => unknown).apply(this, args);
  } as typeof original;
  try {
    await work();
  } finally {
    pg.Client.prototype.query = original;
  }
  return sent;
}
