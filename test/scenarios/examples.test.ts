/** The workflows in examples/ that wait or compute, as the demo has them. */
import { readFile } from 'node:fs/promises';
import { beforeAll, expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { LocalSteps } from '../../src/engine/local.ts';
import { createEnginePool } from '../../src/engine/statements.ts';
import type { StepTask } from '../../src/engine/engine.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const db = await createTestDatabase();
const engine = new Driver(db);
let acme: TestOrganization;
beforeAll(async () => {
  acme = await createOrganization(db);
});

async function publishExample(name: string): Promise<TestWorkflow> {
  const text = await readFile(new URL(`../../examples/${name}.json`, import.meta.url), 'utf8');
  return publishWorkflow(acme, JSON.parse(text), name);
}

test('expense-approval pays a small amount at once, and asks about a large one', async () => {
  const workflow = await publishExample('expense-approval');
  const small = await engine.start(acme, workflow, { what: 'tea', amount: 12 });
  await engine.finish(small.run_id, 'pay', 1);
  const large = await engine.start(acme, workflow, { what: 'a chair', amount: 400 });
  expect(large.status).toBe('waiting');
  await acme.user.query(`select approve_step($1, 'check', false, 'again?')`, [large.run_id]);
  const task = await engine.begin(large.run_id, 'refuse');
  expect(task!.properties).toMatchObject({ message: 'Not paid: a chair' });
  await engine.complete(task!, 1);
  for (const { run_id } of [small, large]) expect((await engine.run(run_id)).status).toBe('success');
});

test('invoice adds up its lines, each priced by price-line', async () => {
  await publishExample('price-line');
  const lines = [
    { count: 2, price: 10 },
    { count: 1, price: 2.5 },
  ];
  const { run_id } = await engine.start(acme, await publishExample('invoice'), { lines });
  await engine.begin(run_id, 'lines');
  expect(await engine.output(run_id)).toEqual({ lines: [20, 2.5], total: 22.5 });
});

test('csv-to-sums reads a file and adds up its amounts by country, the largest first', async () => {
  const csv = 'country;customer;amount\r\nDE;"Ada; Berlin";10.5\r\nFR;Bo;40\r\nDE;Cy;5\r\n';
  const { run_id, status } = await engine.start(acme, await publishExample('csv-to-sums'), { csv });
  expect(status).toBe('success');
  expect(await engine.output(run_id)).toEqual([
    { country: 'FR', total: 40, sales: 1 },
    { country: 'DE', total: 15.5, sales: 2 },
  ]);
});

test('order-totals adds up count times price of the lines in one expression, and computes the same id again', async () => {
  const workflow = await publishExample('order-totals');
  const order = {
    number: 'A-17',
    customer: { email: 'Ada@Example.com' },
    lines: [
      { sku: 'pen', quantity: 3, price: 2.5 },
      { sku: 'none', quantity: 0, price: 9 },
      { sku: 'desk', quantity: 2, price: 600 },
    ],
  };
  const outputs = [];
  for (const { run_id } of [await engine.start(acme, workflow, order), await engine.start(acme, workflow, order)]) {
    outputs.push(await engine.output(run_id));
  }
  expect(outputs[0]).toEqual({
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    customer: 'ada@example.com',
    net: 1207.5,
    gross: 1436.93,
    shipping: 'free',
    lines: [
      { sku: 'pen', amount: 7.5 },
      { sku: 'desk', amount: 1200 },
    ],
    text: '2 lines, 1,207.50 EUR',
  });
  expect(outputs[1]).toEqual(outputs[0]);
});

const steps = new LocalSteps(createEnginePool(db.url('flowgres_worker'), 'test local'), {
  workerId: engine.worker,
  evaluationTimeoutMs: 1_000,
  perOrganization: 2,
});

/** Starts a run and does its local steps, one after the other, as a worker does. */
async function runLocally(workflow: TestWorkflow, input: unknown, more: Record<string, unknown> = {}): Promise<unknown> {
  const { run_id: runId } = await engine.start(acme, workflow, input, more);
  for (;;) {
    const [open] = await engine.openSteps(runId);
    if (!open) return engine.output(runId);
    const task = await engine.begin(runId, open.node);
    if (!task) throw new Error(`${open.node} has nothing to do`);
    const { type } = task as unknown as StepTask;
    if (type === 'log@1') await engine.complete(task, task.input);
    else {
      let outcome = await steps.run(task as unknown as StepTask, { done: () => 1, undone: () => undefined });
      if ('error' in outcome) await engine.fail(task, { ...outcome.error });
      while ('answer' in outcome && outcome.answer.next?.kind === 'local') {
        outcome = await steps.run(outcome.answer.next, { done: () => 1, undone: () => undefined });
      }
      if ('answer' in outcome && outcome.answer.next) await engine.complete(outcome.answer.next as never, outcome.answer.next.input);
    }
  }
}
const rowsOf = async (table: string) =>
  (
    await acme.user.query<{ data: unknown }>('select data from find_data_rows((select id from data_tables where name = $1))', [table])
  ).rows.map(({ data }) => data);
const webhook = (body: unknown) => ({ method: 'POST', path: '/', params: {}, query: {}, headers: {}, body });

test('contact-upsert keeps each address once, and nightly-clean-up deletes those that nobody looked after', async () => {
  await acme.user.query(`select create_data_table('contacts', key => 'email')`);
  const workflow = await publishExample('contact-upsert');
  const write = (body: unknown) => runLocally(workflow, webhook(body), { trigger: 'message' });
  expect(await write({ email: 'Ada@example.com', name: 'Ada' })).toEqual({ email: 'ada@example.com', name: 'Ada', visits: 1 });
  expect(await write({ email: 'ada@example.com', name: 'Ada L.' })).toEqual({ email: 'ada@example.com', name: 'Ada L.', visits: 2 });
  await acme.user.query(`select upsert_data_rows(id, '[{"email": "new", "status": "new"}, {"email": "old", "status": "new"}]')
    from data_tables where name = 'contacts'`);
  await db.admin.query(`update data_rows set updated_at = now() - interval '31 days' where key in ('old', 'ada@example.com')`);
  await runLocally(await publishExample('nightly-clean-up'), {}, { trigger: 'byHand' });
  expect(await rowsOf('contacts')).toEqual([
    { email: 'ada@example.com', name: 'Ada L.', visits: 2 },
    { email: 'new', status: 'new' },
  ]);
});

test('ledger books a payment once, however often its message comes, and refuses what is none', async () => {
  const schema = { required: ['event', 'account', 'cents'], properties: { cents: { type: 'integer' }, account: { type: 'string' } } };
  await acme.user.query(`select create_data_table('ledger', $1, 'event')`, [JSON.stringify(schema)]);
  await acme.user.query(`select create_data_table('balances', key => 'account')`);
  const workflow = await publishExample('ledger');
  const pay = (body: unknown) => runLocally(workflow, webhook(body), { trigger: 'payment' });
  expect(await pay({ id: 'e1', account: 'a', cents: 500 })).toEqual({ booked: true, balance: 500 });
  expect(await pay({ id: 'e1', account: 'a', cents: 500 })).toEqual({ booked: false });
  expect(await pay({ id: 'e2', account: 'a', cents: -200 })).toEqual({ booked: true, balance: 300 });
  await pay({ id: 'e3', account: 'a', cents: 'many' });
  expect(await rowsOf('balances')).toEqual([{ account: 'a', cents: 300 }]);
});
