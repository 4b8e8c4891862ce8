/** Measures webhooks that are answered with the result of the workflow, over HTTP, served by a separate process. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import autocannon from 'autocannon';
import { createPool } from '../src/database/connections.ts';
import { type Result, written } from './measure.ts';
import type { BenchServer } from './server.ts';

const SECONDS = 6;

/** The workflow of published measurements of other platforms: webhook, set, if, set. */
export const WEBHOOK_NODES = [
  { id: 'hook', type: 'webhookTrigger', properties: { path: '/order', method: 'POST', respond: 'lastNode' } },
  { id: 'price', type: 'set', properties: { assign: { net: '{{ $.prev.total }}' } } },
  { id: 'big', type: 'if', properties: { when: '$.prev.net > 100' } },
  { id: 'note', type: 'set', properties: { assign: { size: 'big' } } },
];

/** Measures requests per second and latency. */
export async function measureWebhooks(server: BenchServer): Promise<Result[]> {
  await server.publish('webhook', WEBHOOK_NODES);
  const intake = fork(new URL('./intake.ts', import.meta.url), { env: { ...process.env, INTAKE_URL: server.url('flowgres_intake') } });
  const [port] = (await once(intake, 'message')) as [number];
  const admin = createPool(server.adminUrl, { name: 'bench', max: 1 });
  const results: Result[] = [];
  for (const connections of [1, 10, 50]) {
    const fire = (duration: number) =>
      autocannon({
        url: `http://127.0.0.1:${port}/hooks/${server.webhookKey}/order`,
        connections,
        duration,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ total: 120 }),
      });
    await fire(1);
    const { value, wal, transactions } = await written(admin, () => fire(SECONDS));
    if (value.non2xx || value.errors) throw new Error(`${value.non2xx} answers other than 2xx, ${value.errors} errors`);
    const requests = value['2xx'];
    results.push({
      name: `webhook, set, if, set, answered with the result, ${connections} connection${connections > 1 ? 's' : ''}`,
      rate: requests / SECONDS,
      p50: value.latency.p50,
      p95: value.latency.p97_5,
      wal: wal / requests,
      transactions: transactions / requests,
    });
  }
  intake.kill('SIGTERM');
  await once(intake, 'exit');
  await admin.end();
  return results;
}
