/** What cron.schedule and its relatives accept, from whom; pg_cron itself is compared in test/system/pg_cron.test.ts. */
import { expect, test } from 'vitest';
import { type Session, createTestDatabase } from '../../helpers/database.ts';
import { createOrganization } from '../../helpers/factory.ts';

const db = await createTestDatabase();
const maintenance = db.pool('flowgres_maintenance');

test('the same name and user is the same job: its times and command change, whether it is active does not', async () => {
  const schedule = async (times: string) =>
    (await maintenance.query<{ id: number }>(`select cron.schedule('job', $1, 'select 1') as id`, [times])).rows[0]!.id;
  const id = await schedule('0 1 * * *');
  await maintenance.query('select cron.alter_job($1, active => false)', [id]);
  expect(await schedule('0 2 * * *')).toBe(id);
  const { rows } = await maintenance.query('select schedule, active, database, username, nodename from cron.job where jobid = $1', [id]);
  expect(rows).toEqual([
    { schedule: '0 2 * * *', active: false, database: db.name, username: 'flowgres_maintenance', nodename: 'localhost' },
  ]);
  await db.admin.query(`select cron.schedule('job', '0 3 * * *', 'select 1')`);
  expect((await db.admin.query(`select from cron.job where jobname = 'job'`)).rowCount).toBe(2);
});

test('a user sees, alters and unschedules own jobs only, and gives none to others', async () => {
  const { rows } = await db.admin.query<{ id: number }>(`select cron.schedule('theirs', '0 1 * * *', 'select 1') as id`);
  const id = rows[0]!.id;
  expect((await maintenance.query(`select from cron.job where jobname = 'theirs'`)).rowCount).toBe(0);
  await expect(maintenance.query('select cron.unschedule($1::bigint)', [id])).rejects.toMatchObject({
    code: '42501',
    message: 'permission denied for table job',
  });
  await expect(maintenance.query('select cron.alter_job($1, active => false)', [id])).rejects.toMatchObject({ code: 'XX000' });
  await expect(
    maintenance.query(`select cron.schedule_in_database('x', '0 1 * * *', 'select 1', current_database(), 'postgres')`),
  ).rejects.toMatchObject({ code: 'XX000', message: 'must be superuser to create a job for another role' });
  await expect(maintenance.query(`insert into cron.job (schedule, command) values ('* * * * *', 'select 1')`)).rejects.toMatchObject({
    code: '42501',
  });
});

test('a definer function or a made-up setting does not schedule as somebody else', async () => {
  await db.admin.query(`
    create function sly() returns bigint language sql security definer as $$ select cron.schedule('sly', '0 1 * * *', 'select 1') $$;
    grant execute on function sly() to flowgres_maintenance`);
  await maintenance.query('select sly()');
  const { rows } = await db.admin.query(`select username from cron.job where jobname = 'sly'`);
  expect(rows).toEqual([{ username: 'flowgres_maintenance' }]);
  await expect(maintenance.query(`set role postgres`)).rejects.toMatchObject({ code: '42501' });
});

test('a tenant reaches nothing of it', async () => {
  const { user } = await createOrganization(db);
  const refused = (session: Session, text: string) =>
    expect(session.query(text)).rejects.toMatchObject({ code: '42501', message: 'permission denied for schema cron' });
  await refused(user, `select cron.schedule('* * * * *', 'drop table users')`);
  await refused(user, 'select * from cron.job');
  await refused(user, 'delete from cron.job_run_details');
});

test("superusers' jobs can be disallowed, and the time zone chosen, by the settings of pg_cron", async () => {
  const client = await db.admin.connect();
  await client.query(`set cron.enable_superuser_jobs = off; set cron.timezone = 'Asia/Tokyo'`);
  await expect(client.query(`select cron.schedule('* * * * *', 'select 1')`)).rejects.toMatchObject({
    code: '42501',
    detail: 'Scheduling jobs as superuser is disallowed when cron.enable_superuser_jobs is set to off.',
  });
  const { rows } = await client.query(
    `select cron.next_run('0 9 * * *', '2026-11-21T12:00Z') as at, cron.matches('0 9 * * *', '2026-11-22T00:00:30Z') as yes, cron.matches('0 9 * * *', '2026-11-22T09:00Z') as no`,
  );
  expect(rows).toEqual([{ at: new Date('2026-11-22T00:00Z'), yes: true, no: false }]);
  client.release(true);
});

test('next_run and matches refuse what is no schedule and no time zone', async () => {
  await expect(db.admin.query(`select cron.next_run('60 * * * *')`)).rejects.toMatchObject({
    code: '22023',
    hint: expect.stringContaining('[1-59] seconds'),
  });
  await expect(db.admin.query(`select cron.next_run('* * * * *', now(), 'Mars/Phobos')`)).rejects.toMatchObject({ code: '22023' });
  const { rows } = await db.admin.query(`select cron.next_run('0 0 31 2 *') as never, cron.matches('30 seconds', now()) as no`);
  expect(rows).toEqual([{ never: null, no: false }]);
});
