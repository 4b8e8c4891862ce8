/** The limit of the bytes in the log of a run: beyond it the run ends with RUN_TOO_LARGE. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

const LIMIT = 20_000;
let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  expect((await db.admin.query('select engine.max_run_bytes() as limit')).rows).toEqual([{ limit: 64 * 1024 * 1024 }]);
  await db.admin.query(`create or replace function engine.max_run_bytes() returns bigint language sql immutable parallel safe
    as $$ select ${LIMIT}::bigint $$`);
});

const start = { id: 'start', type: 'apiTrigger' };
const tooLarge = {
  status: 'error',
  error: { code: 'RUN_TOO_LARGE', retryable: false, details: { limit: LIMIT, hint: expect.stringContaining('store') } },
};
/** Cannot be compressed: what is loaded is as large as what was made. */
const text = (length: number) => {
  let state = 1;
  let made = '';
  while (made.length < length) {
    state = (state * 48_271) % 2_147_483_647;
    made += state.toString(36);
  }
  return made.slice(0, length);
};
const grow = (id: string) => ({ id, type: 'set', properties: { assign: { [id]: '{{ $.input.text }}' } } });
const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
const kinds = async (runId: string) => (await engine.log(runId)).map(({ type, payload }) => `${type} ${payload['node'] ?? ''}`.trim());

test('pure nodes that make more than that end the run where it was exceeded', async () => {
  const workflow = await publishWorkflow(acme, chain(start, grow('a'), grow('b'), grow('c'), grow('d')));
  const answer = await engine.start(acme, workflow, { text: text(3_000) });
  // 3 kB of input, 6 and 9 and 12 kB of outputs.
  expect(answer).toMatchObject(tooLarge);
  expect(answer.error).not.toHaveProperty('node');
  expect(await kinds(answer.run_id!)).toEqual([
    'run.created',
    'step.succeeded start',
    'step.succeeded a',
    'step.succeeded b',
    'step.succeeded c',
    'run.failed',
  ]);
});

test('what is passed on unchanged counts once', async () => {
  const nodes = Array.from({ length: 20 }, (_, index) => ({ id: `n${index}`, type: 'noOp' }));
  const answer = await engine.start(acme, await publishWorkflow(acme, chain(start, ...nodes)), { text: text(3_000) });
  expect(answer.status).toBe('success');
});

test('the result of a worker, and what it was given, count', async () => {
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(start, call('a'), call('b'), call('c'))));
  const { next } = await engine.finish(run_id, 'a', text(9_000));
  expect(await engine.complete(next!, text(12_000))).toMatchObject({ outcome: 'recorded', status: 'error', next: null });
  expect(await engine.run(run_id)).toMatchObject(tooLarge);
});

test('each attempt counts', async () => {
  const large = {
    id: 'a',
    type: 'httpRequest',
    properties: { url: 'https://example.com', body: '{{ $.prev }}' },
    retry: { maxAttempts: 10 },
  };
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(start, large)));
  const details = { body: text(9_000) };
  const begin = async () => {
    await db.admin.query(`update engine.open_steps set run_at = now() - interval '1 day' where run_id = $1`, [run_id]);
    return engine.begin(run_id, 'a');
  };
  for (let attempt = 1; attempt <= 3; attempt += 1)
    await engine.fail((await begin())!, { code: 'X', message: 'no', retryable: true, details });
  expect(await begin()).toBeNull();
  expect(await engine.run(run_id)).toMatchObject(tooLarge);
});

test('a signal that there is no room for is refused, and the run goes on', async () => {
  const definition = chain(start, { id: 'wait', type: 'wait', properties: { signal: 'go' } });
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition));
  const signal = (name: string, payload: unknown) =>
    acme.user.query('select status from signal_run($1, $2, $3)', [run_id, name, JSON.stringify(payload)]);
  await signal('other', text(9_000));
  await expect(signal('other', text(12_000))).rejects.toMatchObject({
    code: 'WF010',
    detail: expect.stringContaining(`"limit": ${LIMIT}`),
  });
  expect((await signal('go', 'now')).rows).toEqual([{ status: 'success' }]);
});

test('results that came in a pause end the run when it is resumed', async () => {
  const definition = {
    ...chain(start, call('a')),
    connections: [
      { source: 'start', target: 'a' },
      { source: 'start', target: 'b' },
    ],
  };
  definition.nodes.push(call('b'));
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition));
  const [a, b] = [(await engine.begin(run_id, 'a'))!, (await engine.begin(run_id, 'b'))!];
  await acme.user.query('select pause_run($1)', [run_id]);
  await engine.complete(a, text(12_000));
  await engine.complete(b, text(12_000));
  expect((await engine.run(run_id)).status).toBe('paused');
  await acme.user.query('select resume_run($1)', [run_id]);
  expect(await engine.run(run_id)).toMatchObject(tooLarge);
});

test('a parent gets the error of a child that grew too large', async () => {
  await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, grow('a'), grow('b'), grow('c')), 'grows');
  const child = {
    id: 'child',
    type: 'executeWorkflow',
    properties: { workflow: 'grows', input: { text: text(3_000) } },
    onError: 'continue',
  };
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(start, child)));
  await engine.begin(run_id, 'child');
  expect(await engine.output(run_id)).toMatchObject({ error: { code: 'RUN_TOO_LARGE' } });
});

test('the output of many leaves together counts before it is made', async () => {
  const leaves = Array.from({ length: 10 }, (_, index) => ({ id: `n${index}`, type: 'noOp' }));
  const workflow = await publishWorkflow(acme, {
    nodes: [start, ...leaves],
    connections: leaves.map(({ id }) => ({ source: 'start', target: id })),
  });
  expect((await engine.start(acme, workflow, { text: text(1_000) })).status).toBe('success');
  expect(await engine.start(acme, workflow, { text: text(3_000) })).toMatchObject(tooLarge);
});

test('what failed nodes leave behind counts as long as the run goes on', async () => {
  const failing = (id: string) => ({ id, type: 'transform', properties: { template: '{{ $.prev | number }}' }, onError: 'errorOutput' });
  const definition = chain(start, ...'abcdefgh'.split('').map(failing));
  for (const connection of definition.connections.slice(1)) connection.sourceOutput = 'error';
  definition.nodes.push({ id: 'end', type: 'noOp' });
  definition.connections.push({ source: 'h', target: 'end', sourceOutput: 'error' });
  const answer = await engine.start(acme, await publishWorkflow(acme, definition), { text: text(3_000) });
  expect(answer).toMatchObject(tooLarge);
});

test('a test of a workflow ends where a run would', async () => {
  const definition = chain(start, grow('a'), grow('b'), grow('c'), grow('d'));
  const { rows } = await acme.user.query('select type, payload from test_workflow($1, $2)', [
    JSON.stringify(definition),
    JSON.stringify({ text: text(3_000) }),
  ]);
  expect(rows.at(-1)).toMatchObject({ type: 'run.failed', payload: { error: { code: 'RUN_TOO_LARGE' } } });
});
