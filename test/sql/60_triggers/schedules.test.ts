/** Schedules: next times, ticks, catch-up and jitter; each tick starts one run. */
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { freezeClock } from '../../helpers/partitions.ts';

interface Scheduled {
  node: string;
  next_run_at: Date;
  fires_at: Date;
  last_run_at: Date | null;
  last_error: { code: string } | null;
}

const definition = (properties: Record<string, unknown>) => ({
  nodes: [
    { id: 'clock', type: 'scheduleTrigger', properties },
    { id: 'end', type: 'noOp' },
  ],
  connections: [{ source: 'clock', target: 'end' }],
});

/** A database of its own with its clock at a moment: schedules of other tests do not fire in it. */
async function at(moment: string) {
  const db = await createTestDatabase();
  const driver = new Driver(db);
  const set = (time: string) => driver.freeze(new Date(time));
  await set(moment);
  const organization = await createOrganization(db);
  const publish = (properties: Record<string, unknown>) => publishWorkflow(organization, definition(properties));
  const fire = () => driver.fireSchedules();
  const fireAll = async () => {
    while ((await fire()) > 0);
  };
  const schedules = async (of: TestOrganization = organization) =>
    (await of.user.query<Scheduled & Record<string, unknown>>('select * from schedules')).rows;
  const runs = async () => {
    const { rows } = await db.admin.query<{ mode: string; scheduled: string }>(
      `select r.mode, e.payload -> 'input' ->> 'scheduledAt' as scheduled from workflow_runs as r
       join workflow_events as e on e.run_id = r.id and e.seq = 1 order by scheduled, r.id`,
    );
    expect(new Set(rows.map(({ mode }) => mode))).toEqual(new Set(rows.length ? ['schedule'] : []));
    return rows.map(({ scheduled }) => scheduled.slice(0, 19));
  };
  return { db, organization, set, publish, fire, fireAll, schedules, runs };
}

describe('publishing', () => {
  test("sets the next run in the trigger's time zone; unpublishing and archiving take it away", async () => {
    const { publish, schedules, organization, runs, set, fireAll } = await at('2026-11-21T07:00:00Z');
    const { id } = await publish({ cron: '30 9 * * mon-fri', timezone: 'Europe/Berlin' });
    const [schedule] = await schedules();
    expect(schedule).toMatchObject({ node: 'clock', next_run_at: new Date('2026-11-23T08:30Z'), fires_at: new Date('2026-11-23T08:30Z') });
    await organization.user.query('select unpublish_workflow(id => $1)', [id]);
    expect(await schedules()).toEqual([]);
    await set('2026-11-23T08:30:00Z');
    await fireAll();
    expect(await runs()).toEqual([]);
    await organization.user.query('select publish_workflow(id => $1)', [id]);
    expect(await schedules()).toHaveLength(1);
    await organization.user.query('select archive_workflow(id => $1)', [id]);
    expect(await schedules()).toEqual([]);
  });

  test.each([
    [{ cron: '60 * * * *' }, 'is not a schedule'],
    [{ cron: '* * 31 2 *' }, 'never comes'],
    [{ cron: '* * * * * *' }, 'would be ignored'],
    [{ cron: '@reboot' }, 'is not a schedule'],
    [{ cron: '* * * * *', timezone: 'Europe/Atlantis' }, 'is not a time zone'],
    [{ cron: '* * * * *', every: { n: 1, unit: 'days' } }, 'exclude each other'],
    [{}, ''],
    [{ every: { n: 0, unit: 'days' } }, ''],
    [{ every: { n: 1, unit: 'fortnights' } }, ''],
    [{ cron: '* * * * *', catchUp: 'some' }, ''],
    [{ cron: '* * * * *', jitterSeconds: 3601 }, ''],
  ])('refuses %j', async (properties, problem) => {
    const { publish } = await shared;
    await expect(publish(properties)).rejects.toMatchObject({ code: 'WF001', message: expect.stringContaining(problem) });
  });

  test('refuses the 1,001st schedule of an organization', async () => {
    const { db, publish, organization } = await at('2026-11-21T07:00:00Z');
    const { id } = await publish({ cron: '@daily' });
    await db.admin.query(
      `insert into schedules (organization_id, workflow_id, node, version, properties, next_run_at, fires_at)
       select $1, $2, 'n' || n, 1, '{"cron": "@daily"}', now(), now() from generate_series(1, 999) as n`,
      [organization.id, id],
    );
    await expect(publish({ cron: '@daily' })).rejects.toMatchObject({ code: 'WF006' });
  });

  test('lets an organization see its own schedules only', async () => {
    const { db, publish, schedules } = await shared;
    await publish({ cron: '@daily' });
    expect(await schedules()).toHaveLength(1);
    expect(await schedules(await createOrganization(db, 'Other'))).toEqual([]);
  });
});

