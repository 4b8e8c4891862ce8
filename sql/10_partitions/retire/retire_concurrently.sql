-- kind: code
-- Retires periods by statements that each run alone, since DETACH … CONCURRENTLY cannot run in a
-- function. Writes partitions.retirements. Holds the maintenance locks of all tables concerned in
-- the session, until the last statement releases them; DETACH … CONCURRENTLY lets readers and
-- writers go on.

create or replace function partitions.retire_concurrently(
  parent regclass default null,
  older_than interval default null
)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
  set jit = off -- as in maintain_table
as $$
declare
  v_parents regclass[];
begin
  if pg_is_in_recovery() then
    return;
  end if;
  perform partitions.require_age(retire_concurrently.parent, retire_concurrently.older_than);
  v_parents := array(
    select p.parent
    from partitions.managed_tables as p
    where retire_concurrently.parent is null
      or retire_concurrently.parent in (p.parent, p.retire_with)
  );
  perform partitions.acquire_session_maintenance_lock(v_parents);
  -- A partition may be due by its own age and with its group; list its detach once.
  return query
    select s.statement
    from partitions.concurrent_statements(retire_concurrently.parent, retire_concurrently.older_than)
      with ordinality as s (statement, place)
    group by s.statement
    order by min(s.place);
  return query
    select partitions.last_statements(v_parents, array(
      select partitions.statements_outside_transactions(retire_concurrently.parent, retire_concurrently.older_than)
    ) || format('select * from partitions.retire(%L, %L, dry_run => true) where action = ''keep''',
      retire_concurrently.parent, retire_concurrently.older_than));
end
$$;
comment on function partitions.retire_concurrently(regclass, interval) is
  'Returns what retire() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner: partitions are detached concurrently, which blocks neither reads nor writes, rows are deleted in batches, and each period is then retired in a transaction of its own. The statements return one row per action, as retire() does. If one fails, run the others all the same: the next call finishes it. Example, in psql: set role flowgres_owner; select partitions.retire_concurrently() \gexec';

-- Acquires the maintenance locks for the session, until the last statement, so that nobody finishes
-- its detach as an interrupted one. Waits, in the order of tables.
create or replace function partitions.acquire_session_maintenance_lock(p_parents regclass[])
  returns void
  language sql
  volatile
as $$
  select pg_advisory_lock(partitions.lock_key(p)) from unnest(p_parents) as p order by p
$$;

-- Returns the statements after the detaches. Each partition has a transaction of its own, since
-- retiring it holds locks until the commit that writers wait for. The last statements release the
-- maintenance locks.
create or replace function partitions.last_statements(p_parents regclass[], p_finals text[])
  returns setof text
  language sql
  volatile
as $$
  (
    select format('select * from partitions.finish_retirements(%L, %L)', d.parent, d.name)
    from partitions.retirements as d
    where d.parent = any (p_parents)
    order by d.parent::text, d.lower
  )
  union all
  select f from unnest(p_finals) as f
  union all
  select format('select pg_advisory_unlock(partitions.lock_key(%L))', p) from unnest(p_parents) as p
$$;

-- Retires one period of a table with its group; does nothing if it must be kept now.
create or replace function partitions.retire_period(
  p_parent regclass,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns setof partitions.action
  language plpgsql
  volatile
  set jit = off -- as in maintain_table
as $$
declare
  v_managed constant partitions.managed_tables := partitions.require_managed(p_parent);
  v_group constant partitions.action[] := (
    select partitions.period_group(v_managed, l) from partitions.retiring(v_managed, p_lower, p_upper) as l
  );
begin
  if v_group[1].action <> 'keep' then
    return query select g.* from unnest(partitions.retire_group(v_group)) as g;
  end if;
end
$$;

-- Returns a statement for each due period that retires it with its group.
create or replace function partitions.statements_outside_transactions(p_parent regclass, p_older_than interval)
  returns setof text
  language sql
  volatile
as $$
  select format('select * from partitions.retire_period(%L, %L, %L)', l.parent, l.lower, l.upper)
  from partitions.retiring_tables(p_parent) as p
  cross join lateral partitions.group_leaders(
    p,
    engine.now() - coalesce(p_older_than, p.retention),
    case when p_parent is null then p.retire_with end
  ) as l
  where l.action <> 'keep'
$$;

-- Returns a statement for each due partition that detaches it without blocking others.
create or replace function partitions.concurrent_statements(p_parent regclass, p_older_than interval)
  returns setof text
  language plpgsql
  volatile
as $$
declare
  v_managed partitions.managed_tables;
  v_action partitions.action;
begin
  for v_managed in select p.* from partitions.retiring_tables(p_parent) as p loop
    for v_action in
      select member.*
      from partitions.group_leaders(
        v_managed,
        engine.now() - coalesce(p_older_than, v_managed.retention),
        case when p_parent is null then v_managed.retire_with end
      ) as l
      cross join lateral unnest(partitions.period_group(v_managed, l)) as member
      where member.action <> 'keep'
    loop
      return next partitions.concurrent_statement(v_action);
    end loop;
  end loop;
end
$$;

-- Returns the statement that detaches one partition concurrently, and records the retirement. For a
-- table that others refer to, returns one that clears late events instead: retire() detaches it,
-- once no rows refer to the period.
create or replace function partitions.concurrent_statement(p_action partitions.action)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_partition constant regclass := partitions.qualified(p_action.parent, p_action.partition);
begin
  if partitions.is_referenced(p_action.parent) then
    return format('call partitions.clear_late_events(%L, %L, %L, %L)',
      p_action.parent, p_action.lower, p_action.upper, p_action.action);
  end if;
  insert into partitions.retirements (partition, parent, name, lower, upper, action, since)
  values (
    v_partition, p_action.parent, p_action.partition, p_action.lower, p_action.upper, p_action.action, engine.now()
  )
  on conflict on constraint retirements_pkey do update
  set action = excluded.action,
    since = excluded.since;
  return format('alter table %s detach partition %s concurrently', p_action.parent, v_partition);
end
$$;
