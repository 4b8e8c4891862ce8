/** Splits SQL into words, literals and symbols, including the bodies of functions. Leaves comments out. */
import { lex } from '../src/database/sql_lexer.ts';

/** One token. */
export interface Token {
  kind: 'word' | 'string' | 'quoted' | 'number' | 'symbol';
  text: string;
  line: number;
  /** Inside a dollar-quoted body. */
  inBody: boolean;
}

/** Returns the tokens in their order, each with its line. */
export function tokenize(sql: string, firstLine = 1, inBody = false): Token[] {
  const tokens: Token[] = [];
  let line = firstLine;
  for (const { kind, text, dollar } of lex(sql)) {
    if (dollar) tokens.push(...tokenize(dollar.body, line, true));
    else if (kind !== 'space' && kind !== 'comment' && kind !== 'dollar') tokens.push({ kind, text, line, inBody });
    line += text.split('\n').length - 1;
  }
  return tokens;
}
