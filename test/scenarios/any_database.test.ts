/** The core in a Turkish database that has all of its settings wrong: for our roles, and for a DBA in psql. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { migrate } from '../../src/database/migrate.ts';
import { LOGIN_ROLES } from '../../src/database/roles.ts';
import { LiveRuns } from '../../src/engine/live.ts';
import { createWebhookHandler } from '../../src/webhooks/webhooks.ts';
import { SESSION_SETTINGS } from '../../src/database/session_settings.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { tomorrowAt } from '../helpers/clock.ts';
import { type TestDatabase, createTestDatabase, openDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { noCredentials } from '../helpers/intake.ts';
import { evaluate } from '../helpers/nodes.ts';
import { WRONG_SETTINGS, createWrongDatabase } from '../helpers/wrong_settings.ts';

let db: TestDatabase;
let organization: TestOrganization;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  const name = await createWrongDatabase(inject('serverUrl'), `locale_provider icu icu_locale 'tr-TR'`);
  db = openDatabase(inject('serverUrl'), name, true);
  organization = await createOrganization(db, 'ISTANBUL');
});
afterAll(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

test('a DBA there has the wrong settings, and I has another lower case', async () => {
  const { rows } = await db.admin.query(`select lower('I') as letter, current_setting('datestyle') as style`);
  expect(rows).toEqual([{ letter: 'ı', style: 'German, DMY' }]);
});

test.each(LOGIN_ROLES)('a session of %s has our settings', async (role) => {
  const { rows } = await db
    .pool(role)
    .query<{ name: string; setting: string }>(
      `select lower(name collate "C") as name, setting from pg_settings where lower(name collate "C") = any ($1)`,
      [[...Object.keys(SESSION_SETTINGS), ...Object.keys(WRONG_SETTINGS).filter((each) => each.endsWith('_timeout'))]],
    );
  const settings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  expect(settings).toMatchObject(SESSION_SETTINGS);
  expect(settings).toMatchObject({ lock_timeout: '0', idle_session_timeout: '0', idle_in_transaction_session_timeout: '0' });
  expect(settings['statement_timeout']).toBe(['flowgres_api', 'flowgres_intake'].includes(role) ? '30000' : '0');
});

test('connections of ours say so again, for a setting of the role in this database comes before that of the role', async () => {
  await db.admin.query(`alter role flowgres_worker in database ${db.name} set datestyle to 'SQL, DMY'`);
  const pool = createEnginePool(db.url('flowgres_worker'), 'test');
  closing.push(() => pool.end());
  const client = await connect(db.url('flowgres_worker'), { statement_timeout: '7s' });
  closing.push(() => client.end());
  for (const each of [pool, client]) {
    const { rows } = await each.query<{ style: string; isolation: string }>(
      `select current_setting('datestyle') as style, current_setting('transaction_isolation') as isolation`,
    );
    expect(rows).toEqual([{ style: 'ISO, MDY', isolation: 'read committed' }]);
  }
  expect((await client.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '7s' }]);
  expect((await pool.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '10s' }]);
});

test('migrating again finds nothing to do', async () => {
  const builds = 'select count(*)::int as count from private.builds';
  const { rows } = await db.admin.query(builds);
  await migrate(db.adminUrl, TEST_PASSWORDS);
  expect((await db.admin.query(builds)).rows).toEqual(rows);
});

test('GraphQL knows the token, starts a run and gives its times', async () => {
  const server = await serveGraphql(db);
  const { id } = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }), 'Graph');
  const { startWorkflowRun } = await server.data(
    organization.token,
    'mutation ($id: UUID!) { startWorkflowRun(input: {workflowId: $id, input: {n: 1}}) { workflowRun { id status startedAt } } }',
    { id },
  );
  const { workflowRun } = startWorkflowRun;
  expect(workflowRun.status).toBe('success');
  expect(Math.abs(Date.now() - Date.parse(workflowRun.startedAt))).toBeLessThan(600_000);
  expect((await server.query('wrong', '{ workflows { nodes { id } } }')).status).toBe(401);
  expect(server.logged).toEqual([]);
});

test('addresses are the same in upper and lower case, I and i among them', async () => {
  const insert = `insert into users (name, email, email_verified_at) values ('A', $1, now())`;
  await db.admin.query(insert, ['ismail@istanbul.example']);
  await expect(db.admin.query(insert, ['ISMAIL@ISTANBUL.EXAMPLE'])).rejects.toMatchObject({ code: '23505', constraint: 'users_email_key' });
});

test('a webhook is answered', async () => {
  await publishWorkflow(
    organization,
    chain(
      { id: 'hook', type: 'webhookTrigger', properties: { path: '/hi', method: 'POST', respond: 'lastNode' } },
      { id: 'end', type: 'transform', properties: { template: { text: '{{ $.prev.text | lower }}' } } },
    ),
    'Hook',
  );
  const url = db.url('flowgres_intake');
  const pool = createEnginePool(url, 'test intake');
  const live = new LiveRuns(url);
  const problems: unknown[] = [];
  const handler = createWebhookHandler({
    credentials: noCredentials,
    engine: new Engine(pool),
    live,
    onProblem: (_message, error) => void problems.push(error),
  });
  const server = createServer(handler).listen(0, '127.0.0.1');
  closing.push(
    () => pool.end(),
    () => live.close(),
    () => handler.close(),
    () => server.close(),
  );
  const base = await new Promise<string>((resolve) => {
    server.on('listening', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  });
  const response = await fetch(`${base}/hooks/${organization.webhookKey}/hi`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: '{"text": "ISTANBUL ÄÖ"}',
  });
  expect([response.status, await response.json(), problems]).toEqual([200, { text: 'istanbul äö' }, []]);
});

test('schedules know Fridays, and fire', async () => {
  const { rows } = await db.admin.query(`select count(*)::int as ticks from preview_schedule('0 9 * JUL FRI', 'UTC', 3)`);
  expect(rows).toEqual([{ ticks: 3 }]);
  const driver = new Driver(db);
  await driver.freeze(tomorrowAt('09:29:00'));
  const day = tomorrowAt('12:00:00').toLocaleDateString('en', { weekday: 'short', timeZone: 'UTC' }).toUpperCase();
  const properties = { cron: `30 9 * * ${day}`, timezone: 'UTC' };
  const { id } = await publishWorkflow(
    organization,
    chain({ id: 'clock', type: 'scheduleTrigger', properties }, { id: 'end', type: 'noOp' }),
    'Clock',
  );
  expect(await driver.fireSchedules()).toBe(0);
  await driver.freeze(tomorrowAt('09:30:00'));
  expect(await driver.fireSchedules()).toBe(1);
  await driver.freeze(null);
  const { rows: runs } = await db
    .pool('flowgres_maintenance')
    .query(
      `set role flowgres_owner; select r.status, e.payload #>> '{input,scheduledAt}' as at from workflow_runs as r
     join workflow_events as e on e.run_id = r.id and e.seq = 1 where r.workflow_id = '${id}'`,
    )
    .then((results) => (results as unknown as { rows: unknown[] }[])[1]!);
  expect(runs).toEqual([{ status: 'success', at: expect.stringMatching(/^\d{4}-\d\d-\d\dT09:30:00/) }]);
});

test('a step of a worker goes on, and the run replays, for a DBA as well', async () => {
  const request = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com/?at={{ $.run.startedAt }}' } };
  const { id } = await publishWorkflow(
    organization,
    chain({ id: 'start', type: 'apiTrigger' }, request, { id: 'end', type: 'noOp' }),
    'Step',
  );
  const driver = new Driver(db);
  const { run_id: runId } = await driver.start(organization, { id }, { n: 1 });
  expect(await driver.finish(runId, 'call', { status: 200 })).toMatchObject({ outcome: 'recorded', status: 'success' });
  expect(await driver.verify(runId)).toEqual([]);
});

test('a DBA tests a workflow, starts it and reads its events, with the settings of the database', async () => {
  const definition = chain(
    { id: 'start', type: 'apiTrigger' },
    { id: 'end', type: 'transform', properties: { template: `{{ $.prev.d | date('UTC') }}` } },
  );
  const client = await db.admin.connect();
  try {
    await client.query('select set_context($1)', [organization.id]);
    const tested = await client.query(
      `select payload -> 'output' as output from test_workflow($1, '{"d": "2026-01-02"}') order by seq desc limit 1`,
      [JSON.stringify(definition)],
    );
    expect(tested.rows).toEqual([{ output: '2026-01-02T00:00:00.000Z' }]);
    const { id } = await publishWorkflow(organization, definition, 'By hand');
    const started = await client.query<{ id: string; status: string }>(
      `select id, status from start_workflow_run($1, '{"d": "2026-01-02"}')`,
      [id],
    );
    expect(started.rows).toMatchObject([{ status: 'success' }]);
    const events = await client.query('select type from get_workflow_run_events($1)', [started.rows[0]!.id]);
    expect(events.rows.at(-1)).toEqual({ type: 'run.succeeded' });
    const checks = await client.query(`select * from partitions.doctor() where severity = 'error'`);
    expect(checks.rows).toEqual([]);
  } finally {
    client.release(true);
  }
});

const EXPRESSIONS = [
  `{{ 'ISTANBUL ÄÖ i' | lower }}`,
  `{{ 'istanbul äö I' | upper }}`,
  `{{ '2026-03-04T05:06:07+02:00' | date('Europe/Istanbul', 'DD.MM.YYYY HH24:MI Dy Mon') }}`,
  `{{ '2026-03-04' | add(1, 'months') }}`,
  `{{ '2026-03-04' | diff('2026-05-04', 'days') }}`,
  `{{ '04.03.2026' | date('UTC') }}`,
  `{{ 12345.678 | round(1) }}`,
  `{{ '٣' | number }}`,
  `{{ $.run.startedAt }}`,
  `{{ 'TITLE' | urlencode }}`,
  `{{ 'b,I,i,ı,İ,a,ä' | split(',') | sort | join(' ') }}`,
  `{{ $.prev.list | sort('k', 'desc') | json }}`,
];

test.each(EXPRESSIONS)('%s means what it means elsewhere', async (expression) => {
  const right = await elsewhere();
  const context = {
    run: { startedAt: '2026-01-02T03:04:05.678Z' },
    prev: { list: ['I', 'i', 'a', 2, null, [], [1], { a: 1 }, true].map((k) => ({ k })).concat([{}] as never[]) },
  };
  const outcome = (of: TestDatabase) => evaluate(of, expression, context).then(JSON.stringify, ({ code, message }) => `${code} ${message}`);
  expect(await outcome(db)).toBe(await outcome(right));
});

let other: Promise<TestDatabase> | undefined;
function elsewhere(): Promise<TestDatabase> {
  other ??= createTestDatabase();
  return other;
}
