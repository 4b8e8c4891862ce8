/** What the command line prints. */
import pg from 'pg';
import { FlowgresError } from './errors.ts';

/** Says what is being done, then how long it took; a second line only when nobody watches the terminal. */
export async function progress<T>(label: string, work: () => Promise<T>, describe?: (result: T) => string): Promise<T> {
  const startedAt = performance.now();
  const live = process.stdout.isTTY;
  if (live) process.stdout.write(`  ${label} …`);
  else console.log(`  ${label} …`);
  try {
    const result = await work();
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    const outcome = describe ? describe(result) : 'done';
    console.log(live ? ` ${outcome} (${seconds} s)` : `  ${label}: ${outcome} (${seconds} s)`);
    return result;
  } catch (error) {
    if (live) console.log(' failed');
    throw error;
  }
}

/** Columns under their headings, each as wide as its widest cell. */
export function table(headings: string[], rows: string[][]): string {
  const widths = headings.map((heading, column) => Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '─'.repeat(width));
  return [headings, rule, ...rows].map((cells) => `  ${line(cells)}`).join('\n');
}

/** One line that says what happened and what to do. */
export function describeError(error: unknown): string {
  if (error instanceof FlowgresError) return [error.message, error.hint].filter(Boolean).join(' ');
  if (error instanceof pg.DatabaseError) return describeDatabaseError(error);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function describeDatabaseError(error: pg.DatabaseError): string {
  const hints: Record<string, string> = {
    '53100': 'The disk of the database server is full: free some space and start again.',
    '53300': 'The server has no connection left: raise its max_connections or stop other clients.',
    '42501': 'Connect as a superuser, or on PostgreSQL 16 and newer as a role with CREATEROLE and CREATEDB.',
  };
  return [`PostgreSQL says: ${error.message}.`, error.hint ?? hints[error.code ?? '']].filter(Boolean).join(' ');
}
