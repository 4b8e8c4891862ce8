/** cron.tick() and the functions of the runner, call by call, with an injected clock. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';

interface Task {
  action: 'run' | 'cancel';
  runid: number;
  command: string;
}

type Scheduler = Awaited<ReturnType<typeof at>>;

/** A scheduler of its own, at a moment, with one session that leads. */
async function at(moment: string) {
  const db = await createTestDatabase();
  const driver = new Driver(db);
  const session = await db.pool('flowgres_worker').connect();
  const own = new Set<number>();
  const set = (time: string) => driver.freeze(new Date(time));
  const tick = async (changed = true) => {
    const { rows } = await session.query<Task>('select * from cron.tick($1, $2)', [[...own], changed]);
    for (const { action, runid } of rows) if (action === 'run') own.add(runid);
    return rows.map(({ action, command }) => (action === 'run' ? command : `cancel`));
  };
  const begin = (runid: number, pid = 0) => session.query('select cron.begin_run($1, $2)', [runid, pid]);
  const end = async (runid: number) => {
    await session.query(`select cron.end_run($1, 'succeeded', 'SELECT 1')`, [runid]);
    own.delete(runid);
  };
  /** Ends everything that runs, and starts what waited, until nothing does. Returns what was started. */
  const drain = async () => {
    const started = await tick(false);
    while (own.size) {
      for (const runid of own) await end(runid);
      started.push(...(await tick(false)));
    }
    return started;
  };
  const schedule = async (times: string, command: string) =>
    (await db.admin.query<{ id: number }>('select cron.schedule($2, $1, $2) as id', [times, command])).rows[0]!.id;
  const details = async () =>
    (await db.admin.query('select command, status, return_message from cron.job_run_details order by runid')).rows;
  await set(moment);
  await session.query('select cron.lead()');
  onTestFinished(() => session.release(true));
  return { db, own, set, tick, begin, end, drain, schedule, details, session };
}

describe('late', () => {
  const cases: [string, string, string, Record<string, number>][] = [
    ['on time', '2026-11-21T10:00:00Z', '2026-11-21T10:01:00Z', { 'every minute': 1 }],
    [
      'by four minutes: what was missed runs',
      '2026-11-21T09:57:30Z',
      '2026-11-21T10:01:30Z',
      { 'every minute': 4, 'at ten': 1, 'half past': 0 },
    ],
    [
      'by two hours: fixed times run, the others once',
      '2026-11-21T08:00:30Z',
      '2026-11-21T10:01:30Z',
      { 'every minute': 1, 'every half hour': 1, 'at ten': 1, 'at nine': 1 },
    ],
    [
      'by a day: what was due hours ago is not made up for',
      '2026-11-20T09:30:30Z',
      '2026-11-21T10:00:30Z',
      { 'every minute': 1, 'at ten': 1, 'every half hour': 1, 'at nine': 1, 'at six': 0 },
    ],
    ['across the end of the year', '2026-12-31T23:58:30Z', '2027-01-01T00:00:10Z', { 'every minute': 2, 'at new year': 1 }],
  ];
  test.each(cases)('%s', async (_what, before, now, expected) => {
    const { schedule, tick, set, drain } = await at(before);
    const jobs = {
      'every minute': '* * * * *',
      'every half hour': '*/30 * * * *',
      'at six': '0 6 * * *',
      'at nine': '0 9 * * *',
      'at ten': '0 10 * * *',
      'half past': '30 10 * * *',
      'at new year': '@yearly',
    };
    for (const [command, times] of Object.entries(jobs)) await schedule(times, command);
    expect(await tick()).toEqual([]);
    await set(now);
    const started = await drain();
    const counts = Object.fromEntries(Object.keys(expected).map((command) => [command, started.filter((each) => each === command).length]));
    expect(counts).toEqual(expected);
    expect(await drain()).toEqual([]);
  });

  test('by a change of the leader, a job of every second misses nothing; by more it runs once', async () => {
    const { schedule, tick, set, drain } = await at('2026-11-21T10:00:00Z');
    await schedule('1 second', 'tick');
    await tick();
    await set('2026-11-21T10:00:03Z');
    expect(await drain()).toHaveLength(3);
    await set('2026-11-21T10:05:00Z');
    expect(await drain()).toHaveLength(1);
  });
});

