/** partitions.create(): name, bounds and properties of a new partition. */
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';
import { databaseAt, lines, manageReadings, partitionsOf } from '../../../helpers/partitions.ts';

const create = 'select partitions.create($1, $2) as name';

describe('a new partition', async () => {
  const db = await createTestDatabase();
  await db.admin.query('alter default privileges for role flowgres_owner grant all on tables to public, flowgres_user');
  await manageReadings(db, `storage => '{"fillfactor": 90, "toast.autovacuum_enabled": false}'`);
  await db.admin.query(`alter table readings replica identity full`);
  const { rows } = await db.admin.query(create, ['readings', '2026-11-21']);

  test('is called after its period', () => expect(rows).toEqual([{ name: 'readings_y2026m11' }]));

  test("has the parent's indexes under its own name, and they are part of the parent's", async () => {
    const indexes = await lines(
      db,
      `select i.indexrelid::regclass, h.inhparent::regclass from pg_index as i join pg_inherits as h on h.inhrelid = i.indexrelid
       where i.indrelid = 'readings_y2026m11'::regclass order by 1`,
    );
    expect(indexes).toEqual(['readings_y2026m11_pkey readings_pkey', 'readings_y2026m11_value_idx readings_value_idx']);
  });

  test('has checks, defaults, replica identity, storage parameters and a comment', async () => {
    expect(
      await lines(
        db,
        `select c.relreplident, c.reloptions, (select reloptions from pg_class as t where t.oid = c.reltoastrelid),
           (select conname from pg_constraint where conrelid = c.oid and contype = 'c'),
           (select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = c.oid), obj_description(c.oid)
         from pg_class as c where c.relname = 'readings_y2026m11'`,
      ),
    ).toEqual([
      "f fillfactor=90 autovacuum_enabled=false readings_value_check nextval('readings_id_seq'::regclass) " +
        'Rows of readings from 2026-11-01 to 2026-12-01 (UTC, end excluded).',
    ]);
  });

  test('is closed to everybody, whatever the default privileges', async () => {
    const grantees = `array(select a.grantee::regrole::text from aclexplode(c.relacl) as a group by 1)`;
    expect(await lines(db, `select c.relrowsecurity, ${grantees} from pg_class as c where c.relname = 'readings_y2026m11'`)).toEqual([
      'true flowgres_owner',
    ]);
  });
});

test.each([
  ['ts timestamptz', `FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00')`],
  ['day date', `FOR VALUES FROM ('2026-11-01') TO ('2026-12-01')`],
  ['key uuid', `FOR VALUES FROM ('01a19467-e800-0000-0000-000000000000') TO ('01a22ee6-b000-0000-0000-000000000000')`],
])('a table cut by %s gets bounds of that type', async (key, bounds) => {
  const db = await createTestDatabase();
  await manageReadings(db, '', key);
  await db.admin.query(create, ['readings', '2026-11-21']);
  const expression = `select pg_get_expr(relpartbound, oid) from pg_class where relname = 'readings_y2026m11'`;
  expect(await lines(db, expression)).toEqual([bounds]);
});

test('creating twice gives the same name and one partition, also at once', async () => {
  const db = await createTestDatabase();
  await manageReadings(db);
  const names = await Promise.all(Array.from({ length: 6 }, () => db.admin.query(create, ['readings', '2026-11-21'])));
  expect(names.map(({ rows }) => rows[0].name)).toEqual(Array(6).fill('readings_y2026m11'));
  expect(await partitionsOf(db, 'readings')).toHaveLength(1);
});

test('a table with the wanted name that is no partition is an error, not a success', async () => {
  const db = await createTestDatabase({ unchecked: true });
  await manageReadings(db);
  await db.admin.query('create table readings_y2026m11 (like readings)');
  await expect(db.admin.query(create, ['readings', '2026-11-21'])).rejects.toMatchObject({
    code: 'WF003',
    message: 'A table public.readings_y2026m11 exists that is no partition of public.readings for this time.',
    hint: expect.stringContaining(`alter table public.readings attach partition public.readings_y2026m11 for values from ('2026-11-01`),
  });
});

test.each([
  ['readings', null, 'WF009'],
  ['readings', 'infinity', 'WF009'],
  ['readings', '-infinity', 'WF009'],
  ['readings', '9999-01-01', 'WF009'],
  ['readings', '10000-01-01', 'WF009'],
  ['readings', '0044-03-15 BC', 'WF009'],
  ['pg_class', '2026-01-01', 'WF002'],
  [null, '2026-01-01', 'WF002'],
])('a partition of %s for %s is refused', async (parent, at, code) => {
  const db = await createTestDatabase();
  await manageReadings(db);
  await expect(db.admin.query(create, [parent, at])).rejects.toMatchObject({ code, hint: at === null ? undefined : expect.anything() });
});

test('names in need of quotes are quoted', async () => {
  const db = await databaseAt('2026-11-21');
  await db.admin.query(`
    create schema "My ""data"" USING" authorization flowgres_owner;
    set role flowgres_owner;
    create table "My ""data"" USING"."it's" (ts timestamptz, "a b" int) partition by range (ts);
    create unique index "Odd USING x" on "My ""data"" USING"."it's" (ts, "a b" desc) include ("a b") where "a b" > 0;
    reset role;
    select partitions.manage('"My ""data"" USING"."it''s"')`);
  expect(await lines(db, 'select partition, done from partitions.maintain()')).toContain(`it's_y2026m11 true`);
  expect(await lines(db, `select pg_get_indexdef('"My ""data"" USING"."it''s_y2026m11_Odd USING x"'::regclass)`)).toEqual([
    `CREATE UNIQUE INDEX "it's_y2026m11_Odd USING x" ON "My ""data"" USING"."it's_y2026m11" USING btree (ts, "a b" DESC) INCLUDE ("a b") WHERE ("a b" > 0)`,
  ]);
});

test('what a DBA sets as storage parameter is quoted', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, `storage => '{"fillfactor) ; drop table readings; --": 90}'`);
  await expect(db.admin.query(create, ['readings', '2026-11-21'])).rejects.toMatchObject({ code: '22023' });
});

test('a piece is fitted between the neighbours that exist', async () => {
  const db = await createTestDatabase();
  await manageReadings(db, `'day'`);
  for (const day of ['2026-10-30', '2026-11-03']) await db.admin.query(create, ['readings', day]);
  await db.admin.query(`select partitions.manage('readings', 'month')`);
  for (const day of ['2026-11-02', '2026-11-30', '2026-10-31']) await db.admin.query(create, ['readings', day]);
  expect(await partitionsOf(db, 'readings')).toEqual([
    'readings_y2026m10d30 2026-10-30 2026-10-31',
    'readings_y2026m10d31 2026-10-31 2026-11-01',
    'readings_y2026m11d01 2026-11-01 2026-11-03',
    'readings_y2026m11d03 2026-11-03 2026-11-04',
    'readings_y2026m11d04 2026-11-04 2026-12-01',
  ]);
});