const shared = at('2026-11-21T07:00:00Z');

describe('a tick', () => {
  test('starts one run with its time, and the schedule goes on', async () => {
    const { publish, set, fireAll, fire, runs, schedules } = await at('2026-12-31T23:58:30Z');
    await publish({ cron: '* * * * *' });
    await set('2026-12-31T23:59:00.400Z');
    await fireAll();
    await set('2027-01-01T00:00:00Z');
    await fireAll();
    expect(await fire()).toBe(0);
    expect(await runs()).toEqual(['2026-12-31T23:59:00', '2027-01-01T00:00:00']);
    expect((await schedules())[0]).toMatchObject({
      next_run_at: new Date('2027-01-01T00:01Z'),
      last_run_at: new Date('2027-01-01T00:00Z'),
      last_error: null,
    });
  });

  test('starts one run when many sessions fire at once', async () => {
    const { publish, set, fire, runs } = await at('2026-11-21T07:00:10Z');
    await Promise.all(Array.from({ length: 5 }, () => publish({ cron: '* * * * *' })));
    await set('2026-11-21T07:01:00Z');
    await Promise.all(Array.from({ length: 8 }, fire));
    expect(await runs()).toHaveLength(5);
  });

  test('is not lost and not doubled when the session dies before it commits', async () => {
    const { publish, set, db, fireAll, runs } = await at('2026-11-21T07:00:10Z');
    await publish({ cron: '* * * * *' });
    await set('2026-11-21T07:01:00Z');
    const client = await db.pool('flowgres_worker').connect();
    await client.query('begin');
    await client.query('select engine.fire_schedule(organization_id, workflow_id, node) from engine.due_schedules()');
    client.release(true);
    const runsNow = () => fireAll().then(runs);
    await expect.poll(runsNow).toHaveLength(1);
  });

  test('waits while there is no partition for its time, and is not lost', async () => {
    const { publish, db, fireAll, runs, schedules } = await at('2026-11-21T07:00:10Z');
    await publish({ cron: '0 0 1 6 *' });
    // Nobody maintains meanwhile.
    await freezeClock(db, '2027-06-01T00:00:00Z');
    await expect(fireAll()).rejects.toMatchObject({ code: '23514' });
    expect((await schedules())[0]).toMatchObject({ next_run_at: new Date('2027-06-01T00:00Z'), last_error: null });
    await db.pool('flowgres_worker').query('select engine.ensure_partitions()');
    await fireAll();
    expect(await runs()).toEqual(['2027-06-01T00:00:00']);
  });

  test('that was started before is started no second time, even when the schedule forgot it', async () => {
    const { publish, set, db, fireAll, runs } = await at('2026-11-21T07:00:10Z');
    await publish({ cron: '* * * * *' });
    await set('2026-11-21T07:01:00Z');
    await fireAll();
    await db.admin.query(`update schedules set next_run_at = '2026-11-21T07:01Z', fires_at = '2026-11-21T07:01Z'`);
    await set('2026-11-21T07:01:01Z');
    await fireAll();
    expect(await runs()).toEqual(['2026-11-21T07:01:00']);
  });

  test('starts up to its jitter later, the same whenever it is asked', async () => {
    const { publish, schedules } = await at('2026-11-21T07:00:10Z');
    await publish({ cron: '0 8 * * *', jitterSeconds: 600 });
    const [
      { next_run_at, fires_at } = (() => {
        throw new Error('none');
      })(),
    ] = await schedules();
    expect(next_run_at).toEqual(new Date('2026-11-21T08:00Z'));
    expect(fires_at.getTime() - next_run_at.getTime()).toBeGreaterThan(0);
    expect(fires_at.getTime() - next_run_at.getTime()).toBeLessThan(600_000);
  });

  test('crosses the change to winter time once a day', async () => {
    const { publish, set, fireAll, runs } = await at('2026-10-24T12:00:00Z');
    await publish({ cron: '30 2 * * *', timezone: 'Europe/Berlin' });
    for (const time of ['2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', '2026-10-26T01:30:00Z']) {
      await set(time);
      await fireAll();
    }
    expect(await runs()).toEqual(['2026-10-25T00:30:00', '2026-10-26T01:30:00']);
  });
});

