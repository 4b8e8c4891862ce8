/** partitions.convert() and split(): a plain table becomes partitioned with all that belongs to it, or is refused. */
import { describe, expect, test } from 'vitest';
import { connect } from '../../../../src/database/connections.ts';
import type { TestDatabase } from '../../../helpers/database.ts';
import { databaseAt, freezeClock, lines, partitionsOf } from '../../../helpers/partitions.ts';

const NOW = '2026-11-21';
const TABLE = 'id bigserial, ts timestamptz not null, value int, constraint readings_pkey primary key (id, ts)';
const FILL = `insert into readings (ts, value) select '2026-08-15'::timestamptz + i * interval '1 hour', i from generate_series(1, 2000) as i`;

const asOwner = (db: TestDatabase, sql: string) => db.admin.query(`set role flowgres_owner; ${sql}; reset role`);
const convert = (db: TestDatabase, rest = '') => db.admin.query(`call partitions.convert('readings', 'ts'${rest})`);
const split = (db: TestDatabase) => db.admin.query(`call partitions.split('readings')`);

/** A plain table `readings` with 2,000 rows from August to November. */
async function readings(columns = TABLE, fill = FILL): Promise<TestDatabase> {
  const db = await databaseAt(NOW);
  await asOwner(db, `create table readings (${columns}); ${fill}`);
  return db;
}

const MONTHS = ['08', '09', '10', '11', '12'].map((month) => `readings_y2026m${month}`);
const AHEAD = ['readings_y2027m01', 'readings_y2027m02'];
const names = async (db: TestDatabase) => (await partitionsOf(db, 'readings')).map((line) => line.split(' ')[0]);

test('a table becomes partitioned with its rows in one partition, then in one for each period', async () => {
  const db = await readings();
  const sum = () => lines(db, 'select count(*), sum(id), sum(value), min(ts) from readings');
  const before = await sum();
  await convert(db, `, retention => '1 year'`);
  expect(await partitionsOf(db, 'readings')).toEqual(['readings_historic 2026-08-01 2027-03-01']);
  expect(await sum()).toEqual(before);
  expect(
    await lines(db, `select granularity, premake, retention from partitions.managed_tables where parent = 'readings'::regclass`),
  ).toEqual([expect.stringMatching(/^month 3 /)]);
  await split(db);
  expect(await names(db)).toEqual([...MONTHS, ...AHEAD]);
  expect(await sum()).toEqual(before);
  expect(await lines(db, `select count(*) from readings_y2026m08`)).toEqual(['407']);
  expect(await lines(db, `select state, blocks > 0, copied_blocks = blocks, historic, copy from partitions.conversions`)).toEqual([
    'done true true - -',
  ]);
  expect(await lines(db, `select "check" from partitions.doctor('readings')`)).toEqual([]);
  expect(await lines(db, `select * from partitions.maintain('readings')`)).toEqual([]);
  await split(db);
});

test.each([
  ['date', 'day date not null', 'day', `(day) select '2026-08-15'::date + i / 20`],
  ['uuid', 'key uuid not null', 'key', `(key) select engine.uuid_v7('2026-08-15'::timestamptz + i * interval '1 hour')`],
])('a table cut by a %s, by the week', async (_type, column, key, fill) => {
  const db = await readings(
    `id bigserial, ${column}, primary key (id, ${key})`,
    `insert into readings ${fill} from generate_series(1, 2000) as i`,
  );
  const weeks = await lines(
    db,
    `select count(distinct date_trunc('week', ${key === 'day' ? key : 'engine.uuid_time(key)'})) from readings`,
  );
  await db.admin.query(`call partitions.convert('readings', $1, 'week')`.replace('$1', `'${key}'`));
  await split(db);
  expect(await lines(db, 'select count(*) from readings')).toEqual(['2000']);
  expect(await lines(db, 'select count(distinct tableoid) from readings')).toEqual(weeks);
  expect((await names(db))[0]).toBe('readings_y2026w33');
});

