/** Values that nodes pass on unchanged are in the log once; later events refer to the event that holds them. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';
import { tamper } from '../../../helpers/tamper.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

/** Cannot be compressed, so that what is stored is what is counted. */
const noise = (length: number, seed = 1) => {
  let state = seed;
  let text = '';
  while (text.length < length) {
    state = (state * 48_271) % 2_147_483_647;
    text += state.toString(36);
  }
  return text.slice(0, length);
};
const large = { text: noise(2_000) };
const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
const noOp = (id: string) => ({ id, type: 'noOp' });

async function start(definition: Definition, input: unknown): Promise<string> {
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition), input);
  return run_id!;
}

/** Which event of each node holds its output; null where it stands in the event itself. */
async function references(runId: string): Promise<Record<string, unknown>> {
  const log = await engine.log(runId);
  return Object.fromEntries(
    log
      .filter(({ type }) => /^(step.(succeeded|reused)|run.succeeded)$/.test(type))
      .map(({ payload }) => {
        expect('output' in payload).toBe(!('outputOf' in payload));
        return [payload['node'] ?? 'run', payload['outputOf'] ?? null];
      }),
  );
}

async function outputs(runId: string): Promise<Record<string, unknown>> {
  const { rows } = await acme.user.query<{ node: string; output: unknown }>(
    'select s.node, s.output from workflow_runs as r, workflow_runs_steps(r) as s where r.id = $1',
    [runId],
  );
  return Object.fromEntries(rows.map(({ node, output }) => [node, output]));
}

async function output(runId: string): Promise<unknown> {
  const { rows } = await acme.user.query('select workflow_runs_output(r) as output from workflow_runs as r where id = $1', [runId]);
  return rows[0]!.output;
}

test('a body of 0.9 MB that goes through 150 nodes is stored once, and a backend holds it a few times', async () => {
  const nodes = Array.from({ length: 150 }, (_, index) => noOp(`n${index}`));
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, ...nodes));
  const body = { text: noise(900_000) };
  const client = await db.admin.connect();
  try {
    const peak = async () =>
      Number(/VmHWM:\s+(\d+) kB/.exec((await client.query(`select pg_read_file('/proc/self/status') as s`)).rows[0]!.s)![1]);
    const before = await peak();
    const { rows } = await client.query<{ run_id: string }>('select run_id from engine.start_runs($1)', [
      JSON.stringify([{ organizationId: acme.id, workflowId: workflow.id, input: body }]),
    ]);
    const runId = rows[0]!.run_id;
    expect((await peak()) - before).toBeLessThan(150_000);
    expect(await engine.run(runId)).toMatchObject({ status: 'success' });
    expect(await output(runId)).toEqual(body);
    const { rows: stored } = await client.query<{ bytes: number }>(
      'select sum(octet_length(payload::text))::int as bytes from workflow_events where run_id = $1',
      [runId],
    );
    expect(stored[0]!.bytes).toBeLessThan(1_000_000);
    const steps = await client.query('select count(*)::int as count from workflow_run_steps where run_id = $1 and output = $2', [
      runId,
      JSON.stringify(body),
    ]);
    expect(steps.rows[0].count).toBe(151);
  } finally {
    client.release(true);
  }
});

test('a small output stands in its event', async () => {
  const runId = await start(chain({ id: 'start', type: 'apiTrigger' }, noOp('next')), { n: 1 });
  expect(await references(runId)).toEqual({ start: null, next: null, run: null });
});

test('each event names the one that holds the value, and readers find it there', async () => {
  const definition = chain(
    { id: 'start', type: 'apiTrigger' },
    { id: 'check', type: 'if', properties: { when: '$.prev.text != ""' } },
    call('call'),
    { id: 'pass', type: 'noOp' },
    { id: 'off', type: 'set', properties: { assign: { a: 1 } }, disabled: true },
    { id: 'pause', type: 'wait', properties: { seconds: 0 } },
    { id: 'change', type: 'set', properties: { assign: { a: '{{ $.nodes.off.answer }}', b: '{{ $.nodes.check.text }}' } } },
    { id: 'end', type: 'merge' },
  );
  definition.connections[1]!.sourceOutput = 'true';
  const runId = await start(definition, large);
  const answer = { answer: noise(2_000, 7) };
  await engine.finish(runId, 'call', answer);
  expect(await engine.begin(runId, 'pause')).toBeNull();
  expect(await references(runId)).toEqual({
    start: '$.input',
    check: '$.input',
    call: null,
    pass: 'call',
    off: 'call',
    pause: 'call',
    change: null,
    end: 'change',
    run: 'change',
  });
  const changed = { ...answer, a: answer.answer, b: large.text };
  expect(await outputs(runId)).toEqual({
    start: large,
    check: large,
    call: answer,
    pass: answer,
    off: answer,
    pause: answer,
    change: changed,
    end: changed,
  });
  expect(await output(runId)).toEqual(changed);
  const { rows } = await db.pool('flowgres_intake').query('select output from engine.run_answers(array[$1::uuid])', [runId]);
  expect(rows[0].output).toEqual(changed);
});

