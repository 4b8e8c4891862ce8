/**
 * The schema of the API: `public`, or another one in the database of an application that has tables of the same
 * names. The sources are written for `public`; a migration puts the other name into their text.
 */
import { lex } from './sql_lexer.ts';

/** The schema that the sources are written for. */
export const DEFAULT_SCHEMA = 'public';
/** Schemas of Flowgres and PostgreSQL, which cannot be that of the API, and what is no plain name. */
const REFUSED = /^(?:pg_.*|information_schema|private|partitions|engine|monitor|cron|graphile_\w+)$/;
const NAME = /^[a-z_][a-z0-9_]{0,62}$/;

/** Whether a name may be that of the schema: a lower-case name that needs no quotes, and not one that is in use. */
export function isSchemaName(name: string): boolean {
  return NAME.test(name) && !REFUSED.test(name);
}

/**
 * The schema of this process: FLOWGRES_SCHEMA, which `readConfig()` checks. It is read once, since SQL texts are made of
 * it as modules load; one process serves one schema.
 */
export const API_SCHEMA = ownSchema(process.env['FLOWGRES_SCHEMA']);

function ownSchema(name: string | undefined): string {
  return name && isSchemaName(name) ? name : DEFAULT_SCHEMA;
}

/**
 * Returns SQL for another schema: names that are qualified with `public`, `schema public`, and the same in bodies, in
 * texts and in comments. The role PUBLIC and other uses of the word stay.
 */
export function forSchema(sql: string, schema: string = API_SCHEMA): string {
  if (schema === DEFAULT_SCHEMA) return sql;
  const lexemes = lex(sql);
  const follows = (place: number) => `${lexemes[place + 1]?.text ?? ''}${lexemes[place + 2]?.text.charAt(0) ?? ''}`;
  return lexemes
    .map(({ kind, text, dollar }, place) => {
      if (dollar) return `${dollar.tag}${forSchema(dollar.body, schema)}${dollar.tag}`;
      if (kind === 'word' && text === DEFAULT_SCHEMA) {
        const isQualifier = /^\.[a-z_%"']/i.test(follows(place)) && lexemes[place - 1]?.text !== '.';
        const isSchema = lexemes[place - 2]?.text.toLowerCase() === 'schema' && lexemes[place - 1]?.kind === 'space';
        return isQualifier || isSchema ? schema : text;
      }
      if (kind === 'string' || kind === 'quoted') return inLiteral(text, lexemes[place + 2]?.text ?? '', schema);
      return kind === 'comment' ? inComment(text, schema) : text;
    })
    .join('');
}

/** Literals hold names (`'public.workflows'::regclass`), statements and examples; `'public'` alone may be an audience. */
function inLiteral(text: string, cast: string, schema: string): string {
  if (text === `'${DEFAULT_SCHEMA}'`) return cast === 'regnamespace' ? `'${schema}'` : text;
  const start = text.search(/['"]/) + 1;
  return text.slice(0, start) + forSchema(text.slice(start, -1), schema) + text.slice(-1);
}

function inComment(text: string, schema: string): string {
  const marks = text.startsWith('--') ? 2 : 0;
  return marks === 0 ? text : text.slice(0, marks) + forSchema(text.slice(marks), schema);
}