describe('after a pause', () => {
  test.each([
    ['none', ['2026-11-21T12:00:00']],
    ['one', ['2026-11-21T08:00:00', '2026-11-21T12:00:00']],
    ['all', ['2026-11-21T08:00:00', '2026-11-21T09:00:00', '2026-11-21T10:00:00', '2026-11-21T11:00:00', '2026-11-21T12:00:00']],
  ])('catch up %s', async (catchUp, expected) => {
    const { publish, set, fireAll, runs, schedules } = await at('2026-11-21T07:30:00Z');
    await publish({ cron: '@hourly', catchUp });
    await set('2026-11-21T12:00:30Z');
    await fireAll();
    expect(await runs()).toEqual(expected);
    expect((await schedules())[0]!.next_run_at).toEqual(new Date('2026-11-21T13:00Z'));
  });

  test('of a change of the leader every tick of every second runs', async () => {
    const { publish, set, fireAll, runs } = await at('2026-11-21T07:00:00Z');
    await publish({ cron: '1 second' });
    await set('2026-11-21T07:00:04Z');
    await fireAll();
    expect(await runs()).toHaveLength(4);
  });

  test('of a month, catching up all goes back a week', async () => {
    const { publish, set, fireAll, runs } = await at('2026-10-01T00:00:10Z');
    await publish({ cron: '@daily', catchUp: 'all' });
    await set('2026-11-01T12:00:00Z');
    await fireAll();
    // The tick that was due first, then those of the last seven days.
    expect(await runs()).toEqual([
      '2026-10-02T00:00:00',
      ...[26, 27, 28, 29, 30, 31].map((day) => `2026-10-${day}T00:00:00`),
      '2026-11-01T00:00:00',
    ]);
  });
});

test.each([
  [{ n: 15, unit: 'minutes' }, 'UTC', '2026-11-21T07:15:00.000Z'],
  [{ n: 90, unit: 'seconds' }, 'UTC', '2026-11-21T07:01:30.000Z'],
  [{ n: 1, unit: 'days' }, 'Europe/Berlin', '2026-11-21T23:00:00.000Z'],
  [{ n: 1, unit: 'weeks' }, 'UTC', '2026-11-23T00:00:00.000Z'],
  [{ n: 3, unit: 'months' }, 'America/New_York', '2027-01-01T05:00:00.000Z'],
])('every %j in %s fires first at %s', async (every, timezone, first) => {
  const { publish, db } = await shared;
  const { id } = await publish({ every, timezone });
  const { rows } = await db.admin.query<{ next_run_at: Date }>('select next_run_at from schedules where workflow_id = $1', [id]);
  expect(rows[0]!.next_run_at.toISOString()).toBe(first);
});

describe('preview_schedule', () => {
  const preview = async (...values: unknown[]) => {
    const { organization } = await shared;
    const { rows } = await organization.user.query<{ at: Date }>('select preview_schedule($1, $2, $3) as at', values);
    return rows.map(({ at: time }) => time.toISOString().slice(0, 16));
  };

  test('shows the next times', async () => {
    expect(await preview('0 9 * * mon-fri', 'Europe/Berlin', 2)).toEqual(['2026-11-23T08:00', '2026-11-24T08:00']);
  });

  test('refuses what publishing refuses', async () => {
    await expect(preview('* * 31 2 *', 'UTC', 1)).rejects.toMatchObject({ code: 'WF001' });
    await expect(preview('@daily', 'Nowhere', 1)).rejects.toMatchObject({ code: 'WF001' });
    await expect(preview(null, 'UTC', 1)).rejects.toMatchObject({ code: 'WF001' });
    await expect(preview('@daily', 'UTC', 101)).rejects.toMatchObject({ code: 'WF009' });
  });
});
