/**
 * The hostile cells of public benchmarks of queues: runs of one effect step a second before, during and after a
 * transaction that is held open, two long readers, and five kills of workers. BENCH_CELL_SECONDS (180) is how long
 * each of these lasts; a third of it is measured before and after.
 */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createPool } from '../src/database/connections.ts';
import { Engine, createEnginePool } from '../src/engine/engine.ts';
import type { Outcome } from './measure.ts';
import type { BenchServer } from './server.ts';
import { killChild, startChild, working } from './worker_child.ts';

const SECONDS = Number(process.env['BENCH_CELL_SECONDS'] ?? 180);
const AROUND = SECONDS / 3;
const CALLERS = 64;
const KILLS = 5;
/** Starts pause while so many runs are unfinished, so that a slow worker shows as fewer runs, not as a backlog. */
const MAX_OPEN = 400;

/** What is done to the installation while its throughput is measured. */
type Attack = (workers: ChildProcess[]) => Promise<() => Promise<unknown>>;

/** Measures the cells. */
export async function* measureCells(server: BenchServer): AsyncGenerator<Outcome> {
  const url = server.url('flowgres_worker');
  const session = async (statement: string) => {
    const client = new pg.Client({ connectionString: server.adminUrl });
    await client.connect();
    await client.query('begin isolation level repeatable read');
    await client.query(statement);
    return client;
  };
  const cells: [string, Attack][] = [
    [
      `a transaction held open for ${SECONDS} s`,
      async () => {
        // With an id, as one that has written: vacuum keeps every row version since.
        const client = await session('select pg_current_xact_id()');
        return () => client.end();
      },
    ],
    [
      `two readers of the log for ${SECONDS} s`,
      async () => {
        let reading = true;
        const readers = await Promise.all([1, 2].map(() => session('select 1')));
        const done = readers.map(async (client) => {
          while (reading) await client.query('select count(*), sum(length(payload::text)) from workflow_events');
          await client.end();
        });
        return async () => {
          reading = false;
          await Promise.all(done);
        };
      },
    ],
    [
      `five kills of one of two workers within ${SECONDS} s`,
      async (workers) => {
        const stopped = new AbortController();
        const killing = (async () => {
          for (let kill = 0; kill < KILLS && !stopped.signal.aborted; kill += 1) {
            await killChild(workers[kill % 2]!);
            workers[kill % 2] = await working(startChild(url));
            await delay((SECONDS * 1_000) / KILLS, undefined, { signal: stopped.signal }).catch(() => undefined);
          }
        })();
        return async () => {
          stopped.abort();
          await killing;
        };
      },
    ],
  ];
  for (const [name, attack] of cells) yield await measureCell(server, name, attack);
}

async function measureCell(server: BenchServer, name: string, attack: Attack): Promise<string> {
  const url = server.url('flowgres_worker');
  const workflowId = await server.publish(`cell ${Math.random()}`, [
    { id: 'start', type: 'apiTrigger' },
    { id: 'step', type: 'benchStep' },
  ]);
  const admin = createPool(server.adminUrl, { name: 'bench', max: 2 });
  const pool = createEnginePool(url, 'bench starts', 4);
  const engine = new Engine(pool);
  const workers = await Promise.all([1, 2].map(() => working(startChild(url))));
  const openRuns = async () => Number((await admin.query('select count(*) from engine.open_steps')).rows[0].count);
  let started = 0;
  let open = 0;
  let running = true;
  const watching = (async () => {
    while (running) {
      open = await openRuns();
      await delay(50);
    }
  })();
  const callers = Array.from({ length: CALLERS }, async () => {
    while (running) {
      if (open > MAX_OPEN) await delay(10);
      else {
        await engine.startRun({ organizationId: server.organizationId, workflowId, mode: 'api', input: {} });
        started += 1;
      }
    }
  });
  /** Runs that ended in a second, over so many seconds. */
  const throughput = async (seconds: number) => {
    const [before, at] = [started - (await openRuns()), performance.now()];
    await delay(seconds * 1_000);
    return ((started - (await openRuns()) - before) * 1_000) / (performance.now() - at);
  };
  await delay(3_000);
  const before = await throughput(AROUND);
  const end = await attack(workers);
  const during = await throughput(SECONDS);
  await end();
  const after = await throughput(AROUND);
  running = false;
  await Promise.all([...callers, watching]);
  while ((await openRuns()) > 0) await delay(50);
  await Promise.all(workers.map(killChild));
  await Promise.all([pool.end(), admin.end()]);
  const share = (rate: number) => `${Math.round(rate)} (${(rate / before).toFixed(2)})`;
  return `Runs of one effect step a second, ${name}: before ${Math.round(before)}, during ${share(during)}, after ${share(after)}; all ${started} ended.`;
}