test('a job does not overlap itself: minutes queue up, seconds do not', async () => {
  const { schedule, tick, set, own, end, drain } = await at('2026-11-21T10:00:00Z');
  await schedule('* * * * *', 'minutes');
  await schedule('1 second', 'seconds');
  await tick();
  await set('2026-11-21T10:01:00Z');
  expect((await tick()).sort()).toEqual(['minutes', 'seconds']);
  for (const minute of ['02', '03']) {
    await set(`2026-11-21T10:${minute}:00Z`);
    expect(await tick()).toEqual([]);
  }
  for (const runid of [...own]) await end(runid);
  expect((await drain()).sort()).toEqual(['minutes', 'minutes', 'seconds']);
});

test('at most cron.max_running_jobs run, and who waits longest is next', async () => {
  const { schedule, tick, set, own, end, session } = await at('2026-11-21T10:00:00Z');
  await session.query('set cron.max_running_jobs = 2');
  for (const name of ['a', 'b', 'c', 'd', 'e']) await schedule('* * * * *', name);
  await tick();
  await set('2026-11-21T10:01:00Z');
  const started = await tick();
  expect(started).toHaveLength(2);
  await set('2026-11-21T10:02:00Z');
  while (started.length < 6) {
    for (const runid of [...own]) await end(runid);
    started.push(...(await tick()));
  }
  expect([...new Set(started.slice(0, 6))].sort()).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('the clock put back by an hour repeats what runs by real time only', async () => {
  const { schedule, tick, set, drain } = await at('2026-11-21T09:59:30Z');
  await schedule('* * * * *', 'every minute');
  await schedule('0 10 * * *', 'at ten');
  await tick();
  await set('2026-11-21T10:00:00Z');
  expect((await drain()).sort()).toEqual(['at ten', 'every minute']);
  await set('2026-11-21T09:10:30Z');
  await tick();
  await set('2026-11-21T09:11:00Z');
  expect(await drain()).toEqual(['every minute']);
  await set('2026-11-21T10:00:00Z');
  expect((await drain()).filter((command) => command === 'at ten')).toEqual([]);
});

describe.each([
  ['back', '2026-10-24T23:59:00Z', { 'half past two': 1, 'every half hour': 8, 'every day': 0 }],
  ['forward', '2026-03-28T23:59:00Z', { 'half past two': 1, 'every half hour': 8, 'every day': 0 }],
  ['back at the end of a month', '2027-10-30T21:59:00Z', { 'half past two': 1, 'every half hour': 12, 'every day': 1 }],
])('in the night in which the clock is put %s', (_way, evening, expected) => {
  test('each minute is ticked once, and what has a fixed time runs once', async () => {
    const { schedule, tick, set, drain, session } = await at(evening);
    await session.query(`set cron.timezone = 'Europe/Berlin'`);
    await schedule('30 2 * * *', 'half past two');
    await schedule('*/30 * * * *', 'every half hour');
    await schedule('0 0 * * *', 'every day');
    await tick();
    const started: string[] = [];
    const hours = expected['every half hour'] / 2;
    for (let minute = 1; minute <= hours * 60; minute += 10) {
      await set(new Date(Date.parse(evening) + minute * 60_000).toISOString());
      started.push(...(await drain()));
    }
    const counts = Object.fromEntries(Object.keys(expected).map((command) => [command, started.filter((each) => each === command).length]));
    expect(counts).toEqual(expected);
  });
});

describe('a change of the leader', () => {
  test('starts what was taken but not sent, and tells of what was sent that nobody knows its end', async () => {
    const { schedule, tick, set, own, begin, details } = await at('2026-11-21T10:00:00Z');
    await schedule('* * * * *', 'sent');
    await schedule('* * * * *', 'taken');
    await tick();
    await set('2026-11-21T10:01:00Z');
    await tick();
    const [sent] = (await details()).map(({ command }, index) => (command === 'sent' ? index + 1 : 0)).filter(Boolean);
    await begin(sent!);
    own.clear();
    expect(await tick()).toEqual(['taken']);
    expect(await details()).toEqual([
      { command: 'sent', status: 'failed', return_message: 'connection lost' },
      { command: 'taken', status: 'starting', return_message: null },
    ]);
  });

  test('leaves a run alone whose session still works', async () => {
    const { schedule, tick, set, own, begin, details, db } = await at('2026-11-21T10:00:00Z');
    await schedule('* * * * *', 'long');
    await tick();
    await set('2026-11-21T10:01:00Z');
    await tick();
    const busy = await db.admin.connect();
    const { rows } = await busy.query<{ pid: number }>('select pg_backend_pid() as pid');
    await begin([...own][0]!, rows[0]!.pid);
    own.clear();
    expect(await tick()).toEqual([]);
    busy.release(true);
    await expect.poll(() => tick().then(details)).toEqual([{ command: 'long', status: 'failed', return_message: 'connection lost' }]);
  });
});

describe('of a leader and of a session that records the end of a run, neither waits for the other', () => {
  test.each([
    ['when a leader settles the runs of an earlier one', (leader: Scheduler) => leader.tick(false)],
    [
      'when a leader begins after a restart of the server',
      async ({ db, session }: Scheduler) => {
        await db.admin.query(`update cron.runner set server_started_at = '2020-01-01'`);
        await session.query('select cron.lead()');
      },
    ],
  ])('%s', async (_when, act) => {
    const leader = await at('2026-11-21T10:00:00Z');
    const { db, session, schedule, tick, set, own, details } = leader;
    await schedule('* * * * *', 'work');
    await tick();
    await set('2026-11-21T10:01:00Z');
    await tick();
    const [runid] = own;
    own.clear();
    const holder = await db.admin.connect();
    onTestFinished(() => holder.release(true));
    const { rows } = await session.query<{ pid: number }>('select pg_backend_pid() as pid');
    const isWaiting = async () =>
      (await db.admin.query(`select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`, [rows[0]!.pid])).rowCount;

    // Where end_run() is between its two tables, and the leader comes.
    await holder.query('begin');
    await holder.query('select from cron.job_state where runid = $1 for update', [runid]);
    const acted = act(leader);
    await expect.poll(isWaiting, { interval: 5 }).toBe(1);
    await holder.query(`select cron.end_run($1, 'failed', 'connection failed')`, [runid]);
    await holder.query('commit');
    await acted;
    expect(await details()).toEqual([{ command: 'work', status: 'failed', return_message: 'connection failed' }]);
    expect(await tick(false)).toEqual([]);
  });
});

test('after a restart of the server, what ran has failed and @reboot runs', async () => {
  const { schedule, tick, set, own, begin, details, db, session } = await at('2026-11-21T10:00:00Z');
  await schedule('* * * * *', 'work');
  await schedule('@reboot', 'reboot');
  await tick();
  await set('2026-11-21T10:01:00Z');
  expect(await tick()).toEqual(['work']);
  await begin([...own][0]!);
  await db.admin.query(`update cron.runner set server_started_at = '2020-01-01'`);
  own.clear();
  await session.query('select cron.lead()');
  expect(await tick()).toEqual(['reboot']);
  expect((await details())[0]).toEqual({ command: 'work', status: 'failed', return_message: 'server restarted' });
  await session.query('select cron.lead()');
  expect(await tick()).toEqual([]);
});

test('a job that is unscheduled or set inactive while it runs is canceled', async () => {
  const { schedule, tick, set, own, end, db } = await at('2026-11-21T10:00:00Z');
  const [gone, off] = [await schedule('* * * * *', 'gone'), await schedule('* * * * *', 'off')];
  await tick();
  await set('2026-11-21T10:01:00Z');
  await tick();
  await db.admin.query('select cron.unschedule($1::bigint), cron.alter_job($2, active => false)', [gone, off]);
  expect(await tick()).toEqual(['cancel', 'cancel']);
  for (const runid of [...own]) await end(runid);
  await set('2026-11-21T10:02:00Z');
  expect(await tick()).toEqual([]);
  await db.admin.query('select cron.alter_job($1, active => true)', [off]);
  await tick();
  await set('2026-11-21T10:03:00Z');
  expect(await tick()).toEqual(['off']);
});

test('the history keeps the newest runs only', async () => {
  const { schedule, tick, set, drain, details, session } = await at('2026-11-21T10:00:00Z');
  await session.query('set cron.history_rows = 3');
  await schedule('1 second', 'tick');
  await tick();
  for (let second = 1; second <= 8; second += 1) {
    await set(`2026-11-21T10:00:0${second}Z`);
    await drain();
  }
  expect(await details()).toHaveLength(3);
});

test('a tick reads a few pages when few of 10,000 jobs are due', async () => {
  const { db, tick, set, drain, session } = await at('2026-11-21T10:00:30Z');
  await db.admin.query(
    `select count(cron.schedule('job ' || n, format('%s %s * * *', n % 60, n / 60 % 23), 'select 1')) from generate_series(1, 10000) as n`,
  );
  await tick();
  await set('2026-11-21T10:01:00Z');
  expect((await drain()).length).toBeGreaterThan(3);
  const pages: number[] = [];
  for (let second = 10; second < 60; second += 1) {
    await set(`2026-11-21T10:01:${second}Z`);
    const { rows } = await session.query(`explain (analyze, buffers, format json) select * from cron.tick('{}', false)`);
    const { Plan: plan } = rows[0]['QUERY PLAN'][0];
    pages.push(plan['Shared Hit Blocks'] + plan['Shared Read Blocks']);
  }
  expect(Math.max(...pages)).toBeLessThan(100);
}, 60_000);

describe('a leader rests', () => {
  async function alone(moment: string) {
    const scheduler = await at(moment);
    await scheduler.db.admin.query('delete from cron.job');
    const rest = async () => (await scheduler.session.query<{ ms: number }>('select cron.rest(10000, 1600) as ms')).rows[0]!.ms;
    const mayIdle = async () => (await scheduler.session.query('show idle_session_timeout')).rows[0].idle_session_timeout;
    return { ...scheduler, rest, mayIdle };
  }

  test('until half a second before the next job, ten seconds at most, and its session may idle as long', async () => {
    const { schedule, tick, set, rest, mayIdle } = await alone('2026-11-21T10:00:30Z');
    await tick();
    expect([await rest(), await mayIdle()]).toEqual([10_000, '11600ms']);
    await schedule('* * * * *', 'every minute');
    await tick();
    expect(await rest()).toBe(10_000);
    await set('2026-11-21T10:00:55Z');
    expect([await rest(), await mayIdle()]).toEqual([4_500, '6100ms']);
    await set('2026-11-21T10:00:59.700Z');
    expect([await rest(), await mayIdle()]).toEqual([0, '1600ms']);
  });

  test('not while a run is under way or waits', async () => {
    const { own, schedule, tick, set, end, rest } = await alone('2026-11-21T10:00:30Z');
    await schedule('* * * * *', 'every minute');
    await tick();
    await set('2026-11-21T10:02:01Z');
    expect(await tick(false)).toEqual(['every minute']);
    expect(await rest()).toBe(0);
    await end([...own][0]!);
    expect(await rest()).toBe(0);
    expect(await tick(false)).toEqual(['every minute']);
    await end([...own][0]!);
    expect(await rest()).toBe(10_000);
  });
});
