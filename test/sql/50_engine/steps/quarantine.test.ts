/** A version whose runs took too long is evaluated in local steps until one of its runs succeeds. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

const start = { id: 'start', type: 'apiTrigger' };
const quick = { id: 'quick', type: 'transform', properties: { path: '$.prev.n' } };
const effect = { id: 'effect', type: 'httpRequest', properties: { url: '{{ $.prev.url }}' } };

async function quarantine(request: Record<string, unknown>): Promise<boolean> {
  const { rows } = await db
    .pool('flowgres_worker')
    .query<{ is_new: boolean }>('select engine.quarantine($1) as is_new', [JSON.stringify(request)]);
  return rows[0]!.is_new;
}
const isQuarantined = async ({ id }: TestWorkflow) =>
  (await db.admin.query('select from engine.compiled_versions where workflow_id = $1 and quarantined_at is not null', [id])).rowCount === 1;

test('its next runs start without an evaluation, and one that succeeds ends it', async () => {
  const workflow = await publishWorkflow(acme, chain(start, quick));
  const request = { organizationId: acme.id, workflowId: workflow.id };
  expect([await quarantine(request), await quarantine(request)]).toEqual([true, false]);
  const { run_id } = await engine.start(acme, workflow, { n: 1 });
  await engine.goOn(run_id);
  expect(await engine.openSteps(run_id)).toMatchObject([{ node: 'quick', is_isolated: true }]);
  expect(await isQuarantined(workflow)).toBe(true);
  await engine.isolate(run_id, 'quick');
  expect(await engine.output(run_id)).toBe(1);
  expect(await engine.story(run_id)).toEqual([
    'run.created',
    'run.isolated',
    'step.succeeded start',
    'step.started quick',
    'step.succeeded quick',
    'run.succeeded',
  ]);
  expect(await engine.verify(run_id)).toEqual([]);
  expect(await isQuarantined(workflow)).toBe(false);
});

test('a run that has begun goes on in local steps', async () => {
  const workflow = await publishWorkflow(acme, chain(start, effect, quick));
  const { run_id } = await engine.start(acme, workflow, { url: 'https://example.com' });
  await engine.goOn(run_id);
  const task = (await engine.begin(run_id, 'effect'))!;
  expect(await quarantine({ runId: run_id })).toBe(true);
  expect((await engine.complete(task, { n: 2 })).next).toMatchObject({ node: 'quick', isolated: true });
  expect(await engine.story(run_id)).toContain('run.isolated');
  expect(await engine.verify(run_id)).toEqual([]);
});

test('a failure does not end it, nor a run in which something took too long', async () => {
  const workflow = await publishWorkflow(acme, chain(start, { ...quick, onError: 'continue' }, { id: 'end', type: 'noOp' }));
  await quarantine({ organizationId: acme.id, workflowId: workflow.id });
  const { run_id } = await engine.start(acme, workflow, { n: 1 });
  await engine.goOn(run_id);
  const task = await engine.beginIsolated(run_id, 'quick');
  await engine.fail(task, { code: 'EXPRESSION_TIMEOUT', message: 'Too long.', retryable: false });
  expect((await engine.run(run_id)).status).toBe('success');
  expect(await isQuarantined(workflow)).toBe(true);
});
