/**
 * Which documents are refused before they are validated and planned: too large, by a caller whose share of the event loop
 * is spent, the schema itself. Over HTTP and over a WebSocket alike.
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

export interface DocumentOptions {
  /** Whether anybody may read the schema, or only requests with a token. */
  openIntrospection: boolean;
  /** Words and signs that a document may have, of a request with a token and of one without. */
  tokens: { token: number; anonymous: number };
  /** Documents that the server knows beforehand: these may be as large as they are. */
  isPersisted(query: string): boolean;
  cpu: CpuBudget;
  cache: DocumentCache;
  plans: PlanCaches;
  /** Whose share of the event loop a request takes, and whether it is anonymous. */
  callerOf(request: Partial<Grafast.RequestContext>): { isAnonymous: boolean; shares: readonly CpuShare[] };
}

/** What validating and planning cost, by experience, for each token of a document. */
const MS_PER_TOKEN = 0.1;
/** What it costs to see that a document is too large. */
const MS_OF_TOO_LARGE = 2;
/** Of documents that the server knows beforehand, which are not measured. */
const CHARACTERS_PER_TOKEN = 4;
/** Of texts and comments, which are no tokens. */
const CHARACTERS_OF_TOKEN = 16;
/** A document whose plan is there takes less, however long it is. */
const LEAST_PLANNING_MS = 8;

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
              // What clients such as Ruru ask to learn the schema.
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
          // First of all, who asks: a document may be named instead of sent.
          await next();
          const { query } = body;
          if (typeof query === 'string') await awaitAdmission(query, contextOf(request, graphqlWsContext), options);
        },
      },
    },
  };
}

/** What Grafserv makes of a request a moment later. */
function contextOf(request: NormalizedRequestDigest | undefined, socket: unknown): Partial<Grafast.RequestContext> {
  if (request) return { ...request.requestContext, http: request };
  const { extra, connectionParams } = socket as { extra: { request: IncomingMessage }; connectionParams?: Record<string, unknown> };
  return { ws: { request: extra.request, connectionParams } } as Partial<Grafast.RequestContext>;
}

/**
 * Waits until the document may be validated and planned, where that has to be done. A document that the server knows has
 * to be planned again when its plan had to go, or when it takes another one for other variables.
 */
async function awaitAdmission(query: string, request: Partial<Grafast.RequestContext>, options: DocumentOptions): Promise<void> {
  const { cpu, cache } = options;
  const { isAnonymous, shares } = options.callerOf(request);
  if (!needsAdmission(query, options)) return;
  const ms = await cpu.admit(shares, () => estimate(query, cache.get(query)?.size, tokensOf(isAnonymous, options)));
  // Meanwhile another request may have done it.
  if (!needsAdmission(query, options)) cpu.settle(shares, ms, 0);
}

function needsAdmission(query: string, { cache, isPersisted }: DocumentOptions): boolean {
  const known = cache.get(query);
  return known ? known.wasPlanned : !isPersisted(query);
}

const tokensOf = (isAnonymous: boolean, { tokens }: DocumentOptions) => (isAnonymous ? tokens.anonymous : tokens.token);

/** How long it takes to validate and plan a document, in milliseconds of CPU. */
function estimate(query: string, known: DocumentSize | undefined, limit: number): number {
  const tokens = known?.tokens ?? countTokens(query, limit);
  return tokens === null ? MS_OF_TOO_LARGE : MS_PER_TOKEN * Math.max(tokens, query.length / CHARACTERS_OF_TOKEN);
}

/** What a request is executed with: measured, paid for, and with documents and plans from caches of a limited size. */
function checked(config: ExecutionConfig, request: Partial<Grafast.RequestContext>, options: DocumentOptions): ExecutionConfig {
  const { cpu, cache, plans, openIntrospection } = options;
  let document: CachedDocument | undefined;
  /** What was taken beforehand, and what has been used of it. */
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
      // Up to the first statement that is waited for: planning is all before that.
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

/** A document that is too large is answered as one that is wrong; who has to wait is told so by the status. */
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
