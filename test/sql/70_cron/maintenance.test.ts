/** The jobs of maintenance: their rows, their rights, and what they delete. */
import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { scheduleMaintenance } from '../../../src/database/schedule_maintenance.ts';
import { TEST_PASSWORDS } from '../../../tools/build-database.ts';
import { createTestDatabase } from '../../helpers/database.ts';
import { createOrganization } from '../../helpers/factory.ts';

test('the jobs are there as rows, what somebody changed stays, what is missing comes back', async () => {
  const db = await createTestDatabase();
  const jobs = async () =>
    (await db.admin.query(`select jobname, schedule, active from cron.job where username = 'flowgres_maintenance' order by jobid`)).rows;
  await scheduleMaintenance(db.adminUrl, TEST_PASSWORDS);
  const first = await jobs();
  expect(first).toContainEqual({ jobname: 'flowgres-partitions', schedule: '0 2 * * *', active: true });
  await db.admin.query(`
    select cron.alter_job(jobid, schedule => '0 4 * * 0', active => false) from cron.job where jobname = 'flowgres-statistics';
    select cron.unschedule(jobid) from cron.job where jobname = 'flowgres-retention'`);
  await scheduleMaintenance(db.adminUrl, TEST_PASSWORDS);
  const second = await jobs();
  expect(second.map(({ jobname }) => jobname).sort()).toEqual(first.map(({ jobname }) => jobname).sort());
  expect(second).toContainEqual({ jobname: 'flowgres-statistics', schedule: '0 4 * * 0', active: false });
});

test('in a copy of another database the jobs are turned to the copy', async () => {
  const db = await createTestDatabase();
  await scheduleMaintenance(db.adminUrl, TEST_PASSWORDS);
  await db.admin.query(`update cron.job set database = 'the_original'`);
  await scheduleMaintenance(db.adminUrl, TEST_PASSWORDS);
  expect((await db.admin.query('select distinct database from cron.job')).rows).toEqual([{ database: db.name }]);
});

test('a DBA sees which runs wait', async () => {
  const db = await createTestDatabase();
  const client = await db.admin.connect();
  await client.query('set role flowgres_dba');
  await expect(client.query('select * from cron.job_state where queued > 0')).resolves.toMatchObject({ rowCount: 0 });
  client.release(true);
});

test('flowgres_maintenance may do what its jobs say', async () => {
  const db = await createTestDatabase();
  const maintenance = db.pool('flowgres_maintenance');
  const { rows } = await maintenance.query<{ jobname: string; command: string }>('select * from engine.maintenance_jobs()');
  for (const { jobname, command } of rows) await expect(maintenance.query(command), jobname).resolves.toBeDefined();
  const { rows: analyzed } = await db.admin.query(
    `select last_analyze is not null as done from pg_stat_all_tables where relid = 'workflow_events'::regclass`,
  );
  expect(analyzed).toEqual([{ done: true }]);
});

test('what has expired is deleted to the end, in transactions of some rows each, and the doctor warns of a backlog', async () => {
  const db = await createTestDatabase();
  const { id } = await createOrganization(db);
  const maintenance = db.pool('flowgres_maintenance');
  const keys = async () => (await db.admin.query<{ count: number }>('select count(*)::int from engine.start_keys')).rows[0]!.count;
  const backlog = async () =>
    (await db.admin.query(`select parent::text, detail, fix from partitions.doctor() where "check" = 'expired'`)).rows;
  const addKeys = (from: number, to: number, expires: string) =>
    db.admin.query(
      `insert into engine.start_keys (organization_id, workflow_id, key, run_id, request_hash, expires_at)
       select $1, $1, i, $1, '', now() + $4::interval from generate_series($2::int, $3::int) as i`,
      [id, from, to, expires],
    );
  await addKeys(1, 9_999, '-3 hours');
  await addKeys(10_001, 10_002, '-1 hour');
  expect(await backlog()).toEqual([]);
  await addKeys(10_000, 10_000, '-3 hours');
  await addKeys(10_003, 10_003, '1 hour');
  expect(await backlog()).toEqual([
    { parent: 'engine.start_keys', detail: expect.stringContaining('10000 or more start keys'), fix: 'call engine.delete_all_expired()' },
  ]);

  // It ends its transactions, so it cannot be part of another.
  const client = await maintenance.connect();
  await client.query('begin');
  await expect(client.query('call engine.delete_all_expired()')).rejects.toMatchObject({ code: '2D000' });
  await client.query('rollback');
  client.release();

  // A failure in the middle loses what is under way only: the third batch is not deleted, and the first two are gone.
  await db.admin.query(`
    create function engine.refuse() returns trigger language plpgsql as $$ begin raise exception 'no more'; end $$;
    create trigger refuse before delete on engine.start_keys for each row
      when (old.key = '5000') execute function engine.refuse()`);
  await expect(maintenance.query('call engine.delete_all_expired(2000)')).rejects.toThrow('no more');
  expect(await keys()).toBeLessThan(10_003);
  await db.admin.query('drop trigger refuse on engine.start_keys; drop function engine.refuse');
  await maintenance.query('call engine.delete_all_expired()');
  expect(await keys()).toBe(1);
  expect(await backlog()).toEqual([]);
  await db.admin.query('delete from engine.start_keys');
});

