/**
 * The log of GraphQL requests: who called which operation, how it ended, how long it took. All that failed and a sample
 * of the others, written a batch at a time after the answers; what cannot be written is lost, and no request waits.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type pg from 'pg';
import type { GraphQLError } from 'postgraphile/graphql';
import { z } from 'zod';
import { randomBytes } from 'node:crypto';
import { sessionOf } from './auth.ts';
import type { LogError } from './errors.ts';

export interface AccessLogOptions {
  /** The part of successful requests that is written, 0 to 1. */
  sample: number;
  /** Gets a failure to write. */
  logError: LogError;
}

/** An answer that is an error. */
const answerErrors = z.object({ errors: z.array(z.object({ extensions: z.object({ code: z.string() }) })).min(1) });

interface Request {
  operation: string | null;
  error: string | null;
}

interface Entry extends Request {
  session: string | null;
  at: string;
  status: number;
  ms: number;
  request_id: string | null;
}

const FLUSH_MS = 1_000;
/** More than this in a second is not written: a flood must not become one of the log. */
const MAX_ENTRIES = 1_000;
/** A name of GraphQL, of a file, or a hash. */
const GIVEN = /^[\w:. -]{1,200}$/;
const NAMED = /^\s*(?:query|mutation|subscription)\s+(\w{1,200})/;

export class AccessLog {
  readonly #pool: pg.Pool;
  readonly #options: AccessLogOptions;
  readonly #current = new AsyncLocalStorage<Request>();
  #entries: Entry[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(pool: pg.Pool, options: AccessLogOptions) {
    this.#pool = pool;
    this.#options = options;
  }

  /** Wraps `grafserv.maskError`, which sees what a client is shown. */
  watchErrors<Shown extends { extensions?: Record<string, unknown> }>(
    mask: (error: GraphQLError) => Shown,
  ): (error: GraphQLError) => Shown {
    return (error) => {
      const shown = mask(error);
      this.#note(String(shown.extensions?.['code'] ?? 'INTERNAL'));
      return shown;
    };
  }

  readonly plugin: GraphileConfig.Plugin = {
    name: 'FlowgresAccessLogPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        // Documents that are refused never come to maskError; here, after the others that may refuse them.
        setPreset: {
          after: ['FlowgresDocumentPlugin'],
          callback: (next, event) => {
            const previous = event.getExecutionConfig;
            const note = (code: string) => this.#note(code);
            event.getExecutionConfig = async function (request) {
              const config = await previous.call(this, request);
              return {
                ...config,
                parseAndValidate(query) {
                  const result = config.parseAndValidate(query);
                  if (result.errors) note('INVALID_ARGUMENT');
                  return result;
                },
              };
            };
            return next();
          },
        },
        processGraphQLRequestBody: (next, { body }) => {
          const request = this.#current.getStore();
          if (request) request.operation = operationName(body.operationName ?? body.documentId, body.query);
          return next();
        },
        processRequest: async (next, { requestDigest }) => {
          const startedAt = performance.now();
          const request: Request = { operation: null, error: null };
          const result = await this.#current.run(request, async () => next());
          if (result && requestDigest.path === '/graphql') {
            // A request that was refused before its document was looked at has its error in the answer only.
            const error = request.error ?? (result.statusCode >= 400 ? codeIn(result) : null);
            if (!this.#isWanted(error)) return result;
            this.#add({
              ...request,
              error,
              session: requestDigest.requestContext.session ?? hashOf(requestDigest.headers['authorization']),
              at: new Date().toISOString(),
              status: result.statusCode,
              ms: Math.round(performance.now() - startedAt),
              request_id: requestDigest.headers['x-request-id'] ?? null,
            });
          }
          return result;
        },
      },
    },
  };

  /** Writes what is left. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  /** The first error of a request is the one in the log. */
  #note(code: string): void {
    const request = this.#current.getStore();
    if (request) request.error ??= code;
  }

  #isWanted(error: string | null): boolean {
    return this.#entries.length < MAX_ENTRIES && (error !== null || Math.random() < this.#options.sample);
  }

  #add(entry: Entry): void {
    this.#entries.push(entry);
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  }

  #flush(): void {
    this.#timer = undefined;
    const entries = this.#entries;
    if (!entries.length) return;
    this.#entries = [];
    this.#writing = this.#pool
      .query({ text: 'select engine.log_api_requests($1::jsonb)', values: [JSON.stringify(entries)] })
      .then(() => undefined)
      .catch((error: unknown) => {
        const errorId = randomBytes(6).toString('base64url');
        this.#options.logError({ errorId, message: 'The access log could not be written.', cause: String(error) });
      });
  }
}

function operationName(given: unknown, document: unknown): string | null {
  // One character that PostgreSQL cannot store would cost everybody's entries.
  if (typeof given === 'string') return GIVEN.test(given) ? given : null;
  return typeof document === 'string' ? (NAMED.exec(document)?.[1] ?? null) : null;
}

/** A malformed header has no session; that it was refused is in the log all the same. */
function hashOf(authorization: string | undefined): string | null {
  try {
    return sessionOf(authorization);
  } catch {
    return null;
  }
}

function codeIn(result: { type: string; buffer?: Buffer; json?: unknown; error?: unknown }): string {
  try {
    const answer = result.buffer ? JSON.parse(result.buffer.toString()) : (result.json ?? { errors: [result.error] });
    return answerErrors.parse(answer).errors[0]!.extensions.code;
  } catch {
    return 'INVALID_ARGUMENT';
  }
}
