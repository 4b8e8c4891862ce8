/**
 * Refuses documents before they are validated and planned: too large ones, those of a caller whose share of the
 * event loop is spent, and introspection without a token where it is closed. Applies to HTTP and WebSockets.
 */
import type { IncomingMessage } from 'node:http';
import { depthLimit } from '@graphile/depth-limit';
import type { ExecutionConfig, NormalizedRequestDigest } from 'postgraphile/grafserv';
import { type DocumentNode, GraphQLError, type GraphQLSchema, NoSchemaIntrospectionCustomRule, validate } from 'postgraphile/graphql';
import { type CpuBudget, type CpuShare, threadCpuMs } from '../limits/cpu_budget.ts';
import type { CachedDocument, DocumentCache, PlanCaches, Validated } from './document_cache.ts';
import { type DocumentLimits, type DocumentSize, countTokens, documentLimits, measureDocument, requireSize } from './document_size.ts';
import { replaceError } from './errors.ts';
import { exactDocument } from './exact_json.ts';
import { LIMITS } from './limits.ts';

/** Options of {@link documentPlugin}. */
export interface DocumentOptions {
  /** Whether anybody may read the schema, or only requests with a token. */
  openIntrospection: boolean;
  /** Tokens that a document may have, of a request with a bearer token and of one without. */
  tokens: { token: number; anonymous: number };
  /** Whether a document is a persisted operation; the limits of size do not apply to those. */
  isPersisted(query: string): boolean;
  cpu: CpuBudget;
  cache: DocumentCache;
  plans: PlanCaches;
  /** Returns the shares of the event loop that a request uses, and whether it is anonymous. */
  callerOf(request: Partial<Grafast.RequestContext>): { isAnonymous: boolean; shares: readonly CpuShare[] };
}

/** Milliseconds of CPU for validating and planning, per token of a document, as measured. */
const MS_PER_TOKEN = 0.1;
/** Milliseconds of CPU for finding that a document is too large. */
const MS_OF_TOO_LARGE = 2;
/** Characters per token of persisted operations, which are not measured. */
const CHARACTERS_PER_TOKEN = 4;
/** Characters of texts and comments that count as one token. */
const CHARACTERS_OF_TOKEN = 16;
/** Planning at least takes this many milliseconds; a shorter execution had a cached plan. */
const LEAST_PLANNING_MS = 8;

/** Checks each document before it is validated and planned, and caches the result. */
export function documentPlugin(options: DocumentOptions): GraphileConfig.Plugin {
  return {
    name: 'FlowgresDocumentPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        setPreset(next, event) {
          event.validationRules.push(
            depthLimit({
              maxDepth: LIMITS.maxDepth,
              revealDetails: true,
              // The depth of the introspection query of clients such as Ruru.
              maxIntrospectionDepth: 14,
              maxDepthByFieldCoordinates: { '__Type.ofType': 9 },
            }),
          );
          const previous = event.getExecutionConfig;
          event.getExecutionConfig = async function (request) {
            const config = await previous.call(this, request);
            return checked(config, request, options);
          };
          return next();
        },
        async processGraphQLRequestBody(next, { body, request, graphqlWsContext }) {
          // Other plugins run first: they find the caller, and replace the hash of a persisted operation by its
          // document.
          await next();
          const { query } = body;
          if (typeof query === 'string') await awaitAdmission(query, contextOf(request, graphqlWsContext), options);
        },
      },
    },
  };
}

/** The request context as Grafserv builds it later. */
function contextOf(request: NormalizedRequestDigest | undefined, socket: unknown): Partial<Grafast.RequestContext> {
  if (request) return { ...request.requestContext, http: request };
  const { extra, connectionParams } = socket as { extra: { request: IncomingMessage }; connectionParams?: Record<string, unknown> };
  return { ws: { request: extra.request, connectionParams } } as Partial<Grafast.RequestContext>;
}

/**
 * Waits until the document may be validated and planned, where it has to be. A known document is planned again
 * when its plan was evicted, or when it needs another plan for other variables.
 */
async function awaitAdmission(query: string, request: Partial<Grafast.RequestContext>, options: DocumentOptions): Promise<void> {
  const { cpu, cache } = options;
  const { isAnonymous, shares } = options.callerOf(request);
  if (!needsAdmission(query, options)) return;
  const ms = await cpu.admit(shares, () => estimate(query, cache.get(query)?.size, tokensOf(isAnonymous, options)));
  // Another request may have planned it meanwhile.
  if (!needsAdmission(query, options)) cpu.settle(shares, ms, 0);
}

function needsAdmission(query: string, { cache, isPersisted }: DocumentOptions): boolean {
  const known = cache.get(query);
  return known ? known.wasPlanned : !isPersisted(query);
}

