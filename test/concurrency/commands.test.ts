/** Whatever is done to runs at the same time, they end, and nothing that was recorded is lost or doubled. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { Driver, type Task } from '../helpers/driver.ts';
import { type Definition, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const db = await createTestDatabase();
await db.admin.query(`alter database ${db.name} set deadlock_timeout = '100ms'`);

const call = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  type: 'httpRequest',
  properties: { url: 'https://example.com' },
  retry: { initialMs: 0 },
  ...more,
});

test('pausing, resuming, canceling, retrying, signaling and working on the same runs at once', async () => {
  const acme = await createOrganization(db);
  const engine = new Driver(db);
  await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, call('child')), 'child');
  const branches = ['wait', 'call', 'each'];
  const definition: Definition = {
    nodes: [
      { id: 'start', type: 'apiTrigger' },
      { id: 'wait', type: 'wait', properties: { signal: 'go', timeoutSeconds: 0.05 } },
      call('call', { onError: 'continue' }),
      { id: 'each', type: 'forEach', properties: { workflow: 'child', items: [1, 2, 3], continue: true } },
      { id: 'join', type: 'merge', properties: { mode: 'append' } },
      call('last'),
    ],
    connections: [
      ...branches.flatMap((id) => [
        { source: 'start', target: id },
        { source: id, target: 'join' },
      ]),
      { source: 'wait', target: 'join', sourceOutput: 'timeout' },
      { source: 'join', target: 'last' },
    ],
  };
  const { id: workflowId } = await publishWorkflow(acme, definition);
  const parents = (await engine.startAll(Array.from({ length: 12 }, () => ({ organizationId: acme.id, workflowId, input: {} })))).map(
    ({ run_id }) => run_id!,
  );

  const worker = db.pool('flowgres_worker');
  const canceled = new Set<string>();
  const refused: unknown[] = [];
  /** A command may be refused for what the others have done; nothing else may go wrong. */
  const user = (text: string, runId: string) =>
    acme.user.query(text, [runId]).then(
      () => void (text.includes('cancel') && canceled.add(runId)),
      (error: { code: string }) => void (error.code.startsWith('WF') || refused.push(error)),
    );
  const everyStep = async () =>
    (await db.admin.query<{ runId: string; node: string }>(`select run_id as "runId", node from engine.open_steps order by random()`)).rows;
  const resultOf = ({ runId, node, attempt }: Task, succeeds: boolean) => ({
    ...{ runId, node, attempt, ms: 1 },
    ...(succeeds ? { ok: true, output: 1 } : { ok: false, error: { retryable: true } }),
  });
  /** Sends results, and those of the steps that begin with the answers. */
  const complete = async (results: ReturnType<typeof resultOf>[]): Promise<void> => {
    const { rows } = await worker.query<{ next: Task | null }>('select next from engine.complete_steps($1, $2)', [
      JSON.stringify(results),
      engine.worker,
    ]);
    const next = rows.flatMap((row) => (row.next ? [resultOf(row.next, true)] : []));
    if (next.length) await complete(next);
  };
  const work = async () => {
    const { rows } = await worker.query<{ task: Task | null }>('select task from engine.begin_steps($1, $2)', [
      JSON.stringify(await everyStep()),
      engine.worker,
    ]);
    const results = rows.flatMap(({ task }, index) => {
      return task ? [resultOf(task, index % 4 > 0)] : [];
    });
    await complete(results);
    // A result that comes twice, as after a lost answer.
    await complete(results.slice(0, 3));
    for (const runId of canceled) await worker.query('select engine.cancel_children($1)', [runId]);
  };
  const open = async () => (await db.admin.query<{ id: string }>('select id from workflow_runs where finished_at is null')).rows;

  for (let round = 0; round < 60 && (round < 15 || (await open()).length); round += 1) {
    // For the first rounds everybody interferes; then what is left is let go on.
    const meddled = round < 15 ? parents : [];
    await Promise.all([
      work(),
      work(),
      engine.reconcile(),
      ...meddled.flatMap((runId, index) =>
        (index + round) % 3
          ? [user('select pause_run($1)', runId), user(`select signal_run($1, 'go')`, runId), user('select resume_run($1)', runId)]
          : [user('select retry_run($1)', runId), user('select resume_run($1)', runId)],
      ),
      ...(round === 5 ? parents.slice(0, 3).map((runId) => user('select cancel_run($1)', runId)) : []),
    ]);
    if (round === 14) await db.admin.query(`select engine.resume_run(id) from workflow_runs where status = 'paused'`);
  }

  expect(refused).toEqual([]);
  expect(await open()).toEqual([]);
  expect(canceled.size).toBe(3);
  const { rows } = await db.admin.query(`select deadlocks::int from pg_stat_database where datname = current_database()`);
  expect(rows).toEqual([{ deadlocks: 0 }]);
}, 120_000);
