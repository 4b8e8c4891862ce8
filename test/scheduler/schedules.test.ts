import { fork } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import pg from 'pg';
import { everySecond } from '../../src/scheduler/every.ts';
import { ScheduleRunner } from '../../src/scheduler/schedules.ts';
import { startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { beforeStartsOf } from '../helpers/slow.ts';

test('of two workers each tick starts one run, also when one is killed', async () => {
  const db = await createTestDatabase();
  const workers = [1, 2].map(() => fork(new URL('../worker/process.ts', import.meta.url), [db.url('flowgres_worker')]));
  for (const worker of workers) onTestFinished(() => void worker.kill('SIGKILL'));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const organization = await createOrganization(db);
  const { id } = await publishWorkflow(organization, {
    nodes: [{ id: 'clock', type: 'scheduleTrigger', properties: { cron: '1 second' } }],
    connections: [],
  });
  const ticks = async () => {
    const { rows } = await db.admin.query<{ at: string }>(
      `select payload -> 'input' ->> 'scheduledAt' as at from workflow_events where type = 'run.created' order by at`,
    );
    return rows.map(({ at }) => Date.parse(at));
  };
  await expect.poll(async () => (await ticks()).length).toBeGreaterThan(2);
  workers[0]!.kill('SIGKILL');
  const before = (await ticks()).length;
  await expect.poll(async () => (await ticks()).length).toBeGreaterThan(before + 2);
  await organization.user.query('select unpublish_workflow(id => $1)', [id]);

  const all = await ticks();
  expect(all.slice(1).map((at, index) => at - all[index]!)).toEqual(all.slice(1).map(() => 1_000));
}, 90_000);

test('many slow schedules of one organization cost another one no tick, and can be unpublished', async () => {
  const db = await createTestDatabase();
  const [slow, other] = [await createOrganization(db, 'Slow'), await createOrganization(db, 'Other')];
  await beforeStartsOf(db, slow.id, 'perform pg_sleep(30)');
  const everySecond = { nodes: [{ id: 'clock', type: 'scheduleTrigger', properties: { cron: '1 second' } }], connections: [] };
  const published = await Promise.all(Array.from({ length: 10 }, () => publishWorkflow(slow, everySecond)));
  await publishWorkflow(other, everySecond);
  const worker = await startWorker({ connectionString: db.url('flowgres_worker'), concurrency: 4 });
  onTestFinished(() => worker.stop());

  const lateness = async () => {
    const { rows } = await db.admin.query<{ late: number }>(
      `select extract(epoch from ts - (payload -> 'input' ->> 'scheduledAt')::timestamptz)::float as late
       from workflow_events where type = 'run.created' and organization_id = $1 order by payload -> 'input' ->> 'scheduledAt'`,
      [other.id],
    );
    return rows.map(({ late }) => late);
  };
  await expect
    .poll(async () => (await slow.user.query(`select from schedules where last_error ->> 'code' = 'TIMEOUT'`)).rowCount)
    .toBeGreaterThan(2);
  const { length: before } = await lateness();
  await expect.poll(async () => (await lateness()).length).toBeGreaterThan(before + 3);
  // The first ones waited for the worker to start. One after the other the slow ones would hold them up for half a minute.
  expect(Math.max(...(await lateness()).slice(before))).toBeLessThan(15);

  await slow.user.transaction(async (client) => {
    await client.query(`set local lock_timeout = '200ms'`);
    for (const { id } of published) await client.query('select unpublish_workflow(id => $1)', [id]);
  });
  expect((await slow.user.query('select from schedules')).rowCount).toBe(0);
}, 60_000);

test('a schedule that is unpublished while it fires is no problem, and no failure of what is published next', async () => {
  const db = await createTestDatabase();
  const acme = await createOrganization(db);
  const { id } = await publishWorkflow(acme, {
    nodes: [{ id: 'clock', type: 'scheduleTrigger', properties: { cron: '1 second' } }],
    connections: [],
  });
  const gate = new pg.Client(db.adminUrl);
  await gate.connect();
  onTestFinished(() => gate.end());
  await gate.query('select pg_advisory_lock(1)');
  await beforeStartsOf(db, acme.id, 'perform pg_advisory_xact_lock(1)');
  const problems: string[] = [];
  const runner = new ScheduleRunner({
    connectionString: db.url('flowgres_worker'),
    firingTimeoutMs: 60_000,
    mend: async () => undefined,
    onProblem: (message, error) => problems.push(`${message} ${String(error)}`),
  });
  onTestFinished(() => runner.stop());
  const timer = everySecond(() => runner.fireDue());
  onTestFinished(() => timer.stop());
  const isFiring = `select from pg_stat_activity where wait_event = 'advisory' and query like '%fire_schedule%' and datname = current_database()`;
  await expect.poll(async () => (await db.admin.query(isFiring)).rowCount).toBe(1);
  await acme.user.query('select unpublish_workflow(id => $1)', [id]);
  await acme.user.query('select publish_workflow($1)', [id]);
  await gate.query('select pg_advisory_unlock(1)');
  const runs = async () => (await db.admin.query('select from workflow_runs where workflow_id = $1', [id])).rowCount;
  await expect.poll(runs).toBeGreaterThan(0);
  expect(problems).toEqual([]);
  expect((await acme.user.query('select failures, last_error from schedules')).rows).toEqual([{ failures: 0, last_error: null }]);
}, 60_000);
