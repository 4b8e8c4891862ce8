import pg from 'pg';
import { expect, test } from 'vitest';
import { ready, runCli, temporaryFolder } from '../helpers/cli.ts';
import { openDatabase } from '../helpers/database.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { evaluate } from '../helpers/nodes.ts';
import { createWrongDatabase } from '../helpers/wrong_settings.ts';
import { startPostgres15, suite } from './packages.ts';

const SECRET = 'a secret of the system tests';

/** The whole of `flowgres start` on a server; returns what the demo run printed. */
async function expectDemo(databaseUrl: string): Promise<void> {
  const folder = await temporaryFolder();
  const cli = runCli(['start'], { FLOWGRES_DATA: folder, DATABASE_URL: databaseUrl, FLOWGRES_SECRET: SECRET });
  const { webhookUrl, healthUrl } = await ready(cli, folder);
  expect(cli.output()).toMatch(/order-intake \S+: success/);
  expect(await (await fetch(`${webhookUrl}/stock/KB-01`)).json()).toEqual({ sku: 'KB-01', available: 12 });
  expect(await (await fetch(healthUrl.replace('healthz', 'readyz'))).json()).toMatchObject({ problems: [] });
  const client = new pg.Client(databaseUrl);
  await client.connect();
  const { rows } = await client.query('select * from monitor.invariants()');
  await client.end();
  expect(rows).toEqual([]);
}

suite('PostgreSQL 15', ['postgresql-15'], () => {
  test('the schema builds and the demo runs', async () => {
    await expectDemo(`${await startPostgres15()}/flowgres`);
  });
});

suite('PostgreSQL 15 with other settings and another locale', ['postgresql-15'], () => {
  test('a Turkish database that has all of its settings wrong is migrated, knows tokens, addresses and Fridays', async () => {
    const server = await startPostgres15();
    const name = await createWrongDatabase(`${server}/postgres`, `locale_provider icu icu_locale 'tr-TR'`);
    const db = openDatabase(`${server}/postgres`, name, false);
    const organization = await createOrganization(db, 'ISTANBUL');
    const insert = `insert into users (name, email, email_verified_at) values ('A', $1, now())`;
    await db.admin.query(insert, ['ismail@istanbul.example']);
    await expect(db.admin.query(insert, ['ISMAIL@ISTANBUL.EXAMPLE'])).rejects.toMatchObject({ constraint: 'users_email_key' });
    const { rows } = await db.admin.query(`select count(*)::int as ticks from preview_schedule('0 9 * JUL FRI', 'UTC', 3)`);
    expect(rows).toEqual([{ ticks: 3 }]);
    expect(await evaluate(db, `{{ 'ISTANBUL ÄÖ' | lower }} {{ 'i' | upper }} {{ '2026-01-02' | date('UTC') }}`)).toBe(
      'istanbul äö I 2026-01-02T00:00:00.000Z',
    );
    const graphql = await serveGraphql(db);
    const { id } = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));
    const { startWorkflowRun } = await graphql.data(
      organization.token,
      'mutation ($id: UUID!) { startWorkflowRun(input: {workflowId: $id, input: {n: 1}}) { workflowRun { status startedAt } } }',
      { id },
    );
    expect(startWorkflowRun.workflowRun).toEqual({ status: 'success', startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) });
    expect((await db.admin.query('select * from monitor.invariants()')).rows).toEqual([]);
    await graphql.close();
    await db.drop();
  });
});

suite('PostgreSQL 15 with pg_cron', ['postgresql-15', 'postgresql-15-cron'], () => {
  test('the schema builds beside the extension and the demo runs', async () => {
    const server = await startPostgres15({ shared_preload_libraries: 'pg_cron', 'cron.database_name': 'flowgres' });
    const admin = new pg.Client(`${server}/postgres`);
    await admin.connect();
    await admin.query('create database flowgres');
    await admin.end();
    const client = new pg.Client(`${server}/flowgres`);
    await client.connect();
    await client.query('create extension pg_cron');
    await client.end();
    await expectDemo(`${server}/flowgres`);
  });
});
