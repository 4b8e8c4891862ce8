/** The engine Flowgres, through the calls that the product makes. */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { createPool } from '../../src/database/connections.ts';
import { Engine as FlowgresEngine, createEnginePool } from '../../src/engine/engine.ts';
import { registerNode } from '../../src/nodes/registry.ts';
import { startWorker } from '../../src/worker/start.ts';
import { roleUrl } from '../../src/database/roles.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { type Engine, type Setup, inFlight, oneByOne, step } from './engine.ts';

/** Runs that one call starts when many are started, and such calls at a time. */
const BATCH = 100;
const CALLERS = 4;
const CONCURRENCY = 200;
const INPUT = { id: 17, total: 120 };
const START = { name: 'start', text: 'select run_id, status from engine.start_runs($1)' };

const requests = ({ organizationId, workflowId }: Setup, count: number) =>
  JSON.stringify(Array.from({ length: count }, () => ({ organizationId, workflowId, input: INPUT })));

const urlOf = (setup: Setup) => roleUrl(setup.databaseUrl, TEST_PASSWORDS, 'flowgres_worker');

function worker(setup: Setup) {
  registerNode({ type: 'benchStep@1', properties: z.object({}), execute: async () => ({ output: await step(setup) }) });
  return startWorker({ connectionString: urlOf(setup), concurrency: CONCURRENCY });
}

async function startMany(setup: Setup, runs: number): Promise<number> {
  const pool = createPool(urlOf(setup), { name: 'bench', max: CALLERS });
  const values = [requests(setup, BATCH)];
  const seconds = await inFlight(Math.ceil(runs / BATCH), CALLERS, () => pool.query({ ...START, values }));
  await pool.end();
  return seconds;
}

/** Flowgres with its worker. */
export const flowgres: Engine = {
  install: async () => undefined,
  // The call that starts a pure run also finishes it.
  fill: async (setup, work, runs) => void (work.kind === 'effect' && (await startMany(setup, runs))),
  drain: async (setup, work, runs) => {
    if (work.kind === 'pure') return startMany(setup, runs);
    const admin = createPool(setup.databaseUrl, { name: 'bench', max: 1 });
    const startedAt = performance.now();
    const running = await worker(setup);
    while ((await admin.query('select from engine.open_steps limit 1')).rowCount) await delay(10);
    const seconds = (performance.now() - startedAt) / 1000;
    await running.stop();
    await admin.end();
    return seconds;
  },
  // As in `flowgres start`, where one process receives webhooks and works.
  latency: async (setup, work, samples) => {
    const pool = createEnginePool(urlOf(setup), 'bench', 1);
    const admin = createPool(setup.databaseUrl, { name: 'bench', max: 1 });
    const running = work.kind === 'effect' ? await worker(setup) : undefined;
    const engine = new FlowgresEngine(pool, running && { claimOnStart: running.claimOnStart });
    const { organizationId, workflowId } = setup;
    const ms = await oneByOne(samples, async () => {
      const { runId } = await engine.startRun({ organizationId, workflowId, mode: 'api', input: INPUT });
      const finished = {
        name: 'finished',
        text: 'select from workflow_runs where id = $1 and finished_at is not null',
        values: [runId],
      };
      if (running) while (!(await admin.query(finished)).rowCount) await delay(1);
    });
    await running?.stop();
    await Promise.all([pool.end(), admin.end()]);
    return ms;
  },
  unfinished: 'select count(distinct run_id)::int as count from engine.open_steps',
};
