/** The HTTP server of a process: GraphQL, webhooks, health and metrics on one port. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { log, withRequestId } from '../log.ts';
import { contentType, exposition, httpRequests, httpSeconds } from '../metrics.ts';
import type { ConsoleHandler } from './console.ts';
import { DATA_HEADERS, FILE_POLICY } from './page_policy.ts';
import { requestIdOf } from './request_id.ts';

/** Milliseconds between becoming not ready and closing: requests on new connections are still read and answered. */
const DRAIN_MS = 300;

/** Who may read /metrics: clients on the same machine, and those that send the token. */
export interface MetricsAccess {
  token: string | undefined;
}

/** Answers an HTTP request. */
export type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;
/** Takes over an HTTP upgrade to a WebSocket. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => unknown;

/** The parts that answer requests; a process omits those that it does not run. */
export interface HttpParts {
  /** `/graphql`, the Ruru page at `/graphiql` and its files, and 404 for every address that is not known. */
  graphql?: Handler;
  /** The console: its page and its files. */
  console?: ConsoleHandler;
  /** WebSockets of GraphQL subscriptions. */
  upgrade?: UpgradeHandler;
  /** Everything under `/auth/`. */
  accounts?: Handler;
  /** `/oauth2/callback`, where OAuth2 providers send browsers back to. */
  oauth2?: Handler;
  /** Everything under `/hooks/` and `/resume/`. */
  webhooks?: Handler;
  /** REST: everything under `/api/` and `/schema/`, and `/openapi.json`. */
  rest?: Handler;
  /** Everything under `/demo/`: services that the example workflows call. */
  demo?: Handler;
  /** Returns what keeps the process from being ready; empty when it is. */
  problems?: () => Promise<string[]>;
}

/** The running HTTP server. */
export interface HttpServer {
  /** Its address on this machine, for example `http://127.0.0.1:8080`. */
  url: string;
  port: number;
  /** Adds parts during startup; until then their addresses answer 503. */
  add(parts: HttpParts): void;
  /**
   * Becomes not ready, then accepts no new connection, waits up to `graceMs` milliseconds for requests, and
   * closes the rest.
   */
  close(graceMs?: number): Promise<void>;
}

/** Options of {@link startHttp}. */
export interface HttpOptions {
  host: string;
  port: number;
  /** Who may read /metrics; anybody when not given. */
  metrics?: MetricsAccess | undefined;
}

/**
 * Starts listening before the other parts start, so that a port in use is detected first.
 *
 * @throws FlowgresError PORT_IN_USE
 */
export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  const parts: HttpParts = {};
  const upgraded = new Set<Duplex>();
  const server = createServer((request, response) => {
    const route = routeOf(request.url ?? '/');
    measure(route, request, response);
    protect(request, response);
    withRequestId(identify(request, response), () => {
      Promise.resolve(answer(route, parts, request, response, options.metrics)).catch((error: unknown) => fail(response, error));
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (!parts.upgrade) {
      socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n');
      return;
    }
    upgraded.add(socket);
    socket.once('close', () => upgraded.delete(socket));
    parts.upgrade(request, socket, head);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenFailure(error, options)));
    server.listen(options.port, options.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://${reachable(options.host)}:${port}`,
    add: (more) => void Object.assign(parts, more),
    close: async (graceMs = LIMITS.stopping.requestsMs) => {
      if (parts.problems) {
        parts.problems = async () => ['stopping'];
        await delay(DRAIN_MS);
      }
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of upgraded) socket.destroy();
      const cutOff = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(cutOff);
    },
  };
}

/** Returns a host for a URL: the loopback address for a server that listens on all addresses. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

type Route = 'health' | 'ready' | 'metrics' | 'accounts' | 'oauth2' | 'webhooks' | 'rest' | 'demo' | 'console' | 'graphql';

function routeOf(url: string): Route {
  const path = url.split('?', 1)[0]!;
  if (path === '/healthz') return 'health';
  if (path === '/readyz') return 'ready';
  if (path === '/metrics') return 'metrics';
  if (path.startsWith('/auth/')) return 'accounts';
  if (path.startsWith('/oauth2/')) return 'oauth2';
  if (path.startsWith('/hooks/') || path.startsWith('/resume/')) return 'webhooks';
  if (path.startsWith('/api/') || path.startsWith('/schema/') || path === '/openapi.json') return 'rest';
  if (path.startsWith('/demo/')) return 'demo';
  return path === '/graphql' || path === '/graphiql' || path.startsWith('/ruru-static/') ? 'graphql' : 'console';
}

/** Gives the request an id, in the header that its parts read, and names it in the answer. */
function identify(request: IncomingMessage, response: ServerResponse): string {
  const id = requestIdOf(request.headers['x-request-id']);
  request.headers['x-request-id'] = id;
  response.setHeader('x-request-id', id);
  return id;
}

