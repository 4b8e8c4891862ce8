/** Measures runs of pure nodes, which one SQL call executes. */
import { createPool } from '../src/database/connections.ts';
import { type Result, percentiles, throughput, written } from './measure.ts';
import type { BenchServer } from './server.ts';

const SECONDS = 5;
const START = 'select status from engine.start_runs($1)';

/** A trigger and five pure nodes that read and change the data. */
export const PURE_NODES = [
  { id: 'start', type: 'apiTrigger' },
  { id: 'price', type: 'set', properties: { assign: { net: '{{ $.prev.total }}', currency: 'EUR' } } },
  { id: 'big', type: 'if', properties: { when: '$.prev.net > 100' } },
  { id: 'note', type: 'set', properties: { assign: { size: 'big', customer: '{{ $.input.customer.name }}' } } },
  {
    id: 'shape',
    type: 'transform',
    properties: { template: { id: '{{ $.input.id }}', net: '{{ $.prev.net }}', label: 'Order {{ $.input.id }}' } },
  },
  { id: 'end', type: 'set', properties: { assign: { done: true } } },
];

/** A request that starts {@link PURE_NODES}. */
export function pureRequest(workflow: { organizationId: string; workflowId: string }): Record<string, unknown> {
  return { ...workflow, input: { id: 17, total: 120, customer: { name: 'Ada' } } };
}

/** Measures starting and finishing such runs. */
export async function measurePure(server: BenchServer): Promise<Result[]> {
  const workflowId = await server.publish('pure', PURE_NODES);
  const request = pureRequest({ organizationId: server.organizationId, workflowId });
  const single = JSON.stringify([request]);
  const batch = JSON.stringify(Array.from({ length: 100 }, () => request));
  const pool = createPool(server.url('flowgres_worker'), { name: 'bench pure', max: 8 });
  const admin = createPool(server.adminUrl, { name: 'bench', max: 1 });
  const call = (requests: string) => () => pool.query({ name: 'start', text: START, values: [requests] });

  const idle: number[] = [];
  for (let index = 0; index < 500; index += 1) {
    const startedAt = performance.now();
    await call(single)();
    if (index >= 100) idle.push(performance.now() - startedAt);
  }
  const one = await written(admin, () => throughput(8, SECONDS, call(single)));
  const hundred = await written(admin, () => throughput(4, SECONDS, call(batch), 100));
  await Promise.all([pool.end(), admin.end()]);
  return [
    { name: '5 pure nodes, one run at a time, idle system', ...percentiles(idle) },
    { name: '5 pure nodes, one run a call, 8 callers', rate: one.value.rate, p50: one.value.p50, p95: one.value.p95, ...perRun(one) },
    { name: '5 pure nodes, 100 runs a call, 4 callers', rate: hundred.value.rate, ...perRun(hundred) },
  ];
}

/** The warm-up, a fifth of the measured time, also writes; it is counted at the same rate. */
function perRun({ value, wal, transactions }: { value: { operations: number }; wal: number; transactions: number }) {
  const operations = value.operations * 1.2;
  return { wal: wal / operations, transactions: transactions / operations };
}
