/** The node httpRequest: one HTTP request, guarded against private networks, limited in size, and safe to repeat. */
import { type Dispatcher, errors } from 'undici';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { scalarShape as scalar } from '../json/json.ts';
import { type Authentication, authenticationFor, checkVariableHosts } from './authenticate.ts';
import { readResponseBody } from './http_response.ts';
import { checkUrl, createGuardedAgent, parseAllowList } from './ssrf.ts';
import { type EffectContext, type EffectNode, NodeError } from './types.ts';

const MAX_REDIRECTS = LIMITS.httpRequest.maxRedirects;
const MAX_HEADERS_SIZE = LIMITS.httpRequest.maxHeaderBytes;
const MAX_RETRY_AFTER_MS = 3_600_000;
const ERROR_BODY_LENGTH = 2_000;
/** Statuses of 400 and above for which a retry may help. */
const RETRYABLE_STATUS = new Set([408, 425, 429]);
/**
 * Headers that the client itself sets (framing, routing), and the idempotency key, which is the same for every
 * attempt.
 */
const OWN_HEADERS = /^(?:host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|idempotency-key|proxy-.*)$/;
/** Headers that are not sent on to another host after a redirect. */
const CREDENTIAL_HEADERS = /^(?:authorization|cookie)$/;
/** Headers about the body, dropped when a redirect drops the body. */
const BODY_HEADERS = /^content-(?:type|encoding|language|location)$/;

const properties = z.object({
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']).default('GET'),
  url: z.string().max(8192),
  query: z.record(z.string(), z.union([scalar, z.null(), z.array(scalar)])).optional(),
  headers: z.record(z.string(), scalar).optional(),
  body: z.unknown().optional(),
  bodyType: z.enum(['json', 'form', 'raw']).default('json'),
  responseType: z.enum(['auto', 'json', 'text', 'base64']).default('auto'),
  followRedirects: z.boolean().default(true),
});
type Properties = z.infer<typeof properties>;

interface Request {
  method: Properties['method'];
  url: URL;
  headers: Record<string, string>;
  body: string | Buffer | null;
  /** What the credential adds; nothing once a redirect has left the origin that it was sent to. */
  authentication: Authentication;
}

/** The node type `httpRequest@1`. */
export const httpRequest: EffectNode<Properties> = {
  type: 'httpRequest@1',
  properties,
  async execute(context) {
    const { response, cookies } = await send(context, describeRequest(context));
    const headers = plainHeaders(response.headers, cookies);
    const body = readResponseBody(response, context.properties.responseType, context);
    const status = response.statusCode;
    if (status < 400) return { output: { status, headers, body: await body } };
    const retryAfterMs = retryAfter(textOf(response.headers['retry-after']));
    throw new NodeError('HTTP_STATUS', `${context.properties.method} ${context.properties.url.slice(0, 200)} answered ${status}.`, {
      retryable: status >= 500 || RETRYABLE_STATUS.has(status),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      details: {
        status,
        body: await body.then(
          (read) => excerpt(read, context.redact),
          () => null,
        ),
      },
    });
  },
};

/** Agents by configuration: one for each per process, so that connections are reused. */
const agents = new WeakMap<object, { agent: Dispatcher; allow: ReadonlySet<string> }>();

function guardOf(config: EffectContext<Properties>['config']): { agent: Dispatcher; allow: ReadonlySet<string> } {
  const existing = agents.get(config);
  if (existing) return existing;
  const allow = parseAllowList(config.httpAllow);
  const guard = { allow, agent: createGuardedAgent(allow, config.dnsServers) };
  agents.set(config, guard);
  return guard;
}

function describeRequest({ properties: wanted, idempotencyKey, config, credentials, variables }: EffectContext<Properties>): Request {
  const url = checkUrl(wanted.url, guardOf(config).allow);
  checkVariableHosts(variables, url);
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted.query ?? {})) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null) query.append(name, String(each));
    }
  }
  // Append as text: `url.searchParams.append` would rewrite the existing query, whose spelling may be signed.
  if (query.size > 0) url.search = url.search ? `${url.search}&${query}` : String(query);
  const { type, body } = encodeBody(wanted);
  const headers: Record<string, string> = {
    'user-agent': 'flowgres',
    accept: '*/*',
    'accept-encoding': 'gzip, br',
    ...(type ? { 'content-type': type } : {}),
    ...checkedHeaders(wanted.headers ?? {}),
    'idempotency-key': idempotencyKey,
  };
  return { method: wanted.method, url, headers, body, authentication: authenticationFor(credentials['auth'], url) };
}

function checkedHeaders(headers: Record<string, string | number | boolean>): Record<string, string> {
  const checked: Record<string, string> = Object.create(null);
  let size = 0;
  for (const [name, raw] of Object.entries(headers)) {
    const value = String(raw);
    if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(name)) throw refusedHeader(name, 'its name is not valid');
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) throw refusedHeader(name, 'its value has characters that headers cannot carry');
    if (OWN_HEADERS.test(name.toLowerCase())) throw refusedHeader(name, 'it is set by Flowgres');
    size += name.length + value.length;
    checked[name.toLowerCase()] = value;
  }
  if (size > MAX_HEADERS_SIZE) throw new NodeError('INVALID_REQUEST', `The headers are larger than ${MAX_HEADERS_SIZE} bytes.`);
  return checked;
}

function refusedHeader(name: string, reason: string): NodeError {
  return new NodeError('INVALID_REQUEST', `The header ${JSON.stringify(name.slice(0, 100))} is refused: ${reason}.`);
}

