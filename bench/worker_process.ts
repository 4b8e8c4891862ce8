/**
 * A worker of the benchmark as a process of its own, which can be killed: node worker_process.ts <connection string>
 * <milliseconds of each step>. Sends a message when it works.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { registerNode } from '../src/nodes/registry.ts';
import { startWorker } from '../src/worker/start.ts';

const [connectionString = '', stepMs = '0'] = process.argv.slice(2);
registerNode({
  type: 'benchStep@1',
  properties: z.object({}),
  execute: async () => {
    if (Number(stepMs) > 0) await delay(Number(stepMs));
    return { output: { done: true } };
  },
});
await startWorker({ connectionString, concurrency: 200, onProblem: () => undefined });
process.send?.('works');
