/** Notices: expressions that always give null or are never true are found, and no others. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

interface Notice {
  code: string | null;
  message: string | null;
  at: number | null;
}
/** What is known in a workflow that starts with a webhook, after a request. */
const SHAPES = `jsonb_build_object('index', 'nz', 'run', engine.run_shape(), 'input', engine.request_shape(),
  'nodes.call', engine.output_shape('httpRequest'))`;
const noticesOf = async (...texts: string[]): Promise<Notice[]> => {
  const { rows } = await db.admin.query<Notice & Record<string, unknown>>(
    `select n.code, n.message, n.at from unnest($1::text[]) with ordinality as t (text, place)
    cross join lateral engine.expression_notice(t.text, ${SHAPES}) as n order by t.place`,
    [texts],
  );
  return rows;
};

describe('a value that is always null is noticed', () => {
  test.each([
    ['$.prev.items.length', 14, '| length'],
    ['$.prev.name.length + 1', 13, '| length'],
    ['$.prev.items[0].length', 17, '| length'],
    ['$.prev.name + " " + $.prev.surname', 13, 'texts are joined'],
    ['"Hi " + $.prev.name', 7, 'texts are joined'],
    ['$.run.id + 1', 10, 'texts are joined'],
    ['$.input.query.page + 1', 20, 'texts are joined'],
    ['$.prev.name - "x"', 13, '- cannot be computed of a text'],
    ['$.prev.a * true', 10, '* cannot be computed of a truth value'],
    ['$.prev.items[*].price * 2', 23, '[*] gives a list'],
    ['2 * ($.prev.items[*].price)', 3, '[*] gives a list'],
    ['$.prev.items[*] ? (@.tags[*] * 2 > 1)', 30, '[*] gives a list'],
    ['$.prev.total / 0', 14, 'division by zero'],
    ['$.prev.total % 0.0', 14, 'division by zero'],
    ['-"a"', 1, 'no number in a text'],
    ['$.prev.at.datetime() + 1', 22, 'a time'],
    ['$.prev.items.size().value', 21, 'a number has no member value'],
    ['$.prev.a.type().floor()', 17, 'cannot be computed of a text'],
    ['$.index.datetime()', 9, 'cannot be computed of a number'],
    ['$.run.started', 7, 'there is no started here'],
    ['$.input.headers."X-Signature"', 17, 'x-signature'],
    ['$.nodes.call.status.text', 21, 'a number has no member text'],
    ['$.nodes.call.headers.Location', 22, 'location'],
    ['$.prev.items[*] ? (@.price > null)', 28, 'null'],
    ['$.prev.name + "x" | upper', 13, 'texts are joined'],
    ['strict $.prev.name + "x"', 20, 'texts are joined'],
  ])('%s', async (text, at, message) => {
    expect(await noticesOf(text)).toEqual([{ code: 'ALWAYS_NULL', at, message: expect.stringContaining(message) }]);
  });
});

describe('a condition that is never true is noticed', () => {
  test.each([
    ['$.input.query.page > 5', 20, '.double()'],
    ['$.input.params.id == 7', 19, '.double()'],
    ['7 == $.input.params.id', 3, '.double()'],
    ['$.run.mode == 1', 12, 'a text is compared with a number'],
    ['"5" == 5', 5, 'a text is compared with a number'],
    ['$.prev.items.size() == "3"', 21, 'a number is compared with a text'],
    ['$.prev.items.length > 0', 14, '| length'],
    ['$.prev.name + "x" == "ax"', 13, 'texts are joined'],
    ['$.prev.at.datetime() > "2026-01-01"', 22, '.datetime() on both sides'],
    ['$.prev.a.type() == "text"', 17, 'never equal to "text"'],
    ['"list" == $.prev.a.type()', 8, 'never equal'],
    ['$.prev.a > null', 10, 'with null is never true'],
    ['$.nodes.call.status == "200"', 21, 'a number is compared with a text'],
    ['$.index starts with "1"', 9, 'no text'],
    ['$.prev.items.size() like_regex "^1"', 21, 'no text'],
    ['exists($.prev.items.length)', 21, '| length'],
    ['$.prev.a == 1 && $.input.query.page > 5', 37, '.double()'],
    ['$.input.query.page > 5 || $.prev.items.length > 1', 20, '.double()'],
    ['exists($.prev.items[*] ? (@.name + "x" == "ax"))', 34, 'texts are joined'],
  ])('%s', async (text, at, message) => {
    expect(await noticesOf(text)).toEqual([{ code: 'NEVER_TRUE', at, message: expect.stringContaining(message) }]);
  });
});

