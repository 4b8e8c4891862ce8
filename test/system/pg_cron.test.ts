/** The real pg_cron on PostgreSQL 15, and our scheduler on 18: the same script, the same results. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { expect, onTestFinished, test, vi } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { handOver } from '../../src/maintenance/handover.ts';
import { migrate } from '../../src/database/migrate.ts';
import { roleUrl } from '../../src/database/roles.ts';
import { startCron } from '../../src/scheduler/cron.ts';
import { TEST_PASSWORDS, buildDatabase } from '../../tools/build-database.ts';
import { finishCli, temporaryFolder } from '../helpers/cli.ts';
import { serverFolder } from '../helpers/daemons.ts';
import { startTemporary } from '../helpers/server.ts';
import { startPostgres15, suite } from './packages.ts';

const [setup = '', runs = ''] = readFileSync(new URL('pg_cron.sql', import.meta.url), 'utf8').split('-- runs\n');
const PG_CRON = { shared_preload_libraries: 'pg_cron', 'cron.database_name': 'flowgres', max_connections: '200' };

suite('pg_cron on PostgreSQL 15 and our scheduler on 18', ['postgresql-15', 'postgresql-15-cron'], () => {
  test('give the same results for the same script', async () => {
    const [theirs, ours] = await Promise.all([theirServer(), ourServer()]);
    // Both see the same minute begin.
    const [[theirAnswers, theirRuns], [ourAnswers, ourRuns]] = await Promise.all([runScript(theirs), runScript(ours)]);
    expect(ourAnswers).toEqual(theirAnswers);
    expect(ourRuns).toEqual(theirRuns);
    expect(theirRuns.length).toBeGreaterThan(15);
  }, 180_000);
});

suite('Flowgres with pg_cron', ['postgresql-15', 'postgresql-15-cron'], () => {
  test('creates no scheduler of its own and lets pg_cron run its maintenance at night', async () => {
    const settings = { ...PG_CRON, hba_file: passwordsAtLocalhost(), 'cron.use_background_workers': 'on', max_worker_processes: '32' };
    const adminUrl = await databaseOn(await startPostgres15(settings));
    const admin = await connectForTest(adminUrl);
    await admin.query('create extension pg_cron');
    await migrate(adminUrl, TEST_PASSWORDS);
    const { rows } = await admin.query(
      `select jobname, schedule, username, database, to_regclass('cron.job_state') as ours from cron.job order by jobid`,
    );
    expect(rows[0]).toEqual({
      jobname: 'flowgres-partitions',
      schedule: '0 2 * * *',
      username: 'flowgres_maintenance',
      database: 'flowgres',
      ours: null,
    });
    expect(rows.length).toBeGreaterThan(3);
    const told: unknown[] = [];
    const runner = startCron({
      connectionString: roleUrl(adminUrl, TEST_PASSWORDS, 'flowgres_worker'),
      users: {},
      onProblem: (...problem) => told.push(problem),
    });
    onTestFinished(() => runner.stop());

    await admin.query(`select cron.alter_job(jobid, schedule => '* * * * *') from cron.job`);
    const ended = () =>
      admin.query(`
        select distinct on (jobid) command, status, return_message
        from cron.job_run_details where status in ('succeeded', 'failed') order by jobid, runid`);
    await vi.waitFor(async () => expect((await ended()).rowCount).toBe(rows.length), { timeout: 130_000, interval: 1_000 });
    expect((await ended()).rows.filter(({ status }) => status !== 'succeeded')).toEqual([]);
    expect((await jobProblems(adminUrl)).filter(({ problem }) => problem !== null)).toEqual([]);
    expect([runner.leads, told]).toEqual([false, []]);
  }, 180_000);

  test('is told by the doctor that pg_cron cannot log in, where passwords are asked for at localhost', async () => {
    const adminUrl = await databaseOn(await startPostgres15({ ...PG_CRON, hba_file: passwordsAtLocalhost() }));
    const admin = await connectForTest(adminUrl);
    await admin.query('create extension pg_cron');
    await migrate(adminUrl, TEST_PASSWORDS);
    await admin.query(`select cron.alter_job(jobid, active => jobname = 'flowgres-audit-seals') from cron.job`);
    const found = async () => (await jobProblems(adminUrl)).filter(({ problem }) => problem !== null);
    await expect
      .poll(found, { timeout: 130_000, interval: 1_000 })
      .toEqual([
        expect.objectContaining({ jobname: 'flowgres-audit-seals', problem: expect.stringMatching(/^failed: connection failed/) }),
      ]);
    const monitor = await connectForTest(roleUrl(adminUrl, TEST_PASSWORDS, 'flowgres_monitor'));
    const { rows } = await monitor.query(`select severity, fix from monitor.doctor() where "check" = 'job'`);
    expect(rows).toEqual([{ severity: 'warning', fix: expect.stringContaining('cron.use_background_workers = on') }]);
  }, 180_000);

  test('hands its own jobs over', async () => {
    const adminUrl = await databaseOn(await startPostgres15(PG_CRON));
    const admin = await connectForTest(adminUrl);
    await migrate(adminUrl, TEST_PASSWORDS);
    await admin.query(`
      select cron.schedule('unnamed is 0 1 * * *', '0 1 * * *', 'select 1'), cron.schedule('5 5 * * *', 'select 2');
      select cron.schedule_in_database('off', '1 1 1 1 *', 'select 3', 'postgres', 'flowgres_maintenance', false);
      select cron.schedule('too fast', '30 seconds', 'select 4')`);
    const jobs = () =>
      admin.query('select jobid, schedule, command, nodename, database, username, active, jobname from cron.job order by jobid');
    const before = (await jobs()).rows;
    const runner = startCron({
      connectionString: roleUrl(adminUrl, TEST_PASSWORDS, 'flowgres_worker'),
      users: {},
      onProblem: () => undefined,
    });
    onTestFinished(() => runner.stop());
    await expect.poll(() => runner.leads).toBe(true);
    const folder = await temporaryFolder();
    const file = `${folder}/jobs.json`;
    const command = ['cron', 'handover', '--database-url', adminUrl, '--jobs', file];

    const refused = await finishCli(command);
    expect(refused).toMatchObject({ code: 1, output: expect.stringMatching(/refuses job \d+ \(too fast\): invalid schedule: 30 seconds/) });
    expect((await jobs()).rows).toEqual(before);

    await admin.query(`select cron.unschedule('too fast')`);
    const kept = (await jobs()).rows;
    expect(await finishCli(command)).toMatchObject({ code: 0, output: expect.stringContaining(`the ${kept.length} jobs`) });
    expect((await jobs()).rows).toEqual(kept);
    await expect.poll(() => runner.leads).toBe(false);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toHaveLength(kept.length);
    expect((await admin.query(`select from pg_extension where extname = 'pg_cron'`)).rowCount).toBe(1);
    expect((await jobProblems(adminUrl)).filter(({ jobname }) => jobname.startsWith('flowgres-')).length).toBeGreaterThan(3);
    await expect(handOver(adminUrl, async () => undefined)).rejects.toMatchObject({ code: 'NOTHING_TO_HAND_OVER' });
  });
});

/** What the monitor sees of the jobs. */
async function jobProblems(adminUrl: string): Promise<{ jobname: string; problem: string | null }[]> {
  const monitor = await connect(roleUrl(adminUrl, TEST_PASSWORDS, 'flowgres_monitor'));
  const { rows } = await monitor.query('select jobname, problem from monitor.jobs()').finally(() => monitor.end());
  return rows as { jobname: string; problem: string | null }[];
}

