/** The routes of the REST interface: a statement each, which calls the SQL function of the same operation. */
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { BODIES, PARAMS, QUERIES, change, document, event, listedRun, logLine, run, testEvent, workflow } from './schemas.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

/** A statement whose first column, `body`, is the answer as JSON text. */
export interface Statement {
  text: string;
  values: unknown[];
}

/** What a request says, checked by the shapes of its route. */
export interface Call {
  params: Record<string, string>;
  query: Record<string, unknown>;
  body: Record<string, unknown>;
  idempotencyKey: string | null;
}

/** An operation. */
export interface Route {
  method: 'GET' | 'POST';
  /** With parameters in braces. */
  path: string;
  operationId: string;
  summary: string;
  /** The scope that a token needs. */
  scope: string;
  query: z.ZodObject;
  body?: z.ZodObject;
  /** Whether a request may omit its body. */
  isBodyOptional?: boolean;
  /** Whether the request may have the header Idempotency-Key. */
  allowsKey?: boolean;
  /** Whether the answer may be a stream of server-sent events. */
  streams?: boolean;
  /** Whether the answer needs more time and a larger body than others. */
  isLarge?: boolean;
  status: 200 | 201;
  answer: z.ZodType;
  /** Codes of errors beside those that every operation has. */
  errors: readonly string[];
  statement(call: Call): Statement;
}

const text = (value: unknown) => (value === undefined || value === null ? null : JSON.stringify(value));
const reads = (method: 'GET', scope: string) => ({ method, scope, status: 200 as const, errors: ['NOT_FOUND'] });
const writes = { method: 'POST' as const, scope: 'runs:write', query: QUERIES.none, status: 200 as const, answer: run };
const command = (of: string, values: unknown[]): Statement => ({
  text: `select engine.show_run(c.id)::text as body from ${API_SCHEMA}.${of} as c`,
  values,
});
const changes = z.object({ changes: z.array(change) });
const CHANGES = `jsonb_build_object('changes', coalesce(jsonb_agg(jsonb_build_object(
  'kind', c.kind, 'name', c.name, 'action', c.action, 'fields', to_jsonb(c.fields), 'workflowId', c.workflow_id, 'version', c.version
)), '[]'))::text as body`;
const documentsOf = ({ body }: Call) => [text(body['documents']), text(body['variables']), body['project'], body['prune']];