test.each([
  ...['$.prev.name', '$.prev."length"', '$.prev["length"]', '$.prev.box."length" * 2', '$.prev.items | length', '$.input.query.length'],
  ...['$.prev.a + $.prev.b', '$.prev.items * 2', '$.prev.items[0].price * 2', '$.prev.items[*] ? (@.id == 7).price * 2'],
  ...['-$.prev.items[*].price', '$.prev.items[*].price > 100', '$.prev.total / $.prev.count', '$.prev.total / 0.5', '0 / $.prev.a'],
  ...['$.input.query.page.double() > 5', '$.input.query.page == "5"', '$.input.params.id starts with "a"', '$.input.body.page > 5'],
  ...['$.prev.a.type() == "string"', '$.prev.a.type() != "text"', '$.prev.a >= null', '$.prev.a != null', '$.prev.name == 5'],
  ...['!($.input.query.page > 5)', '($.input.query.page > 5) is unknown', '$.prev.a == 1 || $.input.query.page > 5'],
  ...['$.prev.at.datetime() > "2026-01-01".datetime()', '$.prev.at.datetime("HH24:MI") < $.run.startedAt.datetime()'],
  ...['$.index == 1', '$.index == null', '$.nodes.call.status == 200', '$.nodes.call == null', '$.nodes.call.headers."set-cookie"[*]'],
  ...['$.nodes.call.error.code == "HTTP_STATUS"', '$.run.resume.answer', '$.run.mode == "manual"', '$.vars.tax == "19"'],
  ...['$.prev.** ? (@.id == 1).name', '$.prev.*', '$.prev.**{1 to 2}', '$.prev.o.keyvalue().key == "a"', '($.prev.a > 1).type() == "null"'],
  ...['null', 'null | default("none")', '$.prev.items[$.prev.places[*]].price', '"y" ? ($.prev.a == 1)', '1 + 2 * 3 == 7'],
  ...['$.prev.items[*] ? (@.tags[*] == "x" && (@.price * 2 > 5)).name', '$.prev.a like_regex "^x" flag "i" && $.prev.b == 1'],
])('%s may be something else', async (text) => {
  expect(await noticesOf(text)).toEqual([{ code: null, message: null, at: null }]);
});

/**
 * Expressions of every operator over what is known and what is not, most of them right. Their inputs are of the kind that
 * the notices speak of: nothing has a member `length`, lists have two items or more which are alike, requests and answers
 * are what they are.
 */