/** Sets headers for every answer; a part may override them. */
function protect(request: IncomingMessage, response: ServerResponse): void {
  for (const [name, value] of Object.entries(DATA_HEADERS)) response.setHeader(name, value);
  if (request.url?.startsWith('/ruru-static/')) response.setHeader('content-security-policy', FILE_POLICY);
}

async function answer(
  route: Route,
  parts: HttpParts,
  request: IncomingMessage,
  response: ServerResponse,
  metrics: MetricsAccess | undefined,
): Promise<unknown> {
  switch (route) {
    case 'health':
      return send(response, 200, { status: 'ok' });
    case 'ready': {
      const problems = parts.problems ? await parts.problems() : ['starting'];
      return send(response, problems.length ? 503 : 200, { status: problems.length ? 'unavailable' : 'ok', problems });
    }
    case 'metrics':
      if (metrics && !mayReadMetrics(request, metrics)) return refuseMetrics(response);
      return response.writeHead(200, { 'content-type': contentType }).end(await exposition());
    default: {
      if (route === 'console' && parts.console?.(request, response)) return;
      const handler = parts[route === 'console' ? 'graphql' : route];
      if (handler) return handler(request, response);
      // While the parts are not added the process is starting; afterwards a missing part is not served here.
      return parts.problems ? send(response, 404, { error: { code: 'NOT_FOUND', message: 'Not found.' } }) : starting(response);
    }
  }
}

/** Whether a client may read the metrics. A request through a proxy on this machine does not count as local. */
function mayReadMetrics(request: IncomingMessage, { token }: MetricsAccess): boolean {
  const { authorization, forwarded, 'x-forwarded-for': forwardedFor } = request.headers;
  const isLocal = forwarded === undefined && forwardedFor === undefined && isLoopback(request.socket.remoteAddress ?? '');
  return isLocal || (token !== undefined && isSame(authorization ?? '', `Bearer ${token}`));
}

function isLoopback(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === 'loopback';
}

function isSame(given: string, wanted: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}

function refuseMetrics(response: ServerResponse): void {
  response.setHeader('www-authenticate', 'Bearer');
  const hint = 'Send FLOWGRES_METRICS_TOKEN as a bearer token, or read them on the machine itself.';
  send(response, 401, { error: { code: 'UNAUTHENTICATED', message: 'The metrics are not for everybody.', hint } });
}

function starting(response: ServerResponse): void {
  response.setHeader('retry-after', '1');
  send(response, 503, { error: { code: 'STARTING', message: 'Flowgres is starting.' } });
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}

function fail(response: ServerResponse, error: unknown): void {
  log.error('A request failed.', { error });
  if (response.headersSent) response.destroy();
  else send(response, 500, { error: { code: 'INTERNAL', message: 'Something went wrong here.' } });
}

function measure(route: Route, request: IncomingMessage, response: ServerResponse): void {
  const startedAt = performance.now();
  response.once('close', () => {
    // Group other methods: a client could create a metric for each invented name.
    const method = /^(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS)$/.test(request.method ?? '') ? request.method! : 'other';
    httpRequests.inc({ route, method, status: response.statusCode });
    httpSeconds.observe({ route }, (performance.now() - startedAt) / 1_000);
  });
}

function listenFailure(error: NodeJS.ErrnoException, { host, port }: { host: string; port: number }): FlowgresError {
  if (error.code === 'EADDRINUSE') {
    return new FlowgresError('PORT_IN_USE', `Port ${port} is in use.`, {
      hint: 'Set PORT to a free one, or PORT=0 to take any.',
      cause: error,
    });
  }
  if (error.code === 'EACCES') {
    return new FlowgresError('PORT_FORBIDDEN', `Port ${port} may not be opened by this user.`, {
      hint: 'Set PORT to one above 1023.',
      cause: error,
    });
  }
  return new FlowgresError('LISTEN_FAILED', `Cannot listen on ${host}:${port}: ${error.message}`, {
    hint: 'Check HOST and PORT.',
    cause: error,
  });
}
