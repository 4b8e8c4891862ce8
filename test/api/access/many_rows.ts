/** More rows of everything in one organization, for lists that are read page by page. Written by hand, past the commands. */
import type pg from 'pg';
import type { TestDatabase } from '../../helpers/database.ts';
import type { World } from './fixture.ts';

export interface Table {
  /** With its schema. */
  name: string;
  key: string[];
  /** Keys, as JSON lists of texts, of the rows that were made here and that nothing refers to. */
  made: Set<string>;
}

/** Times and the organization stay as they are: rows that differ in nothing but their keys have the same place in many orders. */
const KEPT = new Set(['organization_id', 'ts', 'created_at', 'at']);
const COPIES = 4;

/** Condition on the alias t for the row that is copied, with the organization, its owner, failed run and workflow as $1 to $4. */
const SOURCES: Record<string, string> = {
  'public.users': 't.id = $2::uuid',
  'public.workflow_runs': 't.id = $3::uuid',
  'public.workflow_events': `t.run_id = $3::uuid and t.type = 'step.failed'`,
  'public.plan_limits': 'true',
  'public.plans': 't.is_public and not t.is_default',
  'public.workflow_versions': 't.workflow_id = $4::uuid',
  'public.workflows': 't.id = $4::uuid',
  'private.sessions': 't.user_id = $2::uuid',
};

interface Column {
  name: string;
  type: string;
}

/** Copies rows of every table that a request may list, and of those behind `sessions` and `apiTokens`. */
export async function multiply(db: TestDatabase, world: World): Promise<Map<string, Table>> {
  const client = await byHand(db);
  try {
    const { rows } = await client.query<{ name: string; key: string[]; columns: string[]; varied: Column[] }>(TABLES);
    const tables = new Map<string, Table>();
    for (const { name, key, columns, varied } of rows) {
      const table: Table = { name, key, made: new Set() };
      tables.set(name, table);
      for (let copy = 1; copy <= COPIES; copy += 1) await copyRow(client, table, columns, varied, copy, world);
    }
    return tables;
  } finally {
    client.release(true);
  }
}

/** Every table with its primary key, and one column of each unique index that is not kept. */
const TABLES = `
  select
    format('%I.%I', c.relnamespace::regnamespace, c.relname) as name,
    (
      select array_agg(a.attname::text order by k.place)
      from pg_index as i
      cross join unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
      join pg_attribute as a on a.attrelid = c.oid and a.attnum = k.attnum
      where i.indrelid = c.oid and i.indisprimary
    ) as key,
    array(
      select a.attname::text from pg_attribute as a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    ) as columns,
    (
      select coalesce(json_agg(distinct jsonb_build_object('name', v.attname, 'type', v.atttypid::regtype)), '[]')
      from pg_index as i
      cross join lateral (
        select a.attname, a.atttypid
        from unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
        join pg_attribute as a
          on a.attrelid = c.oid
          and (a.attnum = k.attnum or k.attnum = 0 and a.attname in ('email', 'name', 'slug'))
        where a.attname not in ('${[...KEPT].join("', '")}')
        order by k.place desc, a.attname
        limit 1
      ) as v
      where i.indrelid = c.oid and i.indisunique
    ) as varied
  from pg_class as c
  where c.relkind in ('r', 'p') and not c.relispartition
    and (
      c.relnamespace = 'public'::regnamespace and has_table_privilege('flowgres_user', c.oid, 'select')
      or c.oid in ('private.sessions'::regclass, 'private.api_tokens'::regclass)
    )
    and exists (select from pg_index as i where i.indrelid = c.oid and i.indisprimary)`;

