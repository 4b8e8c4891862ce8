-- kind: code
-- Puts a partitioned table under management, after checking that it can be managed. Writes
-- partitions.managed_tables; locks nothing but its row.

-- Raises NOT_FOUND for no table, FORBIDDEN unless the current role owns the table.
create or replace function partitions.require_ours(p_table regclass)
  returns void
  language plpgsql
  stable
as $$
declare
  v_owner constant oid := (select c.relowner from pg_class as c where c.oid = p_table);
begin
  if v_owner is null then
    perform private.raise_error('NOT_FOUND', format('There is no table %s.', coalesce(p_table::text, 'null')));
  elsif not pg_has_role(v_owner, 'usage') then
    perform private.raise_error('FORBIDDEN', format('%s does not belong to %s.', p_table, current_user),
      format('alter table %s owner to %I', p_table, current_user));
  end if;
end
$$;

-- Raises what keeps a table from being managed. Each maintenance calls it again, because tables
-- change.
create or replace function partitions.require_manageable(p_parent regclass)
  returns void
  language plpgsql
  stable
as $$
declare
  v_table record;
  v_problem text;
  v_hint text;
begin
  perform partitions.require_ours(p_parent);
  select c.relkind, c.relispartition, t.partdefid <> 0 as has_default,
    exists (select from pg_attribute as a where a.attrelid = c.oid and a.attidentity <> '') as has_identity
  into v_table
  from pg_class as c
  left join pg_partitioned_table as t on t.partrelid = c.oid
  where c.oid = p_parent;

  if v_table.relkind <> 'p' then
    v_problem := 'is not a partitioned table';
    v_hint := 'Create it with PARTITION BY RANGE (a timestamptz, date or UUIDv7 column).';
  elsif v_table.relispartition then
    v_problem := 'is itself a partition';
    v_hint := 'Partitions of partitions are not supported.';
  elsif partitions.key_kind(p_parent) is null then
    v_problem := 'is partitioned by something else than one time';
    v_hint := 'Supported is RANGE over one column of type timestamptz, date or uuid (version 7).';
  elsif v_table.has_default then
    v_problem := 'has a default partition';
    v_hint := 'Give its rows partitions of their own and detach it: it is scanned for each new partition.';
  elsif v_table.has_identity then
    v_problem := 'has an identity column';
    v_hint := 'Use bigserial: 18 attaches no partition with an identity, 15 numbers each partition on its own.';
  end if;
  if v_problem is not null then
    perform private.raise_error('INVALID_ARGUMENT', format('%s %s.', p_parent, v_problem), v_hint);
  end if;
  perform partitions.require_short_names(p_parent);
end
$$;

-- Raises INVALID_ARGUMENT if a partition or one of its indexes would get a name of more than 63
-- bytes. Counts the table's indexes, and p_index as one more.
create or replace function partitions.require_short_names(p_parent regclass, p_index text default null)
  returns void
  language plpgsql
  stable
as $$
declare
  v_longest text;
begin
  select n.name into v_longest
  from pg_class as c
  cross join lateral (
    select c.relname || '_y0000m00d00'
    union all
    select partitions.index_name(c.relname, c.relname || '_y0000m00d00', ic.relname)
    from pg_index as i
    join pg_class as ic on ic.oid = i.indexrelid
    where i.indrelid = c.oid
    union all
    select partitions.index_name(c.relname, c.relname || '_y0000m00d00', p_index)
  ) as n (name)
  where c.oid = p_parent
  order by octet_length(n.name) desc nulls last
  limit 1;

  if octet_length(v_longest) > 63 then
    perform private.raise_error('INVALID_ARGUMENT', format('%s is longer than 63 bytes.', v_longest),
      'Give the table or its index a shorter name.');
  end if;
end
$$;

create or replace function partitions.manage(
  parent regclass,
  granularity text default 'month',
  premake int default 3,
  behind int default 0,
  retention interval default null,
  on_retire text default 'drop',
  retire_with regclass default null,
  retire_key text default null,
  guard text default null,
  storage jsonb default '{}',
  adaptive boolean default false
)
  returns partitions.managed_tables
  language plpgsql
  volatile
  security definer -- definer because a DBA manages tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_managed partitions.managed_tables;
begin
  perform partitions.require_manageable(manage.parent);
  insert into partitions.managed_tables
    (parent, key_kind, granularity, premake, behind, retention, on_retire, retire_with, retire_key, guard, storage,
     adaptive)
  values (
    manage.parent, partitions.key_kind(manage.parent), manage.granularity, manage.premake, manage.behind,
    manage.retention, manage.on_retire, manage.retire_with, manage.retire_key, manage.guard, manage.storage,
    manage.adaptive
  )
  on conflict on constraint managed_tables_pkey do update
  set key_kind = excluded.key_kind,
    granularity = excluded.granularity,
    premake = excluded.premake,
    behind = excluded.behind,
    retention = excluded.retention,
    on_retire = excluded.on_retire,
    retire_with = excluded.retire_with,
    retire_key = excluded.retire_key,
    guard = excluded.guard,
    storage = excluded.storage,
    adaptive = excluded.adaptive
  returning * into v_managed;
  return v_managed;
end
$$;
comment on function partitions.manage(regclass, text, int, int, interval, text, regclass, text, text, jsonb, boolean) is
  'Puts a table that is partitioned by RANGE of a timestamptz, date or UUIDv7 under management, or changes how it is managed. Creates no partition: maintain() does. Errors: NOT_FOUND, INVALID_ARGUMENT, FORBIDDEN (another owner). Example: select partitions.manage(''public.readings'', ''week'', premake => 4, retention => ''1 year'')';

grant execute on function
  partitions.manage(regclass, text, int, int, interval, text, regclass, text, text, jsonb, boolean)
  to flowgres_dba;
