/** Pure nodes: set, switch, filter, merge and the others, by input and output. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { json } from '../../../helpers/arbitraries.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type NodeContext, failureOf, runNode } from '../../../helpers/nodes.ts';
import { rounds } from '../../../helpers/rounds.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const run = (type: string, properties: Record<string, unknown>, context: NodeContext = {}) =>
  runNode(db, { id: 'n', type, properties }, context);
const codeOf = async (running: Promise<unknown>) => {
  const { sqlstate, detail } = await failureOf(running);
  return { sqlstate, ...detail };
};

describe('set', () => {
  const prev = { a: 1, b: '2', c: { d: 3 } };

  test.each<[string, Record<string, unknown>, unknown, unknown]>([
    ['nothing', {}, prev, prev],
    ['a key', { assign: { e: 4, a: null } }, prev, { ...prev, e: 4, a: null }],
    ['only what it picks', { pick: ['c', 'x'], assign: { a: '{{ $.prev.a }}' } }, prev, { c: { d: 3 }, a: 1 }],
    ['to nothing', { pick: [] }, prev, {}],
    ['by leaving out', { omit: ['a', 'x'] }, prev, { b: '2', c: { d: 3 } }],
    ['names', { rename: { a: 'A', x: 'y' } }, prev, { A: 1, b: '2', c: { d: 3 } }],
    ['a name that another key has, which is replaced', { rename: { mail: 'email' } }, { mail: 1, email: 2 }, { email: 1 }],
    ['a long name as well', { rename: { username: 'email' } }, { username: 1, email: 2 }, { email: 1 }],
    ['names that change places', { rename: { a: 'bb', bb: 'a' } }, { a: 1, bb: 2 }, { bb: 1, a: 2 }],
    ['several to one name: the last of the alphabet stays', { rename: { zz: 'x', b: 'x', a: 'x' } }, { a: 1, zz: 2, b: 3, x: 4 }, { x: 2 }],
    ['types', { types: { b: 'number', a: 'text', x: 'boolean' } }, prev, { a: '1', b: 2, c: { d: 3 } }],
    ['what is no object', { assign: { a: 1 } }, [1, 2], { a: 1 }],
    ['null', { assign: { a: 1 } }, null, { a: 1 }],
  ])('changes %s', async (_case, properties, given, output) => {
    expect(await run('set', properties, { prev: given })).toMatchObject({ port: 'main', output });
  });

  test.each<[string, unknown, unknown]>([
    ['number', ' 1.5 ', 1.5],
    ['integer', '12', 12],
    ['integer', 12.0, 12],
    ['text', { a: 1 }, '{"a": 1}'],
    ['boolean', 'No', false],
    ['boolean', 1, true],
    ['json', '[1]', [1]],
    ['json', 5, 5],
    ['number', null, null],
  ])('converts to %s: %j', async (type, given, value) => {
    expect((await run('set', { types: { x: type } }, { prev: { x: given } })).output).toEqual({ x: value });
  });

  test.each([
    ['number', 'x'],
    ['integer', 1.5],
    ['boolean', 'maybe'],
    ['json', '{'],
    ['json', `${'['.repeat(65)}${']'.repeat(65)}`],
    ['json', `${'['.repeat(6_000)}${']'.repeat(6_000)}`],
    ['json', '1e130000'],
    ['number', [1]],
  ])('fails when there is no %s in %j', async (type, given) => {
    expect(await codeOf(run('set', { types: { x: type } }, { prev: { x: given } }))).toMatchObject({
      sqlstate: 'WF012',
      code: 'CONVERSION_FAILED',
    });
  });
});

describe('switch', () => {
  const rules = [{ equals: 'a', port: 'first' }, { when: '$.prev.n > 5' }, { equals: null, port: 'none' }];

  test.each([
    [{ v: 'a', n: 9 }, 'first'],
    [{ v: 'b', n: 9 }, '1'],
    [{ n: 1 }, 'none'],
    [{ v: 'b' }, 'fallback'],
  ])('of %j goes to %s', async (prev, port) => {
    expect(await run('switch', { value: '{{ $.prev.v }}', rules }, { prev })).toMatchObject({ port, output: prev });
  });

  test('may have its own fallback', async () => {
    expect((await run('switch', { rules: [{ when: 'false' }], fallback: 'else' })).port).toBe('else');
  });
});

describe('filter', () => {
  test('of null is an empty list, of anything else that is no list a failure', async () => {
    expect((await run('filter', { when: '$.item > 1' }, { prev: null })).output).toEqual([]);
    expect((await run('filter', { when: '$.item > 1' }, { prev: [1, 2, 'x', null] })).output).toEqual([2]);
    expect(await codeOf(run('filter', { when: '$.item > 1' }, { prev: { a: 1 } }))).toMatchObject({ code: 'NOT_A_LIST' });
  });

  test('takes 10,000 items', async () => {
    const { output } = await run('filter', { when: '$.item >= 9998' }, { prev: [...Array(10_000).keys()] });
    expect(output).toEqual([9998, 9999]);
  });
});

describe('merge', () => {
  const main = [
    { k: 1, a: 'x' },
    { k: 2, a: 'y' },
  ];
  const second = [
    { k: 2, b: 'p' },
    { k: 2, b: 'q' },
    { k: 3, b: 'r' },
  ];
  const merge = async (properties: Record<string, unknown>, inputs: Record<string, unknown[]>) =>
    (await run('merge', properties, { inputs })).output;

  test('chooses the first or last value that arrived', async () => {
    expect(await merge({}, { second: ['b'] })).toBe('b');
    expect(await merge({}, { main: ['a'], second: ['b'] })).toBe('a');
    expect(await merge({ choose: 'last' }, { main: ['a', 'c'] })).toBe('c');
  });

  test('appends, spreading lists', async () => {
    expect(await merge({ mode: 'append' }, { main: [[1, [2]], 3], second: [{ a: 4 }] })).toEqual([1, [2], 3, { a: 4 }]);
    expect(await merge({ mode: 'append' }, { main: [] })).toEqual([]);
  });

  test.each([
    [
      'outer',
      [
        { k: 2, a: 'x', b: 'p' },
        { k: 2, a: 'y', b: 'q' },
        { k: 3, b: 'r' },
      ],
    ],
    [
      'left',
      [
        { k: 2, a: 'x', b: 'p' },
        { k: 2, a: 'y', b: 'q' },
      ],
    ],
    [
      'inner',
      [
        { k: 2, a: 'x', b: 'p' },
        { k: 2, a: 'y', b: 'q' },
      ],
    ],
  ])('joins by position: %s', async (join, output) => {
    expect(await merge({ mode: 'position', join }, { main: [main], second: [second] })).toEqual(output);
  });

  test.each([
    [
      'inner',
      [
        { k: 2, a: 'y', b: 'p' },
        { k: 2, a: 'y', b: 'q' },
      ],
    ],
    [
      'left',
      [
        { k: 1, a: 'x' },
        { k: 2, a: 'y', b: 'p' },
        { k: 2, a: 'y', b: 'q' },
      ],
    ],
    [
      'outer',
      [
        { k: 1, a: 'x' },
        { k: 2, a: 'y', b: 'p' },
        { k: 2, a: 'y', b: 'q' },
        { k: 3, b: 'r' },
      ],
    ],
  ])('joins by fields: %s', async (join, output) => {
    expect(await merge({ mode: 'fields', by: 'k', join }, { main: [main], second: [second] })).toEqual(output);
  });

  test('joins by keys of different names; items without the key match nothing', async () => {
    const inputs = { main: [[{ id: 1 }, {}]], second: [[{ ref: 1, x: 2 }, {}]] };
    expect(await merge({ mode: 'fields', by: 'id', bySecond: 'ref' }, inputs)).toEqual([{ id: 1, ref: 1, x: 2 }]);
  });

  test('of what are no objects fails', async () => {
    expect(await codeOf(merge({ mode: 'position' }, { main: [[1]] }))).toMatchObject({ code: 'NOT_OBJECTS' });
  });
});

describe('respondToWebhook', () => {
  test('passes its input on', async () => {
    expect(await run('respondToWebhook', { status: '{{ $.prev.s }}', headers: { a: 1 } }, { prev: { s: 204 } })).toMatchObject({
      port: 'main',
      output: { s: 204 },
      properties: { status: 204 },
    });
  });

  test.each([
    ['status', { status: '{{ $.prev }}' }, 99],
    ['status', { status: '{{ $.prev }}' }, null],
    ['headers', { headers: '{{ $.prev }}' }, [1]],
    ['a line break in a header', { headers: { a: '{{ $.prev }}' } }, 'x\r\nSet-Cookie: y'],
    ['an object in a header', { headers: { a: '{{ $.prev }}' } }, {}],
    ['the name of a header', { headers: { 'a b': 1 } }, null],
  ])('fails by a wrong %s', async (_case, properties, prev) => {
    expect(await codeOf(run('respondToWebhook', properties, { prev }))).toMatchObject({ code: 'INVALID_RESPONSE' });
  });
});

test('stopAndError fails with its code and message', async () => {
  expect(await codeOf(run('stopAndError', { message: 'No {{ $.prev }}', code: 'MINE' }, { prev: 1 }))).toEqual({
    sqlstate: 'WF012',
    code: 'MINE',
  });
  expect(await codeOf(run('stopAndError', { message: '{{ $.prev }}' }))).toEqual({ sqlstate: 'WF012', code: 'STOPPED' });
});

test('whatever arrives, a node answers or fails as a node', async () => {
  const nodes: [string, Record<string, unknown>][] = [
    ['set', { pick: ['a'], rename: { a: 'b' }, assign: { c: '{{ $.prev }}' }, types: { b: 'integer', c: 'json' } }],
    ['set', { assign: { '': '{{ $.prev.a }}' } }],
    ['if', { when: '$.prev.a > 1' }],
    ['switch', { value: '{{ $.prev.a }}', rules: [{ equals: { a: '{{ $.prev }}' } }, { when: '$.prev > 1' }] }],
    ['filter', { when: '$.item > $.index' }],
    ['filter', { items: '{{ $.prev.* }}', when: '$.item' }],
    ['merge', { mode: 'append' }],
    ['merge', { mode: 'position' }],
    ['merge', { mode: 'fields', by: 'a', join: 'outer' }],
    ['transform', { path: '$.prev.**' }],
    ['respondToWebhook', { status: '{{ $.prev }}', headers: '{{ $.prev }}', body: '{{ $.prev }}' }],
    ['stopAndError', { message: '{{ $.prev }}', code: '{{ $.prev }}' }],
  ];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...nodes), json, json, async ([type, properties], prev, other) => {
      const failure = await run(type, properties, { prev, inputs: { main: [prev, other], second: [other] } }).then(
        () => null,
        (error: { code: string; message: string }) => (error.code === 'WF012' ? null : `${error.code} ${error.message}`),
      );
      expect(failure).toBeNull();
    }),
    { numRuns: rounds(60, 200) },
  );
});
