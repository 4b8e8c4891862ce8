/** Parsing of expressions: roots, filters, literals, and what is refused. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { expression, storable } from '../../../helpers/arbitraries.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

interface Parsed {
  path: string | null;
  sources: string[] | null;
  variables: string[] | null;
  many: boolean | null;
  regex: boolean | null;
  filters: unknown;
  argument_paths: string[] | null;
  problem: string | null;
  problem_at: number;
}

const parse = async (text: string) =>
  (await db.admin.query<Parsed & Record<string, unknown>>('select * from engine.parse_expression($1)', [text])).rows[0]!;

describe('the root of a path', () => {
  test.each([
    ['$.prev.total > 100', '$.total > 100', ['prev']],
    ['$ . "prev" . total', '$ . total', ['prev']],
    ['$.prev', '$', ['prev']],
    ['$.nodes.order.lines[*]', '$.lines[*]', ['nodes.order']],
    ['$.vars.tax * 2', '$.tax * 2', ['vars']],
    ['$.prev.a + $.prev.b', '$.a + $.b', ['prev']],
    ['$.prev.a > $.nodes.order.b', '$"prev".a > $"nodes.order".b', ['nodes.order', 'prev']],
    ['$.item ? (@.a == $.index)', '$"item" ? (@.a == $"index")', ['index', 'item']],
    [`strict $.prev.a == 'it\\'s "x"'`, `strict $.a == "it's \\"x\\""`, ['prev']],
    ['$.prev["a b"] == 1', '$."a b" == 1', ['prev']],
    [`$.prev.list[0]['it\\'s']`, `$.list[0]."it's"`, ['prev']],
    ['1 + 1', '1 + 1', []],
  ])('of %s is taken out', async (text, path, sources) => {
    expect(await parse(text)).toMatchObject({ path, sources, problem: null });
  });

  test.each([
    ['$', 'a path begins with'],
    ['$.prev == $', 'a path begins with'],
    ['$x', 'a path begins with'],
    ['$"prev"', 'a path begins with'],
    ['$.foo', '$.foo is not known'],
    ['$.nodes', 'name a node'],
    ['$.nodes[*]', 'name a node'],
    ['$.nodes."a b"', 'name a node'],
    ['$.vars', 'name a variable'],
    ['$.vars.*', 'name a variable'],
    ['$.inputs', 'name an input'],
    ['prev.total', 'write $.prev'],
    ['total', 'total is not known here'],
  ])('%s is refused', async (text, problem) => {
    expect((await parse(text)).problem).toContain(problem);
  });
});

test.each([
  ['$.prev.items', false],
  ['$.prev.items[*].a', true],
  ['$.prev.*', true],
  ['$.prev.**.a', true],
  ['$.prev.items ? (@.a > 1)', true],
  ['$.prev.items[0 to 2]', false],
  ['$.prev.items[*] > 1', false],
  ['exists($.prev.items[*])', false],
  ['$.prev.a * $.prev.b', false],
  ['$.prev.items[$.prev.indexes[*]]', false],
  ['$.prev.items.exists', false],
])('%s gives a list in any case: %s', async (text, many) => {
  expect(await parse(text)).toMatchObject({ many, problem: null });
});

describe('what only later versions know, or nobody', () => {
  test.each([
    ['$.prev.a.integer()', 10, 'no method integer()'],
    ['$.prev.a.date()', 10, 'no method date()'],
    ['$.prev.a.size(1)', 10, 'takes no argument'],
    ['$.prev.a.datetime("HH24 TZ")', 10, 'TZH:TZM'],
    ['$.prev.a.datetime($.prev.b)', 10, 'one template in quotes'],
    ['$.prev.a == 0x1F', 13, 'not a number'],
    ['$.prev.a == 1_000', 13, 'not a number'],
    ['$.prev.a == 1e400', 13, 'too large'],
    ['$.prev.a /* why */', 10, 'comments'],
    ['$.prev.a = 1', 10, 'write =='],
    ['$.prev.a like_regex "(a)\\\\1"', 10, 'refer back'],
    ['$.prev.a like_regex "a" flag "x"', 10, 'flags'],
    ['$.prev.a like_regex $.prev.b', 10, 'pattern in quotes'],
    ['$.prev.a like_regex "("', 1, 'invalid regular expression'],
    ['$.prev.a == ', 1, 'syntax error'],
    ['$.prev[', 7, 'not closed'],
    ['$.prev["a", "b"]', 8, 'one key in quotes'],
    ['$.prev["a" to "b"]', 8, 'one key in quotes'],
    ['$.prev[true]', 8, 'one key in quotes'],
    ['$.prev["\\ud800"]', 7, 'not a valid text'],
    ['$.prev)', 7, 'closes nothing'],
    ['$.prev.a == "b', 13, 'not closed'],
    ['$.prev.a == "\\ud800"', 13, 'not a valid text'],
    ['(strict $.prev.a)', 2, 'at the beginning'],
    ['$.prev.1a', 8, 'double quotes'],
    ['@.a', 1, '@'],
    ['$.prev.a ? (@ | upper)', 15, 'outside of parentheses'],
    ['', 1, 'missing'],
    [`${'('.repeat(40)}1${')'.repeat(40)}`, 33, '32 deep'],
    [`1${'+1'.repeat(600)}`, 1, '1,000 parts'],
    ['a'.repeat(5000), 1, '4,096'],
    ['$.prev.\u0001', 1, 'control characters'],
  ])('%.40s is refused at character %i', async (text, at, problem) => {
    const parsed = await parse(text);
    expect(parsed.problem).toContain(problem);
    expect(parsed.problem_at).toBe(at);
  });

  test.each([
    '$.prev.a.datetime("HH24:MI TZH:TZM") < $.prev.b.datetime()',
    '$.prev.a like_regex "\\\\\\\\1" flag "i"',
    '$.prev.a like_regex "\\\\1" flag "q"',
    '$.prev.date == $.prev.integer',
  ])('%s is taken', async (text) => {
    expect((await parse(text)).problem).toBeNull();
  });
});

