/**
 * Generates the list in docs/reference/distribution.md from the catalog: what prevents tenant tables from being
 * distributed by organization_id.
 */
import type pg from 'pg';
import { table } from './markdown.ts';

/** Keys and references of tables with an organization_id that do not contain that column. */
const KEYS = `
  select k.conrelid::regclass::text as relation, k.conname::text as name, pg_get_constraintdef(k.oid) as definition
  from pg_constraint as k
  join pg_class as c on c.oid = k.conrelid
  join pg_attribute as o on o.attrelid = k.conrelid and o.attname = 'organization_id' and not o.attisdropped
  where k.contype in ('p', 'u', 'x', 'f') and k.conparentid = 0 and not c.relispartition and not o.attnum = any (k.conkey)
    and c.relnamespace::regnamespace::text in ('public', 'private', 'engine')
  order by k.conrelid::regclass::text collate "C", k.contype desc, k.conname collate "C"`;

/** Returns the list. */
export async function describeKeys(client: pg.Client | pg.Pool): Promise<string> {
  const { rows } = await client.query<{ relation: string; name: string; definition: string }>(KEYS);
  return table(
    ['table', 'constraint', ''],
    rows.map(({ relation, name, definition }) => [`\`${relation}\``, `\`${name}\``, `\`${definition.toLowerCase()}\``]),
  );
}
