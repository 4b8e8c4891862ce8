/** Filters with arguments that are evaluated for each item, conditional values, and what follows right after a filter. */
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { evaluate, failureOf, runNode } from '../../../helpers/nodes.ts';
import { rounds } from '../../../helpers/rounds.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const FAILS = Symbol('fails');
const LINES = [
  { sku: 'A', qty: 2, price: 10.5, country: 'DE', tags: ['x', 'y'] },
  { sku: 'B', qty: 1, price: 100, country: 'FR', tags: [] },
  { sku: 'C', qty: 3, price: 0.1, country: 'DE', tags: ['x'] },
];
const GIVEN = { lines: LINES, rate: 1.19, name: 'ada lovelace', none: null, limit: 5, first: ['a', 'b'], second: [1, 2, 3] };

test.each<[expression: string, value: unknown]>([
  // For each item.
  ['$.prev.lines | map(@.qty * @.price) | sum', 121.3],
  ['$.prev.lines | sum(@.qty * @.price)', 121.3],
  ['$.prev.lines | map(@.sku)', ['A', 'B', 'C']],
  ['$.prev.lines | map(@.missing)', [null, null, null]],
  ['$.prev.lines | map(@.tags[*])', [['x', 'y'], [], ['x']]],
  ['$.prev.lines | map(1)', [1, 1, 1]],
  ['$.prev.lines | map(@.price * $.prev.rate | round(2))', [12.5, 119, 0.12]],
  [
    '$.prev.lines | map({"id": @.sku, "total": @.qty * @.price, "kind": "line", "both": [@.qty, @.price]}) | first',
    {
      id: 'A',
      total: 21,
      kind: 'line',
      both: [2, 10.5],
    },
  ],
  ['$.prev.lines | map(@.tags | map({"tag": @})) | flatten | unique', [{ tag: 'x' }, { tag: 'y' }]],
  ['$.prev.lines[0] | map(@.sku)', ['A']],
  ['$.prev.none | map(@.sku)', null],
  ['$.prev.lines | where(@.price > $.prev.limit) | map(@.sku)', ['A', 'B']],
  ['$.prev.lines | where(@.tags[*] == "x") | count', 2],
  ['$.prev.lines | where(exists(@.tags[*] ? (@ == "y"))) | map(@.sku)', ['A']],
  ['$.prev.lines | where(@.sku | contains("B")) | map(@.sku)', ['B']],
  ['$.prev.lines | where(@.missing > 1)', []],
  ['$.prev.lines | where(@.sku)', FAILS],
  ['$.prev.lines | count(@.country == "DE")', 2],
  ['$.prev.none | count', 0],
  ['$.prev.lines | avg(@.qty)', 2],
  ['$.prev.second | avg', 2],
  ['$.prev.second[*] ? (@ > 9) | avg', null],
  ['$.prev.lines | min(@.price)', 0.1],
  ['$.prev.lines | max(@.missing)', null],
  ['$.prev.lines | max(@.sku)', 'C'],
  ['$.prev.lines | sort_by(@.price) | map(@.sku)', ['C', 'A', 'B']],
  ['$.prev.lines | sort_by(@.qty * @.price, "desc") | map(@.sku)', ['B', 'A', 'C']],
  ['$.prev.lines | sort_by(@.price, "sideways")', FAILS],
  [
    '$.prev.lines | group_by(@.country) | map({"country": @.key, "lines": @.items | count, "sum": @.items | sum(@.qty * @.price)})',
    [
      { country: 'DE', lines: 2, sum: 21.3 },
      { country: 'FR', lines: 1, sum: 100 },
    ],
  ],
  [
    '$.prev.lines | group_by(@.country, @.sku)',
    [
      { key: 'DE', items: ['A', 'C'] },
      { key: 'FR', items: ['B'] },
    ],
  ],
  ['$.prev.lines | unique(@.country) | map(@.sku)', ['A', 'B']],
  ['$.prev.lines | index_by(@.sku) | keys', ['A', 'B', 'C']],
  ['$.prev.lines | index_by(@.tags)', FAILS],
  ['$.prev.lines | object(@.sku, @.qty)', { A: 2, B: 1, C: 3 }],
  ['$.prev.lines | object(@.country, @.sku)', { DE: 'C', FR: 'B' }],
  // Two values.
  [
    '$.prev.first | zip($.prev.second)',
    [
      ['a', 1],
      ['b', 2],
    ],
  ],
  ['$.prev.first | zip($.prev.second) | map({"letter": @[0], "number": @[1]}) | last', { letter: 'b', number: 2 }],
  ['$.prev.lines[0] | merge({"qty": 9, "new": [$.prev.rate]})', { ...LINES[0], qty: 9, new: [1.19] }],
  ['$.prev.lines | map({"sku": @.sku}) | merge', { sku: 'C' }],
  ['$.prev.first | merge', FAILS],
  ['$.prev.lines[0] | merge("x")', FAILS],
  ['$.prev.lines[0] | entries | where(@.key == "sku")', [{ key: 'sku', value: 'A' }]],
  ['{"a": 1}', FAILS],
  // A value by a condition.
  ['$.prev.limit > 3 | then("big", "small")', 'big'],
  ['$.prev.limit > 30 | then("big", $.prev.limit > 4 | then("middle", "small"))', 'middle'],
  ['$.prev.limit > 30 | then("big")', null],
  ['$.prev.missing > 3 | then("big", [1, {"a": null}])', [1, { a: null }]],
  ['$.prev.name | then(1, 2)', FAILS],
  ['$.prev.limit.type() == "number" | then("number", $.prev.limit | upper | round)', 'number'],
  ['$.prev.name | default($.prev.lines | upper)', 'ada lovelace'],
  // Right after a filter.
  ['$.prev.lines | sum(@.price) * $.prev.rate | round(2)', 131.61],
  ['$.prev.lines | count > 2', true],
  ['$.prev.lines | count > 2 | then("many", "few")', 'many'],
  ['$.prev.lines | first.sku', 'A'],
  ['$.prev.lines | sort_by(@.price)[0].sku', 'C'],
  ['$.prev.name | starts_with("ada") && $.prev.limit == 5', true],
  ['$.prev.name | starts_with("x") || $.prev.limit == 5', true],
  ['$.prev.lines | calc(@[*].qty)', [2, 1, 3]],
  ['"{\\"items\\": [{\\"n\\": 7}]}" | parse_json.items[0].n + 1', 8],
  ['"{" | parse_json', FAILS],
])('%s is %j', async (expression, value) => {
  const evaluated = evaluate(db, `{{ ${expression} }}`, { prev: GIVEN });
  if (value === FAILS) await expect(evaluated).rejects.toThrow();
  else expect(await evaluated).toEqual(value);
});

