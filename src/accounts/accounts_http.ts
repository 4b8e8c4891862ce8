/**
 * The account operations as plain JSON over HTTP: `POST /auth/register`, `/auth/login`, `/auth/logout`. Errors
 * have the same codes as in GraphQL.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LIMITS } from '../constants.ts';
import { parseStrictJson } from '../json/strict.ts';
import { FlowgresError } from '../errors.ts';
import { contentKind, parseMediaType } from '../http/media_type.ts';
import { type Accounts, asFlowgresError } from './accounts.ts';
import type { RequestSettings } from '../database/request_statement.ts';
import { type Reply, errorReply, jsonReply } from '../http/http_error.ts';
import { readBody } from '../http/body.ts';

const MAX_BODY = LIMITS.passwords.maxBodyBytes;

/** Options of {@link createAccountRoutes}. */
export interface AccountRoutesOptions {
  accounts: Accounts;
  /**
   * Returns the settings of a request. Throws UNAUTHENTICATED when its secret is not valid, RATE_LIMITED when
   * its caller has sent too many requests.
   */
  settingsOf(request: IncomingMessage): Promise<RequestSettings>;
  onProblem: (message: string, error: unknown) => void;
}

type Route = (accounts: Accounts, settings: RequestSettings, input: unknown) => Promise<unknown>;

const ROUTES: Record<string, Route> = {
  '/auth/register': async (accounts, settings, input) => ({ result: await accounts.register(settings, input) }),
  '/auth/login': (accounts, settings, input) => accounts.login(settings, input),
  '/auth/logout': async (accounts, settings) => ({ result: await accounts.logout(settings) }),
};

/** Makes the handler of everything under `/auth/`. */
export function createAccountRoutes(options: AccountRoutesOptions) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, headers, body } = await answer(options, request);
    response.writeHead(status, { ...headers, 'cache-control': 'no-store' });
    response.end(body);
  };
}

async function answer({ accounts, settingsOf, onProblem }: AccountRoutesOptions, request: IncomingMessage): Promise<Reply> {
  try {
    const route = ROUTES[request.url?.split('?', 1)[0] ?? ''];
    if (!route) throw new FlowgresError('NOT_FOUND', 'Not found.');
    if (request.method !== 'POST') {
      throw new FlowgresError('METHOD_NOT_ALLOWED', 'This takes POST only.', { details: { methods: ['POST'] } });
    }
    // Check the rate limit before the body is read.
    const settings = await settingsOf(request);
    return jsonReply(200, await route(accounts, settings, await readInput(request)));
  } catch (error) {
    return errorReply(asFlowgresError(error), onProblem);
  }
}

async function readInput(request: IncomingMessage): Promise<unknown> {
  const body = await readBody(request, MAX_BODY);
  if (body.length === 0) return {};
  // A form of another site can send text, but not this content type without a CORS preflight.
  if (contentKind(parseMediaType(request.headers['content-type']).type) !== 'json') {
    throw new FlowgresError('UNSUPPORTED_MEDIA_TYPE', 'The body has to be JSON.', { hint: 'Send content-type: application/json.' });
  }
  return parseStrictJson(body.toString()).value;
}
