/** verify_run(): replay gives the same log, and every difference is found. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';
import { tamper } from '../../../helpers/tamper.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase({ unchecked: true });
  acme = await createOrganization(db);
  engine = new Driver(db);
});

async function finishedRun(): Promise<string> {
  const definition = chain(
    { id: 'start', type: 'apiTrigger' },
    { id: 'double', type: 'set', properties: { assign: { doubled: '{{ $.prev.n }}' } } },
    { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } },
    { id: 'end', type: 'noOp' },
  );
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition), { n: 2 });
  await engine.finish(run_id, 'call', { ok: true });
  return run_id!;
}

const verify = async (runId: string) => (await acme.user.query('select * from verify_run($1)', [runId])).rows;

test('replaying the log of a run gives the same events', async () => {
  expect(await verify(await finishedRun())).toEqual([]);
});

test('a changed output is found where it stands', async () => {
  const runId = await finishedRun();
  await tamper(
    db,
    `update workflow_events set payload = jsonb_set(payload, '{output}', '{"doubled": 5}') where run_id = $1 and payload ->> 'node' = 'double'`,
    [runId],
  );
  expect(await verify(runId)).toMatchObject([{ seq: 3, problem: 'replay gives another event' }]);
});

test('a missing event is found', async () => {
  const runId = await finishedRun();
  await tamper(db, 'delete from workflow_events where run_id = $1 and seq = 3', [runId]);
  expect((await verify(runId)).length).toBeGreaterThan(0);
});

test('an event that the engine would never write is found', async () => {
  const runId = await finishedRun();
  await db.admin.query(
    `insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
     select organization_id, run_id, 99, ts + interval '1 second', 'run.succeeded', '{"output": 1}' from workflow_events
     where run_id = $1 order by seq desc limit 1`,
    [runId],
  );
  expect(await verify(runId)).not.toEqual([]);
});
