/** The filters of the list of runs: their values in the address, and as a filter of the API. */
import type { WorkflowRunFilter, WorkflowRunMode, WorkflowRunStatus } from '../../api/generated.ts';

/** In the order in which they are offered. */
export const STATUSES: readonly WorkflowRunStatus[] = ['running', 'waiting', 'paused', 'success', 'error', 'canceled'];
/** In the order in which they are offered. */
export const MODES: readonly WorkflowRunMode[] = ['manual', 'api', 'webhook', 'schedule', 'child', 'retry', 'fork', 'error'];
/** Periods before now, in milliseconds, by their names in the address. */
export const PERIODS: Readonly<Record<string, number>> = { hour: 3_600_000, day: 86_400_000, week: 604_800_000, month: 2_592_000_000 };
/** The names of the filters in the address. */
export const FILTER_NAMES = ['status', 'workflow', 'mode', 'since', 'errorCode', 'longerThan', 'text'] as const;
/** A period begins at a whole minute, so that the filter stays the same while the page is drawn anew. */
const MINUTE_MS = 60_000;

/**
 * Returns the filter of the API; null when the address has none. A value that is none is left out.
 *
 * @param now milliseconds since 1970
 */
export function filterOf(address: URLSearchParams, now: number): WorkflowRunFilter | null {
  const filter: WorkflowRunFilter = {};
  const statuses = STATUSES.filter((each) => (address.get('status') ?? '').split(',').includes(each));
  const mode = MODES.find((each) => each === address.get('mode'));
  const [workflow, errorCode, text] = ['workflow', 'errorCode', 'text'].map((name) => address.get(name));
  const period = PERIODS[address.get('since') ?? ''];
  const seconds = Number(address.get('longerThan') ?? '');
  if (statuses.length) filter.status = { in: statuses };
  if (mode) filter.mode = { equalTo: mode };
  if (workflow) filter.workflowId = { equalTo: workflow };
  if (errorCode) filter.errorCode = { equalTo: errorCode };
  if (text) filter.metadata = { text };
  if (period) filter.startedAt = { greaterThan: new Date(Math.floor(now / MINUTE_MS) * MINUTE_MS - period).toISOString() };
  if (seconds > 0) filter.durationMs = { greaterThan: seconds * 1_000 };
  return Object.keys(filter).length ? filter : null;
}
