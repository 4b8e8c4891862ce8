/** Who may do what, as a list to review: a change of privileges is a change of test/schema/privileges.txt. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();

const GRANTS = `
  with grants as (
    select 'schema' as kind, n.nspname::text as object, n.nspacl as acl, n.nspowner as owner
    from pg_namespace as n
    union all
    select case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, format('%I.%I', n.nspname, c.relname), c.relacl, c.relowner
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'S') and not c.relispartition
    union all
    select 'function', format('%I.%s', n.nspname, regexp_replace(p.oid::regprocedure::text, '^.*?([^.(]+\\()', '\\1')), p.proacl, p.proowner
    from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
  )
  select
    coalesce(pg_get_userbyid(nullif(a.grantee, 0))::text, 'everybody') as grantee,
    g.kind,
    g.object,
    string_agg(lower(a.privilege_type), ', ' order by a.privilege_type) as privileges
  from grants as g
  cross join lateral aclexplode(g.acl) as a
  where split_part(g.object, '.', 1) in ('public', 'private', 'partitions', 'engine', 'monitor', 'cron')
    and a.grantee <> g.owner
    and coalesce(pg_get_userbyid(nullif(a.grantee, 0)), '') not in ('pg_database_owner', 'postgres', 'flowgres_owner')
  group by 1, 2, 3
  order by 1, 2, 3`;

test('the privileges are the reviewed ones', async () => {
  const { rows } = await db.admin.query<{ grantee: string; kind: string; object: string; privileges: string }>(GRANTS);
  const lines: string[] = [];
  let section = '';
  for (const { grantee, kind, object, privileges } of rows) {
    if (grantee !== section) lines.push(section ? `\n${grantee}` : grantee);
    section = grantee;
    lines.push(`  ${privileges.padEnd(8)} ${kind} ${object}`);
  }
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('privileges.txt');
});
