/**
 * Documents that were validated, and their plans. What is kept is limited by its size and not by its number: a plan
 * takes about 5 kB for each token of its document.
 */
import type { DocumentNode, GraphQLError, GraphQLSchema } from 'postgraphile/graphql';
import type { DocumentSize } from './document_size.ts';

export type Validated = { document: DocumentNode; errors?: undefined } | { document?: undefined; errors: readonly GraphQLError[] };

/** Documents, about 0.5 kB for each token. */
const MAX_CACHED_TOKENS = 50_000;
/** Beside its tokens a document has comments, names and texts of any length. */
const CHARACTERS_PER_TOKEN = 16;

export interface CachedDocument {
  readonly size: DocumentSize;
  readonly result: Validated;
  readonly weight: number;
  /** Whether executing it last took so long that it must have been planned. */
  wasPlanned: boolean;
}

/** By the text of the document; those not asked for for longest go first. */
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

  /** How many tokens' worth of documents there is. */
  get weight(): number {
    return this.#weight;
  }
}

/** Documents up to so many tokens have plans of 0.6 MB at most, and clients have many of them … */
const SMALL_TOKENS = 125;
const SMALL_PLANS = 120;
/** … and of larger ones, with plans of up to 12 MB, few. */
const LARGE_PLANS = 10;

/** Grafast keeps plans per schema, and knows their number only: small and large documents are planned by two views of one schema. */
export class PlanCaches {
  readonly #schemas = new WeakMap<GraphQLSchema, { small: GraphQLSchema; large: GraphQLSchema }>();
  readonly #tokens = new WeakMap<DocumentNode, number>();

  /** Says how large a document is, before it is planned. */
  note(document: DocumentNode, tokens: number): void {
    this.#tokens.set(document, tokens);
  }

  /** How many plans there are of a schema. */
  count(schema: GraphQLSchema): number {
    const views = this.#schemas.get(schema);
    return views ? plansOf(views.small) + plansOf(views.large) : 0;
  }

  /** The view of the schema that plans a document. */
  schemaFor(schema: GraphQLSchema, document: DocumentNode): GraphQLSchema {
    let views = this.#schemas.get(schema);
    if (!views) {
      views = { small: viewOf(schema, SMALL_PLANS), large: viewOf(schema, LARGE_PLANS) };
      this.#schemas.set(schema, views);
    }
    return (this.#tokens.get(document) ?? 0) <= SMALL_TOKENS ? views.small : views.large;
  }
}

/** The same schema, with a cache of its own. */
function viewOf(schema: GraphQLSchema, plans: number): GraphQLSchema {
  const grafast = {
    ...schema.extensions.grafast,
    // Of a document: `@include` and the like make several plans of one.
    operationOperationPlansCacheMaxLength: 2,
    operationsCacheMaxLength: plans,
    queryCacheMaxLength: 2,
  };
  return Object.create(schema, { extensions: { value: { ...schema.extensions, grafast } } }) as GraphQLSchema;
}

/** Grafast has the cache under a symbol of its own; it is the one thing there that has a length. */
function plansOf({ extensions: { grafast = {} } }: GraphQLSchema): number {
  const lengths = Object.getOwnPropertySymbols(grafast).map((symbol) => (grafast as Record<symbol, { length?: number }>)[symbol]?.length);
  return lengths.reduce<number>((sum, length) => sum + (length ?? 0), 0);
}
