import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { type DurableServer, startDurable } from '../helpers/durable.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { rounds } from '../helpers/rounds.ts';
import { Target } from '../worker/target.ts';

const RUNS = rounds(400, 1_000);
const CALLERS = 40;

let server: DurableServer;
let intakePool: pg.Pool | undefined;
const workers: ChildProcess[] = [];
const target = new Target();

beforeAll(async () => {
  server = await startDurable('crash');
  await target.start();
});
afterAll(async () => {
  for (const worker of workers) worker.kill('SIGKILL');
  target.close();
  await intakePool?.end();
  await server.stop();
});

function startWorkerProcess(): ChildProcess {
  const worker = fork(new URL('../worker/process.ts', import.meta.url).pathname, [server.db.url('flowgres_worker'), target.host], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  workers.push(worker);
  return worker;
}

test(`kill -9 of a worker and of PostgreSQL during ${RUNS} runs loses none and doubles none`, async () => {
  const { admin } = server.db;
  const organization = await createOrganization(server.db);
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one'), target.node('two')));
  intakePool = createEnginePool(server.db.url('flowgres_intake'), 'intake');
  const intake = new Engine(intakePool);
  target.answer = ({ response }) => response.end('{}');

  const [victim] = [startWorkerProcess(), startWorkerProcess()];
  const faults = [
    { calls: RUNS * 0.3, strike: () => void victim.kill('SIGKILL') },
    { calls: RUNS * 0.9, strike: () => server.signal('SIGKILL') },
    { calls: RUNS * 1.3, strike: () => void startWorkerProcess() },
  ];
  const watch = setInterval(() => {
    while (faults[0] && target.calls.length >= faults[0].calls) void faults.shift()!.strike();
  }, 20);

  // The client's own log: what was accepted, under which key. The database is not its own witness.
  const accepted = new Map<string, string>();
  const wanted = Array.from({ length: RUNS }, (_, index) => `order-${index}`);
  const startOne = async (key: string) => {
    for (;;) {
      try {
        const { runId } = await intake.startRun({
          organizationId: organization.id,
          workflowId: workflow.id,
          mode: 'api',
          input: { key },
          key,
        });
        accepted.set(key, runId);
        return;
      } catch {
        await delay(200); // not accepted, or nobody knows: the same key makes trying again safe
      }
    }
  };
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      for (let key = wanted.pop(); key; key = wanted.pop()) await startOne(key);
    }),
  );
  const unfinished = async () => {
    const answer = await admin
      .query<{ count: number }>('select count(*)::int as count from workflow_runs where finished_at is null')
      .catch(() => null);
    return answer?.rows[0]?.count;
  };
  await expect.poll(unfinished, { timeout: 100_000, interval: 500 }).toBe(0);
  clearInterval(watch);
  expect(faults).toEqual([]);

  const { rows: runs } = await admin.query<{ id: string; status: string; key: string }>(
    `select r.id, r.status, e.payload #>> '{input,key}' as key
     from workflow_runs as r join workflow_events as e on e.run_id = r.id and e.seq = 1`,
  );
  expect(new Map(runs.map(({ key, id }) => [key, id]))).toEqual(accepted);
  expect(runs.filter(({ status }) => status !== 'success')).toEqual([]);
  expect(runs).toHaveLength(RUNS);

  const called = new Set(target.calls.map(({ key }) => key));
  expect([...called].toSorted()).toEqual(runs.flatMap(({ id }) => [`${id}/one`, `${id}/two`]).toSorted());
  expect((await admin.query('select * from monitor.invariants()')).rows).toEqual([]);
  expect((await admin.query('select v.* from workflow_runs as r cross join engine.verify_run(r.id) as v')).rows).toEqual([]);
}, 180_000);
