/** Slow, many or failing schedules of one organization: those of others fire in time, and its own can be stopped. */
import pg from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { tomorrowAt } from '../../helpers/clock.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { beforeStartsOf } from '../../helpers/slow.ts';

interface Due {
  organization_id: string;
  workflow_id: string;
  node: string;
  is_quarantined: boolean;
}

/** A database whose clock stands at 10:00:00 tomorrow, with a second organization beside the first. */
async function installation() {
  const db = await createTestDatabase();
  const driver = new Driver(db);
  const set = (time: string) => driver.freeze(tomorrowAt(time));
  await set('10:00:00');
  const [noisy, other] = [await createOrganization(db, 'Noisy'), await createOrganization(db, 'Other')];
  return { db, driver, set, noisy, other };
}

const publish = (organization: TestOrganization, properties: Record<string, unknown> = { cron: '1 second' }) =>
  publishWorkflow(organization, chain({ id: 'clock', type: 'scheduleTrigger', properties }, { id: 'end', type: 'noOp' }));

const due = async (db: TestDatabase) =>
  (await db.pool('flowgres_worker').query<Due & Record<string, unknown>>('select * from engine.due_schedules()')).rows;

const keyOf = ({ organization_id, workflow_id, node }: Due) => [organization_id, workflow_id, node];

const SHORT_MS = 200;

/** Fires a schedule as a worker does, under a time limit; its failure is recorded in another transaction. */
async function fire(db: TestDatabase, schedule: Due, timeoutMs = 20_000): Promise<string | undefined> {
  const client = await db.pool('flowgres_worker').connect();
  try {
    await client.query(`begin; set local statement_timeout = ${timeoutMs}`);
    await client.query('select engine.fire_schedule($1, $2, $3)', keyOf(schedule));
    await client.query('commit');
    return undefined;
  } catch (error) {
    await client.query('rollback');
    const { code = '', message } = error as pg.DatabaseError;
    await client.query('select engine.fail_schedule($1, $2, $3, $4)', [...keyOf(schedule), { code, message }]);
    return code;
  } finally {
    client.release();
  }
}

const stateOf = async (organization: TestOrganization) =>
  (
    await organization.user.query<{ failures: number; code: string | null; next: string; fires: string }>(
      `select failures, last_error ->> 'code' as code,
         to_char(next_run_at at time zone 'UTC', 'HH24:MI:SS') as next, to_char(fires_at at time zone 'UTC', 'HH24:MI:SS') as fires
       from schedules`,
    )
  ).rows;

const runsOf = async (db: TestDatabase, { id }: TestOrganization) =>
  (await db.admin.query('select from workflow_runs where organization_id = $1', [id])).rowCount;

describe('a schedule whose start takes too long', () => {
  test('is tried three times, then goes on with its next time; a start that succeeds forgets that', async () => {
    const { db, set, noisy } = await installation();
    await publish(noisy, { cron: '* * * * *' });
    await beforeStartsOf(db, noisy.id, 'perform pg_sleep(30)');
    const attempts: [at: string, failures: number, next: string, fires: string][] = [
      ['10:01:00', 1, '10:01:00', '10:01:02'],
      ['10:01:02', 2, '10:01:00', '10:01:06'],
      ['10:01:06', 3, '10:02:00', '10:02:00'],
      // In quarantine each time has one attempt.
      ['10:02:50', 4, '10:03:00', '10:03:00'],
    ];
    for (const [at, failures, next, fires] of attempts) {
      await set(at);
      const [schedule] = await due(db);
      expect(schedule).toMatchObject({ is_quarantined: failures > 1 });
      expect(await fire(db, schedule!, SHORT_MS)).toBe('57014');
      expect(await stateOf(noisy)).toEqual([{ failures, code: '57014', next, fires }]);
      expect(await due(db)).toEqual([]);
    }
    expect(await runsOf(db, noisy)).toBe(0);

    await beforeStartsOf(db, noisy.id, 'null');
    await set('10:03:00');
    expect(await fire(db, (await due(db))[0]!)).toBeUndefined();
    expect(await stateOf(noisy)).toEqual([{ failures: 0, code: null, next: '10:04:00', fires: '10:04:00' }]);
    expect(await runsOf(db, noisy)).toBe(1);
  });

  test.each(['unpublish_workflow', 'archive_workflow'])('does not hold up %s, and starts nothing after it', async (stop) => {
    const { db, set, noisy } = await installation();
    const { id } = await publish(noisy);
    await beforeStartsOf(db, noisy.id, 'perform pg_advisory_xact_lock(1)');
    const gate = new pg.Client(db.adminUrl);
    await gate.connect();
    onTestFinished(() => gate.end());
    await gate.query('select pg_advisory_lock(1)');
    await set('10:00:05');
    const firing = fire(db, (await due(db))[0]!);
    const isWaiting = async () =>
      (
        await db.admin.query(
          `select from pg_stat_activity where wait_event = 'advisory' and query like '%fire_schedule%' and datname = current_database()`,
        )
      ).rowCount;
    await expect.poll(isWaiting).toBe(1);

    // Waits for no lock at all.
    await noisy.user.transaction(async (client) => {
      await client.query(`set local lock_timeout = '1ms'`);
      await client.query(`select ${stop}(id => $1)`, [id]);
    });
    await gate.query('select pg_advisory_unlock(1)');
    expect(await firing).toBe('WF003');
    expect(await runsOf(db, noisy)).toBe(0);
    expect(await due(db)).toEqual([]);
  });
});

