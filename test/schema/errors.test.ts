/** Every error has a code, and docs/reference/errors.md explains every code. */
import { readFileSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { STATUS } from '../../src/http/http_error.ts';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();
const page = readFileSync(new URL('../../docs/reference/errors.md', import.meta.url), 'utf8');

/** The sources of a folder, as one text. */
function sources(folder: string, extension: string): string {
  const root = new URL(`../../${folder}/`, import.meta.url);
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith(extension));
  return files.map((file) => readFileSync(new URL(file, root), 'utf8')).join('\n');
}

const found = (text: string, pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, code]) => code!))];
const unexplained = (codes: string[]) => codes.filter((code) => !page.includes(`\`${code}\``)).sort();

test('the page has every code of the catalogue with its SQLSTATE', async () => {
  const { rows } = await db.admin.query<{ code: string; sqlstate: string }>('select code, sqlstate from private.error_codes()');
  expect(rows.length).toBeGreaterThan(10);
  expect(rows.filter(({ code, sqlstate }) => !page.includes(`| \`${code}\` | ${sqlstate} |`))).toEqual([]);
});

test('the page has the HTTP status of every code that HTTP answers', () => {
  const rows = [...page.matchAll(/^\| `(\w+)` \|(?: WF\d+ \|)? (\d{3})\b/gm)].map(([, code, status]) => [code!, Number(status)]);
  const listed = Object.fromEntries(rows) as Record<string, number>;
  expect(Object.entries(STATUS).filter(([code, status]) => listed[code] !== status)).toEqual([]);
  expect(rows.map(([code]) => code)).toEqual([...new Set(rows.map(([code]) => code))]);
});

test('functions raise codes of the catalogue only', async () => {
  const { rows } = await db.admin.query<{ code: string }>(`
    select distinct m[1] as code from pg_proc as p, regexp_matches(p.prosrc, 'raise_error\\(\\s*''([A-Z_]+)''', 'g') as m
    where m[1] not in (select c.code from private.error_codes() as c)`);
  expect(rows).toEqual([]);
});

test('no function raises an error without a code', async () => {
  const { rows } = await db.admin.query({
    rowMode: 'array',
    text: `
      select p.oid::regprocedure::text from pg_proc as p
      where p.pronamespace::regnamespace::text in ('public', 'private', 'partitions', 'engine', 'monitor', 'cron')
        and p.prosrc ~ 'raise exception' and p.proname <> 'raise_error'
        -- Of PostgreSQL's own codes only the one that says: repeat the transaction.
        and p.prosrc !~ 'errcode = ''serialization_failure'''`,
  });
  expect(rows.flat()).toEqual([]);
});

test('the page explains the codes that SQL gives to runs and definitions', () => {
  const codes = found(sources('sql', '.sql'), /(?<!')'([A-Z]{2,}(?:_[A-Z]+)+)'(?!')/g);
  expect(codes.length).toBeGreaterThan(20);
  expect(unexplained(codes)).toEqual([]);
});

test('the page explains the codes of TypeScript', () => {
  const codes = found(sources('src', '.ts'), /(?:(?:Flowgres|Node)Error\(\s*|\bcode: )'([A-Z_]+)'/g);
  expect(codes.length).toBeGreaterThan(20);
  expect(unexplained(codes)).toEqual([]);
});
