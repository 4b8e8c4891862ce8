import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { goodExpression, json } from '../../helpers/arbitraries.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type NodeContext, definitionFor, evaluate, failureOf, runNode, validate } from '../../helpers/nodes.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const context: NodeContext = {
  prev: { total: 120, name: 'Ada', items: [{ a: 1 }, { a: 2 }], one: [{ a: 1 }], note: null, deep: { x: { y: true } } },
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
    { numRuns: 60 },
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
