/** Archives of a retention group in tables: what is archived can be restored whole. */
import { describe, expect, test } from 'vitest';
import { contentOf, monthsOfRuns } from '../../../helpers/archive.ts';
import type { TestDatabase } from '../../../helpers/database.ts';
import { databaseAt, freezeClock, lines, manageReadings, partitionsOf } from '../../../helpers/partitions.ts';

const archive = (at = '2025-01-01') => `select partition, action, done, detail from partitions.archive('workflow_runs', '${at}')`;
const restore = (at = '2025-01-01', parent = 'workflow_runs') =>
  `select partition, action, done, detail from partitions.restore('${parent}', '${at}')`;
const retire = `select partition, action, done, detail from partitions.retire()`;
const seal = `select partition from partitions.seal_archives()`;

const findings = `select "check", severity, detail from partitions.doctor() order by 1, 2, 3`;

const LEFT = ['workflow_events_y2025m01 archive true -', 'workflow_runs_y2025m01 archive true -'];
const BACK = [
  'workflow_runs_y2025m01 restore true -',
  'workflow_events_y2025m01 restore true -',
  'workflow_events_y2025m01_late restore true -',
];

/** Everything that the catalog says about a partition, but for what changes with each attachment. */
const shapeOf = (db: TestDatabase, table: string) =>
  lines(
    db,
    `select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
       where conrelid = $1::regclass and conparentid <> 0 or conrelid = $1::regclass and contype in ('c', 'p')
     union select 'index ' || pg_get_indexdef(indexrelid) || indisvalid from pg_index where indrelid = $1::regclass
     union select format('table %s %s %s %s', relrowsecurity, relacl::text, reloptions::text, pg_get_expr(relpartbound, oid))
       from pg_class where oid = $1::regclass
     order by 1`,
    [table],
  );

describe('a month of runs', () => {
  test('leaves for schema partitions with its events and their stragglers, and comes back as it was', async () => {
    const db = await monthsOfRuns();
    const before = await contentOf(db);
    const found = await lines(db, findings);
    const tables = ['public.workflow_runs_y2025m01', 'public.workflow_events_y2025m01'];
    const shapes = await Promise.all(tables.map((table) => shapeOf(db, table)));

    expect(await lines(db, archive())).toEqual(LEFT);
    expect(await lines(db, archive())).toEqual([]);
    expect(await lines(db, `select location, content, row_count from partitions.archives order by parent::text, content`)).toEqual([
      'partitions.workflow_events_y2025m01_late late -',
      'partitions.workflow_events_y2025m01 partition -',
      'partitions.workflow_runs_y2025m01 partition -',
    ]);
    expect((await partitionsOf(db, 'workflow_runs'))[0]).toMatch(/y2025m02/);
    expect(
      await lines(
        db,
        `select c.relname from pg_class as c where c.relnamespace = 'partitions'::regnamespace and c.relname ~ '_y2025' and c.relkind = 'r'
           and (not c.relrowsecurity or exists (select from aclexplode(c.relacl) as a where a.grantee <> c.relowner))`,
      ),
    ).toEqual([]);
    expect(await lines(db, `select ts::date::text, count(*) from workflow_events group by 1 order by 1`)).toEqual([
      '2025-02-10 1',
      '2025-03-10 1',
    ]);

    expect((await lines(db, seal)).toSorted()).toEqual([
      'workflow_events_y2025m01',
      'workflow_events_y2025m01_late',
      'workflow_runs_y2025m01',
    ]);
    expect(await lines(db, seal)).toEqual([]);
    expect(await lines(db, restore())).toEqual(BACK);
    expect(await contentOf(db)).toEqual(before);
    expect(await Promise.all(tables.map((table) => shapeOf(db, table)))).toEqual(shapes);
    expect(await lines(db, restore())).toEqual([]);
    // That it is back is nothing to be told, though its neighbours are not.
    expect(await lines(db, findings)).toEqual(found);
  });

  test('that was restored between months that have left troubles the doctor only when it has stayed for too long', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(
      `select partitions.archive('workflow_runs', m) from unnest('{2025-01-01,2025-02-01,2025-03-01}'::timestamptz[]) as m`,
    );
    await db.admin.query(`update partitions.managed_tables set on_retire = 'archive'`);
    const found = await lines(db, findings);
    await db.admin.query(seal);
    await db.admin.query(restore('2025-02-01'));
    expect(await lines(db, findings)).toEqual(found);
    await db.admin.query(`update partitions.archives set kept_until = engine.now() where state = 'restored'`);
    expect(await lines(db, findings)).toEqual(
      expect.arrayContaining([expect.stringMatching(/hole info There is no partition from 2025-03-01 .* to 2025-04-01/)]),
    );
  });

  test('that was restored leaves again when its time there is over, and comes back again', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(`update partitions.managed_tables set on_retire = 'archive'`);
    const before = await contentOf(db);
    expect(await lines(db, retire)).toEqual(LEFT);
    expect(await lines(db, restore())).toEqual(BACK);
    const stays = 'It was restored and stays until 2026-03-03.';
    expect(await lines(db, retire)).toEqual([`workflow_events_y2025m01 keep false ${stays}`, `workflow_runs_y2025m01 keep false ${stays}`]);
    await freezeClock(db, '2026-02-28');
    expect(await lines(db, retire)).toEqual([`workflow_events_y2025m01 keep false ${stays}`, `workflow_runs_y2025m01 keep false ${stays}`]);
    const late = `select detail from partitions.doctor() where "check" = 'retention'`;
    expect(await lines(db, late)).toEqual([]);
    await db.admin.query(`update partitions.archives set kept_until = '2026-02-27'`);
    expect(await lines(db, late)).toContain('workflow_runs_y2025m01 should have left: retire() has not run.');
    expect(await lines(db, retire)).toEqual(LEFT);
    await db.admin.query(seal);
    expect(await lines(db, restore())).toEqual(BACK);
    expect(await contentOf(db)).toEqual(before);
  });

  test('cascades and refuses as before once it is back', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(archive());
    await db.admin.query(restore());
    const [run] = await lines(db, `select run_id from workflow_events where ts >= '2025-02-01' and ts < '2025-02-02'`);
    await db.admin.query(`set flowgres.purge = 'on'; delete from workflow_runs where id = '${run}'; reset flowgres.purge`);
    expect(await lines(db, `select count(*) from workflow_events where run_id = $1`, [run])).toEqual(['0']);
    await expect(
      db.admin.query(`insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
        select organization_id, engine.uuid_v7('2025-01-15'), 1, '2025-01-15', 'test', '{}' from workflow_runs limit 1`),
    ).rejects.toMatchObject({ code: '23503' });
  });
});

