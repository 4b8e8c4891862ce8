/** The graph: which node runs when, and the log of a run of pure nodes. */
import { beforeAll, describe, expect, test, vi } from 'vitest';
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
const set = (id: string, fields: Record<string, unknown>) => ({ id, type: 'set', properties: { assign: fields } });
const effect = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  type: 'httpRequest',
  properties: { url: 'https://example.com' },
  ...more,
});
const edge = (source: string, target: string, sourceOutput = 'main') => ({ source, target, sourceOutput });

/** What `engine.start_runs` answers: the run has ended, waits for an effect, or has used up its transaction's 50 ms. */
async function startOnce(definition: Definition, input: unknown = {}) {
  return engine.start(acme, await publishWorkflow(acme, definition), input);
}

/** Starts a run and goes on with its pure nodes, as a worker does, where its first transaction was used up. */
async function run(definition: Definition, input: unknown = {}) {
  const answer = await startOnce(definition, input);
  const pure = new Set(definition.nodes.filter(({ type }) => type !== 'httpRequest').map(({ id }) => id));
  const next = async () => (await engine.openSteps(answer.run_id)).find(({ node, state }) => state === 'queued' && pure.has(node));
  let open = answer.status === 'running' ? await next() : undefined;
  if (!open) return answer;
  for (; open; open = await next()) await engine.begin(answer.run_id, open.node);
  const log = await engine.log(answer.run_id);
  const { status, error } = await engine.run(answer.run_id);
  return { ...answer, status, error, output: log.at(-1)!.payload['output'] ?? null };
}

describe('a run of pure nodes', () => {
  test('is finished when its start returns, and one transaction wrote all of it', async () => {
    // A busy machine may keep it from ending within the 50 ms that a transaction has: then it is another run's turn.
    const answer = await vi.waitFor(async () => {
      const started = await startOnce(chain(start, set('a', { doubled: '{{ $.input.n }}' }), { id: 'b', type: 'noOp' }), { n: 2 });
      expect(started.status).toBe('success');
      return started;
    }, 20_000);
    expect(answer).toMatchObject({ status: 'success', output: { n: 2, doubled: 2 }, error: null, duplicate: false });
    expect(await engine.story(answer.run_id)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.succeeded a',
      'step.succeeded b',
      'run.succeeded',
    ]);
    const { rows } = await db.admin.query('select distinct xmin::text from workflow_events where run_id = $1', [answer.run_id]);
    expect(rows).toHaveLength(1);
    expect(await engine.openSteps(answer.run_id)).toEqual([]);
  });

  test('has events numbered without a gap, at strictly increasing times that begin with its id, and with increasing ids', async () => {
    const { run_id } = await run(chain(start, set('a', {})));
    const { rows } = await db.admin.query<{ seq: number; later: boolean; from_id: boolean }>(
      `select seq, ts > coalesce(lag(ts) over w, '-infinity') and id > coalesce(lag(id) over w, 0) as later,
         date_trunc('milliseconds', first_value(ts) over w) = engine.uuid_time(run_id) as from_id
       from workflow_events where run_id = $1 window w as (order by seq) order by seq`,
      [run_id],
    );
    expect(rows.map((row) => row.seq)).toEqual([1, 2, 3, 4]);
    expect(rows.every((row) => row.later && row.from_id)).toBe(true);
    // A session that kept numbers for itself would give later events lower ones.
    const { rows: sequences } = await db.admin.query(
      `select seqcache from pg_sequence where seqrelid = pg_get_serial_sequence('workflow_events', 'id')::regclass`,
    );
    expect(sequences).toEqual([{ seqcache: 1 }]);
  });
});

