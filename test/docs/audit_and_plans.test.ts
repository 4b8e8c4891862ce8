import { readFile } from 'node:fs/promises';
import { parse } from 'pgsql-parser';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { lines } from '../helpers/partitions.ts';

/** A page's SQL from top to bottom, one statement each, as psql sends it. */
async function statementsOf(text: string): Promise<string[]> {
  const script = Buffer.from([...text.matchAll(/^```sql\n(.*?)^```$/gms)].map((block) => block[1]).join('\n'));
  const { stmts = [] } = (await parse(script.toString())) as { stmts?: { stmt_location?: number; stmt_len?: number }[] };
  return stmts.map(({ stmt_location: from = 0, stmt_len: length }) => script.subarray(from, length ? from + length : undefined).toString());
}

const page = (name: string) => readFile(new URL(`../../docs/how-to/${name}.md`, import.meta.url), 'utf8');

test.each(['audit', 'plans'])('all SQL of docs/how-to/%s.md runs', async (name) => {
  const db = await createTestDatabase();
  const { id } = await createOrganization(db);
  await db.admin.query(`update organizations set slug = 'acme' where id = $1`, [id]);
  const statements = await statementsOf(await page(name));
  expect(statements.length).toBeGreaterThan(5);
  const client = await connect(db.adminUrl);
  for (const statement of statements) {
    await client.query(statement).catch((error: Error) => expect.fail(`${error.message} in: ${statement}`));
  }
  await client.end();
});

test('the limits on the page are those of the plans', async () => {
  const db = await createTestDatabase();
  const rows = [...(await page('plans')).matchAll(/^\| `(self-hosted|free|pro|enterprise)`[^|]*\|(.*)\|$/gm)].map(
    ([, slug, cells]) =>
      `${slug} ${cells!
        .split('|')
        .map((cell) => cell.trim().replace(',', '') || '-')
        .join(' ')}`,
  );
  const metrics = ['workflows', 'executions_per_month', 'team_members', 'credentials', 'storage_gb', 'api_calls_per_hour'];
  const columns = metrics.map((metric) => `max(l.value) filter (where l.metric = '${metric}')`).join(', ');
  expect(rows).toEqual(
    await lines(
      db,
      `select p.slug, ${columns} from plans as p left join plan_limits as l on l.plan_id = p.id group by p.id order by p.sort_order`,
    ),
  );
});

test('the transitions on the page are those of subscriptions', async () => {
  const db = await createTestDatabase();
  const rows = [...(await page('plans')).matchAll(/^\| `(trialing|active|past_due)` \| (.*) \|$/gm)].flatMap(([, from, to]) =>
    [...to!.matchAll(/\w+/g)].map(([state]) => `${from} ${state}`),
  );
  expect(rows.sort()).toEqual((await lines(db, 'select "from", "to" from private.subscription_transitions()')).sort());
});