test('the first schedule of each organization comes before the second of any, and what failed comes last', async () => {
  const { db, set, noisy, other } = await installation();
  for (let count = 0; count < 5; count += 1) await publish(noisy);
  await publish(other);
  await set('10:00:05');
  expect(
    (await due(db))
      .slice(0, 2)
      .map(({ organization_id }) => organization_id)
      .toSorted(),
  ).toEqual([noisy.id, other.id].toSorted());
  await beforeStartsOf(db, other.id, 'perform pg_sleep(30)');
  await fire(db, (await due(db)).find(({ organization_id }) => organization_id === other.id)!, SHORT_MS);
  await set('10:00:10');
  expect((await due(db)).map(({ organization_id, is_quarantined }) => [organization_id, is_quarantined])).toEqual([
    ...Array.from({ length: 5 }, () => [noisy.id, false]),
    [other.id, true],
  ]);
});

test.each(['40P01', '40001', '55P03', '53100'])('a tick that meets SQLSTATE %s is not lost', async (code) => {
  const { db, set, noisy } = await installation();
  await publish(noisy, { cron: '* * * * *' });
  await beforeStartsOf(db, noisy.id, `raise sqlstate '${code}'`);
  await set('10:01:00');
  expect(await fire(db, (await due(db))[0]!)).toBe(code);
  await beforeStartsOf(db, noisy.id, 'null');
  await set('10:01:02');
  expect(await fire(db, (await due(db))[0]!)).toBeUndefined();
  expect(await runsOf(db, noisy)).toBe(1);
});

test('an error of the start itself is recorded with the next time, in one transaction', async () => {
  const { db, set, noisy } = await installation();
  await publish(noisy, { cron: '* * * * *' });
  await beforeStartsOf(db, noisy.id, `raise division_by_zero`);
  await set('10:01:00');
  expect(await fire(db, (await due(db))[0]!)).toBeUndefined();
  expect(await stateOf(noisy)).toEqual([{ failures: 0, code: 'INTERNAL', next: '10:02:00', fires: '10:02:00' }]);
});

test('a schedule whose next time cannot be computed comes again in an hour', async () => {
  const { db, set, noisy } = await installation();
  await publish(noisy);
  await db.admin.query(`update schedules set properties = '{"cron": "* * * * *", "timezone": "Gone/Zone"}', failures = 2`);
  await set('10:00:05');
  expect(await fire(db, (await due(db))[0]!)).toBe('22023');
  expect(await stateOf(noisy)).toEqual([{ failures: 3, code: '22023', next: '11:00:05', fires: '11:00:05' }]);
});

test('so does one whose next time takes too long to compute', async () => {
  const { db, set, noisy } = await installation();
  await publish(noisy);
  await set('10:00:05');
  const [schedule] = await due(db);
  await db.admin.query('update schedules set failures = 2');
  await db.admin.query(`
    create or replace function engine.next_tick(p_properties jsonb, p_after timestamptz) returns timestamptz language plpgsql
    as $$ begin perform pg_sleep(30); return null; end $$`);
  const client = await db.pool('flowgres_worker').connect();
  await client.query(`set statement_timeout = ${SHORT_MS}`);
  await client.query(`select engine.fail_schedule($1, $2, $3, '{"code": "TIMEOUT"}')`, keyOf(schedule!));
  client.release(true);
  expect(await stateOf(noisy)).toEqual([{ failures: 3, code: 'TIMEOUT', next: '11:00:05', fires: '11:00:05' }]);
});