test('everything that belongs to the table comes along', async () => {
  const db = await databaseAt(NOW);
  await asOwner(
    db,
    `create table sites (id int primary key);
     insert into sites values (1), (2);
     create table readings (
       id bigserial, ts timestamptz not null default '2026-11-21', value int constraint readings_value_check check (value >= 0),
       twice int generated always as (value * 2) stored, note text not null default 'none',
       site int constraint readings_site_fkey references sites on delete cascade, dropped text,
       constraint readings_pkey primary key (id, ts), constraint readings_ts_id_key unique (ts, id)
     ) with (fillfactor = 80, toast.autovacuum_enabled = false);
     alter table readings drop column dropped;
     create index readings_value_idx on readings (value desc) where value > 0;
     create unique index "Odd" on readings (ts, id) include (value);
     alter table readings replica identity using index "Odd";
     alter table readings enable row level security;
     create policy positive on readings for select to flowgres_user, flowgres_worker using (value > 0);
     create policy narrow on readings as restrictive to public using (true) with check (value in (select id from sites));
     grant select on readings to flowgres_user with grant option;
     grant update (note) on readings to flowgres_worker;
     create function noted() returns trigger language plpgsql as $$ begin NEW.note := NEW.note || '!'; return NEW; end $$;
     create trigger readings_note before insert on readings for each row execute function noted();
     create trigger readings_off before insert on readings for each row execute function noted();
     alter table readings disable trigger readings_off;
     comment on table readings is 'T'; comment on column readings.note is 'C'; comment on index readings_value_idx is 'I';
     comment on constraint readings_pkey on readings is 'K'; comment on trigger readings_note on readings is 'G';
     comment on policy narrow on readings is 'P'; comment on constraint readings_value_check on readings is 'V';
     create table refers (reading bigint, ts timestamptz,
       constraint refers_fkey foreign key (reading, ts) references readings (id, ts) on delete cascade);
     insert into readings (value, site) select i, 1 + i % 2 from generate_series(1, 10) as i;
     insert into refers select id, ts from readings where value < 4`,
  );
  const description = async (): Promise<unknown> => {
    const client = await connect(db.adminUrl);
    await client.query('set search_path = pg_catalog');
    const { rows } = await client.query({
      rowMode: 'array',
      text: `select line from (
          select statement from partitions.description('public.readings') as statement
          union all select statement from partitions.referring_key_statements('public.readings') as statement
          union all select format('%s %s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull, attgenerated, pg_get_expr(adbin, adrelid))
            from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where attrelid = 'public.readings'::regclass and attnum > 0 and not attisdropped
          union all select pg_get_constraintdef(oid) || obj_description(oid) from pg_constraint
            where conrelid = 'public.readings'::regclass and contype = 'c'
          union all select pg_get_serial_sequence('public.readings', 'id')
          union all select coalesce(col_description('public.readings'::regclass, 5), '')
        ) as l (line) order by line`,
    });
    await client.end();
    return rows.flat().map((line: string) => line.replace(' ON ONLY ', ' ON '));
  };
  const before = await description();
  await convert(db);
  await split(db);
  expect(await description()).toEqual(before);

  // What follows the table is of its partitions too, under their names, and they are closed.
  expect(
    await lines(
      db,
      `select conname, confrelid::regclass from pg_constraint where conrelid = 'readings_y2026m11'::regclass and contype = 'f'`,
    ),
  ).toEqual(['readings_site_fkey sites']);
  expect(
    await lines(
      db,
      `select c.relrowsecurity, c.relreplident, c.reloptions, (select count(*) from pg_policy where polrelid = c.oid),
         array(select grantee::regrole::text from partitions.access_lists(c.oid) as l, aclexplode(l.list) where grantee <> owner),
         to_regclass(c.relname || '_Odd') is null, to_regclass('public."readings_y2026m11_Odd"') is not null, obj_description(c.oid)
       from pg_class as c where relname = 'readings_y2026m11'`,
    ),
  ).toEqual(['true i fillfactor=80 0  true true Rows of readings from 2026-11-01 to 2026-12-01 (UTC, end excluded).']);
  await db.admin.query(`insert into readings (value, site) values (5, 1)`);
  expect(await lines(db, `select id, note, twice from readings order by id desc limit 1`)).toEqual(['11 none! 10']);
  await db.admin.query(`delete from readings where value = 1; delete from sites where id = 1`);
  expect(await lines(db, `select (select count(*) from readings), (select count(*) from refers)`)).toEqual(['4 1']);
  await expect(db.admin.query(`insert into refers values (99, '2026-11-21')`)).rejects.toMatchObject({ code: '23503' });
});

