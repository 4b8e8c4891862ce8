import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { LiveRuns } from '../../src/engine/live.ts';
import { createWebhookHandler } from '../../src/webhooks/webhooks.ts';
import { startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { noCredentials } from '../helpers/intake.ts';

const db = await createTestDatabase();
const intake = new Engine(db.pool('flowgres_intake'));
let organization: TestOrganization;
let origin = '';
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  organization = await createOrganization(db);
  const pool = createEnginePool(db.url('flowgres_intake'), 'test intake');
  const live = new LiveRuns(db.url('flowgres_intake'));
  const handler = createWebhookHandler({ credentials: noCredentials, engine: new Engine(pool), live, onProblem: () => undefined });
  const server: Server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const worker = await startWorker({ connectionString: db.url('flowgres_worker'), concurrency: 10 });
  closing.push(
    () => pool.end(),
    () => live.close(),
    () => handler.close(),
    () => server.close(),
    () => worker.stop(),
  );
});
afterAll(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const trigger = { id: 'start', type: 'apiTrigger' };
async function start(definition: Definition, input: unknown = {}): Promise<string> {
  const workflow = await publishWorkflow(organization, definition);
  return (await intake.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input })).runId;
}
const statusOf = async (runId: string) => (await intake.runAnswers([runId]))[0]?.status;
const reaches = (runId: string, status: string) => expect.poll(() => statusOf(runId), { interval: 20 }).toBe(status);
const outputOf = async (runId: string) => (await intake.runAnswers([runId]))[0]?.output?.value;

describe('a local node', () => {
  const random = (properties: Record<string, unknown>) => ({ id: 'draw', type: 'random', properties });

  test('is run once, and a replay takes what it gave from the log', async () => {
    const runId = await start(chain(trigger, random({ kind: 'number', min: 1, max: 6 }), { id: 'end', type: 'noOp' }));
    await reaches(runId, 'success');
    const { value } = (await outputOf(runId)) as { value: number };
    expect(value).toBeGreaterThanOrEqual(1);
    expect(value).toBeLessThanOrEqual(6);
    expect((await organization.user.query('select * from verify_run($1)', [runId])).rows).toEqual([]);
  });

  test.each([
    [{}, /^[0-9a-f]{8}-[0-9a-f]{4}-4/],
    [{ kind: 'token' }, /^[\w-]{43}$/],
    [{ kind: 'token', bytes: 16 }, /^[\w-]{22}$/],
  ])('%j draws what it says', async (properties, pattern) => {
    const runId = await start(chain(trigger, random(properties)));
    await reaches(runId, 'success');
    expect(((await outputOf(runId)) as { value: string }).value).toMatch(pattern);
  });

  test('of a DBA may write; what it wrote is undone when it fails, and its time is limited', async () => {
    await db.admin.query(`
      create schema custom;
      grant usage on schema custom to flowgres_sql, flowgres_owner;
      create table custom.seen (what text);
      alter table custom.seen owner to flowgres_sql;
      create function custom.note(properties jsonb, prev jsonb, inputs jsonb) returns jsonb language plpgsql
        security definer set search_path = pg_catalog, pg_temp as $$
      begin
        insert into custom.seen values (properties ->> 'what');
        if properties ->> 'what' = 'slow' then
          perform pg_sleep(30);
        elsif properties ->> 'what' = 'bad' then
          raise exception 'no such thing';
        end if;
        return jsonb_build_object('noted', properties -> 'what', 'prev', prev);
      end $$;
      alter function custom.note(jsonb, jsonb, jsonb) owner to flowgres_sql`);
    await db.admin.query(`select engine.register_node('note', 'custom.note(jsonb, jsonb, jsonb)'::regprocedure, kind => 'local')`);
    const note = (what: string, more: Record<string, unknown> = {}) =>
      start(chain(trigger, { id: 'note', type: 'note', properties: { what }, ...more }), { a: 1 });
    const good = await note('good');
    const bad = await note('bad');
    const slow = await note('slow', { timeoutMs: 200 });
    await reaches(good, 'success');
    await reaches(bad, 'error');
    await reaches(slow, 'error');
    expect(await outputOf(good)).toEqual({ noted: 'good', prev: { a: 1 } });
    const errors = await intake.runAnswers([bad, slow]);
    expect(errors.find(({ runId }) => runId === bad)?.error).toMatchObject({ code: 'NODE_FAILED', message: 'no such thing' });
    expect(errors.find(({ runId }) => runId === slow)?.error).toMatchObject({ code: 'TIMEOUT' });
    expect((await db.admin.query('select what from custom.seen')).rows).toEqual([{ what: 'good' }]);
  });
});

