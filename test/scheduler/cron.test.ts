/** The runner of schema cron in real time: commands, failures, and what a kill -9 of the leader leaves behind. */
import { type ChildProcess, fork } from 'node:child_process';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type CronOptions, startCron } from '../../src/scheduler/cron.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

/** What is awaited comes within seconds; this machine may be busy. */
const PATIENCE = { timeout: 20_000, interval: 20 };

interface Detail {
  status: string;
  return_message: string | null;
  job_pid: number | null;
}

async function scheduler(options: Partial<CronOptions> = {}) {
  const db = await createTestDatabase();
  const cron = startCron({ connectionString: db.url('flowgres_worker'), users: usersOf(db), onProblem: () => undefined, ...options });
  onTestFinished(() => cron.stop());
  await expect.poll(() => cron.leads).toBe(true);
  const schedule = async (command: string, times = '1 second') =>
    (await db.admin.query<{ id: number }>('select cron.schedule($2, $1, $2) as id', [times, command])).rows[0]!.id;
  const details = async (id: number) =>
    (await db.admin.query<Detail>('select * from cron.job_run_details where jobid = $1 order by runid', [id])).rows;
  /** The outcome of a job's first run. */
  const outcome = (command: string) =>
    schedule(command).then((id) =>
      vi.waitUntil(async () => (await details(id)).find(({ status }) => status === 'succeeded' || status === 'failed'), PATIENCE),
    );
  return { db, cron, schedule, details, outcome };
}

function usersOf(db: TestDatabase): Record<string, string> {
  return { postgres: db.adminUrl, flowgres_maintenance: db.url('flowgres_maintenance') };
}

/** How often the runner has asked for a session since it began. */
const sessions = async (db: TestDatabase) =>
  Number((await db.admin.query('select sessions from pg_stat_database where datname = current_database()')).rows[0]!.sessions);

describe('a runner', () => {
  test('is quiet where schema cron is another’s, whose rights it lacks', async () => {
    const db = await createTestDatabase();
    await db.admin.query('drop schema cron cascade; create schema cron; create table cron.job (jobid bigint)');
    const problems: unknown[] = [];
    const cron = startCron({
      connectionString: db.url('flowgres_worker'),
      users: {},
      onProblem: (...problem) => problems.push(problem),
    });
    onTestFinished(() => cron.stop());
    const waiting = () =>
      db.admin.query(`select from pg_stat_activity where application_name = 'flowgres cron leader' and datname = current_database()`);
    // It asks once, ends its session, and comes back after a while.
    await expect.poll(() => sessions(db), PATIENCE).toBeGreaterThan(1);
    await expect.poll(async () => (await waiting()).rowCount, PATIENCE).toBe(0);
    expect([cron.leads, problems]).toEqual([false, []]);
  });

  test('whose every session fails tries ever less often', async () => {
    const db = await createTestDatabase();
    await db.admin.query('revoke execute on function cron.tick(bigint[], boolean) from flowgres_worker');
    const failures: number[] = [];
    const cron = startCron({
      connectionString: db.url('flowgres_worker'),
      users: {},
      onProblem: () => failures.push(performance.now()),
    });
    onTestFinished(() => cron.stop());
    await expect.poll(() => failures.length, PATIENCE).toBe(5);
    expect(failures[4]! - failures[3]!).toBeGreaterThan(4 * 250);
  });
});

describe('a command', () => {
  test('is refused for a user without a connection string, with the word of pg_cron', async () => {
    const { outcome } = await scheduler({ users: {} });
    expect(await outcome('select 1')).toMatchObject({ status: 'failed', return_message: 'connection failed', job_pid: null });
  });

  test('that copies from or to the client fails, and the next run is none the worse', async () => {
    const { outcome } = await scheduler();
    expect(await outcome('copy (select 1) to stdout')).toMatchObject({ status: 'failed', return_message: 'COPY not supported' });
    expect(await outcome('copy private.test_mode from stdin')).toMatchObject({ status: 'failed', return_message: 'COPY not supported' });
    expect(await outcome('select 1')).toMatchObject({ status: 'succeeded', return_message: '1 row' });
  });

  test('that takes too long is ended', async () => {
    const { outcome } = await scheduler({ timeoutMs: 200 });
    expect(await outcome('select pg_sleep(60)')).toMatchObject({
      status: 'failed',
      return_message: 'ERROR:  canceling statement due to statement timeout\n',
    });
  });

  test('whose session is terminated has failed', async () => {
    const { schedule, details, db } = await scheduler();
    const id = await schedule('select pg_sleep(60)');
    const running = await vi.waitUntil(async () => (await details(id)).find(({ status }) => status === 'running'), PATIENCE);
    await db.admin.query('select pg_terminate_backend($1)', [running.job_pid]);
    await expect
      .poll(async () => (await details(id))[0])
      .toMatchObject({ status: 'failed', return_message: expect.stringContaining('terminating connection') });
  });

  test('is canceled when its job is unscheduled, and when the process stops', async () => {
    const { schedule, details, db, cron } = await scheduler({ graceMs: 3_000 });
    const [gone, kept] = [await schedule('select pg_sleep(60)'), await schedule('select pg_sleep(61)')];
    const running = async (id: number) => (await details(id)).some(({ status }) => status === 'running');
    await expect.poll(async () => (await running(gone)) && (await running(kept))).toBe(true);
    await db.admin.query('select cron.unschedule($1::bigint)', [gone]);
    await expect.poll(async () => (await details(gone))[0]).toMatchObject({ status: 'failed', return_message: 'job canceled' });
    await cron.stop();
    expect((await details(kept))[0]).toMatchObject({ status: 'failed', return_message: 'job canceled' });
    expect(
      (await db.admin.query(`select from pg_stat_activity where application_name = 'pg_cron' and datname = current_database()`)).rowCount,
    ).toBe(0);
  });

  test("runs as its job's user, in as many connections as there are runs", async () => {
    const { db } = await scheduler();
    await db.admin.query(
      'create table seen (who text default current_user, at timestamptz default now()); grant insert on seen to flowgres_maintenance',
    );
    await db.admin.query(
      `select cron.schedule_in_database('x', '1 second', 'insert into seen default values', current_database(), 'flowgres_maintenance')`,
    );
    await expect.poll(async () => (await db.admin.query('select distinct who from seen')).rows).toEqual([{ who: 'flowgres_maintenance' }]);
  });
});

