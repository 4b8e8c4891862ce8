/** What a DBA does for all organizations at once, as docs/how-to/operations.md says it, and that it needs no context. */
import { readFile } from 'node:fs/promises';
import type { Client } from 'pg';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const PAGE = new URL('../../docs/how-to/operations.md', import.meta.url);
const stop = { id: 'stop', type: 'stopAndError', properties: { message: 'The peer is away.', code: 'AWAY' } };
const nap = { id: 'nap', type: 'wait', properties: { seconds: 3600 } };
const trigger = { id: 'start', type: 'apiTrigger' };

let db: TestDatabase;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  engine = new Driver(db);
  for (const [slug, failures] of [
    ['acme', 2],
    ['demo', 1],
  ] as const) {
    const organization = await createOrganization(db, slug);
    await db.admin.query('update organizations set slug = $2 where id = $1', [organization.id, slug]);
    const failing = await publishWorkflow(organization, chain(trigger, stop));
    for (let count = 0; count < failures; count += 1) await engine.start(organization, failing);
    await engine.start(organization, await publishWorkflow(organization, chain(trigger, nap)));
  }
});

/** A DBA's session, and the notices that it gets. */
async function asDba(): Promise<{ client: Client; notices: string[] }> {
  const client = await connect(db.adminUrl);
  onTestFinished(() => client.end());
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message ?? ''));
  await client.query('set role flowgres_dba');
  return { client, notices };
}

const linesOf = async (client: Client, text: string) =>
  (await client.query({ text, rowMode: 'array' })).rows.map((row: unknown[]) => row.join(' '));

test('failures, counts and samples of all organizations need no context', async () => {
  const { client, notices } = await asDba();
  expect(await linesOf(client, 'select organization, code, failures, last_message from monitor.failures')).toEqual([
    'acme AWAY 2 The peer is away.',
    'demo AWAY 1 The peer is away.',
  ]);
  expect(await linesOf(client, 'select organization, status, runs from monitor.run_counts() order by 1, 2')).toEqual([
    'acme error 2',
    'acme waiting 1',
    'demo error 1',
    'demo waiting 1',
  ]);
  expect(await linesOf(client, `select status from monitor.sample_runs('error', runs => 2)`)).toEqual(['error', 'error']);
  await client.query(`select monitor.analyze('public.workflows')`);
  await expect(client.query(`select monitor.analyze('pg_class')`)).rejects.toMatchObject({ code: 'WF005' });
  expect(notices).toEqual([]);
});

test('whoever reads a table of organizations without one is told so, once per statement, and nobody else is', async () => {
  const { client, notices } = await asDba();
  const { rows: tables } = await db.admin.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class as c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and exists (select from pg_policy as p where p.polrelid = c.oid and 'flowgres_user'::regrole = any (p.polroles)
         and pg_get_expr(p.polqual, p.polrelid) ~ 'current_organization_id|organization_with_scope')
       and not exists (select from pg_policy as p where p.polrelid = c.oid and 'flowgres_dba'::regrole = any (p.polroles))
       -- What is empty has nothing to hide.
       and query_to_xml(format('select from %s limit 1', c.oid::regclass), false, false, '')::text ~ 'row'`,
  );
  expect(tables.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['workflows', 'workflow_runs', 'workflow_events', 'organization_users']),
  );
  for (const { name } of tables) {
    notices.length = 0;
    expect((await client.query(`select * from ${name} limit 1`)).rowCount, name).toBe(0);
    expect(notices, name).toEqual(['No organization is chosen: tables of organizations show no rows.']);
  }
  notices.length = 0;
  await client.query('select from workflows, workflow_runs, workflow_versions');
  expect(notices).toHaveLength(1);
  notices.length = 0;
  await client.query('select * from organizations');
  await client.query(`select set_context(id) from organizations where slug = 'acme'`);
  expect((await client.query('select * from workflows')).rowCount).toBe(2);
  expect(notices).toEqual([]);
});

test('runs of all organizations are retried and canceled together, those of an organization in an operation of its own', async () => {
  const { client } = await asDba();
  const begun = await linesOf(client, `select command, total from engine.retry_runs_everywhere('{"errorCode": "AWAY"}') order by 2`);
  expect(begun).toEqual(['retry 1', 'retry 2']);
  const only = `select command, total from engine.cancel_runs_everywhere('{"status": "waiting"}', array(select id from organizations where slug = 'demo'), 'over')`;
  expect(await linesOf(client, only)).toEqual(['cancel 1']);
  for (const id of await linesOf(client, 'select id from monitor.bulk_operations()')) {
    await db.pool('flowgres_worker').query('select engine.work_bulk_operation($1, 100)', [id]);
  }
  expect(await linesOf(client, 'select organization, command, done, total from monitor.bulk_operations() order by 1, 2')).toEqual([
    'acme retry 2 2',
    'demo cancel 1 1',
    'demo retry 1 1',
  ]);
  expect(
    await linesOf(client, `select organization, status, runs from monitor.run_counts() where status <> 'error' order by 1, 2`),
  ).toEqual(['acme waiting 1', 'demo canceled 1']);
  expect(await linesOf(client, `select total from engine.retry_runs_everywhere('{"errorCode": "NONE"}')`)).toEqual([]);
  await expect(client.query(`select engine.cancel_runs_everywhere('{"status": "error"}')`)).rejects.toMatchObject({ code: 'WF009' });
  for (const role of ['flowgres_user', 'flowgres_monitor']) {
    await client.query(`reset role; set role ${role}`);
    await expect(client.query(`select engine.cancel_runs_everywhere('{}')`)).rejects.toMatchObject({ code: '42501' });
  }
});

test('the section of the page runs, from top to bottom', async () => {
  const text = await readFile(PAGE, 'utf8');
  const section = text.slice(text.indexOf('## Across organizations'), text.indexOf('## Maintenance'));
  const blocks = [...section.matchAll(/^```sql\n(.*?)^```$/gms)].map(([, block]) => block!);
  expect(blocks).toHaveLength(4);
  const { client } = await asDba();
  for (const block of blocks) await client.query(block).catch((error: Error) => expect.fail(`${error.message} in: ${block}`));
});
