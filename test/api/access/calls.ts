/** Functions of the API as they stand in the catalog, called in SQL. */
import type pg from 'pg';
import type { TestDatabase } from '../../helpers/database.ts';
import type { Arguments } from './arguments.ts';

export interface ApiFunction {
  name: string;
  /** Its arguments' types by their names, in order. */
  types: Record<string, string>;
  /** Names of the arguments that have a default. */
  optional: string[];
  isStable: boolean;
}

/** The functions that a request may call. */
export async function readFunctions({ admin }: TestDatabase): Promise<ApiFunction[]> {
  const { rows } = await admin.query<ApiFunction>(`
    select p.proname as name, p.provolatile <> 'v' as "isStable",
      coalesce((
        select json_object_agg(p.proargnames[i], format_type(p.proargtypes[i - 1], null))
        from generate_series(1, p.pronargs) as i
      ), '{}') as types,
      coalesce(p.proargnames[p.pronargs - p.pronargdefaults + 1 : p.pronargs], '{}') as optional
    from pg_proc as p
    where p.pronamespace = 'public'::regnamespace
      and (has_function_privilege('flowgres_user', p.oid, 'execute') or has_function_privilege('flowgres_anonymous', p.oid, 'execute'))
    order by p.proname`);
  return rows;
}

export interface Outcome {
  /** ok, or the name of the error. */
  code: string;
  /** SQLSTATE of the error. */
  sqlstate?: string;
  message?: string;
  rows: unknown[];
}

/** Calls a function within the caller's transaction and takes back what it did. */
export async function callSql(client: pg.PoolClient, { name, types }: ApiFunction, args: Arguments): Promise<Outcome> {
  const given = Object.entries(args);
  const places = given.map(([key], index) => {
    const type = types[key] ?? 'text';
    // A row may be made up by whoever calls.
    const value = isRow(type) ? `jsonb_populate_record(null::${type}, $${index + 1})` : `$${index + 1}::${type}`;
    return `"${key}" => ${value}`;
  });
  const values = given.map(([key, value]) => (isJson(types[key]) && value !== null ? JSON.stringify(value) : value));
  await client.query('savepoint before');
  try {
    const text = `select to_jsonb(r) as row from public."${name}"(${places.join(', ')}) as r`;
    const { rows } = await client.query<{ row: unknown }>(text, values);
    return { code: 'ok', rows: rows.map(({ row }) => row) };
  } catch (error) {
    const { code: sqlstate, detail, message } = error as pg.DatabaseError;
    const code = sqlstate?.startsWith('WF') ? JSON.parse(detail ?? '{}').code : sqlstate === '42501' ? 'no right' : `SQLSTATE ${sqlstate}`;
    return { code, message, rows: [], ...(sqlstate ? { sqlstate } : {}) };
  } finally {
    await client.query('rollback to savepoint before');
  }
}

const isRow = (type: string) => /^(public\.)?(workflows?(_runs)?|organizations)$/.test(type);
const isJson = (type: string | undefined) => type === 'jsonb' || (type !== undefined && isRow(type));

/** Whether there is anything in it. */
export const isEmpty = (value: unknown): boolean =>
  value === null || value === undefined || (typeof value === 'object' && !Array.isArray(value) && Object.values(value).every(isEmpty));
