/** engine.resolve(): expressions in properties, their values and their limits. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { goodExpression, json } from '../../../helpers/arbitraries.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type NodeContext, definitionFor, evaluate, failureOf, runNode, validate } from '../../../helpers/nodes.ts';
import { rounds } from '../../../helpers/rounds.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const context: NodeContext = {
  prev: {
    ...{ cents: 1234, 'a b': 'member', price: JSON.rawJSON('1.50'), zero: JSON.rawJSON('0.000'), hundred: JSON.rawJSON('100.0') },
    large: JSON.rawJSON('9007199254740993.250'),
    ...{ total: 120, name: 'Ada', items: [{ a: 1 }, { a: 2 }], one: [{ a: 1 }], note: null, deep: { x: { y: true } } },
  },
  input: { body: { id: 7 } },
  inputs: { main: [{ total: 120 }, 'second'] },
  nodes: { order: { limit: 100 }, skipped: null },
  run: { id: 'r', mode: 'manual' },
  vars: { tax: 0.19 },
};

describe('a value', () => {
  test.each<[string, unknown]>([
    ['{{ $.prev.total }}', 120],
    ['{{ $.prev.missing }}', null],
    ['{{ $.prev.note }}', null],
    ['{{ $.prev.items.a }}', [1, 2]],
    ['{{ $.prev.one.a }}', 1],
    ['{{ $.prev.one[*].a }}', [1]],
    ['{{ $.prev.items[*] ? (@.a > 5) }}', []],
    ['{{ $.prev.items }}', [{ a: 1 }, { a: 2 }]],
    ['{{ $.input.body.id }}', 7],
    ['{{ $.inputs.main[1] }}', 'second'],
    ['{{ $.nodes.order.limit }}', 100],
    ['{{ $.nodes.skipped.limit }}', null],
    ['{{ $.run.mode }}', 'manual'],
    ['{{ $.vars.tax }}', 0.19],
    ['{{ $.item }}', null],
    ['{{ $.prev.total * (1 + $.vars.tax) > $.nodes.order.limit }}', true],
    ['{{ $.prev.total / 0 }}', null],
    ['{{ $.prev.name + 1 }}', null],
    ['{{ $.prev.name > 5 }}', null],
    ['{{ $.prev.items[*] ? (@.a >= $.prev.one[0].a).a }}', [1, 2]],
    [' {{ $.prev.total }}', ' 120'],
    ['Total {{ $.prev.cents / 100 }}', 'Total 12.34'],
    ['{{ $.prev.cents / 100 | pad(6) }}', ' 12.34'],
    ['{{ $.prev.price }} EUR', '1.5 EUR'],
    ['{{ $.prev.zero }}!', '0!'],
    ['{{ $.prev.hundred }}!', '100!'],
    ['{{ $.prev.large }}!', '9007199254740993.25!'],
    ['{{ $.prev["a b"] }}', 'member'],
    ["{{ $.prev['a b'] }}", 'member'],
    ['{{ $.prev["deep"]["x"].y }}', true],
    ['{{ $.prev.items["a"] }}', [1, 2]],
    ['{{ $.prev.items[*]["a"] }}', [1, 2]],
    ['{{ $.prev.items[*] ? (@["a"] == 2)["a"] }}', [2]],
    ['{{ $.prev.name }}/{{ $.prev.note }}/{{ $.prev.deep }}/{{ $.prev.deep.x.y }}', 'Ada//{"x": {"y": true}}/true'],
    ['\\{{ $.prev.name }}', '{{ $.prev.name }}'],
    ['no expression', 'no expression'],
  ])('of %s is %j', async (text, value) => {
    expect(await evaluate(db, text, context)).toEqual(value);
  });

  test('takes its place anywhere in the properties, and nothing else changes', async () => {
    const template = { 'a/b': [{ '0': '{{ $.prev.total }}' }, 1, null], keep: '}} {', '{{ x }}': true };
    const { output } = await runNode(db, { id: 'n', type: 'transform', properties: { template } }, context);
    expect(output).toEqual({ ...template, 'a/b': [{ '0': 120 }, 1, null] });
  });

  test('$.item and $.index are those of a child run', async () => {
    expect(await evaluate(db, '{{ $.index }}: {{ $.item.a }}', { item: { a: 'x' }, index: 3 })).toBe('3: x');
  });
});

describe('a condition', () => {
  const when = async (path: string, strict = false) =>
    (await runNode(db, { id: 'n', type: 'if', properties: { when: path }, strict }, context)).port;

  test.each([
    ['$.prev.total > 100', 'true'],
    ['$.prev.total > $.nodes.order.limit && $.run.mode == "manual"', 'true'],
    ['$.prev.deep.x.y', 'true'],
    ['$.prev.total > 200', 'false'],
    ['$.prev.name > 100', 'false'],
    ['$.prev.missing', 'false'],
    ['$.prev.note', 'false'],
    ['$.prev.missing == null', 'false'],
    ['exists($.prev.items[*] ? (@.a == 2))', 'true'],
    ['$.prev.total / 0 > 1', 'false'],
    ['$.prev.missing | default(true)', 'true'],
  ])('%s is %s', async (path, port) => {
    expect(await when(path)).toBe(port);
  });

  test.each([
    ['$.prev.total', false, 'EXPRESSION_NOT_BOOLEAN'],
    ['$.prev.items[*].a', false, 'EXPRESSION_NOT_BOOLEAN'],
    ['$.prev.name > 100', true, 'EXPRESSION_UNKNOWN'],
    ['$.prev.missing', true, 'EXPRESSION_UNKNOWN'],
    ['$.prev.total / 0', true, 'EXPRESSION_FAILED'],
  ])('%s (strict: %s) fails with %s and its place', async (path, strict, code) => {
    expect(await failureOf(when(path, strict))).toMatchObject({ sqlstate: 'WF012', detail: { code, property: '/when', position: 1 } });
  });

  test('for each item sees the item, its place and everything else', async () => {
    const node = { id: 'n', type: 'filter', properties: { items: '{{ $.prev.items }}', when: '$.item.a > 1 && $.index < $.prev.total' } };
    expect(await runNode(db, node, context)).toMatchObject({ properties: { when: [false, true] }, output: [{ a: 2 }] });
    expect((await runNode(db, { ...node, strict: true }, context)).output).toEqual([{ a: 2 }]);
    const wrong = { ...node, properties: { ...node.properties, when: '$.item.a | sum' } };
    expect((await failureOf(runNode(db, wrong, context))).detail).toMatchObject({ code: 'EXPRESSION_NOT_BOOLEAN', property: '/when' });
  });

  test('may be a plain truth value', async () => {
    expect((await runNode(db, { id: 'n', type: 'if', properties: { when: true } })).port).toBe('true');
    expect((await runNode(db, { id: 'n', type: 'filter', properties: { when: false } }, { prev: [1] })).output).toEqual([]);
  });
});

describe('a condition with one root alone', () => {
  const value = { n: 5, t: 'x', f: true, l: [1, 5], o: { 'a b': 5 } };
  // Every root has the same, but for the place, which is a number.
  const given = { prev: value, input: value, inputs: { main: [value] }, nodes: { order: value }, run: value, vars: { v: value } };
  const roots = ['$.prev', '$.input', '$.inputs.main[0]', '$.nodes.order', '$.run', '$.vars.v', '$.item', '$.index'];
  const conditions = [
    ...['R == 1', 'R.n == 5', 'R.n > 7', 'R.t == "x"', 'R.f', 'R.l[*] == 5', 'R.t starts with "x"', 'R.o["a b"] == 5', 'exists(R.n)'],
    ...['!(R.n == 5)', 'R.n == 5 && R.t != "y"', '(R.t > 5) is unknown', 'R.t > 5', 'R.missing == 5', 'exists(R ? (@.n > 4))'],
  ];
  const cases = roots.flatMap((root) => conditions.map((condition) => condition.replaceAll('R', root)));

  /** What PostgreSQL says of the path as it was written, with all roots in one document. */
  const truthOf = async (path: string, strict: boolean, item: unknown, index: number | null) => {
    const all = { ...given, item, index };
    const { rows } = await db.admin.query(
      `select coalesce(jsonb_path_query_first($1::jsonb, ${`replace($2, '["a b"]', '."a b"')`}::jsonpath, '{}', true), 'null') as truth`,
      [JSON.stringify(all), path],
    );
    return rows[0]!['truth'] ?? (strict ? 'EXPRESSION_UNKNOWN' : false);
  };
  const outcome = (running: Promise<unknown>) =>
    running.catch((error: { detail?: string }) => (JSON.parse(error.detail ?? '{}') as { code?: string }).code);

  test.each([false, true])('is true exactly when the path is, in if, switch and filter; strict: %s', async (strict) => {
    const results = cases.map(async (path) => {
      const branch = (type: string, properties: Record<string, unknown>) =>
        outcome(
          runNode(db, { id: 'n', type, strict, properties }, { ...given, item: value, index: 1 }).then(({ port }) => port === 'true'),
        );
      const inItem = truthOf(path, strict, value, 1);
      const inLoop = truthOf(path, strict, value, 0);
      const filter = { items: [value], when: path };
      return {
        path,
        if: await branch('if', { when: path }),
        switch: await branch('switch', { rules: [{ when: path, port: 'true' }] }),
        filter: await outcome(
          runNode(db, { id: 'n', type: 'filter', strict, properties: filter }, given).then(
            ({ properties }) => (properties['when'] as boolean[])[0],
          ),
        ),
        truth: await inItem,
        truthInLoop: await inLoop,
      };
    });
    for (const { path, truth, truthInLoop, ...found } of await Promise.all(results)) {
      expect({ path, ...found }).toEqual({ path, if: truth, switch: truth, filter: truthInLoop });
    }
  });
});