describe('a primary key without the partition key', () => {
  const KEY = 'id bigserial constraint readings_pkey primary key, ts timestamptz, value int';

  test('is refused, with what can be done', async () => {
    const db = await readings(KEY);
    await expect(convert(db)).rejects.toMatchObject({
      code: 'WF009',
      message: 'public.readings has a primary key without ts.',
      hint: expect.stringContaining('extend_primary_key => true'),
    });
  });

  test('is extended when that is said, by an index that is built before', async () => {
    const db = await readings(KEY);
    const extend = () => convert(db, ', extend_primary_key => true');
    const hint = await extend().catch((error: { hint: string }) => error.hint);
    expect(hint).toBe('Build it first, which holds up nobody: create unique index concurrently on public.readings (id, ts)');
    await db.admin.query((hint as string).replace(/.*: /, ''));
    await extend();
    await split(db);
    expect(
      await lines(
        db,
        `select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 'readings'::regclass and contype = 'p'`,
      ),
    ).toEqual(['readings_pkey PRIMARY KEY (id, ts)']);
    expect(await lines(db, 'select count(*) from readings')).toEqual(['2000']);
  });
});

test('after each step, and after each that was interrupted, rows are all there, and so are later changes', async () => {
  const db = await readings();
  await convert(db);
  const client = await connect(db.adminUrl);
  const expected = new Map(
    (await lines(db, 'select id, value from readings')).map((line) => line.split(' ').map(Number) as [number, number]),
  );
  const states: string[] = [];
  for (let round = 1, goesOn = true; goesOn; round += 1) {
    await client.query(`begin; select partitions.split_step('readings'); rollback`);
    const { rows } = await client.query<{ goes_on: boolean }>(`select partitions.split_step('readings') as goes_on`);
    goesOn = rows[0]!.goes_on;
    states.push((await lines(db, 'select state from partitions.conversions'))[0]!);
    await client.query(
      `with gone as (delete from readings where id = $1), changed as (update readings set value = -$1 where id = $1 + 500)
       insert into readings (ts, value) values ('2026-09-09', $1)`,
      [round],
    );
    expected.delete(round);
    expected.set(round + 500, -round);
    expected.set(2000 + round, round);
    // Its time and its key change.
    await client.query(`update readings set ts = '2026-12-01', id = id + 10000 where id = $1 + 1000`, [round]);
    expected.set(round + 11000, expected.get(round + 1000)!);
    expected.delete(round + 1000);
    const present = new Map(
      (await lines(db, 'select id, value from readings')).map((line) => line.split(' ').map(Number) as [number, number]),
    );
    expect(present).toEqual(expected);
  }
  await client.end();
  expect([...new Set(states)]).toEqual(['preparing', 'copying', 'copied', 'equal', 'switched', 'done']);
  expect(await names(db)).toEqual([...MONTHS, ...AHEAD]);
});

test('two at once take turns', async () => {
  const db = await readings();
  await convert(db);
  await Promise.all([split(db), split(db), db.admin.query('call partitions.split()')]);
  expect(await lines(db, 'select count(*), count(distinct id) from readings')).toEqual(['2000 2000']);
  expect(await names(db)).toEqual([...MONTHS, ...AHEAD]);
});

test('a table that is truncated or rewritten while it is split is copied as it is then', async () => {
  const db = await readings();
  await convert(db);
  const until = async (state: string) => {
    while ((await lines(db, 'select state from partitions.conversions'))[0] !== state)
      await db.admin.query(`select partitions.split_step('readings')`);
  };
  await until('copying');
  await db.admin.query(
    `select partitions.split_step('readings'); truncate readings; insert into readings (ts, value) values ('2026-10-10', 1)`,
  );
  await until('copied');
  await db.admin.query(`insert into readings (ts, value) select '2026-10-11', i from generate_series(1, 100) as i`);
  await db.admin.query(`update partitions.conversions set state = 'copying', copied_blocks = blocks`);
  await asOwner(db, 'vacuum full readings_historic').catch(() => db.admin.query('vacuum full readings_historic'));
  await split(db);
  expect(await lines(db, 'select count(*), sum(value) from readings')).toEqual(['101 5051']);
});

test('a copy that differs is not taken, but made anew', async () => {
  const db = await readings();
  await convert(db);
  while ((await lines(db, 'select state from partitions.conversions'))[0] !== 'copied')
    await db.admin.query(`select partitions.split_step('readings')`);
  await db.admin.query(`begin; set local session_replication_role = replica; delete from readings where id < 100; commit`);
  await split(db);
  expect(await lines(db, 'select count(*) from readings')).toEqual(['1901']);
  expect(await names(db)).toEqual([...MONTHS, ...AHEAD]);
});

