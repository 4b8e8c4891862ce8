/** Cost classes of expressions, and that the engine evaluates only cheap ones inside its own transaction. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

async function costOf(text: string): Promise<string> {
  const { rows } = await db.admin.query<{ cost: string; problem: string | null }>('select cost, problem from engine.parse_expression($1)', [
    text,
  ]);
  expect(rows[0]!.problem).toBeNull();
  return rows[0]!.cost;
}

describe('the cost of', () => {
  test.each([
    '$.prev.total',
    '$.prev.items[*].sku',
    '$.prev.items[*] ? (@.price > 50).sku',
    '$.prev.items[*] ? (@.price > 50 && !(@.sku starts with "A") && exists(@.tags[*] ? (@ == "x")))',
    'exists($.prev.items[*] ? (@.sku == "C"))',
    '$.prev.total > -100 && $.prev.paid == true || 5 < $.prev.n',
    '$.prev.total * 2 - 1',
    '$.prev.*',
    '$.prev.a.keyvalue().key',
    '$.prev.name ? (@ like_regex "^[A-Z]{2}\\\\d+$")',
    '$.prev.name ? (@ like_regex "a.*(b" flag "q")',
    '$.prev.name ? (@ like_regex "paid|open" flag "i")',
    '$.prev.text | replace("-", "+") | upper | slice(0, 3)',
    '$.prev.items[*] | unique | sort("price") | first',
    '$.prev.missing | default($.prev.name)',
  ])('%s is linear', async (text) => {
    expect(await costOf(text)).toBe('linear');
  });

  test.each([
    '$.prev.a == $.prev.b',
    '$.prev.items[*] ? (@.price > $.prev.limit)',
    '$.prev.items[*] ? (@.a == @.b)',
    '$.prev.items[$.prev.place]',
    '$.prev.price * $.prev.number',
    '$.prev.text | split($.prev.separator)',
  ])('%s is quadratic', async (text) => {
    expect(await costOf(text)).toBe('quadratic');
  });

  test.each([
    'exists($.prev.**.**.**.**.**.**.**.** ? (@ == 2))',
    '$.prev[*] ? (@ == $.prev[*] && exists($.prev[*] ? (@ == $.prev[0])))',
    '$.prev[*] ? ($.prev[*] == $.prev[*])',
    '$.prev.**',
    '$.prev[0 to last, 0 to last, 0 to last]',
    '$.prev.keyvalue().keyvalue().keyvalue()',
    '$.prev[*] ? (@ like_regex "(a|b)*a(a|b){18}c")',
    '$.prev[*] ? (@ like_regex "a.{18}c")',
    '$.prev[*] ? (@ like_regex "^.*a.{9}c")',
    '$.prev.text ? (@ like_regex "(x+x+)+y")',
    '$.prev.a * $.prev.a * $.prev.a * $.prev.a * $.prev.a * $.prev.a',
    `$.prev.text | replace("${'a'.repeat(100)}b", "c")`,
  ])('%s is unbounded', async (text) => {
    expect(await costOf(text)).toBe('unbounded');
  });
});

const list = <T>(length: number, item: (index: number) => T): T[] => Array.from({ length }, (_, index) => item(index));
const nested = (depth: number): unknown => (depth === 0 ? 2 : { a: nested(depth - 1), b: 1 });
const numbers = list(14_000, (n) => n + 1);
const value = (text: string): Definition['nodes'] => [{ id: 'n', type: 'transform', properties: { template: { value: `{{ ${text} }}` } } }];
const HOSTILE: [string, Definition['nodes'], unknown][] = [
  ['deep walks', value('exists($.prev.**.**.**.**.**.**.**.** ? (@ == 3))'), nested(45)],
  ['a walk for each item', value('$.prev[*] ? (@ == $.prev[*] && @ == 0)'), numbers],
  ['lists that are compared', value('$.prev.a == $.prev.b'), { a: list(12_000, () => true), b: list(12_000, () => false) }],
  ['a hidden walk', value('$.prev.items[*] ? (@.id == $.prev.items.other)'), { items: list(4_000, (id) => ({ id, other: -1 - id })) }],
  ['a pattern', value('$.prev[*] ? (@ like_regex "(a|b)*a(a|b){18}c")'), list(4, () => 'abbabaab'.repeat(2_000))],
  ['repeated subscripts', value(`$.prev${'[0, 0, 0]'.repeat(16)}`), 1],
  ['keys of keys', value(`$.prev${'.keyvalue()'.repeat(16)}`), { a: 1 }],
  ['large numbers', value('$.prev.a * $.prev.a'), { a: 1 }],
  ['a search', value('$.prev.text | replace($.prev.old, "x")'), { text: 'a'.repeat(120_000), old: `b${'a'.repeat(60_000)}` }],
  ['a long search', value(`$.prev | replace("b${'a'.repeat(4_000)}", "x")`), 'a'.repeat(250_000)],
  ['a text letter by letter', value('$.prev | urlencode'), 'ä'.repeat(120_000)],
  ['filters over filters', value(`$.prev | replace("a", "aaaa")${' | upper | lower'.repeat(200)}`), 'a'.repeat(250_000)],
  ['values of one hash', value('$.prev[*] | unique | length'), numbers],
  ['a source for each item', value('$.prev.list | map($.prev.list) | count'), { list: numbers }],
  ['a source in a source', value('$.prev.list | map(@ | map($.prev.list | count)) | count'), { list: numbers }],
  ['conditions that compare', value('$.prev[*] | where(@[*] == @[*]) | count'), [numbers]],
  [
    'objects of many paths',
    value(`$.prev | map({${list(200, (n) => `"k${n}": @`).join(', ')}}) | count`),
    list(5_000, () => 'x'.repeat(40)),
  ],
  ['filters for each item', value(`$.prev | map(@${' | upper | lower'.repeat(100)}) | count`), list(15_000, () => 'a')],
  ['groups of one hash', value('$.prev | group_by(@) | count'), numbers],
  ['groups of a pattern', value('$.prev | match("((a|b)*a(a|b){18})+c")'), 'abbabaab'.repeat(8_000)],
  [
    'many expressions',
    [{ id: 'n', type: 'transform', properties: { template: list(1_000, () => '{{ $.prev[*] ? (@ > 30000) }}') } }],
    numbers,
  ],
  [
    'many copies',
    [{ id: 'n', type: 'transform', properties: { template: list(1_000, () => '{{ $.prev.text }}') } }],
    { text: 'x'.repeat(50_000) },
  ],
  [
    'a condition for each item that reads the rest',
    [{ id: 'n', type: 'filter', properties: { items: '{{ $.prev.items }}', when: '$.item > $.prev.limit' } }],
    { items: numbers, limit: 0 },
  ],
  ['a condition for each item', [{ id: 'n', type: 'filter', properties: { when: '$.item > 5' } }], list(60_000, () => null)],
  [
    'keys to leave out',
    [{ id: 'n', type: 'set', properties: { omit: list(20_000, (n) => `missing${n}`) } }],
    Object.fromEntries(list(20_000, (n) => [`key${n}`, n])),
  ],
  [
    'types to convert',
    [{ id: 'n', type: 'set', properties: { types: Object.fromEntries(list(5_000, (n) => [`key${n}`, 'text'])) } }],
    Object.fromEntries(list(20_000, (n) => [`key${n}`, n])),
  ],
];

describe('the engine itself is not held up by', () => {
  test.each<[string, Definition['nodes'], unknown]>(HOSTILE)('%s', async (_, nodes, input) => {
    const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, ...nodes));
    const engine = new Driver(db);
    await db.pool('flowgres_intake').query(`set statement_timeout = '5s'`);
    const { run_id } = await engine.start(acme, workflow, input);
    expect(run_id).not.toBeNull();
    // Nor where the time of the first transaction was up just before it.
    await db.pool('flowgres_worker').query(`set statement_timeout = '5s'`);
    await engine.goOn(run_id);
    // What is refused for its size alone would prove nothing.
    expect((await engine.run(run_id)).error?.message ?? '').not.toMatch(/reads at most/);
    const [step] = await engine.openSteps(run_id);
    expect(step === undefined || step.node === 'n').toBe(true);
  });

  test('many branches that read much', async () => {
    const branches = list(300, (n) => ({
      id: `n${n}`,
      type: 'httpRequest',
      properties: { url: 'https://example.com', body: list(15, () => '{{ $.prev[*] ? (@ > 30000) }}') },
    }));
    const workflow = await publishWorkflow(acme, {
      nodes: [{ id: 'start', type: 'apiTrigger' }, ...branches],
      connections: branches.map(({ id }) => ({ source: 'start', target: id })),
    });
    await db.pool('flowgres_intake').query(`set statement_timeout = '5s'`);
    expect((await new Driver(db).start(acme, workflow, numbers)).status).toBe('running');
  });
});
