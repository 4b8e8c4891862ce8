/**
 * Admits requests before execution: authenticates them, applies rate limits and origins, and assigns their ids.
 * Adds headers and hints to answers.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { normalizeConnectionParams } from 'postgraphile/grafserv';
import { SafeError } from 'postgraphile/grafast';
import { z } from 'zod';
import { tryParseJson } from '../json/json.ts';
import type { ApiCalls } from '../limits/api_calls.ts';
import { type Authenticator, sessionOf } from '../http/auth.ts';
import { BODY_HINT, requestsOf, requireDocumentSize } from './body_size.ts';
import { callerOf, clientIp, networkOf } from '../http/client.ts';
import type { ConnectionShare } from '../limits/connection_share.ts';
import type { CpuShare } from '../limits/cpu_budget.ts';
import { requestError } from '../http/errors.ts';
import { requestIdOf } from '../http/request_id.ts';
import type { Operations } from './persisted_operations.ts';
import type { Rate, RateLimiter } from '../limits/rate_limit.ts';
import type { SubscriptionLimits } from '../limits/subscription_limits.ts';
import { requireVariables } from './variables.ts';

/** Options of {@link requestPlugin}. */
export interface RequestOptions {
  authenticator: Authenticator;
  apiCalls: ApiCalls;
  /** Shares the pool's connections among callers. */
  connections: ConnectionShare;
  operations: Operations;
  /** Limits that operations over a WebSocket count against in addition. */
  subscriptions: SubscriptionLimits;
  limiter: RateLimiter;
  /** Rate limits of each token, and of each address without a token; null sets no limit. */
  rates: { token: Rate | null; anonymous: Rate | null };
  /** Origins of websites that may call the API; `*` for all. */
  corsOrigins: readonly string[];
  /** Number of proxies between clients and this process. */
  proxies: number;
}

const GRAPHQL_RESPONSE = 'application/graphql-response+json';

declare global {
  namespace Grafast {
    interface RequestContext {
      /** Id of the HTTP request: the client's x-request-id when that is a UUID, else a new one. */
      requestId: string;
      /** Session of the HTTP request, once it is admitted; null when it is anonymous. */
      session: string | null;
    }
  }
}

/** Returns the token that a WebSocket sends in `connectionParams`: `{ authorization: "Bearer …" }`. */
export function bearerOf(connectionParams: unknown): string | undefined {
  const value = normalizeConnectionParams(connectionParams as Record<string, unknown>)?.['authorization'];
  return Array.isArray(value) ? value[0] : value;
}

/** Whether a page of this origin may call the API. */
export function isAllowedOrigin(origin: string, corsOrigins: readonly string[]): boolean {
  return corsOrigins.includes('*') || corsOrigins.includes(origin);
}

/**
 * Calls the answer application/json for clients that do not ask for application/graphql-response+json by name:
 * those that accept everything, or send no Accept at all, may know nothing else.
 */
function nameMediaType(accept: string | undefined, headers: Record<string, string>): void {
  const type = headers['content-type'] ?? headers['Content-Type'];
  if (!type?.startsWith(GRAPHQL_RESPONSE) || accept?.includes(GRAPHQL_RESPONSE)) return;
  delete headers['Content-Type'];
  headers['content-type'] = type.replace(GRAPHQL_RESPONSE, 'application/json');
}