test('a lock that is not to be had ends in an error, and the next call goes on', async () => {
  const db = await readings();
  const other = await connect(db.adminUrl);
  await other.query('begin; select * from readings');
  await expect(convert(db)).rejects.toMatchObject({ code: 'WF003', message: expect.stringContaining('held a lock for too long') });
  await other.end();
  await convert(db);
  await split(db);
  expect(await lines(db, 'select count(*) from readings')).toEqual(['2000']);
});

const PLAIN = 'create table refused (id int, ts timestamptz not null, value int, primary key (id, ts))';
/** What it is, how it is made, and the error. */
const REFUSED: [string, string, string, string][] = [
  ['no table', 'select', 'WF002', 'There is no table null.'],
  ['a table of somebody else', `reset role; ${PLAIN}`, 'WF005', 'does not belong to flowgres_owner'],
  ['a partitioned table', `${PLAIN} partition by range (ts)`, 'WF009', 'is partitioned already'],
  [
    'a partition',
    `create table refused partition of workflow_events for values from (minvalue) to ('1999-01-01')`,
    'WF009',
    'is itself a partition',
  ],
  ['a view', 'create view refused as select 1 as ts', 'WF009', 'is not a table'],
  ['an unlogged table', PLAIN.replace('table', 'unlogged table'), 'WF009', 'is temporary or unlogged'],
  ['a table that others inherit from', `${PLAIN}; create table successor () inherits (refused)`, 'WF009', 'inherits, or others inherit'],
  ['a table without the column', 'create table refused (id int primary key)', 'WF009', 'has no column ts'],
  ['another type of key', 'create table refused (ts int primary key)', 'WF009', 'cannot be cut by ts'],
  ['a timestamp without a zone', 'create table refused (ts timestamp primary key)', 'WF009', 'cannot be cut by ts'],
  [
    'a generated key',
    'create table refused (id date primary key, ts date generated always as (id) stored)',
    'WF009',
    'cannot be cut by ts, which is generated',
  ],
  ['an identity column', PLAIN.replace('id int', 'id int generated always as identity'), 'WF009', 'has an identity column'],
  ['a table without a primary key', 'create table refused (ts timestamptz)', 'WF009', 'has no primary key'],
  ['a deferrable primary key', PLAIN.replace('ts))', 'ts) deferrable)'), 'WF009', 'refused_pkey that is deferrable'],
  ['a unique index without the key', `${PLAIN}; create unique index one on refused (value)`, 'WF009', 'has a unique index one without ts'],
  [
    'an exclusion constraint',
    `${PLAIN}; alter table refused add constraint apart exclude using gist (tstzrange(ts, ts) with &&)`,
    'WF009',
    'has an exclusion constraint apart',
  ],
  [
    'a foreign key that is not validated',
    `${PLAIN}; create table other (id int primary key); alter table refused add constraint k foreign key (value) references other not valid`,
    'WF009',
    'has a foreign key k that is not validated',
  ],
  [
    'a table that refers to itself',
    `${PLAIN}; alter table refused add constraint k foreign key (value, ts) references refused`,
    'WF009',
    'refers to itself by k',
  ],
  [
    'one that a partitioned table refers to',
    `${PLAIN}; create table other (i int, t timestamptz, foreign key (i, t) references refused) partition by range (t)`,
    'WF009',
    'is referred to by public.other',
  ],
  [
    'a trigger with transition tables for each row',
    `${PLAIN}; create function f() returns trigger language plpgsql as 'begin return null; end';
       create trigger g after insert on refused referencing new table as fresh for each row execute function f()`,
    'WF009',
    'has a trigger g with transition tables',
  ],
  [
    'a table that a view shows',
    `${PLAIN}; create view other as select id from refused`,
    'WF009',
    'is used by rule _RETURN on view public.other',
  ],
  [
    'a table whose rows a function returns',
    `${PLAIN}; create function f() returns setof refused language sql as 'select null::refused'`,
    'WF009',
    'is used by function public.f()',
  ],
  ['a table in a publication', `${PLAIN}; reset role; create publication p for table refused`, 'WF009', 'is used by publication of table'],
  [
    'a time that never ends',
    `${PLAIN}; insert into refused values (1, 'infinity'), (2, '2026-01-01')`,
    'WF009',
    '1 rows of public.refused',
  ],
  ['year 10000', `${PLAIN}; insert into refused values (1, '10000-01-01')`, 'WF009', 'There can be no partition for'],
  ['a year before Christ', `${PLAIN}; insert into refused values (1, '0044-03-15 BC')`, 'WF009', 'There can be no partition for'],
  [
    'a UUID of version 4',
    'create table refused (ts uuid primary key); insert into refused values (gen_random_uuid())',
    'WF009',
    'a UUID of another version',
  ],
  [
    'an index with a long name',
    `${PLAIN}; create index an_index_with_a_name_that_leaves_no_room_for_the_partition on refused (ts)`,
    'WF009',
    'longer than 63 bytes',
  ],
  ['a name that is taken', `${PLAIN}; create table refused_y2026m12 ()`, 'WF003', 'There is a table refused_y2026m12 already'],
  ['too many periods', `${PLAIN}; insert into refused values (1, '1900-01-01')`, 'WF009', 'would be more than 1000 partitions'],
];

