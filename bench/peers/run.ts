/**
 * `npm run bench:peers`: compares Flowgres with other engines, one after the other on the same embedded server,
 * each with the concurrency that suits it. Durability is on. Only ratios within one run are meaningful.
 *
 * BENCH_SCALE (1) multiplies the number of runs of each case; `npm run bench:peers -- Flowgres 'DBOS, queue'`
 * runs some engines. An engine that cannot run is listed with the reason.
 */
import { cpus } from 'node:os';
import { createPool, withDatabase } from '../../src/database/connections.ts';
import { percentiles, written } from '../measure.ts';
import { type BenchServer, SETTINGS, startBench } from '../server.ts';
import { Child, callEngine } from './call.ts';
import type { Setup, Work } from './engine.ts';
import { type Figures, print, printComparison } from './report.ts';

const SCALE = Number(process.env['BENCH_SCALE'] ?? 1);
const SAMPLES = Math.ceil(200 * Math.min(1, SCALE));
/** Runs per case: enough to keep the engine busy for some seconds. */
const ENGINES: Record<string, number> = {
  Flowgres: 20_000,
  'DBOS, queue': 1000,
  'DBOS, direct': 1000,
  Absurd: 2000,
  'graphile-worker': 5000,
};
const WORKS: Work[] = [
  { kind: 'effect', steps: 1 },
  { kind: 'effect', steps: 5 },
  // Shows what code between two steps costs where it need not be a step.
  { kind: 'pure', steps: 0 },
  { kind: 'pure', steps: 5 },
  { kind: 'pure', steps: 20 },
];
/** Runs in flight when the process is killed, milliseconds of each step, and the longest wait for the end. */
const CRASH = { runs: 50, stepMs: 200, work: { kind: 'effect', steps: 5 } satisfies Work, killAfterMs: 500, patienceMs: 60_000 };

const server = await startBench();
const admin = createPool(server.adminUrl, { name: 'bench', max: 2 });
try {
  const { rows } = await admin.query<{ version: string }>(`select current_setting('server_version') as version`);
  console.log(`PostgreSQL ${rows[0]!.version}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}`);
  console.log(
    Object.entries(SETTINGS)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
  );
  const all = new Map<string, Figures>();
  const wanted = process.argv.slice(2);
  for (const name of Object.keys(ENGINES)) {
    if (wanted.length && !wanted.includes(name)) continue;
    const figures = await measure(name).catch((error: unknown) => {
      console.log(`not run: ${name} (${error instanceof Error ? error.message.split('\n')[0] : error})`);
    });
    if (figures) all.set(name, figures);
  }
  printComparison(all);
} finally {
  await admin.end();
  await server.stop();
}
process.exit(0);

async function measure(name: string): Promise<Figures> {
  const setup = await prepare(name);
  const unfinished = await callEngine<string | undefined>(name, 'install', [setup]);
  const figures: Figures = {};
  const note = (what: string, value: number, unit: string) => {
    figures[what] = value;
    print(name, what, value, unit);
  };
  for (const work of WORKS) {
    const label = `${work.steps || 'no'} ${work.kind === 'pure' ? 'pure node' : 'effect step'}${work.steps === 1 ? '' : 's'}`;
    const ready = { ...setup, ...(name === 'Flowgres' ? { workflowId: await publish(server, work) } : {}) };
    const runs = Math.ceil((ENGINES[name]! * SCALE) / Math.max(1, work.steps / 2));
    const {
      value: seconds,
      wal,
      transactions,
    } = await written(admin, async () => {
      await callEngine(name, 'fill', [ready, work, runs]);
      return callEngine<number>(name, 'drain', [ready, work, runs]);
    });
    note(`${label}, drained: runs a second`, runs / seconds, '/s');
    note(`${label}: WAL of a run, start included`, wal / runs / 1024, 'kB');
    note(`${label}: transactions that write, of a run`, transactions / runs, '');
    const { p50, p95 } = percentiles(await callEngine<number[]>(name, 'latency', [ready, work, SAMPLES]));
    note(`${label}, idle system: p50`, p50, 'ms');
    note(`${label}, idle system: p95`, p95, 'ms');
  }
  if (unfinished) note('resumed after kill -9', await crash(name, setup, unfinished), 's');
  return figures;
}

/**
 * Measures seconds from the kill of a process with runs in flight until all have ended; another process is
 * started at once.
 */
async function crash(name: string, setup: Setup, unfinished: string): Promise<number> {
  const ready = {
    ...setup,
    stepMs: CRASH.stepMs,
    ...(name === 'Flowgres' ? { workflowId: await publish(server, CRASH.work) } : {}),
  };
  const pool = createPool(setup.databaseUrl, { name: 'bench crash', max: 1 });
  await callEngine(name, 'fill', [ready, CRASH.work, CRASH.runs]);
  const victim = new Child(name, 'drain', [ready, CRASH.work, CRASH.runs]);
  await victim.working;
  await new Promise((resolve) => setTimeout(resolve, CRASH.killAfterMs));
  victim.kill();
  const killedAt = performance.now();
  const successor = new Child(name, 'drain', [ready, CRASH.work, CRASH.runs]);
  let seconds = 0;
  for (;;) {
    const { rows } = await pool.query<{ count: number }>(unfinished);
    seconds = (performance.now() - killedAt) / 1000;
    if (rows[0]!.count === 0) break;
    if (seconds * 1000 > CRASH.patienceMs) {
      seconds = Number.POSITIVE_INFINITY;
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  successor.kill();
  await pool.end();
  return seconds;
}

async function prepare(name: string): Promise<Setup> {
  if (name === 'Flowgres') return { databaseUrl: server.adminUrl, organizationId: server.organizationId };
  const database = `peer_${name.toLowerCase().replaceAll(/\W+/g, '_')}`;
  await admin.query(`create database ${database}`);
  return { databaseUrl: withDatabase(server.adminUrl, database) };
}

/** Publishes a trigger and `steps` successive nodes. Pure nodes read and change the data. */
async function publish(to: BenchServer, { kind, steps }: Work): Promise<string> {
  const pure = (index: number) =>
    [
      { type: 'set', properties: { assign: { net: '{{ $.prev.total }}', currency: 'EUR' } } },
      { type: 'if', properties: { when: '$.input.total > 100' } },
      { type: 'set', properties: { assign: { size: 'big', total: 120 } } },
      { type: 'transform', properties: { template: { id: '{{ $.input.id }}', total: 120, label: 'Order {{ $.input.id }}' } } },
    ][index % 4]!;
  const nodes = Array.from({ length: steps }, (_, index) => ({
    id: `node${index + 1}`,
    ...(kind === 'pure' ? pure(index) : { type: 'benchStep' }),
  }));
  return to.publish(`${steps} ${kind} ${Math.random()}`, [{ id: 'start', type: 'apiTrigger' }, ...nodes]);
}