describe('filters', () => {
  test('have literals and paths as arguments', async () => {
    expect(await parse(`$.prev.end|diff( $.prev.start , 'days',"UTC") | default(-1.5)`)).toMatchObject({
      path: '$"prev".end',
      argument_paths: ['$"prev".start'],
      filters: [
        { name: 'diff', arguments: [{ path: 1, many: false }, { value: 'days' }, { value: 'UTC' }] },
        { name: 'default', arguments: [{ value: -1.5 }] },
      ],
    });
  });

  test.each([
    ['$.prev | nope', 10, 'there is no filter nope; there are upper, lower'],
    ['$.prev |', 8, 'name of a filter is missing'],
    ['$.prev | upper(1)', 10, 'upper is written upper'],
    ['$.prev | replace("a")', 10, 'replace is written replace(text, text)'],
    ['$.prev | round("a")', 10, 'whole number'],
    ['$.prev | round(1.5)', 10, 'whole number'],
    ['$.prev | date("Nowhere")', 10, 'no time zone'],
    ['$.prev | date("+02:00")', 10, 'no time zone'],
    ['$.prev | add(1, "day", "UTC")', 10, 'a unit is'],
    ['$.prev | default(x)', 18, 'an argument is'],
    ['$.prev | default("a", "b")', 10, 'default is written default(any)'],
    ['$.prev | default($.foo)', 18, '$.foo is not known'],
    ['$.prev | default(', 17, 'name or name(argument'],
  ])('%s is refused at character %i', async (text, at, problem) => {
    const parsed = await parse(text);
    expect(parsed.problem).toContain(problem);
    expect(parsed.problem_at).toBe(at);
  });
});

test('any text is parsed or refused, and what is taken is a path of PostgreSQL', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(expression, storable(fc.string({ unit: 'binary' }))), { minLength: 100, maxLength: 200 }),
      async (texts) => {
        const { rows } = await db.admin.query(
          `select t.text, p.problem, p.path::jsonpath, p.argument_paths::jsonpath[]
         from unnest($1::text[]) as t (text) cross join lateral engine.parse_expression(t.text) as p
         where (p.problem is null and p.path is null) or p.problem_at not between 1 and length(t.text) + 1`,
          [texts],
        );
        expect(rows).toEqual([]);
      },
    ),
    { numRuns: 20 },
  );
});
