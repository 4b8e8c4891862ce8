/** A database that an application used first: what is in the way is listed, and nothing is changed. */
import type pg from 'pg';
import { expect, test } from 'vitest';
import { createdNames } from '../../src/database/created_names.ts';
import { migrate } from '../../src/database/migrate.ts';
import { findConflicts } from '../../src/database/preflight.ts';
import { readSources } from '../../src/database/sources.ts';
import { lex } from '../../src/database/sql_lexer.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { createTestDatabase } from '../helpers/database.ts';

const sources = readSources();

test('the lexer loses no character of the sources', () => {
  for (const { path, sql } of sources.files) {
    expect(
      lex(sql)
        .map(({ text }) => text)
        .join(''),
      path,
    ).toBe(sql);
  }
});

test('the names that a migration creates are read from the sources, all of them and no other', async () => {
  const { admin } = await createTestDatabase();
  const names = async (query: string) => (await admin.query<{ name: string }>(query)).rows.map(({ name }) => name).sort();
  const got = createdNames(sources, 'public');
  const partitions = `select i.inhrelid from pg_inherits as i`;
  expect([...got.relations].sort()).toEqual(
    await names(`
      select c.relname as name from pg_class as c
      where c.relnamespace = 'public'::regnamespace and c.oid not in (${partitions})
        and not exists (select from pg_index as i where i.indexrelid = c.oid and i.indrelid in (${partitions}))`),
  );
  expect([...got.types].sort()).toEqual(
    await names(`
      select t.typname as name from pg_type as t
      where t.typnamespace = 'public'::regnamespace and t.typelem = 0 and t.typrelid not in (${partitions})`),
  );
  expect([...got.functions].sort()).toEqual(
    await names(`select distinct p.proname as name from pg_proc as p where p.pronamespace = 'public'::regnamespace`),
  );
});

test('migrate lists everything that is in the way, and leaves the database as it was', async () => {
  const { admin, adminUrl } = await createTestDatabase({ empty: true });
  await admin.query(`
    create table public.users (id int primary key, email text);
    create table public.people (id int constraint teams_pkey primary key);
    create view public.teams as select 1 as id;
    create type public.session as enum ('open', 'closed');
    create function public.login(name text) returns text language sql immutable as 'select name';
    create table public.workflow_runs_y2026m11 (id int);
    create table public.orders (id int primary key);
    create schema private`);
  const before = await catalogOf(admin);

  const failure = await migrate(adminUrl, TEST_PASSWORDS).then(
    () => null,
    (error: unknown) => error,
  );
  const conflicts = [
    { kind: 'schema', name: 'private' },
    { kind: 'function', name: 'public.login' },
    { kind: 'index', name: 'public.teams_pkey' },
    { kind: 'index', name: 'public.users_pkey' },
    { kind: 'table', name: 'public.users' },
    { kind: 'table', name: 'public.workflow_runs_y2026m11' },
    { kind: 'type', name: 'public.session' },
    { kind: 'view', name: 'public.teams' },
  ];
  expect(failure).toMatchObject({
    code: 'SCHEMA_CONFLICT',
    message: expect.stringContaining('table public.users'),
    hint: expect.any(String),
    details: { conflicts },
  });
  expect(await catalogOf(admin)).toEqual(before);
});

test('a database without conflicts, and one of Flowgres, have none', async () => {
  const [empty, ours] = await Promise.all([createTestDatabase({ empty: true }), createTestDatabase()]);
  await empty.admin.query(
    'create table public.orders (id int primary key); create function public.total() returns int language sql as $$select 1$$',
  );
  expect(await findConflicts(empty.adminUrl, sources)).toEqual([]);
  expect(await findConflicts(ours.adminUrl, sources)).toEqual([]);
  const missing = new URL(empty.adminUrl);
  missing.pathname = '/no_such_database';
  expect(await findConflicts(missing.href, sources)).toEqual([]);
});

/** Everything that a half-finished migration could leave: schemas, objects, and rights on the database and on schema public. */
async function catalogOf(admin: pg.Pool): Promise<unknown> {
  const { rows } = await admin.query(`
    select
      (select json_agg((n.nspname, n.nspacl::text, obj_description(n.oid)) order by n.nspname) from pg_namespace as n) as schemas,
      (select json_agg((c.relname, c.relacl::text) order by c.oid) from pg_class as c where c.oid >= 16384) as relations,
      (select json_agg(p.oid::regprocedure::text order by p.oid) from pg_proc as p where p.oid >= 16384) as functions,
      (select d.datacl::text from pg_database as d where d.datname = current_database()) as database`);
  return rows[0];
}