const tokensOf = (isAnonymous: boolean, { tokens }: DocumentOptions) => (isAnonymous ? tokens.anonymous : tokens.token);

/** Estimates how long validating and planning a document takes, in milliseconds of CPU. */
function estimate(query: string, known: DocumentSize | undefined, limit: number): number {
  const tokens = known?.tokens ?? countTokens(query, limit);
  return tokens === null ? MS_OF_TOO_LARGE : MS_PER_TOKEN * Math.max(tokens, query.length / CHARACTERS_OF_TOKEN);
}

/**
 * Returns the execution config for a request: it measures documents, charges their CPU time, and uses caches of
 * limited size.
 */
function checked(config: ExecutionConfig, request: Partial<Grafast.RequestContext>, options: DocumentOptions): ExecutionConfig {
  const { cpu, cache, plans, openIntrospection } = options;
  let document: CachedDocument | undefined;
  /** The estimate that was charged in advance, and the CPU time used so far. */
  let [estimatedMs, usedMs] = [0, 0];
  let isFree = false;

  const pay = (shares: readonly CpuShare[]) => {
    if (!isFree) cpu.settle(shares, estimatedMs, usedMs);
    [estimatedMs, usedMs] = [0, 0];
  };

  const measured = <T>(work: () => T): T => {
    const startedAt = threadCpuMs();
    try {
      return work();
    } finally {
      usedMs += threadCpuMs() - startedAt;
    }
  };

  const validated = (query: string, limits: DocumentLimits | null, shares: readonly CpuShare[]): Validated => {
    document = cache.get(query);
    if (document) {
      if (limits) requireSize(document.size, limits);
      if (document.wasPlanned) estimatedMs = estimate(query, document.size, document.size.tokens);
      return document.result;
    }
    isFree = limits === null;
    document = measured(() => {
      const size = limits ? measureDocument(query, limits) : { tokens: Math.ceil(query.length / CHARACTERS_PER_TOKEN), fields: 0 };
      const parsed = config.parseAndValidate(query) as Validated;
      const result = parsed.document ? { document: exactDocument(config.schema, query, parsed.document) } : parsed;
      return cache.set(query, size, result);
    });
    estimatedMs = estimate(query, document.size, document.size.tokens);
    if (document.result.document) plans.note(document.result.document, document.size.tokens);
    else pay(shares);
    return document.result;
  };

  const planned = <A extends { schema: GraphQLSchema; document: DocumentNode }, R>(args: A, run: (args: A) => R): R => {
    const before = usedMs;
    try {
      // Measure until execution first waits for a statement: planning is complete by then.
      return measured(() => run({ ...args, schema: plans.schemaFor(args.schema, args.document) }));
    } finally {
      const tokens = document?.size.tokens ?? 0;
      const isPlanned = usedMs - before > Math.max(LEAST_PLANNING_MS, (tokens * MS_PER_TOKEN) / 3);
      if (document) document.wasPlanned = isPlanned;
      if (isPlanned || estimatedMs > 0) pay(options.callerOf(request).shares);
      usedMs = 0;
    }
  };

  return {
    ...config,
    parseAndValidate(query) {
      const { isAnonymous, shares } = options.callerOf(request);
      const limits = options.isPersisted(query) ? null : documentLimits(tokensOf(isAnonymous, options));
      const result = refusable(() => validated(query, limits, shares));
      if (result.errors) return { errors: result.errors.map(withCode) };
      const closed = isAnonymous && !openIntrospection ? introspectionErrors(config.schema, result.document) : [];
      return closed.length > 0 ? { errors: closed.map(withCode) } : result;
    },
    execute: ((args: Parameters<ExecutionConfig['execute']>[0]) =>
      planned(args, (each) => config.execute(each))) as ExecutionConfig['execute'],
    subscribe: ((args: Parameters<ExecutionConfig['subscribe']>[0]) =>
      planned(args, (each) => config.subscribe(each))) as ExecutionConfig['subscribe'],
  };
}

/**
 * Turns the refusal of a document into a validation error. A refusal that asks the client to wait is thrown, so
 * that the HTTP status shows it.
 */
function refusable(work: () => Validated): Validated {
  try {
    return work();
  } catch (error) {
    if (error instanceof GraphQLError) return { errors: [error] };
    throw error;
  }
}

function introspectionErrors(schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] {
  return validate(schema, document, [NoSchemaIntrospectionCustomRule]);
}

function withCode(error: GraphQLError): GraphQLError {
  return replaceError(error, error.message, { code: 'INVALID_ARGUMENT', ...error.extensions });
}
