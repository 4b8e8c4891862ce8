/** When an archive becomes a partition again, and when that is refused; archive.test.ts has the ways there and back. */
import { expect, test } from 'vitest';
import { monthsOfRuns } from '../../../helpers/archive.ts';
import { lines, partitionsOf } from '../../../helpers/partitions.ts';

const archive = (at = '2025-01-01') => `select partition, action, done, detail from partitions.archive('workflow_runs', '${at}')`;
const restore = (at = '2025-01-01', parent = 'workflow_runs') =>
  `select partition, action, done, detail from partitions.restore('${parent}', '${at}')`;
const seal = `select partition from partitions.seal_archives()`;

const BACK = [
  'workflow_runs_y2025m01 restore true -',
  'workflow_events_y2025m01 restore true -',
  'workflow_events_y2025m01_late restore true -',
];

test('a restore is refused where a partition stands, and where late rows have none', async () => {
  const db = await monthsOfRuns();
  await db.admin.query(archive('2025-01-01'));
  await db.admin.query(archive('2025-02-01'));
  await expect(db.admin.query(restore())).rejects.toMatchObject({
    code: 'WF003',
    message: expect.stringContaining('one is of 2025-02-01'),
    hint: expect.stringContaining('Restore that time first'),
  });
  await db.admin.query(restore('2025-02-01'));
  await db.admin.query(`select create_workflow_events_partition('2025-01-01'::date)`);
  await expect(db.admin.query(restore())).rejects.toMatchObject({
    code: 'WF003',
    hint: 'If that one is empty, drop it: drop table public.workflow_events_y2025m01',
  });
  await db.admin.query('drop table public.workflow_events_y2025m01');
  expect(await lines(db, restore())).toEqual(BACK);
});

test('a restore is refused when the archive was changed, is gone, or its rows lack what they refer to', async () => {
  const db = await monthsOfRuns();
  await db.admin.query(archive());
  await db.admin.query(seal);
  await expect(db.admin.query(restore('2025-01-01', 'workflow_events'))).rejects.toMatchObject({
    code: 'WF003',
    message: expect.stringContaining('workflow_events_run_fkey'),
  });
  await db.admin.query(`update partitions.workflow_events_y2025m01 set type = 'edited'`);
  await expect(db.admin.query(restore())).rejects.toMatchObject({
    code: 'WF003',
    message: expect.stringContaining('has changed since it was sealed'),
  });
  await db.admin.query(`drop table partitions.workflow_events_y2025m01`);
  await expect(db.admin.query(restore())).rejects.toMatchObject({ code: 'WF002', message: expect.stringContaining('is gone') });
  expect((await partitionsOf(db, 'workflow_runs'))[0]).toMatch(/y2025m02/);
});

test('a restore lets no later event have the number of one that came back', async () => {
  const db = await monthsOfRuns();
  await db.admin.query(archive());
  await db.admin.query(`alter sequence workflow_events_id_seq restart`);
  await db.admin.query(restore());
  expect(
    await lines(
      db,
      `select nextval('workflow_events_id_seq') > max(id) from partitions.of('workflow_events') as o, workflow_events where ts < '2025-02-02'`,
    ),
  ).toEqual(['true']);
});
