/** What the command line prints. */
import { log } from '../log.ts';

/** Work that takes longer than this is announced; shorter work is only reported. */
const ANNOUNCE_MS = 1_000;
/** A lost database makes every part complain every second; one line in a while says as much. */
const REPEAT_MS = 30_000;
const MAX_REPORTED = 1_000;

/** Says what is being done when it takes a while, and in the end the outcome and how long it took. */
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

/** Said by whoever would deliver them. */
export const MAILS_STAY =
  'FLOWGRES_SMTP_URL is not set: e-mails stay in the outbox, where a DBA reads them: select recipient, body from engine.unsent_mails();';

const reported = new Map<string, number>();

/** Tells the operator of trouble that the process survives: one line, not again within half a minute. */
export function reportProblem(message: string, error: unknown): void {
  if (Date.now() - (reported.get(message) ?? 0) < REPEAT_MS) return;
  // Messages that name a request or a run are many.
  if (reported.size >= MAX_REPORTED) reported.clear();
  reported.set(message, Date.now());
  log.error(message, error === undefined || error === null ? {} : { error });
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
