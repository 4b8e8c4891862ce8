/** Output of the command line. */
import { log } from '../log.ts';

/** Work that takes longer than this, in milliseconds, is announced before it ends. */
const ANNOUNCE_MS = 1_000;
/**
 * The same problem is printed again only after this time: when the database is lost, every part reports it
 * every second.
 */
const REPEAT_MS = 30_000;
const MAX_REPORTED = 1_000;

/** Announces work that takes a while, and prints its outcome and duration at the end. Rejects as `work` does. */
export async function progress<T>(label: string, outcome: string | ((result: T) => string), work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const announcement = setTimeout(() => console.log(`  ${label} …`), ANNOUNCE_MS);
  try {
    const result = await work();
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    console.log(`  ${label}: ${typeof outcome === 'string' ? outcome : outcome(result)} (${seconds} s)`);
    return result;
  } finally {
    clearTimeout(announcement);
  }
}

/** Message for processes without an SMTP server. */
export const MAILS_STAY =
  'FLOWGRES_SMTP_URL is not set: e-mails stay in the outbox, where a DBA reads them: select recipient, body from engine.unsent_mails();';

const reported = new Map<string, number>();

/** Prints a problem that the process survives, the same one at most every half minute. */
export function reportProblem(message: string, error: unknown): void {
  if (Date.now() - (reported.get(message) ?? 0) < REPEAT_MS) return;
  // Messages may contain ids of requests or runs, so the set of known messages would grow without limit.
  if (reported.size >= MAX_REPORTED) reported.clear();
  reported.set(message, Date.now());
  log.error(message, error === undefined || error === null ? {} : { error });
}

/** Formats rows as text columns under headings, each as wide as its widest cell. */
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