describe('a failing filter', () => {
  test('names the filter, the value, the property and the character', async () => {
    expect(await failureOf(evaluate(db, 'Sum: {{ $.prev.items[*] | sum }}', context))).toEqual({
      sqlstate: 'WF012',
      message: 'sum() cannot be applied to [{"a": 1}, {"a": 2}] (property /template/value, position 8)',
      detail: { code: 'EXPRESSION_FILTER', property: '/template/value', position: 8 },
    });
  });
});

describe('the caps', () => {
  const text = (kilobytes: number) => ({ prev: { text: 'x'.repeat(kilobytes * 1024) } });

  test.each([
    ['{{ $.prev.text | length }}', text(255), 255 * 1024],
    ['{{ $.prev.text like_regex "^x" }}', text(63), true],
  ])('let %s pass below', async (expression, given, value) => {
    expect(await evaluate(db, expression, given)).toBe(value);
  });

  test.each([
    ['256 kB of input', '{{ $.prev.text }}', text(256)],
    ['256 kB of several inputs', '{{ $.prev.text == $.input.text }}', { ...text(130), input: { text: 'x'.repeat(130 * 1024) } }],
    ['64 kB for a regular expression', '{{ $.prev.text like_regex "^x" }}', text(64)],
    ['1 MiB of output', '{{ $.prev.text | replace("x", "xxxxx") }}', text(250)],
    ['1 MiB of text', '{{ $.prev.text }}'.repeat(5), text(250)],
  ])('refuse more than %s', async (_case, expression, given) => {
    expect((await failureOf(evaluate(db, expression, given))).detail['code']).toMatch(/^EXPRESSION_(TOO_LARGE|FILTER)$/);
  });
});

