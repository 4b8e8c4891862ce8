/**
 * Lints names: node tools/lint-names.ts
 *
 * It enforces the words of docs/glossary.md: identifiers contain no retired word; ids end in `_id`, parameters
 * begin with `p_` and variables with `v_`; the prose of the pages has no retired word either; policies are named `<table>_<role>_<command>` and are in a file
 * `policies.sql`; a function that only its own file uses is not first in it; zod schemas have lower-case names.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Problem } from './lint-sql.ts';
import { type Token, tokenize } from './sql-tokens.ts';

/** Words that identifiers must not contain, and their replacements. */
export const RETIRED: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/^(?:[pv]_)?moves?$|_move$|^move_on$|^write_moves$|^moves_in/, 'transition'],
  [/(?:^|_)take(?:n|s)?(?:_|$)/, 'claim, apply, run, acquire: what is done'],
  [/(?:^|_)(?:lend|lent)(?:_|$)/, 'claim'],
  [/(?:^|_)heirs?(?:_|$)/, 'successor'],
  [/(?:^|_)hand(?:ed|ing)?_on(?:_|$)/, 'successor'],
  [/(?:^|_)rooms?(?:_|$)/, 'quota, or slot'],
  [/(?:^|_)give_back(?:_|$)/, 'return'],
  [/(?:^|_)let_/, 'release'],
  [/(?:^|_)judge_/, 'decision'],
  [/(?:^|_)(?:un)?park(?:ed|s)?(?:_|$)/, 'defer'],
  [/(?:^|_)crowded(?:_|$)/, 'over_share'],
  [/(?:^|_)famil(?:y|ies)(?:_|$)/, 'children, or run tree'],
  [/(?:^|_)turns?(?:_|$)/, 'progress, or advance'],
  [/(?:^|_)orphans?(?:_|$)/, 'canceled children, or abandoned'],
  [/(?:^|_)deaths?(?:_|$)/, 'crashes'],
  [/(?:^|_)(?:fed|feed)(?:_|$)/, 'external input, apply'],
  [/^given_by$|^named_places$/, 'what is returned'],
  [/(?:^|_)(?:farewell|departures?|stragglers?|undress|dress|kin|gentle)(?:_|$)/, 'the word of docs/glossary.md'],
  [/^put_away$|^holds_up_others$|^execute_patiently$|^lock_in_turn$/, 'the word of docs/glossary.md'],
  [/(?:^|_)care(?:_|$)/, 'upkeep'],
  [/(?:^|_)(?:news|told)(?:_|$)/, 'notification, notified'],
  [/^run_operations?$/, 'bulk_operation'],
];
/** Words that the prose of pages must not contain, and their replacements. */
export const RETIRED_IN_PROSE: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\b(?:he|she|him|her|his|hers|himself|herself)\b/i, 'the person, the user, they'],
  [/\blets? in\b/i, 'release, or accept'],
  [/\bnews\b/i, 'notification'],
  [/\bfamil(?:y|ies)\b/i, 'children, or run tree'],
  [/\b(?:whose|its|their) turns?\b|\b(?:in|take|takes|concurrent) turns\b|\bturns at\b/i, 'transaction, or what is waited for'],
  [/\blen(?:d|ds|t)\b/i, 'claim'],
  [/\bgent(?:ly|le|ler)\b/i, 'concurrently'],
  [/\bcare\b/i, 'upkeep'],
  [/\b(?:parked|stragglers?|farewell|orphans?|heirs?)\b/i, 'the word of docs/glossary.md'],
  [/\b(?:is|are|was|were|be|been) told\b/i, 'notified, or what is answered'],
  [/\b(?:retention|partition)s? polic(?:y|ies)\b/i, 'retention rule'],
];
/** Names of PostgreSQL and Node. */
const EXCEPTED = new Set(['family']);
/** Schemas whose functions users call with named arguments: their parameters have plain names. */
const PUBLIC = /^(?:public|partitions|cron|monitor)$/;
/** Functions of schema engine that are called with named arguments. */
const CALLED_BY_NAME =
  /^(?:register_node|begin_reset|begin_registration|forgive_attempt|(?:retry|cancel)_runs_everywhere|(?:grant|revoke)_application|(?:un)?watch_table)$/;

