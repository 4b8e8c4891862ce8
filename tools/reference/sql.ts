/** Generates docs/reference/sql.md from the catalog: all objects that a role other than the owner may use. */
import type pg from 'pg';
import { chapter, fence, markdown, paragraphs, splitExample, table } from './markdown.ts';

interface Column {
  name: string;
  type: string;
  required: boolean;
  default: string | null;
  comment: string | null;
}

interface Relation {
  schema: string;
  name: string;
  kind: 'table' | 'view' | 'type';
  comment: string | null;
  partitioned: string | null;
  grants: string | null;
  keys: string[];
  columns: Column[];
}

interface Routine {
  schema: string;
  name: string;
  /** Whether the bare name would be parsed as a keyword, as current_user is. */
  keyword: boolean;
  arguments: string;
  /** Null for a procedure. */
  result: string | null;
  grants: string;
  comment: string | null;
}

const SCHEMAS: Record<string, string> = {
  public: 'The API. Users see the rows of their own organization; only functions write.',
  partitions: 'The partition manager, for DBAs and maintenance.',
  monitor: 'Health and invariants, for DBAs and monitoring.',
  engine: 'The functions that the worker, the webhook intake and DBAs call. Its tables are for nobody.',
  cron: 'The scheduler, for DBAs.',
};

/** Tables, views and composite types that a role may use, with their columns and comments. */
const RELATIONS = `
  select
    n.nspname as schema,
    c.relname as name,
    case c.relkind when 'v' then 'view' when 'c' then 'type' else 'table' end as kind,
    coalesce(obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type')) as comment,
    pg_get_partkeydef(c.oid) as partitioned,
    (
      select string_agg(format('%s: %s', g.privilege, g.roles), '; ' order by g.privilege)
      from (
        select lower(a.privilege_type) as privilege, string_agg(a.grantee::regrole::text, ', ' order by a.grantee::regrole::text) as roles
        from aclexplode(c.relacl) as a
        where a.grantee not in (c.relowner, 0) and c.relkind <> 'c'
        group by a.privilege_type
      ) as g
    ) as grants,
    array(
      select pg_get_constraintdef(k.oid) from pg_constraint as k
      where k.conrelid = c.oid and k.contype in ('p', 'u', 'f') and k.conparentid = 0
      order by array_position('{p,u,f}', k.contype::text), k.conname
    ) as keys,
    (
      select json_agg(json_build_object(
        'name', a.attname,
        'type', format_type(a.atttypid, a.atttypmod),
        'required', a.attnotnull,
        'default', pg_get_expr(d.adbin, d.adrelid),
        'comment', col_description(c.oid, a.attnum)
      ) order by a.attnum)
      from pg_attribute as a
      left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ) as columns
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where n.nspname = any ($1) and n.nspname <> 'engine' and c.relkind in ('r', 'p', 'v', 'c') and not c.relispartition
  order by n.nspname, c.relname collate "C"`;

const ROUTINES = `
  select
    n.nspname as schema,
    p.proname as name,
    quote_ident(p.proname) <> p.proname as keyword,
    pg_get_function_arguments(p.oid) as arguments,
    pg_get_function_result(p.oid) as result,
    string_agg(coalesce(nullif(a.grantee, 0)::regrole::text, 'everybody'), ', ' order by a.grantee::regrole::text) as grants,
    obj_description(p.oid, 'pg_proc') as comment
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
  cross join lateral aclexplode(p.proacl) as a
  where n.nspname = any ($1) and a.privilege_type = 'EXECUTE' and a.grantee <> p.proowner
  group by p.oid, n.oid
  order by n.nspname, p.proname collate "C", pg_get_function_arguments(p.oid) collate "C"`;

/** Returns the reference. */
export async function describeSql(client: pg.Client | pg.Pool): Promise<string> {
  const names = Object.keys(SCHEMAS);
  const { rows: relations } = await client.query<Relation>(RELATIONS, [names]);
  const { rows: routines } = await client.query<Routine>(ROUTINES, [names]);
  const schemas = names.map((schema) => {
    const of = <Thing extends { schema: string }>(things: Thing[]) => things.filter((thing) => thing.schema === schema);
    const kind = (wanted: Relation['kind']) => of(relations).filter((each) => each.kind === wanted);
    const parts = [
      chapter(
        '### Functions',
        Object.values(Object.groupBy(of(routines), qualified)).map((group) => describeRoutines(group!)),
      ),
      chapter('### Tables', kind('table').map(describeRelation)),
      chapter('### Views', kind('view').map(describeRelation)),
      chapter('### Types', kind('type').map(describeRelation)),
    ].filter(Boolean);
    return parts.length ? [`## Schema ${schema}`, SCHEMAS[schema], ...parts].join('\n\n') : '';
  });
  return schemas.filter(Boolean).join('\n\n');
}

/** Describes functions of the same name in one section. */
function describeRoutines(routines: Routine[]): string {
  return [`#### ${qualified(routines[0]!)}`, ...routines.map(describeRoutine)].join('\n\n');
}

function describeRoutine(routine: Routine): string {
  const { text, example } = splitExample(routine.comment);
  const name = routine.keyword && routine.schema === 'public' ? `public.${routine.name}` : qualified(routine);
  const call = breakUp(`${name}(${plain(routine.arguments)})`);
  const signature = routine.result === null ? `call ${call}` : `${call}\nreturns ${breakUp(plain(routine.result))}`;
  return paragraphs(fence('sql', signature), text, `Execute: ${routine.grants}.`, example && fence('sql', example));
}

function describeRelation(relation: Relation): string {
  const { text, example } = splitExample(relation.comment);
  const isTable = relation.kind === 'table';
  const rows = relation.columns.map(({ name, type, required, default: otherwise, comment }) => [
    `\`${name}\``,
    [plain(type), isTable && !required ? 'or null' : '', otherwise === null ? '' : `= \`${plain(otherwise)}\``].filter(Boolean).join(' '),
    markdown(comment ?? ''),
  ]);
  const facts = [
    relation.partitioned ? `partitioned by \`${relation.partitioned.toLowerCase()}\`` : '',
    ...relation.keys.map((key) => `\`${key.replaceAll(/[A-Z]{2,}/g, (word) => word.toLowerCase())}\``),
    relation.kind === 'type' ? '' : (relation.grants ?? 'no grants'),
  ];
  const list = facts.filter(Boolean).map((fact) => `- ${fact}`);
  return paragraphs(
    `#### ${qualified(relation)}`,
    text,
    list.join('\n'),
    table(['column', 'type', ''], rows),
    example && fence('sql', example),
  );
}

function qualified({ schema, name }: { schema: string; name: string }): string {
  return schema === 'public' ? name : `${schema}.${name}`;
}

/** Formats a type or a list of arguments: without the casts of defaults, in lower case. */
function plain(definition: string): string {
  return definition
    .replaceAll('timestamp with time zone', 'timestamptz')
    .replaceAll('timestamp without time zone', 'timestamp')
    .replaceAll(/::[a-z_]+(?:\[\])?/g, '')
    .replaceAll(/\b(?:DEFAULT|NULL|SETOF|TABLE)\b/g, (word) => word.toLowerCase());
}

/** Puts each item of a long list in parentheses on a line of its own. */
function breakUp(text: string): string {
  const [, name, list] = /^([^(]*)\((.*)\)$/s.exec(text) ?? [];
  return text.length <= 100 || list === undefined ? text : `${name}(\n  ${list.split(/, (?![^(]*\))/).join(',\n  ')}\n)`;
}
