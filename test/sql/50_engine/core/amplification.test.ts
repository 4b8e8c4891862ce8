/** Small inputs that would become large values (merge, templates, children) are refused before they are built. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

const start = { id: 'start', type: 'apiTrigger' };

/** How a run ends, in a backend of its own, and by how many MB that has grown; a test of the workflow ends alike. */
async function grown(definition: Definition, input: unknown): Promise<{ error: unknown; mb: number }> {
  const workflow = await publishWorkflow(acme, definition);
  const client = await db.admin.connect();
  try {
    const peak = async () =>
      Number(/VmHWM:\s+(\d+) kB/.exec((await client.query(`select pg_read_file('/proc/self/status') as s`)).rows[0].s)![1]) / 1024;
    const before = await peak();
    const { rows } = await client.query<{ run_id: string; error: { code: string } | null }>(
      'select run_id, error from engine.start_runs($1)',
      [JSON.stringify([{ organizationId: acme.id, workflowId: workflow.id, input }])],
    );
    let error = rows[0]!.error;
    if (!error) {
      // Left to a local step: what a worker would find.
      const { rows: found } = await client.query<{ found: { error: { code: string } } }>(
        'select engine.evaluate_step(run_id, node) as found from engine.open_steps where run_id = $1',
        [rows[0]!.run_id],
      );
      error = found[0]!.found.error;
    }
    const mb = (await peak()) - before;
    const { rows: tried } = await acme.user.query<{ payload: { error: unknown } }>('select payload from test_workflow($1, $2)', [
      JSON.stringify(definition),
      JSON.stringify(input),
    ]);
    expect(tried.at(-1)!.payload.error).toMatchObject({ code: error.code });
    return { error, mb };
  } finally {
    client.release(true);
  }
}

test('a node that doubles its input fails as soon as it is larger than 1 MiB', async () => {
  const doubles = Array.from({ length: 20 }, (_, index) => ({
    id: `n${index}`,
    type: 'transform',
    properties: { template: ['{{ $.prev }}', '{{ $.prev }}'] },
  }));
  const { error, mb } = await grown(chain(start, ...doubles), { text: 'x'.repeat(10_000) });
  expect(error).toMatchObject({ code: expect.stringMatching(/^(EXPRESSION_)?TOO_LARGE$/) });
  expect(mb).toBeLessThan(100);
});

test('a text or an object that has the same value a hundred times fails before it is made', async () => {
  const names = Array.from({ length: 100 }, (_, index) => `k${index}`);
  const assign = Object.fromEntries(names.map((name) => [name, '{{ $.prev }}']));
  const object = await grown(chain(start, { id: 'much', type: 'set', properties: { assign } }), { text: 'x'.repeat(500_000) });
  expect(object.error).toMatchObject({ code: 'EXPRESSION_TOO_LARGE' });
  expect(object.mb).toBeLessThan(60);
  const template = names.map(() => '{{ $.prev.text }}').join(' ');
  const text = await grown(chain(start, { id: 'much', type: 'transform', properties: { template } }), { text: 'x'.repeat(200_000) });
  expect(text.error).toMatchObject({ code: 'EXPRESSION_TOO_LARGE' });
  expect(text.mb).toBeLessThan(60);
});

test('inputs of a merge that are too large together are not put together', async () => {
  const many = Array.from({ length: 60 }, (_, index) => ({ id: `n${index}`, type: 'noOp' }));
  const definition = {
    nodes: [start, ...many, { id: 'all', type: 'merge', properties: { mode: 'append' } }],
    connections: many.flatMap(({ id }) => [
      { source: 'start', target: id },
      { source: id, target: 'all' },
    ]),
  };
  const { error, mb } = await grown(definition, { text: 'x'.repeat(900_000) });
  expect(error).toMatchObject({ code: 'TOO_LARGE' });
  expect(mb).toBeLessThan(60);
});

test('a merge by fields whose pairs are too many is refused before it makes them', async () => {
  const list = (id: string) => ({ id, type: 'transform', properties: { template: '{{ $.prev.items }}' } });
  const definition = {
    nodes: [start, list('a'), list('b'), { id: 'pairs', type: 'merge', properties: { mode: 'fields', by: 'k' } }],
    connections: [
      { source: 'start', target: 'a' },
      { source: 'start', target: 'b' },
      { source: 'a', target: 'pairs' },
      { source: 'b', target: 'pairs', targetInput: 'second' },
    ],
  };
  const items = Array.from({ length: 800 }, (_, n) => ({ k: 1, [`n${n}`]: 'x'.repeat(100) }));
  const { error, mb } = await grown(definition, { items });
  expect(error).toMatchObject({ code: 'TOO_LARGE' });
  expect(mb).toBeLessThan(60);
});

test('many steps that are queued at once hold their inputs one after the other', async () => {
  const calls = Array.from({ length: 100 }, (_, index) => ({
    id: `n${index}`,
    type: 'httpRequest',
    properties: { url: 'https://example.com', body: '{{ $.prev }}' },
  }));
  const fail = { id: 'fail', type: 'stopAndError', properties: { message: 'done' } };
  const definition = { nodes: [start, ...calls, fail], connections: [...calls, fail].map(({ id }) => ({ source: 'start', target: id })) };
  const { mb } = await grown(definition, { text: 'x'.repeat(800_000) });
  expect(mb).toBeLessThan(60);
});

test('results of children that are too large together fail the step without being put together', async () => {
  await publishWorkflow(
    acme,
    chain({ id: 'called', type: 'subworkflowTrigger' }, { id: 'make', type: 'set', properties: { assign: { text: 'x'.repeat(100_000) } } }),
    'makes much',
  );
  const each = { id: 'each', type: 'forEach', properties: { workflow: 'makes much', items: Array.from({ length: 40 }, () => ({})) } };
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(start, each)));
  // A busy machine starts fewer children in a turn.
  for (let turn = 0; turn < 50 && !(await engine.run(run_id)).finished_at; turn += 1) await engine.begin(run_id, 'each');
  expect((await engine.run(run_id)).error).toMatchObject({ code: 'TOO_LARGE', node: 'each' });
});