describe('the graph', () => {
  test('a branch makes one port live; what hangs on the others is skipped, and skips what hangs on it', async () => {
    const definition = {
      nodes: [
        start,
        { id: 'big', type: 'if', properties: { when: '$.prev.total > 100' } },
        set('yes', { size: 'big' }),
        set('no', {}),
        set('after', {}),
      ],
      connections: [edge('start', 'big'), edge('big', 'yes', 'true'), edge('big', 'no', 'false'), edge('no', 'after')],
    };
    const answer = await run(definition, { total: 120 });
    expect(answer.output).toEqual({ total: 120, size: 'big' });
    expect(await engine.story(answer.run_id)).not.toContain('step.succeeded after');
  });

  test('a join runs once when all its inputs are settled, with the live ones in the order of the definition', async () => {
    const definition = {
      nodes: [start, set('a', { from: 'a' }), set('b', { from: 'b' }), { id: 'both', type: 'merge', properties: { mode: 'append' } }],
      connections: [edge('start', 'a'), edge('start', 'b'), edge('b', 'both'), edge('a', 'both')],
    };
    const answer = await run(definition);
    expect(answer.output).toEqual([{ from: 'b' }, { from: 'a' }]);
    expect((await engine.story(answer.run_id)).filter((line) => line.endsWith(' both'))).toHaveLength(1);
  });

  test('a join of a live and a dead branch runs with the live one', async () => {
    const definition = {
      nodes: [
        start,
        { id: 'if', type: 'if', properties: { when: '$.prev.go == true' } },
        set('a', { a: 1 }),
        set('b', { b: 1 }),
        { id: 'end', type: 'noOp' },
      ],
      connections: [edge('start', 'if'), edge('if', 'a', 'true'), edge('if', 'b', 'false'), edge('a', 'end'), edge('b', 'end')],
    };
    expect((await run(definition, { go: true })).output).toEqual({ go: true, a: 1 });
    expect((await run(definition, { go: false })).output).toEqual({ go: false, b: 1 });
  });

  test('the output of several leaves is an object with each of them', async () => {
    const definition = { nodes: [start, set('a', { x: 1 }), set('b', { x: 2 })], connections: [edge('start', 'a'), edge('start', 'b')] };
    expect((await run(definition)).output).toEqual({ a: { x: 1 }, b: { x: 2 } });
  });

  test('a node whose live port has no connection is a leaf', async () => {
    const definition = {
      nodes: [start, { id: 'if', type: 'if', properties: { when: '$.prev.go == true' } }, set('a', { a: 1 })],
      connections: [edge('start', 'if'), edge('if', 'a', 'true')],
    };
    expect((await run(definition, { go: false })).output).toEqual({ go: false });
  });

  test('of two triggers only the one that fired succeeds; the other is skipped with what hangs on it alone', async () => {
    const definition = {
      nodes: [start, { id: 'hand', type: 'manualTrigger' }, set('a', { via: 'api' }), set('b', { via: 'hand' })],
      connections: [edge('start', 'a'), edge('hand', 'b')],
    };
    const workflow = await publishWorkflow(acme, definition);
    expect((await engine.start(acme, workflow, {})).output).toEqual({ via: 'api' });
    expect((await engine.start(acme, workflow, {}, { mode: 'manual' })).output).toEqual({ via: 'hand' });
    expect((await engine.start(acme, workflow, {}, { trigger: 'hand' })).output).toEqual({ via: 'hand' });
  });

  test('a disabled node passes its input on through its first port', async () => {
    const definition = {
      nodes: [start, { id: 'if', type: 'if', properties: { when: '$.prev.x == 1' }, disabled: true }, set('a', { taken: true })],
      connections: [edge('start', 'if'), edge('if', 'a', 'true')],
    };
    expect((await run(definition, { x: 2 })).output).toEqual({ x: 2, taken: true });
  });

  test('nodes.<id> is the output of a finished node and null for a skipped one', async () => {
    const definition = {
      nodes: [
        start,
        { id: 'if', type: 'if', properties: { when: '$.prev.go == true' } },
        set('a', { a: 1 }),
        set('b', { b: 1 }),
        { id: 'end', type: 'transform', properties: { template: { a: '{{ $.nodes.a.a }}', b: '{{ $.nodes.b }}' } } },
      ],
      connections: [edge('start', 'if'), edge('if', 'a', 'true'), edge('if', 'b', 'false'), edge('a', 'end'), edge('b', 'end')],
    };
    expect((await run(definition, { go: true })).output).toEqual({ a: 1, b: null });
  });

  test('branches with effects run in parallel: both are queued at the start', async () => {
    const definition = { nodes: [start, effect('a'), effect('b')], connections: [edge('start', 'a'), edge('start', 'b')] };
    const { run_id, status } = await run(definition);
    expect(status).toBe('running');
    expect(await engine.openSteps(run_id)).toMatchObject([
      { node: 'a', state: 'queued' },
      { node: 'b', state: 'queued' },
    ]);
    await engine.finish(run_id, 'b', 'from b');
    expect((await engine.run(run_id)).status).toBe('running');
    expect(await engine.finish(run_id, 'a', 'from a')).toMatchObject({ outcome: 'recorded', status: 'success', next: null });
    expect(await engine.output(run_id)).toEqual({ a: 'from a', b: 'from b' });
  });
});

test('a run responds to its webhook once, by the node that comes first, and its output is what it is without', async () => {
  const answer = (id: string, body: unknown) => ({ id, type: 'respondToWebhook', properties: { body } });
  const { run_id, response, output } = await run(chain(start, answer('first', 1), answer('second', 2), set('end', { x: 3 })), { n: 0 });
  expect((await engine.log(run_id)).filter(({ type }) => type === 'run.responded')).toMatchObject([
    { payload: { node: 'first', body: 1 } },
  ]);
  expect([response, output]).toMatchObject([{ body: 1 }, { n: 0, x: 3 }]);
});

