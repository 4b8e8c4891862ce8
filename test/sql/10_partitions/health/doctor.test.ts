/** partitions.doctor(): each finding, and that its SQL mends it. */
import { beforeEach, describe, expect, test } from 'vitest';
import { connect } from '../../../../src/database/connections.ts';
import { createTestDatabase, type TestDatabase } from '../../../helpers/database.ts';
import { databaseAt, freezeClock, lines, manageReadings } from '../../../helpers/partitions.ts';

interface Finding {
  check: string;
  severity: string;
  detail: string;
  fix: string | null;
}

const examine = async (db: TestDatabase): Promise<Finding[]> => {
  const { rows } = await db.admin.query<Finding>(`select "check", severity, detail, fix from partitions.doctor('readings')`);
  return rows;
};

/** Runs what the doctor says, as the owner. */
async function follow(db: TestDatabase, findings: Finding[]): Promise<void> {
  const client = await connect(db.adminUrl);
  await client.query('set role flowgres_owner');
  for (const { fix } of findings) if (fix) await client.query(fix);
  await client.end();
}

test('a new installation is sound, whoever may ask', async () => {
  const db = await createTestDatabase();
  expect(await lines(db, 'select * from partitions.doctor()')).toEqual([]);
  await expect(db.admin.query(`select partitions.doctor('pg_class')`)).rejects.toMatchObject({ code: 'WF002' });
});

describe('the doctor finds, and its SQL puts right,', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await databaseAt('2026-11-21');
    await manageReadings(db, `behind => 2, retention => '6 months'`);
    await db.admin.query(`select partitions.maintain('readings')`);
    expect(await examine(db)).toEqual([]);
  });

  const month = 'readings_y2026m12';
  test.each<[string, string, Partial<Finding>]>([
    ['a hole', `drop table ${month}`, { check: 'hole', severity: 'warning' }],
    ['a hole in the past', 'drop table readings_y2026m10', { check: 'hole', severity: 'info' }],
    ['that the current period is missing', 'drop table readings_y2026m11', { check: 'forward buffer', severity: 'critical' }],
    ['a short forward buffer', 'drop table readings_y2027m02', { check: 'forward buffer', severity: 'warning' }],
    ['lost row-level security', `alter table ${month} disable row level security`, { check: 'row-level security', severity: 'critical' }],
    ['grants', `grant select on ${month} to flowgres_user, public`, { check: 'grants', severity: 'critical' }],
    ['a table that is gone', 'drop table readings_y2026m11; drop table readings', { check: 'table', severity: 'critical' }],
  ])('%s', async (_case, damage, finding) => {
    await db.admin.query(damage);
    const { rows } = await db.admin.query<Finding>(
      `select "check", severity, detail, fix from partitions.doctor() where parent::text ~ 'readings|^[0-9]+$'`,
    );
    expect(rows).toEqual(expect.arrayContaining([expect.objectContaining({ ...finding, fix: expect.any(String) })]));
    await follow(db, rows);
    expect(await lines(db, 'select "check" from partitions.doctor()')).toEqual([]);
  });

  test('maintenance that fails, worse with each time', async () => {
    await freezeClock(db, '2026-12-01');
    await db.admin.query('create table readings_y2027m03 ()');
    for (const severity of ['warning', 'warning', 'critical']) {
      await db.admin.query(`select partitions.maintain('readings')`);
      expect(await examine(db)).toEqual(expect.arrayContaining([expect.objectContaining({ check: 'maintenance', severity })]));
    }
    await db.admin.query('drop table readings_y2027m03');
    await follow(db, await examine(db));
    expect(await examine(db)).toEqual([]);
  });

  test('partitions that should have left', async () => {
    await freezeClock(db, '2027-04-04');
    await db.admin.query(`select partitions.maintain('readings')`);
    const findings = await examine(db);
    expect(findings).toEqual([
      {
        check: 'retention',
        severity: 'warning',
        detail: 'readings_y2026m09 should have left: retire() has not run.',
        fix: expect.any(String),
      },
    ]);
    await follow(db, findings);
    expect(await examine(db)).toEqual([]);
  });

  test('a partition that is too large, for which it proposes shorter ones', async () => {
    await db.admin.query(`insert into readings (ts, note) select '2026-11-21', repeat(md5(i::text), 30) from generate_series(1, 500) as i`);
    const warn = (bytes: number, critical: number) =>
      db.admin.query(`update partitions.managed_tables set warn_bytes = $1, critical_bytes = $2 where parent = 'readings'::regclass`, [
        bytes,
        critical,
      ]);
    await warn(500_000, 1e9);
    const findings = await examine(db);
    expect(findings).toEqual([
      {
        check: 'size',
        severity: 'warning',
        detail: expect.stringMatching(/^readings_y2026m11 has \d+ kB\.$/),
        fix: "update partitions.managed_tables set granularity = 'week' where parent = 'public.readings'::regclass",
      },
    ]);
    await warn(1000, 2000);
    expect((await examine(db)).find(({ detail }) => detail.includes('m11'))).toMatchObject({
      severity: 'critical',
      fix: expect.stringContaining(`'day'`),
    });
  });
});

test('a table is to be analyzed when it never was, or not for long, not because the statistics were lost in a crash', async () => {
  const db = await createTestDatabase({ unchecked: true });
  await manageReadings(db);
  await db.admin.query(`select partitions.maintain('readings')`);
  await db.admin.query(`insert into readings (ts) select now() from generate_series(1, 10001)`);
  await expect
    .poll(() => examine(db))
    .toEqual([expect.objectContaining({ check: 'statistics', severity: 'info', fix: 'analyze public.readings' })]);
  await follow(db, await examine(db));
  expect(await examine(db)).toEqual([]);
  // A recovery discards all statistics, as this does.
  await db.admin.query('select pg_stat_reset()');
  await expect.poll(() => lines(db, `select pg_stat_get_last_analyze_time('readings'::regclass)`)).toEqual(['-']);
  expect(await examine(db)).toEqual([]);
  await db.admin.query(`select partitions.analyze('readings')`);
  await freezeClock(db, new Date(Date.now() + 110 * 86_400_000).toISOString());
  await db.admin.query(`select partitions.maintain('readings')`);
  expect(await examine(db)).toEqual([expect.objectContaining({ check: 'statistics' })]);
  await db.admin.query('select pg_stat_reset()');
  expect(await examine(db)).toEqual([expect.objectContaining({ check: 'statistics' })]);
});

test('an adaptive table gets shorter partitions by itself when it grows too fast', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, 'adaptive => true, premake => 1');
  await db.admin.query(`select partitions.maintain('readings')`);
  await db.admin.query(`insert into readings (ts, note) select '2026-11-21', repeat(md5(i::text), 30) from generate_series(1, 500) as i`);
  await db.admin.query(`update partitions.managed_tables set warn_bytes = 500000 where parent = 'readings'::regclass`);
  await freezeClock(db, '2026-12-28');
  expect(await lines(db, `select action, partition, detail from partitions.maintain('readings')`)).toEqual([
    'change granularity - From month to week, after the current partition.',
    'create readings_y2027m01d01 -',
    'create readings_y2027w01 -',
  ]);
});
