import { execFileSync } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import { type Cli, type Connection, ready, runCli, temporaryFolder } from '../helpers/cli.ts';

const MODE = 0o777;

async function json(url: string, init?: RequestInit): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, init);
  return { status: response.status, body: await response.json() };
}

async function countRuns({ databaseUrl }: Connection): Promise<number> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  const { rows } = await client.query('select count(*)::int as runs from workflow_runs');
  await client.end();
  return rows[0].runs;
}

/** Resolves to the exit code. */
function stop(cli: Cli, signal: NodeJS.Signals): Promise<number | null> {
  cli.child.kill(signal);
  return cli.exited;
}

test('the first start runs the demo and serves; later ones keep the data, also after kill -9 of everything', async () => {
  const folder = join(await temporaryFolder(), 'data');
  const first = runCli(['start'], { FLOWGRES_DATA: folder });
  const connection = await ready(first, folder);

  expect((await stat(folder)).mode & MODE).toBe(0o700);
  expect((await stat(join(folder, 'connection.json'))).mode & MODE).toBe(0o600);
  await expect.poll(first.output).toContain('Flowgres is ready');
  expect(first.output()).toMatch(/order-intake [0-9a-f-]{36}: success after \d+ ms/);
  expect(first.output()).toMatch(/ 1 +0 ms +run\.created/);
  expect(first.output()).toContain(connection.token);
  expect(first.output()).toContain(`psql '${connection.databaseUrl}'`);

  // Every printed curl line works as it stands.
  const lines = first.output().match(/^curl .*$/gm) ?? [];
  const answers = lines.map((line) => JSON.parse(execFileSync('sh', ['-c', line], { encoding: 'utf8' })));
  expect(answers).toMatchObject([{ order: 'A-1002', status: 'accepted' }, { data: { workflowRun: { status: 'success' } } }]);

  expect(await json(connection.healthUrl)).toMatchObject({ status: 200 });
  expect(await json(connection.healthUrl.replace('healthz', 'readyz'))).toMatchObject({ status: 200, body: { problems: [] } });
  expect(await (await fetch(connection.metricsUrl)).text()).toContain('flowgres_workers 1');
  expect(await json(`${connection.webhookUrl}/stock/KB-01`)).toEqual({ status: 200, body: { sku: 'KB-01', available: 12 } });
  expect(await json(`${connection.webhookUrl}/stock/none`)).toMatchObject({ status: 200, body: { available: 0 } });

  const runs = await countRuns(connection);
  expect(await stop(first, 'SIGINT')).toBe(0);
  expect(first.output()).not.toMatch(/error|fail|warn/i);
  await expect(stat(join(folder, 'connection.json'))).rejects.toMatchObject({ code: 'ENOENT' });

  const second = runCli(['start'], { FLOWGRES_DATA: folder });
  const again = await ready(second, folder);
  expect(again).toMatchObject({ token: connection.token, organizationId: connection.organizationId, databaseUrl: connection.databaseUrl });
  expect(await countRuns(again)).toBe(runs + 1);

  const postmaster = Number((await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n')[0]);
  second.child.kill('SIGKILL');
  process.kill(postmaster, 'SIGKILL');
  await second.exited;
  const third = runCli(['start'], { FLOWGRES_DATA: folder });
  expect(await countRuns(await ready(third, folder))).toBe(runs + 2);

  // Only this process dies: the server is an orphan that the next start takes over.
  third.child.kill('SIGKILL');
  await third.exited;
  const fourth = runCli(['start'], { FLOWGRES_DATA: folder });
  expect(await countRuns(await ready(fourth, folder))).toBe(runs + 3);
  expect(await stop(fourth, 'SIGTERM')).toBe(0);
}, 120_000);

test('a server that dies under a running process is started again, work goes on, and SIGHUP stops all of it', async () => {
  const folder = await temporaryFolder();
  const cli = runCli(['start'], { FLOWGRES_DATA: folder });
  const connection = await ready(cli, folder);
  process.kill(Number((await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n')[0]), 'SIGKILL');
  await expect
    .poll(() => json(`${connection.webhookUrl}/stock/MS-02`).catch(() => undefined), { timeout: 30_000, interval: 200 })
    .toEqual({
      status: 200,
      body: { sku: 'MS-02', available: 40 },
    });
  await expect.poll(() => json(connection.healthUrl.replace('healthz', 'readyz')), { timeout: 30_000 }).toMatchObject({ status: 200 });
  // As when the terminal closes: all of it stops, the server too.
  expect(await stop(cli, 'SIGHUP')).toBe(0);
  await expect(stat(join(folder, 'data', 'postmaster.pid'))).rejects.toMatchObject({ code: 'ENOENT' });
}, 90_000);
