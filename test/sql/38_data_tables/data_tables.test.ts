/** Data tables: rows by key and by filter, their limits, and the node dataTable. */
import { beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';

const db = await createTestDatabase();
let acme: TestOrganization;
let globex: TestOrganization;
beforeAll(async () => {
  acme = await createOrganization(db);
  globex = await createOrganization(db, 'Globex');
});

const SCHEMA = {
  type: 'object',
  required: ['email'],
  properties: { email: { type: 'string' }, visits: { type: 'number', maximum: 1000 }, status: { enum: ['open', 'done'] } },
};
const nameOf = () => `t${Math.random().toString(36).slice(2)}`;

async function createTable(key: string | null = 'email', schema: unknown = SCHEMA, organization = acme, name = nameOf()) {
  const { rows } = await organization.user.query<{ id: string }>('select id from create_data_table($1, $2, $3)', [
    name,
    JSON.stringify(schema),
    key,
  ]);
  return { id: rows[0]!.id, name };
}
const change = async (name: string, id: string, ...values: unknown[]) => {
  const texts = values.map((value) => (typeof value === 'object' && !(value instanceof Date) ? JSON.stringify(value) : value));
  const places = ['$1', ...values.map((_value, place) => `$${place + 2}`)].join(', ');
  const { rows } = await acme.user.query<{ count: number; rows: { key: string; data: Record<string, unknown> }[] }>(
    `select * from ${name}(${places})`,
    [id, ...texts],
  );
  return rows[0]!;
};
const find = async (id: string, filter: unknown = {}, more = '') =>
  (
    await acme.user.query<{ id: string; key: string; data: Record<string, unknown> }>(`select * from find_data_rows($1, $2${more})`, [
      id,
      JSON.stringify(filter),
    ])
  ).rows;
const node = async (properties: Record<string, unknown>, input: unknown = null, organization = acme) => {
  const task = { type: 'dataTable@1', properties, input, organizationId: organization.id };
  const { rows } = await db.pool('flowgres_worker').query('select engine.run_local($1) as outcome', [JSON.stringify(task)]);
  return rows[0].outcome as { output?: unknown; error?: { code: string } };
};
const sizeOf = async (id: string) =>
  (
    await db.admin.query(
      `select (select sum(rows)::int from private.data_table_sizes where table_id = $1) as rows,
         (select sum(bytes)::int from private.data_table_sizes where table_id = $1) as bytes,
         count(*)::int as real_rows, coalesce(sum(private.data_row_bytes(data)), 0)::int as real_bytes
       from data_rows where table_id = $1`,
      [id],
    )
  ).rows[0];

describe('rows', () => {
  test('are inserted, changed by their key, and counted', async () => {
    const { id } = await createTable();
    expect(await change('insert_data_rows', id, { email: 'a', visits: 1 })).toMatchObject({ count: 1, rows: [{ key: 'a' }] });
    await expect(change('insert_data_rows', id, { email: 'a' })).rejects.toMatchObject({ code: 'WF003' });
    const upserted = await change('upsert_data_rows', id, [{ email: 'b' }, { email: 'a', status: 'open' }]);
    expect(upserted.rows.map(({ data }) => data)).toEqual(
      expect.arrayContaining([{ email: 'a', visits: 1, status: 'open' }, { email: 'b' }]),
    );
    await change('increment_data_row', id, JSON.stringify('a'), 'visits', 2);
    await change('increment_data_row', id, JSON.stringify('c'), 'visits');
    expect(await change('update_data_rows', id, { status: 'open' }, { status: 'done' })).toMatchObject({ count: 1 });
    expect((await find(id)).map(({ data }) => data)).toEqual([
      { email: 'a', visits: 3, status: 'done' },
      { email: 'b' },
      { email: 'c', visits: 1 },
    ]);
    expect(await change('delete_data_rows', id, { email: 'b' })).toMatchObject({ count: 1 });
    const size = await sizeOf(id);
    expect(size).toMatchObject({ rows: 2, real_rows: 2, bytes: size.real_bytes });
  });

  test.each([
    ['no key', { status: 'open' }, 'WF001'],
    ['a key that is an object', { email: {} }, 'WF001'],
    ['a value that its schema refuses', { email: 'x', visits: 1001 }, 'WF001'],
    ['no object', ['x'], 'WF001'],
    ['nothing', [], 'WF001'],
    ['one key twice', [{ email: 'x' }, { email: 'x' }], 'WF001'],
    ['more than 64 KiB', { email: 'x', text: 'x'.repeat(70_000) }, 'WF010'],
    ['more than 1,000 rows', Array.from({ length: 1_001 }, (_row, number) => ({ email: String(number) })), 'WF001'],
  ])('with %s are refused, in both ways of writing', async (_what, rows, code) => {
    const { id } = await createTable();
    await expect(change('insert_data_rows', id, rows)).rejects.toMatchObject({ code });
    await expect(change('upsert_data_rows', id, rows)).rejects.toMatchObject({ code });
    expect(await find(id)).toEqual([]);
  });

  test('keep to the schema when they are merged, counted with and updated', async () => {
    const { id } = await createTable();
    await change('insert_data_rows', id, { email: 'a', visits: 1000 });
    await expect(change('increment_data_row', id, JSON.stringify('a'), 'visits')).rejects.toMatchObject({ code: 'WF001' });
    await expect(change('increment_data_row', id, JSON.stringify('a'), 'email')).rejects.toMatchObject({ code: 'WF009' });
    await expect(change('update_data_rows', id, {}, { visits: 'many' })).rejects.toMatchObject({ code: 'WF001' });
    await expect(change('update_data_rows', id, {}, { email: null })).rejects.toMatchObject({ code: 'WF001' });
    await change('insert_data_rows', id, { email: 'b' });
    await expect(change('update_data_rows', id, { email: 'b' }, { email: 'a' })).rejects.toMatchObject({ code: 'WF003' });
  });

  test('without a key are inserted and listed only', async () => {
    const { id } = await createTable(null, {});
    await change('insert_data_rows', id, [{ n: 1 }, { n: 1 }]);
    expect(await find(id, { n: 1 })).toHaveLength(2);
    await expect(change('upsert_data_rows', id, { n: 1 })).rejects.toMatchObject({ code: 'WF009' });
  });

  test('counted at the same time lose no count', async () => {
    const { id } = await createTable();
    await Promise.all(Array.from({ length: 8 }, () => change('increment_data_row', id, JSON.stringify('a'), 'visits')));
    expect((await find(id))[0]!.data).toMatchObject({ visits: 8 });
    const size = await sizeOf(id);
    expect(size).toMatchObject({ rows: 1, bytes: size.real_bytes });
  });
});

describe('a filter', () => {
  test.each<[Record<string, unknown>, string[]]>([
    [{}, ['a', 'b', 'c']],
    [{ status: 'open' }, ['a', 'b']],
    [{ total: { gte: 5 } }, ['b', 'c']],
    [{ status: 'open', total: { gt: 1, lt: 9 } }, ['b']],
    [{ at: { lt: '2026-02' } }, ['a', 'b']],
    [{ total: { in: [1, 9] } }, ['a', 'c']],
    [{ status: { ne: 'open' } }, ['c']],
    [{ total: { gt: 'x' } }, []],
    [{ tag: { color: 'red' } }, ['c']],
    [{ nothing: 1 }, []],
    [{ 'it\'s \\" $': 1 }, []],
  ])('%j finds %j', async (filter, keys) => {
    const { id } = await createTable('k', {});
    await change('insert_data_rows', id, [
      { k: 'a', status: 'open', total: 1, at: '2026-01-01' },
      { k: 'b', status: 'open', total: 5, at: '2026-01-31' },
      { k: 'c', total: 9, at: '2026-02-01', tag: { color: 'red', size: 1 } },
    ]);
    expect((await find(id, filter)).map(({ key }) => key).sort()).toEqual(keys);
  });

  test('that is none is refused', async () => {
    const { id } = await createTable();
    for (const filter of [[], 'x', null, Object.fromEntries(Array.from({ length: 21 }, (_each, n) => [`p${n}`, n]))]) {
      await expect(change('delete_data_rows', id, JSON.stringify(filter))).rejects.toMatchObject({ code: 'WF009' });
    }
  });

  test('uses the index, and pages by the id of the last row', async () => {
    const { id } = await createTable('k', {});
    await change(
      'insert_data_rows',
      id,
      Array.from({ length: 1000 }, (_each, n) => ({ k: n, even: n % 2 === 0 })),
    );
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await find(id, { even: true }, `, after => ${after ? `'${after}'` : 'null'}, row_limit => 200`);
      seen.push(...page.map(({ key }) => key));
      if (page.length < 200) break;
      after = page.at(-1)!.id;
    }
    expect(new Set(seen).size).toBe(500);
    await db.admin.query('analyze data_rows');
    const { rows } = await db.admin.query(
      `explain select from data_rows as r where private.data_document(r.table_id, r.data) @> private.data_document($1, '{"k": 7}')`.replace(
        '$1',
        `'${id}'`,
      ),
    );
    expect(JSON.stringify(rows)).toContain('data_rows_document_idx');
  });
});

