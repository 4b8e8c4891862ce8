/** cancel_runs() and retry_runs(): filters, parts and progress of bulk operations. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { beforeStartsOf } from '../../../helpers/slow.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

interface Operation {
  id: string;
  total: number;
  done: number;
  failed: number;
  finished_at: Date | null;
}
const trigger = { id: 'start', type: 'apiTrigger' };
const call = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };
const stop = { id: 'stop', type: 'stopAndError', properties: { message: 'no', code: 'NO' } };

const begin = async (command: string, filter: unknown) =>
  (await acme.user.query<Operation>(`select * from ${command}($1)`, [JSON.stringify(filter)])).rows[0]!;
const progress = async ({ id }: Operation) =>
  (await acme.user.query<Operation>('select * from bulk_operations where id = $1', [id])).rows[0]!;
const work = async ({ id }: Operation, limit: number) =>
  (await db.pool('flowgres_worker').query<{ more: boolean }>('select engine.work_bulk_operation($1, $2) as more', [id, limit])).rows[0]!
    .more;
const startMany = (count: number, workflow: { id: string }, more: Record<string, unknown> = {}) =>
  engine.startAll(Array.from({ length: count }, () => ({ organizationId: acme.id, workflowId: workflow.id, input: {}, ...more })));
const statuses = async (workflow: { id: string }) =>
  Object.fromEntries(
    (
      await db.admin.query<{ status: string; count: number }>(
        'select status, count(*)::int from workflow_runs where workflow_id = $1 group by 1',
        [workflow.id],
      )
    ).rows.map(({ status, count }) => [status, count]),
  );

describe('canceling many runs', () => {
  test('comes before all steps in the queue, in all its parts; retrying comes in its turn', async () => {
    const workflow = await publishWorkflow(acme, chain(trigger, call));
    await startMany(3, workflow, { priority: -1000 });
    const jobOf = async ({ id }: Operation) =>
      (
        await db.admin.query<{ first: boolean }>(
          `select j.priority < (select min(s.priority) from graphile_worker._private_jobs as s where s.key is distinct from j.key) as first
           from graphile_worker._private_jobs as j where j.key = 'operation:' || $1`,
          [id],
        )
      ).rows[0]?.first;
    const cancel = await begin('cancel_runs', { workflowId: workflow.id });
    expect(await jobOf(cancel)).toBe(true);
    expect(await work(cancel, 2)).toBe(true);
    expect(await jobOf(cancel)).toBe(true);
    expect(await work(cancel, 2)).toBe(false);
    await startMany(1, workflow, { priority: -1000 });
    expect(await jobOf(await begin('retry_runs', { workflowId: workflow.id, status: 'canceled' }))).toBe(false);
  });

  test('goes through them in parts, and counts', async () => {
    const workflow = await publishWorkflow(acme, chain(trigger, call));
    await startMany(5, workflow);
    const operation = await begin('cancel_runs', { workflowId: workflow.id });
    expect(operation).toMatchObject({ total: 5, done: 0, finished_at: null });
    expect(await work(operation, 2)).toBe(true);
    expect(await progress(operation)).toMatchObject({ done: 2, finished_at: null });
    expect(await statuses(workflow)).toEqual({ canceled: 2, running: 3 });
    expect(await work(operation, 2)).toBe(true);
    expect(await work(operation, 2)).toBe(false);
    expect(await progress(operation)).toMatchObject({ total: 5, done: 5, failed: 0, finished_at: expect.any(Date) });
    expect(await work(operation, 2)).toBe(false);
    expect(await statuses(workflow)).toEqual({ canceled: 5 });
  });

  test('touches only what fits the filter, of the own organization, and was there before', async () => {
    const workflow = await publishWorkflow(acme, chain(trigger, call));
    const other = await createOrganization(db, 'Other');
    const [hit] = await startMany(1, workflow, { metadata: { batch: 1, x: 2 } });
    await startMany(1, workflow, { metadata: { batch: 2 } });
    await startMany(1, workflow, { mode: 'schedule', metadata: { batch: 1 } });
    await engine.start(other, await publishWorkflow(other, chain(trigger, call)), {}, { metadata: { batch: 1 } });
    const operation = await begin('cancel_runs', {
      metadata: { contains: { batch: 1 } },
      mode: 'api',
      status: 'running',
      startedAt: { greaterThan: '2020-01-01' },
    });
    await startMany(1, workflow, { metadata: { batch: 1 } });
    await work(operation, 100);
    expect(await progress(operation)).toMatchObject({ total: 1, done: 1 });
    expect((await engine.run(hit!.run_id)).status).toBe('canceled');
  });

  test('that no worker goes on with is woken', async () => {
    const operation = await begin('cancel_runs', { mode: 'fork' });
    await db.admin.query('delete from graphile_worker._private_jobs');
    await db.admin.query(`update bulk_operations set updated_at = now() - interval '2 minutes' where id = $1`, [operation.id]);
    expect(await engine.reconcile()).toContainEqual({ action: 'operation', run_id: null, node: operation.id });
    const { rows } = await db.admin.query(`select payload from graphile_worker._private_jobs where payload ->> 'id' = $1`, [operation.id]);
    expect(rows).toHaveLength(1);
  });
});

describe('retrying many runs', () => {
  test('retries each failed one once, and says how many could not be', async () => {
    const workflow = await publishWorkflow(acme, chain(trigger, stop));
    const archived = await publishWorkflow(acme, chain(trigger, stop));
    await startMany(3, workflow);
    await startMany(2, archived);
    await acme.user.query('select archive_workflow($1)', [archived.id]);
    const operation = await begin('retry_runs', { errorCode: 'NO' });
    expect(operation).toMatchObject({ total: 5 });
    while (await work(operation, 2));
    expect(await progress(operation)).toMatchObject({ total: 5, done: 3, failed: 2, finished_at: expect.any(Date) });
    expect(await statuses(workflow)).toEqual({ error: 6 });
    expect(await begin('retry_runs', { workflowId: workflow.id })).toMatchObject({ total: 3 });
  });

  test('counts none as failed because of another transaction, and tries again', async () => {
    const own = await createOrganization(db, 'Own');
    const workflow = await publishWorkflow(own, chain(trigger, stop));
    await engine.start(own, workflow);
    const { rows } = await own.user.query<Operation>(`select * from retry_runs('{}')`);
    await beforeStartsOf(db, own.id, `raise sqlstate '40P01'`);
    await expect(work(rows[0]!, 10)).rejects.toMatchObject({ code: '40P01' });
    await beforeStartsOf(db, own.id, 'null');
    await work(rows[0]!, 10);
    expect((await own.user.query<Operation>('select * from bulk_operations')).rows).toMatchObject([{ total: 1, done: 1, failed: 0 }]);
  });
});

test('a filter above 64 KiB is refused, and a long reason is cut', async () => {
  await expect(begin('cancel_runs', { metadata: { contains: { x: 'y'.repeat(70_000) } } })).rejects.toMatchObject({ code: 'WF010' });
  const { rows } = await acme.user.query(`select filter ->> 'reason' as reason from cancel_runs('{"mode": "fork"}', repeat('x', 100000))`);
  expect(rows[0]!['reason']).toHaveLength(1000);
});

test.each([
  { workflow: 'x' },
  { status: 'success' },
  { status: { notEqualTo: 'running', in: ['running', 'error'] } },
  [],
  null,
  { metadata: 1 },
])('the filter %j is refused', async (filter) => {
  await expect(begin('cancel_runs', filter)).rejects.toMatchObject({ code: 'WF009' });
});
