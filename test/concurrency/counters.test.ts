/** Batches whose failures start error workflows take usage counters before jobs, and those of several organizations in one order. */
import type pg from 'pg';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver, type Task } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const start = { id: 'start', type: 'apiTrigger' };
const stop = { id: 'stop', type: 'stopAndError', properties: { message: 'no' } };
/** Fails when its job is taken, not before. */
const missing = { id: 'missing', type: 'executeWorkflow', properties: { workflow: 'missing' } };
const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };
const onError = { id: 'failed', type: 'errorTrigger' };

let db: TestDatabase;
let engine: Driver;
/** One sends the batch, the other takes the same locks in the order of organizations. */
let batch: pg.Client;
let other: pg.Client;
beforeAll(async () => {
  db = await createTestDatabase();
  engine = new Driver(db);
  [batch, other] = [await connect(db.adminUrl), await connect(db.adminUrl)];
});
afterAll(() => Promise.all([batch.end(), other.end()]));

/** Organizations in the order in which batches take them, with as many executions a month as given; null: without a limit. */
async function organizations(...limits: (number | null)[]): Promise<TestOrganization[]> {
  const made = await Promise.all(limits.map(() => createOrganization(db)));
  made.sort((one, two) => (one.id < two.id ? -1 : 1));
  for (const [index, value] of limits.entries()) {
    if (value !== null)
      await db.admin.query(`insert into organization_limits values ($1, 'executions_per_month', $2)`, [made[index]!.id, value]);
  }
  return made;
}

const failing = (organization: TestOrganization, errorWorkflow: string, ...nodes: Parameters<typeof chain>) =>
  publishWorkflow(organization, { ...chain(...nodes), settings: { errorWorkflow } }, 'Failing');
const alarmOf = (organization: TestOrganization) => publishWorkflow(organization, chain(onError), 'Alarm');
const request = (organization: TestOrganization, workflow: { id: string }) => ({
  organizationId: organization.id,
  workflowId: workflow.id,
});
const startRuns = (client: pg.Client, ...requests: object[]) =>
  client.query('select from engine.start_runs($1)', [JSON.stringify(requests)]);
const runsOf = async (workflow: { id: string }) =>
  (await db.admin.query<{ status: string }>('select status from workflow_runs where workflow_id = $1', [workflow.id])).rows.map(
    ({ status }) => status,
  );

/** Sends the batch while the other session holds `first`'s locks, then lets that one take `second`'s: neither may wait for the other. */
async function interleave(first: () => Promise<unknown>, send: () => Promise<unknown>, second: () => Promise<unknown>): Promise<void> {
  await other.query('begin');
  onTestFinished(() => other.query('rollback').then(() => undefined));
  await first();
  const sent = Promise.allSettled([send()]);
  const { processID } = batch as pg.Client & { processID: number };
  const isWaiting = async () =>
    (await db.admin.query(`select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'`, [processID])).rowCount;
  await expect.poll(isWaiting, { timeout: 20_000, interval: 5 }).toBe(1);
  const taken = await Promise.allSettled([second()]);
  await other.query('commit');
  expect([...taken, ...(await sent)].filter(({ status }) => status === 'rejected')).toEqual([]);
}

test('jobs that fail a run of one organization and start a child run in the next', async () => {
  const [acme, next] = (await organizations(100, 100)) as [TestOrganization, TestOrganization];
  const alarm = await alarmOf(acme);
  const failed = await engine.start(acme, await failing(acme, alarm.id, start, missing));
  const child = await publishWorkflow(next, chain({ id: 'called', type: 'subworkflowTrigger' }), 'child');
  const parent = await engine.start(
    next,
    await publishWorkflow(next, chain(start, { id: 'sub', type: 'executeWorkflow', properties: { workflow: 'child' } })),
  );
  const plain = [await publishWorkflow(acme, chain(start)), await publishWorkflow(next, chain(start))] as const;
  const jobs = [
    { runId: failed.run_id, node: 'missing' },
    { runId: parent.run_id, node: 'sub' },
  ];
  await interleave(
    () => startRuns(other, request(acme, plain[0])),
    () => batch.query('select from engine.begin_steps($1, $2)', [JSON.stringify(jobs), engine.worker]),
    () => startRuns(other, request(next, plain[1])),
  );
  expect(await runsOf(alarm)).toEqual(['success']);
  expect(await runsOf(child)).toEqual(['success']);
  const { rows } = await db.admin.query('select used from private.usage_counters where organization_id = $1 and used > 0', [acme.id]);
  expect(rows).toEqual([{ used: 3 }]);
});

test('starts that fail in one organization, whose error workflow belongs to a team, and go on in the next', async () => {
  const [acme, next] = (await organizations(null, 100)) as [TestOrganization, TestOrganization];
  const alarm = await alarmOf(acme);
  await acme.user.query(`select create_team('red', 'red')`);
  await acme.user.query('select assign_workflow($1, (select id from teams))', [alarm.id]);
  await acme.user.query(`select set_team_limit(id, 'executions_per_month', 10) from teams`);
  const ofTeam = await publishWorkflow(acme, chain(start), 'Of the team');
  await acme.user.query('select assign_workflow($1, (select id from teams))', [ofTeam.id]);
  const failed = await failing(acme, alarm.id, start, stop);
  const plain = await publishWorkflow(next, chain(start));
  await interleave(
    () => startRuns(other, request(acme, ofTeam)),
    () => startRuns(batch, request(acme, failed), request(next, plain)),
    () => startRuns(other, request(next, plain)),
  );
  expect(await runsOf(alarm)).toEqual(['success']);
  expect(await runsOf(plain)).toEqual(['success', 'success']);
});

test('a child run that fails, and another one of the same parent that ends after a start', async () => {
  const [acme] = (await organizations(100)) as [TestOrganization];
  const alarm = await alarmOf(acme);
  await publishWorkflow(
    acme,
    { ...chain({ id: 'called', type: 'subworkflowTrigger' }, call), settings: { errorWorkflow: alarm.id } },
    'child',
  );
  const plain = await publishWorkflow(acme, chain(start));
  const parent = await engine.start(
    acme,
    await publishWorkflow(acme, chain(start, { id: 'all', type: 'forEach', properties: { workflow: 'child' } })),
    [1, 2],
  );
  await engine.begin(parent.run_id, 'all');
  const { rows } = await db.admin.query<{ id: string }>('select id from workflow_runs where parent_run_id = $1 order by id', [
    parent.run_id,
  ]);
  const [bad, good] = (await Promise.all(rows.map(({ id }) => engine.begin(id, 'call')))) as [Task, Task];
  const report = (client: pg.Client, { runId, node, attempt }: Task, ok: boolean) =>
    client.query('select from engine.complete_steps($1, $2)', [
      JSON.stringify([{ runId, node, attempt, ok, output: 1, error: { code: 'NO', message: 'no' }, ms: 1 }]),
      engine.worker,
    ]);
  await interleave(
    () => startRuns(other, request(acme, plain)),
    () => report(batch, bad, false),
    () => report(other, good, true),
  );
  expect(await runsOf(alarm)).toEqual(['success']);
  await engine.begin(parent.run_id, 'all');
  expect(await engine.run(parent.run_id)).toMatchObject({ status: 'error' });
});
