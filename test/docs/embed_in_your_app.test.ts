/** docs/tutorials/embed-in-your-app.md: its statements, and the package in a process of an application. */
import { readFile } from 'node:fs/promises';
import { expect, expectTypeOf, test } from 'vitest';
import { type Flowgres, type RunningPart, createFlowgres } from '../../src/index.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { createApplication, grantApplication } from '../helpers/application.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { runEmbedding } from './embedding.ts';

const db = await createTestDatabase();
const example = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(`../../examples/${name}.json`, import.meta.url), 'utf8'));

test('the statements of the page do what it says', async () => {
  await runEmbedding(db, 'public');
});

test('an application migrates, serves, works and starts runs in its own process and transactions', async () => {
  const acme = await createOrganization(db);
  const { role, pool } = await createApplication(db);
  await grantApplication(db, role, acme);
  await publishWorkflow(acme, (await example('order-intake')) as Definition, 'orders');
  const order = await example('order-intake.input');

  const flowgres = createFlowgres({ databaseUrl: db.adminUrl, settings: { FLOWGRES_SECRET: TEST_SECRET } });
  await expect(flowgres.start('orders')).rejects.toMatchObject({ code: 'INVALID_SETTING' });
  await flowgres.migrate();
  const api = await flowgres.serve();
  const worker = await flowgres.work();
  try {
    const client = await pool.connect();
    await client.query('begin');
    await flowgres.start('orders', { lost: true }, { client });
    await client.query('rollback');
    await client.query('begin');
    const run = await flowgres.start('orders', order, { client, idempotencyKey: 'A-1001', metadata: { source: 'shop' } });
    expect(await flowgres.start('orders', order, { client, idempotencyKey: 'A-1001' })).toBe(run);
    await client.query('commit');
    client.release();
    const ended = await pool.query<{ status: string; output: { total: number; status: string } }>(`call flowgres_wait($1, '20 seconds')`, [
      run,
    ]);
    expect(ended.rows[0]).toMatchObject({ status: 'success', output: { total: 139.7, status: 'in review' } });
    expect((await pool.query('select id, metadata from flowgres_runs')).rows).toEqual([{ id: run, metadata: { source: 'shop' } }]);
    const answer = await fetch(`${api.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${acme.token}` },
      body: JSON.stringify({ query: `{ workflowRun(id: "${run}") { status } }` }),
    });
    expect(await answer.json()).toEqual({ data: { workflowRun: { status: 'success' } } });
  } finally {
    await worker.stop();
    await api.stop();
    await flowgres.close();
  }
});

test('the surface of the package', () => {
  expectTypeOf<keyof Flowgres>().toEqualTypeOf<'migrate' | 'serve' | 'work' | 'start' | 'close'>();
  expectTypeOf<Flowgres['start']>().returns.toEqualTypeOf<Promise<string>>();
  expectTypeOf<Flowgres['serve']>().returns.toEqualTypeOf<Promise<RunningPart>>();
  expectTypeOf(createFlowgres).parameter(0).toHaveProperty('databaseUrl').toEqualTypeOf<string>();
  expectTypeOf<RunningPart>().toEqualTypeOf<{ readonly url: string; stop(): Promise<void> }>();
});
