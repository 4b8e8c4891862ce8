/** What the engine's SQL functions take and answer, checked where it enters the process. */
import { z } from 'zod';
import { JsonText } from '../json/json.ts';

/** A run to start. */
export interface StartRequest {
  organizationId: string;
  workflowId: string;
  mode: 'manual' | 'webhook' | 'api' | 'schedule';
  /** The trigger's input; a JsonText is passed on as it is. */
  input: unknown;
  /** Id of the trigger node; the only one that fits the mode when not given. */
  trigger?: string;
  /** The same key and request start one run only. */
  key?: string;
  /** What must be equal for the same key to mean the same request, when that is not the whole input. */
  fingerprint?: string;
  startedBy?: string;
  metadata?: Record<string, unknown>;
  version?: number;
}

const errorShape = z.looseObject({
  code: z.string(),
  message: z.string(),
  hint: z.string().nullish(),
  details: z.record(z.string(), z.unknown()).nullish(),
});
/** As the workflow's author wrote it: whoever sends it on checks it. */
const responseShape = z.looseObject({ status: z.unknown(), headers: z.unknown(), body: z.unknown() }).partial();
const runStatus = z.enum(['waiting', 'running', 'paused', 'success', 'error', 'canceled']);
/** `jsonb` that comes as text. A row whose JSON cannot be parsed is an issue of this row. */
const jsonText = z.instanceof(JsonText);
const parsed = jsonText.transform((json, context) => {
  try {
    return json.value;
  } catch (error) {
    context.addIssue({ code: 'custom', message: `no JSON that can be read: ${String(error)}` });
    return z.NEVER;
  }
});
const json = <Shape extends z.ZodType>(shape: Shape) => parsed.pipe(shape);

const runState = {
  status: runStatus,
  output: jsonText.nullable(),
  response: json(responseShape).nullable(),
  error: json(errorShape).nullable(),
};
export const runAnswer = z.object({ run_id: z.string(), ...runState, continues_in_ms: z.number().nullable() });
export const startAnswer = z.union([
  // The run of a duplicate in the same batch has no state yet.
  z.object({
    index: z.number(),
    run_id: z.string(),
    ...runState,
    status: runStatus.nullable(),
    duplicate: z.boolean(),
    claimed: z.string().nullable(),
  }),
  z.object({ index: z.number(), run_id: z.null(), error: json(errorShape) }),
]);

const taskShape = z.object({
  organizationId: z.string(),
  workflowId: z.string(),
  version: z.number(),
  runId: z.string(),
  node: z.string(),
  type: z.string(),
  kind: z.string(),
  /** Its expressions are evaluated first, by the database in a transaction of their own. */
  isolated: z.boolean().default(false),
  attempt: z.number(),
  properties: z.record(z.string(), z.unknown()),
  credentials: z.record(z.string(), z.unknown()).nullish(),
  timeoutMs: z.number(),
  idempotencyKey: z.string(),
  input: z.unknown().optional(),
});
export const beginAnswer = z.object({
  index: z.number(),
  outcome: z.enum(['begun', 'done', 'stale']),
  run_id: z.string().nullable(),
  task: json(taskShape).nullable(),
});
export const completeAnswer = z.object({
  index: z.number(),
  outcome: z.enum(['recorded', 'stale']),
  run_id: z.string().nullable(),
  status: runStatus.nullable(),
  next: json(taskShape).nullable(),
});
export const abortAnswer = z.object({ run_id: z.string(), node: z.string() });
export const reconcileAnswer = z.object({ action: z.string(), run_id: z.string().nullable(), node: z.string().nullable() });
export const repairAnswer = z.object({ action: z.enum(['open', 'hold', 'slot']), run_id: z.string() });
const routeShape = z.object({
  organizationId: z.string().optional(),
  workflowId: z.string().optional(),
  version: z.number().optional(),
  node: z.string().optional(),
  path: z.string().optional(),
  params: z.record(z.string(), z.string()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  methods: z.array(z.string()),
});

export const webhookRoute = json(routeShape).nullable();

export type RunError = z.infer<typeof errorShape>;
export type RunStatus = z.infer<typeof runStatus>;
export type RunResponse = z.infer<typeof responseShape>;
/** A run as far as a caller who waits for its answer is concerned. */
export interface RunAnswer {
  runId: string;
  status: RunStatus;
  /** Present when the run succeeded. */
  output: JsonText | null;
  /** What respondToWebhook said, if it ran. */
  response: RunResponse | null;
  error: RunError | null;
  /**
   * Of a run that waits: in how many milliseconds it may go on without being asked; null when only somebody from outside
   * lets it go on. Not known of a run that has just started.
   */
  continuesInMs?: number | null;
}
export interface StartAnswer extends RunAnswer {
  /** The key was used before: this is the run of then. */
  duplicate: boolean;
}
/** One attempt of a step, ready to be executed. */
export type StepTask = z.infer<typeof taskShape>;
export interface StepRef {
  runId: string;
  node: string;
}
export interface AttemptRef extends StepRef {
  attempt: number;
}
export type BeginAnswer = z.infer<typeof beginAnswer>;
export type CompleteAnswer = z.infer<typeof completeAnswer>;
export interface StepFailure {
  code: string;
  message: string;
  retryable: boolean;
  details?: Record<string, unknown>;
  retryAfterMs?: number;
}
/** What an attempt came to. */
export type StepResult = AttemptRef & { ms: number } & (
    | { ok: true; port?: string; output: unknown }
    /** Of an isolated step that is not pure: what its expressions came to. The step itself follows. */
    | { ok: true; properties: unknown }
    | { ok: false; error: StepFailure }
  );
/** How many steps a worker has in flight at most. */
export interface WorkerCapacity {
  steps: number;
  /** Of one organization; what all workers say adds up. */
  perOrganization: number;
}
export interface LogEntry {
  organizationId: string;
  runId: string;
  node: string | null;
  level: 'debug' | 'info' | 'warning' | 'error';
  message: string;
  context?: Record<string, unknown> | undefined;
}
/** A webhook that fits the path; without a workflow when the path exists for other methods only. */
export type WebhookRoute = z.infer<typeof routeShape>;
export type ReconcileAction = z.infer<typeof reconcileAnswer>;
export type RepairAction = z.infer<typeof repairAnswer>;
/** Held runs of a workflow that may get their turn: one run, or those that count under a key. */
export interface HeldRuns {
  workflowId: string;
  by: 'run' | 'concurrency' | 'rate';
  key: string;
}

type RunRow = Omit<z.infer<typeof runAnswer>, 'status' | 'continues_in_ms'> & { status: RunStatus | null; continues_in_ms?: number | null };

/** A row of `run_answers` or `start_runs` as the caller sees it. */
export function describeRun({ run_id: runId, status, output, response, error, continues_in_ms: continuesInMs }: RunRow): RunAnswer {
  const answer = { runId, status: status ?? 'running', output: status === 'success' ? output : null, response, error };
  return continuesInMs === undefined ? answer : { ...answer, continuesInMs };
}