test('another organization sees and reaches nothing', async () => {
  const { id, name } = await createTable();
  await change('insert_data_rows', id, { email: 'a' });
  for (const text of [
    `select from find_data_rows('${id}')`,
    `select from insert_data_rows('${id}', '{"email": "b"}')`,
    `select from delete_data_rows('${id}', '{}')`,
    `select from delete_data_table('${id}')`,
  ]) {
    await expect(globex.user.query(text)).rejects.toMatchObject({ code: 'WF002' });
  }
  expect((await globex.user.query('select from data_tables')).rows).toEqual([]);
  expect((await globex.user.query('select from data_rows')).rows).toEqual([]);
  expect(await node({ table: name, operation: 'list' }, null, globex)).toMatchObject({ error: { code: 'NOT_FOUND' } });
});

describe('a limit', () => {
  test('of storage is that of the plan, and what is there counts', async () => {
    const { id } = await createTable();
    await change('insert_data_rows', id, { email: 'a' });
    await acme.user.query(`select from set_organization_limit('storage_gb', 1)`);
    await db.admin.query(`update private.data_table_sizes set bytes = bytes + 1000000000 where table_id = $1`, [id]);
    await expect(change('insert_data_rows', id, { email: 'b' })).rejects.toMatchObject({
      code: 'WF006',
      detail: expect.stringContaining('storage_gb'),
    });
    await change('delete_data_rows', id, {});
    const { rows } = await acme.user.query(`select used from usage() where metric = 'storage_gb'`);
    expect(rows).toEqual([{ used: 1 }]);
    await acme.user.query(`select from set_organization_limit('storage_gb', null)`);
    await acme.user.query('select from delete_data_table($1)', [id]);
  });

  test('of the rows of a table', async () => {
    const { id } = await createTable();
    await change('insert_data_rows', id, { email: 'a' });
    await db.admin.query('update private.data_table_sizes set rows = rows + engine.max_data_rows() - 1 where table_id = $1', [id]);
    await expect(change('insert_data_rows', id, { email: 'b' })).rejects.toMatchObject({ code: 'WF006' });
    await change('upsert_data_rows', id, { email: 'a', visits: 2 });
  });
});

