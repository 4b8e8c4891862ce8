-- kind: code
-- Replaces a plain table by a partitioned one with the same name and dependents; the old table
-- becomes its first partition. Writes partitions.conversions and partitions.managed_tables. Locks
-- the table and those that foreign keys join, in one LOCK TABLE, access exclusive, until the
-- transaction ends.

-- Returns the condition of a partition's bounds. A table with a validated check of it is attached
-- without being read.
create or replace function partitions.bound_condition(p_key_kind text, p_key text, p_time_range tstzrange)
  returns text
  language sql
  stable
  parallel safe
as $$
  select format('%1$I is not null and %1$I >= %2$L and %1$I < %3$L', p_key,
    partitions.bound(p_key_kind, lower(p_time_range)), partitions.bound(p_key_kind, upper(p_time_range)))
$$;

-- Names the check with that condition.
create or replace function partitions.bound_check()
  returns text
  language sql
  immutable
  parallel safe
as $$
  select 'partitions_bound_check'
$$;

-- Executes statements one after the other.
create or replace function partitions.perform_all(p_statements text[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_statement text;
begin
  foreach v_statement in array p_statements loop
    execute v_statement;
  end loop;
end
$$;

-- Returns the first statements: lock everything that later ones need, so that none of them waits.
-- The partition key becomes NOT NULL without a scan, since the validated check implies it.
create or replace function partitions.lock_statements(p_conversion partitions.conversions)
  returns setof text
  language sql
  stable
as $$
  select format('lock table %s in access exclusive mode', string_agg(t.name, ', '))
  from (
    select p_conversion.parent::text
    union
    select case when k.conrelid = p_conversion.parent then k.confrelid else k.conrelid end::regclass::text
    from pg_constraint as k
    where k.contype = 'f'
      and p_conversion.parent in (k.conrelid, k.confrelid)
      and k.conparentid = 0
  ) as t (name)
  union all
  select format('alter table %s alter column %I set not null', p_conversion.parent, p_conversion.key)
  union all
  select format('alter table %1$s drop constraint %2$I, add constraint %2$I primary key using index %3$I',
    p_conversion.parent, k.conname, ic.relname)
  from pg_constraint as k
  join pg_class as ic on ic.oid = partitions.extended_key_index(p_conversion.parent, p_conversion.key)
  where k.conrelid = p_conversion.parent
    and k.contype = 'p'
    and p_conversion.extend_primary_key
$$;

-- Returns the statements that drop dependents of the old table or give them other names: rows are
-- reached through the new table only.
create or replace function partitions.drop_dependents_statements(p_table regclass, p_historic text)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
  from pg_constraint as k
  where k.confrelid = p_table
    and k.contype = 'f'
    and k.conparentid = 0
  union all
  select format('drop trigger %I on %s', t.tgname, p_table)
  from pg_trigger as t
  where t.tgrelid = p_table
    and not t.tgisinternal
  union all
  select format('drop policy %I on %s', p.polname, p_table) from pg_policy as p where p.polrelid = p_table
  union all
  select format('alter table %s enable row level security', p_table)
  union all
  select format('alter table %s no force row level security', p_table)
  union all
  select format('select partitions.close_table(%L)', p_table)
  union all
  select format('alter index %s rename to %I', x.indexrelid::regclass,
    partitions.index_name(c.relname, p_historic, ic.relname))
  from pg_class as c
  join pg_index as x on x.indrelid = c.oid
  join pg_class as ic on ic.oid = x.indexrelid
  where c.oid = p_table
  union all
  select format('alter table %s rename to %I', p_table, p_historic)
$$;

-- Returns the statements that create the partitioned table; partitions.description() adds the rest.
create or replace function partitions.create_dependents_statements(p_conversion partitions.conversions, p_parent text)
  returns setof text
  language sql
  stable
as $$
  select format('create table %s (like %s including all excluding indexes excluding identity) partition by range (%I)',
    p_parent, p_conversion.parent, p_conversion.key)
  union all
  select format('alter table %s drop constraint %I', p_parent, partitions.bound_check())
$$;

-- Returns the statements that attach the old table and give its sequences to the new one.
create or replace function partitions.attach_statements(p_conversion partitions.conversions, p_parent text)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s attach partition %s %s', p_parent, p_conversion.parent, partitions.values_clause(
    partitions.key_kind(p_parent), tstzrange(p_conversion.lower, p_conversion.upper)))
  union all
  select format('alter table %s drop constraint %I', p_conversion.parent, partitions.bound_check())
  union all
  select format('alter sequence %s owned by %s.%I', s.oid::regclass, p_parent, a.attname)
  from pg_depend as d
  join pg_class as s on s.oid = d.objid and s.relkind = 'S'
  join pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass
    and d.refclassid = 'pg_class'::regclass
    and d.refobjid = p_conversion.parent
    and d.deptype = 'a'
$$;

-- Swaps the tables. Writers wait from the first lock to the commit; the time does not depend on the
-- number of rows.
create or replace function partitions.swap(p_conversion partitions.conversions)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_old constant regclass := p_conversion.parent;
  v_name constant text := (select c.relname from pg_class as c where c.oid = v_old);
  v_parent constant text := partitions.qualified(v_old, v_name);
  v_description text[];
  v_referring text[];
begin
  perform partitions.perform_all(array(select partitions.lock_statements(p_conversion)));
  v_description := array(select partitions.description(v_old));
  v_referring := array(select partitions.referring_key_statements(v_old));
  perform partitions.perform_all(array(
    select partitions.drop_dependents_statements(v_old, partitions.historic_name(v_name))
  ));
  perform partitions.perform_all(array(select partitions.create_dependents_statements(p_conversion, v_parent)));
  perform partitions.perform_all(v_description);
  perform partitions.perform_all(array(select partitions.attach_statements(p_conversion, v_parent)));
  perform partitions.perform_all(v_referring);
  perform partitions.manage(
    v_parent, p_conversion.granularity, premake => p_conversion.premake, behind => p_conversion.behind,
    retention => p_conversion.retention, storage => partitions.storage_of(v_old)
  );
  update partitions.conversions as c
  set parent = v_parent::regclass,
    historic = v_old,
    state = 'attached',
    changed_at = engine.now()
  where c.parent = v_old;
end
$$;

-- Names the old table when it is a partition.
create or replace function partitions.historic_name(p_name text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select p_name || '_historic'
$$;

-- Returns the storage parameters of a table and its TOAST, in the form of managed_tables.storage.
create or replace function partitions.storage_of(p_table regclass)
  returns jsonb
  language sql
  stable
as $$
  select coalesce(jsonb_object_agg(o.prefix || split_part(option, '=', 1), split_part(option, '=', 2)), '{}')
  from pg_class as c
  left join pg_class as t on t.oid = c.reltoastrelid
  cross join lateral (values ('', c.reloptions), ('toast.', t.reloptions)) as o (prefix, options)
  cross join lateral unnest(o.options) as option
  where c.oid = p_table
$$;
