/** What a database consists of, as lines of text: two databases with the same lines have the same schema. */
import type { Pool } from 'pg';

const OURS = `n.nspname in ('public', 'private', 'partitions', 'engine', 'monitor', 'cron')`;
/** Privileges in a fixed order, the defaults written out; `kind` is SQL for the kind of object. */
const acl = (column: string, kind: string, owner: string) =>
  `(select string_agg(a::text, ' ' order by a::text) from unnest(coalesce(${column}, acldefault(${kind}, ${owner}))) as a)`;

const QUERIES = [
  `select format('schema %s %s', n.nspname, ${acl('n.nspacl', "'n'", 'n.nspowner')}) from pg_namespace as n where ${OURS}`,

  `select format('relation %s %s kind %s rls %s options %s %s %s', c.oid::regclass, pg_get_userbyid(c.relowner), c.relkind, c.relrowsecurity,
     c.reloptions, ${acl('c.relacl', `case c.relkind when 'S' then 's' else 'r' end::"char"`, 'c.relowner')},
     pg_get_expr(c.relpartbound, c.oid))
   from pg_class as c join pg_namespace as n on n.oid = c.relnamespace where ${OURS} and c.relkind in ('r', 'p', 'v', 'S', 'c')`,

  `select format('column %s.%s %s %s not null %s default %s generated %s', c.oid::regclass, a.attname, a.attnum,
     format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated)
   from pg_attribute as a
   join pg_class as c on c.oid = a.attrelid
   join pg_namespace as n on n.oid = c.relnamespace
   left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
   where ${OURS} and c.relkind in ('r', 'p', 'v', 'c') and a.attnum > 0 and not a.attisdropped`,

  `select format('constraint %s on %s %s', k.conname, coalesce(k.conrelid::regclass::text, k.contypid::regtype::text), pg_get_constraintdef(k.oid))
   from pg_constraint as k join pg_namespace as n on n.oid = k.connamespace where ${OURS}`,

  `select format('index %s', pg_get_indexdef(i.indexrelid)) from pg_index as i
   join pg_class as c on c.oid = i.indexrelid join pg_namespace as n on n.oid = c.relnamespace where ${OURS}`,

  `select format('function %s %s %s', pg_get_userbyid(p.proowner), ${acl('p.proacl', "'f'", 'p.proowner')}, pg_get_functiondef(p.oid))
   from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace where ${OURS} and p.prokind in ('f', 'p')`,

  `select format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid)) from pg_class as c
   join pg_namespace as n on n.oid = c.relnamespace where ${OURS} and c.relkind in ('v', 'm')`,

  `select format('policy %s on %s.%s %s %s %s using %s check %s', p.policyname, p.schemaname, p.tablename, p.permissive, p.roles, p.cmd, p.qual,
     p.with_check) from pg_policies as p`,

  `select format('trigger %s on %s %s', t.tgname, t.tgrelid::regclass, pg_get_triggerdef(t.oid)) from pg_trigger as t where not t.tgisinternal`,

  `select format('type %s %s %s', t.oid::regtype, pg_get_userbyid(t.typowner), ${acl('t.typacl', "'T'", 't.typowner')}) from pg_type as t
   join pg_namespace as n on n.oid = t.typnamespace where ${OURS} and t.typcategory <> 'A'`,

  `select format('collation %s.%s %s %s', c.collnamespace::regnamespace, c.collname, pg_get_userbyid(c.collowner), c.collprovider)
   from pg_collation as c join pg_namespace as n on n.oid = c.collnamespace where ${OURS}`,

  `select format('default privileges of %s in %s for %s: %s', pg_get_userbyid(d.defaclrole), d.defaclnamespace::regnamespace, d.defaclobjtype, d.defaclacl)
   from pg_default_acl as d`,

  `select format('comment on %s %s: %s', i.type, i.identity, d.description) from pg_description as d
   cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
   where i.schema in ('public', 'private', 'partitions', 'engine', 'monitor', 'cron') or i.type = 'schema'`,
];

/** Tables whose rows come with the schema; not those that tell how it came to be what it is. */
const HISTORY = `'private.builds'::regclass, 'private.audit_unsealed'::regclass, 'private.installation'::regclass`;
const SEEDS = `
  select c.oid::regclass::text as name from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where ${OURS} and c.relkind = 'r' and not c.relispartition and c.oid not in (${HISTORY})`;

/** The lines of a database whose API is in `schema`, sorted. */
export async function fingerprint(admin: Pool, schema = 'public'): Promise<string[]> {
  const lines: string[] = [];
  for (const text of QUERIES) {
    const { rows } = await admin.query<string[]>({ text: text.replaceAll("'public'", `'${schema}'`), rowMode: 'array' });
    lines.push(...rows.map(([line]) => line!));
  }
  const { rows: tables } = await admin.query<{ name: string }>(SEEDS.replaceAll("'public'", `'${schema}'`));
  for (const { name } of tables) {
    const { rows } = await admin.query<{ row: Record<string, unknown> }>(`select to_jsonb(t) as row from ${name} as t`);
    lines.push(...rows.map(({ row }) => `row of ${name} ${JSON.stringify(row, withoutChance)}`));
  }
  return lines.sort();
}

/** Ids, times, transactions, what is computed from them, and its own name differ from one database to the next. */
function withoutChance(key: string, value: unknown): unknown {
  return /^(?:id|plan_id|managed_xmin|fingerprint|database|.*_at|.*_key)$/.test(key) ? undefined : value;
}
