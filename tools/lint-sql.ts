/**
 * Lints `sql/` by PostgreSQL's own grammar: node tools/lint-sql.ts
 *
 * It checks the kind on line 1, lower case, line length, the size of files and functions, stated volatility,
 * named constraints, a reason for every definer function, quoting in dynamic SQL, and what depends on the
 * locale or on standard_conforming_strings. A longer file or function states the reason in a line `-- long
 * because …` above it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'pgsql-parser';
import { lintMigrations } from './lint-migrations.ts';
import { type Token, tokenize } from './sql-tokens.ts';

const MAX_COLUMNS = 120;
const MAX_FILE_LINES = 250;
const MAX_BODY_LINES = 60;
/** Unquoted words in upper case: variables of triggers. */
const CAPITALS = /^(?:NEW|OLD|TG_[A-Z_]+)$/;
/** Objects that can be created only once, by the names of PostgreSQL's grammar. */
const ONCE = new Set(['CompositeTypeStmt', 'CreateStmt', 'IndexStmt', 'CreateSeqStmt', 'CreateDomainStmt', 'CreateEnumStmt']);
const NAMED = new Set(['CONSTR_CHECK', 'CONSTR_PRIMARY', 'CONSTR_UNIQUE', 'CONSTR_EXCLUSION', 'CONSTR_FOREIGN']);

/** A problem with its place. */
export interface Problem {
  file: string;
  line: number;
  message: string;
}

/** Lints every file below a folder. */
export async function lintFolder(folder: string): Promise<Problem[]> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.sql'));
  const problems = await Promise.all(files.sort().map((file) => lintFile(file, readFileSync(`${folder}/${file}`, 'utf8'))));
  return problems.flat();
}

/** Lints one file of SQL. */
export async function lintFile(file: string, sql: string): Promise<Problem[]> {
  const problems: Problem[] = [];
  const report = (line: number, message: string) => problems.push({ file, line, message });
  const tokens = tokenize(sql);
  if (!/(?:^|\/)index\.sql$/.test(file)) lintKind(sql, report);
  lintLines(sql, tokens, report);
  lintWords(tokens, report);
  lintBackslashes(tokens, report);
  lintLocale(tokens, report);
  lintDefiners(sql, tokens, report);
  lintDynamicSql(tokens, report);
  try {
    const bytes = Buffer.from(sql);
    const lineAt = (offset: number) => bytes.subarray(0, offset).toString().split('\n').length;
    const excused = (line: number) => /-- long because/.test(commentAbove(sql, line));
    const { stmts = [] } = (await parse(sql)) as { stmts?: Statement[] };
    for (const { stmt, stmt_location: offset = 0 } of stmts) {
      const line = lineAt(offset);
      if (sql.startsWith('-- kind: code') && ONCE.has(Object.keys(stmt)[0]!)) report(line, 'can be made once only: a file of kind state');
      lintStatement(stmt, line, excused(line), report);
    }
  } catch (error) {
    report(1, `does not parse: ${error instanceof Error ? error.message : String(error)}`);
  }
  return problems;
}

type Report = (line: number, message: string) => void;
interface Statement {
  stmt: Record<string, unknown>;
  stmt_location?: number;
}

function lintKind(sql: string, report: Report): void {
  if (!/^-- kind: (?:state|code|roles|queue|drops)\n/.test(sql)) report(1, 'begins with `-- kind: state` or `-- kind: code`');
}

function lintLines(sql: string, tokens: Token[], report: Report): void {
  const lines = sql.trimEnd().split('\n');
  const excused = lines.slice(0, 10).some((line) => line.startsWith('-- long because'));
  if (lines.length > MAX_FILE_LINES && !excused) report(1, `has ${lines.length} lines; split it by capability at ${MAX_FILE_LINES}`);
  // The text of a comment becomes API documentation: a paragraph is one literal and may be long.
  const prose = new Set(tokens.filter((token) => token.kind === 'string').map((token) => token.line));
  for (const [index, line] of lines.entries()) {
    if (/[ \t\r]$/.test(line)) report(index + 1, 'ends with white space');
    if (line.includes('\t')) report(index + 1, 'has a tab');
    if (line.length > MAX_COLUMNS && !(prose.has(index + 1) && /^\s*(?:comment on .* is )?'.*';$/.test(line))) {
      report(index + 1, `has ${line.length} columns, at most ${MAX_COLUMNS}`);
    }
  }
}

function lintWords(tokens: Token[], report: Report): void {
  for (const token of tokens) {
    if (token.kind === 'word' && /[A-Z]/.test(token.text) && !CAPITALS.test(token.text))
      report(token.line, `${token.text} is written in lower case`);
  }
}

