/** Runs whose events were dropped with whole months by operators are not reported as broken. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { lines } from '../../helpers/partitions.ts';
import { tamper } from '../../helpers/tamper.ts';

const LATE_EVENING = new Date('2026-01-31T23:30:00Z');
const NEXT_DAY = new Date('2026-02-01T01:00:00Z');
const SUMMER = new Date('2026-08-15T12:00:00Z');

test('runs whose months of events were dropped are sound, and what is left of their logs is still checked', async () => {
  const db = await createTestDatabase({ unchecked: true });
  const acme = await createOrganization(db);
  const engine = new Driver(db);
  const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, call('first'), call('second')));
  const broken = async () => (await lines(db, 'select invariant, run_id from monitor.invariants() order by 1, 2')).toSorted();

  await engine.freeze(LATE_EVENING);
  const start = async () => (await engine.start(acme, workflow)).run_id!;
  const finish = async (run: string) => engine.complete((await engine.finish(run, 'first', 1)).next!, 1);
  const [january, crossing] = [await start(), await start()];
  await finish(january);
  await engine.freeze(NEXT_DAY);
  await finish(crossing);
  const february = await start();
  await finish(february);
  await engine.freeze(SUMMER);
  expect(await broken()).toEqual([]);

  expect(Number((await lines(db, 'select drop_old_workflow_events_partitions(6)'))[0])).toBeGreaterThan(0);
  expect(await lines(db, `select count(*) from workflow_events where run_id = $1`, [january])).toEqual(['0']);
  expect(Number((await lines(db, `select count(*) from workflow_events where run_id = $1`, [crossing]))[0])).toBeGreaterThan(2);
  expect(await broken()).toEqual([]);

  await tamper(db, `delete from workflow_events where run_id = '${crossing}' and type = 'step.succeeded' and payload ->> 'node' = 'first'`);
  await tamper(db, `delete from workflow_events where run_id = '${february}'`);
  expect(await broken()).toEqual([
    `I2 the events of a run are numbered 1, 2, 3 … without a gap ${crossing}`,
    `I9 a run has events ${february}`,
  ]);
});