const { condition, value } = fc.letrec<{ condition: string; value: string; path: string; item: string }>((tie) => ({
  path: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(
      ...['$.prev', '$.prev.a', '$.prev.b', '$.prev.items', '$.prev.items[*]', '$.prev.items[*].a', '$.prev.items[0].b', '$.prev.o'],
      ...['$.index', '$.run.id', '$.run.resume', '$.run.none', '$.input.query.a', '$.input.query.b', '$.input.params.id', '$.input.body'],
      ...['$.input.headers.a', '$.input.headers.A', '$.nodes.call', '$.nodes.call.status', '$.nodes.call.headers.a', '$.nodes.call.error'],
    ),
    fc.constantFrom('"a"', '"5"', '"number"', '5', '0', '1.5', 'true', 'null', '"2026-01-01"'),
    fc
      .tuple(
        tie('path'),
        fc.constantFrom(
          ...['.a', '.length', '."a"', '["b"]', '[0]', '[*]', '[1]', '.*', '.**', '.type()', '.size()', '.double()', '.datetime()'],
          ...['.floor()', '.abs()', '.keyvalue()', '.keyvalue().value'],
        ),
      )
      .map(([path, step]) => (/^\d+$/.test(path) ? `(${path})${step}` : path + step)),
    fc.tuple(tie('path'), tie('item')).map(([path, item]) => `${path} ? (${item})`),
    fc.tuple(tie('condition'), fc.constantFrom('.type()', '.size()', '.a')).map(([inner, step]) => `(${inner})${step}`),
  ),
  item: fc.oneof(
    tie('condition'),
    fc
      .tuple(fc.constantFrom('@', '@.a', '@.b', '@[*]', '@.a + 1', '@.size()'), fc.constantFrom('==', '>', '!='), tie('path'))
      .map((parts) => parts.join(' ')),
  ),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    { weight: 3, arbitrary: tie('path') },
    fc.tuple(tie('value'), fc.constantFrom('+', '-', '*', '/', '%'), tie('value')).map((parts) => parts.join(' ')),
    tie('value').map((inner) => `(${inner})`),
    tie('path').map((inner) => `-${inner}`),
  ),
  condition: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.tuple(tie('value'), fc.constantFrom('==', '!=', '<>', '<', '<=', '>', '>='), tie('value')).map((parts) => parts.join(' ')),
    fc.tuple(tie('path'), fc.constantFrom('starts with "a"', 'like_regex "^[a5]"')).map((parts) => parts.join(' ')),
    tie('value').map((inner) => `exists(${inner})`),
    tie('condition').map((inner) => `(${inner}) is unknown`),
    tie('condition').map((inner) => `!(${inner})`),
    fc.tuple(tie('condition'), fc.constantFrom('&&', '||'), tie('condition')).map((parts) => parts.join(' ')),
  ),
}));

const scalar = fc.constantFrom<unknown>(null, true, false, 0, 1, 5, -1.5, '', 'a', '5', '2026-01-01', 'number');
const alike = (item: fc.Arbitrary<unknown>) => fc.tuple(item, fc.integer({ min: 2, max: 3 })).map(([one, count]) => Array(count).fill(one));
const object = fc.record({ a: scalar, b: scalar });
const anything = fc.oneof(scalar, object, alike(scalar), alike(object));
const texts = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('a', '5', '0', '2026-01-01'));
const fields = fc.dictionary(
  fc.constantFrom('a', 'b'),
  fc.oneof(fc.constantFrom('a', '5', ''), fc.array(fc.constantFrom('a', '5'), { minLength: 2 })),
);
const answer = fc.oneof(
  fc.constant(null),
  fc.record({ status: fc.constantFrom(200, 204), headers: fields, body: anything }),
  fc.record({ error: fc.record({ code: fc.constant('HTTP_STATUS') }) }),
);
const context = fc.record({
  prev: fc.oneof(anything, fc.record({ a: anything, b: anything, items: alike(fc.oneof(scalar, object)), o: object })),
  index: fc.option(fc.nat(3)),
  run: fc.record({ id: fc.constant('r'), mode: fc.constant('webhook'), resume: texts }),
  input: fc.record({
    method: fc.constant('POST'),
    query: fields,
    params: texts.map((all) => ({ id: '7', ...all })),
    headers: fields,
    body: anything,
  }),
  nodes: fc.record({ call: answer }),
});

