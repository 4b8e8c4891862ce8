/** Each layer of `sql/index.sql` uses only the layers above it: every prefix of the list is a working database. */
import { describe, expect, test } from 'vitest';
import { tokenize } from '../../tools/sql-tokens.ts';
import { installSources } from '../../src/database/apply_sources.ts';
import { connect } from '../../src/database/connections.ts';
import { prepareDatabase } from '../../src/database/migrate.ts';
import { readSources } from '../../src/database/sources.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

const sources = readSources();
const layers = [...new Set(sources.files.map(({ path }) => path.split('/', 1)[0]!))];
const OURS = ['public', 'private', 'partitions', 'engine', 'monitor', 'cron'];

test('the layers are in the order of their numbers', () => {
  expect(layers.length).toBeGreaterThan(5);
  expect(layers).toEqual([...layers].sort());
});

describe.each(layers)('up to %s', (layer) => {
  test('the schema builds, and its functions name nothing of a later layer', async () => {
    const db = await createTestDatabase({ empty: true });
    await prepareDatabase(db.adminUrl, TEST_PASSWORDS);
    const client = await connect(db.adminUrl);
    await installSources(client, sources, layer).finally(() => client.end());
    expect(await unknownNames(db)).toEqual([]);
    await db.drop();
  });
});

/** PL/pgSQL looks names up when it runs, so a name that does not exist yet is found in its text. */
async function unknownNames(db: TestDatabase): Promise<string[]> {
  const { rows: functions } = await db.admin.query<{ name: string; body: string }>(
    `
    select p.oid::regprocedure::text as name, p.prosrc as body from pg_proc as p
    where p.pronamespace::regnamespace::text = any ($1) and p.prolang = (select oid from pg_language where lanname = 'plpgsql')`,
    [OURS],
  );
  const { rows: names } = await db.admin.query<{ name: string }>(`
    select format('%s.%s', n.nspname, o.name) as name from (
      select p.pronamespace as schema, p.proname as name from pg_proc as p
      union select c.relnamespace, c.relname from pg_class as c
      union select t.typnamespace, t.typname from pg_type as t
      union select l.collnamespace, l.collname from pg_collation as l
    ) as o join pg_namespace as n on n.oid = o.schema`);
  const known = new Set(names.map(({ name }) => name));
  const unknown = functions.flatMap(({ name, body }) =>
    namesIn(body)
      .filter((each) => !known.has(each))
      .map((each) => `${name} uses ${each}`),
  );
  return [...new Set(unknown)];
}

/** The names with one of our schemas that a body mentions. */
function namesIn(body: string): string[] {
  const tokens = tokenize(body);
  return tokens.flatMap((token, place) => {
    const [before, dot, name] = [tokens[place - 1], tokens[place + 1], tokens[place + 2]];
    const isName = OURS.includes(token.text) && token.kind === 'word' && before?.text !== '.' && dot?.text === '.' && name?.kind === 'word';
    return isName ? [`${token.text}.${name.text}`] : [];
  });
}