async function copyRow(
  client: pg.PoolClient,
  table: Table,
  columns: string[],
  varied: Column[],
  copy: number,
  world: World,
): Promise<void> {
  const { name } = table;
  const source = SOURCES[name] ?? (columns.includes('organization_id') ? 't.organization_id = $1::uuid' : 't.id = $1::uuid');
  const { rows } = await client.query<{ row: Record<string, unknown> }>(
    `select to_jsonb(t) as row from ${name} as t
     where ($1::uuid, $2::uuid, $3::uuid, $4::uuid) is not null and ${source} order by ${table.key.join(', ')} limit 1`,
    [world.organization.id, world.owner.id, world.failed, world.workflow.id],
  );
  const row = rows[0]?.row;
  if (!row) throw new Error(`No row of ${name} to copy: make one in test/api/access/fixture.ts.`);
  for (const column of varied) {
    const value = await vary(client, table, row, column, copy);
    // There are no more metrics.
    if (value === undefined) return;
    row[column.name] = value;
  }
  // Events of a run have times of their own; each step has its node, one subscription goes on, and copies are in the lists of a team and of templates.
  if (name === 'public.workflow_events') {
    const later = await client.query<{ ts: string }>(`select to_jsonb($1::timestamptz + $2 * interval '11 microseconds') as ts`, [
      row['ts'],
      copy,
    ]);
    Object.assign(row, { ts: later.rows[0]!.ts, payload: { ...(row['payload'] as object), node: `end${copy}` } });
  }
  if (name === 'public.subscriptions') Object.assign(row, { status: 'canceled', ended_at: row['started_at'] });
  if (name === 'public.workflows') Object.assign(row, { team_id: world.team, template: 'organization' });
  await insertRow(client, name, row);
  table.made.add(keyOf(table, row));
}

async function vary(client: pg.PoolClient, { name }: Table, row: Record<string, unknown>, column: Column, copy: number): Promise<unknown> {
  const value = row[column.name];
  if (value === null) return null;
  if (column.name === 'metric') {
    const { rows } = await client.query<{ metric: string }>(
      `select m.metric from private.metrics() as m
       where (m.is_by_team or $2 <> 'public.team_limits') and m.metric not in (select t.metric from ${name} as t where to_jsonb(t) - 'metric' - 'value' = $1::jsonb)
       limit 1`,
      [JSON.stringify(Object.fromEntries(Object.entries(row).filter(([key]) => key !== 'metric' && key !== 'value'))), name],
    );
    return rows[0]?.metric;
  }
  switch (column.type) {
    case 'uuid':
      // Of the same millisecond: ids of runs and events are times.
      return String(value).slice(0, 24) + crypto.randomUUID().slice(24);
    case 'boolean': // one row of a kind, and copies are of the other kind
      return value;
    case 'bytea':
      return `\\x${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')}`;
    case 'integer':
    case 'bigint':
      return Number(value) + 10 * copy;
    default:
      if (column.name === 'webhook_key') return `${String(value).slice(0, -1)}${copy}`;
      return column.name === 'email' ? `${copy}${value}` : `${value}${copy}`;
  }
}

/** A connection whose statements no trigger and no foreign key follows. To be closed, not reused. */
export async function byHand(db: TestDatabase): Promise<pg.PoolClient> {
  const client = await db.admin.connect();
  await client.query(`set session_replication_role = replica`);
  return client;
}

export async function insertRow(client: pg.PoolClient, name: string, row: Record<string, unknown>): Promise<void> {
  const { rows: generated } = await client.query<{ name: string }>(
    `select a.attname::text as name from pg_attribute as a where a.attrelid = $1::regclass and a.attgenerated <> ''`,
    [name],
  );
  const columns = Object.keys(row).flatMap((column) => (generated.some((each) => each.name === column) ? [] : `"${column}"`));
  await client.query(
    `insert into ${name} (${columns.join(', ')}) select ${columns.join(', ')} from jsonb_populate_record(null::${name}, $1)`,
    [JSON.stringify(row)],
  );
}

/** Deletes the row with the key, and returns it. */
export async function deleteRow(client: pg.PoolClient, { name, key }: Table, values: readonly unknown[]): Promise<Record<string, unknown>> {
  const condition = key.map((column, place) => `to_jsonb(t) ->> '${column}' = $${place + 1}`).join(' and ');
  const { rows } = await client.query<{ row: Record<string, unknown> }>(
    `delete from ${name} as t where ${condition} returning to_jsonb(t) as row`,
    values.map(String),
  );
  if (rows.length !== 1) throw new Error(`${rows.length} rows of ${name} have the key ${values}.`);
  return rows[0]!.row;
}

export function keyOf({ key }: Pick<Table, 'key'>, row: Record<string, unknown>): string {
  return JSON.stringify(key.map((column) => plainText(row[column])));
}

/** A value of a key as to_jsonb() has it: without the zeros at the end of a second, which GraphQL keeps. */
export function plainText(value: unknown): string {
  return String(value).replace(/(:\d\d)(\.\d*?)0+([+-]\d\d:\d\d)$/, (_, second: string, fraction: string, zone: string) =>
    fraction === '.' ? `${second}${zone}` : `${second}${fraction}${zone}`,
  );
}
