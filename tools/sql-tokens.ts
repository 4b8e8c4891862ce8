/** Splits SQL into words, literals and symbols, including the bodies of functions. Leaves comments out. */

/** One token. */
export interface Token {
  kind: 'word' | 'string' | 'quoted' | 'number' | 'symbol';
  text: string;
  line: number;
  /** Inside a dollar-quoted body. */
  inBody: boolean;
}

const PATTERN = new RegExp(
  [
    String.raw`(?<space>\s+)`,
    String.raw`(?<comment>--[^\n]*|/\*[\s\S]*?\*/)`,
    String.raw`(?<dollar>\$(?<tag>[A-Za-z_]*)\$(?<body>[\s\S]*?)\$\k<tag>\$)`,
    String.raw`(?<string>[eE]'(?:[^'\\]|\\.|'')*'|[bBxXnN]?'(?:[^']|'')*')`,
    '(?<quoted>"(?:[^"]|"")*")',
    String.raw`(?<word>[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)`,
    String.raw`(?<number>\d[\w.]*)`,
    String.raw`(?<symbol>\|\||::|[\s\S])`,
  ].join('|'),
  'gy',
);

/** Returns the tokens in their order, each with its line. */
export function tokenize(sql: string, firstLine = 1, inBody = false): Token[] {
  const tokens: Token[] = [];
  let line = firstLine;
  for (const { 0: text, groups = {} } of sql.matchAll(PATTERN)) {
    if (groups['dollar'] !== undefined) {
      const body = groups['body'] ?? '';
      tokens.push(...tokenize(body, line, true));
    } else if (groups['space'] === undefined && groups['comment'] === undefined) {
      const kind = (['word', 'string', 'quoted', 'number'] as const).find((name) => groups[name] !== undefined) ?? 'symbol';
      tokens.push({ kind, text, line, inBody });
    }
    line += text.split('\n').length - 1;
  }
  return tokens;
}
