/** How runs, events and logs are retired together. */
import { expect, test } from 'vitest';
import type { TestDatabase } from '../../helpers/database.ts';
import { createLog, databaseAt, freezeClock, lines, partitionsOf } from '../../helpers/partitions.ts';

const retire = `select parent, partition, action, done, detail from partitions.retire()`;

const keepLogs = (db: TestDatabase) =>
  db.admin.query(`delete from partitions.managed_tables where parent in ('workflow_run_logs'::regclass, 'api_access_log'::regclass)`);

/** A year and more of partitions with a run in each of three months. */
async function yearOfRuns(status = 'success') {
  const db = await databaseAt('2025-03-15');
  await db.admin.query('select partitions.maintain()');
  const log = await createLog(db);
  await log.addRun('2025-01-31 23:00+00', ['2025-01-31 23:00+00', '2025-02-01 01:00+00', '2025-03-01 00:00+00']);
  await log.addRun('2025-02-10', ['2025-02-10'], status);
  await log.addRun('2025-03-10');
  await keepLogs(db);
  return { db, ...log };
}

test('a month of runs leaves with its events, later events of its runs included', async () => {
  const { db } = await yearOfRuns();
  await freezeClock(db, '2026-02-01');
  expect(await lines(db, retire)).toEqual([
    'workflow_events workflow_events_y2025m01 drop true -',
    'workflow_runs workflow_runs_y2025m01 drop true -',
  ]);
  expect(
    await lines(db, `select run_id = r.id, ts::date::text from workflow_events as e join workflow_runs as r on r.id = e.run_id order by 2`),
  ).toEqual(['true 2025-02-10', 'true 2025-03-10']);
  expect(await lines(db, retire)).toEqual([]);
});

test('a month with an unfinished run stays whole, and says why', async () => {
  const { db } = await yearOfRuns('paused');
  await freezeClock(db, '2026-03-01');
  const [run] = await lines(db, `select id from workflow_runs where status = 'paused'`);
  const reason = `1 unfinished runs have events in it: ${run}`;
  expect(await lines(db, retire)).toEqual([
    `workflow_events workflow_events_y2025m02 keep false ${reason}`,
    `workflow_runs workflow_runs_y2025m02 keep false ${reason}`,
    'workflow_events workflow_events_y2025m01 drop true -',
    'workflow_runs workflow_runs_y2025m01 drop true -',
  ]);
});

test('the last events of runs that stay for the sake of another one stay, too', async () => {
  const db = await databaseAt('2025-03-15');
  await db.admin.query('select partitions.maintain()');
  const { addRun } = await createLog(db);
  const waiting = await addRun('2025-01-10', ['2025-01-10'], 'waiting');
  await addRun('2025-01-31 23:00+00', ['2025-01-31 23:00+00', '2025-02-01 01:00+00']);
  await addRun('2025-03-10');
  await keepLogs(db);
  await freezeClock(db, '2026-03-01');
  expect((await lines(db, retire)).map((line) => line.split(' ').slice(0, 4).join(' '))).toEqual([
    'workflow_events workflow_events_y2025m01 keep false',
    'workflow_runs workflow_runs_y2025m01 keep false',
    'workflow_events workflow_events_y2025m02 keep false',
    'workflow_runs workflow_runs_y2025m02 keep false',
  ]);
  expect(await lines(db, `select engine.unfinished_runs('2025-02-01', '2025-03-01')`)).toEqual([
    `runs of an earlier month, which stays, have events in it; unfinished there: ${waiting}`,
  ]);
  expect(await lines(db, 'select count(*) from workflow_events')).toEqual(['4']);
  await db.admin.query(`update workflow_runs set status = 'success', finished_at = '2026-03-01' where id = $1`, [waiting]);
  expect(await lines(db, `select partition from (${retire}) as left_now`)).toHaveLength(4);
});

test('events of a time that has no runs leave by their own age', async () => {
  const { db } = await yearOfRuns();
  await db.admin.query(`select create_workflow_events_partition('2020-01-01'::date)`);
  await freezeClock(db, '2026-01-31');
  expect(await lines(db, retire)).toEqual(['workflow_events workflow_events_y2020m01 drop true -']);
});

test('logs leave after 30 days, week by week', async () => {
  const db = await databaseAt('2027-01-04');
  await db.admin.query('select partitions.maintain()');
  await freezeClock(db, '2027-02-10');
  await db.admin.query('select partitions.maintain()');
  expect(await lines(db, `select partition, done from partitions.retire('workflow_run_logs') where partition ~ '2027|w53'`)).toEqual([
    'workflow_run_logs_y2026w53 true',
    'workflow_run_logs_y2027w01 true',
  ]);
});

test('what leaves in a transaction that is rolled back is all there again', async () => {
  const { db } = await yearOfRuns();
  await freezeClock(db, '2026-02-01');
  const before = await partitionsOf(db, 'workflow_runs');
  await db.admin.query(`begin; ${retire}; rollback`);
  expect(await partitionsOf(db, 'workflow_runs')).toEqual(before);
  expect(await lines(db, 'select count(*) from workflow_events')).toEqual(['5']);
});
