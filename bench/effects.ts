/** Measures runs with effect steps, which a worker process executes. The effect itself takes no time. */
import { setTimeout as delay } from 'node:timers/promises';
import { createPool } from '../src/database/connections.ts';
import { Engine, createEnginePool } from '../src/engine/engine.ts';
import { registerNode } from '../src/nodes/registry.ts';
import { startWorker } from '../src/worker/start.ts';
import { z } from 'zod';
import { type Result, percentiles, written } from './measure.ts';
import type { BenchServer } from './server.ts';

const IN_FLIGHT = 64;
const SAMPLES = 200;
/** Interval of polling in milliseconds, which the latencies of effect steps include. */
const POLL_MS = 1;

registerNode({
  type: 'benchStep@1',
  properties: z.object({}),
  execute: async () => ({ output: { done: true } }),
});

/** Measures throughput and latency of effect steps. */
export async function measureEffects(server: BenchServer): Promise<Result[]> {
  const results: Result[] = [];
  for (const [steps, runs] of [
    [1, 20_000],
    [5, 8_000],
  ] as const) {
    const nodes = Array.from({ length: steps }, (_, index) => ({ id: `step${index + 1}`, type: 'benchStep' }));
    const workflowId = await server.publish(`${steps} effects`, [{ id: 'start', type: 'apiTrigger' }, ...nodes]);
    const label = `${steps} effect step${steps > 1 ? 's' : ''}`;
    results.push({ name: `${label}, drained`, ...(await drain(server, workflowId, runs)) });
    for (const lends of [false, true]) {
      const how = lends ? 'in one process' : 'by the queue';
      results.push({ name: `${label}, ${IN_FLIGHT} in flight, ${how}`, ...(await endToEnd(server, workflowId, runs / 2, lends)) });
      results.push({ name: `${label}, one run at a time, idle system, ${how}`, ...(await latency(server, workflowId, lends)) });
    }
  }
  return results;
}

/** Starts all runs, then measures from the start of the worker to the end of the last run. */
async function drain(server: BenchServer, workflowId: string, runs: number): Promise<Partial<Result>> {
  const admin = createPool(server.adminUrl, { name: 'bench', max: 2 });
  const request = { organizationId: server.organizationId, workflowId, input: {} };
  const batch = JSON.stringify(Array.from({ length: 100 }, () => request));
  for (let started = 0; started < runs; started += 100) await admin.query('select from engine.start_runs($1)', [batch]);
  const {
    value: seconds,
    wal,
    transactions,
  } = await written(admin, async () => {
    const startedAt = performance.now();
    const worker = await startWorker({ connectionString: server.url('flowgres_worker'), concurrency: 200 });
    await untilNoStepIsOpen(admin);
    const elapsed = (performance.now() - startedAt) / 1000;
    await worker.stop();
    return elapsed;
  });
  await admin.end();
  return { rate: runs / seconds, wal: wal / runs, transactions: transactions / runs };
}

/**
 * Starts a process that starts runs and works, as `flowgres start` does. With `lends` it begins the first step
 * of the runs that it starts; otherwise all steps pass the queue, as for runs that other processes start.
 */
async function startProcess(server: BenchServer, lends: boolean): Promise<{ engine: Engine; stop(): Promise<void> }> {
  const pool = createEnginePool(server.url('flowgres_worker'), 'bench starts', 4);
  const worker = await startWorker({ connectionString: server.url('flowgres_worker'), concurrency: 200 });
  const stop = async () => {
    await worker.stop();
    await pool.end();
  };
  return { engine: new Engine(pool, lends ? { claimOnStart: worker.claimOnStart } : {}), stop };
}

/**
 * Measures concurrent callers, each of which starts its next run when the last start was answered, until the
 * last run has ended.
 */
async function endToEnd(server: BenchServer, workflowId: string, runs: number, lends: boolean): Promise<Partial<Result>> {
  const admin = createPool(server.adminUrl, { name: 'bench', max: 2 });
  const { engine, stop } = await startProcess(server, lends);
  const {
    value: seconds,
    wal,
    transactions,
  } = await written(admin, async () => {
    const startedAt = performance.now();
    let left = runs;
    await Promise.all(
      Array.from({ length: IN_FLIGHT }, async () => {
        while (left > 0) {
          left -= 1;
          await engine.startRun({ organizationId: server.organizationId, workflowId, mode: 'api', input: {} });
        }
      }),
    );
    await untilNoStepIsOpen(admin);
    return (performance.now() - startedAt) / 1000;
  });
  await stop();
  await admin.end();
  return { rate: runs / seconds, wal: wal / runs, transactions: transactions / runs };
}

/** Measures from the call that starts a run until another connection reads it as finished. */
async function latency(server: BenchServer, workflowId: string, lends: boolean): Promise<Partial<Result>> {
  const pool = createPool(server.adminUrl, { name: 'bench latency', max: 1 });
  const { engine, stop } = await startProcess(server, lends);
  const samples: number[] = [];
  for (let index = 0; index < SAMPLES + 20; index += 1) {
    const startedAt = performance.now();
    const { runId } = await engine.startRun({ organizationId: server.organizationId, workflowId, mode: 'api', input: {} });
    const finished = {
      name: 'finished',
      text: 'select from workflow_runs where id = $1 and finished_at is not null',
      values: [runId],
    };
    while ((await pool.query(finished)).rowCount === 0) await delay(POLL_MS);
    if (index >= 20) samples.push(performance.now() - startedAt);
  }
  await stop();
  await pool.end();
  return percentiles(samples);
}

async function untilNoStepIsOpen(admin: ReturnType<typeof createPool>): Promise<void> {
  for (;;) {
    const { rowCount } = await admin.query('select from engine.open_steps limit 1');
    if (rowCount === 0) return;
    await delay(10);
  }
}
