import pg from 'pg';
import { expect, test } from 'vitest';
import { ready, runCli, temporaryFolder } from '../helpers/cli.ts';
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
