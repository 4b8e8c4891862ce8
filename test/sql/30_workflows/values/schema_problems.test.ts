/** JSON schemas of properties: every problem with its pointer. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

async function problems(value: unknown, schema: object, expressions = false): Promise<string[]> {
  const { rows } = await db.admin.query(`select pointer, message from engine.schema_problems($1, $2, '{}', $3)`, [
    JSON.stringify(value),
    JSON.stringify(schema),
    expressions,
  ]);
  return rows.map(({ pointer, message }) => `${pointer} ${message}`);
}

test.each<[object, unknown[], unknown[]]>([
  [{ type: 'string' }, ['', 'a'], [1, null, [], {}]],
  [{ type: ['array', 'null'] }, [[], null], [1, 'a']],
  [{ type: 'integer' }, [0, -5, 1e10], [1.5, '1']],
  [{ type: 'number' }, [1.5, 1], ['1']],
  [{ type: 'boolean' }, [true], [0]],
  [{ enum: ['a', 1, null] }, ['a', 1, null], ['b', '1', [1]]],
  [{ const: { a: 1 } }, [{ a: 1 }], [{ a: 2 }]],
  [{ minimum: 1, maximum: 2 }, [1, 2, 'no number'], [0.9, 2.1]],
  [{ minLength: 2, maxLength: 3 }, ['ää', 'abc', 5], ['a', 'abcd']],
  [{ pattern: '^a+$' }, ['aa', 1], ['ab', '']],
  [{ minItems: 1, maxItems: 2 }, [[1], [1, 2], 'x'], [[], [1, 2, 3]]],
  [{ items: { type: 'number' } }, [[], [1]], [['a']]],
  [{ required: ['a'], properties: { a: { type: 'number' } } }, [{ a: 1, b: 'x' }, 'no object'], [{}, { a: 'x' }]],
  [{ properties: { a: {} }, additionalProperties: false }, [{}, { a: 1 }], [{ b: 1 }]],
  [{ additionalProperties: { type: 'number' } }, [{}, { a: 1 }], [{ a: 'x' }]],
  [{ additionalProperties: false }, [{}], [{ a: 1 }]],
  [{ anyOf: [{ type: 'number' }, { type: 'array', items: { const: 1 } }] }, [5, [1, 1]], ['x', [2]]],
  [{}, [1, null, { a: [] }], []],
])('%j', async (schema, right, wrong) => {
  for (const value of right) expect(await problems(value, schema)).toEqual([]);
  for (const value of wrong) expect(await problems(value, schema)).not.toEqual([]);
});

describe('a problem', () => {
  test('has a pointer, and all are found', async () => {
    const schema = { properties: { 'a/b': { items: { required: ['x'], properties: { y: { type: 'number' } } } }, '~': { type: 'null' } } };
    expect(await problems({ 'a/b': [{ x: 1 }, { y: 'z' }], '~': 1 }, schema)).toEqual([
      '/~0 must be null, not number',
      '/a~1b/1 x is missing',
      '/a~1b/1/y must be number, not string',
    ]);
  });

  test('of anyOf says what each form needs', async () => {
    expect(await problems(true, { anyOf: [{ type: 'number' }, { type: 'string' }] })).toEqual([
      ' must be number, not boolean; or must be string, not boolean',
    ]);
  });
});

test('an expression may stand for any value, except where texts are fixed', async () => {
  const schema = { properties: { count: { type: 'integer' }, mode: { enum: ['a'], format: 'static' } } };
  expect(await problems({ count: '{{ $.prev.n }}', mode: 'a' }, schema, true)).toEqual([]);
  expect(await problems({ count: '{{ $.prev.n }}' }, schema)).toHaveLength(1);
  expect(await problems({ mode: '{{ $.prev.n }}' }, schema, true)).toHaveLength(1);
});