function encodeBody({ body, bodyType }: Properties): { type?: string; body: string | Buffer | null } {
  if (body === undefined || body === null) return { body: null };
  if (bodyType === 'json') return { type: 'application/json', body: JSON.stringify(body) };
  if (bodyType === 'raw') return encodeRawBody(body);
  const form = new URLSearchParams();
  const fields = z.record(z.string(), z.union([scalar, z.null(), z.array(scalar)])).safeParse(body);
  if (!fields.success) throw new NodeError('INVALID_REQUEST', 'A form body is an object of texts, numbers and arrays of them.');
  for (const [name, value] of Object.entries(fields.data)) {
    for (const each of Array.isArray(value) ? value : [value]) form.append(name, each === null ? '' : String(each));
  }
  return { type: 'application/x-www-form-urlencoded', body: form.toString() };
}

function encodeRawBody(body: unknown): { type: string; body: string | Buffer } {
  if (typeof body === 'string') return { type: 'text/plain; charset=utf-8', body };
  const bytes = z.strictObject({ base64: z.base64() }).safeParse(body);
  if (!bytes.success) throw new NodeError('INVALID_REQUEST', 'A raw body is a text, or bytes as {"base64": "…"}.');
  return { type: 'application/octet-stream', body: Buffer.from(bytes.data.base64, 'base64') };
}

/** An answer, with all cookies that it and the redirects before it have set. */
interface Answer {
  response: Dispatcher.ResponseData;
  cookies: string[];
}

async function send(context: EffectContext<Properties>, first: Request): Promise<Answer> {
  const { agent, allow } = guardOf(context.config);
  const cookies: string[] = [];
  let request = first;
  for (let redirects = 0; ; redirects += 1) {
    const response = await exchange(agent, request, context.signal);
    cookies.push(...[response.headers['set-cookie'] ?? []].flat());
    const location = response.headers['location'];
    const redirected = [301, 302, 303, 307, 308].includes(response.statusCode) && typeof location === 'string';
    if (!redirected || !context.properties.followRedirects) return { response, cookies };
    // Undici reuses the connection only when the body is read or destroyed.
    response.body.on('error', () => undefined).destroy();
    if (redirects === MAX_REDIRECTS) throw new NodeError('TOO_MANY_REDIRECTS', `More than ${MAX_REDIRECTS} redirects.`);
    request = redirect(request, response.statusCode, location, allow);
    checkVariableHosts(context.variables, request.url);
  }
}

async function exchange(agent: Dispatcher, request: Request, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
  const { url, method, body, authentication } = request;
  const headers = { ...request.headers, ...authentication.headers };
  try {
    return await agent.request({ origin: url.origin, path: pathOf(url, authentication), method, headers, body, signal });
  } catch (error) {
    signal.throwIfAborted();
    throw describeNetworkError(error, url);
  }
}

/** The path with the query, to which a credential may add. */
function pathOf(url: URL, { query }: Authentication): string {
  const added = new URLSearchParams(query);
  return `${url.pathname}${url.search}${added.size > 0 ? `${url.search ? '&' : '?'}${added}` : ''}`;
}

function redirect(from: Request, status: number, location: string, allow: ReadonlySet<string>): Request {
  const url = checkUrl(URL.parse(location, from.url.href)?.href ?? location, allow);
  const keepsBody = status === 307 || status === 308 || !(from.method === 'POST' || status === 303);
  const keepsCredentials = url.origin === from.url.origin;
  const headers = Object.fromEntries(
    Object.entries(from.headers).filter(
      ([name]) => (keepsBody || !BODY_HEADERS.test(name)) && (keepsCredentials || !CREDENTIAL_HEADERS.test(name)),
    ),
  );
  const authentication = keepsCredentials ? from.authentication : { headers: {}, query: [] };
  if (keepsBody) return { ...from, url, headers, authentication };
  return { url, headers, authentication, method: from.method === 'HEAD' ? 'HEAD' : 'GET', body: null };
}

function describeNetworkError(error: unknown, url: URL): NodeError {
  if (error instanceof NodeError) return error;
  const { code = 'UNKNOWN', message } = error as NodeJS.ErrnoException;
  if (error instanceof errors.HeadersOverflowError) return new NodeError('TOO_LARGE', 'The response headers are too large.');
  const certificate = /CERT|SELF_SIGNED|ALTNAME/.test(code);
  return new NodeError('HTTP_CONNECTION', `No answer from ${url.host}: ${message || code}`, {
    retryable: !certificate,
    details: { reason: code },
    cause: error,
  });
}

/** Headers by name. `set-cookie` is always a list, since its values may contain commas. */
function plainHeaders(headers: Dispatcher.ResponseData['headers'], cookies: string[]): Record<string, string | string[]> {
  const plain: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of Object.entries(headers)) {
    const text = textOf(value);
    if (text !== undefined) plain[name] = text;
  }
  if (cookies.length > 0) plain['set-cookie'] = cookies;
  return plain;
}

function textOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value;
}

/** Returns Retry-After in milliseconds, from seconds or a date; undefined when absent or invalid. */
function retryAfter(value: string | undefined): number | undefined {
  if (!value) return undefined;
  const wish = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wish) ? Math.min(Math.max(wish, 0), MAX_RETRY_AFTER_MS) : undefined;
}

function excerpt(body: unknown, redact: (text: string) => string): string | null {
  if (body === null) return null;
  return redact(typeof body === 'string' ? body : (JSON.stringify(body) ?? '')).slice(0, ERROR_BODY_LENGTH);
}
