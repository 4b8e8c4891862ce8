import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, inject, onTestFinished, test } from 'vitest';
import { withDatabase } from '../../src/database/connections.ts';
import { finishCli, ready, runCli, temporaryFolder } from '../helpers/cli.ts';

/** One line that says what happened and what to do. */
function expectOneLine({ code, output }: { code: number | null; output: string }, ...parts: (string | RegExp)[]): void {
  const lines = output
    .trim()
    .split('\n')
    .filter((line) => line.startsWith('flowgres: '));
  expect.soft(lines, output).toHaveLength(1);
  for (const part of parts) expect.soft(lines[0]).toMatch(typeof part === 'string' ? new RegExp(part.replaceAll(/[()]/g, '.')) : part);
  expect.soft(output).not.toMatch(/^ +at /m);
  expect.soft(code).toBe(1);
}

async function takenPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

test('a port in use', async () => {
  const port = await takenPort();
  const result = await finishCli(['start'], { FLOWGRES_DATA: await temporaryFolder(), PORT: String(port) });
  expectOneLine(result, `Port ${port} is in use`, 'PORT=0');
});

test('a port that is no port', async () => {
  expectOneLine(
    await finishCli(['start', '--port', 'http'], { FLOWGRES_DATA: await temporaryFolder() }),
    'PORT must be a number',
    '"http"',
  );
});

test('a data folder of another version', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'data'));
  await writeFile(join(folder, 'data', 'PG_VERSION'), '14\n');
  expectOneLine(await finishCli(['start'], { FLOWGRES_DATA: folder }), 'was made by PostgreSQL 14, this is 18', 'FLOWGRES_DATA');
});

test('a data folder that cannot be made', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'file'), '');
  expectOneLine(await finishCli(['start'], { FLOWGRES_DATA: join(folder, 'file', 'data') }), 'cannot be used', 'FLOWGRES_DATA');
});

test('a data folder that another process uses', async () => {
  const folder = await temporaryFolder();
  const first = runCli(['start'], { FLOWGRES_DATA: folder });
  await ready(first, folder);
  expectOneLine(
    await finishCli(['start'], { FLOWGRES_DATA: folder }),
    `already runs on ${folder} (process ${first.child.pid})`,
    'Stop it first',
  );
}, 60_000);

test.each([
  ['is no URL', 'nonsense', [/DATABASE_URL must look like postgres:/]],
  ['names no database', 'postgres://postgres@127.0.0.1:5432', [/DATABASE_URL must name a database/]],
  [
    'leads nowhere',
    'postgres://postgres:x@127.0.0.1:1/flowgres',
    [/Cannot connect/, /127\.0\.0\.1:1/, /ECONNREFUSED/, /Check DATABASE_URL/],
  ],
])('a DATABASE_URL that %s', async (_what, url, parts) => {
  expectOneLine(await finishCli(['start'], { FLOWGRES_DATA: await temporaryFolder(), DATABASE_URL: url }), ...parts);
});

test('a DATABASE_URL with a wrong password', async () => {
  const url = new URL(withDatabase(inject('serverUrl'), 'flowgres'));
  url.password = 'wrong';
  expectOneLine(
    await finishCli(['start'], { FLOWGRES_DATA: await temporaryFolder(), DATABASE_URL: url.href }),
    'password authentication failed',
    'Check DATABASE_URL',
  );
});

test('a command that needs a database and gets none', async () => {
  expectOneLine(await finishCli(['migrate']), 'DATABASE_URL is not set', 'flowgres start');
});

/** Only root may make a small disk. */
const canMount = spawnSync('mount', ['--fake', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0;

async function smallDisk(size: string): Promise<string> {
  const folder = await temporaryFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  onTestFinished(() => void spawnSync('umount', ['--lazy', folder]));
  return folder;
}

test.skipIf(!canMount)('a disk that is too small for a cluster', async () => {
  expectOneLine(await finishCli(['start'], { FLOWGRES_DATA: await smallDisk('12m') }), 'disk .* is full', 'Free some space');
});

test.skipIf(!canMount)(
  'a disk that has filled up since the last start',
  async () => {
    const folder = await smallDisk('200m');
    const cli = runCli(['start'], { FLOWGRES_DATA: folder });
    await ready(cli, folder);
    cli.child.kill('SIGTERM');
    expect(await cli.exited).toBe(0);
    spawnSync('dd', ['if=/dev/zero', `of=${join(folder, 'ballast')}`, 'bs=64k']);
    expectOneLine(await finishCli(['start'], { FLOWGRES_DATA: folder }), 'disk .* is full', 'Free some space');
  },
  60_000,
);
