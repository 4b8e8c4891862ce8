/**
 * The access log of GraphQL and REST requests: caller, operation, outcome and duration. Records all failed requests and
 * a sample of the others, in batches after the answers are sent. No request waits for it; entries that cannot
 * be written are lost.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type pg from 'pg';
import type { GraphQLError } from 'postgraphile/graphql';
import { z } from 'zod';
import { randomBytes } from 'node:crypto';
import { sessionOf } from './auth.ts';
import type { LogError } from './errors.ts';

/** Options of {@link AccessLog}. */
export interface AccessLogOptions {
  /** The share of successful requests that is recorded, 0 to 1. */
  sample: number;
  /** Receives failures to write. */
  logError: LogError;
}

/** The body of an answer that is an error. */
const answerErrors = z.object({ errors: z.array(z.object({ extensions: z.object({ code: z.string() }) })).min(1) });

interface Request {
  operation: string | null;
  error: string | null;
}

/** What the log keeps of a request that is not one of GraphQL. */
interface Recorded {
  session: string | null;
  status: number;
  startedAt: number;
  requestId: string;
}

interface Entry extends Request {
  session: string | null;
  at: string;
  status: number;
  ms: number;
  request_id: string | null;
}

const FLUSH_MS = 1_000;
/** Most entries per second; further ones are dropped, so that a flood of requests does not flood the log. */
const MAX_ENTRIES = 1_000;
/** A GraphQL name, a file name, or a hash. */
const GIVEN = /^[\w:. -]{1,200}$/;
const NAMED = /^\s*(?:query|mutation|subscription)\s+(\w{1,200})/;

/** Collects entries and writes them to the database, a batch at a time. */
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

  /** Wraps `grafserv.maskError` to record the error that a client sees. */
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
        // maskError does not see refused documents; this plugin runs after those that refuse them.
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
            // A request refused before its document was parsed has its error in the answer only.
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

  /** Records a request that is not one of GraphQL. `startedAt` is on the clock of performance.now(). */
  record({ operation, error, session, status, startedAt, requestId }: Request & Recorded): void {
    if (!this.#isWanted(error)) return;
    const ms = Math.round(performance.now() - startedAt);
    this.#add({ operation, error, session, at: new Date().toISOString(), status, ms, request_id: requestId || null });
  }

  /** Writes the remaining entries. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  /** Records only the first error of a request. */
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
  // Drop such a value: one character that PostgreSQL cannot store would fail the whole batch.
  if (typeof given === 'string') return GIVEN.test(given) ? given : null;
  return typeof document === 'string' ? (NAMED.exec(document)?.[1] ?? null) : null;
}

/** The hash of the bearer secret; null for a malformed header, whose refusal is recorded all the same. */
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
