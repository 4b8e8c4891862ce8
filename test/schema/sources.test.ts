import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { lintFile, lintFolder } from '../../tools/lint-sql.ts';

test('the SQL sources keep the style', async () => {
  const problems = await lintFolder(fileURLToPath(new URL('../../sql', import.meta.url)));
  expect(problems.map(({ file, line, message }) => `sql/${file}:${line} ${message}`)).toEqual([]);
});

test('no process changes the queue but through the engine', async () => {
  const folder = fileURLToPath(new URL('../../src', import.meta.url));
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith('.ts'));
  const calls = await Promise.all(
    files.map(async (file) => {
      const text = await readFile(`${folder}/${file}`, 'utf8');
      return [...text.matchAll(/graphile_worker\.\w+|\b(?:addJobs?|quickAddJob|makeWorkerUtils)\b/g)].map(([call]) => `${file}: ${call}`);
    }),
  );
  expect(calls.flat()).toEqual([]);
});

describe('the lint finds', () => {
  const lint = async (sql: string) => (await lintFile('x.sql', `-- kind: code\n${sql}\n`)).map(({ line, message }) => `${line} ${message}`);
  const body = (statement: string) => `create function a.f() returns void language plpgsql volatile as $$ begin${statement}end $$;`;

  test.each([
    [
      'a volatility that is not stated',
      'create function a.f() returns int language sql as $$ select 1 $$;',
      '2 states immutable, stable or volatile',
    ],
    ['a constraint without a name', 'create table a.t (\n  id int primary key\n);', '2 names its primary constraint'],
    ['what code cannot make again', 'create type a.t as (x int);', '2 can be made once only: a file of kind state'],
    ['capitals', 'SELECT 1;', '2 SELECT is written in lower case'],
    ['a definer without a reason', 'alter function a.f()\n  security definer;', '3 says why: `security definer -- definer because …`'],
    ['a backslash before a quote', String.raw`select '\';`, '2 writes a backslash before a quote as chr(92)'],
    [
      'a backslash in a body, which means something else without standard_conforming_strings',
      body(String.raw` v_ok := v_text ~ '^\.'; `),
      "2 writes a text with a backslash as E'…': it means another one without standard_conforming_strings",
    ],
    [
      'digits of all alphabets',
      String.raw`alter table a.t add constraint t_x_check check (x ~ '^\d$');`,
      String.raw`2 writes [0-9]: \d are the digits of all alphabets in some locales`,
    ],
    [
      'digits of all alphabets in a body',
      body(String.raw` v_ok := v_text ~ E'^\\d'; `),
      String.raw`2 writes [0-9]: \d are the digits of all alphabets in some locales`,
    ],
    [
      'letters that depend on the locale',
      body(` v_text := lower(v_text); `),
      '2 names the collation of what lower() takes: collate "C", or engine.unicode for what people write',
    ],
    ['a comparison that depends on the locale', body(` v_ok := v_text ~* 'of'; `), '2 names the collation of what ~* compares'],
    ['a search that depends on the locale', body(` v_ok := v_text ilike v_pattern; `), '2 names the collation of what ilike compares'],
    ['concatenated SQL', body(` execute 'drop table ' || v_name; `), '2 dynamic SQL is built by format() with %I and %L, not by ||'],
    [
      'unquoted text in SQL',
      body(` execute format('drop table %s', v_name); `),
      '2 dynamic SQL inserts %s unquoted; use %I, %L or `using`',
    ],
  ])('%s', async (_what, sql, problem) => {
    expect(await lint(sql)).toContain(problem);
  });

  test('nothing in a file that keeps the style', async () => {
    const statement = `\n  execute format('drop table %I', v_name);\n  raise notice 'It''s DONE: %', NEW.id;\n  v_at := lower(p.span); v_text := lower(v_text collate "C"); v_ok := v_text collate "C" ~* E'^\\\\.';\n`;
    expect(await lint(body(statement))).toEqual([]);
  });
});
