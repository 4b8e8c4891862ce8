/** Turns a webhook request into the input of a run: `{method, path, params, query, headers, body}`. */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { FlowgresError } from '../errors.ts';
import { JsonText, encodeJson } from '../json/json.ts';
import { parseStrictJson } from '../json/strict.ts';
import { contentKind, parseMediaType } from '../http/media_type.ts';
import { decodeForm } from '../http/form.ts';
import { parseMultipart } from '../http/multipart.ts';

/** The parts of an address after `/hooks/`. */
export interface WebhookAddress {
  organizationKey: string;
  /** The path as sent, without a trailing slash: `/orders/a%2Fb`. */
  path: string;
  /** The path for the lookup: each segment decoded and encoded again, so that equal paths have one form. */
  route: string;
  query: string;
}

/** Headers with secrets of the sender: the input only shows that they were present. */
const SECRET_HEADERS = new Set(['authorization', 'proxy-authorization', 'cookie']);

/**
 * Parses the address; null when no webhook can have it.
 *
 * @throws FlowgresError INVALID_TEXT when the path is not percent-encoded UTF-8
 */
export function parseAddress(url: string): WebhookAddress | null {
  const [, organizationKey, path, query = ''] = /^\/hooks\/([\w-]{22})((?:\/[^/?#]+)+)\/?(?:\?([^#]*))?$/.exec(url) ?? [];
  if (!organizationKey || !path) return null;
  const segments = path.split('/').slice(1).map(decodeSegment);
  // Refuse dot segments: clients resolve them before sending, so encoded ones aim at a later resolution.
  if (segments.some((segment) => segment === '.' || segment === '..')) return null;
  return { organizationKey, path, route: `/${segments.map(encodeURIComponent).join('/')}`, query };
}

/**
 * Returns a segment without percent-encoding; it may contain a slash.
 *
 * @throws FlowgresError INVALID_TEXT when it is not percent-encoded UTF-8, or contains U+0000
 */
export function decodeSegment(segment: string): string {
  try {
    return refuseNul(decodeURIComponent(segment));
  } catch (error) {
    if (error instanceof FlowgresError) throw error;
    throw new FlowgresError('INVALID_TEXT', 'The path is not percent-encoded UTF-8.', { hint: 'Write % itself as %25.' });
  }
}

/**
 * Returns the trigger's input; with `rawBody`, the bytes of the body as base64, where `keepsRawBody`. Copies
 * the text of a JSON body, so that its numbers keep all digits.
 */
export async function describeRequest(
  request: IncomingMessage,
  address: WebhookAddress,
  params: Record<string, string>,
  body: Buffer,
  keepsRawBody = false,
): Promise<JsonText> {
  const head = JSON.stringify({
    method: request.method,
    path: address.path,
    params,
    query: parseFields(address.query),
    headers: describeHeaders(request.headers),
    ...(keepsRawBody ? { rawBody: body.toString('base64') } : {}),
  });
  return new JsonText(`${head.slice(0, -1)},"body":${encodeJson(await parseBody(body, request.headers['content-type']))}}`);
}

/** Returns the input of a request to an address without a path: `{method, query, headers, body}`. */
export async function describeCall(request: IncomingMessage, query: string, body: Buffer): Promise<JsonText> {
  const head = JSON.stringify({ method: request.method, query: parseFields(query), headers: describeHeaders(request.headers) });
  return new JsonText(`${head.slice(0, -1)},"body":${encodeJson(await parseBody(body, request.headers['content-type']))}}`);
}

/**
 * Returns what must be equal for two deliveries with the same idempotency key. Excludes headers, which senders
 * change between attempts.
 */
export function fingerprint(request: IncomingMessage, address: WebhookAddress, body: Buffer): string {
  return createHash('sha256').update(`${request.method} ${address.path}?${address.query}\n`).update(body).digest('hex');
}

async function parseBody(body: Buffer, contentType: string | undefined): Promise<unknown> {
  if (!body.length) return null;
  const { type, charset } = parseMediaType(contentType);
  if (type === 'multipart/form-data') return fieldsOf(await parseMultipart(body, contentType!));
  switch (contentKind(type)) {
    case 'json':
      return parseStrictJson(decode(body, 'utf-8'));
    case 'form':
      return fieldsOf(decodeForm(body, charset));
    case 'text':
      return refuseNul(decode(body, charset));
    default:
      return { base64: body.toString('base64') };
  }
}

function decode(body: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset, { fatal: true }).decode(body);
  } catch {
    throw new FlowgresError('INVALID_TEXT', `The body is not valid ${charset}.`);
  }
}

function parseFields(query: string): Record<string, unknown> {
  return fieldsOf(new URLSearchParams(refuseNul(query)));
}

/** Returns the fields of a query or form; a repeated field becomes an array. */
function fieldsOf<Value>(pairs: Iterable<[string, Value]>): Record<string, Value | Value[]> {
  // Without a prototype, so that `__proto__` is an ordinary name.
  const fields: Record<string, Value | Value[]> = Object.create(null);
  for (const [name, value] of pairs) {
    if (typeof value === 'string') refuseNul(value);
    const before = fields[refuseNul(name)];
    fields[name] = before === undefined ? value : ([before, value].flat() as Value[]);
  }
  return fields;
}

function describeHeaders(headers: IncomingMessage['headers']): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, SECRET_HEADERS.has(name) ? '[redacted]' : value]));
}

function refuseNul(text: string): string {
  if (text.includes('\0')) throw new FlowgresError('INVALID_TEXT', 'A text contains the character \\u0000.');
  return text;
}
