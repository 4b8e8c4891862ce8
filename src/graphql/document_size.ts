/** How large a GraphQL document is, in one pass over it, before anything that costs more than such a pass looks at it. */
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Lexer,
  type SelectionSetNode,
  Source,
  TokenKind,
  parse,
} from 'postgraphile/graphql';
import { LIMITS } from './limits.ts';

/** What the document of a caller may have. */
export interface DocumentLimits {
  /** Words and signs. */
  tokens: number;
  /** Fields, each fragment counted wherever it is used. */
  fields: number;
}

export interface DocumentSize {
  tokens: number;
  fields: number;
}

/** What tools ask to learn the schema has few tokens and many fragments. */
const LEAST_FIELDS = 500;

/** A document without tokens to spare has a field for every second one. */
export const documentLimits = (tokens: number): DocumentLimits => ({ tokens, fields: Math.max(LEAST_FIELDS, Math.ceil(tokens / 2)) });

/** The size of a document; throws TOO_LARGE, without looking further. A document that does not parse has no fields. */
export function measureDocument(query: string, limits: DocumentLimits): DocumentSize {
  const tokens = requireTokens(query, limits.tokens);
  let document: DocumentNode;
  try {
    document = parse(query, { noLocation: true });
  } catch {
    // Validating it says what is wrong, and where.
    return { tokens, fields: 0 };
  }
  return { tokens, fields: new Fields(document, limits).count() };
}

/** Throws TOO_LARGE for a document whose size is known. */
export function requireSize({ tokens, fields }: DocumentSize, limits: DocumentLimits): void {
  if (tokens > limits.tokens) throw tooLarge('tokens', limits.tokens);
  if (fields > limits.fields) throw tooLarge('fields', limits.fields);
}

function tooLarge(what: string, limit: number): GraphQLError {
  return new GraphQLError(`The document has more than ${limit} ${what}.`, {
    extensions: { code: 'TOO_LARGE', hint: 'Send several smaller requests.', details: { what, limit } },
  });
}

/** The words and signs of a document; null for more than `limit`, and for more brackets inside of brackets than are allowed. */
export function countTokens(query: string, limit: number): number | null {
  try {
    return requireTokens(query, limit);
  } catch {
    return null;
  }
}

/** Brackets of all kinds are counted too: the parser calls itself for each. */
function requireTokens(query: string, limit: number): number {
  const lexer = new Lexer(new Source(query));
  let [count, depth] = [0, 0];
  try {
    for (let token = lexer.advance(); token.kind !== TokenKind.EOF; token = lexer.advance()) {
      count += 1;
      if (OPENING.has(token.kind)) depth += 1;
      else if (CLOSING.has(token.kind)) depth -= 1;
      if (count > limit) throw tooLarge('tokens', limit);
      if (depth > LIMITS.maxNesting) throw tooLarge('levels of brackets', LIMITS.maxNesting);
    }
  } catch (error) {
    if (error instanceof GraphQLError && error.extensions['code'] === 'TOO_LARGE') throw error;
    // Parsing it finds the same character.
  }
  return count;
}

const OPENING: ReadonlySet<string> = new Set([TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L]);
const CLOSING: ReadonlySet<string> = new Set([TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R]);

/** A place in the answer: how often it is asked for, and the places inside of it. */
interface Place {
  times: number;
  inside: Map<string, Place>;
}

/**
 * Walks through a document as executing it does, with every fragment where it is used, until a limit is passed. What
 * asks for the same place in the answer n times is compared n × n times when it is validated (the rule
 * OverlappingFieldsCanBeMerged), and so are fragments that stand beside each other.
 */
class Fields {
  readonly #document: DocumentNode;
  readonly #limits: DocumentLimits;
  readonly #fragments = new Map<string, FragmentDefinitionNode>();
  readonly #open = new Set<string>();
  #fields = 0;
  #spreads = 0;
  #aliases = 0;
  #directives = 0;
  #pairs = 0;

  constructor(document: DocumentNode, limits: DocumentLimits) {
    this.#document = document;
    this.#limits = limits;
  }

  /** Throws TOO_LARGE. */
  count(): number {
    const { definitions } = this.#document;
    if (definitions.length > LIMITS.maxDefinitions) throw tooLarge('operations and fragments', LIMITS.maxDefinitions);
    for (const definition of definitions) {
      if (definition.kind === 'FragmentDefinition') this.#fragments.set(definition.name.value, definition);
    }
    for (const definition of definitions) {
      if (definition.kind !== 'OperationDefinition' && definition.kind !== 'FragmentDefinition') continue;
      this.#countDirectives(definition.directives);
      this.#visit(definition.selectionSet, { times: 1, inside: new Map() });
    }
    return this.#fields;
  }

  #visit({ selections }: SelectionSetNode, place: Place): void {
    if (selections.length > LIMITS.maxSelections) throw tooLarge('fields in one selection', LIMITS.maxSelections);
    for (const selection of selections) {
      this.#countDirectives(selection.directives);
      if (selection.kind === 'Field') {
        if (selection.alias && ++this.#aliases > LIMITS.maxAliases) throw tooLarge('aliases', LIMITS.maxAliases);
        if (++this.#fields > this.#limits.fields) throw tooLarge('fields', this.#limits.fields);
        const inside = this.#enter(place, (selection.alias ?? selection.name).value);
        if (selection.selectionSet) this.#visit(selection.selectionSet, inside);
      } else if (selection.kind === 'InlineFragment') {
        this.#visit(selection.selectionSet, place);
      } else {
        this.#spread(selection.name.value, place);
      }
    }
  }

  #enter(place: Place, name: string): Place {
    const inside = place.inside.get(name) ?? { times: 0, inside: new Map() };
    place.inside.set(name, inside);
    inside.times += 1;
    // The sum of these is the square.
    this.#pairs += 2 * inside.times - 1;
    if (this.#pairs - this.#fields > LIMITS.maxRepetitions) throw tooLarge('pairs of fields for the same place', LIMITS.maxRepetitions);
    return inside;
  }

  #spread(name: string, place: Place): void {
    if (++this.#spreads > LIMITS.maxSpreads) throw tooLarge('uses of fragments', LIMITS.maxSpreads);
    const fragment = this.#fragments.get(name);
    // One that is not there, or that contains itself, is what validating finds.
    if (!fragment || this.#open.has(name)) return;
    this.#open.add(name);
    this.#visit(fragment.selectionSet, place);
    this.#open.delete(name);
  }

  #countDirectives(directives: readonly unknown[] | undefined): void {
    this.#directives += directives?.length ?? 0;
    if (this.#directives > LIMITS.maxDirectives) throw tooLarge('directives', LIMITS.maxDirectives);
  }
}
