import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { withDatabase } from '../../src/database/connections.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { MAIN, finishCli, ready, runCli, temporaryFolder } from '../helpers/cli.ts';

const COMMANDS = ['start', 'migrate', 'roles', 'serve', 'work', 'schema', 'hash', 'archive', 'restore'];

test.each(COMMANDS)('flowgres %s --help shows an example', async (command) => {
  const { code, output } = await finishCli([command, '--help']);
  expect(code).toBe(0);
  expect(output).toMatch(/Examples?:\n +.*flowgres /);
});

test('flowgres --help lists the commands and examples', async () => {
  const { code, output } = await finishCli(['--help']);
  expect(code).toBe(0);
  for (const command of COMMANDS) expect.soft(output).toMatch(new RegExp(`^  ${command} `, 'm'));
  expect(output).toContain('Examples:');
});

test.each([
  ['20.20.2', 1],
  ['22.11.0', 1],
  ['22.12.0', 0],
  ['24.0.0', 0],
])('on Node %s the exit code is %i, and too old a one is told so in one line', async (version, expected) => {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`;
  const node = [process.execPath, '--import', `data:text/javascript,${encodeURIComponent(pretend)}`, MAIN];
  const { code, output } = await finishCli(['--version'], {}, node);
  expect(code).toBe(expected);
  if (expected) expect(output).toBe(`Flowgres needs Node 22.12 or newer, this is ${version}.\n`);
});

test('what looks at the version of Node loads nothing else before', async () => {
  const imports = (await readFile(MAIN, 'utf8')).match(/^import .*$/gm);
  expect(imports).toEqual(["import { readFileSync } from 'node:fs';"]);
});

test('an unknown command says how to get help', async () => {
  const { code, output } = await finishCli(['strat']);
  expect(code).toBe(1);
  expect(output).toMatch(/unknown command 'strat'[\s\S]*--help/);
});

/** The pools of processes, in /metrics. */
const SERVES = ['graphql', 'health', 'intake'];
const WORKS = ['cron', 'health', 'local', 'schedules', 'worker'];
/** What every line of the log has. */
const LINE = {
  time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  level: expect.stringMatching(/^(info|warn|error)$/),
  message: expect.stringMatching(/./),
};

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
  const both = runCli(['serve', '--work'], environment);
  for (const process of [worker, server, both]) {
    await expect.poll(process.output).toMatch(/on http:/);
    const [url] = /http:[^"\s]+/.exec(process.output())!;
    await expect.poll(async () => (await fetch(`${url}/readyz`)).status).toBe(200);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const pools = new Set(metrics.match(/(?<=flowgres_pool_connections\{pool=")\w+/g));
    expect([...pools].sort()).toEqual(
      process === worker ? WORKS : process === server ? SERVES : [...new Set([...SERVES, ...WORKS])].sort(),
    );
    expect(metrics).toMatch(/^flowgres_failing_jobs \d/m);
    process.child.kill('SIGTERM');
    expect(await process.exited).toBe(0);
    for (const line of process.output().trim().split('\n')) expect(JSON.parse(line)).toMatchObject(LINE);
  }
  await drop();
}, 90_000);

test('hash reads a password from standard input, and prints what a DBA registers somebody with', async () => {
  const hash = async (text: string) => {
    const cli = runCli(['hash']);
    cli.child.stdin!.end(text);
    return { code: await cli.exited, output: cli.output().trim() };
  };
  const { admin } = await createTestDatabase();
  const { code, output } = await hash('correct horse battery\n');
  expect([code, output]).toEqual([0, expect.stringMatching(/^\$scrypt\$ln=15,r=8,p=3\$/)]);
  const { rows } = await admin.query(`select register_user('Ada', 'ada@example.com', $1) as answer`, [output]);
  expect(rows).toEqual([{ answer: true }]);
  expect(await hash('short\n')).toEqual({ code: 1, output: expect.stringContaining('at least 10 characters') });
});

test.each([
  [{ FLOWGRES_JWT_JWKS_URL: 'https://id.example.com/keys' }, 'FLOWGRES_JWT_ISSUER and FLOWGRES_JWT_AUDIENCE are needed'],
  [{ FLOWGRES_JWT_SECRET: 'too short' }, 'FLOWGRES_JWT_SECRET must have at least 32 characters.'],
  [{ FLOWGRES_SMTP_URL: 'mail.example.com' }, 'FLOWGRES_SMTP_URL must begin with smtp:// or smtps://.'],
])('settings that would let the wrong people in, or no mail out, are refused: %o', async (environment, message) => {
  const { code, output } = await finishCli(['serve'], environment);
  expect(code).toBe(1);
  expect(output).toContain(message);
});

test('start uses the server of DATABASE_URL when there is one', async () => {
  const { name } = await createTestDatabase({ empty: true });
  const folder = await temporaryFolder();
  const databaseUrl = withDatabase(inject('serverUrl'), name);
  const cli = runCli(['start'], { FLOWGRES_DATA: folder, DATABASE_URL: databaseUrl, FLOWGRES_SECRET: TEST_SECRET });
  expect(await ready(cli, folder)).toMatchObject({ databaseUrl });
  expect(cli.output()).not.toContain('PostgreSQL:');
}, 60_000);