test('the body of a webhook is referred to as part of the input', async () => {
  const definition = chain({ id: 'hook', type: 'webhookTrigger', properties: { path: 'large' } }, noOp('next'));
  const workflow = await publishWorkflow(acme, definition);
  const answer = await engine.start(acme, workflow, { body: large, method: 'POST' }, { mode: 'webhook' });
  expect(answer.output).toEqual(large);
  expect(await references(answer.run_id!)).toEqual({ hook: '$.input.body', next: '$.input.body', run: '$.input.body' });
  expect(await output(answer.run_id!)).toEqual(large);
  expect(await outputs(answer.run_id!)).toEqual({ hook: large, next: large });
});

test('a number written another way is another value', async () => {
  const definition = chain({ id: 'start', type: 'apiTrigger' }, { id: 'set', type: 'set', properties: { assign: { n: 1 } } }, noOp('end'));
  const runId = await start(definition, { ...large, n: 1 });
  const { rows } = await db.admin.query('select engine.start_runs($1)', [
    `[{"organizationId": "${acme.id}", "workflowId": "${(await publishWorkflow(acme, definition)).id}", "input": {"text": "${large.text}", "n": 1.00}}]`,
  ]);
  expect(rows).toHaveLength(1);
  expect(await references(runId)).toMatchObject({ set: '$.input', end: '$.input' });
  const { rows: runs } = await db.admin.query(
    `select e.payload #>> '{output,n}' as n from workflow_events as e where e.payload ->> 'node' = 'set' and e.payload ? 'output' and e.payload -> 'output' ? 'text' and e.run_id <> $1`,
    [runId],
  );
  expect(runs).toEqual([{ n: '1' }]);
});

test('what a failed node leaves behind is in no event: the first node that passes it on holds it', async () => {
  const definition = chain(
    { id: 'start', type: 'apiTrigger' },
    { id: 'fail', type: 'transform', properties: { template: '{{ $.prev.text | number }}' }, onError: 'errorOutput' },
    noOp('first'),
    noOp('second'),
  );
  definition.connections[1]!.sourceOutput = 'error';
  const runId = await start(definition, large);
  expect(await references(runId)).toEqual({ start: '$.input', first: null, second: 'first', run: 'first' });
  expect(await output(runId)).toMatchObject({ input: large, error: { code: 'EXPRESSION_FILTER' } });
});

test('a parent gets the output of its child, wherever it stands', async () => {
  await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, noOp('same')), 'passes on');
  const runId = await start(
    chain(
      { id: 'start', type: 'apiTrigger' },
      { id: 'child', type: 'executeWorkflow', properties: { workflow: 'passes on', input: '{{ $.prev }}' } },
    ),
    large,
  );
  await engine.begin(runId, 'child');
  await engine.begin(runId, 'child');
  expect(await output(runId)).toEqual(large);
});

test('a retry and a fork take over values once, from wherever they stood', async () => {
  const definition = chain({ id: 'start', type: 'apiTrigger' }, noOp('one'), noOp('two'), call('call'), noOp('end'));
  const runId = await start(definition, large);
  await engine.fail((await engine.begin(runId, 'call'))!, { code: 'X', message: 'no', retryable: false });
  const retried = (await acme.user.query<{ id: string }>('select id from retry_run($1)', [runId])).rows[0]!.id;
  expect(await references(retried)).toEqual({ start: '$.input', one: '$.input', two: '$.input' });
  await engine.finish(retried, 'call', { answer: noise(1_000) });
  expect(await output(retried)).toEqual({ answer: noise(1_000) });

  const other = { text: noise(1_500, 9) };
  const { rows } = await acme.user.query<{ id: string }>(`select id from fork_run($1, 'call', $2)`, [runId, JSON.stringify(other)]);
  const forked = rows[0]!.id;
  expect(await references(forked)).toEqual({ start: '$.input', one: null, two: 'one' });
  expect(await outputs(forked)).toMatchObject({ start: other, one: large, two: large });
});

test('replaying finds a reference to another value', async () => {
  const broken = await createTestDatabase({ unchecked: true });
  const org = await createOrganization(broken);
  const workflow = await publishWorkflow(org, chain({ id: 'start', type: 'apiTrigger' }, noOp('one'), noOp('two')));
  const { run_id } = await new Driver(broken).start(org, workflow, large);
  expect((await org.user.query('select * from verify_run($1)', [run_id])).rows).toEqual([]);
  await tamper(
    broken,
    `update workflow_events set payload = payload || '{"outputOf": "start"}' where run_id = $1 and payload ->> 'node' = 'two'`,
    [run_id],
  );
  expect((await org.user.query('select seq, problem from verify_run($1)', [run_id])).rows).toMatchObject([
    { seq: 4, problem: 'replay gives another event' },
  ]);
});
