/**
 * A small client of the API: fetch for queries and mutations, graphql-ws for subscriptions. Copy it; nothing in it is
 * particular to this repository.
 */
import { type Client, createClient } from 'graphql-ws';

/** A document with the types of its variables and of what it answers. */
export interface Operation<Data, Variables> {
  text: string;
  /** Never there: it carries the types. */
  readonly types?: (variables: Variables) => Data;
}

/** What the server answers instead of data; docs/reference/errors.md explains the codes. */
export class FlowgresApiError extends Error {
  readonly code: string;
  readonly details: Record<string, unknown>;
  /** Name it when you ask for help: the server's log knows it. */
  readonly requestId: string | null;

  constructor(message: string, code: string, details: Record<string, unknown>, requestId: string | null) {
    super(message);
    this.code = code;
    this.details = details;
    this.requestId = requestId;
  }
}

interface Answer<Data> {
  data?: Data | null;
  errors?: { message: string; extensions?: { code?: string; details?: Record<string, unknown> } }[];
}

export class FlowgresClient {
  readonly #url: string;
  readonly #token: string;
  readonly #sockets: Client;

  /** @param url such as https://flowgres.example.com/graphql  @param token from create_api_token */
  constructor(url: string, token: string) {
    this.#url = url;
    this.#token = token;
    this.#sockets = createClient({
      url: url.replace(/^http/, 'ws'),
      connectionParams: { authorization: `Bearer ${token}` },
      // A lost connection is not hidden: what was missed has to be asked for, see follow().
      retryAttempts: 0,
    });
  }

  /** A query or a mutation. Waits and tries again when the server says that it was too much. */
  async request<Data, Variables>(operation: Operation<Data, Variables>, variables: NoInfer<Variables>): Promise<Data> {
    for (let attempt = 1; ; attempt += 1) {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${this.#token}` },
        body: JSON.stringify({ query: operation.text, variables }),
      });
      const { data, errors } = (await response.json()) as Answer<Data>;
      if (!errors?.[0] && data) return data;
      const { message = 'No answer.', extensions: { code = 'INTERNAL', details = {} } = {} } = errors?.[0] ?? {};
      if (code !== 'RATE_LIMITED' || attempt === 5) {
        throw new FlowgresApiError(message, code, details, response.headers.get('x-request-id'));
      }
      await new Promise((resolve) => setTimeout(resolve, Number(details['retryAfterMs'])));
    }
  }

  /** A subscription; ends when the server ends it, and throws when the connection is lost. */
  subscribe<Data, Variables extends Record<string, unknown>>(
    operation: Operation<Data, Variables>,
    variables: NoInfer<Variables>,
  ): AsyncIterable<Data> {
    const answers = this.#sockets.iterate<Data>({ query: operation.text, variables });
    return {
      async *[Symbol.asyncIterator]() {
        for await (const { data, errors } of answers) {
          const [error] = errors ?? [];
          if (error) throw new FlowgresApiError(error.message, String(error.extensions?.['code']), {}, null);
          if (data) yield data;
        }
      },
    };
  }

  /**
   * A subscription that goes on after a lost connection. `next` gives the variables to begin anew with, made of the last
   * answer: its cursor.
   */
  async *follow<Data, Variables extends Record<string, unknown>>(
    operation: Operation<Data, Variables>,
    variables: NoInfer<Variables>,
    next: (data: Data) => Partial<NoInfer<Variables>>,
  ): AsyncGenerator<Data> {
    let current = variables;
    for (let failures = 0; ; ) {
      try {
        for await (const data of this.subscribe(operation, current)) {
          failures = 0;
          current = { ...current, ...next(data) };
          yield data;
        }
        return;
      } catch (error) {
        failures += 1;
        if (error instanceof FlowgresApiError || isRefusal(error) || failures > 10) throw error;
        await new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** failures, 10_000)));
      }
    }
  }

  async close(): Promise<void> {
    await this.#sockets.dispose();
  }
}

/** Errors of the operation come as a list; 4401 and 4429 are the server's "not you" and "not so many". */
function isRefusal(error: unknown): boolean {
  return Array.isArray(error) || [4401, 4429].includes((error as { code?: number } | null)?.code ?? 0);
}
