/**
 * Lints what upgrades a database from one release to the next: `migrations/current.sql`,
 * `migrations/committed/` and `sql/dropped.sql`. Migrations change state only: they neither define nor call
 * objects of files of kind code.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { parse } from 'pgsql-parser';
import { BUILD_FOLDER, readSources } from '../src/database/sources.ts';
import type { Problem } from './lint-sql.ts';
import { type Token, tokenize } from './sql-tokens.ts';

/** Objects that only files of kind code create, by the names of PostgreSQL's grammar. */
const CODE_ONLY: Record<string, string> = { ViewStmt: 'a view', CreatePolicyStmt: 'a policy', CreateTrigStmt: 'a trigger' };
const BASELINE = /^000001-/;
const DROP_LINE = /^drop (?:function|procedure|view|policy|trigger|type) if exists [^;]+;$/;

type Report = (line: number, message: string) => void;

/** Lints the migrations of this tree and the list of dropped objects. */
export async function lintMigrations(): Promise<Problem[]> {
  const committed = readdirSync(`${BUILD_FOLDER}/migrations/committed`).filter((file) => file.endsWith('.sql') && !BASELINE.test(file));
  const files = ['current.sql', ...committed.sort().map((file) => `committed/${file}`)];
  const read = (file: string) => readFileSync(`${BUILD_FOLDER}/${file}`, 'utf8');
  const problems = await Promise.all(files.map((file) => lintMigration(`migrations/${file}`, read(`migrations/${file}`), codeFunctions())));
  return [...problems.flat(), ...lintDrops('sql/dropped.sql', read('sql/dropped.sql'))];
}

/** Whether the text has only comments. */
export function isBlank(sql: string): boolean {
  return tokenize(sql).length === 0 && !/^--! *include /m.test(sql);
}

/** Returns the functions that files of kind code create, with their schemas. */
export function codeFunctions(): Set<string> {
  const code = readSources().files.filter(({ kind }) => kind === 'code');
  return new Set(
    code.flatMap(({ sql }) => [...sql.matchAll(/^create or replace (?:function|procedure) ([\w.]+)/gm)].map(([, name]) => name!)),
  );
}

/** Lints one migration. */
export async function lintMigration(file: string, sql: string, functions: Set<string>): Promise<Problem[]> {
  const problems: Problem[] = [];
  const report: Report = (line, message) => problems.push({ file, line, message });
  if (isBlank(sql)) return [];
  lintIncludes(sql, report);
  lintCalls(tokenize(sql), functions, report);
  try {
    const { stmts = [] } = (await parse(sql)) as unknown as { stmts?: { stmt: Record<string, Record<string, unknown>> }[] };
    const statements = stmts.map(({ stmt }) => Object.entries(stmt)[0]!);
    for (const [kind] of statements) if (CODE_ONLY[kind]) report(1, `makes ${CODE_ONLY[kind]}: that is in a file of kind code`);
    lintTransaction(sql, statements, report);
  } catch (error) {
    report(1, `does not parse: ${error instanceof Error ? error.message : String(error)}`);
  }
  return problems;
}

function lintIncludes(sql: string, report: Report): void {
  const { files } = readSources();
  for (const [, path] of sql.matchAll(/^--!\s*include(?:d)?\s+(\S+)$/gim)) {
    const kind = files.find((file) => file.path === path)?.kind ?? 'state';
    if (kind !== 'state') report(1, `includes ${path}, which is applied after the migrations by itself`);
  }
}

/**
 * Refuses calls of functions that are executed now, with the code of any release. A column default or a check
 * in `create table` is executed later.
 */
function lintCalls(tokens: Token[], functions: Set<string>, report: Report): void {
  let isTable = false;
  for (const [place, token] of tokens.entries()) {
    const [before, dot, name] = [tokens[place - 1], tokens[place + 1], tokens[place + 2]];
    if (!token.inBody && (place === 0 || before?.text === ';')) isTable = token.text === 'create' && dot?.text === 'table';
    if (isTable || token.kind !== 'word' || before?.text === '.') continue;
    const isQualified = dot?.text === '.';
    const called = isQualified ? `${token.text}.${name?.text}` : `public.${token.text}`;
    const bracket = tokens[place + (isQualified ? 3 : 1)]?.text;
    if (bracket === '(' && functions.has(called)) report(token.line, `names ${called}(), which is code: it may be of any release`);
  }
}

function lintTransaction(sql: string, statements: [string, Record<string, unknown>][], report: Report): void {
  const runsAlone = ([kind, statement]: [string, Record<string, unknown>]) =>
    statement['concurrent'] === true || ['VacuumStmt', 'AlterSystemStmt', 'CreatedbStmt'].includes(kind);
  if (/^--! no-transaction\b/m.test(sql)) {
    if (statements.length !== 1 || !runsAlone(statements[0]!)) report(1, 'has exactly one statement, which cannot run in a transaction');
    else if (!/\bif (?:not )?exists\b/.test(sql)) report(1, 'can be run again after an interruption: `if not exists` or `if exists`');
    return;
  }
  if (statements.some(runsAlone))
    report(1, 'has a statement that cannot run in a transaction: a migration of its own with `--! no-transaction`');
  if (!/^set local role flowgres_owner;$/m.test(sql)) report(1, 'acts as the owner: `set local role flowgres_owner;`');
  // graphile-migrate records the migration after it, in the same transaction.
  if (!/^reset role;$/m.test(sql.trimEnd().split('\n').at(-1)!)) report(1, 'ends with `reset role;`');
  if (statements.some(([kind]) => /Role/.test(kind))) report(1, 'leaves roles alone: they are of the whole server, in sql/roles.sql');
}

/** The list is executed whole when it changes, so each line must be one repeatable statement. */
export function lintDrops(file: string, sql: string): Problem[] {
  return sql
    .split('\n')
    .map((text, index) => ({ text, line: index + 1 }))
    .filter(({ text }) => text !== '' && !text.startsWith('--'))
    .filter(({ text }) => !DROP_LINE.test(text) || /\bcascade\b/.test(text))
    .map(({ line }) => ({ file, line, message: 'is `drop … if exists …;` on one line, without cascade' }));
}
