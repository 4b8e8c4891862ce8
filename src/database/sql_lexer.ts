/** Cuts SQL into lexemes without losing a character: joined in their order, they are the text again. */

/** What a lexeme is; `dollar` is a whole dollar-quoted text with its tags. */
export type LexemeKind = 'space' | 'comment' | 'dollar' | 'string' | 'quoted' | 'word' | 'number' | 'symbol';

/** One lexeme. */
export interface Lexeme {
  kind: LexemeKind;
  text: string;
  /** Of a dollar-quoted text: its tag, such as `$body$`, and what stands between the two. */
  dollar?: { tag: string; body: string };
}

const PATTERN = new RegExp(
  [
    String.raw`(?<space>\s+)`,
    String.raw`(?<comment>--[^\n]*|/\*[\s\S]*?\*/)`,
    String.raw`(?<dollar>(?<tag>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)(?<body>[\s\S]*?)\k<tag>)`,
    String.raw`(?<string>[eE]'(?:[^'\\]|\\.|'')*'|[bBxXnN]?'(?:[^']|'')*')`,
    '(?<quoted>"(?:[^"]|"")*")',
    String.raw`(?<word>[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)`,
    String.raw`(?<number>\d[\w.]*)`,
    String.raw`(?<symbol>\|\||::|[\s\S])`,
  ].join('|'),
  'gy',
);
const KINDS: readonly LexemeKind[] = ['space', 'comment', 'dollar', 'string', 'quoted', 'word', 'number'];

/** Returns the lexemes of a text, with white space and comments. */
export function lex(sql: string): Lexeme[] {
  return [...sql.matchAll(PATTERN)].map(({ 0: text, groups = {} }) => {
    const kind = KINDS.find((name) => groups[name] !== undefined) ?? 'symbol';
    return kind === 'dollar' ? { kind, text, dollar: { tag: groups['tag'] ?? '$$', body: groups['body'] ?? '' } } : { kind, text };
  });
}

/** Returns the lexemes that PostgreSQL reads: those of {@link lex} without white space and comments. */
export function significant(sql: string): Lexeme[] {
  return lex(sql).filter(({ kind }) => kind !== 'space' && kind !== 'comment');
}

/** Returns the name that a word or a quoted identifier stands for. */
export function nameOf({ kind, text }: Lexeme): string {
  return kind === 'quoted' ? text.slice(1, -1).replaceAll('""', '"') : text.toLowerCase();
}