/** Admits each request and completes each answer, over HTTP and WebSockets. */
export function requestPlugin(options: RequestOptions): GraphileConfig.Plugin {
  return {
    name: 'FlowgresRequestPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          const { node } = requestDigest.requestContext;
          const requestId = requestIdOf(requestDigest.headers['x-request-id']);
          requestDigest.requestContext.requestId = requestId;
          // The access log reads the id from this header.
          requestDigest.headers['x-request-id'] = requestId;
          node?.res.setHeader('x-request-id', requestId);
          const isPreflight = node && allowOrigin(node.req, node.res, options.corsOrigins);
          const result = isPreflight ? { type: 'noContent' as const, statusCode: 204 as const, headers: {} } : await next();
          if (result) nameMediaType(requestDigest.headers['accept'], result.headers);
          // A missing file of the Ruru page: answered with 404 in JSON like any other unknown address.
          if (result?.statusCode === 404 && requestDigest.path !== '/graphql') return null;
          if (result?.type === 'buffer' && result.statusCode >= 400) return describeRefusal(result, node?.res);
          const { refusedWith } = requestDigest.requestContext;
          return refusedWith && (result?.type === 'buffer' || result?.type === 'json') ? { ...result, statusCode: refusedWith } : result;
        },
        async processGraphQLRequestBody(next, { body, request, graphqlWsContext }) {
          const incoming = request?.requestContext.node?.req ?? (graphqlWsContext?.extra as { request?: IncomingMessage })?.request;
          const authorization = request?.getHeader('authorization') ?? bearerOf(graphqlWsContext?.connectionParams);
          const session = await admit(options, authorization, incoming, request?.requestContext.bodyBytes);
          if (request) request.requestContext.session = session;
          // Pace subscriptions at their start: a client may send hundreds at once, and each is planned and read
          // before its first answer.
          else if (session !== null) await options.subscriptions.pace(options.apiCalls.organizationOf(session) ?? session);
          requireDocumentSize(body.query);
          options.operations.apply(body);
          requireVariables(body.variableValues);
          return next();
        },
      },
    },
  };
}

/**
 * Returns the session of a request with a body of `bodyBytes`; null when it is anonymous. A request with a
 * wrong token counts against its address.
 *
 * @throws SafeError UNAUTHENTICATED, RATE_LIMITED or LIMIT_REACHED
 */
export async function admit(
  options: RequestOptions,
  authorization: string | undefined,
  request: IncomingMessage | undefined,
  bodyBytes = 0,
): Promise<string | null> {
  return countRequest(options, authorization, request, bodyBytes).catch(refuseUnasked);
}

async function countRequest(
  options: RequestOptions,
  authorization: string | undefined,
  request: IncomingMessage | undefined,
  bodyBytes: number,
): Promise<string | null> {
  const { authenticator, apiCalls, connections, limiter, rates, proxies } = options;
  const spendAnonymous = async () => {
    if (rates.anonymous) await limiter.spend(`ip:${request ? callerOf(request, proxies) : ''}`, rates.anonymous);
  };
  const session = await authenticator.check(authorization).catch(async (error: unknown) => {
    await spendAnonymous();
    throw error;
  });
  if (session === null) {
    await spendAnonymous();
    connections.admit(null, request ? clientIp(request, proxies) : '');
    return null;
  }
  for (let count = rates.token ? requestsOf(bodyBytes) : 0; count > 0; count -= 1) {
    await limiter.spend(`token:${session}`, rates.token!);
  }
  connections.admit(session, '');
  await apiCalls.admit(session);
  return session;
}

/**
 * Returns which CPU budgets a request uses: with a token the token's and its organization's, which is twice as
 * large; without one the network's and that of all anonymous requests, which is four times as large.
 */
export function createCallerOf({ apiCalls, proxies }: RequestOptions, cpu: { token: number | null; anonymous: number | null }) {
  return ({
    http,
    node,
    ws,
    session: admitted,
  }: Partial<Grafast.RequestContext>): { isAnonymous: boolean; shares: readonly CpuShare[] } => {
    const session = admitted === undefined ? sessionOf(http?.getHeader('authorization') ?? bearerOf(ws?.connectionParams)) : admitted;
    if (session === null) {
      const request = node?.req ?? ws?.request;
      const key = request ? networkOf(request, proxies) : '';
      const shares = cpu.anonymous === null ? [] : [share('network', key, cpu.anonymous), share('anonymous', '', 4 * cpu.anonymous)];
      return { isAnonymous: true, shares };
    }
    if (cpu.token === null) return { isAnonymous: false, shares: [] };
    const organization = apiCalls.organizationOf(session);
    const shares = [share('token', session, cpu.token), ...(organization ? [share('organization', organization, 2 * cpu.token)] : [])];
    return { isAnonymous: false, shares };
  };
}

