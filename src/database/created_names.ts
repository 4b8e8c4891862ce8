/**
 * Reads from the sources which names they create in the schema of the API, for the comparison with what a database
 * has already.
 */
import type { Sources } from './sources.ts';
import { type Lexeme, nameOf, significant } from './sql_lexer.ts';

/** The names that a schema gets, by the catalog in which PostgreSQL keeps them unique. */
export interface CreatedNames {
  /** Tables, views, composite types, indexes and sequences. */
  relations: Set<string>;
  /** Types, with those that tables, views and composite types bring. */
  types: Set<string>;
  functions: Set<string>;
}

const HAS_INDEX = new Set(['primary', 'unique', 'exclude']);
/** Words that may stand between `create` and the kind of the object, or between the kind and the name. */
const SKIPPED = new Set(['or', 'replace', 'unique', 'concurrently', 'if', 'not', 'exists', 'recursive', 'constraint', 'unlogged']);

/** Returns the names that the files create in `schema`, without partitions, which are made later. */
export function createdNames({ files }: Pick<Sources, 'files'>, schema: string): CreatedNames {
  const names: CreatedNames = { relations: new Set(), types: new Set(), functions: new Set() };
  for (const { sql } of files) {
    for (const statement of statementsOf(significant(sql))) addNames(statement, schema, names);
  }
  return names;
}

function statementsOf(lexemes: Lexeme[]): Lexeme[][] {
  const statements: Lexeme[][] = [[]];
  for (const lexeme of lexemes) {
    if (lexeme.text === ';') statements.push([]);
    else statements.at(-1)!.push(lexeme);
  }
  return statements;
}

function addNames(statement: Lexeme[], schema: string, names: CreatedNames): void {
  const [verb, ...rest] = statement;
  if (verb?.text === 'alter') {
    addConstraints(rest.slice(1), schema, names);
    return;
  }
  if (verb?.text !== 'create') return;
  const [kind, ...after] = rest.slice(rest.findIndex(({ text }) => !SKIPPED.has(text)));
  const target = after.slice(after.findIndex(({ text }) => !SKIPPED.has(text)));
  if (kind?.text === 'index') {
    const table = target.slice(2);
    if (target[0] && isIn(table, schema)) names.relations.add(nameOf(target[0]));
    return;
  }
  const name = isIn(target, schema) && target[2] ? nameOf(target[2]) : undefined;
  if (name === undefined) return;
  if (kind?.text === 'function' || kind?.text === 'procedure') names.functions.add(name);
  if (!['table', 'view', 'type', 'domain', 'sequence'].includes(kind?.text ?? '')) return;
  const isEnum = kind?.text === 'domain' || target[4]?.text === 'enum';
  if (!isEnum) names.relations.add(name);
  if (kind?.text !== 'sequence') names.types.add(name);
  if (kind?.text === 'table') addConstraints(target, schema, names);
}

/** Adds the indexes of constraints and the sequences of serial columns. `target` begins with the table's name. */
function addConstraints(target: Lexeme[], schema: string, names: CreatedNames): void {
  if (!isIn(target, schema) || !target[2]) return;
  const table = nameOf(target[2]);
  for (const [place, { text }] of target.entries()) {
    const [name, property] = [target[place + 1], target[place + 2]];
    if (text === 'constraint' && name && HAS_INDEX.has(property?.text ?? '')) names.relations.add(nameOf(name));
    const column = target[place - 1];
    if (text === 'bigserial' && column) names.relations.add(`${table}_${nameOf(column)}_seq`);
  }
}

function isIn([first, dot]: Lexeme[], schema: string): boolean {
  return first !== undefined && nameOf(first) === schema && dot?.text === '.';
}
