/** The time budget of a transaction: wherever it runs out, the run goes on with the same result and log. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver, type Task } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  const called = { id: 'called', type: 'subworkflowTrigger' };
  const more = { id: 'more', type: 'set', properties: { assign: { n: '{{ $.prev.n }}' } } };
  await publishWorkflow(
    acme,
    chain(called, more, { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } }),
    'child',
  );
});

const node = (id: string, type: string, properties: Record<string, unknown> = {}, rest: Record<string, unknown> = {}) => ({
  id,
  type,
  properties,
  ...rest,
});
const branches: Record<string, ReturnType<typeof node>[]> = {
  effect: [node('effect', 'httpRequest', { url: 'https://example.com' })],
  local: [node('local', 'random')],
  time: [node('time', 'wait', { seconds: 0 })],
  early: [node('before', 'wait', { seconds: 0 }), node('early', 'wait', { signal: 'early' })],
  late: [node('late', 'wait', { signal: 'late' })],
  nobody: [node('nobody', 'wait', { signal: 'nobody', timeoutSeconds: 0 }, { onError: 'continue' })],
  address: [node('address', 'wait', { webhook: {}, timeoutSeconds: 0 }, { onError: 'continue' })],
  each: [node('each', 'forEach', { workflow: 'child', items: [{ n: 1 }, { n: 2 }], input: '{{ $.item }}' })],
  repeated: [node('repeated', 'repeat', { workflow: 'child', until: '$.index == 1' })],
  failing: [node('failing', 'transform', { template: '{{ $.prev.text | number }}' }, { onError: 'continue' })],
  chosen: [node('chosen', 'if', { when: '$.prev.n == 1' })],
};
const definition: Definition = {
  nodes: [node('start', 'apiTrigger'), node('first', 'noOp'), ...Object.values(branches).flat(), node('join', 'merge', { mode: 'append' })],
  connections: [
    { source: 'start', target: 'first' },
    ...Object.values(branches).flatMap((nodes) => [
      { source: 'first', target: nodes[0]!.id },
      ...nodes.slice(1).map(({ id }, index) => ({ source: nodes[index]!.id, target: id })),
      { source: nodes.at(-1)!.id, target: 'join', sourceOutput: nodes.at(-1)!.type === 'if' ? 'true' : 'main' },
    ]),
  ],
};

/** Runs it to its end; how many times a transaction had to end before its time. */
async function play(): Promise<{ output: unknown[]; cuts: number }> {
  const workflow = await publishWorkflow(acme, definition);
  const { run_id } = await engine.start(acme, workflow, { n: 1, text: 'many' });
  await acme.user.query(`select signal_run($1, 'early', '"early"')`, [run_id]);
  let cuts = 0;
  for (let round = 0; round < 200 && !(await engine.run(run_id)).finished_at; round += 1) {
    const { rows } = await db.admin.query<{ run_id: string; node: string; state: string }>(
      'select * from engine.open_steps order by random()',
    );
    for (const step of rows) {
      let task: Task | null = await engine.begin(step.run_id, step.node);
      cuts += Number(step.state === 'queued' && !task);
      while (task) task = (await engine.complete(task, task.node)).next;
    }
    if (rows.some(({ node }) => node === 'late'))
      await acme.user.query(`select signal_run($1, 'late', '"late"')`, [run_id]).catch(() => null);
  }
  expect((await engine.run(run_id)).status).toBe('success');
  return { output: (await engine.output(run_id)) as unknown[], cuts };
}

test('a run of every kind of node comes to the same, be there a transaction for each node or one for many', async () => {
  const { output } = await play();
  await db.admin.query(`do $$ begin
    execute replace(
      pg_get_functiondef('engine.advance'::regproc), 'p_budget integer DEFAULT 200', 'p_budget integer DEFAULT 1'
    );
  end $$`);
  const cut = await play();
  expect(cut.cuts).toBeGreaterThan(10);
  expect(cut.output).toEqual(output);
});
