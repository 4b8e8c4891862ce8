/**
 * The engine Absurd. Its npm package does not contain its schema: ABSURD_SQL names the file sql/absurd.sql of
 * its repository, in the version of the SDK.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { Absurd } from 'absurd-sdk';
import { createPool } from '../../src/database/connections.ts';
import { type Engine, type Setup, inFlight, oneByOne, step, untilNone } from './engine.ts';

const QUEUE = 'bench';
const CONCURRENCY = 64;
const POOL = 40;
/** 0.25 by default. */
const POLL_SECONDS = 0.005;
/** The lease of a step in seconds, as in Flowgres; 120 by default. */
const CLAIM_SECONDS = 15;
const UNFINISHED = `select count(*)::int as count from absurd.t_bench where state not in ('completed', 'failed', 'cancelled')`;
const SIZES = [0, 1, 5, 20];

function open(setup: Setup): { app: Absurd; progress: { ended: number }; close(): Promise<void> } {
  const pool = createPool(setup.databaseUrl, { name: 'bench', max: POOL });
  const app = new Absurd({ db: pool, queueName: QUEUE });
  const progress = { ended: 0 };
  for (const steps of SIZES) {
    app.registerTask({ name: `steps${steps}` }, async (_params, context) => {
      for (let index = 0; index < steps; index += 1) await context.step(`step${index}`, () => step(setup));
      progress.ended += 1;
      return 'done';
    });
  }
  const close = async () => {
    await app.close();
    await pool.end().catch(() => undefined);
  };
  return { app, progress, close };
}

const work = (app: Absurd) =>
  app.startWorker({ concurrency: CONCURRENCY, batchSize: CONCURRENCY, pollInterval: POLL_SECONDS, claimTimeout: CLAIM_SECONDS });

/** Absurd with its worker. */
export const absurd: Engine = {
  install: async (setup) => {
    const file = process.env['ABSURD_SQL'];
    if (!file) throw new Error('ABSURD_SQL does not name its schema, sql/absurd.sql of its repository');
    const pool = createPool(setup.databaseUrl, { name: 'bench', max: 1 });
    await pool.query(await readFile(file, 'utf8'));
    await pool.end();
    const { app, close } = open(setup);
    await app.createQueue(QUEUE);
    await close();
  },
  fill: async (setup, { steps }, runs) => {
    const { app, close } = open(setup);
    await inFlight(runs, POOL, () => app.spawn(`steps${steps}`, {}));
    await close();
  },
  drain: async (setup, _work, runs) => {
    const { app, progress, close } = open(setup);
    const startedAt = performance.now();
    const worker = await work(app);
    while (progress.ended < runs) await delay(10);
    await untilNone(setup, UNFINISHED);
    const seconds = (performance.now() - startedAt) / 1000;
    await worker.close();
    await close();
    return seconds;
  },
  latency: async (setup, { steps }, samples) => {
    const { app, close } = open(setup);
    const worker = await work(app);
    const ms = await oneByOne(samples, async () => {
      const { taskID } = await app.spawn(`steps${steps}`, {});
      while ((await app.fetchTaskResult(taskID))?.state !== 'completed') await delay(1);
    });
    await worker.close();
    await close();
    return ms;
  },
  unfinished: UNFINISHED,
};
