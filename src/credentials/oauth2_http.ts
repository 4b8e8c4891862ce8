/** `GET /oauth2/callback`: where OAuth2 providers send the browser of who has logged in back to. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { FlowgresError } from '../errors.ts';
import { type Reply, errorReply } from '../http/http_error.ts';
import type { Authorizations } from './authorizations.ts';

/** Options of {@link createOauth2Route}. */
export interface Oauth2RouteOptions {
  authorizations: Authorizations;
  /** Throws RATE_LIMITED when the caller has sent too many requests. */
  admit(request: IncomingMessage): Promise<unknown>;
  onProblem: (message: string, error: unknown) => void;
}

/** The statuses of what can go wrong with a login, beside those of all requests. */
const STATUSES = {
  INVALID_URL: 400,
  OAUTH2_REFUSED: 403,
  SSRF_BLOCKED: 403,
  OAUTH2_UNAVAILABLE: 502,
  VAULT_UNAVAILABLE: 503,
  VAULT_KEY_UNKNOWN: 503,
  ENVELOPE_INVALID: 503,
};

/** Makes the handler of everything under `/oauth2/`. */
export function createOauth2Route(options: Oauth2RouteOptions) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, headers, body } = await answer(options, request);
    // The address has the code: it stays in no cache, and goes to no other page.
    response.writeHead(status, { ...headers, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
    response.end(body);
  };
}

async function answer({ authorizations, admit, onProblem }: Oauth2RouteOptions, request: IncomingMessage): Promise<Reply> {
  try {
    const [path, query = ''] = (request.url ?? '').split('?', 2);
    if (path !== '/oauth2/callback') throw new FlowgresError('NOT_FOUND', 'Not found.');
    if (request.method !== 'GET') {
      throw new FlowgresError('METHOD_NOT_ALLOWED', 'This takes GET only.', { details: { methods: ['GET'] } });
    }
    await admit(request);
    const { name, data } = await authorizations.complete(new URLSearchParams(query));
    const lasting = data['refreshToken'] ? '' : '\nThe provider gave no refresh token: somebody has to log in again when the token ends.';
    return {
      status: 200,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: `The credential ${name} is connected. You can close this page.${lasting}\n`,
    };
  } catch (error) {
    return errorReply(error, onProblem, STATUSES);
  }
}