/** Refuses a backslash before a quote: graphile-migrate takes it for an escape, and `commit` would fail. */
function lintBackslashes(tokens: Token[], report: Report): void {
  for (const token of tokens) {
    const isPlain = token.kind === 'string' && token.text.startsWith("'");
    if (isPlain && /(?<!\\)(?:\\\\)*\\'/.test(token.text)) report(token.line, 'writes a backslash before a quote as chr(92)');
    // A function body is parsed when it is called, with the settings of its caller.
    else if (isPlain && token.inBody && token.text.includes('\\'))
      report(token.line, "writes a text with a backslash as E'…': it means another one without standard_conforming_strings");
  }
}

/** Range arguments of lower() and upper(), by the last part of the name; those of texts need a collation. */
const RANGE = /^(?:[pv]_)?(?:span|time_range|period|month|first|last|piece|batch|stretch|covered|wanted|metric_period)$/;

/** Requires a collation where digits or the case of letters depend on the locale of the database. */
function lintLocale(tokens: Token[], report: Report): void {
  for (const [index, token] of tokens.entries()) {
    const next = tokens[index + 1]?.text;
    const around = tokens.slice(Math.max(0, index - 4), index + 5).map(({ text }) => text);
    const ignoresCase = (token.text === '~' && next === '*') || token.text === 'ilike';
    if (ignoresCase && !around.includes('collate'))
      report(token.line, `names the collation of what ${token.text === '~' ? '~*' : 'ilike'} compares`);
    if (/^(?:lower|upper|initcap)$/.test(token.text) && next === '(' && !isRangeOrCollated(tokens.slice(index + 2)))
      report(token.line, `names the collation of what ${token.text}() takes: collate "C", or engine.unicode for what people write`);
    if (token.kind === 'string' && tokens[index - 1]?.text !== 'is' && /(?<!\\)(?:\\\\)*\\d/.test(plainText(token.text)))
      report(token.line, String.raw`writes [0-9]: \d are the digits of all alphabets in some locales`);
  }
}

function isRangeOrCollated(argument: Token[]): boolean {
  let depth = 1;
  let name = '';
  for (const { kind, text } of argument) {
    if (text === '(') depth += 1;
    if (text === ')') depth -= 1;
    if (depth === 0) return RANGE.test(name);
    if (text === 'collate') return true;
    // For example span, p_managed.span, partitions.period(…).
    if (kind === 'word' && name !== '-') name = text;
    else if (text !== '.') {
      if (RANGE.test(name)) return true;
      name = '-';
    }
  }
  return false;
}

/** Returns the value of a literal. */
function plainText(literal: string): string {
  return /^e/i.test(literal) ? literal.replaceAll('\\\\', '\\') : literal;
}

function lintDefiners(sql: string, tokens: Token[], report: Report): void {
  const lines = sql.split('\n');
  for (const [index, token] of tokens.entries()) {
    const isClause = token.text === 'security' && tokens[index + 1]?.text === 'definer';
    if (isClause && !lines[token.line - 1]?.includes('-- definer because'))
      report(token.line, 'says why: `security definer -- definer because …`');
  }
}

/** Requires that `execute` gets a literal, a variable, or format() with %I and %L, and no concatenation. */
function lintDynamicSql(tokens: Token[], report: Report): void {
  for (const [index, token] of tokens.entries()) {
    const isStatement =
      token.inBody &&
      token.kind === 'word' &&
      token.text === 'execute' &&
      !['grant', 'revoke', 'on', 'for'].includes(tokens[index - 1]?.text ?? '');
    if (!isStatement || tokens[index + 1]?.text === 'on' || tokens[index + 1]?.text === 'function') continue;
    const end = tokens.findIndex((other, place) => place > index && other.text === ';');
    const statement = tokens.slice(index + 1, end);
    if (statement.some((each) => each.text === '||')) report(token.line, 'dynamic SQL is built by format() with %I and %L, not by ||');
    const template = statement[0]?.text === 'format' ? statement.find((each) => each.kind === 'string') : undefined;
    if (template && /%(?:\d+\$)?s/.test(template.text)) report(template.line, 'dynamic SQL inserts %s unquoted; use %I, %L or `using`');
  }
}

/** Returns the comment lines directly above a line, or at the beginning of its statement. */
function commentAbove(sql: string, line: number): string {
  const lines = sql.split('\n');
  const comment: string[] = [];
  for (let index = line - 2; index >= 0 && lines[index]?.startsWith('--'); index -= 1) comment.push(lines[index]!);
  for (let index = line - 1; /^(?:--|$)/.test(lines[index] ?? ';'); index += 1) comment.push(lines[index]!);
  return comment.join('\n');
}

function lintStatement(stmt: Record<string, unknown>, line: number, mayBeLong: boolean, report: Report): void {
  const definition = stmt['CreateFunctionStmt'] as { is_procedure?: boolean; options?: { DefElem: Option }[] } | undefined;
  if (definition) {
    const options = (definition.options ?? []).map((each) => each.DefElem);
    if (!definition.is_procedure && !options.some((each) => each.defname === 'volatility'))
      report(line, 'states immutable, stable or volatile');
    const body = JSON.stringify(options.find((each) => each.defname === 'as')?.arg ?? '').split('\\n').length - 2;
    if (body > MAX_BODY_LINES && !mayBeLong) report(line, `has a body of ${body} lines; split it at ${MAX_BODY_LINES}`);
  }
  visit(stmt, (node) => {
    const constraint = node['Constraint'] as { contype: string; conname?: string } | undefined;
    if (constraint && NAMED.has(constraint.contype) && !constraint.conname) {
      report(line, `names its ${constraint.contype.replace('CONSTR_', '').toLowerCase()} constraint`);
    }
  });
}

interface Option {
  defname: string;
  arg?: unknown;
}

function visit(node: unknown, action: (node: Record<string, unknown>) => void): void {
  if (Array.isArray(node)) for (const each of node) visit(each, action);
  else if (node && typeof node === 'object') {
    action(node as Record<string, unknown>);
    for (const value of Object.values(node)) visit(value, action);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sources = await lintFolder(fileURLToPath(new URL('../sql', import.meta.url)));
  const problems = [...sources.map((problem) => ({ ...problem, file: `sql/${problem.file}` })), ...(await lintMigrations())];
  for (const { file, line, message } of problems) console.log(`${file}:${line} ${message}`);
  if (problems.length) process.exitCode = 1;
}
