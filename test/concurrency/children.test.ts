/** Parents and children end at the same time, in every order: nothing deadlocks, and everything ends. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { Driver, type Task } from '../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const db = await createTestDatabase();
await db.admin.query(`alter database ${db.name} set deadlock_timeout = '100ms'`);

test('children that end, parents that are woken, signaled and canceled: no deadlock, no run left over', async () => {
  const acme = await createOrganization(db);
  const engine = new Driver(db);
  await publishWorkflow(
    acme,
    chain({ id: 'called', type: 'subworkflowTrigger' }, { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } }),
    'child',
  );
  const definition = {
    nodes: [
      { id: 'start', type: 'apiTrigger' },
      { id: 'all', type: 'forEach', properties: { workflow: 'child', concurrency: 5 } },
      { id: 'go', type: 'wait', properties: { signal: 'go' } },
    ],
    connections: [
      { source: 'start', target: 'all' },
      { source: 'start', target: 'go' },
    ],
  };
  const workflow = await publishWorkflow(acme, definition);
  const request = { organizationId: acme.id, workflowId: workflow.id, input: [1, 2, 3, 4, 5, 6, 7, 8] };
  const parents = (await engine.startAll(Array.from({ length: 12 }, () => request))).map(({ run_id }) => run_id!);
  const canceled = new Set(parents.slice(0, 4));

  const worker = db.pool('flowgres_worker');
  const parentBatch = () => JSON.stringify(parents.map((runId) => ({ runId, node: 'all' })));
  const wakeParents = () => worker.query('select from engine.begin_steps($1, $2)', [parentBatch(), engine.worker]);
  await wakeParents();

  const unfinished = async () =>
    (
      await db.admin.query<{ id: string; child: boolean }>(
        `select id, parent_run_id is not null as child from workflow_runs where finished_at is null order by random()`,
      )
    ).rows;
  const finishBatch = async (ids: string[]) => {
    const steps = JSON.stringify(ids.map((runId) => ({ runId, node: 'call' })));
    const { rows } = await worker.query<{ task: Task | null }>('select task from engine.begin_steps($1, $2)', [steps, engine.worker]);
    const results = rows.flatMap(({ task }) =>
      task ? [{ runId: task.runId, node: 'call', attempt: task.attempt, ok: true, output: 1, ms: 1 }] : [],
    );
    await worker.query('select from engine.complete_steps($1, $2)', [JSON.stringify(results), engine.worker]);
  };

  for (let round = 0; round < 30; round += 1) {
    const open = await unfinished();
    if (!open.length) break;
    const children = open.filter(({ child }) => child).map(({ id }) => id);
    const half = Math.ceil(children.length / 2);
    await Promise.all([
      finishBatch(children.slice(0, half)),
      finishBatch(children.slice(half)),
      wakeParents(),
      wakeParents(),
      engine.reconcile(),
      ...(round === 1 ? [...canceled].map((runId) => acme.user.query('select cancel_run($1)', [runId])) : []),
      ...(round === 2 ? parents.filter((id) => !canceled.has(id)).map((id) => acme.user.query(`select signal_run($1, 'go')`, [id])) : []),
      ...(round > 1 ? [...canceled].map((runId) => worker.query('select engine.cancel_children($1)', [runId])) : []),
    ]);
  }

  expect(await unfinished()).toEqual([]);
  for (const runId of parents) expect((await engine.run(runId)).status).toBe(canceled.has(runId) ? 'canceled' : 'success');
  const { rows } = await db.admin.query(`select deadlocks::int from pg_stat_database where datname = current_database()`);
  expect(rows).toEqual([{ deadlocks: 0 }]);
});
