/** The engine DBOS: with its queue, and directly, where the caller's process executes the workflow at once. */
import { setTimeout as delay } from 'node:timers/promises';
import { DBOS, DBOSClient } from '@dbos-inc/dbos-sdk';
import { type Engine, type Setup, inFlight, oneByOne, step, untilNone } from './engine.ts';

const QUEUE = 'bench';
const CONCURRENCY = 200;
const DIRECT_CONCURRENCY = 64;
const POOL = 40;
/** 1,000 by default. */
const POLL_MS = 10;
const UNFINISHED = `select count(*)::int as count from dbos.workflow_status where status in ('ENQUEUED', 'PENDING') and name like 'steps%'`;
const SIZES = [0, 1, 5, 20];

interface Application {
  workflows: Map<number, () => Promise<unknown>>;
  /** When the first workflow began, and how many have ended. */
  progress: { startedAt: number; ended: number };
}

async function launch(setup: Setup, queue: boolean): Promise<Application> {
  DBOS.setConfig({
    name: 'bench',
    systemDatabaseUrl: setup.databaseUrl,
    systemDatabasePoolSize: POOL,
    logLevel: 'error',
    applicationVersion: '1',
    executorID: 'bench',
  });
  const progress = { startedAt: 0, ended: 0 };
  const workflows = new Map(
    SIZES.map((steps) => {
      const workflow = async () => {
        progress.startedAt ||= performance.now();
        for (let index = 0; index < steps; index += 1) await DBOS.runStep(() => step(setup), { name: `step${index}` });
        progress.ended += 1;
        return 'done';
      };
      return [steps, DBOS.registerWorkflow(workflow, { name: `steps${steps}` })];
    }),
  );
  await DBOS.launch();
  if (queue) {
    await DBOS.registerQueue(QUEUE, { workerConcurrency: CONCURRENCY, minPollingIntervalMs: POLL_MS, onConflict: 'always_update' });
  }
  return { workflows, progress };
}

const install = async (setup: Setup) => {
  await launch(setup, true);
  await DBOS.shutdown();
};

/** DBOS with its queue. */
export const dbosQueue: Engine = {
  install,
  fill: async (setup, work, runs) => {
    const client = await DBOSClient.create({
      systemDatabaseUrl: setup.databaseUrl,
      systemDatabasePoolSize: POOL,
      applicationName: 'bench',
    });
    const options = { workflowName: `steps${work.steps}`, queueName: QUEUE, appVersion: '1' };
    await inFlight(runs, POOL, () => client.enqueue(options));
    await client.destroy();
  },
  drain: async (setup, _work, runs) => {
    const { progress } = await launch(setup, true);
    while (progress.ended < runs) await delay(10);
    await untilNone(setup, UNFINISHED);
    const seconds = (performance.now() - progress.startedAt) / 1000;
    await DBOS.shutdown();
    return seconds;
  },
  latency: async (setup, work, samples) => {
    const { workflows } = await launch(setup, true);
    const ms = await oneByOne(samples, async () => {
      const handle = await DBOS.startWorkflow(workflows.get(work.steps)!, { queueName: QUEUE })();
      await handle.getResult({ pollingIntervalMs: 1 });
    });
    await DBOS.shutdown();
    return ms;
  },
  unfinished: UNFINISHED,
};

/** DBOS without its queue. */
export const dbosDirect: Engine = {
  install,
  fill: async () => undefined,
  drain: async (setup, work, runs) => {
    const { workflows } = await launch(setup, false);
    const seconds = await inFlight(runs, DIRECT_CONCURRENCY, workflows.get(work.steps)!);
    await DBOS.shutdown();
    return seconds;
  },
  latency: async (setup, work, samples) => {
    const { workflows } = await launch(setup, false);
    const ms = await oneByOne(samples, workflows.get(work.steps)!);
    await DBOS.shutdown();
    return ms;
  },
};
