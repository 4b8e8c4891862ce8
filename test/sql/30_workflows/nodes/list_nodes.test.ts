/** Nodes of lists, dates and conversions: edge cases, failures, and what the engine leaves to a local step. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';
import { failureOf, runNode, validate, definitionFor } from '../../../helpers/nodes.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const outputOf = async (type: string, properties: Record<string, unknown>, prev: unknown, more: object = {}) =>
  (await runNode(db, { id: 'n', type, properties }, { prev, ...more })).output;

test.each<[type: string, properties: Record<string, unknown>, prev: unknown, output: unknown]>([
  ['splitOut', { field: 'a.b' }, { a: { b: [1, [2]] } }, [1, [2]]],
  ['splitOut', { field: 'a', as: 'x', keep: ['id'] }, [{ id: 1, a: [{ q: 1 }] }], [{ id: 1, x: { q: 1 } }]],
  ['splitOut', { field: 'a', keep: ['id'] }, [{ id: 1, a: 5 }], [{ id: 1, a: 5 }]],
  ['splitOut', { field: 'a' }, null, []],
  ['splitOut', { field: 'a.b' }, [{ 'a.b': [1], a: { b: [2] } }], [1]],
  ['aggregate', { all: 'list' }, [1, 2], { list: [1, 2] }],
  ['aggregate', { fields: ['a'], all: 'list' }, [], { list: [], a: [] }],
  ['summarize', { values: [{ function: 'sum', field: 'n' }, { function: 'count' }] }, [], [{ sum_n: 0, count: 0 }]],
  ['summarize', { by: ['k'], values: [{ function: 'count' }] }, [], []],
  [
    'summarize',
    {
      by: ['k'],
      values: [
        { function: 'avg', field: 'n' },
        { function: 'list', field: 'n', as: 'all' },
        { function: 'last', field: 'n' },
      ],
    },
    [{ k: 1, n: 1 }, { n: 5 }, { k: 1, n: null }, { k: 1.0, n: 2 }],
    [
      { k: 1, avg_n: 1.5, all: [1, null, 2], last_n: 2 },
      { k: null, avg_n: 5, all: [5], last_n: 5 },
    ],
  ],
  ['sort', {}, ['b', null, 'a', 3, 'B'], ['B', 'a', 'b', 3, null]],
  [
    'sort',
    { by: [{ field: 'a.b', direction: 'desc' }] },
    [{ a: { b: 1 } }, { a: {} }, { a: { b: 2 } }],
    [{ a: { b: 2 } }, { a: { b: 1 } }, { a: {} }],
  ],
  ['limit', { count: 2, keep: 'last' }, [1, 2, 3], [2, 3]],
  ['limit', { count: 0, keep: 'last' }, [1, 2, 3], []],
  ['limit', { count: '{{ $.prev | length }}' }, [1, 2], [1, 2]],
  ['removeDuplicates', {}, [1, 1.0, '1', null, null], [1, '1', null]],
  ['removeDuplicates', { by: ['a', 'b'] }, [{ a: 1 }, { b: 1 }, { a: 1, b: null, c: 2 }], [{ a: 1 }, { b: 1 }]],
  ['renameKeys', { rename: { a: 'b' } }, { a: 1, b: 2 }, { b: 1 }],
  ['dateTime', { value: 0, timezone: 'UTC' }, null, '1970-01-01T00:00:00.000Z'],
  [
    'dateTime',
    { value: '2026-03-28T12:00', timezone: 'Europe/Berlin', add: { amount: 1, unit: 'days' } },
    null,
    '2026-03-29T12:00:00.000+02:00',
  ],
  ['convert', { to: 'json' }, { a: [1] }, '{"a": [1]}'],
  ['convert', { to: 'fromJson', as: 'x' }, '[1]', { x: [1] }],
  ['convert', { to: 'base64' }, 'ü', 'w7w='],
  ['convert', { to: 'fromBase64' }, 'w7w=', 'ü'],
  ['convert', { to: 'urlEncoded' }, { a: 'b c', n: [1, true], 'ü&': null }, 'a=b%20c&n=1&n=true&%C3%BC%26='],
  ['convert', { to: 'fromUrlEncoded' }, 'a=b+c&n=1&n=%C3%BC&x&=1', { a: 'b c', n: ['1', 'ü'], x: '', '': '1' }],
  ['convert', { to: 'fromUrlEncoded' }, '', {}],
  ['convert', { to: 'csv' }, [], ''],
  ['convert', { to: 'csv', header: false }, [[1, null, 'a"b'], { x: 'é' }], '1,,"a""b"\r\né\r\n'],
  ['convert', { to: 'csv', delimiter: '\t' }, [{ b: 'x\ty', a: { c: 1 } }], 'a\tb\r\n"{""c"": 1}"\t"x\ty"\r\n'],
  [
    'convert',
    { to: 'fromCsv', header: false },
    'a,b\n,\n\n"",x',
    [
      ['a', 'b'],
      ['', ''],
      ['', 'x'],
    ],
  ],
  ['convert', { to: 'fromCsv', delimiter: '|' }, '\ufeffa|b\r1|"x\n|y"\r\n2', [{ a: '1', b: 'x\n|y' }, { a: '2' }]],
  [
    'convert',
    { to: 'fromCsv', columns: ['x'], header: false, numbers: true },
    '007\n-1.50\n1e5',
    [{ x: '007' }, { x: -1.5 }, { x: '1e5' }],
  ],
  ['convert', { to: 'fromCsv' }, '', []],
])('%s %j of %j', async (type, properties, prev, output) => {
  expect(await outputOf(type, properties, prev)).toEqual(output);
});

test.each<[type: string, properties: Record<string, unknown>, prev: unknown, code: string]>([
  ['sort', {}, 'x', 'NOT_A_LIST'],
  ['splitOut', { field: 'a' }, 'x', 'NOT_A_LIST'],
  ['summarize', { values: [{ function: 'sum', field: 'n' }] }, [{ n: 'x' }], 'NOT_NUMBERS'],
  ['summarize', { values: [{ function: 'min' }] }, [1, 'x'], 'NOT_NUMBERS'],
  ['limit', { count: '{{ $.prev[0] }}' }, [-1], 'VALIDATION_FAILED'],
  ['limit', { count: '{{ $.prev[0] }}' }, ['x'], 'VALIDATION_FAILED'],
  ['renameKeys', { rename: {} }, [1], 'NOT_OBJECTS'],
  ['dateTime', { value: 'tomorrow', timezone: 'UTC' }, null, 'CONVERSION_FAILED'],
  ['dateTime', { value: 0, timezone: 'Mars' }, null, 'CONVERSION_FAILED'],
  ['convert', { to: 'fromJson' }, '{', 'CONVERSION_FAILED'],
  ['convert', { to: 'fromCsv' }, 'a\n"b', 'CONVERSION_FAILED'],
  ['convert', { to: 'fromCsv' }, 'a\n"b"c', 'CONVERSION_FAILED'],
  ['convert', { to: 'fromUrlEncoded' }, 'a=%FF', 'CONVERSION_FAILED'],
  ['convert', { to: 'fromBase64' }, '***', 'CONVERSION_FAILED'],
  ['convert', { to: 'csv' }, [1], 'NOT_OBJECTS'],
])('%s %j of %j fails with %s', async (type, properties, prev, code) => {
  expect((await failureOf(outputOf(type, properties, prev))).detail).toMatchObject({ code });
});

test('compare matches items by several fields, and of items with the same fields the first counts', async () => {
  const inputs = {
    main: [
      [
        { a: 1, b: 1, n: 1 },
        { a: 1, b: 2 },
        { a: 1, b: 1, n: 9 },
      ],
    ],
    second: [
      [
        { a: 1, b: 2 },
        { a: 2, b: 1 },
        { a: 1, b: 1, n: 2 },
      ],
    ],
  };
  expect(await outputOf('compare', { by: ['a', 'b'] }, null, { inputs })).toEqual({
    added: [{ a: 2, b: 1 }],
    removed: [],
    changed: [{ before: { a: 1, b: 1, n: 1 }, after: { a: 1, b: 1, n: 2 } }],
    same: [{ a: 1, b: 2 }],
  });
});

test('a node without the fields that it needs is refused', async () => {
  const problem = async (type: string, properties: object) =>
    (await validate(db, definitionFor({ id: 'n', type, properties: { ...properties } }))).map(({ message }) => message);
  expect(await problem('splitOut', {})).toEqual(['field is missing']);
  expect(await problem('summarize', { values: [{ function: 'median' }] })).toEqual([
    'must be one of sum, avg, count, min, max, first, last, list',
  ]);
  expect(await problem('convert', { to: 'xml' })).toHaveLength(1);
});

test.each<[string, Record<string, unknown>]>([
  ['sort', { by: [{ field: 'n' }, { field: 's' }] }],
  [
    'summarize',
    {
      by: ['n'],
      values: [
        { function: 'sum', field: 'n' },
        { function: 'list', field: 's' },
      ],
    },
  ],
  ['removeDuplicates', { by: ['n', 's'] }],
  ['convert', { to: 'csv' }],
])('%s of a large list is evaluated in a local step, and gives the same', async (type, properties) => {
  const engine = new Driver(db);
  const acme = await createOrganization(db, `Large ${type}`);
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'n', type, properties }));
  const input = Array.from({ length: 3_000 }, (_, n) => ({ n: n % 7, s: `text ${n % 100}` }));
  const { run_id, status } = await engine.start(acme, workflow, input);
  expect(status).toBe('running');
  await engine.evaluate(await engine.beginIsolated(run_id, 'n'));
  expect(await engine.output(run_id)).toEqual(await outputOf(type, properties, input));
});
