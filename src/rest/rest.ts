/**
 * REST beside GraphQL: `/api/v1/…`, `/openapi.json` and `/schema/workflow.json`. Each operation is one SQL function
 * under the rights of the request's token, with the limits of GraphQL requests.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type pg from 'pg';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { type RequestSettings, runAsRequest } from '../database/request_statement.ts';
import { FlowgresError } from '../errors.ts';
import { knownDatabaseError } from '../graphql/errors.ts';
import { settingsOf } from '../graphql/preset.ts';
import { type RequestOptions, admit, allowOrigin } from '../graphql/requests.ts';
import type { Subscriptions } from '../graphql/subscribe.ts';
import { asFlowgresError } from '../accounts/accounts.ts';
import type { AccessLog } from '../http/access_log.ts';
import { refuseAmbiguous } from '../http/auth.ts';
import { readBody } from '../http/body.ts';
import { clientSettings } from '../http/client.ts';
import type { LogError } from '../http/errors.ts';
import { type Reply, errorReply, jsonReply } from '../http/http_error.ts';
import { contentKind, parseMediaType } from '../http/media_type.ts';
import { parseStrictJson } from '../json/strict.ts';
import { FairQueue } from '../limits/fair_queue.ts';
import { describeApi, describeWorkflow, describedWorkflow } from './openapi.ts';
import { type Call, type Route, type Statement, limitsOf, paramsShape, routesOf } from './routes.ts';
import { Streams, wantsStream } from './streams.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

/** Options of {@link createRest}. */
export interface RestOptions {
  pool: pg.Pool;
  requests: RequestOptions;
  subscriptions: Subscriptions;
  accessLog: AccessLog;
  logError: LogError;
}

/** The running interface. */
export interface Rest {
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Ends the streams; clients continue them elsewhere with Last-Event-ID. */
  close(): void;
}

/** A request whose route is known. */
interface Asked {
  operation: string;
  /** Undefined for the addresses that describe the interface. */
  route?: Route;
  params: Record<string, string>;
  answer?: (settings: RequestSettings, params: Record<string, string>) => Promise<Reply>;
  isOpen?: boolean;
}

const DOCUMENT = /^\/api\/v1\/workflows\/([^/]+)\/openapi\.json$/;
/** Descriptions change with the build and with node types, so clients ask again after a minute. */
const DESCRIPTION_HEADERS = { 'cache-control': 'public, max-age=60', 'access-control-allow-origin': '*' };
const SCHEMA_MS = 60_000;
const bodyRow = z.tuple([z.object({ body: z.string().nullable() })]);

/** Returns the handler of `/api/`, `/openapi.json` and `/schema/`. */
export function createRest(options: RestOptions): Rest {
  return new Handler(options);
}

