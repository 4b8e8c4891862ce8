/** A restored copy of an installation in use: nothing leaves it until a DBA adopts it. */
import { execFileSync } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { SMTPServer } from 'smtp-server';
import { expect, onTestFinished, test } from 'vitest';
import { connect, withDatabase } from '../../src/database/connections.ts';
import { migrate } from '../../src/database/migrate.ts';
import { createRoles } from '../../src/database/roles.ts';
import { TEST_PASSWORDS, TEST_SECRET, buildDatabase } from '../../tools/build-database.ts';
import { runCli, temporaryFolder } from '../helpers/cli.ts';
import { type TestDatabase, openDatabase } from '../helpers/database.ts';
import { createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { startTemporary } from '../helpers/server.ts';
import { Target } from '../worker/target.ts';
import { startPostgres15, suite } from './packages.ts';

const BIN = '/usr/lib/postgresql/15/bin';

suite('a copy on PostgreSQL 15', ['postgresql-15'], () => {
  test('made by pg_dump and pg_restore on another server causes nothing until it is adopted', async () => {
    const [home, elsewhere] = await Promise.all([startPostgres15(), startPostgres15()]);
    const world = await outsideWorld();
    await migrate(`${home}/flowgres`, TEST_PASSWORDS);
    const original = existing(home, 'flowgres');
    await prepare(original, world);
    const file = join(await temporaryFolder(), 'flowgres.dump');
    execFileSync(`${BIN}/pg_dump`, ['-Fc', '-f', file, original.adminUrl]);

    await createRoles(`${elsewhere}/flowgres`, TEST_PASSWORDS);
    execFileSync(`${BIN}/createdb`, ['--maintenance-db', `${elsewhere}/postgres`, 'flowgres']);
    execFileSync(`${BIN}/pg_restore`, ['-d', `${elsewhere}/flowgres`, file]);
    await migrate(`${elsewhere}/flowgres`, TEST_PASSWORDS);
    await expectInert(existing(elsewhere, 'flowgres'), world);
  }, 240_000);
});

test('a copy of the database on the same PostgreSQL 18 server causes nothing until it is adopted', async () => {
  const server = await startTemporary();
  onTestFinished(() => server.stop());
  const world = await outsideWorld();
  await buildDatabase(server.url, 'flowgres');
  const original = existing(server.url, 'flowgres');
  await original.admin.query('select engine.adopt_installation()');
  await prepare(original, world);
  await original.disconnect();
  const admin = await connect(withDatabase(server.url, 'postgres'));
  await admin.query('create database copy template flowgres').finally(() => admin.end());
  await expectInert(existing(server.url, 'copy'), world);
}, 240_000);

function existing(server: string, name: string): TestDatabase {
  const database = openDatabase(server, name, false);
  onTestFinished(() => database.drop());
  return database;
}

interface World {
  target: Target;
  mails: string[];
  smtpUrl: string;
}

async function outsideWorld(): Promise<World> {
  const target = await new Target().start();
  const mails: string[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    logger: false,
    onRcptTo: ({ address }, _session, done) => {
      mails.push(address);
      done();
    },
    onData: (stream, _session, done) => stream.on('end', done).resume(),
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  onTestFinished(() => {
    target.close();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  return { target, mails, smtpUrl: `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}` };
}

/** A run whose effect has not happened, a schedule, a mail, and an organization whose time has come; no worker ever ran. */
async function prepare(db: TestDatabase, { target }: World): Promise<void> {
  const acme = await createOrganization(db);
  const effect = (id: string) => target.node(id);
  const manual = { nodes: [{ id: 'start', type: 'manualTrigger' }, effect('run')], connections: [{ source: 'start', target: 'run' }] };
  const workflow = await publishWorkflow(acme, manual, 'Run');
  await acme.user.query('select start_workflow_run($1)', [workflow.id]);
  const clock = { id: 'clock', type: 'scheduleTrigger', properties: { every: { n: 1, unit: 'seconds' } } };
  await publishWorkflow(acme, { nodes: [clock, effect('tick')], connections: [{ source: 'clock', target: 'tick' }] }, 'Tick');
  await db.admin.query(`select private.send_mail('ada@acme.example', 'Hello', 'Ada')`);
}

async function expectInert(copy: TestDatabase, { target, mails, smtpUrl }: World): Promise<void> {
  const cli = runCli(['serve', '--work'], {
    DATABASE_URL: copy.adminUrl,
    FLOWGRES_SECRET: TEST_SECRET,
    FLOWGRES_SMTP_URL: smtpUrl,
    FLOWGRES_HTTP_ALLOW: target.host,
  });
  await expect.poll(cli.output, { timeout: 60_000 }).toMatch(/webhooks and a worker on http:/);
  const url = /http:[^"\s]+/.exec(cli.output())![0];
  const readiness = async () => {
    const response = await fetch(`${url}/readyz`);
    return { ...((await response.json()) as { problems: string[] }), status: response.status };
  };
  expect(await readiness()).toMatchObject({ status: 503, problems: [expect.stringContaining('This database is a copy')] });
  expect(cli.output()).toContain('This database is a copy');
  // Its schedule has been due for longer than anybody who fires schedules would have waited.
  const isLate = () => copy.admin.query(`select from schedules where fires_at < now() - interval '3 seconds'`);
  await expect.poll(async () => (await isLate()).rowCount, { timeout: 30_000 }).toBe(1);
  expect([target.calls, mails, (await copy.admin.query('select from engine.workers')).rowCount]).toEqual([[], [], 0]);

  const session = await connect(copy.adminUrl);
  await session.query('set role flowgres_dba; select engine.adopt_installation()').finally(() => session.end());
  await expect.poll(() => new Set(target.calls.map(({ path }) => path)), { timeout: 60_000 }).toEqual(new Set(['/run', '/tick']));
  await expect.poll(() => mails, { timeout: 60_000 }).toEqual(['ada@acme.example']);
  await expect.poll(readiness, { timeout: 30_000 }).toMatchObject({ status: 200, problems: [] });
}