test.each<[expression: string, problem: string]>([
  ['$.prev.lines | map', 'map is written map(@…)'],
  ['$.prev.lines | map(@.a, 1)', 'map is written map(@…)'],
  ['@.a', '@ is the item'],
  ['$.prev.lines | default(@.a)', '@ is the item'],
  ['$.prev.lines | map(sku)', 'an argument is a number'],
  ['$.prev.lines | map(@.a', '( is not closed'],
  ['$.prev.lines | map({a: 1})', 'an object is written {"key": value, …}'],
  ['$.prev.lines | map([1)', 'is not closed'],
  ['$.prev.lines | count upper', 'a filter is written name or name(argument, …), after |'],
  ['$.prev.lines | map(@.a | nothing)', 'there is no filter nothing'],
  ['$.prev.name | match($.prev.limit)', 'a pattern is a text in quotes'],
  ['$.prev.name | match("(a")', 'parentheses () not balanced'],
  ['$.prev.lines | map($.secrets.key)', 'no place for a secret variable'],
  ['$.prev.lines | map({"a": [$.secrets.key]})', 'a secret variable stands alone'],
  ['$.prev.lines | map($.secrets.key | upper)', 'a secret variable stands alone'],
  ['$.prev.paid | then($.secrets.key)', 'no place for a secret variable'],
  ['$.prev.lines | map(@.a | hmac("sha256", $.secrets.key))', 'a filter with a secret variable stands in no argument'],
  ['$.prev.name | hmac("sha256", $.secrets.key) | upper', 'only one constant_time_equals may follow'],
  ['$.prev.name | match("(a)\\\\1")', 'refer back'],
])('%s cannot be read: %s', async (expression, problem) => {
  const { rows } = await db.admin.query<{ problem: string }>('select problem from engine.parse_expression($1)', [expression]);
  expect(rows[0]!.problem).toContain(problem);
});

test('braces of an object do not end an expression', async () => {
  expect(await evaluate(db, '{{ null | default({"a": {"b": {"c": "}}"}}})}} and {{ 1 }}', {})).toBe('{"a": {"b": {"c": "}}"}}} and 1');
});

test('on a strict node an item that cannot be computed fails the node', async () => {
  const failed = (expression: string) =>
    failureOf(evaluate(db, `{{ ${expression} }}`, { prev: GIVEN }, { strict: true })).then(({ detail }) => detail['code']);
  expect(await failed('$.prev.lines | map(@.qty / 0)')).toBe('EXPRESSION_FAILED');
  expect(await failed('$.prev.lines | where(@.sku > 1)')).toBe('EXPRESSION_UNKNOWN');
  expect(await failed('$.prev.name > 1 | then(1, 2)')).toBe('EXPRESSION_UNKNOWN');
});

