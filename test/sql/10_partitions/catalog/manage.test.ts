/** partitions.manage(): which tables it refuses, and what managing a table again changes. */
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';

const db = await createTestDatabase();
const asOwner = (sql: string) => db.admin.query(`set role flowgres_owner; ${sql}; reset role`);

describe('a table is refused', () => {
  test.each([
    ['that is not partitioned', 'create table refused (ts timestamptz)', 'WF009', 'is not a partitioned table'],
    ['that is cut by list', 'create table refused (ts timestamptz) partition by list (ts)', 'WF009', 'something else than one time'],
    ['that is cut by number', 'create table refused (n int) partition by range (n)', 'WF009', 'something else than one time'],
    ['that is cut by two columns', 'create table refused (ts timestamptz, n int) partition by range (ts, n)', 'WF009', 'something else'],
    [
      'that is cut by an expression',
      `create table refused (ts timestamp) partition by range ((ts at time zone 'UTC'))`,
      'WF009',
      'something else',
    ],
    [
      'with a default partition',
      'create table refused (ts timestamptz) partition by range (ts); create table refused_default partition of refused default',
      'WF009',
      'has a default partition',
    ],
    [
      'with an identity column',
      'create table refused (id bigint generated always as identity, ts timestamptz) partition by range (ts)',
      'WF009',
      'identity',
    ],
    [
      'that is a partition',
      `create table parent (ts timestamptz) partition by range (ts);
       create table refused partition of parent for values from ('2026-01-01') to ('2027-01-01') partition by range (ts)`,
      'WF009',
      'is itself a partition',
    ],
    [
      'with an index whose name would be too long',
      `create table refused (ts timestamptz) partition by range (ts); create index an_index_with_a_name_that_leaves_no_room_for_the_partition on refused (ts)`,
      'WF009',
      'refused_y0000m00d00_an_index_with_a_name_that_leaves_no_room_for_the_partition is longer than 63 bytes',
    ],
  ])('%s', async (_case, ddl, code, message) => {
    await asOwner(ddl);
    const call = db.admin.query(`select partitions.manage('refused')`);
    await expect(call).rejects.toMatchObject({ code, message: expect.stringContaining(message), hint: expect.anything() });
    await asOwner('drop table refused cascade; drop table if exists parent cascade');
  });

  test('that belongs to somebody else', async () => {
    await db.admin.query('create table foreign_log (ts timestamptz) partition by range (ts)');
    await expect(db.admin.query(`select partitions.manage('foreign_log')`)).rejects.toMatchObject({
      code: 'WF005',
      hint: 'alter table public.foreign_log owner to flowgres_owner',
    });
  });

  test('that does not exist', async () => {
    await expect(db.admin.query('select partitions.manage(null)')).rejects.toMatchObject({ code: 'WF002' });
    await expect(db.admin.query('select partitions.manage(4000000000::oid::regclass)')).rejects.toMatchObject({ code: 'WF002' });
  });
});

test.each([
  ["granularity => 'hour'", 'managed_tables_granularity_check'],
  ['premake => 0', 'managed_tables_premake_check'],
  ["retention => '0'", 'managed_tables_retention_check'],
  ["retention => '-1 month'", 'managed_tables_retention_check'],
  ["on_retire => 'burn'", 'managed_tables_on_retire_check'],
  ["storage => '[]'", 'managed_tables_storage_check'],
])('a policy with %s is refused', async (argument, constraint) => {
  await asOwner('create table log (ts timestamptz) partition by range (ts)');
  await expect(db.admin.query(`select partitions.manage('log', ${argument})`)).rejects.toMatchObject({ constraint });
  await asOwner('drop table log');
});

test('the key is found out, and managing again changes the policy', async () => {
  await asOwner('create table log (id uuid) partition by range (id)');
  await db.admin.query(`select partitions.manage('log', 'week', retention => '90 days')`);
  const { rows } = await db.admin.query(
    `select key_kind, granularity, premake, retention::text from partitions.manage('log', 'day', premake => 5)`,
  );
  expect(rows).toEqual([{ key_kind: 'uuidv7', granularity: 'day', premake: 5, retention: null }]);
});

test('a DBA tunes policies, but cannot change which table or key they are for', async () => {
  const client = await db.admin.connect();
  try {
    await client.query('set role flowgres_dba');
    await client.query(`update partitions.managed_tables set retention = '90 days' where parent = 'public.workflow_run_logs'::regclass`);
    await expect(client.query(`update partitions.managed_tables set key_kind = 'date'`)).rejects.toMatchObject({ code: '42501' });
    await expect(client.query(`update partitions.managed_tables set guard = 'pg_catalog.pg_sleep'`)).rejects.toMatchObject({
      code: '42501',
    });
  } finally {
    client.release(true);
  }
});
