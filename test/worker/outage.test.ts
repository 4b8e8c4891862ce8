import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPool } from '../../src/database.ts';
import { type EmbeddedServer, startEmbedded } from '../../src/embedded.ts';
import { Engine, createEnginePool } from '../../src/engine.ts';
import { type LoginRole, roleUrl } from '../../src/roles.ts';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { TEST_SECRET, buildDatabase } from '../helpers/build.ts';
import type { TestDatabase } from '../helpers/database.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from './target.ts';

let folder: string;
let server: EmbeddedServer;
let worker: RunningWorker | undefined;
const pools: pg.Pool[] = [];
const target = new Target();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), `flowgres-test-${process.pid}-`));
  server = await startEmbedded({ folder, password: 'secret', port: await freePort() });
  await target.start();
});
afterAll(async () => {
  await worker?.stop();
  target.close();
  await Promise.all(pools.map((pool) => pool.end()));
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

test('when the database is killed in the middle of a step, its result is recorded once it is back', async () => {
  const adminUrl = await buildDatabase(server.url, 'outage');
  const url = (role: LoginRole) => roleUrl(adminUrl, TEST_SECRET, role);
  const pool = (name: string, connectionString: string) => {
    pools.push(createPool(connectionString, { name }));
    return pools.at(-1)!;
  };
  const api = pool('api', url('flowgres_api'));
  const db = { admin: pool('admin', adminUrl), pool: () => api } as unknown as TestDatabase;
  const organization = await createOrganization(db);
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one'), target.node('two')));
  const intakePool = createEnginePool(url('flowgres_intake'), 'intake');
  pools.push(intakePool);
  const intake = new Engine(intakePool);
  const start = () => intake.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input: {} });
  worker = await startWorker({ connectionString: url('flowgres_worker'), nodes: { httpAllow: [target.host] }, onProblem: () => undefined });

  const held: (() => void)[] = [];
  target.answer = ({ response }) => void held.push(() => response.end());
  const { runId } = await start();
  await expect.poll(() => held.length).toBe(1);
  await kill();
  await expect(start()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  target.answer = ({ response }) => response.end();
  held[0]?.();
  server = await startEmbedded({ folder, password: 'secret', port: Number(new URL(server.url).port) });

  await expect.poll(async () => (await intake.runAnswers([runId]))[0]?.status, { timeout: 20_000 }).toBe('success');
  const { runId: next } = await start();
  await expect.poll(async () => (await intake.runAnswers([next]))[0]?.status, { timeout: 20_000 }).toBe('success');
  expect(target.calls.map(({ key }) => key)).toEqual([`${runId}/one`, `${runId}/two`, `${next}/one`, `${next}/two`]);
}, 60_000);

async function kill(): Promise<void> {
  const [pid] = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n');
  process.kill(Number(pid), 'SIGKILL');
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
