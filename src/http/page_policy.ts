/** Security headers that tell browsers what answers may do. */
import { createHash } from 'node:crypto';

/**
 * Headers of answers that are data: browsers load, run and frame nothing. A page sends a policy of its own
 * instead.
 */
export const DATA_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
};

/**
 * Headers of the console's page: its own files and connections to this server only, no inline script or style,
 * no form that a browser sends by itself.
 */
export const CONSOLE_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
};

/** Policy for the files of a page: a worker script takes its policy from its own answer. */
export const FILE_POLICY = "default-src 'self'; frame-ancestors 'none'";

/**
 * Returns the policy of the Ruru page: its own files, its inline scripts by hash, and connections to this
 * server only.
 */
export function pagePolicy(html: string): string {
  const inline = [...html.matchAll(/<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(([, text]) => text!);
  const hashes = inline.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
  return [
    "default-src 'self'",
    `script-src 'self' ${hashes.join(' ')}`,
    // The editor inserts style elements for syntax highlighting.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self' data:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

/** Sends the policy with the Ruru page. */
export const PagePolicyPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresPagePolicyPlugin',
  version: '1.0.0',
  grafserv: {
    middleware: {
      async ruruHTML(next, { request }) {
        const html = await next();
        request.requestContext.node?.res.setHeader('content-security-policy', pagePolicy(html));
        return html;
      },
    },
  },
};
