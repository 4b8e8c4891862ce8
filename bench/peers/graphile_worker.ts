/** graphile-worker alone: a step is a job that adds the next one. It stores neither runs nor results. */
import { Logger, type Runner, type TaskList, makeWorkerUtils, run } from 'graphile-worker';
import { type Engine, type Setup, type Work, oneByOne, step } from './engine.ts';

const CONCURRENCY = 24;
const BATCH = 1000;
const logger = new Logger(() => () => undefined);

/** The settings of its own performance tests. */
const PRESET = {
  worker: { concurrentJobs: CONCURRENCY, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0, maxPoolSize: 10 },
};

async function start(setup: Setup, ended: () => void): Promise<Runner> {
  const taskList: TaskList = {
    bench: async (payload, helpers) => {
      const { left } = payload as { left: number };
      if (left > 0) await step(setup);
      if (left > 1) await helpers.addJob('bench', { left: left - 1 });
      else ended();
    },
  };
  return run({ connectionString: setup.databaseUrl, taskList, logger, noHandleSignals: true, preset: PRESET });
}

const utilsOf = (setup: Setup) => makeWorkerUtils({ connectionString: setup.databaseUrl, logger });

/** graphile-worker without an engine. */
export const graphileWorker: Engine = {
  install: async (setup) => {
    const utils = await utilsOf(setup);
    await utils.migrate();
    await utils.release();
  },
  fill: async (setup, work: Work, runs) => {
    const utils = await utilsOf(setup);
    for (let added = 0; added < runs; added += BATCH) {
      const jobs = Array.from({ length: Math.min(BATCH, runs - added) }, () => ({ identifier: 'bench', payload: { left: work.steps } }));
      await utils.addJobs(jobs);
    }
    await utils.release();
  },
  drain: async (setup, _work, runs) => {
    const startedAt = performance.now();
    let left = runs;
    await new Promise<void>((resolve, reject) => {
      const runner = start(setup, () => {
        left -= 1;
        if (left === 0) runner.then((each) => each.stop()).then(resolve, reject);
      });
      runner.catch(reject);
    });
    return (performance.now() - startedAt) / 1000;
  },
  latency: async (setup, work, samples) => {
    let ended: () => void = () => undefined;
    const runner = await start(setup, () => ended());
    const ms = await oneByOne(samples, async () => {
      const done = new Promise<void>((resolve) => {
        ended = resolve;
      });
      await runner.addJob('bench', { left: work.steps });
      await done;
    });
    await runner.stop();
    return ms;
  },
  unfinished: 'select count(*)::int as count from graphile_worker.jobs',
};
