/** The filters of the list of runs: their values in the address, and as a filter of the API. */
import type { WorkflowRunFilter, WorkflowRunMode, WorkflowRunStatus } from '../../api/generated.ts';

/** In the order in which they are offered. */
export const STATUSES: readonly WorkflowRunStatus[] = ['running', 'waiting', 'paused', 'success', 'error', 'canceled'];
/** In the order in which they are offered. */
export const MODES: readonly WorkflowRunMode[] = ['manual', 'api', 'webhook', 'schedule', 'child', 'retry', 'fork', 'error'];
/** The names of the filters in the address. */
export const FILTER_NAMES = ['status', 'workflow', 'mode', 'metadata'] as const;

/** Returns the filter of the API; null when the address has none. A value that is none is left out. */
export function filterOf(address: URLSearchParams): WorkflowRunFilter | null {
  const filter: WorkflowRunFilter = {};
  const statuses = STATUSES.filter((each) => (address.get('status') ?? '').split(',').includes(each));
  const mode = MODES.find((each) => each === address.get('mode'));
  const workflow = address.get('workflow');
  const metadata = objectOf(address.get('metadata'));
  if (statuses.length) filter.status = { in: statuses };
  if (mode) filter.mode = { equalTo: mode };
  if (workflow) filter.workflowId = { equalTo: workflow };
  if (metadata) filter.metadata = { contains: metadata };
  return Object.keys(filter).length ? filter : null;
}

/** Returns the object that a text holds as JSON; null for anything else. */
export function objectOf(text: string | null): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