describe('the node dataTable', () => {
  test('writes and reads, its input by default', async () => {
    const { name } = await createTable();
    expect(await node({ table: name, operation: 'upsert' }, { email: 'a', visits: 1 })).toMatchObject({
      output: { key: 'a', data: { visits: 1 } },
    });
    expect(await node({ table: name, operation: 'insert', rows: [{ email: 'b' }] })).toMatchObject({ output: [{ key: 'b' }] });
    expect(await node({ table: name, operation: 'get', key: 'a' })).toMatchObject({ output: { data: { email: 'a', visits: 1 } } });
    expect(await node({ table: name, operation: 'get', key: 'zz' })).toEqual({ output: null });
    expect(await node({ table: name, operation: 'increment', key: 'a', property: 'visits', by: 4 })).toMatchObject({
      output: { data: { visits: 5 } },
    });
    expect(await node({ table: name, operation: 'list', limit: 1 })).toMatchObject({
      output: { rows: [{ key: 'a' }], after: expect.any(String) },
    });
    expect(await node({ table: name, operation: 'update', key: 'a', values: { status: 'done' } })).toEqual({ output: { count: 1 } });
    expect(await node({ table: name, operation: 'delete', filter: { status: 'done' } })).toEqual({ output: { count: 1 } });
    expect(await node({ table: name, operation: 'list' })).toMatchObject({ output: { rows: [{ key: 'b' }], after: null } });
  });

  test.each<[Record<string, unknown>, string]>([
    [{ operation: 'delete' }, 'INVALID_ARGUMENT'],
    [{ operation: 'delete', key: null }, 'INVALID_ARGUMENT'],
    [{ operation: 'update', filter: null, values: {} }, 'INVALID_ARGUMENT'],
    [{ operation: 'list', updatedBefore: 'yesterday-ish' }, 'INVALID_ARGUMENT'],
    [{ operation: 'list', after: 'x' }, 'INVALID_ARGUMENT'],
    [{ operation: 'insert', rows: { status: 'odd' } }, 'VALIDATION_FAILED'],
  ])('%j fails with %s', async (properties, code) => {
    const { name } = await createTable();
    expect(await node({ table: name, ...properties })).toMatchObject({ error: { code } });
  });
});

describe('a definition', () => {
  test('that is not valid is refused', async () => {
    await expect(createTable('email', {}, acme, 'not a name')).rejects.toMatchObject({ code: 'WF001' });
    await expect(createTable('email', { pattern: '(a+)+$' })).rejects.toMatchObject({ code: 'WF001' });
    await expect(createTable('')).rejects.toMatchObject({ code: 'WF001' });
    const { name } = await createTable();
    await expect(createTable('email', {}, acme, name)).rejects.toMatchObject({ code: 'WF003' });
  });

  test('changes; its rows stay until they are written; both are in the audit log or not', async () => {
    const { id, name } = await createTable();
    await change('insert_data_rows', id, { email: 'a' });
    const strict = JSON.stringify({ required: ['email', 'name'] });
    await acme.user.query('select from update_data_table($1, schema => $2)', [id, strict]);
    expect(await find(id)).toHaveLength(1);
    await expect(change('upsert_data_rows', id, { email: 'a' })).rejects.toMatchObject({ code: 'WF001' });
    expect((await acme.user.query('select name from delete_data_table($1)', [id])).rows).toEqual([{ name }]);
    const { rows } = await db.admin.query(`select table_name, operation from audit_log where row_key ->> 'id' = $1 order by id`, [id]);
    expect(rows.map(({ operation }) => operation)).toEqual(['insert', 'update', 'delete']);
    expect((await db.admin.query(`select from audit_log where table_name = 'public.data_rows'`)).rows).toEqual([]);
  });
});