describe('a month that left', () => {
  test('comes back into tables that have changed meanwhile', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(archive());
    await db.admin.query(seal);
    await db.admin.query(`set role flowgres_owner;
      alter table workflow_events add column origin text not null default 'here';
      alter table workflow_events add constraint workflow_events_origin_check check (origin <> '');
      create index workflow_events_origin_idx on workflow_events (origin);
      alter table workflow_runs add column color text; reset role`);
    expect(await lines(db, restore())).toEqual(BACK);
    expect(await lines(db, `select origin, count(*) from workflow_events group by 1`)).toEqual(['here 6']);
    expect(await shapeOf(db, 'public.workflow_events_y2025m01')).toEqual(
      expect.arrayContaining([expect.stringContaining('workflow_events_y2025m01_origin_idx')]),
    );
  });

  test('stays when a run is unfinished, and when it is not over', async () => {
    const db = await monthsOfRuns('paused');
    await expect(db.admin.query(archive())).rejects.toMatchObject({ code: 'WF003', message: expect.stringContaining('unfinished runs') });
    await expect(db.admin.query(archive('2026-02-01'))).rejects.toMatchObject({
      code: 'WF009',
      message: expect.stringContaining('ends on 2026-03-01'),
    });
    await expect(db.admin.query(archive('2026-04-01'))).rejects.toMatchObject({ code: 'WF009' });
    await expect(db.admin.query(archive('2019-04-01'))).rejects.toMatchObject({ code: 'WF002' });
    await expect(db.admin.query(archive('infinity'))).rejects.toMatchObject({ code: 'WF009' });
    await expect(db.admin.query(`select partitions.archive('pg_class', '2025-01-01')`)).rejects.toMatchObject({ code: 'WF002' });
    await expect(db.admin.query(restore('2019-04-01'))).rejects.toMatchObject({ code: 'WF002' });
    expect(await lines(db, 'select count(*) from partitions.archives')).toEqual(['0']);
  });
});

