/** Rules that every object of the schema keeps. Each test is one query that returns the offenders. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();

/** Our schemas; `public` is the one that users see. */
const OURS = `n.nspname in ('public', 'private', 'partitions', 'engine', 'monitor', 'cron')`;
const TENANT_TABLE = `exists (select from pg_attribute as a where a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped)`;
const SERVING_ROLES = `('flowgres_anonymous', 'flowgres_user', 'flowgres_api', 'flowgres_intake', 'flowgres_worker', 'flowgres_monitor')`;

/** A rule, and a query for what breaks it: one text column. */
const RULES: Record<string, string> = {
  'everything belongs to flowgres_owner': `
    select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where ${OURS} and c.relowner <> 'flowgres_owner'::regrole and c.relkind in ('r', 'p', 'v', 'm', 'S')
    union all
    select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where ${OURS} and p.proowner not in ('flowgres_owner'::regrole, 'flowgres_sql'::regrole)`,

  // graphile-worker's own functions lose wake-ups in silence: see engine.add_jobs and engine.unlock_jobs.
  'jobs get into the queue, and out of the hands of a worker, in one way only': `
    select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where ${OURS}
      and (p.prosrc ~ 'graphile_worker\\.(add_job|remove_job|complete_jobs|permanently_fail_jobs|reschedule_jobs|force_unlock_workers)'
        or p.prosrc ~ '(insert into|update|delete from|merge into)\\s+(only\\s+)?graphile_worker\\.')
      and p.oid::regprocedure::text not in ('engine.add_jobs(graphile_worker.job_spec[])', 'engine.unlock_jobs(text[])')`,

  "every table that may hold a tenant's rows has row-level security": `
    select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and not c.relrowsecurity
      and (n.nspname in ('public', 'private', 'engine') or (${OURS} and ${TENANT_TABLE}))`,

  'a partition has no policy and no grant': `
    select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where ${OURS} and c.relispartition and c.relkind = 'r'
      and (exists (select from pg_policy as p where p.polrelid = c.oid)
        or exists (select from aclexplode(c.relacl) as a where a.grantee <> c.relowner))`,

  'a policy compares with something computed once per query': `
    select format('%s on %s', p.policyname, p.tablename) from pg_policies as p
    where regexp_replace(coalesce(p.qual, '') || coalesce(p.with_check, ''), '\\( ?SELECT ', '', 'g') ~ 'current_(organization|user)_id\\(\\)'
      and coalesce(p.qual, '') || coalesce(p.with_check, '') !~ 'SELECT (public\\.)?current_(organization|user)_id\\(\\)'`,

  'a table that users may read has a policy': `
    select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where ${OURS} and c.relkind in ('r', 'p') and has_table_privilege('flowgres_user', c.oid, 'select')
      and not exists (select from pg_policy as p where p.polrelid = c.oid)`,

  'roles that serve requests write no table': `
    select format('%s: %s', r.rolname, c.oid::regclass) from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    cross join pg_roles as r
    where ${OURS} and c.relkind in ('r', 'p', 'v') and r.rolname in ${SERVING_ROLES}
      -- As pg_cron has it: everybody who reaches schema cron may delete what is left of own jobs.
      and c.oid <> 'cron.job_run_details'::regclass
      and has_table_privilege(r.rolname, c.oid, 'insert, update, delete, truncate')`,

  'roles that serve requests own nothing and pass no policy': `
    select r.rolname::text from pg_roles as r
    where r.rolname in ${SERVING_ROLES}
      and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb
        or exists (select from pg_class as c where c.relowner = r.oid) or exists (select from pg_proc as p where p.proowner = r.oid))`,

  'no function is executable by everybody': `
    select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where ${OURS} and exists (
      select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a where a.grantee = 0)
      -- As pg_cron has it: the key is USAGE of the schema.
      and not (n.nspname = 'cron' and p.proname in ('schedule', 'unschedule'))`,

  'who may call a function may also use its schema': `
    select format('%s: %s', pg_get_userbyid(a.grantee), p.oid::regprocedure) from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    cross join lateral aclexplode(p.proacl) as a
    where n.nspname in ('public', 'partitions', 'engine', 'monitor', 'cron') and a.grantee <> 0 and not has_schema_privilege(a.grantee, n.oid, 'usage')`,

  'a definer function has a pinned search path': `
    select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where ${OURS} and p.prosecdef
      and coalesce(array_to_string(p.proconfig, ';'), '') !~ 'search_path=pg_catalog, pg_temp'`,

  'a view runs with the rights of who asks': `
    select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind = 'v' and coalesce(array_to_string(c.reloptions, ';'), '') !~ 'security_invoker=(true|on|1)'`,

  'every table, view and column of the API is explained': `
    select format('%s%s', c.oid::regclass, '.' || a.attname) from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    left join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = 'public' and c.relkind in ('r', 'p', 'v', 'c') and not c.relispartition
      and (c.relkind <> 'c' and obj_description(c.oid, 'pg_class') is null or col_description(c.oid, a.attnum) is null)`,

  'every function and type of the API is explained': `
    select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = 'public' and obj_description(p.oid, 'pg_proc') is null
    union all
    select t.oid::regtype::text from pg_type as t
    join pg_namespace as n on n.oid = t.typnamespace
    left join pg_class as c on c.oid = t.typrelid
    where n.nspname = 'public' and (t.typtype in ('e', 'd') or c.relkind = 'c') and obj_description(t.oid, 'pg_type') is null`,

  'a foreign key between tenant tables starts with organization_id': `
    select format('%s on %s', k.conname, k.conrelid::regclass) from pg_constraint as k
    join pg_attribute as f on f.attrelid = k.conrelid and f.attname = 'organization_id'
    join pg_attribute as t on t.attrelid = k.confrelid and t.attname = 'organization_id'
    where k.contype = 'f' and k.conparentid = 0 and (k.conkey[1] <> f.attnum or k.confkey[1] <> t.attnum)`,

  "a unique key of a tenant's table starts with organization_id, or is an id": `
    select i.indexrelid::regclass::text from pg_index as i
    join pg_class as c on c.oid = i.indrelid
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_attribute as a on a.attrelid = c.oid and a.attnum = i.indkey[0]
    where n.nspname = 'public' and i.indisunique and not c.relispartition and ${TENANT_TABLE} and a.attname not in ('organization_id', 'id')`,

  'a foreign key has an index': `
    select format('%s on %s', k.conname, k.conrelid::regclass) from pg_constraint as k
    join pg_namespace as n on n.oid = k.connamespace
    where ${OURS} and k.contype = 'f' and k.conparentid = 0 and not exists (
      select from pg_index as i
      where i.indrelid = k.conrelid and i.indpred is null
        and k.conkey::int[] && (i.indkey::int[])[0:0]
        and (i.indkey::int[])[0:array_length(k.conkey, 1) - 1] && k.conkey::int[])`,

  'every constraint was given its name': `
    select format('%s on %s', k.conname, k.conrelid::regclass) from pg_constraint as k
    join pg_namespace as n on n.oid = k.connamespace
    join pg_class as c on c.oid = k.conrelid
    where ${OURS} and not c.relispartition and k.contype <> 'n' and k.conname ~ '_(check|key|fkey|excl)[0-9]+$'`,

  'times have a zone, documents are jsonb, ids are no identity columns': `
    select format('%s.%s', c.oid::regclass, a.attname) from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid
    join pg_namespace as n on n.oid = c.relnamespace
    where ${OURS} and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
      and (a.atttypid in ('timestamp'::regtype, 'json'::regtype, 'money'::regtype, 'timetz'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
        or a.attidentity <> '')`,

  'there are no enums: their operators are no index conditions under row-level security': `
    select t.oid::regtype::text from pg_type as t join pg_namespace as n on n.oid = t.typnamespace
    where ${OURS} and t.typtype = 'e'`,

  'no trigger stands on the tables of runs but those that refuse changes of the log': `
    select format('%s on %s', t.tgname, t.tgrelid::regclass) from pg_trigger as t
    where not t.tgisinternal and t.tgname not like '\\_100\\_append\\_only%'
      and t.tgrelid in ('workflow_runs'::regclass, 'workflow_events'::regclass, 'workflow_run_logs'::regclass, 'engine.open_steps'::regclass)`,

  // A conflict or a server that is short of something would become the failure of a run for good.
  'a function that catches all errors raises again those that say nothing about its work': `
    select p.oid::regprocedure::text from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    where ${OURS} and p.prosrc ~* 'when\\s+(\\w+\\s+or\\s+)*others\\s+then' and p.prosrc !~ 'private\\.is_transient'
      and format('%I.%I', n.nspname, p.proname) not in (
        -- What an expression or a node's function raises is the failure of the step, whatever its SQLSTATE.
        'engine.advance', 'engine.run_repeat', 'engine.run_for_each', 'engine.evaluate_step',
        -- Has another time for a schedule whose own cannot be computed.
        'engine.fail_schedule',
        -- A failure is a row of the answer, and the next call tries again.
        'partitions.plan_maintenance', 'partitions.perform_action', 'partitions.recut', 'partitions.retire_group',
        'partitions.finish_retirements', 'partitions.doctor')`,
};

test.each(Object.entries(RULES))('%s', async (_rule, query) => {
  const { rows } = await db.admin.query({ text: query, rowMode: 'array' });
  expect(rows.flat()).toEqual([]);
});