describe('refused is', () => {
  test.each(REFUSED)('%s', async (_what, ddl, code, message) => {
    const db = await databaseAt(NOW);
    await asOwner(db, ddl);
    await expect(db.admin.query(`call partitions.convert(to_regclass('refused'), 'ts')`)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
    // Nothing was changed.
    expect(await lines(db, 'select parent from partitions.conversions')).toEqual([]);
    expect(await lines(db, 'select conname from pg_constraint where conname = partitions.bound_check()')).toEqual([]);
  });

  test('a row without a time', async () => {
    const db = await readings('id int, ts timestamptz, value int', 'insert into readings values (1)');
    await asOwner(db, 'create unique index whole on readings (id, ts)');
    await expect(
      asOwner(db, `select partitions.require_times('readings', 'ts')`).finally(() => db.admin.query('reset role')),
    ).rejects.toMatchObject({ code: 'WF009', message: expect.stringContaining('null, infinite') });
  });

  test.each([`'decade'`, 'null', `'month', 0`, `'month', 3, -1`, `'month', null`])('a plan of %s', async (plan) => {
    const db = await readings();
    await expect(convert(db, `, ${plan}`)).rejects.toMatchObject({ code: 'WF009' });
  });

  test('a caller without rights, a transaction around it, and a split of what was not converted', async () => {
    const db = await readings();
    await expect(db.pool('flowgres_worker').query(`call partitions.convert('readings', 'ts')`)).rejects.toMatchObject({ code: '42501' });
    await expect(db.admin.query(`begin; call partitions.convert('readings', 'ts'); commit`)).rejects.toMatchObject({ code: '2D000' });
    await expect(split(db)).rejects.toMatchObject({ code: 'WF002' });
  });
});

test('a DBA may convert, and the scheduler goes on with it', async () => {
  const db = await readings();
  const dba = await connect(db.adminUrl);
  await dba.query('set role flowgres_dba');
  await dba.query(`call partitions.convert('public.readings', 'ts')`);
  await dba.query('select state, copied_blocks, blocks from partitions.conversions');
  await dba.end();
  await db.pool('flowgres_maintenance').query('call partitions.split()');
  expect(await names(db)).toEqual([...MONTHS, ...AHEAD]);
});

test('names in need of quotes are quoted', async () => {
  const db = await databaseAt(NOW);
  await db.admin.query(`create schema "My ""data""" authorization flowgres_owner`);
  await asOwner(
    db,
    `create table "My ""data"""."it's" ("the id" int, "at;" timestamptz, "a b" int, constraint "the key" primary key ("the id", "at;"));
     create index "Odd x" on "My ""data"""."it's" ("a b" desc) where "a b" > 0;
     insert into "My ""data"""."it's" values (1, '2026-10-10', 3)`,
  );
  await db.admin.query(`call partitions.convert('"My ""data"""."it''s"', 'at;')`);
  await db.admin.query(`call partitions.split('"My ""data"""."it''s"')`);
  expect(await lines(db, `select tableoid::regclass, "the id", "a b" from "My ""data"""."it's"`)).toEqual([
    `"My ""data"""."it's_y2026m10" 1 3`,
  ]);
});

test('a conversion that crosses a month refuses no row, and maintenance goes on meanwhile', async () => {
  const db = await readings();
  await convert(db);
  await freezeClock(db, '2026-12-01');
  expect(await lines(db, `select action, partition, done from partitions.maintain('readings')`)).toEqual(['create readings_y2027m03 true']);
  await db.admin.query(`insert into readings (ts, value) values ('2027-02-28', 1), ('2027-03-01', 2), ('2026-08-01', 3)`);
  expect(await lines(db, `select "check", severity from partitions.doctor('readings')`)).toEqual(['conversion warning']);
  await split(db);
  expect(await names(db)).toEqual([...MONTHS, ...AHEAD, 'readings_y2027m03']);
  expect(await lines(db, 'select count(*) from readings')).toEqual(['2003']);
});
