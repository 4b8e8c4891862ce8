/**
 * Limits the size of a request: with a valid token a definition or an input fits, otherwise only a document.
 * The token is checked before the body is read, and a large body counts as several requests.
 */
import { getBodyFromRequest } from 'postgraphile/grafserv';
import type { Authenticator } from '../http/auth.ts';
import { requestError } from '../http/errors.ts';
import { LIMITS } from './limits.ts';

declare global {
  namespace Grafast {
    interface RequestContext {
      /** Size of the HTTP request's body in bytes, once it is read. */
      bodyBytes: number;
    }
  }
}

const kB = (bytes: number): string => (bytes % 2 ** 20 === 0 ? `${bytes / 2 ** 20} MiB` : `${bytes / 1024} kB`);

/** Hint of the error TOO_LARGE. */
export const BODY_HINT = `A request has at most ${kB(LIMITS.maxTokenBodyBytes)}, one without a valid token ${kB(LIMITS.maxBodyBytes)}.`;

/** Returns how many requests a body of this size counts as. */
export function requestsOf(bodyBytes: number): number {
  return Math.max(1, Math.ceil(bodyBytes / LIMITS.maxBodyBytes));
}

/** Applies the size limits when Grafserv reads a body. Refuses with TOO_LARGE (HTTP 413). */
export function bodySizePlugin(authenticator: Authenticator): GraphileConfig.Plugin {
  return {
    name: 'FlowgresBodySizePlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        processRequest: {
          // That plugin reads the body through the function that this one provides.
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
 * Limits the document itself: documents are parsed and cached, while variables may be large.
 *
 * @throws SafeError TOO_LARGE (HTTP 413)
 */
export function requireDocumentSize(query: unknown): void {
  if (typeof query !== 'string' || query.length <= LIMITS.maxDocumentBytes) return;
  throw requestError(413, 'TOO_LARGE', `A document has at most ${kB(LIMITS.maxDocumentBytes)}.`, {
    hint: 'Put definitions, inputs and other large values into variables.',
  });
}