test('an expression that is valid gives a value or fails the node, whatever the data', async () => {
  await fc.assert(
    fc.asyncProperty(goodExpression, fc.array(json, { minLength: 1, maxLength: 3 }), fc.boolean(), async (expression, values, strict) => {
      const node = { id: 'n', type: 'transform', strict, properties: { template: `{{ ${expression} }}` } };
      if ((await validate(db, definitionFor(node))).length) return;
      for (const prev of values) {
        const context = { prev, input: { items: prev, total: 1 }, nodes: {}, index: 0 };
        const failure = await runNode(db, node, context).then(
          () => null,
          (error: { code: string; message: string }) => (error.code === 'WF012' ? null : `${error.code} ${error.message}`),
        );
        expect(failure).toBeNull();
      }
    }),
    { numRuns: rounds(20, 60) },
  );
});

test('a replay gives the same: the functions are immutable', async () => {
  const { rows } = await db.admin.query(
    `select p.proname from pg_proc as p
     where p.oid in (select d.oid from pg_proc as d where d.proname in ('resolve', 'run_pure', 'evaluate_expression', 'apply_filter') or d.proname like 'filter\\_%')
       and p.provolatile <> 'i' and p.proname <> 'filter_problem'`,
  );
  expect(rows).toEqual([]);
});
