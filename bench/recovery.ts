/**
 * Measures how long the steps of a worker stay where they are after it is lost: until another worker has begun all of
 * them. BENCH_KILLS (10) is the number of losses of each kind.
 */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { createPool } from '../src/database/connections.ts';
import { BadNetwork } from '../test/chaos/bad_network.ts';
import type { Outcome } from './measure.ts';
import type { BenchServer } from './server.ts';
import { killChild, startChild, working } from './worker_child.ts';

const KILLS = Number(process.env['BENCH_KILLS'] ?? 10);
/** Cutting the network takes 20 s each time. */
const CUTS = Math.min(3, KILLS);
const RUNS = 50;
/** Longer than any recovery: no step ends by itself meanwhile. */
const STEP_MS = 60_000;

/** A worker that holds steps, and what makes it go. */
interface Victim {
  child: ChildProcess;
  lose(): Promise<void>;
  close(): void;
}

/** Measures recovery after a kill with another worker at hand, after a kill with one started then, and after a cut. */
export async function measureRecovery(server: BenchServer): Promise<Outcome[]> {
  const admin = createPool(server.adminUrl, { name: 'bench', max: 2 });
  const url = server.url('flowgres_worker');
  const workflowId = await server.publish('recovery', [
    { id: 'start', type: 'apiTrigger' },
    { id: 'step', type: 'benchStep' },
  ]);
  const batch = JSON.stringify(Array.from({ length: RUNS }, () => ({ organizationId: server.organizationId, workflowId, input: {} })));
  const killed = async (): Promise<Victim> => {
    const child = await working(startChild(url, STEP_MS));
    return { child, lose: () => killChild(child), close: () => undefined };
  };
  const cut = async (): Promise<Victim> => {
    const network = new BadNetwork(Number(new URL(url).port));
    await network.start();
    const through = new URL(url);
    through.port = String(network.port);
    const child = await working(startChild(through.href, STEP_MS));
    return { child, lose: async () => network.silence(true), close: () => network.close() };
  };
  const measure = async (times: number, makeVictim: () => Promise<Victim>, survives: boolean) => {
    const seconds: number[] = [];
    for (let round = 0; round < times; round += 1) {
      const victim = await makeVictim();
      await admin.query('select from engine.start_runs($1)', [batch]);
      await untilBegun(admin, 1);
      let other = survives ? await working(startChild(url, STEP_MS)) : undefined;
      // Somewhere between two heartbeats.
      await delay(Math.random() * 2_500);
      await victim.lose();
      const lostAt = performance.now();
      other ??= startChild(url, STEP_MS);
      await untilBegun(admin, 2);
      seconds.push((performance.now() - lostAt) / 1_000);
      victim.close();
      await Promise.all([killChild(victim.child), killChild(other)]);
      await admin.query('delete from engine.workers; delete from workflow_events; delete from workflow_runs');
      await admin.query('delete from graphile_worker._private_jobs');
    }
    return seconds.toSorted((a, b) => a - b);
  };
  await admin.query(`set flowgres.purge = 'on'`);
  const line = (what: string, sorted: number[]) =>
    `Resumed after ${what}, ${sorted.length} × ${RUNS} steps: median ${sorted[Math.floor(sorted.length / 2)]!.toFixed(1)} s, most ${sorted.at(-1)!.toFixed(1)} s.`;
  try {
    return [
      line('kill -9 of a worker beside another one', await measure(KILLS, killed, true)),
      line('kill -9 of the only worker, another one started at once', await measure(KILLS, killed, false)),
      line('a cut of the network of a worker beside another one', await measure(CUTS, cut, true)),
    ];
  } finally {
    await admin.end();
  }
}

/** Resolves when every step runs in its nth attempt. */
async function untilBegun(admin: pg.Pool, attempt: number): Promise<void> {
  const begun = `select count(*)::int as count from engine.open_steps where state = 'running' and attempt = $1`;
  while ((await admin.query<{ count: number }>(begun, [attempt])).rows[0]!.count < RUNS) await delay(20);
}
