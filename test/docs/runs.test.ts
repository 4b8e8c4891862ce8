import { readFile } from 'node:fs/promises';
import { beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

const page = await readFile(new URL('../../docs/how-to/runs.md', import.meta.url), 'utf8');
const blocks = (info: string) => [...page.matchAll(new RegExp(`^\`\`\`${info}\\n(.*?)^\`\`\`$`, 'gms'))].map((block) => block[1]!);

let db: TestDatabase;
let demo: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  demo = await createOrganization(db, 'Demo');
  await db.admin.query(`update organizations set slug = 'demo' where id = $1`, [demo.id]);
  server = await serveGraphql(db);
});

const idOf = async (query: string) => (await db.admin.query<{ id: string }>(query)).rows[0]!.id;

/** What the examples in GraphQL are about: runs as their text says. */
async function variables(): Promise<Record<string, string>> {
  const workflow = await idOf(`select id from workflows where name = 'Parcels'`);
  const start = `select run_id as id from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', '${demo.id}', 'workflowId', '${workflow}', 'input', '{}'::jsonb)))`;
  const failed = await idOf(start);
  await db.admin.query(`select engine.fail_run($1, 'POISON', 'for the example')`, [failed]);
  return { workflow, failed, run: await idOf(start) };
}

test('the page in SQL, in one session', async () => {
  const client = await connect(db.adminUrl);
  try {
    for (const block of blocks('sql')) {
      // The run that GraphQL starts on the page.
      if (block.includes('"order": 18')) {
        await client.query(`select start_workflow_run((select id from workflows where name = 'Parcels'), metadata => '{"order": 18}')`);
      }
      await client.query(block).catch((error: Error) => expect.fail(`${error.message} in: ${block}`));
    }
    const { rows } = await client.query(
      'select status from workflow_runs where workflow_id = (select id from workflows where name = $1) order by id',
      ['Invoices'],
    );
    expect(rows).toEqual([{ status: 'running' }, { status: 'waiting' }]);
  } finally {
    await client.end();
  }
});

test.each(blocks('graphql'))('%s', async (document) => {
  const given = await variables();
  const names = [...document.matchAll(/\$(\w+):/g)].map(([, name]) => name!);
  const data = await server.data(demo.token, document, Object.fromEntries(names.map((name) => [name, given[name]])));
  expect(Object.values(data)).not.toContain(null);
});
