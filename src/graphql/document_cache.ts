/**
 * Caches validated documents and their Grafast plans. The caches are limited by size, not by number: a plan
 * takes about 5 kB for each token of its document.
 */
import type { DocumentNode, GraphQLError, GraphQLSchema } from 'postgraphile/graphql';
import type { DocumentSize } from './document_size.ts';

/** The result of parsing and validating a document. */
export type Validated = { document: DocumentNode; errors?: undefined } | { document?: undefined; errors: readonly GraphQLError[] };

/** Tokens of all cached documents; each takes about 0.5 kB. */
const MAX_CACHED_TOKENS = 50_000;
/** Characters that count as one token: comments, names and texts of a document can be long. */
const CHARACTERS_PER_TOKEN = 16;

/** A cached document. */
export interface CachedDocument {
  readonly size: DocumentSize;
  readonly result: Validated;
  readonly weight: number;
  /** Whether its last execution took so long that it must have been planned. */
  wasPlanned: boolean;
}

/** Validated documents by their text. Evicts those that were used least recently. */
export class DocumentCache {
  readonly #entries = new Map<string, CachedDocument>();
  #weight = 0;

  get(query: string): CachedDocument | undefined {
    const entry = this.#entries.get(query);
    if (!entry) return undefined;
    this.#entries.delete(query);
    this.#entries.set(query, entry);
    return entry;
  }

  set(query: string, size: DocumentSize, result: Validated): CachedDocument {
    const weight = Math.max(1, size.tokens, query.length / CHARACTERS_PER_TOKEN);
    const added = { size, result, weight, wasPlanned: false };
    this.#entries.set(query, added);
    this.#weight += weight;
    for (const [oldest, entry] of this.#entries) {
      if (this.#weight <= MAX_CACHED_TOKENS) break;
      this.#entries.delete(oldest);
      this.#weight -= entry.weight;
    }
    return added;
  }

  /** The tokens of all cached documents. */
  get weight(): number {
    return this.#weight;
  }
}

/** Documents up to this many tokens have plans of at most 0.6 MB, and many of these plans are kept. */
const SMALL_TOKENS = 125;
const SMALL_PLANS = 120;
/** Larger documents have plans of up to 12 MB, and this many of them are kept. */
const LARGE_PLANS = 10;

/**
 * Separates the plans of small and large documents: Grafast keeps plans per schema and limits only their
 * number, so each size is planned by its own view of the schema.
 */
export class PlanCaches {
  readonly #schemas = new WeakMap<GraphQLSchema, { small: GraphQLSchema; large: GraphQLSchema }>();
  readonly #tokens = new WeakMap<DocumentNode, number>();

  /** Records how large a document is, before it is planned. */
  note(document: DocumentNode, tokens: number): void {
    this.#tokens.set(document, tokens);
  }

  /** Returns how many plans of a schema are cached. */
  count(schema: GraphQLSchema): number {
    const views = this.#schemas.get(schema);
    return views ? plansOf(views.small) + plansOf(views.large) : 0;
  }

  /** Returns the view of the schema that plans the document. */
  schemaFor(schema: GraphQLSchema, document: DocumentNode): GraphQLSchema {
    let views = this.#schemas.get(schema);
    if (!views) {
      views = { small: viewOf(schema, SMALL_PLANS), large: viewOf(schema, LARGE_PLANS) };
      this.#schemas.set(schema, views);
    }
    return (this.#tokens.get(document) ?? 0) <= SMALL_TOKENS ? views.small : views.large;
  }
}

/** Returns a copy of the schema object with a plan cache of its own. */
function viewOf(schema: GraphQLSchema, plans: number): GraphQLSchema {
  const grafast = {
    ...schema.extensions.grafast,
    // Plans of one document; `@include` and similar directives need several.
    operationOperationPlansCacheMaxLength: 2,
    operationsCacheMaxLength: plans,
    queryCacheMaxLength: 2,
  };
  return Object.create(schema, { extensions: { value: { ...schema.extensions, grafast } } }) as GraphQLSchema;
}

/**
 * Returns the number of cached plans. Grafast stores the cache under a symbol that it does not export; it is
 * the only value there with a length.
 */
function plansOf({ extensions: { grafast = {} } }: GraphQLSchema): number {
  const lengths = Object.getOwnPropertySymbols(grafast).map((symbol) => (grafast as Record<symbol, { length?: number }>)[symbol]?.length);
  return lengths.reduce<number>((sum, length) => sum + (length ?? 0), 0);
}
