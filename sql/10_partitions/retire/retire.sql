-- kind: code
-- Retires old periods, chosen by the upper bound in the catalog, never by a name, after asking the
-- guard. Tables that belong together are retired in one step, the referring one before the referred
-- one. Writes late events, partitions.retirements and partitions.archives. Holds the maintenance
-- locks of the tables; retire_group() locks the tables themselves. Order: docs/reference/locks.md.

create or replace function partitions.retire(
  parent regclass default null,
  older_than interval default null,
  dry_run boolean default false
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because the scheduler and DBAs retire partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_managed partitions.managed_tables;
  v_copy constant text := engine.copy_problem();
begin
  if pg_is_in_recovery() then
    return;
  end if;
  if v_copy is not null and not retire.dry_run then
    return next (retire.parent, null, 'skip', null, null, false, v_copy)::partitions.action;
    return;
  end if;
  perform partitions.require_age(retire.parent, retire.older_than);
  for v_managed in select p.* from partitions.retiring_tables(retire.parent) as p loop
    return query
      select r.*
      from partitions.retire_table(
        v_managed,
        engine.now() - coalesce(retire.older_than, v_managed.retention),
        -- A named table is retired by itself. Otherwise a table with retire_with waits for the
        -- other table's partition.
        case when retire.parent is null then v_managed.retire_with end,
        retire.dry_run
      ) as r;
  end loop;
end
$$;
comment on function partitions.retire(regclass, interval, boolean) is
  'Retires partitions whose upper bound is older than the table''s retention, or than older_than: they are dropped, archived or kept detached in schema partitions, as on_retire says; partitions of tables that retire with this one are retired with them. The last partition is always kept, and so is a period for which the guard gives a reason: action `keep`, with the reason. With dry_run nothing is done. Errors: NOT_FOUND, INVALID_ARGUMENT. Example: select * from partitions.retire(''public.workflow_runs'', dry_run => true)';

-- Raises NOT_FOUND for a table that is not managed, INVALID_ARGUMENT for an age without a table or
-- out of range.
create or replace function partitions.require_age(p_parent regclass, p_age interval)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_parent is not null then
    perform partitions.require_managed(p_parent);
  elsif p_age is not null then
    perform private.raise_error('INVALID_ARGUMENT', 'An age is given, but no table.', 'Name the table that it is for.');
  end if;
  if p_age < interval '1 day' or p_age > interval '1000 years' then
    perform private.raise_error('INVALID_ARGUMENT', format('Partitions cannot leave at the age of %s.', p_age),
      'Give an interval between one day and 1000 years.');
  end if;
end
$$;

-- Lists the tables to retire, in order: tables that others retire with come first. Tables with
-- foreign keys come before those without: they need several locks, for which they must wait while
-- no other is held.
create or replace function partitions.retiring_tables(p_parent regclass)
  returns setof partitions.managed_tables
  language sql
  stable
as $$
  select p.*
  from partitions.managed_tables as p
  where coalesce(p.parent = p_parent, p.retention is not null)
  order by
    exists (select from partitions.related_tables(array[p.parent])) desc,
    p.retire_with is not null,
    p.parent::text
$$;

-- Retires the periods of one table under its maintenance lock, or says what it would do.
create or replace function partitions.retire_table(
  p_managed partitions.managed_tables,
  p_before timestamptz,
  p_leader regclass,
  p_dry_run boolean
)
  returns setof partitions.action
  language plpgsql
  volatile
  set jit = off -- as in maintain_table
as $$
declare
  v_ready partitions.action[] := '{}';
  v_group partitions.action[];
  v_action partitions.action;
begin
  return query
    select t.*
    from partitions.acquire_maintenance_lock(array(
      select p.parent from partitions.managed_tables as p where p_managed.parent in (p.parent, p.retire_with)
    )) as t;
  if found then
    return;
  end if;
  if p_leader is null and not p_dry_run then
    return query
      select d.*
      from partitions.managed_tables as p
      cross join lateral partitions.finish_retirements(p.parent) as d
      where p_managed.parent in (p.parent, p.retire_with);
  end if;
  for v_action in select l.* from partitions.group_leaders(p_managed, p_before, p_leader) as l loop
    v_group := partitions.period_group(p_managed, v_action);
    if p_dry_run or v_group[1].action = 'keep' then
      return query select g.* from unnest(v_group) as g;
    else
      v_ready := v_ready || v_action;
    end if;
  end loop;
  foreach v_action in array v_ready loop
    return query
      select g.* from unnest(partitions.retire_group(partitions.period_group(p_managed, v_action))) as g;
  end loop;
end
$$;

-- Says whether a partition of p_leader still covers the time. Then the partition is retired with
-- that one, unless its own retention is shorter.
create or replace function partitions.retires_with(
  p_managed partitions.managed_tables,
  p_leader regclass,
  p_action partitions.action
)
  returns boolean
  language sql
  stable
as $$
  select exists (
    select
    from partitions.managed_tables as leader
    cross join partitions.of(leader.parent) as o
    where leader.parent = p_leader
      and leader.retention <= p_managed.retention
      and tstzrange(o.lower, o.upper) && tstzrange(p_action.lower, p_action.upper)
  )
$$;

-- Lists the partitions of a table that are due to be retired with their groups, or to be kept.
create or replace function partitions.group_leaders(
  p_managed partitions.managed_tables,
  p_before timestamptz,
  p_leader regclass
)
  returns setof partitions.action
  language sql
  volatile
as $$
  select l.*
  from partitions.retiring(p_managed, '-infinity', p_before) as l
  where p_leader is null
    or not partitions.retires_with(p_managed, p_leader, l)
$$;

-- Returns the partition and those that are retired with it, in the order of retirement. If one must
-- be kept, all are.
create or replace function partitions.period_group(
  p_managed partitions.managed_tables,
  p_action partitions.action
)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_group constant partitions.action[] := array(
    select f
    from partitions.managed_tables as p
    cross join lateral partitions.retiring(p, p_action.lower, p_action.upper) as f
    where p.retire_with = p_managed.parent
    order by p.parent::text, f.lower
  ) || p_action;
  v_reason constant text := (
    select format('%s: %s', g.partition, g.detail) from unnest(v_group) as g where g.action = 'keep'
    union all
    select format('The detach of %s has not ended.', d.name)
    from partitions.retirements as d
    join partitions.managed_tables as p on p.parent = d.parent and p.retire_with = p_managed.parent
    where d.upper > p_action.lower
      and d.upper <= p_action.upper
    union all
    select format('%s would be dropped, and %s is to be archived: give both the same on_retire.',
      p_action.partition, g.partition)
    from unnest(v_group) as g
    where p_action.action = 'drop'
      and g.action = 'archive'
    limit 1
  );
begin
  if v_reason is null then
    return v_group;
  end if;
  return array(
    select (g.parent, g.partition, 'keep', g.lower, g.upper, false, coalesce(g.detail, v_reason))::partitions.action
    from unnest(v_group) as g
  );
end
$$;

grant execute on function partitions.retire(regclass, interval, boolean) to flowgres_dba;