/** Who may log in where distributions have set a server up, but for the administrator of the test. */
function passwordsAtLocalhost(): string {
  const folder = serverFolder();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'pg_hba.conf');
  const lines = ['local all all trust', 'host all postgres 127.0.0.1/32 trust', 'host all all 127.0.0.1/32 scram-sha-256'];
  writeFileSync(file, `${lines.join('\n')}\nhost all all ::1/128 scram-sha-256\n`, { mode: 0o644 });
  return file;
}

async function connectForTest(url: string): Promise<pg.Client> {
  const client = await connect(url);
  onTestFinished(() => client.end().catch(() => undefined));
  return client;
}

async function databaseOn(server: string): Promise<string> {
  const client = await connect(`${server}/postgres`);
  await client.query('create database flowgres');
  await client.end();
  return `${server}/flowgres`;
}

async function theirServer(): Promise<pg.Client> {
  const admin = await connectForTest(await databaseOn(await startPostgres15(PG_CRON)));
  await admin.query('create extension pg_cron; create role cron_alice login; create role cron_bob login');
  return admin;
}

async function ourServer(): Promise<pg.Client> {
  const server = await startTemporary();
  onTestFinished(() => server.stop());
  const adminUrl = await buildDatabase(server.url, 'flowgres');
  const admin = await connectForTest(adminUrl);
  await admin.query(`create role cron_alice login password 'x'; create role cron_bob login`);
  const alice = Object.assign(new URL(adminUrl), { username: 'cron_alice', password: 'x' }).href;
  const cron = startCron({
    connectionString: roleUrl(adminUrl, TEST_PASSWORDS, 'flowgres_worker'),
    users: { postgres: adminUrl, cron_alice: alice },
  });
  onTestFinished(() => cron.stop());
  return admin;
}

type Answer = Record<string, unknown>;

/** What each statement of the script answers, and what becomes of the first run of each job. */
async function runScript(admin: pg.Client): Promise<[Answer[], Answer[]]> {
  const answers = await answersOf(admin, setup);
  // Not while a minute begins: all jobs are due at once.
  await vi.waitUntil(() => new Date().getSeconds() < 55, { timeout: 10_000, interval: 100 });
  answers.push(...(await answersOf(admin, runs)));
  const ended = () =>
    admin.query<Answer>(`
      select distinct on (j.jobid) j.jobname, d.database, d.username, d.command, d.status, d.return_message,
        d.job_pid is not null as has_pid, d.start_time is not null as has_start, d.end_time is not null as has_end
      from cron.job as j left join cron.job_run_details as d on d.jobid = j.jobid and d.status in ('succeeded', 'failed')
      order by j.jobid, d.runid`);
  await vi.waitFor(async () => expect((await ended()).rows.filter(({ status }) => status === null)).toHaveLength(1), {
    timeout: 100_000,
    interval: 500,
  });
  await answersOf(admin, 'update cron.job set active = false');
  return [answers, (await ended()).rows];
}

async function answersOf(admin: pg.Client, script: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const statement of script
    .replaceAll(/^--.*$/gm, '')
    .split('\n\n')
    .map((each) => each.trim())
    .filter(Boolean)) {
    const answer = await admin.query<Answer>(statement).then(
      ({ rows }) => ({ rows }),
      ({ code, message, detail }: pg.DatabaseError) => ({ code, message, detail }),
    );
    answers.push({ statement, ...answer });
  }
  return answers;
}
