/** The tables in docs/reference/limits.md: functions whose comment begins with `Limit, UNIT, CALLER:`, and src/constants.ts. */
import type pg from 'pg';
import { CONSTANTS, type Limit } from '../../src/constants.ts';
import { markdown, table } from './markdown.ts';

/** A limit of the schema. `value` as text. */
export interface SchemaLimit {
  name: string;
  value: string;
  unit: string;
  caller: string;
  what: string;
}

/** The limits of the schema by name, each with what its function returns. */
export async function schemaLimits(client: pg.Client | pg.Pool): Promise<SchemaLimit[]> {
  const { rows } = await client.query<SchemaLimit>(`
    select
      format('%s.%s()', n.nspname, p.proname) as name,
      (xpath('//value/text()', query_to_xml(format('select %I.%I() as value', n.nspname, p.proname), false, true, '')))[1]::text as value,
      m[1] as unit,
      m[2] as caller,
      m[3] as what
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    cross join lateral regexp_match(obj_description(p.oid, 'pg_proc'), '^Limit, ([a-z]+), ([^:]+): (.*?)\\.?(?:\\s*Example: .*)?$') as m
    where m is not null
    order by n.nspname collate "C", p.proname collate "C"`);
  return rows;
}

export async function describeLimits(client: pg.Client | pg.Pool): Promise<string> {
  const schema = (await schemaLimits(client)).map(({ name, value, unit, caller, what }) => [
    `\`${name}\``,
    unit === 'time' ? readTime(value) : readNumber(Number(value), unit),
    markdown(what),
    caller,
  ]);
  const constants = Object.entries(CONSTANTS).flatMap(([group, limits]) =>
    Object.entries(limits as Record<string, Limit>).map(([name, { value, unit, caller, what, setting }]) => [
      `\`${group}.${name}\``,
      typeof value === 'number' ? readNumber(value, unit) : value,
      markdown(what),
      setting ? `\`${setting}\`` : '',
      caller,
    ]),
  );
  return [
    '## Limits of the schema',
    'They hold for everybody, whichever process or session asks. Each is a function without arguments in `sql/00_foundation/limits.sql`; those of credentials and data tables are in `limits_credentials.sql` and `limits_data_tables.sql` beside it.',
    table(['name', 'value', 'what', 'who meets it'], schema),
    '## Limits of the processes',
    'They are in `src/constants.ts`; those with a setting are its default.',
    table(['name', 'value', 'what', 'setting', 'who meets it'], constants),
  ].join('\n\n');
}

/** 1048576 bytes as "1 MiB", 200 ms as "200 ms", 1000 rows as "1,000 rows". */
function readNumber(value: number, unit: string): string {
  const count = (n: number) => n.toLocaleString('en-US');
  if (unit === 'bytes' && value >= 1024 && value % 1024 === 0) {
    return value % 1024 ** 2 === 0 ? `${count(value / 1024 ** 2)} MiB` : `${count(value / 1024)} KiB`;
  }
  if (unit === 'ms' && value >= 1_000) return `${count(value / 1_000)} s`;
  return `${count(value)} ${unit}`;
}

/** An interval as PostgreSQL writes it, "30 days" or "00:00:15", in words. */
function readTime(text: string): string {
  const [, seconds] = /^00:00:(\d\d)$/.exec(text) ?? [];
  return seconds === undefined ? text : `${Number(seconds)} s`;
}
