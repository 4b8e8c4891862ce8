-- kind: code
-- Creates one partition: first a separate table, which is then attached in an instant. `create
-- table … partition of` would queue for a lock on the parent and block every insert until its
-- readers are done. Holds the maintenance lock of the table; attaching locks the parent and what
-- foreign keys join (partitions.lock_to_attach()). Writes no rows.

-- Creates the partition of a time range that has none and returns its name. The caller holds the
-- maintenance lock.
create or replace function partitions.add_partition(p_managed partitions.managed_tables, p_time_range tstzrange)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_parent constant text := (select c.relname from pg_class as c where c.oid = p_managed.parent);
  v_name constant text := partitions.partition_name(v_parent, p_managed.granularity, p_time_range);
  v_table constant text := partitions.qualified(p_managed.parent, v_name);
  -- An empty table needs no CHECK to be attached without a scan.
  v_attach constant text := format('alter table %s attach partition %s %s',
    p_managed.parent, v_table, partitions.values_clause(p_managed.key_kind, p_time_range));
begin
  if to_regclass(v_table) is not null then
    perform private.raise_error('CONFLICT',
      format('A table %s exists that is no partition of %s for this time.', v_table, p_managed.parent),
      'Rename it or drop it; or, if its rows belong there: ' || v_attach);
  end if;
  perform partitions.execute_with_lock_timeout(concat_ws('; ',
    partitions.table_like(p_managed, v_name),
    partitions.truncate_triggers(p_managed.parent, v_name),
    partitions.comment_of_partition(v_parent, v_table, p_time_range)
  ));
  perform partitions.execute_with_lock_timeout(
    format('select partitions.lock_to_attach(%L); %s', p_managed.parent, v_attach)
  );
  return v_name;
end
$$;

-- Returns the row of a managed table; raises NOT_FOUND when it is not managed.
create or replace function partitions.require_managed(p_parent regclass)
  returns partitions.managed_tables
  language plpgsql
  stable
as $$
declare
  v_managed partitions.managed_tables;
begin
  select p.* into v_managed from partitions.managed_tables as p where p.parent = p_parent;
  if not found then
    perform private.raise_error('NOT_FOUND', format('%s is not a managed table.', coalesce(p_parent::text, 'null')),
      'partitions.managed_tables lists the managed tables; partitions.manage() adds one.');
  end if;
  return v_managed;
end
$$;

create or replace function partitions.create(parent regclass, at timestamptz)
  returns text
  language plpgsql
  volatile
  security definer -- definer because a DBA adds partitions to tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
  set jit = off -- as in maintain_table
as $$
declare
  v_at constant timestamptz := "create".at;
  v_managed constant partitions.managed_tables := partitions.require_managed("create".parent);
  v_name text;
  v_time_range tstzrange;
begin
  perform partitions.require_time(v_managed.key_kind, v_at);
  v_name := partitions.find(v_managed.parent, v_at);
  if v_name is not null then
    return v_name;
  end if;
  perform partitions.require_manageable(v_managed.parent);
  perform partitions.execute_with_lock_timeout(
    format('select pg_advisory_xact_lock(%s)', partitions.lock_key(v_managed.parent)));
  -- The part of the period without a partition; none when another session has just created it.
  select free.span into v_time_range
  from partitions.period(v_managed.granularity, v_at) as period
  cross join unnest(tstzmultirange(period) - partitions.covered(v_managed.parent)) as free (span)
  where free.span @> v_at;
  if v_time_range is not null then
    return partitions.add_partition(v_managed, v_time_range);
  end if;
  v_name := partitions.find(v_managed.parent, v_at);
  if v_name is null then
    perform private.raise_error('CONFLICT',
      format('The partition of %s for %s is being detached.', v_managed.parent, v_at),
      format('If that was interrupted, this finishes it: select * from partitions.maintain(%L)', v_managed.parent));
  end if;
  return v_name;
end
$$;
comment on function partitions.create(regclass, timestamptz) is
  'Creates the partition for a moment, with the parent''s indexes, row-level security on and no grants, and returns its name; also when it exists already. Errors: NOT_FOUND (no managed table), INVALID_ARGUMENT (null, infinity, year 9999), CONFLICT (another table has the name, or locks were not available). Example: select partitions.create(''public.workflow_events'', ''2027-01-01'')';

grant execute on function partitions.create(regclass, timestamptz) to flowgres_dba;
