/** A worker as an installation runs it, with a node of its own that kills it; with `serve`, one that serves as well. */
import { z } from 'zod';
import { serve, work } from '../../src/cli/serve.ts';
import { readConfig } from '../../src/config.ts';
import { registerNode } from '../../src/nodes/registry.ts';

registerNode({
  type: 'poison@1',
  properties: z.object({}),
  execute: async () => {
    process.kill(process.pid, 'SIGKILL');
    return { output: null };
  },
});
if (process.argv[2] === 'serve') await serve(readConfig(), { work: true });
else await work(readConfig());
