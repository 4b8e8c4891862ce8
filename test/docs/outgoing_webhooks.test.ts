/** The statements of docs/how-to/outgoing-webhooks.md. */
import { readFile } from 'node:fs/promises';
import { parse } from 'pgsql-parser';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { createTestVault } from '../helpers/vault.ts';

const page = await readFile(new URL('../../docs/how-to/outgoing-webhooks.md', import.meta.url), 'utf8');
const blocks = (info: string) => [...page.matchAll(new RegExp(`^ *\`\`\`${info}\\n(.*?)^ *\`\`\`$`, 'gms'))].map((block) => block[1]!);

test('the page runs from top to bottom', async () => {
  const db = await createTestDatabase();
  const keys = await createTestVault();
  const demo = await createOrganization(db, 'Demo');
  await db.admin.query(`update organizations set slug = 'demo' where id = $1`, [demo.id]);
  const server = await serveGraphql(db, { vault: keys.vault });
  const [create, list] = blocks('graphql');
  await server.data(demo.token, create!, { data: { secrets: [`whsec_${Buffer.alloc(32, 1).toString('base64')}`] } });
  const client = await connect(db.adminUrl);
  try {
    const script = Buffer.from(blocks('sql').join('\n'));
    const { stmts = [] } = (await parse(script.toString())) as { stmts?: { stmt_location?: number; stmt_len?: number }[] };
    expect(stmts.length).toBeGreaterThan(3);
    for (const { stmt_location: from = 0, stmt_len: length } of stmts) {
      const statement = script.subarray(from, length ? from + length : undefined).toString();
      await client.query(statement).catch((error: Error) => expect.fail(`${error.message} in: ${statement}`));
    }
  } finally {
    await client.end();
  }
  expect(await server.data(demo.token, list!)).toEqual({ workflowRuns: { nodes: [] } });
});
