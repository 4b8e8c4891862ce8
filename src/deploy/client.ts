/** The HTTP client of the command line: REST with a token, which decides the organization. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { z } from 'zod';
import { FlowgresError, reasonOf } from '../errors.ts';
import { parseJson } from '../json/json.ts';

/** Where the API is, and who asks. */
export interface Connection {
  /** The origin, such as https://flowgres.example.com. */
  url: string;
  token: string;
}

const connectionFile = z.looseObject({ graphqlUrl: z.string(), token: z.string() });
const refusal = z.object({
  error: z.looseObject({
    code: z.string(),
    message: z.string(),
    hint: z.string().optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
});

/**
 * Returns the connection: FLOWGRES_URL and FLOWGRES_TOKEN, else that of the `flowgres start` that runs with this data
 * folder. `url` replaces FLOWGRES_URL.
 *
 * @throws FlowgresError NOT_CONNECTED
 */
export async function readConnection(environment: NodeJS.ProcessEnv, url = environment['FLOWGRES_URL']): Promise<Connection> {
  const token = environment['FLOWGRES_TOKEN'];
  if (url && token) return { url: originOf(url), token };
  if (url) throw notConnected('FLOWGRES_TOKEN is not set.');
  const file = join(environment['FLOWGRES_DATA'] ?? '.flowgres', 'connection.json');
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) throw notConnected('FLOWGRES_URL is not set, and no `flowgres start` runs here.');
  const own = connectionFile.parse(JSON.parse(text));
  return { url: new URL(own.graphqlUrl).origin, token: token ?? own.token };
}

function originOf(url: string): string {
  const parsed = URL.parse(url);
  if (!parsed || !['http:', 'https:'].includes(parsed.protocol)) throw notConnected(`${url} is no address of an installation.`);
  return parsed.origin;
}

function notConnected(message: string): FlowgresError {
  return new FlowgresError('NOT_CONNECTED', message, {
    hint: 'Set FLOWGRES_URL=https://… and FLOWGRES_TOKEN=… to a token of create_api_token, which decides the organization.',
  });
}

/** Calls the operations of REST. Methods throw FlowgresError: what the server answers, or UNREACHABLE. */
export class ApiClient {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Returns the answer as JSON whose numbers keep their digits. */
  async call<T extends z.ZodType>(
    shape: T,
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<z.infer<T>> {
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await this.#send(path, {
      method,
      headers: { ...type, ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return shape.parse(parseJson(await response.text()));
  }

  /** Calls `onEvent` for the events of a run until it has ended, also over lost connections. */
  async follow(runId: string, onEvent: (event: unknown) => void): Promise<void> {
    let last = 0;
    for (;;) {
      const response = await this.#send(`/api/v1/runs/${runId}/events?after=${last}`, { headers: { accept: 'text/event-stream' } });
      if (response.status === 204) return;
      const read = async () => {
        const messages = response.body?.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
        for await (const { id, data } of messages ?? []) {
          last = Number(id);
          onEvent(parseJson(data));
        }
      };
      // A lost connection is no failure: the next request goes on after the last event.
      await read().catch(() => undefined);
    }
  }

  async #send(path: string, init: RequestInit): Promise<Response> {
    const { url, token } = this.#connection;
    const headers = { authorization: `Bearer ${token}`, ...init.headers };
    // The token goes to no other address.
    const response = await fetch(`${url}${path}`, { ...init, headers, redirect: 'error' }).catch((error: unknown) => {
      const cause = error instanceof Error ? (error.cause ?? error) : error;
      throw new FlowgresError('UNREACHABLE', `${url} does not answer: ${reasonOf(cause)}`, { hint: 'Check FLOWGRES_URL.', cause: error });
    });
    if (response.ok) return response;
    const text = await response.text();
    const parsed = refusal.safeParse(tryParse(text));
    if (!parsed.success) throw new FlowgresError('UNREACHABLE', `${url} answers ${response.status}.`, { hint: 'Check FLOWGRES_URL.' });
    const { code, message, hint, details } = parsed.data.error;
    throw new FlowgresError(code, message, { ...(hint ? { hint } : {}), ...(details ? { details } : {}) });
  }
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
