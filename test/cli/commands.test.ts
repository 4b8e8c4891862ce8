import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { withDatabase } from '../../src/database.ts';
import { TEST_SECRET } from '../helpers/build.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { finishCli, ready, runCli, temporaryFolder } from '../helpers/cli.ts';

test.each(['start', 'migrate', 'roles', 'serve', 'work', 'schema', 'archive', 'restore'])(
  'flowgres %s --help shows an example',
  async (command) => {
    const { code, output } = await finishCli([command, '--help']);
    expect(code).toBe(0);
    expect(output).toMatch(/Examples?:\n +.*flowgres /);
  },
);

test('flowgres --help lists the commands and examples', async () => {
  const { code, output } = await finishCli(['--help']);
  expect(code).toBe(0);
  for (const command of ['start', 'migrate', 'roles', 'serve', 'work', 'schema', 'archive', 'restore'])
    expect.soft(output).toMatch(new RegExp(`^  ${command} `, 'm'));
  expect(output).toContain('Examples:');
});

test('an unknown command says how to get help', async () => {
  const { code, output } = await finishCli(['strat']);
  expect(code).toBe(1);
  expect(output).toMatch(/unknown command 'strat'[\s\S]*--help/);
});

test('migrate makes a database that serve and work run on, and schema describes', async () => {
  const { name, drop } = await createTestDatabase({ empty: true });
  const environment = { DATABASE_URL: withDatabase(inject('serverUrl'), name), FLOWGRES_SECRET: TEST_SECRET };
  expect(await finishCli(['migrate'], environment)).toMatchObject({ code: 0, output: expect.stringContaining('Schema: up to date') });
  expect(await finishCli(['migrate'], environment)).toMatchObject({ code: 0 });
  expect(await finishCli(['roles'], environment)).toMatchObject({ code: 0 });

  const file = join(await temporaryFolder(), 'schema.graphql');
  expect(await finishCli(['schema', '--output', file], environment)).toMatchObject({ code: 0 });
  expect(await readFile(file, 'utf8')).toContain('type WorkflowRun ');

  const worker = runCli(['work'], environment);
  const server = runCli(['serve'], environment);
  for (const process of [worker, server]) {
    await expect.poll(process.output, { timeout: 20_000 }).toMatch(/on http:/);
    const [url] = /http:\S+/.exec(process.output())!;
    await expect.poll(async () => (await fetch(`${url}/readyz`)).status, { timeout: 20_000 }).toBe(200);
    process.child.kill('SIGTERM');
    expect(await process.exited).toBe(0);
  }
  await drop();
}, 90_000);

test('start uses the server of DATABASE_URL when there is one', async () => {
  const { name } = await createTestDatabase({ empty: true });
  const folder = await temporaryFolder();
  const databaseUrl = withDatabase(inject('serverUrl'), name);
  const cli = runCli(['start'], { FLOWGRES_DATA: folder, DATABASE_URL: databaseUrl, FLOWGRES_SECRET: TEST_SECRET });
  expect(await ready(cli, folder)).toMatchObject({ databaseUrl });
  expect(cli.output()).not.toContain('PostgreSQL:');
}, 60_000);
