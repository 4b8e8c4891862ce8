/** The client of the API: fetch for queries and mutations, graphql-ws for subscriptions. */
import { type Client, createClient } from 'graphql-ws';
import { setOnline } from './connection.ts';
import type { Operation } from './operation.ts';
import { currentToken, setToken } from './session.ts';

const own = import.meta.url;
/** The path that the console is served at, ending with a slash. Scripts are in `assets/` below it. */
export const BASE = new URL('..', own).pathname;

/** Milliseconds between attempts after the connection was lost: doubled with each, up to the second. */
const RETRY_MS = [200, 5_000] as const;
/** WebSocket closures that a new connection would not mend: not signed in, too many subscriptions. */
const REFUSED = [4401, 4403, 4429];

/** What the server answers instead of data; docs/reference/errors.md explains the codes. */
export class ApiError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly details: Record<string, unknown>;

  constructor(message: string, code: string, hint?: string, details: Record<string, unknown> = {}) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.hint = hint;
    this.details = details;
  }
}

interface GraphQLProblem {
  message: string;
  extensions?: { code?: string; hint?: string; details?: Record<string, unknown> };
}

interface Answer<Data> {
  data?: Data | null;
  errors?: GraphQLProblem[];
}

/**
 * Sends a query or a mutation.
 *
 * @throws ApiError the server's, or OFFLINE when it does not answer
 */
export async function request<Data, Variables>(
  operation: Operation<Data, Variables>,
  variables: NoInfer<Variables>,
  signal?: AbortSignal,
): Promise<Data> {
  const token = currentToken();
  const { data, errors } = await send<Data>({ documentId: operation.id, query: operation.text, variables }, token, signal);
  const [problem] = errors ?? [];
  if (!problem && data) return data;
  throw failure(problem, token);
}

async function send<Data>(body: unknown, token: string | null, signal: AbortSignal | undefined): Promise<Answer<Data>> {
  try {
    const response = await fetch(`${BASE}graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
    const answer = (await response.json()) as Answer<Data>;
    setOnline(true);
    return answer;
  } catch (error) {
    if (signal?.aborted) throw error;
    setOnline(false);
    throw new ApiError('The server does not answer.', 'OFFLINE', 'The page goes on by itself when it is back.');
  }
}

/** Makes an error of an answer. A token that is no longer valid signs this tab out. */
function failure(problem: GraphQLProblem | undefined, token: string | null): ApiError {
  const { message = 'The answer is empty.', extensions: { code = 'INTERNAL', hint, details } = {} } = problem ?? {};
  if (code === 'UNAUTHENTICATED' && token !== null && token === currentToken()) setToken(null);
  return new ApiError(message, code, hint, details);
}

let sockets: { client: Client; token: string | null } | undefined;

function socketClient(): Client {
  const token = currentToken();
  if (sockets?.token !== token) {
    void sockets?.client.dispose();
    const url = new URL(`${BASE}graphql`, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const client = createClient({
      url: url.href,
      connectionParams: { authorization: `Bearer ${token}` },
      // follow() connects again, from the cursor of what it has: a repeated subscription would leave a gap.
      retryAttempts: 0,
      on: { connected: () => setOnline(true) },
    });
    sockets = { client, token };
  }
  return sockets!.client;
}

/**
 * Follows a subscription, across lost connections, until it ends or `signal` aborts.
 *
 * @param next returns the variables to go on with after this answer: its cursor
 * @param receive is called with each answer, in order
 * @throws ApiError when the server refuses the operation
 */
export async function follow<Data, Variables extends Record<string, unknown>>(
  operation: Operation<Data, Variables>,
  variables: NoInfer<Variables>,
  { next, receive, signal }: { next: (data: Data) => Partial<NoInfer<Variables>>; receive: (data: Data) => void; signal: AbortSignal },
): Promise<void> {
  let current = variables;
  for (let failures = 0; !signal.aborted; ) {
    try {
      await once(operation, current, signal, (data) => {
        failures = 0;
        current = { ...current, ...next(data) };
        receive(data);
      });
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError) throw error;
      const code = (error as { code?: number } | null)?.code ?? 0;
      if (REFUSED.includes(code))
        throw new ApiError('The server refuses to follow this.', code === 4429 ? 'RATE_LIMITED' : 'UNAUTHENTICATED');
      setOnline(false);
      await pause(Math.min(RETRY_MS[0] * 2 ** failures, RETRY_MS[1]), signal);
      failures += 1;
    }
  }
}

function once<Data, Variables extends Record<string, unknown>>(
  operation: Operation<Data, Variables>,
  variables: Variables,
  signal: AbortSignal,
  receive: (data: Data) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = socketClient().subscribe<Data>(
      { query: operation.text, variables },
      {
        next: ({ data, errors }) => {
          if (errors?.[0]) reject(failure(errors[0] as GraphQLProblem, currentToken()));
          else if (data) receive(data);
        },
        error: (error) => reject(Array.isArray(error) ? failure(error[0] as GraphQLProblem, currentToken()) : error),
        complete: resolve,
      },
    );
    signal.addEventListener('abort', () => {
      stop();
      resolve();
    });
  });
}

/** Resolves after so many milliseconds, or when the browser is online again, or at once when `signal` aborts. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    const proceed = () => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener('abort', proceed, { once: true });
    addEventListener('online', proceed, { once: true, signal });
  });
}
