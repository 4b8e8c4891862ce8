/** Local steps of expressions in a running worker: they end in time, and those who wait for the run get their answer. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { LiveRuns } from '../../src/engine/live.ts';
import { createWebhookHandler } from '../../src/webhooks/webhooks.ts';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, createOrganization, chain, publishWorkflow } from '../helpers/factory.ts';
import { noCredentials } from '../helpers/intake.ts';

const db = await createTestDatabase();
const live = new LiveRuns(db.url('flowgres_intake'));
const handler = createWebhookHandler({
  credentials: noCredentials,
  engine: new Engine(db.pool('flowgres_intake')),
  live,
  onProblem: () => undefined,
});
const server = createServer((request, response) => void handler(request, response));
let acme: TestOrganization;
let worker: RunningWorker;
beforeAll(async () => {
  acme = await createOrganization(db);
  worker = await startWorker({ connectionString: db.url('flowgres_worker'), evaluationTimeoutMs: 1_000, onProblem: () => undefined });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  server.close();
  handler.close();
  await live.close();
  await worker.stop();
});

async function post(path: string, nodes: Definition['nodes'], respond: string, body: unknown) {
  const trigger = { id: 'hook', type: 'webhookTrigger', properties: { path, respond } };
  await publishWorkflow(acme, chain(trigger, ...nodes), path);
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/hooks/${acme.webhookKey}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test('a webhook waits for the output of a local step', async () => {
  const node = { id: 'n', type: 'transform', properties: { path: '$.prev.**.a' } };
  expect(await post('/last', [node], 'lastNode', { a: 1, b: { a: 2 } })).toMatchObject({ status: 200, body: [1, 2] });
});

test('and for a response that a local step finds', async () => {
  const node = { id: 'n', type: 'respondToWebhook', properties: { status: 201, body: '{{ $.prev.**.a }}' } };
  expect(await post('/respond', [node], 'respondNode', { a: 1, b: { a: 2 } })).toMatchObject({ status: 201, body: [1, 2] });
});

test('expressions that take too long end with EXPRESSION_TIMEOUT, and the worker goes on', async () => {
  const nested = (depth: number): unknown => (depth === 0 ? 2 : { a: nested(depth - 1) });
  const slow = { id: 'n', type: 'transform', properties: { path: 'exists($.prev.**.**.**.**.**.**.**.** ? (@ == 3))' } };
  expect(await post('/slow', [slow], 'lastNode', nested(45))).toMatchObject({
    status: 500,
    body: { error: { code: 'EXPRESSION_TIMEOUT', node: 'n' } },
  });
  const node = { id: 'n', type: 'transform', properties: { path: '$.prev.**.a' } };
  expect(await post('/again', [node], 'lastNode', { a: 1 })).toMatchObject({ status: 200 });
});
