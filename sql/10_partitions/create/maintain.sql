-- kind: code
-- Keeps partitions ahead of need. Is called often: when there is nothing to do it reads a few
-- catalog rows. Writes partitions.maintenance, and partitions.managed_tables where adaptive. Holds
-- the maintenance locks of tables until the end; attaching locks a table and what foreign keys
-- join. Order: docs/reference/locks.md.

-- Returns the time range that must have partitions now, without periods that retention would retire
-- at once.
create or replace function partitions.wanted(p_managed partitions.managed_tables)
  returns tstzrange
  language sql
  volatile
as $$
  select tstzrange(
    greatest(
      lower(partitions.period(p_managed.granularity, now, -p_managed.behind)),
      lower(partitions.period(p_managed.granularity, now - p_managed.retention))
    ),
    upper(partitions.period(p_managed.granularity, now, p_managed.premake))
  )
  from engine.now() as now
$$;

create or replace function partitions.maintain(
  parent regclass default null,
  dry_run boolean default false
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because the scheduler and DBAs maintain tables without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_managed partitions.managed_tables;
begin
  -- A standby replicates the partitions of the primary.
  if pg_is_in_recovery() then
    return;
  end if;
  if maintain.parent is not null then
    perform partitions.require_managed(maintain.parent);
  end if;
  for v_managed in
    select p.*
    from partitions.managed_tables as p
    left join partitions.maintenance as m on m.parent = p.parent
    where (maintain.parent is null or p.parent = maintain.parent)
      and (m.idle @> v_now and m.managed_xmin = p.xmin::text and m.fingerprint = (
        -- Same as partitions.fingerprint(p.parent), written out to be planned once per session.
        select coalesce(sum(i.inhrelid::bigint * 31 + i.xmin::text::bigint), 0)
        from pg_inherits as i
        where i.inhparent = p.parent
      )) is not true
    -- Locks are held until the end. So tables without foreign keys come first, since nobody waits
    -- for those, then, in the order of locks, what others refer to before what refers.
    order by
      exists (select from partitions.related_tables(array[p.parent])),
      exists (
        select
        from pg_constraint as k
        join partitions.managed_tables as o on o.parent = k.confrelid
        where k.conrelid = p.parent
          and k.contype = 'f'
      ),
      p.parent::text
  loop
    return query select m.* from partitions.maintain_table(v_managed, maintain.dry_run) as m;
  end loop;
end
$$;
comment on function partitions.maintain(regclass, boolean) is
  'Creates what is missing so that each managed table, or the given one, has partitions from `behind` periods before the current one to `premake` after it, finishes interrupted detaches, and cuts empty partitions of the future anew (`recut`) when the granularity has changed. Returns one row per action; a failure is a row and does not stop the rest. With dry_run nothing is done. Error: NOT_FOUND (no managed table). Example: select * from partitions.maintain()';

-- Maintains one table under its maintenance lock: adapts the granularity, cuts anew what a change
-- of it requires, finishes interrupted detaches, then creates what is missing.
create or replace function partitions.maintain_table(p_managed partitions.managed_tables, p_dry_run boolean)
  returns setof partitions.action
  language plpgsql
  volatile
  set jit = off -- short queries over functions whose cost the planner cannot estimate: compiling takes longer
as $$
declare
  v_managed partitions.managed_tables := p_managed;
  v_failure text;
  v_is_covered boolean := true;
  v_wanted tstzrange; -- computed once: a period may end meanwhile
  v_action partitions.action;
begin
  return query select t.* from partitions.acquire_maintenance_lock(array[p_managed.parent]) as t;
  if found then
    return;
  end if;
  v_action := partitions.adapt(v_managed, p_dry_run);
  if v_action.action is not null then
    return next v_action;
    select p.* into v_managed from partitions.managed_tables as p where p.parent = p_managed.parent;
  end if;
  for v_action in select r.* from partitions.recut(v_managed, p_dry_run) as r loop
    v_failure := coalesce(v_failure, v_action.detail);
    return next v_action;
  end loop;
  v_wanted := partitions.wanted(v_managed);
  for v_action in select p.* from partitions.plan_maintenance(v_managed, v_wanted) as p loop
    if not p_dry_run then
      v_action := partitions.perform_action(v_managed, v_action);
      v_failure := coalesce(v_failure, v_action.detail);
      -- A detach that is finished leaves its time without a partition, for the next call.
      v_is_covered := v_is_covered and v_action.action = 'create';
    end if;
    return next v_action;
  end loop;
  if not p_dry_run then
    perform partitions.remember(p_managed.parent, v_wanted, v_is_covered and v_failure is null, v_failure);
  end if;
end
$$;

-- Lists what is to be done for a table; a table that cannot be managed gives one row `check` with
-- the error.
create or replace function partitions.plan_maintenance(p_managed partitions.managed_tables, p_wanted tstzrange)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
begin
  perform partitions.require_manageable(p_managed.parent);
  return query
    select p_managed.parent, o.name, 'finish detach', o.lower, o.upper, false, null::text
    from partitions.of(p_managed.parent) as o
    where o.detaching
      -- Checks the catalog first: mostly no detach is pending, and no bound is read.
      and exists (
        select from pg_inherits as i where i.inhparent = p_managed.parent and i.inhdetachpending
      );
  return query
    select p_managed.parent, partitions.partition_name(c.relname, p_managed.granularity, piece), 'create',
      lower(piece), upper(piece), false, null::text
    from pg_class as c
    cross join unnest(tstzmultirange(p_wanted) - partitions.covered(p_managed.parent)) as hole
    cross join lateral partitions.split(p_managed.granularity, hole) as piece
    where c.oid = p_managed.parent
    order by lower(piece);
exception
  when others then
    return next (p_managed.parent, null, 'check', null, null, false, sqlerrm)::partitions.action;
end
$$;

-- Performs one action; an error becomes its detail.
create or replace function partitions.perform_action(
  p_managed partitions.managed_tables,
  p_action partitions.action
)
  returns partitions.action
  language plpgsql
  volatile
as $$
declare
  v_action partitions.action := p_action;
begin
  if v_action.action = 'create' then
    perform partitions.add_partition(p_managed, tstzrange(v_action.lower, v_action.upper));
    v_action.done := true;
  elsif v_action.action = 'finish detach' then
    perform partitions.execute_with_lock_timeout(format('alter table %s detach partition %s finalize',
      p_managed.parent, partitions.qualified(p_managed.parent, v_action.partition)));
    v_action.done := true;
  end if;
  return v_action;
exception
  when others then
    v_action.detail := sqlerrm;
    return v_action;
end
$$;

-- Records what the next maintenance may rely on and what the doctor reports. If all that is wanted
-- exists, nothing is to be done until the current period ends: only then the end of the wanted
-- range grows, and its beginning never goes back. p_is_covered: the caller has just seen to it under
-- the maintenance lock, so the bounds of all partitions need not be read again.
create or replace function partitions.remember(
  p_parent regclass,
  p_wanted tstzrange,
  p_is_covered boolean,
  p_failure text
)
  returns void
  language sql
  volatile
as $$
  insert into partitions.maintenance as m
    (parent, fingerprint, covered, idle, managed_xmin, granularity, failures, failed_at, error)
  select p_parent,
    case when p_is_covered then partitions.fingerprint(p_parent) end,
    case when p_is_covered then p_wanted end,
    partitions.period(p.granularity, upper(p_wanted), -p.premake - 1),
    p.xmin::text,
    p.granularity,
    case when p_failure is null then 0 else 1 end,
    case when p_failure is not null then engine.now() end,
    p_failure
  from partitions.managed_tables as p
  where p.parent = p_parent
  on conflict (parent) do update
  set fingerprint = excluded.fingerprint,
    covered = excluded.covered,
    idle = excluded.idle,
    managed_xmin = excluded.managed_xmin,
    -- Keeps the old granularity after a failure, so that the change is tried again.
    granularity = case when p_failure is null then excluded.granularity else m.granularity end,
    failures = case when p_failure is null then 0 else m.failures + 1 end,
    failed_at = excluded.failed_at,
    error = excluded.error
$$;

grant execute on function partitions.maintain(regclass, boolean) to flowgres_dba;
