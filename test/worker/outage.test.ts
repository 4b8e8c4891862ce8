import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPool } from '../../src/database.ts';
import { type EmbeddedServer, startEmbedded } from '../../src/embedded.ts';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
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
  server = await startEmbedded({ folder, password: 'secret' });
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
  await expect.poll(() => held.length, { timeout: 15_000 }).toBe(1);
  await kill();
  target.answer = ({ response }) => response.end();
  held[0]?.();

  const statusOf = (id: string) =>
    intake.runAnswers([id]).then(
      ([run]) => run?.status,
      () => 'no answer',
    );
  await expect.poll(() => statusOf(runId), { timeout: 30_000 }).toBe('success');
  const { runId: next } = await start();
  await expect.poll(() => statusOf(next), { timeout: 30_000 }).toBe('success');
  expect(target.calls.map(({ key }) => key)).toEqual([`${runId}/one`, `${runId}/two`, `${next}/one`, `${next}/two`]);
}, 60_000);

/** The server starts again by itself. */
async function kill(): Promise<void> {
  const [pid] = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n');
  process.kill(Number(pid), 'SIGKILL');
}