/** All routes, in the order of the OpenAPI document. */
export const ROUTES: readonly Route[] = [
  {
    ...reads('GET', 'workflows:read'),
    path: '/api/v1/workflows',
    operationId: 'listWorkflows',
    summary: 'Workflows that are not archived, by name.',
    query: QUERIES.workflows,
    answer: z.object({ workflows: z.array(workflow) }),
    errors: [],
    statement: ({ query }) => ({
      text: 'select engine.show_workflows($1, $2, $3)::text as body',
      values: [query['name'] ?? null, query['after'] ?? null, query['limit']],
    }),
  },
  {
    ...writes,
    path: '/api/v1/workflows/{workflowId}/runs',
    operationId: 'startRun',
    summary: 'Starts a run of the published version; it is stored durably when this answers.',
    body: BODIES.start,
    isBodyOptional: true,
    allowsKey: true,
    status: 201,
    errors: ['NOT_FOUND', 'NOT_PUBLISHED', 'CONFLICT', 'LIMIT_REACHED'],
    statement: ({ params, body, idempotencyKey }) =>
      command(
        `start_workflow_run(workflow => $1, input => coalesce($2::jsonb, '{}'), idempotency_key => $3, priority => $4::int, metadata => $5::jsonb)`,
        [params['workflowId'], text(body['input']), idempotencyKey, body['priority'] ?? null, text(body['metadata'])],
      ),
  },
  {
    ...reads('GET', 'runs:read'),
    path: '/api/v1/runs',
    operationId: 'listRuns',
    summary: 'Runs, the newest first.',
    query: QUERIES.runs,
    answer: z.object({ runs: z.array(listedRun) }),
    errors: [],
    statement: ({ query }) => ({
      text: 'select engine.show_runs($1, $2, $3, $4)::text as body',
      values: [query['workflowId'] ?? null, query['status'] ?? null, query['before'] ?? null, query['limit']],
    }),
  },
  {
    ...reads('GET', 'runs:read'),
    path: '/api/v1/runs/{runId}',
    operationId: 'readRun',
    summary: 'A run with its status and, once it has succeeded, its output.',
    query: QUERIES.none,
    answer: run,
    statement: ({ params }) => ({ text: 'select engine.show_run($1)::text as body', values: [params['runId']] }),
  },
  {
    ...reads('GET', 'runs:read'),
    path: '/api/v1/runs/{runId}/events',
    operationId: 'listRunEvents',
    summary:
      'Events of a run in the order of seq. With "accept: text/event-stream" a stream of server-sent events that goes on until the run has ended; its ids are seq, so Last-Event-ID continues it.',
    query: QUERIES.events,
    streams: true,
    answer: z.object({ events: z.array(event), isFinished: z.boolean().describe('Whether the run has ended.') }),
    statement: ({ params, query }) => ({
      text: 'select engine.show_run_events($1, $2, $3)::text as body',
      values: [params['runId'], query['after'], query['limit']],
    }),
  },
  {
    ...reads('GET', 'runs:read'),
    path: '/api/v1/runs/{runId}/logs',
    operationId: 'listRunLogs',
    summary: 'What log nodes and workers wrote about a run, the oldest first; kept 30 days.',
    query: QUERIES.logs,
    answer: z.object({ logs: z.array(logLine), isFinished: z.boolean().describe('Whether the run has ended.') }),
    statement: ({ params, query }) => ({
      text: 'select engine.show_run_logs($1, $2, $3)::text as body',
      values: [params['runId'], query['after'], query['limit']],
    }),
  },
  {
    ...writes,
    path: '/api/v1/runs/{runId}/cancel',
    operationId: 'cancelRun',
    summary: 'Cancels a run at once; one that has ended stays as it is.',
    body: BODIES.cancel,
    isBodyOptional: true,
    errors: ['NOT_FOUND'],
    statement: ({ params, body }) => command('cancel_run($1, $2)', [params['runId'], body['reason'] ?? null]),
  },
  {
    ...writes,
    path: '/api/v1/runs/{runId}/signal',
    operationId: 'signalRun',
    summary: 'Sends a signal: the oldest step that waits for its name goes on.',
    body: BODIES.signal,
    errors: ['NOT_FOUND', 'RUN_FINISHED', 'LIMIT_REACHED'],
    statement: ({ params, body }) => command('signal_run($1, $2, $3::jsonb)', [params['runId'], body['name'], text(body['payload'])]),
  },
  {
    ...writes,
    path: '/api/v1/runs/{runId}/approve',
    operationId: 'approveStep',
    summary: 'Decides a step that waits for an approval, once. Needs the token of a person.',
    body: BODIES.approve,
    errors: ['NOT_FOUND', 'CONFLICT', 'ALREADY_USED', 'EXPIRED', 'RUN_FINISHED'],
    statement: ({ params, body }) =>
      command('approve_step($1, $2, $3, $4)', [params['runId'], body['node'], body['approved'], body['comment'] ?? null]),
  },
  {
    ...reads('GET', 'workflows:read'),
    path: '/api/v1/documents',
    operationId: 'exportDocuments',
    summary: 'All workflows as documents, and the variables that are not secret.',
    query: QUERIES.project,
    answer: z.object({ documents: z.array(document), variables: z.record(z.string(), z.unknown()) }),
    isLarge: true,
    errors: [],
    statement: ({ query }) => ({ text: 'select engine.export_documents($1)::text as body', values: [query['project'] ?? null] }),
  },
  {
    ...writes,
    path: '/api/v1/documents/plan',
    operationId: 'planDocuments',
    summary: 'What applying documents would change.',
    scope: 'workflows:read',
    body: BODIES.plan,
    answer: changes,
    isLarge: true,
    errors: ['CONFLICT'],
    statement: (call) => ({
      text: `select ${CHANGES} from ${API_SCHEMA}.plan_workflows($1::jsonb, $2::jsonb, $3, $4) as c`,
      values: documentsOf(call),
    }),
  },
  {
    ...writes,
    path: '/api/v1/documents/apply',
    operationId: 'applyDocuments',
    summary: 'Brings workflows and variables to the state of the documents, all in one transaction.',
    scope: 'workflows:write',
    body: BODIES.apply,
    answer: changes,
    isLarge: true,
    errors: ['CONFLICT', 'LIMIT_REACHED'],
    statement: (call) => ({
      text: `select ${CHANGES} from ${API_SCHEMA}.apply_workflows($1::jsonb, $2::jsonb, $3, $4, $5) as c`,
      values: [...documentsOf(call), call.body['message'] ?? null],
    }),
  },
  {
    ...writes,
    path: '/api/v1/tests',
    operationId: 'testWorkflow',
    summary: 'The events that a run of a definition would have. Nothing is stored, no other system is called.',
    scope: 'workflows:write',
    body: BODIES.test,
    answer: z.object({ events: z.array(testEvent) }),
    errors: ['NOT_FOUND'],
    statement: ({ body }) => ({
      text: `select jsonb_build_object('events', jsonb_agg(to_jsonb(e) order by e.seq))::text as body
             from ${API_SCHEMA}.test_workflow($1::jsonb, coalesce($2::jsonb, '{}'), $3) as e`,
      values: [text(body['definition']), text(body['input']), body['trigger'] ?? null],
    }),
  },
];

const patterns = ROUTES.map((route) => ({
  route,
  names: [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!),
  pattern: new RegExp(`^${route.path.replaceAll(/\{\w+\}/g, '([^/]+)')}$`),
}));

/** Returns the routes of a path, with the values of its parameters. */
export function routesOf(path: string): { route: Route; params: Record<string, string> }[] {
  return patterns.flatMap(({ route, names, pattern }) => {
    const found = pattern.exec(path);
    return found ? [{ route, params: Object.fromEntries(names.map((name, at) => [name, found[at + 1]!])) }] : [];
  });
}

/** The shape of the parameters of a path. */
export function paramsShape({ path }: Pick<Route, 'path'>): z.ZodObject {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as keyof typeof PARAMS);
  return z.object(Object.fromEntries(names.map((name) => [name, PARAMS[name]])));
}

/** The limits of a request, in bytes and as a time of PostgreSQL. */
export function limitsOf({ isLarge, operationId }: Route): { bytes: number; statementTimeout: string } {
  if (isLarge) return { bytes: LIMITS.httpApi.maxDocumentsBytes, statementTimeout: LIMITS.httpApi.documentsTimeout };
  const statementTimeout = operationId === 'testWorkflow' ? LIMITS.graphql.testTimeout : LIMITS.graphql.statementTimeout;
  return { bytes: LIMITS.graphql.maxTokenBodyBytes, statementTimeout };
}
