/**
 * Which documents are refused before they are validated and planned: too large, by a caller whose share of the event loop
 * is spent, the schema itself. Over HTTP and over a WebSocket alike.
 */
import { depthLimit } from '@graphile/depth-limit';
import type { ExecutionConfig } from 'postgraphile/grafserv';
import { type DocumentNode, GraphQLError, type GraphQLSchema, NoSchemaIntrospectionCustomRule, validate } from 'postgraphile/graphql';
import { type CpuBudget, type CpuShare, threadCpuMs } from './cpu_budget.ts';
import type { DocumentCache, PlanCaches, Validated } from './document_cache.ts';
import { type DocumentLimits, documentLimits, measureDocument, requireSize } from './document_size.ts';
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

/** What planning a document costs, by experience, for each of its tokens: taken beforehand, and made exact afterwards. */
const PLANNING_MS_PER_TOKEN = 0.15;
/** Of documents that the server knows beforehand, which are not measured. */
const CHARACTERS_PER_TOKEN = 4;

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
      },
    },
  };
}

/** What a request is executed with: measured, paid for, and with documents and plans from caches of a limited size. */
function checked(config: ExecutionConfig, request: Partial<Grafast.RequestContext>, options: DocumentOptions): ExecutionConfig {
  const { cpu, cache, plans, tokens, openIntrospection } = options;
  /** What was taken beforehand for planning. */
  let advance = 0;

  /** Runs `work`, at the caller's cost. */
  const paid = <T>(shares: readonly CpuShare[], work: () => T): T => {
    const startedAt = threadCpuMs();
    try {
      return work();
    } finally {
      cpu.charge(shares, threadCpuMs() - startedAt - advance);
      advance = 0;
    }
  };

  const validated = (query: string, limits: DocumentLimits | null, shares: readonly CpuShare[]): Validated => {
    const known = cache.get(query);
    if (known) {
      if (limits) requireSize(known.size, limits);
      return known.result;
    }
    if (limits) cpu.require(shares);
    const [result, size] = paid(shares, () => {
      const measured = limits ? measureDocument(query, limits) : { tokens: Math.ceil(query.length / CHARACTERS_PER_TOKEN), fields: 0 };
      const parsed = config.parseAndValidate(query) as Validated;
      return [parsed.document ? { document: exactDocument(config.schema, query, parsed.document) } : parsed, measured] as const;
    });
    cache.set(query, size, result);
    if (result.document) {
      plans.note(result.document, size.tokens);
      // Of many requests at once each is decided with those before it.
      advance = size.tokens * PLANNING_MS_PER_TOKEN;
      cpu.charge(shares, advance);
    }
    return result;
  };

  const planned = <A extends { schema: GraphQLSchema; document: DocumentNode }, R>(args: A, run: (args: A) => R): R =>
    // Up to the first statement that is waited for: planning is all before that.
    paid(options.callerOf(request).shares, () => run({ ...args, schema: plans.schemaFor(args.schema, args.document) }));

  return {
    ...config,
    parseAndValidate(query) {
      const { isAnonymous, shares } = options.callerOf(request);
      const limits = options.isPersisted(query) ? null : documentLimits(isAnonymous ? tokens.anonymous : tokens.token);
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
