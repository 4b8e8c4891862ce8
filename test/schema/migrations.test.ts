/** What the lint of migrations finds, and that those of this tree keep its rules. */
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { codeFunctions, isBlank, lintDrops, lintMigration, lintMigrations } from '../../tools/lint-migrations.ts';
import { readSources } from '../../src/database/sources.ts';

const functions = codeFunctions();
const lint = async (sql: string) => (await lintMigration('x.sql', sql, functions)).map(({ message }) => message);
const asOwner = (sql: string) => `set local role flowgres_owner;\n${sql}\nreset role;`;

test('the migrations of this tree keep the rules', async () => {
  expect(await lintMigrations()).toEqual([]);
});

describe('the lint finds', () => {
  test.each([
    ['a call of code', asOwner(`update workflows set id = engine.uuid_v7();`), /names engine.uuid_v7\(\), which is code/],
    ['one in a body', asOwner(`do $$ begin perform partitions.maintain(); end $$;`), /names partitions.maintain\(\)/],
    ['one in a default of a table that is there', asOwner(`alter table workflows add x uuid default engine.uuid_v7();`), /is code/],
    ['one without its schema', asOwner(`select create_workflow('x', '{}');`), /names public.create_workflow\(\)/],
    ['a function that code makes', asOwner(`create function engine.uuid_v7() returns int language sql as 'select 1';`), /is code/],
    ['a view', asOwner('create view x as select 1;'), /makes a view/],
    ['a policy', asOwner('create policy x on workflows using (true);'), /makes a policy/],
    ['a trigger', asOwner('create trigger x after insert on workflows execute function f();'), /makes a trigger/],
    ['an include of code', asOwner('--!include 50_engine/start/start.sql'), /includes 50_engine\/start\/start.sql/],
    ['one that was put in place', asOwner('--! Included 50_engine/start/start.sql\nselect 1;'), /includes 50_engine\/start\/start.sql/],
    ['a role that is made', asOwner('create role x;'), /leaves roles alone/],
    ['an owner who is not', 'alter table workflows add x int;', /acts as the owner/],
    ['a concurrent index in a transaction', asOwner('create index concurrently x on workflows (id);'), /a migration of its own/],
    ['two statements outside of one', '--! no-transaction\nvacuum workflows;\nvacuum users;', /exactly one statement/],
    ['one outside that need not be', '--! no-transaction\nselect 1;', /exactly one statement/],
    ['one that cannot be repeated', '--! no-transaction\ncreate index concurrently x on workflows (id);', /can be run again/],
  ])('%s', async (_what, sql, message) => {
    expect(await lint(sql)).toContainEqual(expect.stringMatching(message));
  });

  test('nothing in a migration that keeps the rules, nor in a blank one', async () => {
    const table = 'create table public.x (id uuid default engine.uuid_v7(), constraint x_check check (private.are_tags(null)));';
    expect(await lint(asOwner(`alter table workflows add color text;\n${table}`))).toEqual([]);
    expect(await lint('--! no-transaction\ncreate index concurrently if not exists x on workflows (id);')).toEqual([]);
    expect(await lint('-- nothing yet\n')).toEqual([]);
    expect([isBlank('-- nothing yet\n'), isBlank('select 1'), isBlank('--!include a.sql')]).toEqual([true, false, false]);
  });

  test.each([
    ['a drop that fails the second time', 'drop function a.f();'],
    ['a drop of what hangs on it', 'drop function if exists a.f() cascade;'],
    ['something else', 'delete from a.t;'],
  ])('in the list of what was dropped: %s', (_what, line) => {
    expect(lintDrops('sql/dropped.sql', `-- kind: drops\n${line}\n`)).toMatchObject([{ line: 2 }]);
  });
});

test('every file of the schema is in an index', () => {
  const { files, folder } = readSources();
  const present = readdirSync(`${folder}/sql`, { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll('\\', '/'))
    .filter(
      (file) => file.endsWith('.sql') && !/(?:^|\/)index\.sql$/.test(file) && !['roles.sql', 'queue.sql', 'dropped.sql'].includes(file),
    );
  expect(files.map(({ path }) => path).toSorted()).toEqual(present.toSorted());
});