class Handler implements Rest {
  readonly #options: RestOptions;
  readonly #streams: Streams;
  readonly #documents = new FairQueue({
    total: LIMITS.httpApi.documentsAtOnce,
    maxWaiting: LIMITS.httpApi.documentsWaiting,
    maxWaitMs: LIMITS.httpApi.documentsWaitMs,
  });
  readonly #api = JSON.stringify(describeApi());
  #schema: { text: Promise<string>; until: number } | undefined;

  constructor(options: RestOptions) {
    this.#options = options;
    this.#streams = new Streams(options.subscriptions, (settings, statement) => this.#query(settings, statement));
  }

  close(): void {
    this.#streams.close();
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { requests, accessLog } = this.#options;
    if (allowOrigin(request, response, requests.corsOrigins, 'GET, POST')) {
      response.writeHead(204).end();
      return;
    }
    const startedAt = performance.now();
    const seen: { operation: string | null; session: string | null; error: string | null } = {
      operation: null,
      session: null,
      error: null,
    };
    let reply: Reply | undefined;
    try {
      reply = await this.#answer(request, response, seen);
    } catch (error) {
      const refused = asApiError(error);
      seen.error = refused instanceof FlowgresError ? refused.code : 'INTERNAL';
      reply = errorReply(refused, (message, cause) => this.#options.logError({ errorId: '', message, cause: String(cause) }));
      if (reply.status === 401) reply.headers['www-authenticate'] = 'Bearer';
    }
    if (reply && !response.headersSent) {
      response.writeHead(reply.status, { 'cache-control': 'no-store', ...reply.headers });
      response.end(reply.body);
    } else if (reply) {
      response.destroy();
    }
    accessLog.record({ ...seen, status: response.statusCode, startedAt, requestId: String(request.headers['x-request-id'] ?? '') });
  }

  /** Returns the answer; undefined when a stream has given it. */
  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    seen: { operation: string | null; session: string | null },
  ): Promise<Reply | undefined> {
    refuseAmbiguous(request);
    const url = new URL(request.url ?? '/', 'http://localhost');
    const asked = this.#find(url.pathname, request.method ?? '');
    seen.operation = asked.operation;
    const { requests } = this.#options;
    const limits = asked.route ? limitsOf(asked.route) : { bytes: 0, statementTimeout: LIMITS.graphql.statementTimeout };
    const announced = Number(request.headers['content-length'] ?? 0);
    const session = await admit(requests, request.headers.authorization, request, announced);
    seen.session = session;
    if (session === null && !asked.isOpen) throw new FlowgresError('UNAUTHENTICATED', 'This needs a token.', { hint: TOKEN_HINT });
    const settings = {
      ...settingsOf(session, String(request.headers['x-request-id'] ?? '')),
      ...clientSettings(request, requests.proxies),
      statement_timeout: limits.statementTimeout,
    };
    if (!asked.route) return asked.answer!(settings, asked.params);
    const route = asked.route;
    const work = async () => this.#run(route, asked.params, url, request, response, settings, limits.bytes);
    return route.isLarge ? this.#documents.use(session ?? '', work) : work();
  }

  async #run(
    route: Route,
    given: Record<string, string>,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
    settings: RequestSettings,
    maxBytes: number,
  ): Promise<Reply | undefined> {
    const params = check(paramsShape(route), given, 'path') as Record<string, string>;
    const query = check(route.query, queryOf(url), 'query');
    const body = route.body ? check(route.body, await readInput(request, maxBytes, route), 'body') : {};
    const idempotencyKey = route.allowsKey ? keyOf(request) : null;
    const call: Call = { params, query, body, idempotencyKey };
    if (route.streams && wantsStream(request)) {
      return this.#streams.answer(request, response, { settings, runId: params['runId']!, after: Number(query['after']) });
    }
    const text = await this.#query(settings, route.statement(call));
    const headers: Record<string, string> = { 'content-type': 'application/json; charset=utf-8' };
    if (route.status === 201) headers['location'] = `/api/v1/runs/${z.object({ id: z.guid() }).parse(JSON.parse(text)).id}`;
    return { status: route.status, headers, body: `${text}\n` };
  }

  #find(path: string, method: string): Asked {
    const described = this.#description(path);
    const found = described ? [] : routesOf(path);
    if (!described && found.length === 0) {
      throw new FlowgresError('NOT_FOUND', 'There is nothing at this address.', { hint: 'The operations are in /openapi.json.' });
    }
    const methods = described ? ['GET'] : found.map(({ route }) => route.method as string);
    if (!methods.includes(method))
      throw new FlowgresError('METHOD_NOT_ALLOWED', `This takes ${methods.join(' or ')}.`, { details: { methods } });
    if (described) return described;
    const { route, params } = found.find((each) => each.route.method === method)!;
    return { operation: route.operationId, route, params };
  }

  /** The addresses that describe the interface. */
  #description(path: string): Asked | undefined {
    if (path === '/openapi.json') {
      const reply: Reply = { status: 200, headers: { 'content-type': 'application/json', ...DESCRIPTION_HEADERS }, body: this.#api };
      return { operation: 'openapi', params: {}, isOpen: true, answer: async () => reply };
    }
    if (path === '/schema/workflow.json') {
      const headers = { 'content-type': 'application/schema+json', ...DESCRIPTION_HEADERS };
      const answer = async (settings: RequestSettings) => ({ status: 200, headers, body: await this.#workflowSchema(settings) });
      return { operation: 'workflowSchema', params: {}, isOpen: true, answer };
    }
    const workflowId = DOCUMENT.exec(path)?.[1];
    if (workflowId === undefined) return undefined;
    const answer = async (settings: RequestSettings) => {
      const id = check(z.object({ workflowId: z.guid() }), { workflowId }, 'path').workflowId;
      const text = await this.#query(settings, { text: 'select engine.workflow_input_schema($1)::text as body', values: [id] });
      return jsonReply(200, describeWorkflow(describedWorkflow.parse(JSON.parse(text))));
    };
    return { operation: 'workflowOpenapi', params: {}, answer };
  }

  #workflowSchema(settings: RequestSettings): Promise<string> {
    if (!this.#schema || this.#schema.until < Date.now()) {
      const text = this.#query(settings, { text: `select ${API_SCHEMA}.workflow_schema()::text as body`, values: [] });
      this.#schema = { text, until: Date.now() + SCHEMA_MS };
      text.catch(() => {
        this.#schema = undefined;
      });
    }
    return this.#schema.text;
  }

  /** Returns the column `body` of the one row of a statement. Throws NOT_FOUND when it is null. */
  async #query(settings: RequestSettings, { text, values }: Statement): Promise<string> {
    const { pool, requests } = this.#options;
    const rows = await requests.connections.use(settings, () => runAsRequest(pool, settings, text, values));
    const [{ body }] = bodyRow.parse(rows);
    if (body === null) throw new FlowgresError('NOT_FOUND', 'There is no such thing.');
    return body;
  }
}

