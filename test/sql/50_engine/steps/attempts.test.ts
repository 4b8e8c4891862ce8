/** Attempts: begin, complete, retry delays, stale results, successors. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

const transient = { code: 'HTTP_503', message: 'try later', retryable: true };

function call(id: string, more: Record<string, unknown> = {}) {
  return { id, type: 'httpRequest', properties: { url: 'https://example.com/{{ $.prev.path }}' }, ...more };
}

async function startCalls(...nodes: ReturnType<typeof call>[]) {
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, ...nodes));
  return (await engine.start(acme, workflow, { path: 'x' })).run_id;
}

/** Seconds between the failure and the attempt that follows it. */
async function retryDelay(runId: string | null): Promise<number> {
  const { rows } = await db.admin.query<{ delay: number }>(
    `select extract(epoch from (payload ->> 'retryAt')::timestamptz - ts)::float as delay
     from workflow_events where run_id = $1 and type = 'step.failed' order by seq desc limit 1`,
    [runId],
  );
  return rows[0]!.delay;
}

const skipDelay = (runId: string | null) => db.admin.query('update engine.open_steps set run_at = now() where run_id = $1', [runId]);

describe('an attempt', () => {
  test('begins with its resolved input in the log and a stable idempotency key', async () => {
    const runId = await startCalls(call('a'));
    const task = await engine.begin(runId, 'a');
    expect(task).toMatchObject({
      attempt: 1,
      idempotencyKey: `${runId}/a`,
      properties: { url: 'https://example.com/x' },
      timeoutMs: 30_000,
    });
    expect((await engine.log(runId)).at(-1)).toMatchObject({
      type: 'step.started',
      payload: { node: 'a', attempt: 1, input: { url: 'https://example.com/x' } },
    });
  });

  test('is begun once: a second job of the same step finds nothing to do', async () => {
    const runId = await startCalls(call('a'));
    expect(await engine.begin(runId, 'a')).not.toBeNull();
    expect(await engine.begin(runId, 'a')).toBeNull();
  });

  test('hands the next step of its branch straight back, begun already', async () => {
    const runId = await startCalls(call('a'), call('b'));
    const first = await engine.begin(runId, 'a');
    const { next } = await engine.complete(first!, { path: 'y' });
    expect(next).toMatchObject({ node: 'b', attempt: 1, properties: { url: 'https://example.com/y' } });
    expect(await engine.openSteps(runId)).toMatchObject([{ node: 'b', state: 'running' }]);
  });

  test('changes no index of the open steps when it hands its row on, or when its lease is extended', async () => {
    const runId = await startCalls(call('a'), call('b'));
    await engine.begin(runId, 'a');
    const client = await db.admin.connect();
    const updates = async (statement: string, values: unknown[]) => {
      const read = `select n_tup_upd::int as rows, n_tup_hot_upd::int as hot from pg_stat_xact_user_tables where relid = 'engine.open_steps'::regclass`;
      const before = (await client.query<{ rows: number; hot: number }>(read)).rows[0]!;
      await client.query(statement, values);
      const after = (await client.query<{ rows: number; hot: number }>(read)).rows[0]!;
      return { rows: after.rows - before.rows, hot: after.hot - before.hot };
    };
    try {
      await client.query('begin');
      const result = JSON.stringify([{ runId, node: 'a', attempt: 1, ok: true, output: { path: 'y' }, ms: 0 }]);
      expect(await updates('select engine.complete_steps($1, $2)', [result, engine.worker])).toEqual({ rows: 1, hot: 1 });
      await client.query(`update engine.open_steps set lease_until = engine.now() + interval '5 seconds' where run_id = $1`, [runId]);
      const running = JSON.stringify([{ runId, node: 'b', attempt: 1 }]);
      expect(await updates('select engine.heartbeat($1, $2)', [engine.worker, running])).toEqual({ rows: 1, hot: 1 });
    } finally {
      await client.query('rollback');
      client.release();
    }
  });

  test('begins beside another branch that has handed its row on: each has its own', async () => {
    const nodes = [{ id: 'start', type: 'apiTrigger' }, ...['a', 'b', 'c', 'd'].map((id) => call(id))];
    const connections = [
      ['start', 'a'],
      ['start', 'b'],
      ['a', 'c'],
      ['b', 'd'],
    ].map(([source, target]) => ({ source: source!, target: target! }));
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, { nodes, connections }), { path: 'x' });
    const [a, b] = [await engine.begin(run_id, 'a'), await engine.begin(run_id, 'b')];
    expect((await engine.complete(a!, 1)).next).toMatchObject({ node: 'c' });
    expect((await engine.complete(b!, 2)).next).toMatchObject({ node: 'd' });
    const { rows } = await db.admin.query('select node, branch, state from engine.open_steps where run_id = $1 order by node', [run_id]);
    expect(rows).toEqual([
      { node: 'c', branch: 'a', state: 'running' },
      { node: 'd', branch: 'b', state: 'running' },
    ]);
  });
});

