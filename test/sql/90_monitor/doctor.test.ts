/** What monitor.doctor() says of an installation, and monitor.jobs() of its jobs. */
import { expect, test } from 'vitest';
import { scheduleMaintenance } from '../../../src/database/schedule_maintenance.ts';
import { TEST_PASSWORDS } from '../../../tools/build-database.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';

async function installation(): Promise<TestDatabase> {
  const db = await createTestDatabase();
  await db.admin.query('update private.builds set installed_at = engine.now()');
  await scheduleMaintenance(db.adminUrl, TEST_PASSWORDS);
  return db;
}
const problems = async (db: TestDatabase) =>
  (await db.pool('flowgres_monitor').query('select jobname, problem from monitor.jobs() where problem is not null')).rows;
/** As if the last run had ended so, that long ago. */
const ran = (db: TestDatabase, job: string, status: string, message: string | null, age = '1 minute') =>
  db.admin.query(
    `insert into cron.job_run_details (jobid, status, return_message, start_time, end_time)
     select j.jobid, $2, $3, engine.now() - $4::interval, engine.now() - $4::interval from cron.job as j where j.jobname = $1`,
    [job, status, message, age],
  );

test('a new installation has nothing wrong with it, and its monitor may ask', async () => {
  const db = await installation();
  await db.admin.query('analyze');
  expect((await db.pool('flowgres_monitor').query('select * from monitor.doctor()')).rows).toEqual([]);
});

test('a job whose last run failed is told with its message, until one succeeds', async () => {
  const db = await installation();
  await ran(db, 'flowgres-partitions', 'failed', 'connection failed');
  await ran(db, 'flowgres-retention', 'failed', 'ERROR:  canceling statement\n');
  await ran(db, 'flowgres-retention', 'succeeded', '1 row');
  expect(await problems(db)).toEqual([{ jobname: 'flowgres-partitions', problem: 'failed: connection failed' }]);
  const { rows } = await db.pool('flowgres_monitor').query(`select * from monitor.doctor() where "check" = 'job'`);
  expect(rows).toEqual([
    {
      check: 'job',
      subject: 'flowgres-partitions',
      severity: 'warning',
      detail: 'Job flowgres-partitions failed: connection failed.',
      fix: expect.stringContaining('FLOWGRES_CRON_USERS'),
    },
  ]);
  await ran(db, 'flowgres-partitions', 'succeeded', '1 row');
  expect(await problems(db)).toEqual([]);
});

test('a job that did not run at two of its times is told, not one that missed one, and none that is off or another’s new one', async () => {
  const db = await installation();
  await db.admin.query(`
    insert into private.test_mode (frozen_at) values (date_trunc('day', now(), 'UTC') + interval '12 hours 15 minutes');
    update private.builds set installed_at = engine.now() - interval '3 days';
    select cron.schedule('my own', '0 3 * * *', 'select 1')`);
  for (const name of (await db.admin.query<{ jobname: string }>(`select jobname from cron.job`)).rows.map(({ jobname }) => jobname)) {
    if (name !== 'flowgres-purge' && name !== 'flowgres-split' && name !== 'my own') await ran(db, name, 'succeeded', null);
  }
  await ran(db, 'flowgres-split', 'succeeded', null, '100 minutes');
  expect(await problems(db)).toEqual([{ jobname: 'flowgres-purge', problem: expect.stringMatching(/^has not run since \d{4}-/) }]);
  await db.admin.query(`update cron.job set active = false where jobname = 'flowgres-purge'`);
  expect(await problems(db)).toEqual([]);
  await ran(db, 'flowgres-audit-seals', 'succeeded', null, '0 minutes');
  await db.admin.query(`update cron.job_run_details set start_time = start_time - interval '15 minutes'
    where jobid = (select jobid from cron.job where jobname = 'flowgres-audit-seals')`);
  expect(await problems(db)).toEqual([{ jobname: 'flowgres-audit-seals', problem: expect.stringMatching(/^has not run since/) }]);
});

test('a job of Flowgres that somebody unscheduled is told', async () => {
  const db = await installation();
  await db.admin.query(`select cron.unschedule(jobid) from cron.job where jobname = 'flowgres-expired'`);
  expect(await problems(db)).toEqual([{ jobname: 'flowgres-expired', problem: 'is not scheduled: run flowgres migrate' }]);
});
