/** The workflows in examples/ that wait or compute, as the demo has them. */
import { readFile } from 'node:fs/promises';
import { beforeAll, expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
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
