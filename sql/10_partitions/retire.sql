-- kind: code
-- Lets old periods leave. What leaves is decided by the upper bound in the catalog, never by a name; what is asked first is
-- the policy's guard. Tables that belong together leave in one step, the referring one before the one it refers to.

create or replace function partitions.retire(
  parent regclass default null,
  older_than interval default null,
  dry_run boolean default false
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- the scheduler and DBAs retire partitions of tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy partitions.policies;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  if retire.parent is not null then
    perform partitions.require_policy(retire.parent);
  elsif retire.older_than is not null then
    perform private.raise_error('INVALID_ARGUMENT', 'An age is given, but no table.', 'Name the table that it is for.');
  end if;
  if retire.older_than < interval '1 day' or retire.older_than > interval '1000 years' then
    perform private.raise_error('INVALID_ARGUMENT', format('Partitions cannot be retired at the age of %s.', retire.older_than),
      'Give an interval between one day and 1000 years.');
  end if;
  for v_policy in
    select p.*
    from partitions.policies as p
    where coalesce(p.parent = retire.parent, p.retention is not null)
    order by p.retire_with is not null, p.parent::text
  loop
    return query
      select r.*
      from partitions.retire_table(
        v_policy,
        engine.now() - coalesce(retire.older_than, v_policy.retention),
        -- Asked for by name, a table goes alone; else those of its partitions stay that leave with another table's.
        case when retire.parent is null then v_policy.retire_with end,
        retire.dry_run
      ) as r;
  end loop;
end
$$;
comment on function partitions.retire(regclass, interval, boolean) is
  'Lets partitions leave whose upper bound is older than the policy''s retention, or than older_than: they are dropped, or kept detached in schema partitions, as the policy says; partitions of tables that retire with this one leave with them. The last partition always stays, and so does a period that a guard holds back: action `keep`, with the reason. With dry_run nothing is done. Errors: NOT_FOUND, INVALID_ARGUMENT. Example: select * from partitions.retire(''public.workflow_runs'', dry_run => true)';

create or replace function partitions.retire_table(
  p_policy partitions.policies,
  p_before timestamptz,
  p_leader regclass,
  p_dry_run boolean
)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_ready partitions.action[] := '{}';
  v_group partitions.action[];
  v_action partitions.action;
  v_attempts int := 10;
begin
  if not pg_try_advisory_xact_lock(partitions.lock_key(p_policy.parent)) then
    return next (p_policy.parent, null, 'skip', null, null, false, 'Another session is maintaining it.')::partitions.action;
    return;
  end if;
  for v_action in
    select l.*
    from partitions.leaving(p_policy, '-infinity', p_before) as l
    where p_leader is null or not partitions.leaves_with(p_policy, p_leader, l)
  loop
    v_group := partitions.period_group(p_policy, v_action);
    if p_dry_run or v_group[1].action = 'keep' then
      return query select g.* from unnest(v_group) as g;
    else
      v_ready := v_ready || v_action;
    end if;
  end loop;
  -- All rows are deleted before the first table is locked.
  foreach v_action in array v_ready loop
    perform partitions.delete_stragglers(p_policy, v_action);
  end loop;
  foreach v_action in array v_ready loop
    v_group := partitions.retire_group(partitions.period_group(p_policy, v_action), v_attempts);
    v_attempts := case when v_group[1].done then 1 else v_attempts end;
    return query select g.* from unnest(v_group) as g;
  end loop;
end
$$;

-- Null when the period may leave.
create or replace function partitions.reason_to_stay(
  p_policy partitions.policies,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_guard constant regprocedure := to_regprocedure(p_policy.guard || '(timestamptz, timestamptz)');
  v_reason text;
begin
  if not exists (select from partitions.of(p_policy.parent) as o where o.lower >= p_upper and not o.detaching) then
    return 'It is the last partition.';
  elsif p_policy.guard is null then
    return null;
  elsif not exists (
    select from pg_proc as f join pg_class as c on c.oid = p_policy.parent where f.oid = v_guard and f.proowner = c.relowner
  ) then
    return format('The guard %s(timestamptz, timestamptz) does not exist or has another owner.', p_policy.guard);
  end if;
  execute format('select %s($1, $2)', v_guard::oid::regproc) into v_reason using p_lower, p_upper;
  return v_reason;
end
$$;

-- Partitions whose upper bound is in (p_after, p_before]: what is to happen to them, or `keep` and why.
create or replace function partitions.leaving(
  p_policy partitions.policies,
  p_after timestamptz,
  p_before timestamptz
)
  returns setof partitions.action
  language sql
  volatile
as $$
  select p_policy.parent, c.relname::text, case when r.reason is null then p_policy.on_retire else 'keep' end,
    o.lower, o.upper, false, r.reason
  from partitions.of(p_policy.parent) as o
  join pg_class as c on c.oid = o.partition
  cross join lateral partitions.reason_to_stay(p_policy, o.lower, o.upper) as r (reason)
  where o.upper > p_after
    and o.upper <= least(p_before, engine.now())
    and not o.detaching
  order by o.lower
$$;

-- Is the partition's time still held by a partition of the table that it retires with? Then it leaves with that one, unless
-- its own retention is shorter.
create or replace function partitions.leaves_with(
  p_policy partitions.policies,
  p_leader regclass,
  p_action partitions.action
)
  returns boolean
  language sql
  stable
as $$
  select exists (
    select
    from partitions.policies as leader
    cross join partitions.of(leader.parent) as o
    where leader.parent = p_leader
      and leader.retention <= p_policy.retention
      and tstzrange(o.lower, o.upper) && tstzrange(p_action.lower, p_action.upper)
  )
$$;

-- The partition and those that leave with it, in the order of leaving. If one must stay, all do.
create or replace function partitions.period_group(p_policy partitions.policies, p_action partitions.action)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_group constant partitions.action[] := array(
    select f
    from partitions.policies as p
    cross join partitions.leaving(p, p_action.lower, p_action.upper) as f
    where p.retire_with = p_policy.parent
    order by p.parent::text, f.lower
  ) || p_action;
  v_reason constant text := (
    select format('%s: %s', g.partition, g.detail) from unnest(v_group) as g where g.action = 'keep' limit 1
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

-- Rows in partitions that stay, referring to rows of the period that leaves: the last events of runs that crossed its end.
create or replace function partitions.delete_stragglers(p_policy partitions.policies, p_action partitions.action)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_follower record;
begin
  for v_follower in
    select p.parent, p.retire_key, a.attname as key, partitions.bound(p.key_kind, coalesce(staying.since, p_action.lower)) as since
    from partitions.policies as p
    join pg_partitioned_table as t on t.partrelid = p.parent
    join pg_attribute as a on a.attrelid = p.parent and a.attnum = t.partattrs[0]
    cross join lateral (
      select max(o.upper) from partitions.of(p.parent) as o where o.upper <= p_action.upper
    ) as staying (since)
    where p.retire_with = p_policy.parent
      and p.retire_key is not null
  loop
    execute format('delete from %s where %I >= %L and %I < %L and %I >= %L',
      v_follower.parent,
      v_follower.retire_key, partitions.bound(p_policy.key_kind, p_action.lower),
      v_follower.retire_key, partitions.bound(p_policy.key_kind, p_action.upper),
      v_follower.key, v_follower.since);
  end loop;
end
$$;

-- The statements that take one partition out. They lock the parent, so they come last and together.
create or replace function partitions.farewell(p_action partitions.action)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    -- A plain DROP locks less than a detach (nothing of the tables it refers to), but is refused where others refer to it.
    case when p_action.action <> 'drop'
      or exists (select from pg_constraint as k where k.confrelid = p_action.parent and k.contype = 'f')
      then format('alter table %s detach partition %s', p_action.parent, t.name)
    end,
    case p_action.action
      when 'drop' then format('drop table %s', t.name)
      else concat_ws('; ',
        (
          select string_agg(format('alter table %s drop constraint %I', t.name, k.conname), '; ')
          from pg_constraint as k
          where k.conrelid = to_regclass(t.name) and k.contype = 'f'
        ),
        format('alter table %s set schema partitions', t.name)
      )
    end
  )
  from pg_class as c
  cross join lateral format('%I.%I', c.relnamespace::regnamespace::name, p_action.partition) as t (name)
  where c.oid = p_action.parent
$$;

-- All of the group or nothing of it.
create or replace function partitions.retire_group(p_group partitions.action[], p_attempts int)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_error text;
begin
  begin
    perform partitions.execute_patiently(
      (select string_agg(partitions.farewell(p_group[i]), '; ' order by i) from generate_subscripts(p_group, 1) as i),
      p_attempts
    );
  exception
    when others then v_error := sqlerrm;
  end;
  return array(
    select (g.parent, g.partition, g.action, g.lower, g.upper, v_error is null, v_error)::partitions.action
    from unnest(p_group) as g
  );
end
$$;

grant execute on function partitions.retire(regclass, interval, boolean) to flowgres_dba;