test('a pinned output counts in test runs, and in no other', async () => {
  const workflow = await publishWorkflow(acme, chain(start, { ...set('a', { x: 1 }), pin: { pinned: true } }));
  expect((await engine.start(acme, workflow, {}, { mode: 'manual' })).output).toEqual({ pinned: true });
  for (const mode of ['api', 'webhook', 'schedule']) {
    expect((await engine.start(acme, workflow, {}, { mode })).output).toEqual({ x: 1 });
  }
});

test('a run with more nodes than one transaction may take goes on in another one', async () => {
  const many = Array.from({ length: 320 }, (_, index) => set(`n${index}`, { last: index }));
  const { run_id, status } = await startOnce(chain(start, ...many));
  expect(status).toBe('running');
  const [rest] = await engine.openSteps(run_id);
  expect(rest).toMatchObject({ state: 'queued' });
  let open = rest;
  while (open) {
    await engine.begin(run_id, open.node);
    [open] = await engine.openSteps(run_id);
  }
  expect(await engine.run(run_id)).toMatchObject({ status: 'success' });
  expect(await engine.output(run_id)).toMatchObject({ last: 319 });
});

test.each([
  ['a signal', { signal: 'go' }],
  ['a time', { seconds: 0 }],
])('a run whose transaction is used up just before a wait for %s waits for it in the next one', async (_, properties) => {
  const many = Array.from({ length: 199 }, (_, index) => set(`n${index}`, { last: index }));
  const { run_id } = await startOnce(chain(start, ...many, { id: 'wait', type: 'wait', properties }, set('end', { done: true })));
  const steps = () => engine.openSteps(run_id);
  for (let [open] = await steps(); open?.state === 'queued'; [open] = await steps()) await engine.begin(run_id, open.node);
  expect(await steps()).toMatchObject([{ node: 'wait', state: 'waiting' }]);
  if ('signal' in properties) await acme.user.query(`select signal_run($1, 'go', '{}')`, [run_id]);
  else await engine.begin(run_id, 'wait');
  expect(await engine.output(run_id)).toMatchObject({ done: true });
});

describe('a failed node', () => {
  const failing = (onError: string) => ({ id: 'bad', type: 'transform', properties: { template: '{{ $.prev.x | number }}' }, onError });

  test('stops the run when onError is stop: the other open steps are canceled', async () => {
    const definition = {
      nodes: [start, effect('slow'), effect('bad')],
      connections: [edge('start', 'slow'), edge('start', 'bad')],
    };
    const { run_id } = await run(definition);
    const task = await engine.begin(run_id, 'bad');
    await engine.fail(task!, { code: 'HTTP_404', message: 'not found', retryable: false });
    expect(await engine.run(run_id)).toMatchObject({ status: 'error', error: { code: 'HTTP_404', node: 'bad' } });
    expect(await engine.openSteps(run_id)).toEqual([]);
    expect(await engine.begin(run_id, 'slow')).toBeNull();
  });

  test('goes on at main with the error when onError is continue', async () => {
    const answer = await run(chain(start, failing('continue'), { id: 'after', type: 'noOp' }), { x: 'many' });
    expect(answer).toMatchObject({ status: 'success', output: { error: { code: expect.any(String) } } });
    expect(await engine.story(answer.run_id)).toContain('step.failed bad');
  });

  test('goes on at its port error with the error and the input when onError is errorOutput', async () => {
    const definition = {
      nodes: [start, failing('errorOutput'), { id: 'fine', type: 'noOp' }, { id: 'rescue', type: 'noOp' }],
      connections: [edge('start', 'bad'), edge('bad', 'fine'), edge('bad', 'rescue', 'error')],
    };
    const answer = await run(definition, { x: 'many' });
    expect(answer.output).toMatchObject({ input: { x: 'many' }, error: { code: expect.any(String) } });
    expect(await engine.story(answer.run_id)).not.toContain('step.succeeded fine');
  });

  test('stopAndError stops the run whatever onError says', async () => {
    const stop = { id: 'stop', type: 'stopAndError', properties: { message: 'Enough of {{ $.prev.what }}' }, onError: 'continue' };
    const answer = await run(chain(start, stop), { what: 'this' });
    expect(answer).toMatchObject({ status: 'error', error: { message: 'Enough of this', node: 'stop' } });
  });

  test('ends its own run only: the other runs of the batch succeed', async () => {
    const workflow = await publishWorkflow(acme, chain(start, failing('stop')));
    const request = (x: unknown) => ({ organizationId: acme.id, workflowId: workflow.id, input: { x } });
    const answers = await engine.startAll([request(1), request('many'), request(3)]);
    for (const { run_id, status } of answers) if (status === 'running') await engine.begin(run_id, 'bad');
    const runs = await Promise.all(answers.map(({ run_id }) => engine.run(run_id)));
    expect(runs.map(({ status }) => status)).toEqual(['success', 'error', 'success']);
  });
});
