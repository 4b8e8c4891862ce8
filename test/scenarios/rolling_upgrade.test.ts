/** An upgrade under load: the old worker goes on, the new one joins it, the old one leaves; no run is lost or doubled. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { writeSources } from '../../tools/released.ts';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { BUILD_FOLDER } from '../../src/database/sources.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { changedFiles } from '../helpers/builds.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from '../worker/target.ts';

/** Runs that are under way at any time. */
const CALLERS = 4;
/** Runs that must have ended in each phase of the upgrade: before, with both workers, with the new one alone. */
const RUNS_PER_PHASE = 40;

const COMPLETE = '50_engine/steps/complete.sql';
/** The next release: a column more on the table of runs, and another body of a function that every step goes through. */
const NEXT = {
  version: '99.0.0',
  edit: {
    [`sql/${COMPLETE}`]: (text: string) => text.replace(/^begin$/m, `begin\n  perform set_config('flowgres.next', 'yes', true);`),
  },
  migrations: ['set local role flowgres_owner;\nalter table public.workflow_runs add column color text;\nreset role;'],
};

test('runs in flight survive a rolling upgrade', async () => {
  const db = await createTestDatabase();
  const { admin } = db;
  const target = await new Target().start();
  onTestFinished(() => target.close());
  target.answer = ({ response }) => response.end('{}');
  const environment = { DATABASE_URL: db.adminUrl, FLOWGRES_SECRET: TEST_SECRET, FLOWGRES_HTTP_ALLOW: target.host };
  const organization = await createOrganization(db);
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one'), target.node('two')));
  const next = await nextRelease();

  const old = await startWorker(BUILD_FOLDER, environment);
  const load = startLoad(db.url('flowgres_intake'), organization.id, workflow.id);
  const finished = async () => (await admin.query(`select from workflow_runs where status = 'success'`)).rowCount!;
  const moreRuns = async () => {
    const wanted = (await finished()) + RUNS_PER_PHASE;
    await expect.poll(finished, { timeout: 60_000 }).toBeGreaterThanOrEqual(wanted);
  };
  await moreRuns();

  // The schema goes first, under load; the old worker is as ready as before.
  expect(await finish(next, ['migrate'], environment)).toMatchObject({ code: 0 });
  expect(await old.readiness()).toEqual({ status: 200, problems: [] });
  const young = await startWorker(next, environment);
  expect(await young.readiness()).toEqual({ status: 200, problems: [] });
  await moreRuns();
  expect(await old.readiness()).toEqual({ status: 200, problems: [] });
  old.child.kill('SIGTERM');
  await once(old.child, 'close');
  await moreRuns();

  // What of the load was accepted has ended, once each, and every effect has happened under the one key it has.
  const accepted = await load.stop();
  const unfinished = async () => (await admin.query('select from workflow_runs where finished_at is null')).rowCount;
  await expect.poll(unfinished, { timeout: 60_000 }).toBe(0);
  const { rows: runs } = await admin.query<{ id: string; status: string; color: null }>('select id, status, color from workflow_runs');
  expect(runs.map(({ id }) => id).toSorted()).toEqual(accepted.toSorted());
  expect(runs.filter(({ status }) => status !== 'success')).toEqual([]);
  expect([...new Set(target.calls.map(({ key }) => key))].toSorted()).toEqual(
    accepted.flatMap((id) => [`${id}/one`, `${id}/two`]).toSorted(),
  );
  const { rows } = await admin.query<{ body: string }>(`select string_agg(prosrc, '') as body from pg_proc where prosrc ~ 'flowgres.next'`);
  expect(rows[0]!.body).toContain(`set_config('flowgres.next'`);
  // The old release may not come back over the new one.
  expect(await finish(BUILD_FOLDER, ['migrate'], environment)).toMatchObject({
    code: 1,
    output: expect.stringMatching(/newer than this build/),
  });
}, 180_000);

/** A checkout of the next release. */
async function nextRelease(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-next-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await cp(join(BUILD_FOLDER, 'src'), join(folder, 'src'), { recursive: true });
  await symlink(join(BUILD_FOLDER, 'node_modules'), join(folder, 'node_modules'), 'dir');
  writeSources(folder, changedFiles(NEXT));
  return folder;
}

function run(folder: string, args: string[], environment: Record<string, string>): { child: ChildProcess; output(): string } {
  const child = spawn(process.execPath, [join(folder, 'src/main.ts'), ...args], {
    env: { ...process.env, HOST: '127.0.0.1', PORT: '0', ...environment },
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'close');
  });
  return { child, output: () => text };
}

async function finish(folder: string, args: string[], environment: Record<string, string>) {
  const { child, output } = run(folder, args, environment);
  const [code] = (await once(child, 'close')) as [number];
  return { code, output: output() };
}

async function startWorker(folder: string, environment: Record<string, string>) {
  const { child, output } = run(folder, ['work'], environment);
  const url = await vi.waitUntil(() => /http:[^"\s]+/.exec(output())?.[0], { timeout: 60_000, interval: 50 });
  const readiness = async () => {
    const response = await fetch(`${url}/readyz`);
    const { problems } = (await response.json()) as { problems: string[] };
    return { status: response.status, problems };
  };
  await expect.poll(async () => (await readiness()).status, { timeout: 60_000 }).toBe(200);
  return { child, readiness };
}

/** Starts runs one after the other, each caller for itself, until it is stopped. Returns the ids of those accepted. */
function startLoad(connectionString: string, organizationId: string, workflowId: string): { stop(): Promise<string[]> } {
  const pool = createEnginePool(connectionString, 'load');
  const engine = new Engine(pool);
  const accepted: string[] = [];
  let isStopped = false;
  const caller = async (name: string) => {
    for (let number = 0; !isStopped; number += 1) {
      const request = { organizationId, workflowId, mode: 'api' as const, input: {}, key: `${name}-${number}` };
      accepted.push((await engine.startRun(request)).runId);
      await delay(20);
    }
  };
  const callers = Promise.all(Array.from({ length: CALLERS }, (_, index) => caller(`caller ${index}`)));
  const stop = async () => {
    isStopped = true;
    await callers.finally(() => pool.end());
    return accepted;
  };
  return { stop };
}
