/** Formats the events of a run for the terminal. */
import type { DemoRun } from './demo.ts';
import { table } from './terminal.ts';

const MAX_WIDTH = 72;

/** Returns a heading such as `order-intake 0190…: success after 12 ms` and a line per event. */
export function describeRun(workflow: string, run: DemoRun): string {
  const startedAt = run.events[0]?.ts.getTime() ?? 0;
  const rows = run.events.map(({ seq, ts, type, payload }) => [
    String(seq),
    `${ts.getTime() - startedAt} ms`,
    type,
    String(payload['node'] ?? payload['trigger'] ?? ''),
    summary(payload),
  ]);
  return `${workflow} ${run.id}: ${run.status} after ${Math.round(run.ms)} ms\n\n${table(['#', 'after', 'event', 'node', 'value'], rows)}`;
}

function summary(payload: Record<string, unknown>): string {
  const value = payload['output'] ?? payload['error'] ?? payload['input'] ?? payload['until'];
  if (value === undefined) return '';
  const text = JSON.stringify(value);
  const port = payload['port'] && payload['port'] !== 'main' ? `→ ${payload['port']}  ` : '';
  return port + (text.length > MAX_WIDTH ? `${text.slice(0, MAX_WIDTH - 1)}…` : text);
}
