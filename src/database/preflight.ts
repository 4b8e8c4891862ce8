/** Finds what stands in the way in a database that an application uses already, before anything is changed there. */
import type pg from 'pg';
import { FlowgresError } from '../errors.ts';
import { API_SCHEMA, DEFAULT_SCHEMA } from './api_schema.ts';
import { connect, withDatabase } from './connections.ts';
import { createdNames } from './created_names.ts';
import type { Sources } from './sources.ts';

/** An object of the database whose name Flowgres needs. */
export interface Conflict {
  kind: string;
  /** With its schema, quoted where it must be. */
  name: string;
}

/** The schemas of Flowgres, each with the role that owns it. */
const SCHEMAS: Readonly<Record<string, string>> = {
  private: 'flowgres_owner',
  partitions: 'flowgres_owner',
  engine: 'flowgres_owner',
  monitor: 'flowgres_owner',
  cron: 'flowgres_owner',
  graphile_migrate: 'flowgres_owner',
  graphile_worker: 'flowgres_queue',
  ...(API_SCHEMA === DEFAULT_SCHEMA ? {} : { [API_SCHEMA]: 'flowgres_owner' }),
};

/**
 * Returns the objects whose names the sources would create; none for a database of Flowgres, and for one that does
 * not exist yet. Reads the catalog only.
 */
export async function findConflicts(adminUrl: string, sources: Sources): Promise<Conflict[]> {
  if (!(await databaseExists(adminUrl))) return [];
  const client = await connect(adminUrl, { search_path: 'pg_catalog' });
  try {
    const { rows } = await client.query<{ is_ours: boolean }>(`
      select exists (
        select from pg_class as c
        where c.oid = to_regclass('private.builds') and pg_get_userbyid(c.relowner) = 'flowgres_owner'
      ) as is_ours`);
    return rows[0]!.is_ours ? [] : [...(await findSchemas(client)), ...(await findObjects(client, sources))];
  } finally {
    await client.end();
  }
}

/**
 * Throws when the database has objects whose names Flowgres needs.
 *
 * @throws FlowgresError SCHEMA_CONFLICT with all of them in `details.conflicts`; nothing was changed
 */
export async function requireNoConflicts(adminUrl: string, sources: Sources): Promise<void> {
  const conflicts = await findConflicts(adminUrl, sources);
  if (conflicts.length === 0) return;
  const list = conflicts.map(({ kind, name }) => `${kind} ${name}`).join(', ');
  throw new FlowgresError(
    'SCHEMA_CONFLICT',
    `The database has objects whose names Flowgres needs (${conflicts.length}): ${list}. Nothing was changed.`,
    { hint: hintFor(conflicts), details: { conflicts } },
  );
}

function hintFor(conflicts: Conflict[]): string {
  const isOnlyApi = API_SCHEMA === DEFAULT_SCHEMA && conflicts.every(({ kind }) => kind !== 'schema');
  return isOnlyApi
    ? 'Set FLOWGRES_SCHEMA=flowgres: everything of Flowgres in schema public goes there. Or rename them.'
    : 'Rename them, or name a database of its own in DATABASE_URL.';
}

async function databaseExists(adminUrl: string): Promise<boolean> {
  const name = decodeURIComponent(new URL(adminUrl).pathname.slice(1));
  const client = await connect(withDatabase(adminUrl, 'postgres'));
  try {
    return (await client.query('select from pg_database where datname = $1', [name])).rowCount === 1;
  } finally {
    await client.end();
  }
}

async function findSchemas(client: pg.Client): Promise<Conflict[]> {
  const { rows } = await client.query<Conflict>(
    `select 'schema' as kind, format('%I', n.nspname) as name
     from pg_namespace as n
     join json_each_text($1) as s (name, owner) on s.name = n.nspname and s.owner <> pg_get_userbyid(n.nspowner)
     -- Schema cron may be that of the extension pg_cron, which Flowgres uses then.
     where not exists (select from pg_extension as e where e.extname = 'pg_cron' and n.nspname = 'cron')
     order by n.nspname`,
    [JSON.stringify(SCHEMAS)],
  );
  return rows;
}

/** Functions count by name: a second one of other arguments would make calls ambiguous. */
async function findObjects(client: pg.Client, sources: Sources): Promise<Conflict[]> {
  const { relations, types, functions } = createdNames(sources, API_SCHEMA);
  const { rows } = await client.query<Conflict>(
    `with object (kind, name, relation, type, function) as (
       select
         case c.relkind
           when 'r' then 'table' when 'p' then 'table' when 'f' then 'foreign table' when 'v' then 'view'
           when 'm' then 'materialized view' when 'S' then 'sequence' when 'c' then 'type' else 'index'
         end,
         c.relname, c.relname, null, null
       from pg_class as c
       where c.relnamespace = to_regnamespace($4)
       union all
       -- The types of relations and arrays conflict with their relations.
       select 'type', t.typname, null, t.typname, null
       from pg_type as t
       where t.typnamespace = to_regnamespace($4) and t.typrelid = 0 and t.typelem = 0
       union all
       select
         case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end, p.proname, null, null, p.proname
       from pg_proc as p
       where p.pronamespace = to_regnamespace($4)
     )
     select distinct o.kind, format('%I.%I', $4::text, o.name) as name
     from object as o
     where o.relation = any ($1)
       or o.relation = any ($2)
       or o.type = any ($2)
       or o.function = any ($3)
       -- Partitions, such as workflow_runs_y2026m11.
       or (o.relation ~ '_y[0-9]{4}' and regexp_replace(o.relation, '_y[0-9]{4}.*$', '') = any ($1))
     order by 1, 2`,
    [[...relations], [...types], [...functions], API_SCHEMA],
  );
  return rows;
}
