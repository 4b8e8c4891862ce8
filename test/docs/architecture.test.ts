/** The pages about the code (architecture, tables, locks, events, glossary) say of it what it says of itself. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUILD_FOLDER, readSources } from '../../src/database/sources.ts';
import { type Token, tokenize } from '../../tools/sql-tokens.ts';

const SCHEMAS = ['public', 'private', 'partitions', 'engine', 'monitor', 'cron', 'graphile_worker'];
const LOCKING = /\b(?:lock table|nowait|pg_(?:try_)?advisory|for (?:no key )?(?:update|share)|for key share)/;
const read = (path: string) => readFileSync(join(BUILD_FOLDER, path), 'utf8');
const PAGES = ['docs/architecture.md', 'docs/reference/tables.md', 'docs/reference/locks.md', 'docs/reference/events.md'];
const page = PAGES.map(readPage).join('\n');
const glossary = read('docs/glossary.md');

/** A token in a function, or in the statements that are executed when the file is loaded. */
interface Place {
  file: string;
  tokens: Token[];
  index: number;
  /** Empty outside of functions. */
  function: string;
}

const sqlFiles = readdirSync(join(BUILD_FOLDER, 'sql'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.sql'))
  .map((file) => `sql/${file}`)
  .sort();
const places = sqlFiles.flatMap(placesOf);
const inFunctions = places.filter((place) => place.function !== '');
const functionsWhere = (condition: (place: Place) => boolean) => unique(inFunctions.filter(condition).map((place) => place.function));

/** Where each function is made. */
const functions = Map.groupBy(
  places.filter((place) => definedAt(place) !== undefined),
  (place) => definedAt(place)!,
);
/** Tables, views and types. */
const relations = new Set(
  places
    .filter((place) => ['table', 'view', 'type'].includes(text(place)) && ['create', 'replace', 'unlogged'].includes(text(place, -1)))
    .map((place) => nameAt(place, 1)),
);
const writes = places.flatMap((place) => {
  const table = writtenAt(place);
  return table === undefined ? [] : [{ table, place }];
});

describe.each([...PAGES, 'docs/glossary.md'])('%s', (path) => {
  const blocks = blocksOf(readPage(path));

  test('every file that it names is there', () => {
    const linked = unique(blocks.flatMap((block) => linksOf(block)));
    expect(linked.length).toBeGreaterThan(10);
    expect(linked.filter((file) => !existsSync(join(BUILD_FOLDER, file)))).toEqual([]);
  });

  test('every function is in a file that is named beside it', () => {
    const wrong = blocks.flatMap((block) => calledIn(block).filter((name) => !isIn(name, linksOf(block))));
    expect(unique(wrong)).toEqual([]);
  });

  test('every table, view and type is there', () => {
    const named = unique(blocks.flatMap((block) => [...block.matchAll(/`(\w+\.\w+)`/g)].map(([, name]) => name!)));
    const ours = named.filter((name) => SCHEMAS.includes(name.split('.')[0]!));
    expect(ours.filter((name) => !relations.has(name) && !writes.some(({ table }) => table === name))).toEqual([]);
  });
});

test('each question is answered by a file and a name', () => {
  const rows = rowsOf('Where is what');
  expect(rows.length).toBeGreaterThan(60);
  const unanswered = rows.filter(([, file, name]) => linksOf(file!).length === 0 || !/`|policies|test file/.test(name!));
  expect(unanswered.map(([question]) => question)).toEqual([]);
});

test('the states of runs have the same transitions on both pages that draw them', () => {
  const transitions = (section: string) => unique([...section.matchAll(/^ *(\w+) --> (\w+):/gm)].map(([, from, to]) => `${from} to ${to}`));
  const concepts = read('docs/explanation/concepts.md').split('## How a run moves')[1]!.split('```')[1]!;
  expect(transitions(concepts)).toEqual(transitions(sectionOf('Runs')));
});

test('the writers of each table are those in sql/', () => {
  const tables = unique([...writes.map(({ table }) => table), ...tablesMade()]);
  const found = tables.map((table) => [table, unique(writersOf(table))]);
  const listed = rowsOf('Who writes each table').map(([table, writers]) => [unquoted(table!), unique(calledIn(writers!))]);
  expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(found));
});

test('what fills a table when the schema is loaded is named beside it', () => {
  const missing = rowsOf('Who writes each table').flatMap(([table, , also]) =>
    writes
      .filter(({ table: written, place }) => written === unquoted(table!) && place.function === '')
      .filter(({ place }) => !linksOf(also!).includes(place.file))
      .map(({ place }) => `${table} ${place.file}`),
  );
  expect(missing).toEqual([]);
});

test('the functions that write tables named at run time are all listed', () => {
  const builders = functionsWhere((place) => isString(place) && /\b(?:insert into|delete(?: from)?|update|truncate) %/.test(text(place)));
  const items = sectionOf('Tables that are named at run time')
    .split('\n')
    .filter((line) => line.startsWith('- '));
  expect(unique(calledIn(items.join('\n')))).toEqual(builders);
});

test('the event types are those of the code, with all that write them', () => {
  const types = unique(places.filter((place) => isEventType(place)).map((place) => text(place).slice(1, -1)));
  const found = types.map((type) => [
    type,
    functionsWhere((place) => isEventType(place) && text(place) === `'${type}'` && isWritten(place)),
  ]);
  const listed = rowsOf('Event types').map(([type, , , , writers]) => [unquoted(type!), unique(calledIn(writers!))]);
  expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(found));
});

test('what skips locked rows, and what takes advisory locks, is listed', () => {
  const listed = (heading: string, column: number) => unique(rowsOf(heading).flatMap((row) => calledIn(row[column]!)));
  expect(listed('What is not waited for: skip locked', 0)).toEqual(
    functionsWhere((place) => text(place) === 'skip' && text(place, 1) === 'locked'),
  );
  expect(listed('Advisory locks', 1)).toEqual(functionsWhere((place) => /\bpg_(?:try_)?advisory_(?:\w*lock|\w*unlock)/.test(text(place))));
});

test('every function that locks by name is under the order of locks', () => {
  const locking = functionsWhere((place) => {
    const { kind } = place.tokens[place.index]!;
    const words = kind === 'string' ? text(place) : [0, 1, 2, 3].map((offset) => text(place, offset)).join(' ');
    const starts = kind === 'string' || ['lock', 'for'].includes(text(place)) || text(place).startsWith('pg_');
    return text(place) === 'lock_timeout' || (starts && words.search(LOCKING) >= 0 && (kind === 'string' || words.search(LOCKING) === 0));
  });
  const named = calledIn(sectionOf('The order of locks'));
  expect(locking.length).toBeGreaterThan(30);
  expect(locking.filter((name) => !named.includes(name))).toEqual([]);
});

test('every folder of sql/ is described, in the order in which the layers are loaded', () => {
  const folders = readSources().files.map(({ path }) => dirname(path));
  const loaded = [...new Set(folders.flatMap((folder) => [folder.split('/')[0]!, folder]))];
  const listed = rowsOf('The layers of sql/').map(([folder]) => linksOf(folder!)[0]!.replace('sql/', ''));
  expect([...listed].sort()).toEqual([...loaded].sort());
  const layers = (names: string[]) => names.filter((name) => !name.includes('/'));
  expect(layers(listed)).toEqual(layers(loaded));
});

test('the glossary has one line for each term, in the order of the alphabet', () => {
  const terms = glossary.split('\n').filter((line) => line.startsWith('- '));
  const names = terms.map((line) => /^- \*\*([^*]+)\*\*: \S/.exec(line)?.[1]?.toLowerCase());
  expect(names).toEqual([...new Set(names)].sort());
  expect(glossary.trimEnd().split('\n').slice(-terms.length)).toEqual(terms);
});

/** The tokens of a file, each with the function that it is in. */
function placesOf(file: string): Place[] {
  const tokens = tokenize(read(file));
  let current = '';
  return tokens.map((token, index) => {
    const place = { file, tokens, index, function: '' };
    if (!token.inBody) current = token.text === ';' ? '' : (definedAt(place) ?? current);
    return { ...place, function: current };
  });
}

/** The function whose definition begins here. */
function definedAt(place: Place): string | undefined {
  const begins =
    ['function', 'procedure'].includes(text(place)) && ['create', 'replace'].includes(text(place, -1)) && text(place, 2) === '.';
  return begins ? nameAt(place, 1) : undefined;
}

/** The table that a statement writes which begins here. */
function writtenAt(place: Place): string | undefined {
  const verb = [text(place), text(place, 1)].join(' ');
  let offset = ['insert into', 'delete from', 'merge into'].includes(verb) ? 2 : ['update', 'truncate'].includes(text(place)) ? 1 : 0;
  if (offset === 0 || isString(place)) return undefined;
  while (['only', 'table'].includes(text(place, offset))) offset += 1;
  return text(place, offset + 1) === '.' ? nameAt(place, offset) : undefined;
}

function writersOf(table: string): string[] {
  return writes.filter((write) => write.table === table && write.place.function !== '').map(({ place }) => place.function);
}

function tablesMade(): string[] {
  return places
    .filter((place) => text(place) === 'table' && ['create', 'unlogged'].includes(text(place, -1)))
    .map((place) => nameAt(place, 1));
}

/** The token there, or so many after it. */
function text({ tokens, index }: Place, offset = 0): string {
  return tokens[index + offset]?.text ?? '';
}

function nameAt(place: Place, offset: number): string {
  return `${text(place, offset)}.${text(place, offset + 2)}`.replaceAll('"', '');
}

function isString({ tokens, index }: Place): boolean {
  return tokens[index]!.kind === 'string';
}

function isEventType(place: Place): boolean {
  return isString(place) && /^'(?:run|step)\.[a-z]+'$/.test(text(place));
}

/** Whether an event type is an argument, an element of a row, or assigned: not compared. */
function isWritten(place: Place): boolean {
  if (text(place, -1) === '=') return text(place, -2) === ':';
  if (![',', '('].includes(text(place, -1))) return false;
  let depth = 0;
  for (let offset = -1; text(place, offset) !== '' && text(place, offset) !== ';'; offset -= 1) {
    if (depth === 0 && text(place, offset) === 'when') return false;
    if (text(place, offset) === ')') depth += 1;
    if (text(place, offset) === '(') depth -= 1;
    if (depth < 0) return text(place, offset - 1) !== 'in';
  }
  return false;
}

/** Paragraphs, items of lists and rows of tables, without diagrams. */
function blocksOf(markdown: string): string[] {
  return markdown.replaceAll(/^```[\s\S]*?^```$/gm, '').split(/\n(?:\n|(?=\||- |\d+\. ))/);
}

/** What stands under a heading, with the headings below it. */
function sectionOf(heading: string): string {
  const [, level, rest] = new RegExp(`^(#+) ${heading.replaceAll(/[()/]/g, '\\$&')}\\n([\\s\\S]*)`, 'm').exec(page) ?? [];
  expect(rest, `There is a heading "${heading}".`).toBeDefined();
  return rest!.split(new RegExp(`^#{1,${level!.length}} `, 'm'))[0]!;
}

/** The cells of the tables of a section, without their heads. */
function rowsOf(heading: string): string[][] {
  const lines = sectionOf(heading).split('\n');
  const isHead = (index: number) => lines[index + 1]?.startsWith('| ---') || lines[index]!.startsWith('| ---');
  return lines
    .filter((line, index) => line.startsWith('|') && !isHead(index))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
}

/** A page, with the targets of its links as they would be in docs/. */
function readPage(path: string): string {
  return read(path).replaceAll(/\]\(([^)#\s]+)/g, (link, target: string) =>
    /^\w+:/.test(target) ? link : `](${relative('docs', normalize(join(dirname(path), target)))}`,
  );
}

/** Files and folders that a text links to, from the root of the project. */
function linksOf(markdown: string): string[] {
  return [...markdown.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, target]) => normalize(join('docs', target!)));
}

/** The functions that a text names: `engine.fold()`, `Engine.startRun()`. */
function calledIn(markdown: string): string[] {
  return [...markdown.matchAll(/`([A-Za-z][\w.]*)\(\)`/g)].map(([, name]) => name!);
}

function isIn(name: string, files: string[]): boolean {
  const [first = '', second] = name.split('.');
  if (SCHEMAS.includes(first)) return functions.get(name)?.some(({ file }) => files.includes(file)) ?? false;
  const declared = new RegExp(`(?:function|const) ${second ?? first}\\b|^ +(?:async )?${second ?? first}[(<]`, 'm');
  const owned = new RegExp(second === undefined ? '' : `class ${first}\\b`);
  return files.some((file) => file.endsWith('.ts') && declared.test(read(file)) && owned.test(read(file)));
}

function unquoted(cell: string): string {
  return cell.replaceAll('`', '');
}

function unique(names: string[]): string[] {
  return [...new Set(names)].sort();
}
