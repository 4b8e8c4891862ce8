/**
 * flowgres archive and flowgres restore, killed at one step after the other: the process or the backend, with kill -9.
 * FLOWGRES_TEST_EVERY_STEP=1 leaves no step out, FLOWGRES_TEST_THOROUGH=1, as in `.ci/run`, fewer than usual.
 */
import { watch } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { contentOf, fillMonths } from '../helpers/archive.ts';
import { runCli, temporaryFolder } from '../helpers/cli.ts';
import { type DurableServer, startDurable } from '../helpers/durable.ts';
import { type Victim, startKiller } from '../helpers/killer.ts';
import { lines } from '../helpers/partitions.ts';
import { rounds } from '../helpers/rounds.ts';

/** How many steps apart the kills are; a server that recovers takes a second. */
const STRIDE = process.env['FLOWGRES_TEST_EVERY_STEP'] ? { client: 1, backend: 1 } : { client: rounds(12, 4), backend: rounds(18, 9) };
const MONTH = 'workflow_runs_y2025m01';
let server: DurableServer;
let before: string[];

beforeAll(async () => {
  server = await startDurable('archive_kills', { unchecked: true });
  await fillMonths(server.db);
  before = await contentOf(server.db);
}, 60_000);
afterAll(() => server.stop());

const environment = (url: string) => ({ DATABASE_URL: url, FLOWGRES_SECRET: TEST_SECRET });

/** Runs a command; at the n-th message to the server the victim dies. Says whether it did, and how the command ended. */
async function runUntil(args: string[], step: number, victim: Victim): Promise<{ killed: boolean; code: number | null; output: string }> {
  let killed = false;
  // PostgreSQL ends every connection when one of its backends was killed.
  const witness = await connect(server.db.adminUrl);
  const restarted = new Promise((resolve) => witness.once('end', resolve));
  const killer = await startKiller(server.db.adminUrl, step, (pid) => {
    killed = true;
    process.kill(victim === 'client' ? cli.child.pid! : pid, 'SIGKILL');
  });
  const cli = runCli(args, environment(killer.url));
  const code = await cli.exited;
  killer.close();
  if (killed && victim === 'backend') {
    await restarted;
    await vi.waitFor(() => server.db.admin.query('select'), { timeout: 20_000, interval: 50 });
  }
  await witness.end();
  // Whoever lost the connection says so in one line, not with a stack.
  if (killed && victim === 'backend' && code !== 0) {
    expect(cli.output()).toMatch(/^flowgres: .*(connection|Cannot connect)/m);
    expect(cli.output()).not.toMatch(/^ +at /m);
  }
  return { killed, code, output: cli.output() };
}

/** Kills the command at its first step, then at a later one, and so on, until it comes to its end. Returns the number of kills. */
async function killOnAndOn(args: string[], victim: Victim): Promise<number> {
  for (let step = 1, kills = 0; ; step += STRIDE[victim], kills += 1) {
    const { killed, code, output } = await runUntil(args, step, victim);
    if (killed) continue;
    expect(code, output).toBe(0);
    return kills;
  }
}

const nothingIsLeft = async () => {
  expect(await lines(server.db, `select relname from pg_class where relname ~ '_y2025m01' and relkind = 'r'`)).toEqual([]);
  expect(await lines(server.db, 'select name from partitions.retirements')).toEqual([]);
};

test.each([
  ['client', 'csv'],
  ['backend', 'ndjson'],
] as const)(
  'when the %s is killed again and again, a month still leaves for %s and comes back, whole and once',
  async (victim, format) => {
    const to = await temporaryFolder();
    const kills = await killOnAndOn(['archive', '--period', '2025-01', '--to', to, '--format', format], victim);
    expect(kills).toBeGreaterThan(1);
    await nothingIsLeft();
    const files = await readdir(join(to, MONTH));
    expect(files.filter((file) => file.endsWith('.partial'))).toEqual([]);
    expect(files).toHaveLength(4);

    expect(await killOnAndOn(['restore', join(to, MONTH)], victim)).toBeGreaterThan(1);
    expect(await contentOf(server.db)).toEqual(before);
  },
  240_000,
);

/** Archives the month and kills the process as a file appears. Resolves to whether the kill came in time. */
async function archiveUntil(file: string, to: string): Promise<boolean> {
  const folder = join(to, MONTH);
  await mkdir(folder);
  const watcher = watch(folder, (_event, name) => {
    if (name?.endsWith(file)) cli.child.kill('SIGKILL');
  });
  const cli = runCli(['archive', '--period', '2025-01', '--to', to], environment(server.db.adminUrl));
  await cli.exited;
  watcher.close();
  return cli.child.signalCode === 'SIGKILL';
}

test.each(['.csv.partial', '_late.csv', 'manifest.json.partial', 'manifest.json'])(
  'when the process is killed as %s appears, nothing is lost',
  async (file) => {
    let to = await temporaryFolder();
    const restore = async () => {
      expect(await runUntil(['restore', join(to, MONTH)], 0, 'client')).toMatchObject({ code: 0 });
      expect(await contentOf(server.db)).toEqual(before);
    };
    while (!(await archiveUntil(file, to))) {
      await restore();
      to = await temporaryFolder();
    }
    expect(await runUntil(['archive', '--period', '2025-01', '--to', to], 0, 'client')).toMatchObject({ code: 0 });
    await nothingIsLeft();
    await restore();
  },
  60_000,
);
