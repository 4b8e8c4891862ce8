/** Schemas of inputs: which are allowed, and what checking an input costs. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { validate } from '../../../helpers/nodes.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const INPUT = '/nodes/0/properties/input';

async function problems(input: unknown): Promise<string[]> {
  const found = await validate(db, { nodes: [{ id: 'called', type: 'subworkflowTrigger', properties: { input } }] });
  return found.map(({ pointer, code }) => `${code} ${pointer}`);
}

const nested = (count: number) => ({ properties: Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, {}])) });

describe('the schema of inputs', () => {
  test.each(['^[A-Z]{2}[0-9]+$', '^\\d{4}-\\d{2}-\\d{2}$', 'new|paid|sent', '^.*$'])('may have the pattern %s', async (pattern) => {
    expect(await problems({ pattern })).toEqual([]);
  });

  test.each(['(a|b)*a(a|b){18}c', '[ab]*a[ab]{18}c', '(a+)+$', '^a*b*$', '(', 'x'.repeat(257)])(
    'may not have the pattern %s, wherever it is',
    async (pattern) => {
      expect(await problems({ pattern })).toEqual([`EXPENSIVE_EXPRESSION ${INPUT}/pattern`]);
      const parts = { properties: { a: { items: { pattern } } }, additionalProperties: { pattern }, anyOf: [{}, { pattern }] };
      expect((await problems(parts)).sort()).toEqual([
        `EXPENSIVE_EXPRESSION ${INPUT}/additionalProperties/pattern`,
        `EXPENSIVE_EXPRESSION ${INPUT}/anyOf/1/pattern`,
        `EXPENSIVE_EXPRESSION ${INPUT}/properties/a/items/pattern`,
      ]);
    },
  );

  test('has 200 schemas and 16,384 characters at most', async () => {
    expect(await problems(nested(199))).toEqual([]);
    expect(await problems(nested(200))).toEqual([`EXPENSIVE_EXPRESSION ${INPUT}`]);
    expect(await problems({ const: 'x'.repeat(17_000) })).toEqual([`EXPENSIVE_EXPRESSION ${INPUT}`]);
  });

  test.each<[object, string]>([
    [{ minLength: 'x' }, '/minLength'],
    [{ maxItems: 1e300 }, '/maxItems'],
    [{ enum: 1 }, '/enum'],
    [{ properties: { a: true } }, '/properties/a'],
    [{ pattern: 1 }, '/pattern'],
    [{ anyOf: {} }, '/anyOf'],
  ])('is refused where a keyword has a value that it cannot have: %j', async (schema, place) => {
    expect(await problems(schema)).toEqual([`INVALID_PROPERTY ${INPUT}${place}`]);
  });
});

describe('checking an input', () => {
  const isExpensive = async (input: unknown, schema: unknown) => {
    const { rows } = await db.admin.query('select engine.is_expensive_input($1, $2) as is_so', [
      JSON.stringify(input),
      JSON.stringify(schema),
    ]);
    return rows[0].is_so as boolean;
  };
  const list = (length: number) => Array.from({ length }, (_, index) => index);

  test('compares 20,000 values with their schema at most, fewer when there are several forms', async () => {
    const items = { items: { type: 'number' } };
    expect(await isExpensive(list(19_999), items)).toBe(false);
    expect(await isExpensive(list(20_000), items)).toBe(true);
    expect(await isExpensive([','.repeat(30_000)], items)).toBe(false);
    const forms = { additionalProperties: { anyOf: [{ type: 'number' }, { type: 'array', items: {} }, { const: 1 }] } };
    expect(await isExpensive({ a: list(4_000) }, forms)).toBe(false);
    expect(await isExpensive({ a: list(5_000) }, forms)).toBe(true);
  });

  test('does not count what no schema is applied to', async () => {
    expect(await isExpensive({ id: 1, rows: list(30_000) }, { properties: { id: { type: 'number' } } })).toBe(false);
  });

  test('ends with the first problem, and compares lists and objects whole', async () => {
    const found = async (value: unknown, schema: unknown, most: number) => {
      const text = 'select pointer from engine.schema_problems($1, $2, p_most => $3)';
      return (await db.admin.query(text, [JSON.stringify(value), JSON.stringify(schema), most])).rowCount;
    };
    expect(await found(list(500), { items: { type: 'string' } }, 1)).toBe(1);
    expect(await found({ a: 1, b: 2, c: 3 }, { required: ['x', 'y'], additionalProperties: false }, 3)).toBe(3);
    expect(await found({ a: [list(9), list(9)] }, { items: { items: { items: { type: 'string' } } } }, 7)).toBe(7);
    expect(await found({ a: 1 }, { enum: [{ a: 1, b: 2 }] }, 1)).toBe(1);
    expect(await found([2, 1], { enum: [[1, 2], 3] }, 1)).toBe(1);
    expect(await found([1, 2], { enum: [[1, 2], 3] }, 1)).toBe(0);
  });
});
