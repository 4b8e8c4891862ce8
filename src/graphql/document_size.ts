/** Measures a GraphQL document in one pass over it, before anything more expensive processes it. */
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

/** Limits of one document. */
export interface DocumentLimits {
  /** Tokens: names, values and punctuation. */
  tokens: number;
  /** Fields, counting a fragment's fields at each use. */
  fields: number;
}

/** The size of one document. */
export interface DocumentSize {
  tokens: number;
  fields: number;
}

/** Introspection queries of tools have few tokens but many fields through fragments. */
const LEAST_FIELDS = 500;

/** Returns the limits for a number of tokens: a document has about one field for every two tokens. */
export const documentLimits = (tokens: number): DocumentLimits => ({ tokens, fields: Math.max(LEAST_FIELDS, Math.ceil(tokens / 2)) });

/**
 * Returns the size of a document; a document that does not parse has no fields.
 *
 * @throws SafeError TOO_LARGE as soon as a limit is exceeded
 */
export function measureDocument(query: string, limits: DocumentLimits): DocumentSize {
  const tokens = requireTokens(query, limits.tokens);
  let document: DocumentNode;
  try {
    document = parse(query, { noLocation: true });
  } catch {
    // Validation reports the syntax error with its position.
    return { tokens, fields: 0 };
  }
  return { tokens, fields: new Fields(document, limits).count() };
}

/** Throws TOO_LARGE when a known size exceeds the limits. */
export function requireSize({ tokens, fields }: DocumentSize, limits: DocumentLimits): void {
  if (tokens > limits.tokens) throw tooLarge('tokens', limits.tokens);
  if (fields > limits.fields) throw tooLarge('fields', limits.fields);
}

function tooLarge(what: string, limit: number): GraphQLError {
  return new GraphQLError(`The document has more than ${limit} ${what}.`, {
    extensions: { code: 'TOO_LARGE', hint: 'Send several smaller requests.', details: { what, limit } },
  });
}

/** Returns the number of tokens of a document; null for more than `limit`, or for deeper nesting than allowed. */
export function countTokens(query: string, limit: number): number | null {
  try {
    return requireTokens(query, limit);
  } catch {
    return null;
  }
}

/** Counts tokens, and limits the nesting of brackets, since the parser recurses for each. */
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
    // The parser reports the same invalid character.
  }
  return count;
}

const OPENING: ReadonlySet<string> = new Set([TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L]);
const CLOSING: ReadonlySet<string> = new Set([TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R]);

/** A place in the answer: how often the document asks for it, and the places inside of it. */
interface Place {
  times: number;
  inside: Map<string, Place>;
}

/**
 * Counts fields as execution visits them, expanding each fragment where it is used, until a limit is exceeded.
 * Also limits the work of validation: the rule OverlappingFieldsCanBeMerged compares n requests for the same
 * place n × n times, and adjacent fragments likewise.
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

  /** Returns the number of fields. Throws TOO_LARGE. */
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
    // Successive odd numbers add up to the square.
    this.#pairs += 2 * inside.times - 1;
    if (this.#pairs - this.#fields > LIMITS.maxRepetitions) throw tooLarge('pairs of fields for the same place', LIMITS.maxRepetitions);
    return inside;
  }

  #spread(name: string, place: Place): void {
    if (++this.#spreads > LIMITS.maxSpreads) throw tooLarge('uses of fragments', LIMITS.maxSpreads);
    const fragment = this.#fragments.get(name);
    // Validation reports a fragment that is missing or contains itself.
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
