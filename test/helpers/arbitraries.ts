/** Random values for property tests. */
import fc from 'fast-check';

/** Texts that PostgreSQL can store: without \u0000 and lone surrogates. */
export const storable = (texts: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  texts.map((text) => text.replaceAll('\u0000', '').toWellFormed());

/** Any JSON that PostgreSQL can store. */
export const json: fc.Arbitrary<unknown> = fc.jsonValue({ maxDepth: 4 }).map((value) =>
  JSON.parse(
    JSON.stringify(value)
      .replaceAll('\\u0000', '')
      .toWellFormed()
      .replaceAll(/\\ud[89a-f][0-9a-f]{2}/gi, ''),
  ),
);

const WORDS = [
  'prev',
  'input',
  'nodes',
  'vars',
  'inputs',
  'item',
  'index',
  'run',
  'start',
  'main',
  'total',
  'items',
  'strict',
  'lax',
  'exists',
  'is',
  'unknown',
];
const MORE_WORDS = [
  'like_regex',
  'flag',
  'starts',
  'with',
  'to',
  'last',
  'true',
  'null',
  'type',
  'size',
  'double',
  'abs',
  'floor',
  'keyvalue',
  'datetime',
];
const FILTERS = [
  'upper',
  'default',
  'sum',
  'join',
  'slice',
  'sort',
  'date',
  'add',
  'diff',
  'pad',
  'round',
  'flatten',
  'unique',
  'length',
  'replace',
  'base64',
];
const MARKS = [
  '$',
  '.',
  '@',
  '[',
  ']',
  '*',
  '**',
  '(',
  ')',
  '?',
  '{',
  '}',
  ',',
  '|',
  '==',
  '<',
  '>=',
  '!=',
  '&&',
  '||',
  '!',
  '+',
  '-',
  '/',
  '%',
  ' ',
  ':',
  '#',
  '\\',
  '=',
];
const LITERALS = [
  '1',
  '0',
  '-2',
  '1.5',
  '1e3',
  '9e99',
  '0x1F',
  '1_0',
  '"a"',
  `'b'`,
  '"a b"',
  '"^a.*$"',
  '"(a)\\\\1"',
  '"UTC"',
  '"days"',
  '"x\\u0041"',
  "'",
];
const SNIPPETS = [
  '$.prev',
  '$.input.a',
  '$.nodes.start',
  '$.vars.tax',
  '$.prev.items[*]',
  '$.prev ? (@.total > 1)',
  ' | ',
  '$.inputs.main',
];

/** Expressions, most of them wrong. */
export const expression: fc.Arbitrary<string> = fc
  .array(fc.constantFrom(...WORDS, ...MORE_WORDS, ...FILTERS, ...MARKS, ...MARKS, ...LITERALS, ...SNIPPETS, ...SNIPPETS), { maxLength: 12 })
  .map((tokens) => tokens.join(''));

/** Expressions of which most are right. */
export const goodExpression: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(
      '$.prev',
      '$.input',
      '$.prev.items',
      '$.prev.items[*]',
      '$.prev.**',
      '$.prev.*',
      '$.prev.items[0 to 2]',
      '$.nodes.start',
      '1',
      '$.index',
    ),
    fc.constantFrom(
      '',
      '.total',
      '.name',
      '.items',
      '.size()',
      '.type()',
      '.double()',
      '.keyvalue()',
      ' ? (@ > 1)',
      ' + 1',
      ' / 0',
      ' > $.prev.total',
      ' like_regex "a"',
    ),
    fc.array(
      fc.constantFrom(
        ...[
          'upper',
          'trim',
          'json',
          'length',
          'keys',
          'first',
          'last',
          'unique',
          'sort',
          'sort("a", "desc")',
          'flatten',
          'flatten(3)',
          'type',
          'number',
          'round(1)',
        ],
        ...[
          'min',
          'max',
          'sum',
          'join("-")',
          'split(",")',
          'slice(1)',
          'slice(-3, 2)',
          'pad(5, "0")',
          'urlencode',
          'base64',
          'base64("decode")',
          'hash',
          'default(1)',
        ],
        ...[
          'date("UTC")',
          'date("Europe/Berlin", "YYYY")',
          'add(1, "months", "UTC")',
          'diff($.prev, "days", "UTC")',
          'replace("a", "bb")',
          'default($.prev.items[*])',
        ],
      ),
      { maxLength: 3 },
    ),
  )
  .map(([root, rest, filters]) => [root + rest, ...filters].join(' | '));