const TOKEN_HINT = 'Send "Authorization: Bearer <token>" with a token from create_api_token or login.';

/** Turns what a request failed with into the error that its client sees; others are masked. */
function asApiError(error: unknown): unknown {
  return knownDatabaseError(error) ?? asFlowgresError(error);
}

function check<T extends z.ZodType>(shape: T, value: unknown, where: string): z.infer<T> {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  const field = path.map(String).join('.');
  throw new FlowgresError('INVALID_ARGUMENT', `The ${where}${field ? `: ${field}` : ''}: ${message}.`.replace(/\.+$/, '.'), {
    hint: 'The shapes are in /openapi.json.',
    ...(field ? { details: { field } } : {}),
  });
}

function queryOf({ searchParams }: URL): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [name, value] of searchParams) {
    if (Object.hasOwn(values, name))
      throw new FlowgresError('INVALID_ARGUMENT', `The query has ${name} twice.`, { details: { field: name } });
    values[name] = value;
  }
  return values;
}

function keyOf(request: IncomingMessage): string | null {
  const keys = request.headersDistinct['idempotency-key'] ?? [];
  if (keys.length > 1)
    throw new FlowgresError('INVALID_ARGUMENT', 'The request has several Idempotency-Key headers.', { hint: 'Send one.' });
  return keys[0] ?? null;
}

async function readInput(request: IncomingMessage, maxBytes: number, { isBodyOptional }: Route): Promise<unknown> {
  const body = await readBody(request, maxBytes);
  if (body.length === 0 && isBodyOptional) return {};
  // A form of another site can send text, but not this content type without a CORS preflight.
  if (contentKind(parseMediaType(request.headers['content-type']).type) !== 'json') {
    throw new FlowgresError('UNSUPPORTED_MEDIA_TYPE', 'The body has to be JSON.', { hint: 'Send content-type: application/json.' });
  }
  return parseStrictJson(body.toString(), { around: LIMITS.graphql.maxVariableDepth - LIMITS.json.maxDepth }).value;
}
