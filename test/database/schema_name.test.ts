/** The API in another schema than public, beside the tables of an application: FLOWGRES_SCHEMA. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

// Modules read the schema once: this file loads its own, and leaves none of them to the next file of this process.
vi.hoisted(() => {
  process.env['FLOWGRES_SCHEMA'] = 'flowgres';
  vi.resetModules();
});
import { forSchema, isSchemaName } from '../../src/database/api_schema.ts';
import { connect, createPool } from '../../src/database/connections.ts';
import { migrate } from '../../src/database/migrate.ts';
import { BUILD_FOLDER, readSources } from '../../src/database/sources.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { runEmbedding } from '../docs/embedding.ts';
import { createApplication, grantApplication } from '../helpers/application.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { endFile } from '../helpers/end_of_file.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { fingerprint } from '../schema/fingerprint.ts';

afterAll(async () => {
  await endFile();
  delete process.env['FLOWGRES_SCHEMA'];
  vi.resetModules();
});

const db = await createTestDatabase({ empty: true });
let acme: TestOrganization;
let installed: string[];

beforeAll(async () => {
  const client = await connect(db.adminUrl);
  await client.query(`
    create table public.users (id int primary key, email text);
    insert into public.users values (1, 'somebody@example.com');
    create view public.teams as select 1 as id;
    create function public.login(name text) returns text language sql immutable as 'select name'`);
  await migrate(db.adminUrl, TEST_PASSWORDS);
  // The pool of the administrator has no connection yet.
  await client.query(`alter database ${db.name} set search_path = flowgres, public`);
  await client.end();
  installed = await linesOf(db.adminUrl, 'flowgres');
  acme = await createOrganization(db);
}, 60_000);

test('names of the schema are replaced wherever SQL has them; the role PUBLIC and other words stay', () => {
  const cases: [string, string][] = [
    ['select * from public.users', 'select * from app.users'],
    ['grant usage on schema public to public', 'grant usage on schema app to public'],
    [`select 'public.users'::regclass, 'public'::regnamespace`, `select 'app.users'::regclass, 'app'::regnamespace`],
    [`check (template in ('organization', 'public'))`, `check (template in ('organization', 'public'))`],
    [`format('drop table public.%I', n) -- see public.users`, `format('drop table app.%I', n) -- see app.users`],
    ['as $$ begin perform public.f(); end $$', 'as $$ begin perform app.f(); end $$'],
    [`'Example: select f(''public.users'')'`, `'Example: select f(''app.users'')'`],
    [`'They are public. Others are not.'`, `'They are public. Others are not.'`],
    ['select t.public.x, "public"', 'select t.public.x, "public"'],
  ];
  for (const [sql, wanted] of cases) expect(forSchema(sql, 'app')).toBe(wanted);
});

test('no source names the schema public after it was written for another one', () => {
  const left = readSources(undefined, 'flowgres').files.filter(({ sql }) => /\bpublic\.[a-z_%]|schema public/.test(sql));
  expect(left.map(({ path }) => path)).toEqual([]);
  expect(readSources(undefined, 'flowgres').digest).toBe(readSources(undefined, 'public').digest);
});

test('no process names the schema public in its SQL', () => {
  const folder = join(BUILD_FOLDER, 'src');
  // Smart tags and sets are written for public and changed as they are loaded; help texts have an example.
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !/^console\/|^graphql\/(?:naming|enums)|^cli\/program|api_schema/.test(file),
  );
  const code = (file: string) => readFileSync(join(folder, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  expect(files.filter((file) => /\bpublic\.[a-z_$%]|'public'|"public"/.test(code(file)))).toEqual([]);
});

test('a name of Flowgres or PostgreSQL, or one that needs quotes, is no name of the schema', () => {
  for (const name of ['private', 'engine', 'cron', 'pg_catalog', 'graphile_worker', 'App', 'a b', '1a', '', 'x"y']) {
    expect(isSchemaName(name), name).toBe(false);
  }
  expect(isSchemaName('flowgres')).toBe(true);
});

test('the database has the same schema as one with public, but for its name, and the application has what it had', async () => {
  const ordinary = await createTestDatabase();
  const wanted = await linesOf(ordinary.adminUrl, 'public');
  expect(wanted.length).toBeGreaterThan(1_000);
  expect({
    missing: wanted.filter((line) => !installed.includes(line)),
    extra: installed.filter((line) => !wanted.includes(line)),
  }).toEqual({
    missing: [],
    extra: [],
  });
  expect((await db.admin.query('select id, email from public.users')).rows).toEqual([{ id: 1, email: 'somebody@example.com' }]);
  expect(
    (await db.admin.query(`select from pg_class where relnamespace = 'public'::regnamespace and relname !~ '^(users|teams)'`)).rowCount,
  ).toBe(0);
});

test('migrating again changes nothing; a database whose API is in public is refused', async () => {
  await migrate(db.adminUrl, TEST_PASSWORDS);
  expect((await db.admin.query('select from monitor.builds()')).rowCount).toBe(1);
  const ordinary = await createTestDatabase();
  await expect(migrate(ordinary.adminUrl, TEST_PASSWORDS)).rejects.toMatchObject({
    code: 'SCHEMA_UNKNOWN',
    hint: 'Set FLOWGRES_SCHEMA=public.',
  });
});

test('runs go from the start through a worker to their end, and GraphQL serves them', async () => {
  const workflow = await publishWorkflow(
    acme,
    chain({ id: 'api', type: 'apiTrigger' }, { id: 'call', type: 'httpRequest', properties: { url: 'http://127.0.0.1:9' } }),
  );
  const driver = new Driver(db);
  const { run_id: run } = await driver.start(acme, workflow, { total: 1 });
  await driver.finish(run, 'call', { done: true });
  const server = await serveGraphql(db);
  const data = await server.data(acme.token, '{ workflowRuns { nodes { id status output } } currentOrganization { name } }');
  expect(data).toEqual({
    workflowRuns: { nodes: [{ id: run, status: 'success', output: { done: true } }] },
    currentOrganization: { name: 'Acme' },
  });
});

test('a role of the application calls the functions by the name of the schema', async () => {
  const { role, pool } = await createApplication(db);
  await grantApplication(db, role, acme);
  await publishWorkflow(acme, chain({ id: 'api', type: 'apiTrigger' }), 'order-intake');
  const { rows } = await pool.query<{ id: string }>(`select flowgres.flowgres_start('order-intake', '{"total": 5}') as id`);
  expect((await pool.query('select status, output from flowgres.flowgres_run($1)', [rows[0]!.id])).rows).toEqual([
    { status: 'success', output: { total: 5 } },
  ]);
});

test('the tutorial of embedding does what it says', async () => {
  await runEmbedding(db, 'flowgres');
});

/** The lines of a database that say what its schema is, with the name of the schema as `public`. */
async function linesOf(url: string, schema: string): Promise<string[]> {
  const pool = createPool(url, { name: 'fingerprint', max: 1, settings: { search_path: 'pg_catalog' } });
  const all = await fingerprint(pool, schema).finally(() => pool.end());
  // Jobs of maintenance are scheduled by migrate(), which the template has not run; what is in public is the application's.
  const isOther = /^(?:schema|default privileges|comment on schema) |^(?:trigger|row of) cron\.job/;
  const relevant = all.filter((line) => !isOther.test(line) && (schema === 'public' || !/\bpublic\.(?:users|teams|login)\b/.test(line)));
  // Settings such as flowgres.session have the same beginning; they are changed on both sides.
  return relevant.map((line) =>
    line.replaceAll('flowgres.', 'public.').replaceAll('schema flowgres', 'schema public').replaceAll("'flowgres'::", "'public'::"),
  );
}
