/** Limits stand in one place each: sql/00_foundation/limits.sql and src/constants.ts. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CONSTANTS, LIMITS } from '../../src/constants.ts';
import { BUILD_FOLDER } from '../../src/database/sources.ts';
import { schemaLimits } from '../../tools/reference/limits.ts';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();
const limits = await schemaLimits(db.admin);

/** A size of memory written out, such as 1048576, 64 * 1024 or 262144. */
const SIZE = /(?<![\w.'])(?:\d+ \* (?:1024|1048576)|1048576|\d{5,})(?![\w.])/g;
/** A power of two from 16 KiB to 1 GiB, or a product. */
const isSize = (text: string) =>
  text.includes('*') || (Number(text) >= 2 ** 14 && Number(text) <= 2 ** 30 && Number.isInteger(Math.log2(Number(text))));

const read = (folder: string, extension: string) =>
  readdirSync(join(BUILD_FOLDER, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(extension))
    .map((file) => ({ file: `${folder}/${file}`, text: readFileSync(join(BUILD_FOLDER, folder, file), 'utf8') }));

test('functions without arguments that the planner replaces by their value hold the limits of the schema', async () => {
  expect(limits.length).toBeGreaterThan(30);
  const { rows } = await db.admin.query(
    `select p.oid::regprocedure::text from pg_proc as p
     where obj_description(p.oid, 'pg_proc') like 'Limit, %'
       and not (p.provolatile = 'i' and p.proparallel = 's' and p.pronargs = 0 and not p.prosecdef and p.proconfig is null
         and p.prolang = (select l.oid from pg_language as l where l.lanname = 'sql'))`,
  );
  expect(rows).toEqual([]);
  const { rows: plan } = await db.admin.query('explain (verbose, costs off) select engine.max_value_bytes()');
  expect(plan.map((row) => Object.values(row as object)[0])).toContain('  Output: 1048576');
});

test('no function of the schema writes out a size again', () => {
  const found = read('sql', '.sql').flatMap(({ file, text }) =>
    text
      .split('\n')
      .filter((line) => !/^\s*--|^comment on|^\s*constraint /.test(line))
      .flatMap((line) => [...line.replace(/--.*/, '').matchAll(SIZE)].map(([size]) => size).filter(isSize))
      .map((size) => `${file}: ${size}`),
  );
  expect([...new Set(found)].filter((each) => !each.startsWith('sql/00_foundation/limits'))).toEqual([
    'sql/30_workflows/values/values.sql: 16384', // above that, a value is measured: not a limit
  ]);
});

test('no file of src/ writes out a size of a limit again', () => {
  const found = read('src', '.ts').flatMap(({ file, text }) =>
    [
      ...text.replaceAll(/\/\*.*?\*\/|\/\/[^\n]*/gs, '').matchAll(/\b(?:\d+ \* 1024(?: \* 1024| \*\* 2)?|\d+ \* 1024 \*\* 2|65_536)\b/g),
    ].map(([size]) => `${file}: ${size}`),
  );
  expect([...new Set(found)].filter((each) => !each.startsWith('src/constants.ts'))).toEqual([
    'src/database/embedded.ts: 16 * 1024 ** 2', // log of the embedded server
    'src/database/embedded.ts: 4 * 1024 ** 2', // memory that it needs
    'src/engine/coalesce.ts: 4 * 1024 * 1024', // a batch: others go into the next one
    'src/nodes/http_response.ts: 64 * 1024', // answers up to here reserve no memory: not a limit
  ]);
});

test('a limit of the process and the same one of the schema are equal', () => {
  const schema = Object.fromEntries(limits.map(({ name, value }) => [name, Number(value)]));
  expect(LIMITS.json.maxDepth).toBe(schema['engine.max_value_levels()']);
  expect(LIMITS.webhooks.maxBodyBytes).toBe(schema['engine.max_value_bytes()']);
  expect(LIMITS.worker.maxMessageLength).toBe(schema['engine.max_log_message_length()']);
  expect(LIMITS.schedules.slots).toBeGreaterThan(0);
});

test('the length that the table of log lines allows is the limit of a message', async () => {
  const { rows } = await db.admin.query(
    `select pg_get_constraintdef(k.oid) as definition from pg_constraint as k
     where k.conname = 'workflow_run_logs_message_check' and k.conparentid = 0 limit 1`,
  );
  expect((rows[0] as { definition: string }).definition).toContain(`<= ${LIMITS.worker.maxMessageLength})`);
});

test('the limits that docs/reference/security.md names are there', () => {
  const page = readFileSync(join(BUILD_FOLDER, 'docs/reference/security.md'), 'utf8');
  const settings = [...page.matchAll(/^\|(?:[^|]*\|){3}([^|]*)\|[^|]*\|$/gm)].map(([, cell]) => cell!);
  const named = settings.flatMap((cell) => [...cell.matchAll(/(argument of )?`([a-zA-Z]+\.\w+(?:\(\))?)`/g)]);
  const known = new Set([
    ...limits.map(({ name }) => name),
    ...Object.entries(CONSTANTS).flatMap(([group, each]) => Object.keys(each).map((name) => `${group}.${name}`)),
  ]);
  const unknown = named
    .map(([, argument, name]) => ({ argument, name: name! }))
    .filter(({ argument, name }) => !argument && !known.has(name));
  expect(named.length).toBeGreaterThan(40);
  expect(unknown.map(({ name }) => name).filter((name) => !/\.ts$|^private\.\w+$/.test(name))).toEqual([]);
});

test('every limit says what it is, and settings have their defaults from them', () => {
  for (const limit of Object.values(CONSTANTS).flatMap((group) => Object.values(group) as { what: string; caller: string }[])) {
    expect(limit.what).toMatch(/\S/);
    expect(limit.caller).toMatch(/\S/);
  }
  const config = readFileSync(join(BUILD_FOLDER, 'src/config.ts'), 'utf8');
  const settings = Object.values(CONSTANTS).flatMap((group) =>
    Object.values(group).flatMap((each) => ('setting' in each ? [each.setting] : [])),
  );
  expect(settings.filter((setting) => !new RegExp(`  ${setting}: [^:]*\\.default\\(LIMITS\\.`).test(config))).toEqual([]);
});