function share(kind: string, key: string, perSecond: number): CpuShare {
  return { key: JSON.stringify([kind, key]), perSecond };
}

/**
 * Authentication itself failed, which is not the client's fault: without this Grafserv would answer that it
 * cannot parse the request.
 */
function refuseUnasked(error: unknown): never {
  if (error instanceof SafeError) throw error;
  throw requestError(503, 'UNAVAILABLE', 'The database is not available.', {
    hint: 'Try again in a moment.',
    details: { committed: 'no', retryAfterMs: 1_000 },
  });
}

/** Sets the CORS headers. Returns whether the request is a preflight, which the caller answers with 204. */
export function allowOrigin(request: IncomingMessage, response: ServerResponse, corsOrigins: readonly string[], methods = 'POST'): boolean {
  const { origin } = request.headers;
  if (corsOrigins.length > 0) response.setHeader('vary', 'origin');
  if (origin === undefined || !isAllowedOrigin(origin, corsOrigins)) return false;
  response.setHeader('access-control-allow-origin', origin);
  response.setHeader('access-control-expose-headers', 'x-request-id, retry-after');
  if (request.method !== 'OPTIONS') return false;
  response.setHeader('access-control-allow-methods', methods);
  response.setHeader('access-control-allow-headers', 'authorization, content-type, x-request-id, idempotency-key, last-event-id');
  response.setHeader('access-control-max-age', '600');
  return true;
}

const CODES: Record<number, string> = { 405: 'METHOD_NOT_ALLOWED', 413: 'TOO_LARGE', 415: 'UNSUPPORTED_MEDIA_TYPE' };

const JSON_BODY = 'The body of a POST is JSON: {"query", "variables", "operationName"}, with "content-type: application/json".';
/** Hints for requests that Grafserv itself refuses, by HTTP status. */
const HINTS: Record<number, string> = {
  400: JSON_BODY,
  405: JSON_BODY,
  413: BODY_HINT,
  415: JSON_BODY,
};

const refusal = z.looseObject({
  errors: z.array(
    z.looseObject({
      extensions: z
        .looseObject({
          code: z.string().optional(),
          details: z.looseObject({ retryAfterMs: z.number().optional(), resetAt: z.iso.datetime({ offset: true }).optional() }).optional(),
        })
        .optional(),
    }),
  ),
});

/** Gives Grafserv's own refusals a code and a hint like all other errors, and removes the status from the JSON. */
function describeRefusal<R extends { buffer: Buffer; statusCode: number; headers: Record<string, string> }>(
  result: R,
  response: ServerResponse | undefined,
): R {
  const parsed = refusal.safeParse(tryParseJson(result.buffer.toString()));
  if (!parsed.success) return result;
  const { errors } = parsed.data;
  for (const error of errors) {
    const { statusCode: _status, ...extensions } = error.extensions ?? {};
    // An error with a code is complete. One without is a fault in the document, whose message names the place.
    const hint = extensions.code === undefined ? HINTS[result.statusCode] : undefined;
    error.extensions = { code: CODES[result.statusCode] ?? 'INVALID_ARGUMENT', ...(hint && { hint }), ...extensions };
    const retryAfterMs = extensions.details?.retryAfterMs;
    if (retryAfterMs !== undefined) response?.setHeader('retry-after', Math.ceil(retryAfterMs / 1_000));
  }
  const buffer = Buffer.from(JSON.stringify({ ...parsed.data, errors }));
  return { ...result, buffer, headers: { ...result.headers, 'content-length': String(buffer.length) } };
}
