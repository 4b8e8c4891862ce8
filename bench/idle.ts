/**
 * Measures what an installation without work costs: `flowgres serve --work` as a separate process, its statements,
 * and the processor time of it and of the server.
 */
import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { startServe } from './hostile/installation.ts';
import type { Outcome } from './measure.ts';
import type { BenchServer } from './server.ts';

const SECONDS = Number(process.env['BENCH_IDLE_SECONDS'] ?? 60);
/** What a starting process does beside: schema of GraphQL, first connections, first passes of maintenance. */
const SETTLING_MS = 10_000;
/** Clock ticks a second in /proc/<pid>/stat; Linux reports 100 on all platforms that Node supports. */
const CLOCK_TICKS = 100;

/** Measures one idle process that serves and works. Linux only, since processor times are read from /proc. */
export async function measureIdle(server: BenchServer): Promise<Outcome[]> {
  const client = new pg.Client({ connectionString: server.adminUrl });
  await client.connect();
  const { child } = await startServe(server.adminUrl, '127.0.0.1:1');
  try {
    await delay(SETTLING_MS);
    const postmaster = await postmasterOf(client);
    const read = async () => ({
      transactions: await transactionsOf(client),
      server: await cpuOfServer(postmaster),
      process: await cpuSeconds(child.pid!),
    });
    const before = await read();
    await delay(SECONDS * 1_000);
    const after = await read();
    const perMinute = ((after.transactions - before.transactions) * 60) / SECONDS;
    const share = (name: 'server' | 'process') => ((after[name] - before[name]) / SECONDS) * 100;
    return [
      `Idle \`serve --work\`, ${SECONDS} s: ${Math.round(perMinute)} transactions a minute; ` +
        `${(share('server') + share('process')).toFixed(2)} % of a core: ` +
        `server ${share('server').toFixed(2)} %, process ${share('process').toFixed(2)} %.`,
    ];
  } finally {
    child.kill('SIGTERM');
    await client.end();
  }
}

/** Transactions of the database so far, without the one that asks. */
async function transactionsOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ transactions: number }>(
    `select (xact_commit + xact_rollback)::float8 as transactions from pg_stat_database where datname = current_database()`,
  );
  return rows[0]!.transactions;
}

async function postmasterOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return (await statOf(rows[0]!.pid)).parent;
}

/** Seconds of processor time of the postmaster, its children that live, and those that have ended. */
async function cpuOfServer(postmaster: number): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number);
  const stats = await Promise.all(pids.map((pid) => statOf(pid).catch(() => undefined)));
  const children = stats.filter((stat) => stat?.parent === postmaster);
  const own = await statOf(postmaster);
  return own.own + own.ended + children.reduce((sum, stat) => sum + (stat?.own ?? 0), 0);
}

async function cpuSeconds(pid: number): Promise<number> {
  return (await statOf(pid)).own;
}

async function statOf(pid: number): Promise<{ parent: number; own: number; ended: number }> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name of the program, in parentheses, may contain spaces.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const seconds = (...places: number[]) => places.reduce((sum, place) => sum + Number(fields[place]), 0) / CLOCK_TICKS;
  return { parent: Number(fields[1]), own: seconds(11, 12), ended: seconds(13, 14) };
}
