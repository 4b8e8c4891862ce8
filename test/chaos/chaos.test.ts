/**
 * `npm run chaos`: a small installation under load, and everything that can go wrong going wrong at once.
 *
 * CHAOS_PROFILE=soak strikes for 30 minutes instead of four, with more faults; CHAOS_SEED repeats the seed that a run
 * has printed. CHAOS_FAULTS=F10,F12 strikes with these only, CHAOS_SECONDS=120 for so long.
 */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { withDatabase } from '../../src/database/connections.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { type DurableServer, startDurable } from '../helpers/durable.ts';
import { createOrganization, publishWorkflow, type TestOrganization } from '../helpers/factory.ts';
import { Client, type Hook } from './client.ts';
import { Dice } from './dice.ts';
import { FAULTS, type Fault, type World, installFailures } from './faults.ts';
import { Machine } from './machine.ts';
import { Supervised, freePort } from './processes.ts';
import { BadNetwork } from './bad_network.ts';
import { Target } from './target.ts';
import { verify } from './verify.ts';
import { EXPECTED_ERRORS, POISONOUS, TICKING, workflows } from './workflows.ts';

const PROFILES = {
  ci: { seconds: 175, perSecond: 50, patience: 20, killedWorkers: 30, killedDatabases: 10, accepted: 6_000 },
  soak: { seconds: 1_800, perSecond: 60, patience: 90, killedWorkers: 200, killedDatabases: 80, accepted: 80_000 },
};
/** On a slow machine the load goes on until enough has happened, at most so much longer. */
const MOST_PATIENCE = 2.5;
const TENANTS = 20;
const RETRY_SECONDS = 1;
/** Rules of runs that started longer ago have been looked at several times. */
const WATCHED = "interval '1 minute'";
const isSoak = process.env['CHAOS_PROFILE'] === 'soak';
const chosen = process.env['CHAOS_FAULTS']?.split(',');
const profile = chosenProfile();
const seed = Number(process.env['CHAOS_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const compileCache = join(tmpdir(), `flowgres-chaos-cache-${process.pid}`);
const workerScript = fileURLToPath(new URL('worker.ts', import.meta.url));

const faults = FAULTS.filter(({ id, soak }) => (chosen ? chosen.includes(id) : isSoak || !soak));
const machine = new Machine();
const target = new Target(new Dice(seed, 'target'), () => machine.now());
const processes: Supervised[] = [];
const trouble: string[] = [];
let server: DurableServer;
let network: BadNetwork;
let organizations: TestOrganization[];
let world: World;
let bases: string[];

/** What a run of its own length, or with a choice of faults, must at least have done nobody can say. */
function chosenProfile(): (typeof PROFILES)['ci'] {
  const whole = PROFILES[isSoak ? 'soak' : 'ci'];
  const seconds = Number(process.env['CHAOS_SECONDS'] ?? whole.seconds);
  return chosen || seconds < whole.seconds ? { ...whole, seconds, killedWorkers: 0, killedDatabases: 0, accepted: 1 } : whole;
}

beforeAll(async () => {
  console.log(`chaos: seed ${seed}, ${profile.seconds} s`);
  await machine.prepare(new Set(faults.map(({ needs }) => needs)));
  const start = () => startDurable('chaos', { folder: machine.disk?.folder, environment: machine.clock?.environment ?? {} });
  server = await start();
  if (!(await machine.isFit(server.db.admin))) {
    await server.stop();
    server = await start();
  }
  await target.start();
  network = new BadNetwork(Number(new URL(server.db.adminUrl).port));
  await network.start();
  await server.db.admin.query(`insert into engine.node_types (name, version, kind, ports, inputs, properties, description)
    select 'poison', 1, 'effect', ports, inputs, '{"type": "object"}', 'Kills its worker.' from engine.node_types where name = 'log'`);
  const hooks: Hook[] = [];
  organizations = [];
  for (let tenant = 0; tenant < TENANTS; tenant += 1) {
    const organization = await createOrganization(server.db, `Tenant ${tenant}`);
    organizations.push(organization);
    for (const { name, share, ...definition } of workflows(target.host)) {
      await publishWorkflow(organization, definition, name);
      for (let copy = 0; copy < share; copy += 1) hooks.push({ path: `/hooks/${organization.webhookKey}/${name}` });
    }
  }
  const poison = await publishWorkflow(organizations[0]!, POISONOUS, 'poison');
  await publishWorkflow(organizations[0]!, TICKING, 'ticking');
  await installFailures(server.db.admin);
  server.db.admin.on('error', () => undefined);

  const url = new URL(withDatabase(server.db.adminUrl, 'chaos'));
  url.port = String(network.port);
  const run = (name: string, script: string[], port: number) => {
    const environment = {
      DATABASE_URL: url.href,
      FLOWGRES_SECRET: TEST_SECRET,
      FLOWGRES_HTTP_ALLOW: target.host,
      FLOWGRES_CONCURRENCY: '16',
      PORT: String(port),
      // A process that is killed every few seconds spends them on starting.
      NODE_COMPILE_CACHE: compileCache,
    };
    const started = new Supervised({ name, script, environment, onOutput: (line) => trouble.push(`${name}: ${line}`) });
    processes.push(started);
    return started;
  };
  const ports = [await freePort(), await freePort()];
  const both = run('api 1, working as well', [workerScript, 'serve'], ports[0]!);
  run('api 2', [main, 'serve'], ports[1]!);
  const workers = [run('worker 1', [workerScript], 0), run('worker 2', [workerScript], 0)];
  bases = ports.map((port) => `http://127.0.0.1:${port}`);
  await vi.waitFor(async () => expect(await Promise.all(bases.map(isReady))).toEqual([true, true]), { timeout: 90_000, interval: 200 });

  const client = new Client('order', bases, hooks, new Dice(seed, 'client'));
  const startPoison = async () => {
    await organizations[0]!.user.query('select start_workflow_run($1)', [poison.id]);
  };
  world = { server, network, workers, both, client, hooks, patience: profile.patience, machine, broken: [], startPoison };
}, 240_000);

afterAll(async () => {
  await Promise.all(processes.map((each) => each.stop()));
  network?.close();
  target.close();
  await server?.stop();
  await machine.release();
  await rm(compileCache, { recursive: true, force: true });
}, 120_000);

async function isReady(base: string): Promise<boolean> {
  const answer = await fetch(`${base}/readyz`, { signal: AbortSignal.timeout(2_000) }).catch(() => null);
  return answer?.ok ?? false;
}

const strikes: Record<string, number> = {};

function hasDoneEnough(): boolean {
  return (
    world.client.accepted.size >= profile.accepted &&
    (strikes['F1'] ?? 0) >= profile.killedWorkers &&
    (strikes['F3'] ?? 0) >= profile.killedDatabases &&
    Object.values(strikes).every((count) => count > 0)
  );
}

/** The end of the load. */
function whenEnough(): AbortSignal {
  const end = new AbortController();
  const started = performance.now();
  const looking = setInterval(() => {
    const seconds = (performance.now() - started) / 1_000;
    if (seconds < profile.seconds || (seconds < profile.seconds * MOST_PATIENCE && !hasDoneEnough())) return;
    clearInterval(looking);
    end.abort();
  }, 200);
  return end.signal;
}

/** Lets a fault strike again and again; one that does not get through, because another was faster, is tried again soon. */
async function strikeUntil(end: AbortSignal, fault: Fault): Promise<void> {
  const dice = new Dice(seed, fault.id);
  const last = fault.aftermath === undefined ? Infinity : performance.now() + (profile.seconds - fault.aftermath) * 1_000;
  strikes[fault.id] = 0;
  for (let wait = dice.between(...fault.every); ; ) {
    await delay(wait * 1_000, undefined, { signal: end }).catch(() => undefined);
    if (end.aborted || (performance.now() > last && strikes[fault.id])) return;
    try {
      await fault.strike(world, dice);
      strikes[fault.id]! += 1;
      wait = dice.between(...fault.every);
    } catch (error) {
      console.log(`  ${fault.id} did not get through: ${error}`);
      wait = RETRY_SECONDS;
    }
  }
}

/** Rules that hold at every moment, looked at every ten seconds. */
async function watchRules(end: AbortSignal): Promise<unknown[]> {
  const broken: unknown[] = [];
  while (!end.aborted) {
    await delay(10_000, undefined, { signal: end }).catch(() => undefined);
    const answer = await server.db.admin.query(`select * from monitor.broken_logs(engine.now() - ${WATCHED})`).catch(() => null);
    broken.push(...(answer?.rows ?? []));
    console.log(`  ${world.client.accepted.size} accepted, ${target.calls.length} calls, ${JSON.stringify(strikes)}`);
  }
  return broken;
}

async function unfinished(): Promise<number | undefined> {
  const answer = await server.db.admin
    .query<{ count: number }>('select count(*)::int as count from workflow_runs where finished_at is null')
    .catch(() => null);
  return answer?.rows[0]?.count;
}

test(
  'under every fault at once, no accepted run is lost, none is doubled, and no result is recorded twice',
  async () => {
    const { client } = world;
    const end = whenEnough();
    const ready = faults.filter(({ needs }) => !needs || machine[needs]);
    const striking = ready.map((fault) => strikeUntil(end, fault));
    const watching = watchRules(end);
    // Until the last strike is over: some look for themselves whether all is well again.
    const struck = new AbortController();
    await Promise.all([client.offer(profile.perSecond, struck.signal), Promise.all(striking).finally(() => struck.abort())]);
    const loaded = performance.now();
    network.loseAnswers(() => false);
    await client.settle();
    expect(await watching).toEqual([]);
    await expect.poll(unfinished, { timeout: 240_000, interval: 1_000 }).toBe(0);
    const drained = performance.now();

    const nodes = ['first', 'second', 'left', 'right', 'one', 'two', 'piece', 'last'];
    const verdict = await verify(server.db.admin, client.accepted, target.calls, nodes);
    console.log(
      `chaos: ${client.offered.size} offered, ${client.accepted.size} accepted, ${verdict.runs} runs, ${verdict.lost.length} lost, ` +
        `${verdict.doubled.length} doubled, ${target.calls.length} calls, ${client.unanswered} requests made again, ` +
        `${network.lostAnswers} answers lost; all done ${Math.round((drained - loaded) / 1_000)} s after the load; ends: ${JSON.stringify(verdict.statuses)}; strikes: ${JSON.stringify(strikes)}` +
        (machine.missing.length ? `; NOT STRUCK: ${machine.missing.join(', ')}` : ''),
    );
    expect(world.broken).toEqual([]);
    expect(new Set(client.accepted.keys())).toEqual(client.offered);
    expect(verdict).toMatchObject({ lost: [], doubled: [], invented: [], late: [], mistimed: [], broken: [] });
    expect(Object.keys(verdict.statuses).filter((each) => ![...EXPECTED_ERRORS, 'success'].includes(each))).toEqual([]);
    expect(client.accepted.size).toBeGreaterThanOrEqual(profile.accepted);
    expect(
      ready.filter(({ id }) => !strikes[id]).map(({ id }) => id),
      'faults that never struck',
    ).toEqual([]);
    // More than were struck, as the answer to a start may have been lost.
    expect(verdict.poisoned.length).toBeGreaterThanOrEqual(strikes['F15'] ?? 0);
    expect(verdict.poisoned.filter((status) => status !== 'POISON')).toEqual([]);
    expect(strikes['F1'] ?? 0).toBeGreaterThanOrEqual(profile.killedWorkers);
    expect(strikes['F3'] ?? 0).toBeGreaterThanOrEqual(profile.killedDatabases);
    expect(
      processes.filter(({ surrenders }) => surrenders > 0).map(({ name }) => name),
      trouble.slice(-20).join(''),
    ).toEqual([]);
  },
  (profile.seconds * MOST_PATIENCE + 600) * 1_000,
);

/** F22. The supervisor takes a process out of rotation, then stops it, as every orchestrator does. */
test('a rolling restart, ten times, fails no request', async () => {
  const rolling = new Client('rolling', bases, world.hooks, new Dice(seed, 'rolling'));
  const end = new AbortController();
  const offering = rolling.offer(profile.perSecond, end.signal);
  for (let restart = 0; restart < 10; restart += 1) {
    const place = restart % bases.length;
    rolling.rotation = bases.filter((_, index) => index !== place);
    processes[place]!.signal('SIGTERM');
    world.workers[place]!.signal('SIGTERM');
    await expect.poll(() => isReady(bases[place]!), { timeout: 60_000, interval: 100 }).toBe(false);
    await expect.poll(() => isReady(bases[place]!), { timeout: 60_000, interval: 100 }).toBe(true);
    rolling.rotation = [...bases];
  }
  end.abort();
  await offering;
  await rolling.settle();
  expect(rolling.accepted.size).toBeGreaterThan(profile.perSecond);
  expect(rolling.unanswered).toBe(0);
  await expect.poll(unfinished, { timeout: 120_000, interval: 500 }).toBe(0);
}, 600_000);
