/** repair_runs(): a run that nothing would move is named and repaired. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

const trigger = { id: 'start', type: 'apiTrigger' };
const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
const start = async (definition: Definition) => (await engine.start(acme, await publishWorkflow(acme, definition))).run_id!;
const stuck = async () => (await db.admin.query<{ run_id: string }>('select * from monitor.stuck_runs()')).rows.map(({ run_id }) => run_id);
const repair = async () => (await db.pool('flowgres_worker').query('select * from engine.repair_runs()')).rows;
const lose = (runId: string) =>
  db.admin.query(
    `with steps as (delete from engine.open_steps where run_id = $1) delete from graphile_worker._private_jobs where payload ->> 'runId' = $1::text`,
    [runId],
  );

describe('a run that nothing would move is named by the monitor and repaired', () => {
  test('when its open step was lost', async () => {
    const runId = await start(chain(trigger, call('a'), call('b')));
    await lose(runId);
    expect(await stuck()).toContain(runId);
    expect(await repair()).toEqual([{ action: 'open', run_id: runId }]);
    expect(await stuck()).toEqual([]);
    expect(await repair()).toEqual([]);
    const { next } = await engine.finish(runId, 'a', 1);
    expect(await engine.complete(next!, 2)).toMatchObject({ status: 'success' });
  });

  test('when it was running: the late result of the lost attempt is stale', async () => {
    const runId = await start(chain(trigger, call('a')));
    const lost = await engine.begin(runId, 'a');
    await lose(runId);
    await repair();
    const again = await engine.begin(runId, 'a');
    expect(again).toMatchObject({ attempt: 2 });
    expect(await engine.complete(lost!, 'late')).toMatchObject({ outcome: 'stale' });
    expect(await engine.complete(again!, 'good')).toMatchObject({ outcome: 'recorded', status: 'success' });
  });

  test('when it was waiting: its timer still fires at its time', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const runId = await start(chain(trigger, { id: 'sleep', type: 'wait', properties: { seconds: 3600 } }));
    await lose(runId);
    await repair();
    expect(await engine.openSteps(runId)).toMatchObject([{ node: 'sleep', state: 'waiting', run_at: new Date('2026-11-21T13:00:00Z') }]);
    expect((await engine.run(runId)).status).toBe('waiting');
    await engine.freeze(new Date('2026-11-21T13:00:00Z'));
    await engine.begin(runId, 'sleep');
    expect((await engine.run(runId)).status).toBe('success');
    await engine.freeze(null);
  });

  test('when it was held and its place in the queue was lost', async () => {
    const definition = { ...chain(trigger, call('a')), settings: { concurrency: { limit: 1 } } };
    const workflow = await publishWorkflow(acme, definition);
    const first = await engine.start(acme, workflow);
    const { run_id: runId } = await engine.start(acme, workflow);
    await db.admin.query('delete from engine.flow_runs where run_id = $1', [runId]);
    expect(await stuck()).toContain(runId);
    expect(await repair()).toEqual([{ action: 'hold', run_id: runId }]);
    expect(await stuck()).toEqual([]);
    await engine.finish(first.run_id, 'a', 1);
    await engine.release();
    await engine.begin(runId, 'start');
    expect(await engine.finish(runId, 'a', 1)).toMatchObject({ status: 'success' });
  });
});

test('a paused run is left alone', async () => {
  const runId = await start(chain(trigger, call('a')));
  const task = await engine.begin(runId, 'a');
  await acme.user.query('select pause_run($1)', [runId]);
  await engine.complete(task!, 1);
  expect(await stuck()).toEqual([]);
  expect(await repair()).toEqual([]);
});
