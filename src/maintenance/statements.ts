/** Runs statements that must run alone, outside of any function: one after the other, each in a transaction of its own. */
import type { Client } from 'pg';

/** What came of one statement. */
export interface StatementResult {
  statement: string;
  /** What it returned; empty when it failed. */
  rows: Record<string, unknown>[];
  /** Why it failed; undefined when it did not. */
  error: unknown;
}

/**
 * Yields the result of each statement; the failure of one does not stop the rest, unless the caller leaves the loop.
 *
 * @throws the reason of `signal` when it is aborted before a statement
 */
export async function* runStatements(
  client: Client,
  statements: string[],
  options: {
    signal?: AbortSignal | undefined;
    onStatement?: ((statement: string, number: number, count: number) => void) | undefined;
  } = {},
): AsyncGenerator<StatementResult> {
  for (const [index, statement] of statements.entries()) {
    options.signal?.throwIfAborted();
    options.onStatement?.(statement, index + 1, statements.length);
    const result: StatementResult = { statement, rows: [], error: undefined };
    try {
      result.rows = (await client.query<Record<string, unknown>>(statement)).rows;
    } catch (error) {
      result.error = error;
    }
    yield result;
  }
}