test('what has expired is deleted, a batch at a time, and nothing else', async () => {
  const db = await createTestDatabase({ unchecked: true });
  const { id, userId } = await createOrganization(db);
  const hash = () => createHash('sha256').update(randomBytes(8)).digest();
  for (const age of ['1 hour', '-1 hour', '40 days']) {
    await db.admin.query(
      `insert into private.sessions (token_hash, user_id, organization_id, expires_at) values ($1, $2, $3, now() - $4::text::interval)`,
      [hash(), userId, id, age],
    );
    await db.admin.query(
      `insert into private.api_tokens (organization_id, user_id, name, prefix, token_hash, scopes, expires_at) values ($1, $2, $4::text, 'x', $3, '{runs:read}', now() - $4::text::interval)`,
      [id, userId, hash(), age],
    );
    await db.admin.query(
      `insert into engine.start_keys (organization_id, workflow_id, key, run_id, request_hash, expires_at) values ($1, $1, $2::text, $1, '', now() - $2::text::interval)`,
      [id, age],
    );
    await db.admin.query(
      `insert into engine.child_starts (root_run_id, run_id, organization_id, at, runs, bytes, is_nested) values ($1, $1, $1, now() - interval '7 days' - $2::interval, 1, 0, false)`,
      [id, age],
    );
  }
  await db.admin.query(`
    insert into private.email_codes (purpose, email, code_hash, created_at, expires_at)
    select 'none', 'x@example.com', sha256(age::text::bytea), now(), now() - age::interval from unnest('{1 hour,3 days}'::text[]) as age;
    insert into private.outbox (recipient, subject, created_at, run_at)
    select 'x@example.com', 'x', now() - age::interval, now() from unnest('{1 hour,8 days}'::text[]) as age;
    insert into private.throttles (key, used, resets_at)
    select sha256(age::text::bytea), 1, now() - age::interval from unnest('{-1 hour,1 hour}'::text[]) as age`);
  for (const age of ['1 hour', '70 days']) {
    await db.admin.query(
      `insert into private.usage_counters (organization_id, owner_id, metric, period_start, used) values ($1, $1, 'executions_per_month', now() - $2::interval, 1)`,
      [id, age],
    );
  }
  const sweep = async (limit: number) =>
    Object.fromEntries(
      (await db.admin.query('select * from engine.delete_expired($1)', [limit])).rows.map(({ thing, deleted }) => [thing, deleted]),
    );
  // A context that is over counts as an expired session as well.
  const sessions = (await db.admin.query('select from private.sessions where expires_at < now()')).rowCount!;
  const once = {
    'start keys': 1,
    'child starts': 1,
    sessions: 1,
    'API tokens': 1,
    'e-mail codes': 1,
    mails: 1,
    throttles: 1,
    'usage counters': 1,
  };
  expect(await sweep(1)).toEqual({ ...once, 'rate buckets': 0, 'webhook keys': 0, 'webhook deliveries': 0, 'logins at providers': 0 });
  const nothing = Object.fromEntries(Object.keys(once).map((thing) => [thing, 0]));
  expect(await sweep(100)).toEqual({
    ...nothing,
    'rate buckets': 0,
    'webhook keys': 0,
    'logins at providers': 0,
    'webhook deliveries': 0,
    'start keys': 1,
    'child starts': 1,
    sessions: sessions - 1,
  });
  const { rows } = await db.admin.query(`select name from private.api_tokens where name <> 'test' order by name`);
  expect(rows).toEqual([{ name: '-1 hour' }, { name: '1 hour' }]);
});