/** Lints the SQL sources and the TypeScript of `src/`. */
export function lintNames(root: string): Problem[] {
  const sql = read(`${root}/sql`, '.sql').map(({ file, text }) => ({ file: `sql/${file}`, text, tokens: tokenize(text) }));
  const ts = ['.ts', '.tsx'].flatMap((kind) => read(`${root}/src`, kind)).map(({ file, text }) => ({ file: `src/${file}`, text }));
  return [
    ...sql.flatMap(({ file, tokens }) => [
      ...lintWords(file, identifiersOf(tokens)),
      ...lintIds(file, tokens),
      ...lintPolicies(file, tokens),
    ]),
    ...lintEntries(sql, ts),
    ...pages(root).flatMap(({ file, text }) => lintProse(file, text)),
    ...ts.flatMap(({ file, text }) => [...lintWords(file, identifiersIn(text)), ...lintSchemas(file, text)]),
  ];
}

interface Name {
  name: string;
  line: number;
}

/** Reports identifiers that contain a retired word. */
export function lintWords(file: string, names: Name[]): Problem[] {
  const seen = new Set<string>();
  return names.flatMap(({ name, line }) => {
    const snake = name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toLowerCase();
    const [, instead] = EXCEPTED.has(name) || seen.has(name) ? [] : (RETIRED.find(([pattern]) => pattern.test(snake)) ?? []);
    seen.add(name);
    return instead ? [{ file, line, message: `${name}: the word is retired; say ${instead}` }] : [];
  });
}