describe('retirement', () => {
  test('drops nothing that is to be archived', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(`update partitions.managed_tables set on_retire = 'archive' where parent = 'workflow_events'::regclass`);
    const reason = 'workflow_runs_y2025m01 would be dropped, and workflow_events_y2025m01 is to be archived: give both the same on_retire.';
    expect(await lines(db, retire)).toEqual([
      `workflow_events_y2025m01 keep false ${reason}`,
      `workflow_runs_y2025m01 keep false ${reason}`,
    ]);
  });

  test('archives what was on its way to be dropped when the policy changed', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(`set role flowgres_owner; select partitions.retire_concurrently(); reset role; select pg_advisory_unlock_all()`);
    await db.admin.query(`alter table workflow_events detach partition workflow_events_y2025m01 concurrently`);
    await db.admin.query(`update partitions.managed_tables set on_retire = 'archive'`);
    expect(await lines(db, retire)).toEqual(LEFT);
  });

  test('of the log alone archives the log alone, and it comes back alone', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(`update partitions.managed_tables set on_retire = 'archive'`);
    const before = await contentOf(db);
    expect(await lines(db, 'select drop_old_workflow_events_partitions(12)')).toEqual(['1']);
    expect(await lines(db, restore('2025-01-01', 'workflow_events'))).toEqual(['workflow_events_y2025m01 restore true -']);
    expect(await contentOf(db)).toEqual(before);
  });
});

test('the doctor misses an archived table, and one that nobody has sealed', async () => {
  const db = await monthsOfRuns();
  const doctor = () => lines(db, `select severity, detail from partitions.doctor() where "check" = 'archive' order by 2`);
  await db.admin.query(archive());
  expect(await doctor()).toEqual([]);
  await freezeClock(db, '2026-02-04');
  expect(await doctor()).toHaveLength(3);
  await db.admin.query(seal);
  expect(await doctor()).toEqual([]);
  await db.admin.query('drop table partitions.workflow_runs_y2025m01');
  expect(await doctor()).toEqual(['critical The archived table partitions.workflow_runs_y2025m01 is gone.']);
});

describe('an archived table', () => {
  test('is dropped only when a file has the same rows, or for good', async () => {
    const db = await monthsOfRuns();
    await db.admin.query(archive());
    await expect(db.admin.query(`select partitions.drop_archive('workflow_runs', '2025-01-01')`)).rejects.toMatchObject({ code: 'WF003' });
    expect(
      await lines(db, `select partition, action from partitions.drop_archive('workflow_runs', '2025-01-01', for_good => true)`),
    ).toHaveLength(3);
    expect(await lines(db, `select relname from pg_class where relname ~ '_y2025m01' and relkind = 'r'`)).toEqual([]);
    expect(await lines(db, 'select location from partitions.archives')).toEqual([]);
  });

  test('can be of any table that is cut by time', async () => {
    for (const [key, value] of [
      ['ts timestamptz', "'2026-05-05'"],
      ['day date', "'2026-05-05'"],
      ['id2 uuid', "engine.uuid_v7('2026-05-05')"],
    ] as const) {
      const db = await databaseAt('2026-05-15');
      await manageReadings(db, `on_retire => 'archive', retention => '5 months'`, key);
      await db.admin.query(`select partitions.maintain('readings')`);
      await freezeClock(db, '2026-11-21');
      await db.admin.query(`select partitions.maintain('readings')`);
      await db.admin.query(
        `insert into readings (${key.split(' ')[0]}, value, note) values (${value}, 7, e'a "quoted"\\nnote'), (${value}, 8, null)`,
      );
      const before = await lines(db, 'select readings::text from readings order by 1');
      expect(await lines(db, `select partition, action, done from partitions.retire('readings')`)).toEqual([
        'readings_y2026m05 archive true',
      ]);
      await db.admin.query(seal);
      expect(await lines(db, restore('2026-05-20', 'readings'))).toEqual(['readings_y2026m05 restore true -']);
      expect(await lines(db, 'select readings::text from readings order by 1')).toEqual(before);
      await db.drop();
    }
  });
});

test('a DBA archives and restores without owning the tables', async () => {
  const db = await monthsOfRuns();
  const before = await contentOf(db);
  await db.admin.query(`set role flowgres_dba; ${archive()}; select * from partitions.seal_archives();
    select * from partitions.archived_periods(); ${restore()}; select * from partitions.archives; reset role`);
  expect(await contentOf(db)).toEqual(before);
  await expect(db.pool('flowgres_worker').query(archive())).rejects.toMatchObject({ code: '42501' });
});