test('a result that is too large is refused before it is built, and so is a number without bounds', async () => {
  const prev = { list: Array.from({ length: 5_000 }, (_, n) => n), text: 'x'.repeat(100_000), big: [{ n: 1e200 }] };
  const failed = (expression: string) => failureOf(evaluate(db, `{{ ${expression} }}`, { prev })).then(({ detail }) => detail['code']);
  expect(await failed('$.prev.list | map($.prev.text)')).toBe('EXPRESSION_TOO_LARGE');
  expect(await failed('$.prev.list | map({"a": $.prev.text}) | count')).toBe('EXPRESSION_TOO_LARGE');
  expect(await failed('$.prev.big | map(@.n * @.n)')).toBe('EXPRESSION_TOO_LARGE');
  expect(await failed('$.prev.big | map({"n": @.n * @.n})')).toBe('EXPRESSION_TOO_LARGE');
});

test.each<[expression: string, cost: string]>([
  ['$.prev.lines | map(@.qty * @.price) | sum', 'linear'],
  ['$.prev.lines | where(@.price > 5) | sort_by(@.price) | first.sku', 'linear'],
  ['$.prev.lines | map({"a": @.a, "b": @.b | upper})', 'linear'],
  ['$.prev.name | match("^[A-Z]{2}[0-9]+$")', 'linear'],
  ['$.prev.lines | where(@.a > @.b)', 'quadratic'],
  ['$.prev.lines | map(@.price * $.prev.rate | round(2))', 'quadratic'],
  ['$.prev.lines | map(@.items | map(@.price * $.prev.rate))', 'unbounded'],
  ['$.prev.lines | map($.prev.lines[*] ? (@.id == $.prev.id))', 'unbounded'],
  ['$.prev.lines | map(@.**)', 'unbounded'],
  ['$.prev.lines | map(@.a * @.b * @.c * @.d * @.e * @.f)', 'unbounded'],
  ['$.prev.name | match("(a|b)*c")', 'unbounded'],
])('%s is %s', async (expression, cost) => {
  const { rows } = await db.admin.query<{ cost: string; problem: string | null }>('select cost, problem from engine.parse_expression($1)', [
    expression,
  ]);
  expect(rows[0]).toEqual({ cost, problem: null });
});

/** The same filters once more, written for numbers, short texts and null in fields k, n and s of objects. */
type Row = { k: string | null; n: number; s?: string };
const byKey = (rows: Row[]): [string | null, Row[]][] => {
  const groups = new Map<string | null, Row[]>();
  for (const row of rows) groups.set(row.k, [...(groups.get(row.k) ?? []), row]);
  return [...groups];
};
const compareTexts = (one: string | null, other: string | null) =>
  one === other ? 0 : one === null ? 1 : other === null ? -1 : one < other ? -1 : 1;
const SECOND: [filters: string, implementation: (rows: Row[]) => unknown][] = [
  ['map({"k": @.k, "d": @.n * 2 + 1})', (rows) => rows.map(({ k, n }) => ({ k, d: n * 2 + 1 }))],
  ['map(@.s | default("none"))', (rows) => rows.map(({ s }) => s ?? 'none')],
  ['where(@.n > 3 && @.k != "b")', (rows) => rows.filter(({ n, k }) => n > 3 && k !== 'b')],
  ['where(@.s == "x" | then(true, false))', (rows) => rows.filter(({ s }) => s === 'x')],
  ['sum(@.n * @.n)', (rows) => rows.reduce((sum, { n }) => sum + n * n, 0)],
  ['count(@.n < 0)', (rows) => rows.filter(({ n }) => n < 0).length],
  ['max(@.n)', (rows) => (rows.length ? Math.max(...rows.map(({ n }) => n)) : null)],
  ['sort_by(@.k)', (rows) => [...rows].sort((a, b) => compareTexts(a.k, b.k))],
  ['sort_by(@.n, "desc")', (rows) => [...rows].sort((a, b) => b.n - a.n)],
  ['unique(@.k) | map(@.n)', (rows) => byKey(rows).map(([, [first]]) => first!.n)],
  ['group_by(@.k, @.n)', (rows) => byKey(rows).map(([key, items]) => ({ key, items: items.map(({ n }) => n) }))],
  ['object(@.k, @.n)', (rows) => Object.fromEntries(rows.filter(({ k }) => k !== null).map(({ k, n }) => [k, n]))],
  ['map(@.n) | zip([1, 2, 3])', (rows) => rows.slice(0, 3).map(({ n }, place) => [n, place + 1])],
];

test('filters of lists agree with a second implementation', async () => {
  const text = fc.constantFrom('a', 'b', 'B', 'ä', 'x', '');
  const row = fc.record({ k: fc.option(text), n: fc.integer({ min: -9, max: 9 }), s: text }, { requiredKeys: ['k', 'n'] });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { maxLength: 8 }), async (rows) => {
      const template = SECOND.map(([filters]) => `{{ $.prev | ${filters} }}`);
      const { output } = await runNode(db, { id: 'n', type: 'transform', properties: { template } }, { prev: rows });
      expect(output).toEqual(SECOND.map(([, implementation]) => implementation(rows)));
    }),
    { numRuns: rounds(40, 300) },
  );
});