/** Reports retired words in the prose of a page: code, targets of links and generated parts are left out. */
export function lintProse(file: string, text: string): Problem[] {
  const blank = (part: string) => part.replaceAll(/[^\n]/g, ' ');
  const [written = ''] = text.split('<!-- generated by');
  const prose = written.replaceAll(/^ *```[\s\S]*?^ *```$|`[^`\n]*`|\]\([^)\s]*\)/gm, blank);
  return prose.split('\n').flatMap((line, index) =>
    RETIRED_IN_PROSE.flatMap(([pattern, instead]) => {
      const found = pattern.exec(line)?.[0];
      return found ? [{ file, line: index + 1, message: `"${found}": the word is retired; say ${instead}` }] : [];
    }),
  );
}

/** Returns the pages that people write. */
function pages(root: string): { file: string; text: string }[] {
  const docs = read(`${root}/docs`, '.md').map(({ file, text }) => ({ file: `docs/${file}`, text }));
  const others = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'migrations/README.md'];
  return [...docs, ...others.map((file) => ({ file, text: readFileSync(`${root}/${file}`, 'utf8') }))];
}

const identifiersOf = (tokens: Token[]): Name[] =>
  tokens.filter(({ kind }) => kind === 'word').map(({ text, line }) => ({ name: text, line }));

/** Returns the identifiers of TypeScript, without comments and literals. */
function identifiersIn(text: string): Name[] {
  const blank = (part: string) => part.replaceAll(/[^\n]/g, ' ');
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\\n]|\\.)*"/g, blank);
  return code.split('\n').flatMap((line, index) => [...line.matchAll(/[A-Za-z_]\w*/g)].map(([name]) => ({ name, line: index + 1 })));
}

/**
 * Reports ids that do not end in `_id`, variables without `v_`, and parameters of internal functions without
 * `p_`.
 */
export function lintIds(file: string, tokens: Token[]): Problem[] {
  const problems: Problem[] = [];
  for (const [index, { text, line, inBody }] of tokens.entries()) {
    const type = tokens[index + 1]?.text === 'constant' ? tokens[index + 2] : tokens[index + 1];
    const after = tokens[index + (type === tokens[index + 1] ? 2 : 3)]?.text ?? '';
    if (type?.text === 'uuid' && /^[pv]_/.test(text) && !(after === '[' ? /_ids$/ : /_id$/).test(text)) {
      problems.push({ file, line, message: `${text} is an id: its name ends in ${after === '[' ? '_ids' : '_id'}` });
    }
    if (inBody && text === 'declare') {
      for (const name of declaredIn(tokens, index)) {
        if (!/^v_/.test(name.text)) problems.push({ file, line: name.line, message: `variable ${name.text} begins with v_` });
      }
    }
    if ((text === 'function' || text === 'procedure') && tokens[index - 1]?.text === 'replace' && !isCalledByName(tokens, index + 1)) {
      for (const name of parametersOf(tokens, index + 4)) {
        if (!/^p_/.test(name.text)) problems.push({ file, line: name.line, message: `parameter ${name.text} begins with p_` });
      }
    }
  }
  return problems;
}

const isCalledByName = (tokens: Token[], schema: number) =>
  PUBLIC.test(tokens[schema]?.text ?? '') || CALLED_BY_NAME.test(tokens[schema + 2]?.text ?? '');

/** Returns the names that a declare section declares: the first word of each statement. */
function declaredIn(tokens: Token[], declare: number): Token[] {
  const names: Token[] = [];
  let isFirst = true;
  for (const token of tokens.slice(declare + 1)) {
    if (token.text === 'begin') break;
    if (isFirst && token.kind === 'word') names.push(token);
    isFirst = token.text === ';';
  }
  return names;
}

/** Returns the names of the input parameters, from the parenthesis on. */
function parametersOf(tokens: Token[], open: number): Token[] {
  const names: Token[] = [];
  if (tokens[open]?.text !== '(') return names;
  let depth = 1;
  let isFirst = true;
  for (const token of tokens.slice(open + 1)) {
    if (token.text === '(') depth += 1;
    if (token.text === ')') depth -= 1;
    if (depth === 0) break;
    if (isFirst && token.kind === 'word' && !/^(?:out|inout|variadic)$/.test(token.text)) names.push(token);
    isFirst = depth === 1 && token.text === ',';
  }
  return names;
}

/** Reports policies with other names, or in other files. */
export function lintPolicies(file: string, tokens: Token[]): Problem[] {
  return tokens.flatMap(({ text, line }, index) => {
    const [create, name, on] = [tokens[index - 1], tokens[index + 1], tokens[index + 2]];
    if (text !== 'policy' || create?.text !== 'create' || !name || on?.text !== 'on' || tokens[index + 3]?.text === 'cron') return [];
    const table = tokens[index + 5]?.text ?? '';
    const expected = new RegExp(
      `^${table}_flowgres_(?:anonymous|user|dba|worker|monitor|application)_(?:select|insert|update|delete|all)(?:_scope)?$`,
    );
    const problems: Problem[] = [];
    if (!expected.test(name.text)) problems.push({ file, line, message: `policy ${name.text} is named <table>_<role>_<command>` });
    if (!/(?:^|\/)(?:policies|queue)\.sql$/.test(file)) problems.push({ file, line, message: 'policies stand in policies.sql' });
    return problems;
  });
}

interface SourceText {
  file: string;
  text: string;
  tokens: Token[];
}

/**
 * Reports files whose first function is not used by other files, unless a function of language sql needs it
 * before itself.
 */
export function lintEntries(sql: SourceText[], ts: { text: string }[]): Problem[] {
  const calls = ts.map(({ text }) => text).join('\n');
  return sql.flatMap(({ file, text }) => {
    const made = [...text.matchAll(/^create or replace (?:function|procedure) ([a-z_]+\.\w+)[\s\S]*?\n {2}language (\w+)/gm)];
    const [name = ''] = made[0]?.slice(1) ?? [];
    if (
      made.length < 2 ||
      name.startsWith('public.') ||
      new RegExp(`comment on (?:function|procedure) ${name}\\(`).test(text) ||
      calls.includes(name)
    )
      return [];
    // A name may occur in a string, in statements that another session executes.
    if (sql.some((other) => other.file !== file && new RegExp(`(?<![\\w.])${name}\\b`).test(other.text))) return [];
    const isNeededFirst = made.some(([, , language], index) => {
      const end = made[index + 1]?.index ?? text.length;
      return index > 0 && language === 'sql' && text.slice(made[index]!.index, end).includes(`${name}(`);
    });
    return isNeededFirst
      ? []
      : [{ file, line: text.slice(0, made[0]!.index).split('\n').length, message: `${name} is a helper: the entry function stands first` }];
  });
}

/** Reports zod schemas whose names begin in upper case; their types are inferred. */
export function lintSchemas(file: string, text: string): Problem[] {
  return text.split('\n').flatMap((each, index) => {
    const name = /^(?:export )?const ([A-Z]\w*) = z\b/.exec(each)?.[1];
    return name ? [{ file, line: index + 1, message: `${name} is a zod schema: its name begins in lower case` }] : [];
  });
}

function read(folder: string, suffix: string): { file: string; text: string }[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith(suffix));
  return files.sort().map((file) => ({ file, text: readFileSync(`${folder}/${file}`, 'utf8') }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = lintNames(fileURLToPath(new URL('..', import.meta.url)));
  for (const { file, line, message } of problems) console.log(`${file}:${line} ${message}`);
  if (problems.length) process.exitCode = 1;
}
