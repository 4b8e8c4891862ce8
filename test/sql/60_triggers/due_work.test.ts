/** engine.due_work(): when it says that a step, a job or a schedule is due. */
import { randomUUID } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { tomorrowAt } from '../../helpers/clock.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
const at = (time: string) => engine.freeze(tomorrowAt(time));

beforeAll(async () => {
  db = await createTestDatabase();
  engine = new Driver(db);
  await at('12:00:00');
  acme = await createOrganization(db);
});

const due = async () =>
  (await db.pool('flowgres_worker').query('select steps, schedules, jobs from engine.due_work($1, true)', [randomUUID()])).rows[0];

test('nothing is due in an idle installation', async () => {
  expect(await due()).toEqual({ steps: false, schedules: false, jobs: false });
});

test('a step is due when its time has come, and no longer once it has its job', async () => {
  await at('12:00:00');
  const workflow = await publishWorkflow(
    acme,
    chain({ id: 'start', type: 'apiTrigger' }, { id: 'pause', type: 'wait', properties: { seconds: 60 } }),
  );
  const { run_id } = await engine.start(acme, workflow);
  expect(await due()).toMatchObject({ steps: false, jobs: false });
  await at('12:01:01');
  expect(await due()).toMatchObject({ steps: true, jobs: false });
  await engine.wake();
  expect(await due()).toMatchObject({ steps: false, jobs: true });
  await engine.begin(run_id, 'pause');
  await db.admin.query('delete from graphile_worker._private_jobs');
  expect(await due()).toEqual({ steps: false, schedules: false, jobs: false });
});

test('a job is due when nobody has it and its time has come', async () => {
  const workflow = await publishWorkflow(acme, {
    ...chain({ id: 'start', type: 'apiTrigger' }, { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } }),
  });
  await engine.start(acme, workflow);
  expect(await due()).toMatchObject({ jobs: true });
  await db.admin.query(`update graphile_worker._private_jobs set run_at = now() + interval '1 minute'`);
  expect(await due()).toMatchObject({ jobs: false });
  await db.admin.query(`update graphile_worker._private_jobs set run_at = now(), locked_at = now(), locked_by = 'other'`);
  expect(await due()).toMatchObject({ jobs: false });
  await db.admin.query('delete from graphile_worker._private_jobs');
});

test('a schedule is due at its time, but not while its organization is deleted', async () => {
  await at('12:10:30');
  await publishWorkflow(acme, { nodes: [{ id: 'clock', type: 'scheduleTrigger', properties: { cron: '* * * * *' } }], connections: [] });
  expect(await due()).toMatchObject({ schedules: false });
  await at('12:11:01');
  expect(await due()).toMatchObject({ schedules: true });
  await db.admin.query('update organizations set deleted_at = engine.now() where id = $1', [acme.id]);
  expect(await due()).toMatchObject({ schedules: false });
  await db.admin.query('update organizations set deleted_at = null where id = $1', [acme.id]);
  while ((await engine.fireSchedules()) > 0);
  expect(await due()).toMatchObject({ schedules: false });
});
