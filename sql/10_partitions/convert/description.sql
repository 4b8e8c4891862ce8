-- kind: code
-- Describes a table as statements that name the table: collected from one table, they make another
-- one the same that has got its name. Columns, defaults, checks and their comments are left to
-- LIKE. Writes and locks nothing.

-- Returns the statements for primary keys, unique constraints and indexes.
create or replace function partitions.key_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select case
    when k.oid is null then pg_get_indexdef(x.indexrelid)
    else format('alter table %s add constraint %I %s', p_table, k.conname, pg_get_constraintdef(k.oid))
  end
  from pg_index as x
  left join pg_constraint as k
    on k.conindid = x.indexrelid and k.conrelid = x.indrelid and k.contype in ('p', 'u')
  where x.indrelid = p_table
  order by x.indexrelid
$$;

-- Returns the statements for the table's own foreign keys.
create or replace function partitions.foreign_key_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s add constraint %I %s', p_table, k.conname, pg_get_constraintdef(k.oid))
  from pg_constraint as k
  where k.conrelid = p_table
    and k.contype = 'f'
  order by k.oid
$$;

-- Returns the statements for foreign keys of other tables that refer to this one. They are not
-- valid at first: validating reads the other table and would block its writers.
create or replace function partitions.referring_key_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s add constraint %I %s%s', k.conrelid::regclass, k.conname,
    pg_get_constraintdef(k.oid), case when k.convalidated then ' not valid' end)
  from pg_constraint as k
  where k.confrelid = p_table
    and k.conparentid = 0
    and k.contype = 'f'
  order by k.oid
$$;

-- Returns the statements for triggers, enabled or disabled as they are.
create or replace function partitions.trigger_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select concat_ws('; ', pg_get_triggerdef(t.oid), case t.tgenabled
    when 'D' then format('alter table %s disable trigger %I', p_table, t.tgname)
    when 'R' then format('alter table %s enable replica trigger %I', p_table, t.tgname)
    when 'A' then format('alter table %s enable always trigger %I', p_table, t.tgname)
  end)
  from pg_trigger as t
  where t.tgrelid = p_table
    and not t.tgisinternal
  order by t.tgname
$$;

-- Returns the statements for the policies of row-level security.
create or replace function partitions.policy_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('create policy %I on %s as %s for %s to %s%s%s', p.polname, p_table,
    case when p.polpermissive then 'permissive' else 'restrictive' end,
    case p.polcmd
      when 'r' then 'select'
      when 'a' then 'insert'
      when 'w' then 'update'
      when 'd' then 'delete'
      else 'all'
    end,
    (
      select string_agg(case when role = 0 then 'public' else role::regrole::text end, ', ')
      from unnest(p.polroles) as role
    ),
    ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
    ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  from pg_policy as p
  where p.polrelid = p_table
  order by p.polname
$$;

-- Returns the statements for owner, row-level security, policies and grants.
create or replace function partitions.security_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s owner to %s', p_table, c.relowner::regrole)
  from pg_class as c
  where c.oid = p_table
  union all
  select format('alter table %s %s row level security', p_table, setting.name)
  from pg_class as c
  cross join lateral (values ('enable', c.relrowsecurity), ('force', c.relforcerowsecurity)) as setting (name, is_on)
  where c.oid = p_table
    and setting.is_on
  union all
  select partitions.policy_statements(p_table)
  union all
  select format('grant %s%s on %s to %s%s', a.privilege_type, ' (' || quote_ident(acl.attname) || ')', p_table,
    case when a.grantee = 0 then 'public' else a.grantee::regrole::text end,
    case when a.is_grantable then ' with grant option' end)
  from partitions.access_lists(p_table) as acl
  cross join lateral aclexplode(acl.list) as a
  where a.grantee <> acl.owner
$$;

-- Returns the statements for the comments on the table and on what the statements above create.
create or replace function partitions.comment_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('comment on %s is %L', commented.object, commented.comment)
  from (
    select format('table %s', p_table), obj_description(p_table, 'pg_class')
    union all
    select format('index %s', x.indexrelid::regclass), obj_description(x.indexrelid, 'pg_class')
    from pg_index as x
    where x.indrelid = p_table
    union all
    select format('constraint %I on %s', k.conname, p_table), obj_description(k.oid, 'pg_constraint')
    from pg_constraint as k
    where k.conrelid = p_table
      and k.contype in ('p', 'u', 'f')
    union all
    select format('trigger %I on %s', t.tgname, p_table), obj_description(t.oid, 'pg_trigger')
    from pg_trigger as t
    where t.tgrelid = p_table
    union all
    select format('policy %I on %s', p.polname, p_table), obj_description(p.oid, 'pg_policy')
    from pg_policy as p
    where p.polrelid = p_table
  ) as commented (object, comment)
  where commented.comment is not null
$$;

create or replace function partitions.description(p_table regclass)
  returns setof text
  language sql
  stable
  security definer -- definer because a DBA describes tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.key_statements(p_table)
  union all
  select partitions.foreign_key_statements(p_table)
  union all
  select partitions.security_statements(p_table)
  union all
  select statement
  from pg_class as c
  cross join lateral partitions.replica_identity_statement(p_table, c.relname) as statement
  where c.oid = p_table
    and statement is not null
  union all
  select partitions.trigger_statements(p_table)
  union all
  select partitions.comment_statements(p_table)
$$;
comment on function partitions.description(regclass) is
  'Returns everything of a table but its columns, as statements: keys and indexes, foreign keys, row-level security with its policies, grants, replica identity, triggers, comments. They make a table that gets its name the same. Example: select partitions.description(''public.workflow_events'')';

grant execute on function partitions.description(regclass) to flowgres_dba;