test('what is noticed never gives anything else than null and false, in inputs of the kind that is meant', async () => {
  let noticed = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom('', 'strict '), fc.oneof(condition, value)), { minLength: 100, maxLength: 100 }),
      fc.array(context, { minLength: 6, maxLength: 6 }),
      async (expressions, contexts) => {
        const { rows } = await db.admin.query<{ text: string; found: unknown[] | null; context: unknown }>(
          `with subject as materialized (
            select t.text, p.path, p.sources
            from unnest($1::text[]) as t (text)
            cross join lateral engine.parse_expression(t.text) as p
            cross join lateral engine.expression_notice(t.text, ${SHAPES}) as n
            where p.problem is null and n.code is not null
          )
          select s.text, c.context, (
            select jsonb_path_query_array(
              case when cardinality(s.sources) = 1 then v.vars -> s.sources[1] else 'null' end, s.path::jsonpath,
              case when cardinality(s.sources) = 1 then '{}' else v.vars end, true
            )
            from (select c.context - 'nodes' || jsonb_build_object('nodes.call', c.context #> '{nodes,call}') as vars) as v
          ) as found
          from subject as s cross join jsonb_array_elements($2) as c (context)`,
          [expressions.map((parts) => parts.join('')), JSON.stringify(contexts)],
        );
        noticed += rows.length;
        expect(rows.filter(({ found }) => found?.some((one) => one !== null && one !== false))).toEqual([]);
      },
    ),
    { numRuns: 10 },
  );
  expect(noticed).toBeGreaterThan(500);
});

describe('a definition with a notice', () => {
  const hook = { id: 'hook', type: 'webhookTrigger', properties: { path: '/notices', respond: 'lastNode' } };
  const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://api.example' } };
  const check = { id: 'check', type: 'if', properties: { when: '$.prev.status == "200"' } };
  const shape = { id: 'shape', type: 'set', properties: { assign: { a: 'n: {{ $.input.query.n + 1 }}', b: '{{ $.prev.b }}' } } };
  const found = [
    { severity: 'notice', pointer: '/nodes/2/properties/when', code: 'NEVER_TRUE', message: expect.stringMatching(/\(at character 15\)$/) },
    {
      severity: 'notice',
      pointer: '/nodes/3/properties/assign/a',
      code: 'ALWAYS_NULL',
      message: expect.stringMatching(/\(at character 23\)$/),
    },
  ];
  const validated = async (definition: unknown) =>
    (await acme.user.query('select * from validate_workflow($1) order by pointer', [JSON.stringify(definition)])).rows;

  test('is valid, and its version keeps them', async () => {
    const definition = chain(hook, call, check, { ...shape, id: 'shape' });
    definition.connections![2]!.sourceOutput = 'true';
    expect(await validated(definition)).toEqual(found);
    const { rows } = await acme.user.query(`select (publish_workflow(w.id)).notices from create_workflow('Noticed', $1) as w`, [
      JSON.stringify(definition),
    ]);
    expect(rows).toEqual([{ notices: found }]);
    const { rows: tested } = await acme.user.query('select type from test_workflow($1)', [JSON.stringify(definition)]);
    expect(tested.length).toBeGreaterThan(0);
  });

  test('is refused for its errors only', async () => {
    const definition = chain(hook, call, check, { id: 'wrong', type: 'noOp', properties: { no: 1 } });
    definition.connections![2]!.sourceOutput = 'true';
    const refused = acme.user.query(`select publish_workflow(w.id) from create_workflow('Wrong', $1) as w`, [JSON.stringify(definition)]);
    await expect(refused).rejects.toMatchObject({ code: 'WF001', message: expect.stringContaining('1 problem(s)') });
    await expect(refused).rejects.toMatchObject({ detail: expect.not.stringContaining('NEVER_TRUE') });
  });

  test.each<[string, object[]]>([
    ['another trigger may have started it', [{ id: 'hand', type: 'manualTrigger' }, hook, shape]],
    ['the node before is disabled', [hook, { ...call, disabled: true }, check]],
    ['the node before has a pin', [hook, { ...call, pin: { status: '200' } }, check]],
  ])('has none where %s', async (_case, nodes) => {
    const definition = chain(...(nodes as Parameters<typeof chain>));
    if ((nodes[0] as { id: string }).id === 'hand') {
      definition.connections = [
        { source: 'hand', target: 'shape' },
        { source: 'hook', target: 'shape' },
      ];
    }
    expect(await validated(definition)).toEqual([]);
  });
});
