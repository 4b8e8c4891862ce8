/**
 * How large a request may be: with a valid token as large as a definition or an input that is sent, otherwise as large as
 * a document. Who asks is found out before the body is read, and a large body counts as several requests.
 */
import { getBodyFromRequest } from 'postgraphile/grafserv';
import type { Authenticator } from '../http/auth.ts';
import { requestError } from '../http/errors.ts';
import { LIMITS } from './limits.ts';

declare global {
  namespace Grafast {
    interface RequestContext {
      /** Of the body of the HTTP request, once it is read. */
      bodyBytes: number;
    }
  }
}

const kB = (bytes: number): string => (bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20} MiB` : `${bytes / 1024} kB`);

export const BODY_HINT = `A request has at most ${kB(LIMITS.maxTokenBodyBytes)}, one without a valid token ${kB(LIMITS.maxBodyBytes)}.`;

/** As how many requests one with a body of so many bytes counts. */
export function requestsOf(bodyBytes: number): number {
  return Math.max(1, Math.ceil(bodyBytes / LIMITS.maxBodyBytes));
}

export function bodySizePlugin(authenticator: Authenticator): GraphileConfig.Plugin {
  return {
    name: 'FlowgresBodySizePlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        processRequest: {
          // What that reads of a body comes from here.
          before: ['FlowgresExactJsonPlugin'],
          callback(next, { requestDigest }) {
            const { requestContext, headers } = requestDigest;
            requestDigest.getBody = async () => {
              const isKnown = await authenticator.check(headers['authorization']).then(
                (session) => session !== null,
                () => false,
              );
              const limit = isKnown ? LIMITS.maxTokenBodyBytes : LIMITS.maxBodyBytes;
              const body = await getBodyFromRequest(requestContext.node!.req, limit);
              if (body.type === 'buffer') requestContext.bodyBytes = body.buffer.length;
              return body;
            };
            return next();
          },
        },
      },
    },
  };
}

/**
 * Documents are looked through and kept, so they stay small while variables may be large.
 *
 * @throws SafeError TOO_LARGE (HTTP 413)
 */
export function requireDocumentSize(query: unknown): void {
  if (typeof query !== 'string' || query.length <= LIMITS.maxDocumentBytes) return;
  throw requestError(413, 'TOO_LARGE', `A document has at most ${kB(LIMITS.maxDocumentBytes)}.`, {
    hint: 'Put definitions, inputs and other large values into variables.',
  });
}
