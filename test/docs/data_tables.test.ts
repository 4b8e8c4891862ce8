/** docs/how-to/data-tables.md: its statements run, in one session of psql, and its queries over GraphQL. */
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { PsqlSession, readBlocks } from '../helpers/page.ts';

test('the page in SQL and GraphQL', async () => {
  const db = await createTestDatabase();
  const demo = await createOrganization(db, 'Demo');
  await db.admin.query(`update organizations set slug = 'demo' where id = $1`, [demo.id]);
  const blocks = await readBlocks('how-to/data-tables.md');
  const client = await connect(db.adminUrl);
  try {
    const session = new PsqlSession(client);
    for (const { kind, text } of blocks) {
      if (kind === 'sql') await session.run(text).catch((error: Error) => expect.fail(`${error.message} in: ${text}`));
    }
  } finally {
    await client.end();
  }
  const { rows } = await demo.user.query(
    `select key, data -> 'visits' as visits from find_data_rows((select id from data_tables where name = 'contacts'))`,
  );
  expect(rows).toEqual([
    { key: 'ada@example.com', visits: 1 },
    { key: 'eve@example.com', visits: null },
    { key: 'joe@example.com', visits: null },
  ]);

  const server = await serveGraphql(db);
  const query = blocks.find(({ kind }) => kind === 'graphql')!.text;
  const answer = await server.data(demo.token, query);
  expect(answer.dataTables.nodes).toMatchObject([{ name: 'contacts', key: 'email' }]);
});
