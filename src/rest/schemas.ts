/** The shapes of the REST interface: what requests are checked by, and what the OpenAPI document says. */
import { z } from 'zod';
import { LIMITS } from '../constants.ts';

/** Names of the shapes that the OpenAPI document refers to. */
export const named = z.registry<{ id: string }>();

const json = z.unknown().describe('Any JSON.');
const object = z.record(z.string(), z.unknown());
const time = z.iso.datetime({ offset: true });

export const errorAnswer = z
  .object({
    error: z.object({
      code: z.string().describe('One of the codes of the reference of errors, such as NOT_FOUND.'),
      message: z.string(),
      hint: z.string().optional().describe('What the caller can do.'),
      details: object.optional(),
      id: z.string().optional().describe('Of an error inside of the server: under this id its log says more.'),
    }),
  })
  .register(named, { id: 'Error' });

export const workflow = z
  .object({
    id: z.guid(),
    name: z.string(),
    description: z.string().nullable(),
    tags: z.array(z.string()),
    project: z.string().nullable(),
    publishedVersion: z.int().nullable().describe('The version that new runs use; null when none is published.'),
    updatedAt: time,
  })
  .register(named, { id: 'Workflow' });

const runFields = {
  id: z.guid(),
  workflowId: z.guid(),
  workflow: z.string().describe('The name of the workflow.'),
  version: z.int(),
  mode: z.enum(['manual', 'webhook', 'api', 'schedule', 'retry', 'fork', 'error', 'child']),
  status: z.enum(['waiting', 'running', 'paused', 'success', 'error', 'canceled']),
  startedAt: time,
  finishedAt: time.nullable(),
  error: z.looseObject({ code: z.string(), message: z.string() }).nullable(),
  metadata: object.nullable(),
};
export const listedRun = z.object(runFields).register(named, { id: 'ListedRun' });
export const run = z
  .object({ ...runFields, output: json.describe('The result; null unless the status is success.') })
  .register(named, { id: 'Run' });

export const event = z
  .object({ seq: z.int().min(1), ts: time, type: z.string().describe('Such as step.succeeded.'), payload: object })
  .register(named, { id: 'Event' });

export const logLine = z
  .object({
    id: z.int(),
    ts: time,
    level: z.enum(['debug', 'info', 'warning', 'error']),
    node: z.string().nullable(),
    message: z.string(),
    context: object.nullable(),
  })
  .register(named, { id: 'LogLine' });

export const document = z
  .object({
    name: z.string(),
    description: z.string().nullable().optional(),
    tags: z.array(z.string()).optional(),
    definition: object.describe('Nodes, connections and settings; the schema is at /schema/workflow.json.'),
  })
  .register(named, { id: 'Document' });

export const change = z
  .object({
    kind: z.enum(['workflow', 'variable']),
    name: z.string(),
    action: z.enum(['create', 'change', 'unchanged', 'archive']),
    fields: z.array(z.string()),
    workflowId: z.guid().nullable(),
    version: z.int().nullable(),
  })
  .register(named, { id: 'Change' });

export const testEvent = z.object({ seq: z.int(), type: z.string(), payload: object }).register(named, { id: 'TestEvent' });

const limit = z.coerce.number().int().min(1).max(LIMITS.httpApi.maxPage).default(LIMITS.graphql.defaultPage);

export const PARAMS = {
  workflowId: z.guid().describe('The id of the workflow.'),
  runId: z.guid().describe('The id of the run.'),
};

export const QUERIES = {
  workflows: z.strictObject({
    name: z.string().optional().describe('Only the workflows of this name.'),
    after: z.string().optional().describe('The name of the last workflow of the page before.'),
    limit,
  }),
  runs: z.strictObject({
    workflowId: z.guid().optional(),
    status: runFields.status.optional(),
    before: z.guid().optional().describe('The id of the last run of the page before.'),
    limit,
  }),
  events: z.strictObject({
    after: z.coerce.number().int().min(0).max(2_147_483_647).default(0).describe('Only events with a larger seq.'),
    limit,
  }),
  logs: z.strictObject({
    after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).describe('Only lines with a larger id.'),
    limit,
  }),
  project: z.strictObject({ project: z.string().optional().describe('Only the workflows of this project.') }),
  none: z.strictObject({}),
};

export const BODIES = {
  start: z.strictObject({
    input: json.optional().describe('The input of the run; an empty object when not given.'),
    priority: z.int().min(-1_000).max(1_000).optional().describe('Replaces that of the workflow; a lower one begins earlier.'),
    metadata: object.optional().describe('Any object, by which the run can be found.'),
  }),
  cancel: z.strictObject({ reason: z.string().optional() }),
  signal: z.strictObject({ name: z.string(), payload: json.optional() }),
  approve: z.strictObject({
    node: z.string().describe('The id of the node that waits.'),
    approved: z.boolean().default(true),
    comment: z.string().optional(),
  }),
  plan: z.strictObject({
    documents: z.array(document),
    variables: object.default({}),
    project: z.string().default('default'),
    prune: z.boolean().default(false).describe('Archives workflows of the project that have no document.'),
  }),
  apply: z.strictObject({
    documents: z.array(document),
    variables: object.default({}),
    project: z.string().default('default'),
    prune: z.boolean().default(false).describe('Archives workflows of the project that have no document.'),
    message: z.string().optional().describe('What changed, for the versions that are published.'),
  }),
  test: z.strictObject({
    definition: object,
    input: json.optional(),
    trigger: z.string().optional().describe('The id of the trigger to begin with.'),
  }),
};
