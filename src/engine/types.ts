/** Arguments and results of the engine's SQL functions. zod checks the results. */
import { z } from 'zod';
import { JsonText } from '../json/json.ts';

/** Request for a run. */
export interface StartRequest {
  organizationId: string;
  workflowId: string;
  mode: 'manual' | 'webhook' | 'api' | 'schedule';
  /** The trigger's input; a JsonText is sent unchanged. */
  input: unknown;
  /** Id of the trigger node; when not given, the only trigger that fits the mode. */
  trigger?: string;
  /** Idempotency key: requests with the same key start one run only. */
  key?: string;
  /**
   * Where the key is in the input: an SQL/JSON path of a published version. The prefix and the value there are the
   * key, and requests with it are equal whatever else they say; without a value, `key` holds.
   */
  keyBy?: { prefix: string; path: string };
  /** What must be equal for requests with the same key; the whole input when not given. */
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
/** As the author of the workflow wrote it; whoever sends it must check it. */
const responseShape = z.looseObject({ status: z.unknown(), headers: z.unknown(), body: z.unknown() }).partial();
const runStatus = z.enum(['waiting', 'running', 'paused', 'success', 'error', 'canceled']);
/** `jsonb` as text. Invalid JSON is an issue of its row. */
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
/** A row of engine.run_answers(). */
export const runAnswer = z.object({ run_id: z.string(), ...runState, continues_in_ms: z.number().nullable() });
/** A row of engine.start_runs(). */
export const startAnswer = z.union([
  // The run of a duplicate in the same batch has no status yet.
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
  /** The database evaluates the expressions first, in a transaction of their own. */
  isolated: z.boolean().default(false),
  attempt: z.number(),
  properties: z.record(z.string(), z.unknown()),
  /** Names of credentials by slot. */
  credentials: z.record(z.string(), z.string()).nullish(),
  /** Places in `properties` with secret texts, which name secret variables. */
  secretPlaces: z.array(z.array(z.string())).nullish(),
  timeoutMs: z.number(),
  idempotencyKey: z.string(),
  input: z.unknown().optional(),
});
/** A row of engine.begin_steps(). */
export const beginAnswer = z.object({
  index: z.number(),
  outcome: z.enum(['begun', 'done', 'stale']),
  run_id: z.string().nullable(),
  task: json(taskShape).nullable(),
});
/** Records results of steps; its parameters are the batch, as JSON, and the id of the worker. Rows: {@link completeAnswer}. */
export const COMPLETE_STEPS = 'select index, outcome, run_id, status, next from engine.complete_steps($1::jsonb, $2::uuid)';
/** A row of engine.complete_steps(). */
export const completeAnswer = z.object({
  index: z.number(),
  outcome: z.enum(['recorded', 'stale']),
  run_id: z.string().nullable(),
  status: runStatus.nullable(),
  next: json(taskShape).nullable(),
});
/** A row of engine.heartbeat(): a step whose attempt is to be aborted. */
export const abortAnswer = z.object({ run_id: z.string(), node: z.string() });
/** A row of engine.reconcile(). */
export const reconcileAnswer = z.object({ action: z.string(), run_id: z.string().nullable(), node: z.string().nullable() });
/** A row of engine.repair_runs(). */
export const repairAnswer = z.object({ action: z.enum(['open', 'hold', 'slot', 'children']), run_id: z.string() });
const routeShape = z.object({
  organizationId: z.string().optional(),
  workflowId: z.string().optional(),
  version: z.number().optional(),
  node: z.string().optional(),
  path: z.string().optional(),
  params: z.record(z.string(), z.string()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  credential: z.string().nullish(),
  dedupePath: z.string().nullish(),
  keepsRawBody: z.boolean().optional(),
  methods: z.array(z.string()),
});

/** The result of engine.find_webhook(). */
export const webhookRoute = json(routeShape).nullable();

/** An error of a run or of a request. */
export type RunError = z.infer<typeof errorShape>;
/** The status of a run. */
export type RunStatus = z.infer<typeof runStatus>;
/** The response that respondToWebhook defined. */
export type RunResponse = z.infer<typeof responseShape>;
/** The state of a run for a caller that waits for its answer. */
export interface RunAnswer {
  runId: string;
  status: RunStatus;
  /** The output; null unless the run succeeded. */
  output: JsonText | null;
  /** The response of respondToWebhook; null if it did not run. */
  response: RunResponse | null;
  error: RunError | null;
  /**
   * Of a waiting run: milliseconds until it continues by itself; null when only an external input continues it.
   * Not given for a run that has just started.
   */
  continuesInMs?: number | null;
}
/** The answer to a start. */
export interface StartAnswer extends RunAnswer {
  /** Whether the key was used before: then this is the run of the first request. */
  duplicate: boolean;
}
/** An attempt of a step, ready to be executed. `timeoutMs` limits it, in milliseconds. */
export type StepTask = z.infer<typeof taskShape>;
/** Names a step. */
export interface StepRef {
  runId: string;
  node: string;
}
/** Names an attempt of a step; `attempt` is the fencing token. */
export interface AttemptRef extends StepRef {
  attempt: number;
}
/** The answer to beginning a step. */
export type BeginAnswer = z.infer<typeof beginAnswer>;
/** The answer to a result. */
export type CompleteAnswer = z.infer<typeof completeAnswer>;
/** Why an attempt failed. `retryAfterMs` is the least wait before the next one, in milliseconds. */
export interface StepFailure {
  code: string;
  message: string;
  retryable: boolean;
  details?: Record<string, unknown>;
  retryAfterMs?: number;
}
/** The result of an attempt; `ms` is its duration in milliseconds. */
export type StepResult = AttemptRef & { ms: number } & (
    | { ok: true; port?: string; output: unknown }
    /** Of an isolated step that is not pure: the evaluated properties. The step itself is executed next. */
    | { ok: true; properties: unknown }
    | { ok: false; error: StepFailure }
  );
/** The most steps that a worker has in flight. */
export interface WorkerCapacity {
  steps: number;
  /** Steps of one organization; the values of all workers are added. */
  perOrganization: number;
}
/** A line for the log of a run. */
export interface LogEntry {
  organizationId: string;
  runId: string;
  node: string | null;
  level: 'debug' | 'info' | 'warning' | 'error';
  message: string;
  context?: Record<string, unknown> | undefined;
}
/** A webhook that fits the path; without a workflow when the path exists only for other methods. */
export type WebhookRoute = z.infer<typeof routeShape>;
/** A request to a webhook, as the list of deliveries shows it. */
export interface WebhookDelivery {
  organizationId: string;
  workflowId: string;
  node: string;
  /** When it came, as ISO 8601. */
  at: string;
  method: string;
  path: string;
  clientAddress: string;
  /** Of the answer; null when the caller left before it. */
  status: number | null;
  /** Why it was refused. */
  error: string | null;
  runId: string | null;
  isDuplicate: boolean;
  /** From the request's headers to the answer, in milliseconds. */
  ms: number;
}
/** What one pass of the reconciler did. */
export type ReconcileAction = z.infer<typeof reconcileAnswer>;
/** What a repair did. */
export type RepairAction = z.infer<typeof repairAnswer>;
/** The held runs of a workflow that may be released: one run, or those with a key of a limit. */
export interface HeldRuns {
  workflowId: string;
  by: 'run' | 'concurrency' | 'rate';
  key: string;
}

type RunRow = Omit<z.infer<typeof runAnswer>, 'status' | 'continues_in_ms'> & { status: RunStatus | null; continues_in_ms?: number | null };

/** Converts a row of engine.run_answers() or engine.start_runs(). */
export function describeRun({ run_id: runId, status, output, response, error, continues_in_ms: continuesInMs }: RunRow): RunAnswer {
  const answer = { runId, status: status ?? 'running', output: status === 'success' ? output : null, response, error };
  return continuesInMs === undefined ? answer : { ...answer, continuesInMs };
}
