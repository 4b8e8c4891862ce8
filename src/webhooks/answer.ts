/** The answer of a webhook, by its response mode and the state of its run. */
import { z } from 'zod';
import type { RunAnswer, RunResponse } from '../engine/engine.ts';
import { encodeJson, scalarShape } from '../json/json.ts';
import { type Reply, jsonReply } from '../http/http_error.ts';

/** When a webhook is answered, and with what. */
export type ResponseMode = 'immediately' | 'lastNode' | 'respondNode';

const BODYLESS = new Set([204, 205, 304]);
/**
 * Headers that an answer may set, which describe the answer only. Others affect more than it, or are
 * instructions for proxies.
 */
const ALLOWED_HEADERS =
  /^(?:content-type|location|cache-control|content-disposition|content-language|etag|last-modified|link|retry-after|x-.*)$/;
/** Headers for proxies, headers that proxies set about clients, and security policies of browsers. */
const RESERVED_HEADERS =
  /^x-(?:accel-.*|sendfile.*|lighttpd-.*|litespeed-.*|reproxy-.*|envoy-.*|forwarded.*|real-ip|original-.*|rewrite-url|client-ip|cluster-client-ip|frame-options|content-type-options|content-security-policy.*|webkit-csp.*|xss-protection|permitted-cross-domain-policies|dns-prefetch-control|download-options|ua-compatible)$/;
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

const statusShape = scalarShape.transform(Number).pipe(z.number().int().min(200).max(599));
const headersShape = z.record(z.string(), z.unknown());
const headerShape = scalarShape.transform(String);
const bytesShape = z.strictObject({ base64: z.base64() });

/**
 * Returns the answer for the run's state; undefined while a later state may give one.
 *
 * @param leftMs how long the caller may still wait; a waiting run that cannot continue in that time is answered
 *   at once
 */
export function replyFor(mode: ResponseMode, run: RunAnswer, leftMs: number): Reply | undefined {
  if (mode === 'immediately') return accepted(run.runId);
  if (mode === 'respondNode' && run.response) return respond(run.response, run.runId);
  switch (run.status) {
    case 'running':
      return undefined;
    case 'waiting':
      return run.continuesInMs === undefined || (run.continuesInMs !== null && run.continuesInMs < leftMs)
        ? undefined
        : accepted(run.runId);
    case 'paused':
      return accepted(run.runId);
    default:
      return mode === 'respondNode' && run.status === 'success' ? runReply(200, run.runId) : lastNode(run);
  }
}

/** The answer 202, while the run continues. */
export function accepted(runId: string): Reply {
  return runReply(202, runId);
}

function lastNode(run: RunAnswer): Reply {
  if (run.status === 'success') {
    const headers = { 'content-type': 'application/json; charset=utf-8', ...runHeader(run.runId) };
    return { status: 200, headers, body: run.output?.text ?? 'null' };
  }
  const error = run.error ?? { code: 'CANCELED', message: 'The run was canceled.' };
  return jsonReply(500, { error, runId: run.runId }, runHeader(run.runId));
}

function runReply(status: number, runId: string): Reply {
  return jsonReply(status, { runId }, runHeader(runId));
}

function runHeader(runId: string): Record<string, string> {
  return { 'flowgres-run-id': runId };
}

/** Returns the answer that respondToWebhook defines, as far as HTTP can express it. */
function respond(response: RunResponse, runId: string): Reply {
  const status = statusShape.safeParse(response.status).data ?? 500;
  const { body, type } = encodeBody(response.body);
  return {
    status,
    headers: {
      'content-type': type,
      ...plainHeaders(response.headers),
      // Sandbox: a page of a tenant must not act with the origin of this server.
      'content-security-policy': 'sandbox',
      ...runHeader(runId),
    },
    body: BODYLESS.has(status) ? null : body,
  };
}

function plainHeaders(headers: unknown): Record<string, string> {
  const fields = headersShape.safeParse(headers).data ?? {};
  return Object.fromEntries(
    Object.entries(fields)
      // The engine fails nodes with invalid headers; drop one that is here nevertheless, and keep the others.
      .map(([name, value]) => [name.toLowerCase(), headerShape.safeParse(value).data] as const)
      .filter((field): field is readonly [string, string] => field[1] !== undefined && HEADER_VALUE.test(field[1]))
      .filter(([name]) => HEADER_NAME.test(name) && ALLOWED_HEADERS.test(name) && !RESERVED_HEADERS.test(name)),
  );
}

function encodeBody(body: unknown): { type: string; body: string | Buffer } {
  if (typeof body === 'string') return { type: 'text/plain; charset=utf-8', body };
  const bytes = bytesShape.safeParse(body);
  if (bytes.success) return { type: 'application/octet-stream', body: Buffer.from(bytes.data.base64, 'base64') };
  return { type: 'application/json; charset=utf-8', body: encodeJson(body) };
}