describe('a result', () => {
  test('is recorded once: repeated, it is stale and changes nothing', async () => {
    const runId = await startCalls(call('a'));
    const task = await engine.begin(runId, 'a');
    expect(await engine.complete(task!, 1)).toMatchObject({ outcome: 'recorded', status: 'success' });
    const before = await engine.log(runId);
    expect(await engine.complete(task!, 2)).toMatchObject({ outcome: 'stale', status: 'success' });
    expect(await engine.log(runId)).toEqual(before);
  });

  test('of an older attempt is stale, even when it is a success', async () => {
    const runId = await startCalls(call('a'));
    const first = await engine.begin(runId, 'a');
    await engine.fail(first!, transient);
    await skipDelay(runId);
    const second = await engine.begin(runId, 'a');
    expect(second).toMatchObject({ attempt: 2, idempotencyKey: first!.idempotencyKey });
    expect(await engine.complete(first!, 'late')).toMatchObject({ outcome: 'stale' });
    expect(await engine.complete(second!, 'in time')).toMatchObject({ outcome: 'recorded' });
    expect(await engine.output(runId)).toBe('in time');
  });

  test('at a port that the node does not have is a failure', async () => {
    const runId = await startCalls(call('a'));
    await engine.complete((await engine.begin(runId, 'a'))!, 1, 'sideways');
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'UNKNOWN_PORT' } });
  });

  test('above 1 MiB is a failure that is not retried', async () => {
    const runId = await startCalls(call('a'));
    await engine.complete((await engine.begin(runId, 'a'))!, 'x'.repeat(1_100_000));
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'TOO_LARGE' } });
  });

  test('that is an error is kept short: a long message is cut, details that are large are left out', async () => {
    const runId = await startCalls(call('a'));
    const task = await engine.begin(runId, 'a');
    await engine.fail(task!, { code: 'BAD', message: 'x'.repeat(2_000_000), details: { body: 'y'.repeat(2_000_000) } });
    const { error } = await engine.run(runId);
    expect(error).toEqual({ code: 'BAD', message: 'x'.repeat(10_000), retryable: false, node: 'a' });
  });

  test('of an unknown run is stale', async () => {
    const unknown = { runId: crypto.randomUUID(), node: 'a', attempt: 1, ok: true, output: 1 };
    expect(await engine.report(unknown)).toMatchObject({ outcome: 'stale' });
  });
});

test('a step whose input is above 1 MiB fails before it begins', async () => {
  const big = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com', body: Array(6).fill('{{ $.prev.x }}') } };
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, big));
  const answer = await engine.start(acme, workflow, { x: 'y'.repeat(200_000) });
  expect(answer).toMatchObject({ status: 'error', error: { code: 'TOO_LARGE', node: 'a' } });
});

describe('a failure that may pass', () => {
  test('is retried after initialMs · 2^(k−1), halved at random at most', async () => {
    const runId = await startCalls(call('a', { retry: { maxAttempts: 3, initialMs: 1000, maxMs: 300_000 } }));
    await engine.fail((await engine.begin(runId, 'a'))!, transient);
    const first = await retryDelay(runId);
    expect(first).toBeGreaterThanOrEqual(0.5);
    expect(first).toBeLessThanOrEqual(1);
    expect(await engine.begin(runId, 'a')).toBeNull();
    await skipDelay(runId);
    await engine.fail((await engine.begin(runId, 'a'))!, transient);
    const second = await retryDelay(runId);
    expect(second).toBeGreaterThanOrEqual(1);
    expect(second).toBeLessThanOrEqual(2);
  });

  test('waits as long as the peer asks, but an hour at most', async () => {
    const runId = await startCalls(call('a'));
    await engine.fail((await engine.begin(runId, 'a'))!, { ...transient, retryAfterMs: 60_000 });
    expect(await retryDelay(runId)).toBeCloseTo(60, 1);
    await skipDelay(runId);
    await engine.fail((await engine.begin(runId, 'a'))!, { ...transient, retryAfterMs: 9_000_000 });
    expect(await retryDelay(runId)).toBeCloseTo(3600, 0);
  });

  test('ends the run after maxAttempts', async () => {
    const runId = await startCalls(call('a', { retry: { maxAttempts: 2 } }));
    await engine.fail((await engine.begin(runId, 'a'))!, transient);
    expect((await engine.run(runId)).status).toBe('running');
    await skipDelay(runId);
    await engine.fail((await engine.begin(runId, 'a'))!, transient);
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'HTTP_503', node: 'a' } });
  });

  test('has four attempts when nothing else is said', async () => {
    const runId = await startCalls(call('a'));
    for (const left of [3, 2, 1, 0]) {
      await engine.fail((await engine.begin(runId, 'a'))!, transient);
      expect((await engine.run(runId)).status).toBe(left ? 'running' : 'error');
      await skipDelay(runId);
    }
  });

  test('is final at once when it is not retryable', async () => {
    const runId = await startCalls(call('a'));
    await engine.fail((await engine.begin(runId, 'a'))!, { ...transient, retryable: false });
    expect((await engine.run(runId)).status).toBe('error');
  });
});