describe('children', () => {
  test('of a forEach run, and the parent goes on with what they gave', async () => {
    await publishWorkflow(organization, chain({ id: 'start', type: 'subworkflowTrigger' }, { id: 'draw', type: 'random' }), 'draw');
    const definition = chain(
      trigger,
      { id: 'all', type: 'forEach', properties: { workflow: 'draw', concurrency: 3 } },
      { id: 'count', type: 'transform', properties: { path: '$.prev.size()' } },
    );
    const runId = await start(definition, [1, 2, 3, 4, 5, 6, 7]);
    await reaches(runId, 'success');
    expect(await outputOf(runId)).toBe(7);
  });

  test('are canceled with their parent, at every depth', async () => {
    const called = { id: 'start', type: 'subworkflowTrigger' };
    await publishWorkflow(organization, chain(called, { id: 'pause', type: 'wait', properties: { signal: 'never' } }), 'inner');
    await publishWorkflow(organization, chain(called, { id: 'sub', type: 'executeWorkflow', properties: { workflow: 'inner' } }), 'outer');
    const runId = await start(chain(trigger, { id: 'all', type: 'forEach', properties: { workflow: 'outer' } }), [1, 2, 3]);
    const unfinished = async () =>
      Number((await db.admin.query(`select count(*) as n from workflow_runs where status in ('running', 'waiting')`)).rows[0].n);
    await expect.poll(unfinished).toBe(7);
    await organization.user.query('select cancel_run($1)', [runId]);
    await expect.poll(unfinished).toBe(0);
  });
});

describe('a request to a resume address', () => {
  const wait = { id: 'answer', type: 'wait', properties: { webhook: { method: ['GET', 'POST'] } } };
  /** A waiting run, and its address. */
  async function waiting(): Promise<{ runId: string; url: string }> {
    const definition = {
      nodes: [trigger, wait, { id: 'told', type: 'log', properties: { message: '{{ $.run.resume.answer }}' } }],
      connections: [
        { source: 'start', target: 'answer' },
        { source: 'start', target: 'told' },
      ],
    };
    const runId = await start(definition);
    await reaches(runId, 'waiting');
    const { rows } = await db.admin.query('select message from workflow_run_logs where run_id = $1', [runId]);
    return { runId, url: origin + rows[0].message };
  }

  test('lets the run go on, once', async () => {
    const { runId, url } = await waiting();
    const first = await fetch(`${url}?choice=blue`, { method: 'POST', body: '{"n": 1}', headers: { 'content-type': 'application/json' } });
    expect([first.status, await first.json()]).toEqual([200, { runId }]);
    await reaches(runId, 'success');
    expect(await outputOf(runId)).toMatchObject({ answer: { method: 'POST', query: { choice: 'blue' }, body: { n: 1 } } });
    const second = await fetch(url, { method: 'POST' });
    expect(second.status).toBe(409);
    expect(await second.json()).toMatchObject({ error: { code: 'ALREADY_USED', details: { first: { at: expect.any(String) } } } });
  });

  test('says what is wrong with it', async () => {
    const { runId, url } = await waiting();
    expect((await fetch(`${origin}/resume/unknown`)).status).toBe(404);
    const wrong = await fetch(url, { method: 'PUT' });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET, POST']);
    await organization.user.query('select cancel_run($1)', [runId]);
    expect((await fetch(url)).status).toBe(410);
  });
});