test('jobs that were there before, and those that come while it leads, run', async () => {
  const { db, cron } = await scheduler();
  await cron.stop();
  const { rows } = await db.admin.query<{ id: number }>(`select cron.schedule('before', '1 second', 'select 1') as id`);
  const again = startCron({ connectionString: db.url('flowgres_worker'), users: usersOf(db) });
  onTestFinished(() => again.stop());
  const ran = (id: number) =>
    db.admin.query(`select from cron.job_run_details where jobid = $1 and status = 'succeeded'`, [id]).then(({ rowCount }) => rowCount);
  await expect.poll(() => ran(rows[0]!.id)).toBeGreaterThan(0);
});

test('a leader without due jobs rests, and a job that comes meanwhile wakes it', async () => {
  const { db, outcome } = await scheduler();
  await db.admin.query('delete from cron.job');
  const resting = `select from pg_stat_activity
    where application_name = 'flowgres cron leader' and datname = current_database() and state = 'idle' and query like '%cron.rest%'`;
  await expect.poll(async () => (await db.admin.query(resting)).rowCount, PATIENCE).toBe(1);
  const before = performance.now();
  expect(await outcome('select 1')).toMatchObject({ status: 'succeeded' });
  // It would rest for ten seconds.
  expect(performance.now() - before).toBeLessThan(8_000);
});

describe('of several processes', () => {
  interface Peer {
    child: ChildProcess;
    leads: boolean;
  }

  function start(db: TestDatabase): Peer {
    const child = fork(new URL('cron_process.ts', import.meta.url), [db.url('flowgres_worker'), JSON.stringify(usersOf(db))]);
    const peer = { child, leads: false };
    child.on('message', (leads) => {
      peer.leads = leads === true;
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    return peer;
  }

  const leader = (peers: Peer[]) => peers.find(({ leads }) => leads);

  async function threeWithTicks() {
    const db = await createTestDatabase();
    const peers = [start(db), start(db), start(db)];
    await vi.waitUntil(() => leader(peers), PATIENCE);
    await db.admin.query(`
      create table ticks (at timestamptz not null default clock_timestamp());
      select cron.schedule('tick', '1 second', 'insert into ticks default values')`);
    const ticks = async () => (await db.admin.query<{ count: number }>('select count(*)::int as count from ticks')).rows[0]!.count;
    await expect.poll(ticks).toBeGreaterThan(1);
    return { db, peers, ticks };
  }

  test('another takes over after a kill -9, no tick is lost and none doubled', async () => {
    const { db, peers, ticks } = await threeWithTicks();
    for (let round = 0; round < 2; round += 1) {
      const dead = leader(peers)!;
      dead.child.kill('SIGKILL');
      dead.leads = false;
      peers.splice(peers.indexOf(dead), 1);
      await vi.waitUntil(() => leader(peers), PATIENCE);
      expect(peers.filter(({ leads }) => leads)).toHaveLength(1);
      const before = await ticks();
      await expect.poll(ticks).toBeGreaterThan(before + 2);
    }
    // Inactive it would be canceled; so it only stops being due.
    await db.admin.query(`update cron.job set schedule = '@yearly'`);
    const running = () => db.admin.query('select from cron.job_state where runid is not null or queued > 0 or (spec).seconds is not null');
    await expect.poll(() => running().then(({ rowCount }) => rowCount)).toBe(0);
    // Each run has its row; one that the dead leader had sent is not known to have ended.
    const { rows } = await db.admin.query<{ runs: number; odd: number }>(
      `select count(*)::int as runs, count(*) filter (where status <> 'succeeded' and return_message <> 'connection lost')::int as odd from cron.job_run_details`,
    );
    expect(rows).toEqual([{ runs: await ticks(), odd: 0 }]);
    // Each second between the first and the last has one run. A busy machine makes some late, not all three at an end.
    const { rows: spans } = await db.admin.query<{ seconds: number }>(
      `select (min(lag) filter (where place > most - 3) - min(lag) filter (where place <= 3))::float as seconds
       from (
         select extract(epoch from at) - row_number() over w as lag, row_number() over w as place, count(*) over () as most
         from ticks window w as (order by at)
       ) as t`,
    );
    expect(Math.abs(spans[0]!.seconds)).toBeLessThan(0.7);
  }, 40_000);

  test('one that hangs loses the lead, and does not tick when it wakes up', async () => {
    const { db, peers, ticks } = await threeWithTicks();
    const frozen = leader(peers)!;
    frozen.child.kill('SIGSTOP');
    frozen.leads = false;
    await vi.waitUntil(() => leader(peers), PATIENCE);
    frozen.child.kill('SIGCONT');
    const before = await ticks();
    await expect.poll(ticks).toBeGreaterThan(before + 2);
    await expect.poll(() => peers.filter(({ leads }) => leads).length).toBe(1);
    const { rows } = await db.admin.query<{ extra: number }>(
      `select count(*)::int - count(distinct date_trunc('second', at))::int as extra from ticks`,
    );
    // What was missed is made up for at once, at most three of them in one second.
    expect(rows[0]!.extra).toBeLessThan(4);
  }, 40_000);
});
