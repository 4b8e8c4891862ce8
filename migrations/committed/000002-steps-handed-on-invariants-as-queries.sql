--! Previous: sha1:236a582ebfddf65356bf2cdf5a4d182338a320b3
--! Hash: sha1:55ce531fce87b342e5b0922a7f47171834a00250
--! Message: Steps handed on, invariants as queries

-- The migration in the making; README.md says how to write one.

set local role flowgres_owner;

drop function engine.start_runs(jsonb);
drop function engine.wake_at(engine.open_steps, timestamptz);
drop function engine.write_moves(engine.move[]);
drop function engine.write_starts(engine.move[]);
drop function monitor.broken_logs();
drop function monitor.invariants();
drop function monitor.wrong_projections();
drop function partitions.finish_departures(regclass);
drop function partitions.last_statements(regclass[], text);

alter type engine.move add attribute heir engine.open_steps;
alter type engine.move add attribute taken text;
alter type engine.start_request add attribute is_taken boolean;

--! Included 10_partitions/locks.sql
-- kind: code
-- DDL that nobody has to wait for: it gives up its place in the lock queue after 200 ms and comes back later.

-- Does this transaction hold a lock that writers wait for? Then it must not linger. A table that it has just made is
-- nobody's concern yet.
create or replace function partitions.holds_up_others()
  returns boolean
  language sql
  volatile
as $$
  select exists (
    select
    from pg_locks as l
    join pg_class as c on c.oid = l.relation
    where l.pid = pg_backend_pid()
      and l.locktype = 'relation'
      and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      and (c.relkind = 'p' or age(c.xmin) > age(pg_current_xact_id()::xid))
  )
$$;

create or replace function partitions.execute_patiently(p_statements text)
  returns void
  language plpgsql
  volatile
  set lock_timeout = '200ms'
as $$
begin
  for v_attempt in 1 .. 10 loop
    begin
      execute p_statements;
      return;
    exception
      when lock_not_available or deadlock_detected then
        if v_attempt = 10 or partitions.holds_up_others() then
          perform private.raise_error('CONFLICT',
            format('Another transaction held a lock for too long (attempts of 200 ms: %s).', v_attempt),
            'Try again later; pg_stat_activity shows what has been running for long.',
            jsonb_build_object('statements', p_statements));
        end if;
    end;
    -- Nothing is locked between two attempts: the failed one was rolled back.
    perform pg_sleep(least(0.05 * 2 ^ (v_attempt - 1), 1) * (0.5 + random() / 2));
  end loop;
end
$$;

-- The tables that foreign keys join to these, and these if there are any, in the order in which they are locked:
-- managed ones, as they are written all the time, and among them what is referred to before what refers.
create or replace function partitions.kin(p_parents regclass[])
  returns table (
    relation regclass,
    is_referred_to boolean -- by one of these, which it is not itself
  )
  language sql
  stable
as $$
  with recursive key as (
    select k.conrelid, k.confrelid
    from pg_constraint as k
    where k.contype = 'f'
      and k.conparentid = 0
      and k.conrelid <> k.confrelid
      and (k.conrelid = any (p_parents) or k.confrelid = any (p_parents))
  ),
  place as (
    select k.confrelid as relation, 0 as depth from key as k
    union
    select k.conrelid, p.depth + 1
    from place as p
    join key as k on k.confrelid = p.relation
    -- Keys may run in a circle.
    where p.depth < 10
  )
  select p.relation::regclass, p.relation <> all (p_parents) and p.relation not in (select k.conrelid from key as k)
  from place as p
  group by p.relation
  order by
    not exists (select from partitions.policies as o where o.parent = p.relation),
    max(p.depth),
    p.relation::regclass::text
$$;

-- Waits for the first table only, and not for that one when others wait for this transaction already; the rest it asks
-- for again and again. So no circle of waits can come of it, whatever the others hold; and whoever takes the tables in
-- the same order is out of the way soon.
create or replace function partitions.lock_in_turn(p_tables regclass[], p_modes text[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_lock text;
  v_try text;
begin
  for v_place in 1 .. coalesce(cardinality(p_tables), 0) loop
    v_lock := format('lock table only %s in %s mode', p_tables[v_place], p_modes[v_place]);
    v_try := v_lock || ' nowait';
    for v_attempt in 1 .. 20 loop
      begin
        execute v_try;
        exit;
      exception
        when lock_not_available then
          if v_attempt = 20 then
            raise;
          end if;
      end;
      if v_place = 1 and not partitions.holds_up_others() then
        execute v_lock;
        exit;
      end if;
      perform pg_sleep(0.005);
    end loop;
  end loop;
end
$$;

-- A new partition makes PostgreSQL lock, table by table, what its foreign keys join: all of that is locked before.
create or replace function partitions.lock_to_attach(p_parent regclass)
  returns void
  language sql
  volatile
as $$
  select partitions.lock_in_turn(array_agg(k.relation), array_agg(text 'share row exclusive'))
  from partitions.kin(array[p_parent]) as k
$$;

-- The same for partitions that leave.
create or replace function partitions.lock_to_leave(p_parents regclass[])
  returns void
  language sql
  volatile
as $$
  select partitions.lock_in_turn(
    array_agg(k.relation),
    array_agg(case when k.is_referred_to then 'share row exclusive' else 'access exclusive' end)
  )
  from partitions.kin(p_parents) as k
$$;

-- One creation, maintenance or retirement at a time for each table, until the end of the transaction.
create or replace function partitions.lock_key(p_parent regclass)
  returns bigint
  language sql
  immutable
  parallel safe
as $$
  select hashtextextended('partitions of ' || p_parent::oid, 0)
$$;

-- Takes the turn for some tables, or says whose turn it is instead.
create or replace function partitions.take_turn(p_parents regclass[])
  returns setof partitions.action
  language sql
  volatile
as $$
  select (parent, null, 'skip', null, null, false, 'Another session is at it.')::partitions.action
  from unnest(p_parents) as parent
  where not pg_try_advisory_xact_lock(partitions.lock_key(parent))
$$;
--! EndIncluded 10_partitions/locks.sql
--! Included 10_partitions/create.sql
-- kind: code
-- Makes one partition: first a table of its own, which then becomes part of the parent in an instant.
-- `create table … partition of` would lock the parent, and so every insert, until its readers are done.

-- Makes the partition for a span of time that has none, and returns its name.
create or replace function partitions.add_partition(p_policy partitions.policies, p_span tstzrange)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_parent constant text := (select c.relname from pg_class as c where c.oid = p_policy.parent);
  v_name constant text := partitions.partition_name(v_parent, p_policy.granularity, p_span);
  v_table constant text := partitions.qualified(p_policy.parent, v_name);
  -- No CHECK is needed to spare the scan: the table is empty.
  v_attach constant text := format('alter table %s attach partition %s %s',
    p_policy.parent, v_table, partitions.values_clause(p_policy.key_kind, p_span));
begin
  if to_regclass(v_table) is not null then
    perform private.raise_error('CONFLICT',
      format('A table %s exists that is no partition of %s for this time.', v_table, p_policy.parent),
      'Rename it or drop it; or, if its rows belong there: ' || v_attach);
  end if;
  perform partitions.execute_patiently(concat_ws('; ',
    partitions.table_like(p_policy, v_name),
    partitions.comment_of_partition(v_parent, v_table, p_span)
  ));
  perform partitions.execute_patiently(format('select partitions.lock_to_attach(%L); %s', p_policy.parent, v_attach));
  return v_name;
end
$$;

create or replace function partitions.require_policy(p_parent regclass)
  returns partitions.policies
  language plpgsql
  stable
as $$
declare
  v_policy partitions.policies;
begin
  select p.* into v_policy from partitions.policies as p where p.parent = p_parent;
  if not found then
    perform private.raise_error('NOT_FOUND', format('%s is not a managed table.', coalesce(p_parent::text, 'null')),
      'partitions.policies lists the managed tables; partitions.manage() adds one.');
  end if;
  return v_policy;
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
  v_policy constant partitions.policies := partitions.require_policy("create".parent);
  v_name text;
  v_span tstzrange;
begin
  perform partitions.require_time(v_policy.key_kind, v_at);
  v_name := partitions.find(v_policy.parent, v_at);
  if v_name is not null then
    return v_name;
  end if;
  perform partitions.require_manageable(v_policy.parent);
  perform partitions.execute_patiently(
    format('select pg_advisory_xact_lock(%s)', partitions.lock_key(v_policy.parent)));
  -- What is free of the period; nothing when somebody else has just made the partition.
  select free.span into v_span
  from partitions.period(v_policy.granularity, v_at) as period
  cross join unnest(tstzmultirange(period) - partitions.covered(v_policy.parent)) as free (span)
  where free.span @> v_at;
  if v_span is not null then
    return partitions.add_partition(v_policy, v_span);
  end if;
  v_name := partitions.find(v_policy.parent, v_at);
  if v_name is null then
    perform private.raise_error('CONFLICT',
      format('The partition of %s for %s is being detached.', v_policy.parent, v_at),
      format('If that was interrupted, this finishes it: select * from partitions.maintain(%L)', v_policy.parent));
  end if;
  return v_name;
end
$$;
comment on function partitions.create(regclass, timestamptz) is
  'Makes the partition for a moment, with the parent''s indexes, row-level security on and no grants, and returns its name; also when it existed. Errors: NOT_FOUND (no managed table), INVALID_ARGUMENT (null, infinity, year 9999), CONFLICT (another table has the name, or locks were not to be had). Example: select partitions.create(''public.workflow_events'', ''2027-01-01'')';

grant execute on function partitions.create(regclass, timestamptz) to flowgres_dba;
--! EndIncluded 10_partitions/create.sql
--! Included 10_partitions/maintain.sql
-- kind: code
-- Keeps partitions ahead of need. Meant to be called often: when there is nothing to do it reads a few catalog rows.

-- The span of time that must have partitions now; not what would leave at once.
create or replace function partitions.wanted(p_policy partitions.policies)
  returns tstzrange
  language sql
  volatile
as $$
  select tstzrange(
    greatest(
      lower(partitions.period(p_policy.granularity, now, -p_policy.behind)),
      lower(partitions.period(p_policy.granularity, now - p_policy.retention))
    ),
    upper(partitions.period(p_policy.granularity, now, p_policy.premake))
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
  v_policy partitions.policies;
begin
  -- A standby gets its partitions from the primary.
  if pg_is_in_recovery() then
    return;
  end if;
  if maintain.parent is not null then
    perform partitions.require_policy(maintain.parent);
  end if;
  for v_policy in
    select p.*
    from partitions.policies as p
    left join partitions.maintenance as m on m.parent = p.parent
    where (maintain.parent is null or p.parent = maintain.parent)
      and (m.idle @> v_now and m.policy_xmin = p.xmin::text and m.fingerprint = (
        -- partitions.fingerprint(p.parent), written out: here it is planned once in a session.
        select coalesce(sum(i.inhrelid::bigint * 31 + i.xmin::text::bigint), 0)
        from pg_inherits as i
        where i.inhparent = p.parent
      )) is not true
    -- Locks stay until the end. So those that nobody else waits for come first, and then, in the order of locks, what
    -- others refer to before what refers.
    order by
      exists (select from partitions.kin(array[p.parent])),
      exists (
        select
        from pg_constraint as k
        join partitions.policies as o on o.parent = k.confrelid
        where k.conrelid = p.parent
          and k.contype = 'f'
      ),
      p.parent::text
  loop
    return query select m.* from partitions.maintain_table(v_policy, maintain.dry_run) as m;
  end loop;
end
$$;
comment on function partitions.maintain(regclass, boolean) is
  'Makes sure that each managed table, or the given one, has partitions from `behind` periods before the current one to `premake` after it, and finishes interrupted detaches. One row per action; a failure is a row and does not stop the rest. With dry_run nothing is done. Error: NOT_FOUND (no managed table). Example: select * from partitions.maintain()';

-- One table: finishes interrupted detaches, then fills what is wanted and missing.
create or replace function partitions.maintain_table(p_policy partitions.policies, p_dry_run boolean)
  returns setof partitions.action
  language plpgsql
  volatile
  set jit = off -- short queries over functions whose cost nobody can guess: compiling them takes longer
as $$
declare
  v_policy partitions.policies := p_policy;
  v_failure text;
  v_action partitions.action;
begin
  return query select t.* from partitions.take_turn(array[p_policy.parent]) as t;
  if found then
    return;
  end if;
  v_action := partitions.adapt(v_policy, p_dry_run);
  if v_action.action is not null then
    return next v_action;
    select p.* into v_policy from partitions.policies as p where p.parent = p_policy.parent;
  end if;
  for v_action in
    select p.* from partitions.plan_maintenance(v_policy, partitions.wanted(v_policy)) as p
  loop
    if not p_dry_run then
      v_action := partitions.perform_action(v_policy, v_action);
      v_failure := coalesce(v_failure, v_action.detail);
    end if;
    return next v_action;
  end loop;
  if not p_dry_run then
    perform partitions.remember(p_policy.parent, v_failure);
  end if;
end
$$;

create or replace function partitions.plan_maintenance(p_policy partitions.policies, p_wanted tstzrange)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
begin
  perform partitions.require_manageable(p_policy.parent);
  return query
    select p_policy.parent, o.name, 'finish detach', o.lower, o.upper, false, null::text
    from partitions.of(p_policy.parent) as o
    where o.detaching
      -- Mostly there is none, and then no bound is read.
      and exists (
        select from pg_inherits as i where i.inhparent = p_policy.parent and i.inhdetachpending
      );
  return query
    select p_policy.parent, partitions.partition_name(c.relname, p_policy.granularity, piece), 'create',
      lower(piece), upper(piece), false, null::text
    from pg_class as c
    cross join unnest(tstzmultirange(p_wanted) - partitions.covered(p_policy.parent)) as hole
    cross join lateral partitions.split(p_policy.granularity, hole) as piece
    where c.oid = p_policy.parent
    order by lower(piece);
exception
  when others then
    return next (p_policy.parent, null, 'check', null, null, false, sqlerrm)::partitions.action;
end
$$;

-- Does one action; what goes wrong becomes its detail.
create or replace function partitions.perform_action(
  p_policy partitions.policies,
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
    perform partitions.add_partition(p_policy, tstzrange(v_action.lower, v_action.upper));
    v_action.done := true;
  elsif v_action.action = 'finish detach' then
    perform partitions.execute_patiently(format('alter table %s detach partition %s finalize',
      p_policy.parent, partitions.qualified(p_policy.parent, v_action.partition)));
    v_action.done := true;
  end if;
  return v_action;
exception
  when others then
    v_action.detail := sqlerrm;
    return v_action;
end
$$;

-- What the next maintenance may rely on, and what the doctor reports. If all that is wanted is there, there is nothing
-- to do until the current period ends: with it moves the end of what is wanted, and the beginning only ever forward.
create or replace function partitions.remember(p_parent regclass, p_failure text)
  returns void
  language sql
  volatile
as $$
  insert into partitions.maintenance as m
    (parent, fingerprint, covered, idle, policy_xmin, failures, failed_at, error)
  select p_parent,
    case when is_covered then partitions.fingerprint(p_parent) end,
    case when is_covered then wanted end,
    partitions.period(p.granularity, upper(wanted), -p.premake - 1),
    p.xmin::text,
    case when p_failure is null then 0 else 1 end,
    case when p_failure is not null then engine.now() end,
    p_failure
  from partitions.policies as p
  cross join lateral partitions.wanted(p) as wanted
  cross join lateral (select partitions.covered(p_parent) @> wanted offset 0) as c (is_covered)
  where p.parent = p_parent
  on conflict (parent) do update
  set fingerprint = excluded.fingerprint,
    covered = excluded.covered,
    idle = excluded.idle,
    policy_xmin = excluded.policy_xmin,
    failures = case when p_failure is null then 0 else m.failures + 1 end,
    failed_at = excluded.failed_at,
    error = excluded.error
$$;

grant execute on function partitions.maintain(regclass, boolean) to flowgres_dba;
--! EndIncluded 10_partitions/maintain.sql
--! Included 10_partitions/leave.sql
-- kind: code
-- How tables leave: locked for an instant, a group together or not at all.

-- The statements that take a partition out. A plain DROP of an attached one locks less than a detach (nothing of the
-- tables that it refers to), but is refused where other tables refer to the parent.
create or replace function partitions.farewell(p_action partitions.action, p_attached boolean)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    case
      when p_attached and (p_action.action <> 'drop' or partitions.is_referenced(p_action.parent))
      then format('alter table %s detach partition %s', p_action.parent, name)
    end,
    case when p_action.action = 'drop' then format('drop table %s', name) end,
    case p_action.action
      when 'detach' then format('select partitions.put_away(%L, %L)', p_action.parent, p_action.partition)
      when 'archive' then format('select partitions.keep_archive(%L, %L, %L, %L)',
        p_action.parent, p_action.partition, p_action.lower, p_action.upper)
    end
  )
  from partitions.qualified(p_action.parent, p_action.partition) as name
$$;

-- All of the group, with the rows elsewhere that refer to it, or nothing of it. Those rows go before the first table is
-- locked; what they refer to is the last of the group. Detaching what others refer to makes PostgreSQL look for rows
-- that still do: with these settings by merging two indexes, which ends early, never by reading the whole log. What
-- they make costly on paper would be compiled: that took longer than all the rest.
create or replace function partitions.retire_group(p_group partitions.action[])
  returns partitions.action[]
  language plpgsql
  volatile
  set enable_hashjoin = off
  set enable_seqscan = off
  set jit = off
as $$
declare
  v_statements constant text := (
    select format('select partitions.lock_to_leave(%L); ', array_agg(p_group[i].parent))
      || string_agg(partitions.farewell(p_group[i], true), '; ' order by i)
    from generate_subscripts(p_group, 1) as i
  );
  v_error text;
begin
  begin
    perform partitions.clear_stragglers(p_group[cardinality(p_group)]);
    perform partitions.execute_patiently(v_statements);
  exception
    when others then v_error := sqlerrm;
  end;
  return array(
    select (g.parent, g.partition, g.action, g.lower, g.upper, v_error is null, v_error)::partitions.action
    from unnest(p_group) as g
  );
end
$$;

-- Sees off what was, or was being, detached concurrently: all of it, or one partition. What is still attached is
-- decided anew.
create or replace function partitions.finish_departures(p_parent regclass, p_name text default null)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_departure record;
  v_action partitions.action;
begin
  return query select t.* from partitions.take_turn(array[p_parent]) as t;
  if found then
    return;
  end if;
  for v_departure in
    select d.*, c.oid is not null and (i.inhrelid is null or i.inhdetachpending) as is_leaving,
      -- The policy may have changed since it was decided: what it wants archived is not dropped.
      case when d.action = 'drop' and p.on_retire = 'archive' then 'archive' else d.action end as wish,
      case
        when i.inhdetachpending then format('alter table %s detach partition %s finalize', d.parent, d.partition)
      end as first
    from partitions.departures as d
    join partitions.policies as p on p.parent = d.parent
    left join pg_class as c on c.oid = d.partition
    left join pg_inherits as i on i.inhrelid = d.partition
    where d.parent = p_parent
      and (p_name is null or d.name = p_name)
    order by d.lower
  loop
    if v_departure.is_leaving then
      v_action := (p_parent, v_departure.name, v_departure.wish, v_departure.lower, v_departure.upper, true, null);
      begin
        perform partitions.execute_patiently(
          concat_ws('; ', v_departure.first, partitions.farewell(v_action, false)));
      exception
        when others then
          v_action.done := false;
          v_action.detail := sqlerrm;
      end;
      return next v_action;
      continue when not v_action.done;
    end if;
    delete from partitions.departures as d where d.partition = v_departure.partition;
  end loop;
end
$$;
--! EndIncluded 10_partitions/leave.sql
--! Included 10_partitions/retire.sql
-- kind: code
-- Lets old periods leave. What leaves is decided by the upper bound in the catalog, never by a name, and the policy's
-- guard is asked first. Tables that belong together leave in one step, the referring one before the referred one.

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
  v_policy partitions.policies;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  perform partitions.require_age(retire.parent, retire.older_than);
  for v_policy in select p.* from partitions.retiring_policies(retire.parent) as p loop
    return query
      select r.*
      from partitions.retire_table(
        v_policy,
        engine.now() - coalesce(retire.older_than, v_policy.retention),
        -- A table that is named goes alone; else what leaves with another table's partition waits for that one.
        case when retire.parent is null then v_policy.retire_with end,
        retire.dry_run
      ) as r;
  end loop;
end
$$;
comment on function partitions.retire(regclass, interval, boolean) is
  'Lets partitions leave whose upper bound is older than the policy''s retention, or than older_than: they are dropped, archived or kept detached in schema partitions, as the policy says; partitions of tables that retire with this one leave with them. The last partition always stays, and so does a period that a guard holds back: action `keep`, with the reason. With dry_run nothing is done. Errors: NOT_FOUND, INVALID_ARGUMENT. Example: select * from partitions.retire(''public.workflow_runs'', dry_run => true)';

create or replace function partitions.require_age(p_parent regclass, p_age interval)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_parent is not null then
    perform partitions.require_policy(p_parent);
  elsif p_age is not null then
    perform private.raise_error('INVALID_ARGUMENT', 'An age is given, but no table.', 'Name the table that it is for.');
  end if;
  if p_age < interval '1 day' or p_age > interval '1000 years' then
    perform private.raise_error('INVALID_ARGUMENT', format('Partitions cannot leave at the age of %s.', p_age),
      'Give an interval between one day and 1000 years.');
  end if;
end
$$;

-- Whose turn it is: what others leave with comes first, and takes them along. Tables with foreign keys come before
-- those without: they need several locks, for which they must wait while no other is held.
create or replace function partitions.retiring_policies(p_parent regclass)
  returns setof partitions.policies
  language sql
  stable
as $$
  select p.*
  from partitions.policies as p
  where coalesce(p.parent = p_parent, p.retention is not null)
  order by
    exists (select from partitions.kin(array[p.parent])) desc,
    p.retire_with is not null,
    p.parent::text
$$;

create or replace function partitions.retire_table(
  p_policy partitions.policies,
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
    from partitions.take_turn(array(
      select p.parent from partitions.policies as p where p_policy.parent in (p.parent, p.retire_with)
    )) as t;
  if found then
    return;
  end if;
  if p_leader is null and not p_dry_run then
    return query
      select d.*
      from partitions.policies as p
      cross join lateral partitions.finish_departures(p.parent) as d
      where p_policy.parent in (p.parent, p.retire_with);
  end if;
  for v_action in select l.* from partitions.leaders(p_policy, p_before, p_leader) as l loop
    v_group := partitions.period_group(p_policy, v_action);
    if p_dry_run or v_group[1].action = 'keep' then
      return query select g.* from unnest(v_group) as g;
    else
      v_ready := v_ready || v_action;
    end if;
  end loop;
  foreach v_action in array v_ready loop
    return query
      select g.* from unnest(partitions.retire_group(partitions.period_group(p_policy, v_action))) as g;
  end loop;
end
$$;

-- Is the partition's time still held by a partition of the table that it retires with? Then it leaves with that one,
-- unless its own retention is shorter.
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

-- The partitions of a table that leave, each with its group.
create or replace function partitions.leaders(
  p_policy partitions.policies,
  p_before timestamptz,
  p_leader regclass
)
  returns setof partitions.action
  language sql
  volatile
as $$
  select l.*
  from partitions.leaving(p_policy, '-infinity', p_before) as l
  where p_leader is null
    or not partitions.leaves_with(p_policy, p_leader, l)
$$;

-- The partition and those that leave with it, in the order of leaving. If one must stay, all do.
create or replace function partitions.period_group(
  p_policy partitions.policies,
  p_action partitions.action
)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_group constant partitions.action[] := array(
    select f
    from partitions.policies as p
    cross join lateral partitions.leaving(p, p_action.lower, p_action.upper) as f
    where p.retire_with = p_policy.parent
    order by p.parent::text, f.lower
  ) || p_action;
  v_reason constant text := (
    select format('%s: %s', g.partition, g.detail) from unnest(v_group) as g where g.action = 'keep'
    union all
    select format('%s is still on its way out.', d.name)
    from partitions.departures as d
    join partitions.policies as p on p.parent = d.parent and p.retire_with = p_policy.parent
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
--! EndIncluded 10_partitions/retire.sql
--! Included 10_partitions/retire_concurrently.sql
-- kind: code
-- The gentle way to retire: statements that each run alone, because DETACH … CONCURRENTLY can run in no function.

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
    from partitions.policies as p
    where retire_concurrently.parent is null
      or retire_concurrently.parent in (p.parent, p.retire_with)
  );
  perform partitions.take_long_turn(v_parents);
  -- After a long pause a partition is due by its own age and with its group: it is to be detached once.
  return query
    select s.statement
    from partitions.gentle_statements(retire_concurrently.parent, retire_concurrently.older_than)
      with ordinality as s (statement, place)
    group by s.statement
    order by min(s.place);
  return query
    select partitions.last_statements(v_parents, array(
      select partitions.single_statements(retire_concurrently.parent, retire_concurrently.older_than)
    ) || format('select * from partitions.retire(%L, %L, dry_run => true) where action = ''keep''',
      retire_concurrently.parent, retire_concurrently.older_than));
end
$$;
comment on function partitions.retire_concurrently(regclass, interval) is
  'What retire() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner: partitions are detached concurrently, which holds up neither reads nor writes, rows are deleted in batches, and each period then leaves in a transaction of its own. One row per action, as of retire(). If one fails, run the others all the same: the next time finishes it. Example, in psql: set role flowgres_owner; select partitions.retire_concurrently() \gexec';

-- It is this session's turn until the last statement, so that nobody takes its detach for an interrupted one.
create or replace function partitions.take_long_turn(p_parents regclass[])
  returns void
  language sql
  volatile
as $$
  select pg_advisory_lock(partitions.lock_key(p)) from unnest(p_parents) as p order by p
$$;

-- What leaves last holds locks that writers wait for until its transaction ends: each partition has one of its own.
create or replace function partitions.last_statements(p_parents regclass[], p_finals text[])
  returns setof text
  language sql
  volatile
as $$
  (
    select format('select * from partitions.finish_departures(%L, %L)', d.parent, d.name)
    from partitions.departures as d
    where d.parent = any (p_parents)
    order by d.parent::text, d.lower
  )
  union all
  select f from unnest(p_finals) as f
  union all
  select format('select pg_advisory_unlock(partitions.lock_key(%L))', p) from unnest(p_parents) as p
$$;

-- One period of a table, with what leaves with it; nothing if it must stay now.
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
  v_policy constant partitions.policies := partitions.require_policy(p_parent);
  v_group constant partitions.action[] := (
    select partitions.period_group(v_policy, l) from partitions.leaving(v_policy, p_lower, p_upper) as l
  );
begin
  if v_group[1].action <> 'keep' then
    return query select g.* from unnest(partitions.retire_group(v_group)) as g;
  end if;
end
$$;

create or replace function partitions.single_statements(p_parent regclass, p_older_than interval)
  returns setof text
  language sql
  volatile
as $$
  select format('select * from partitions.retire_period(%L, %L, %L)', l.parent, l.lower, l.upper)
  from partitions.retiring_policies(p_parent) as p
  cross join lateral partitions.leaders(
    p,
    engine.now() - coalesce(p_older_than, p.retention),
    case when p_parent is null then p.retire_with end
  ) as l
  where l.action <> 'keep'
$$;

create or replace function partitions.gentle_statements(p_parent regclass, p_older_than interval)
  returns setof text
  language plpgsql
  volatile
as $$
declare
  v_policy partitions.policies;
  v_action partitions.action;
begin
  for v_policy in select p.* from partitions.retiring_policies(p_parent) as p loop
    for v_action in
      select member.*
      from partitions.leaders(
        v_policy,
        engine.now() - coalesce(p_older_than, v_policy.retention),
        case when p_parent is null then v_policy.retire_with end
      ) as l
      cross join lateral unnest(partitions.period_group(v_policy, l)) as member
      where member.action <> 'keep'
    loop
      return next partitions.gentle_statement(v_action);
    end loop;
  end loop;
end
$$;

-- A table that others refer to is detached plainly, by retire(), once the rows that refer to the period are gone.
create or replace function partitions.gentle_statement(p_action partitions.action)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_partition constant regclass := partitions.qualified(p_action.parent, p_action.partition);
begin
  if partitions.is_referenced(p_action.parent) then
    return format('call partitions.clear_stragglers(%L, %L, %L, %L)',
      p_action.parent, p_action.lower, p_action.upper, p_action.action);
  end if;
  insert into partitions.departures (partition, parent, name, lower, upper, action, since)
  values (
    v_partition, p_action.parent, p_action.partition, p_action.lower, p_action.upper, p_action.action, engine.now()
  )
  on conflict on constraint departures_pkey do update
  set action = excluded.action,
    since = excluded.since;
  return format('alter table %s detach partition %s concurrently', p_action.parent, v_partition);
end
$$;
--! EndIncluded 10_partitions/retire_concurrently.sql
--! Included 10_partitions/archive.sql
-- kind: code
-- Archives one period of a table by name of its time, whatever the policy says, together with what leaves with it.
-- Periods that the policy lets go by their age are archived by retire().

create or replace function partitions.archive(parent regclass, at timestamptz)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs archive partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy constant partitions.policies := partitions.require_policy(archive.parent);
  v_turn text;
  v_group partitions.action[];
begin
  select t.detail into v_turn
  from partitions.take_turn(array(
    select p.parent from partitions.policies as p where v_policy.parent in (p.parent, p.retire_with)
  )) as t;
  if found then
    perform private.raise_error('CONFLICT', v_turn, 'Try again when it is done.');
  end if;
  return query
    select d.*
    from partitions.policies as p
    cross join lateral partitions.finish_departures(p.parent) as d
    where v_policy.parent in (p.parent, p.retire_with);
  v_group := partitions.archivable_group(v_policy, archive.at);
  if v_group <> '{}' then
    perform partitions.clear_stragglers(v_group[cardinality(v_group)]);
    return query select g.* from unnest(partitions.retire_group(v_group)) as g;
  end if;
end
$$;
comment on function partitions.archive(regclass, timestamptz) is
  'Moves the partition that holds a time to schema partitions, with those of the tables that retire with this one, and the rows of later partitions that belong to it; nothing is copied or lost. If it is archived already, nothing happens; what was not to be had is a row that is not done. Errors: NOT_FOUND (no managed table, no partition), INVALID_ARGUMENT (null, or the period is not over), CONFLICT (it must stay: the message says why; or another session is at it). Example: select * from partitions.archive(''public.workflow_runs'', ''2025-01-01'')';

create or replace function partitions.archive_concurrently(parent regclass, at timestamptz)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy constant partitions.policies := partitions.require_policy(archive_concurrently.parent);
  v_parents constant regclass[] := array(
    select p.parent from partitions.policies as p where v_policy.parent in (p.parent, p.retire_with)
  );
begin
  perform partitions.take_long_turn(v_parents);
  -- What is on its way out already is brought to its end first; archive() does the rest.
  if not exists (select from partitions.departures as d where d.parent = any (v_parents)) then
    return query
      select partitions.gentle_statement(g)
      from unnest(partitions.archivable_group(v_policy, archive_concurrently.at)) as g;
  end if;
  return query select partitions.last_statements(v_parents, array[
    format('select * from partitions.archive(%L, %L)', v_policy.parent, archive_concurrently.at)
  ]);
end
$$;
comment on function partitions.archive_concurrently(regclass, timestamptz) is
  'What archive() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner; see retire_concurrently(). Errors as of archive(). Example, in psql: set role flowgres_owner; select partitions.archive_concurrently(''public.workflow_runs'', ''2025-01-01'') \gexec';

-- The partition that holds a time and those that leave with it, in the order of leaving; none when they have left.
create or replace function partitions.archivable_group(p_policy partitions.policies, p_at timestamptz)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_partition record;
  v_group partitions.action[];
  v_reason text;
begin
  perform partitions.require_time(p_policy.key_kind, p_at);
  select o.* into v_partition
  from partitions.of(p_policy.parent) as o
  where p_at >= o.lower
    and p_at < o.upper;
  if not found then
    perform partitions.require_archived(p_policy.parent, p_at);
    return '{}';
  elsif v_partition.upper > engine.now() then
    perform private.raise_error('INVALID_ARGUMENT',
      format('%s ends on %s and cannot be archived before.', v_partition.name,
        to_char(v_partition.upper at time zone 'UTC', 'YYYY-MM-DD')),
      'Name a period that is over.');
  end if;
  perform partitions.end_hold(p_policy.parent, v_partition.lower, v_partition.upper);
  v_reason := partitions.reason_to_stay(p_policy, v_partition.lower, v_partition.upper);
  v_group := partitions.period_group(p_policy, (
    p_policy.parent, v_partition.name, case when v_reason is null then 'archive' else 'keep' end,
    v_partition.lower, v_partition.upper, false, v_reason
  )::partitions.action);
  if v_group[1].action = 'keep' then
    perform private.raise_error('CONFLICT',
      format('%s cannot be archived: %s', v_partition.name, v_group[1].detail),
      'See what holds it: select * from partitions.retire(dry_run => true)');
  end if;
  return array(
    select (g.parent, g.partition, 'archive', g.lower, g.upper, false, null)::partitions.action
    from unnest(v_group) as g
  );
end
$$;

-- Who names a period that was restored is done with it.
create or replace function partitions.end_hold(p_parent regclass, p_lower timestamptz, p_upper timestamptz)
  returns void
  language sql
  volatile
as $$
  update partitions.archives as a set kept_until = engine.now()
  from partitions.policies as p
  where p.parent = a.parent
    and p_parent in (p.parent, p.retire_with)
    and a.upper > p_lower
    and a.upper <= p_upper
    and a.kept_until > engine.now()
$$;

create or replace function partitions.require_archived(p_parent regclass, p_at timestamptz)
  returns void
  language plpgsql
  stable
as $$
begin
  if not exists (
    select
    from partitions.archives as a
    where a.parent = p_parent
      and a.content = 'partition'
      and p_at >= a.lower
      and p_at < a.upper
  ) then
    perform private.raise_error('NOT_FOUND',
      format('%s has neither a partition nor an archive for %s.', p_parent, p_at),
      format('These are there: select * from partitions.of(%L), and: select * from partitions.archives', p_parent));
  end if;
end
$$;

grant execute on function partitions.archive(regclass, timestamptz) to flowgres_dba;
--! EndIncluded 10_partitions/archive.sql
--! Included 10_partitions/build_index.sql
-- kind: code
-- A new index on a table that is written all the time: CREATE INDEX on a partitioned table would hold up its writers
-- until all partitions are read, and CONCURRENTLY is not to be had for one.

create or replace function partitions.build_index(
  parent regclass,
  name text,
  definition text,
  is_unique boolean default false
)
  returns setof text
  language plpgsql
  stable
  security definer -- definer because a DBA asks for tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_index regclass;
  v_create constant text := format('create %sindex', case when is_unique then 'unique ' end);
  v_leaf record;
begin
  perform partitions.require_manageable(build_index.parent);
  if coalesce(build_index.name, '') = '' or coalesce(btrim(definition), '') = '' then
    perform private.raise_error('INVALID_ARGUMENT', 'An index needs a name and a definition.',
      'The definition is what follows the table''s name in CREATE INDEX, such as (organization_id, ts).');
  end if;
  perform partitions.require_short_names(build_index.parent, build_index.name);
  v_name := partitions.qualified(build_index.parent, build_index.name);
  v_index := to_regclass(v_name);
  if not coalesce(
    (select x.indrelid = build_index.parent from pg_index as x where x.indexrelid = v_index),
    v_index is null
  ) then
    perform private.raise_error('CONFLICT', format('%s is something else already.', v_index), 'Choose another name.');
  end if;
  -- First that of the table, which is not valid until all partitions have theirs: new partitions come with it.
  if v_index is null then
    return next format('select partitions.execute_patiently(%L)',
      format('%s %I on only %s %s', v_create, build_index.name, build_index.parent, definition));
  end if;
  for v_leaf in
    select * from partitions.indexed_leaves(build_index.parent, build_index.name) as l where not l.is_attached
  loop
    -- Whatever is left of a build that was interrupted.
    if v_leaf.is_valid is false then
      return next format('drop index concurrently %s', v_leaf.qualified);
    end if;
    if v_leaf.is_valid is not true then
      return next format('%s concurrently %I on %s %s', v_create, v_leaf.index, v_leaf.partition, definition);
    end if;
    return next format('select partitions.attach_index(%L, %L)', v_name, v_leaf.qualified);
  end loop;
end
$$;
comment on function partitions.build_index(regclass, text, text, boolean) is
  'Statements that build an index on a partitioned table without holding up its writers: on each partition concurrently, under the partition''s name. The definition is what follows the table''s name in CREATE INDEX. Run them one after the other, each in a transaction of its own, as flowgres_owner. Whatever interrupts them, ask again with the same arguments: what is done is not listed, what was broken off is built anew; nothing is listed when the index is complete. Errors: NOT_FOUND, INVALID_ARGUMENT, CONFLICT (the name is taken). Example, in psql: set role flowgres_owner; select partitions.build_index(''public.workflow_events'', ''workflow_events_seq_idx'', ''(run_id, seq)'') \gexec';

-- Each partition and how far it is with an index of the table; is_valid is null where it has none of that name: what
-- came with an attached table may have another.
create or replace function partitions.indexed_leaves(p_parent regclass, p_index text)
  returns table (
    partition regclass,
    index text,
    qualified text,
    is_valid boolean,
    is_attached boolean
  )
  language sql
  stable
as $$
  select o.partition, leaf.index, leaf.qualified, x.indisvalid, exists (
    select
    from pg_inherits as h
    join pg_index as attached on attached.indexrelid = h.inhrelid
    where h.inhparent = to_regclass(partitions.qualified(p.oid, p_index))
      and attached.indrelid = o.partition
  )
  from pg_class as p
  cross join lateral partitions.of(p.oid) as o
  cross join lateral partitions.index_name(p.relname, o.name, p_index) as index
  cross join lateral partitions.qualified(p.oid, index) as qualified
  cross join lateral (select index, qualified) as leaf
  left join pg_index as x on x.indexrelid = to_regclass(leaf.qualified) and x.indrelid = o.partition
  where p.oid = p_parent
  order by o.lower desc
$$;

-- One whose build failed must not be attached: it could neither be dropped any more nor become valid.
create or replace function partitions.attach_index(p_parent regclass, p_index regclass)
  returns void
  language plpgsql
  volatile
as $$
begin
  if not (select x.indisvalid from pg_index as x where x.indexrelid = p_index) then
    perform private.raise_error('CONFLICT', format('%s is not valid: its build has failed.', p_index),
      'Ask for the statements again: it is built anew.');
  end if;
  perform partitions.execute_patiently(format('alter index %s attach partition %s', p_parent, p_index));
end
$$;

grant execute on function partitions.build_index(regclass, text, text, boolean) to flowgres_dba;
--! EndIncluded 10_partitions/build_index.sql
--! Included 20_tenancy/organizations.sql
-- kind: code
-- A new organization, and who a request is.

create or replace function private.raise_slug_taken(p_slug text)
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'CONFLICT', format('The slug %s is taken.', p_slug), 'Choose another one.', '{"field": "slug"}'
  );
end
$$;

create or replace function private.raise_bad_organization()
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'VALIDATION_FAILED',
    'An organization needs a name of 1 to 200 characters and a slug that is not reserved.',
    'A slug has 2 to 63 lower-case letters and digits, with single hyphens between them.'
  );
end
$$;

create or replace function public.create_organization(name text, slug text)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_organization public.organizations;
begin
  begin
    insert into public.organizations (name, slug)
    values (create_organization.name, create_organization.slug)
    returning * into v_organization;
  exception
    when unique_violation then
      perform private.raise_slug_taken(create_organization.slug);
    when check_violation or not_null_violation then
      perform private.raise_bad_organization();
  end;

  insert into public.organization_users (organization_id, user_id, role)
  values (v_organization.id, v_context.user_id, 'owner');

  update private.sessions as s
  set organization_id = v_organization.id
  where s.id = v_context.session_id and s.organization_id is null;

  return v_organization;
end
$$;
comment on function public.create_organization(text, text) is
  'Creates an organization with the caller as its owner; it becomes the active one of a session that has none. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), CONFLICT (the slug is taken), VALIDATION_FAILED. Example: select * from create_organization(''Acme'', ''acme'');';

create or replace function public.current_organization()
  returns public.organizations
  language sql
  stable
  security definer -- definer because an anonymous request may ask too, and gets null
  set search_path = pg_catalog, pg_temp
as $$
  select o.* from public.organizations as o where o.id = public.current_organization_id()
$$;
comment on function public.current_organization() is
  'The organization that the request acts for; null without a valid token. Example: select slug from current_organization();';

-- Whoever knows it can start runs, so a token for reading must not get it. GraphQL shows this in place of the column.
create or replace function public.organizations_webhook_key(organization public.organizations)
  returns text
  language sql
  stable
  security definer -- definer because nothing else opens the schema private to requests
  set search_path = pg_catalog, pg_temp
as $$
  select case when private.has_scope('workflows:write') then organization.webhook_key end
$$;
comment on function public.organizations_webhook_key(public.organizations) is
  'The unguessable part of its webhook addresses: /hooks/<webhook key>/<path>. For members and tokens with the scope workflows:write; null for others. Example: select organizations_webhook_key(o) from organizations as o;';

-- A keyword without its schema: call it as public.current_user().
create or replace function public.current_user()
  returns public.users
  language sql
  stable
  security definer -- definer because an anonymous request may ask too, and gets null
  set search_path = pg_catalog, pg_temp
as $$
  select u.* from public.users as u where u.id = public.current_user_id()
$$;
comment on function public.current_user() is
  'The user of the request; null for an anonymous one or an organization''s own token. Example: select name from public.current_user();';

grant execute on function public.create_organization(text, text) to flowgres_user, flowgres_dba;
grant execute on function public.organizations_webhook_key(public.organizations) to flowgres_user, flowgres_dba;
grant execute on function public.current_organization(), public.current_user()
  to flowgres_user, flowgres_anonymous, flowgres_dba;
--! EndIncluded 20_tenancy/organizations.sql
--! Included 20_tenancy/tokens.sql
-- kind: code
-- API tokens: the secret is shown once, by create_api_token; afterwards only its hash exists.

create or replace function private.scopes()
  returns table (scope text, allows text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('workflows:read',     'read workflows and their versions'),
    ('workflows:write',    'create, change, publish and archive workflows'),
    ('runs:read',          'read runs, their events and logs'),
    ('runs:write',         'start, cancel, pause, resume, retry and fork runs, send them signals, decide approvals'),
    ('organization:read',  'read the organization, its members and tokens'),
    ('organization:write', 'change the organization, its members and tokens')
$$;

create or replace function private.api_token(p_token private.api_tokens)
  returns public.api_token
  language sql
  immutable
as $$
  select
    p_token.id, p_token.name, p_token.prefix, p_token.scopes, p_token.user_id,
    p_token.created_at, p_token.expires_at, p_token.revoked_at, p_token.last_used_at
$$;

create or replace function public.create_api_token(
  name text,
  scopes text[],
  expires_at timestamptz default null
)
  returns public.new_api_token
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_secret constant text := private.new_secret('fg_');
  -- Nor does what a token makes outlive it.
  v_end constant timestamptz := least(
    create_api_token.expires_at,
    (select t.expires_at from private.api_tokens as t where t.id = (private.context()).token_id)
  );
  v_scope text;
  v_token private.api_tokens;
begin
  perform private.require_scope('organization:write');
  foreach v_scope in array coalesce(scopes, '{}') loop
    if v_scope is null or v_scope not in (select s.scope from private.scopes() as s) then
      perform private.raise_error(
        'VALIDATION_FAILED',
        format('There is no scope %s.', coalesce(v_scope, 'null')),
        'Scopes: ' || (select string_agg(s.scope, ', ') from private.scopes() as s) || '.'
      );
    end if;
    -- A token cannot make a mightier one.
    perform private.require_scope(v_scope);
  end loop;
  if v_end <= engine.now() then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The token would have expired already.', 'Give a later expires_at, or none.'
    );
  end if;

  -- Not while the organization is being deleted: its tokens are suspended, and this one would not be.
  perform from public.organizations as o where o.id = v_organization_id and o.deleted_at is null for share;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  insert into private.api_tokens (organization_id, user_id, name, prefix, token_hash, scopes, expires_at)
  values (
    v_organization_id, public.current_user_id(), create_api_token.name, left(v_secret, 9),
    private.hash_secret(v_secret), create_api_token.scopes, v_end
  )
  returning * into v_token;
  return row(v_secret, private.api_token(v_token));
exception
  when check_violation or not_null_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A token needs a name of 1 to 200 characters and at least one scope.'
    );
    return null;
end
$$;
comment on function public.create_api_token(text, text[], timestamptz) is
  'Creates an API token of the current organization and user, and returns its secret, once. Scopes: workflows:read, workflows:write, runs:read, runs:write, organization:read, organization:write; without expires_at it lasts until revoked, or as long as the token that makes it. It never may more than its maker, now or later: roles are asked at each request, and it ends with the membership. Errors: UNAUTHENTICATED, FORBIDDEN (a scope that the caller lacks), VALIDATION_FAILED. Example: select (create_api_token(''CI'', ''{runs:write}'')).secret;';

create or replace function public.revoke_api_token(id uuid)
  returns public.api_token
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_token private.api_tokens;
begin
  perform private.require_scope('organization:write');
  update private.api_tokens as t
  set revoked_at = coalesce(t.revoked_at, engine.now())
  where t.id = revoke_api_token.id and t.organization_id = v_organization_id
  returning * into v_token;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such token in this organization.');
  end if;
  if v_token.user_id is distinct from public.current_user_id() then
    perform private.require_role('admin');
  end if;
  return private.api_token(v_token);
end
$$;
comment on function public.revoke_api_token(uuid) is
  'Ends a token, one''s own or, as an admin, anyone''s; requests with it are refused within 5 seconds. Repeating it changes nothing. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from revoke_api_token(''0190…'');';

create or replace function public.api_tokens()
  returns setof public.api_token
  language sql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 10
as $$
  select token.*
  from private.api_tokens as t
  cross join lateral private.api_token(t) as token
  cross join private.context() as c
  left join public.organization_users as m on m.organization_id = c.organization_id and m.user_id = c.user_id
  where t.organization_id = c.organization_id
    and private.has_scope('organization:read')
    -- Admins see all, members their own.
    and (c.user_id is null or t.user_id = c.user_id or m.role in ('owner', 'admin'))
  order by t.created_at desc, t.id desc
$$;
comment on function public.api_tokens() is
  'The tokens of the current organization, newest first, without their secrets: all of them for owners and admins, their own for members. Example: select name, prefix, expires_at from api_tokens();';

grant execute on function
  public.create_api_token(text, text[], timestamptz),
  public.revoke_api_token(uuid),
  public.api_tokens()
  to flowgres_user, flowgres_dba;
--! EndIncluded 20_tenancy/tokens.sql
--! Included 40_runs/unfinished.sql
-- kind: code
-- What keeps a month of runs and events from leaving: the log of an unfinished run is still needed to finish it, and a
-- run that stays only because another one of its month does keeps its whole log.

-- Runs that crossed into the time from a month that an unfinished one holds back.
create or replace function engine.held_back_runs(p_from timestamptz, p_to timestamptz)
  returns text
  language sql
  stable
as $$
  select format('runs of an earlier month, which stays, have events in it; unfinished there: %s', r.id)
  from public.workflow_runs as r
  where r.status in ('waiting', 'running', 'paused')
    and r.id < engine.uuid_floor(p_from)
    and exists (
      select
      from public.workflow_events as e
      where e.ts >= p_from
        and e.ts < p_to
        and e.run_id < engine.uuid_floor(p_from)
    )
  order by r.id
  limit 1
$$;

create or replace function engine.unfinished_runs(p_from timestamptz, p_to timestamptz)
  returns text
  language sql
  stable
as $$
  select coalesce(
    (
      select format('%s unfinished runs have events in it: %s%s', max(held.total),
        string_agg(held.id::text, ', ' order by held.id), case when max(held.total) > 10 then ', …' end)
      from (
        select r.id, count(*) over () as total
        from public.workflow_runs as r
        where r.status in ('waiting', 'running', 'paused')
          and r.id < engine.uuid_floor(p_to)
          and (
            r.id >= engine.uuid_floor(p_from)
            or exists (
              select from public.workflow_events as e where e.run_id = r.id and e.ts >= p_from and e.ts < p_to
            )
          )
        order by r.id
        limit 10
      ) as held
      having count(*) > 0
    ),
    engine.held_back_runs(p_from, p_to)
  )
$$;
comment on function engine.unfinished_runs(timestamptz, timestamptz) is
  'The guard of runs and events: which unfinished runs began or have events in the time (end excluded), or hold back runs that have; null when none.';
--! EndIncluded 40_runs/unfinished.sql
--! Included 40_runs/ensure_partitions.sql
-- kind: code
-- The last resort against a month without partitions: whoever cannot write makes them.

create or replace function engine.ensure_partitions()
  returns int
  language sql
  volatile
  security definer -- definer because those who start and move runs own no table
  set search_path = pg_catalog, pg_temp
as $$
  select count(*)::int from partitions.maintain() as m where m.action = 'create' and m.done
$$;
comment on function engine.ensure_partitions() is
  'Makes the partitions that maintenance should have made, and returns how many it were: for workers, each minute, and for whoever was told that there is no partition for a row. Does the same as partitions.maintain(), which is mostly nothing. Example: select engine.ensure_partitions()';

grant execute on function engine.ensure_partitions() to flowgres_intake, flowgres_worker, flowgres_dba;
--! EndIncluded 40_runs/ensure_partitions.sql
--! Included 50_engine/outcomes.sql
-- kind: code
-- What a node receives and what it leaves behind, in the cases that are rare enough for a function of their own.

-- Errors are repeated: in the row of the run, to the error workflow, to the parent. So they are kept short.
create or replace function engine.short_error(p_error jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when pg_column_size(p_error) <= 65536 then p_error
    else p_error - 'details' || jsonb_build_object('message', left(p_error ->> 'message', 10000))
  end
$$;

-- An exception as the error of a step: ours carry a code and facts about it, PostgreSQL's are told by their SQLSTATE.
create or replace function engine.error_of(p_sqlstate text, p_message text, p_detail text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_details jsonb := jsonb_build_object('sqlstate', p_sqlstate);
  v_code text := 'NODE_FAILED';
begin
  if p_sqlstate like 'WF%' then
    v_code := p_detail::jsonb ->> 'code';
    v_details := p_detail::jsonb - 'code';
  end if;
  return engine.short_error(jsonb_strip_nulls(jsonb_build_object(
    'code', v_code,
    'message', p_message,
    'retryable', false,
    'details', nullif(v_details, '{}')
  )));
end
$$;

-- The live values at each input of a node: {"main": [value, …]}.
create or replace function engine.inputs_of(
  p_node engine.plan_node,
  p_states int[],
  p_ports text[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_inputs jsonb := '{}';
  v_input text;
  v_source int;
begin
  for v_edge in 1 .. cardinality(p_node.sources) loop
    v_source := p_node.sources[v_edge];
    v_input := p_node.target_inputs[v_edge];
    if p_states[v_source] = 1 and p_ports[v_source] = p_node.source_ports[v_edge] then
      v_inputs := v_inputs || jsonb_build_object(
        v_input, coalesce(v_inputs -> v_input, '[]') || jsonb_build_array(p_outputs[v_source])
      );
    end if;
  end loop;
  return v_inputs;
end
$$;

-- What a node leaves behind that failed for good, by its onError; no port: the run stops.
create or replace function engine.outcome_of_failure(p_node engine.plan_node, p_error jsonb, p_prev jsonb)
  returns engine.outcome
  language plpgsql
  immutable
as $$
declare
  v_outcome engine.outcome;
begin
  if p_node.type not like 'stopAndError@%' and p_node.on_error = 'continue' then
    v_outcome.port := 'main';
    v_outcome.output := jsonb_build_object('error', p_error);
  elsif p_node.type not like 'stopAndError@%' and p_node.on_error = 'errorOutput' then
    v_outcome.port := 'error';
    v_outcome.output := jsonb_build_object('error', p_error, 'input', p_prev);
  end if;
  return v_outcome;
end
$$;
--! EndIncluded 50_engine/outcomes.sql
--! Included 50_engine/waiting.sql
-- kind: code
-- What a node waits for: the event that says so, from its properties and the log alone.

-- How a step waits: for a time, a signal, a webhook or an approval; for child runs: run, forEach or repeat.
create or replace function engine.wait_kind(p_node engine.plan_node, p_properties jsonb)
  returns text
  language sql
  immutable
as $$
  select case split_part(p_node.type, '@', 1)
    when 'executeWorkflow' then 'run'
    when 'forEach' then 'forEach'
    when 'repeat' then 'repeat'
    else case
      when p_properties ? 'signal' then 'signal'
      when p_properties ? 'webhook' then 'webhook'
      when p_properties ? 'approval' then 'approval'
      else 'time'
    end
  end
$$;

-- When the waiting ends by itself: at the time `until`, after `seconds`, or after `timeoutSeconds`. An address that
-- can be called from anywhere is open for a week if nothing else is said.
create or replace function engine.wait_until(p_kind text, p_properties jsonb, p_at timestamptz)
  returns timestamptz
  language plpgsql
  stable
as $$
declare
  v_until timestamptz;
begin
  if p_kind = 'time' and p_properties ? 'until' then
    v_until := engine.parse_instant(p_properties -> 'until', coalesce(p_properties ->> 'timezone', 'UTC'));
  else
    begin
      v_until := p_at + make_interval(secs => coalesce(
        p_properties ->> case p_kind when 'time' then 'seconds' else 'timeoutSeconds' end,
        case p_kind when 'webhook' then '604800' end
      )::double precision);
    exception
      when data_exception then
        v_until := null;
    end;
    if v_until is null and p_kind <> 'time' and coalesce(p_properties -> 'timeoutSeconds', 'null') = 'null' then
      return null;
    end if;
  end if;
  if v_until is null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      'A wait needs a time such as 2026-11-21T12:00:00Z, with a time zone that exists, or a number of seconds.'
    );
  elsif v_until > p_at + interval '5 years' then
    perform private.raise_error('INVALID_ARGUMENT', 'A wait ends within the next five years.');
  end if;
  return v_until;
end
$$;

-- How many items a forEach goes through.
create or replace function engine.item_count(p_properties jsonb)
  returns int
  language plpgsql
  stable
as $$
declare
  v_most constant int := coalesce((p_properties ->> 'maxItems')::int, 1000);
  v_count int;
begin
  if jsonb_typeof(p_properties -> 'items') is distinct from 'array' then
    perform engine.node_failed('NOT_A_LIST', format(
      'items is not a list: %s', left((p_properties -> 'items')::text, 100)
    ));
  end if;
  v_count := jsonb_array_length(p_properties -> 'items');
  if v_count > v_most then
    perform engine.node_failed('TOO_MANY_ITEMS', format('There are %s items, but at most %s.', v_count, v_most));
  end if;
  return v_count;
end
$$;

-- The payload of step.waiting.
create or replace function engine.waiting_payload(
  p_node engine.plan_node,
  p_properties jsonb,
  p_at timestamptz
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_kind constant text := engine.wait_kind(p_node, p_properties);
  v_payload jsonb := jsonb_build_object('node', p_node.id, 'kind', v_kind);
  v_name text;
  v_until timestamptz;
begin
  if v_kind in ('run', 'forEach', 'repeat', 'signal') then
    v_name := p_properties ->> case v_kind when 'signal' then 'signal' else 'workflow' end;
    if v_name is null or v_name = '' or (v_kind = 'signal' and v_name !~ engine.signal_pattern()) then
      perform private.raise_error('INVALID_ARGUMENT', case v_kind
        when 'signal' then 'The name of a signal has 1 to 200 letters, digits, "_", "." and "-".'
        else 'workflow is the name or the id of a workflow.'
      end);
    end if;
    v_payload := v_payload || jsonb_build_object('name', v_name);
  end if;
  if v_kind = 'forEach' then
    v_payload := v_payload || jsonb_build_object('count', engine.item_count(p_properties));
  elsif v_kind in ('time', 'signal', 'webhook', 'approval') then
    v_until := engine.wait_until(v_kind, p_properties, p_at);
    if v_until is not null then
      v_payload := v_payload || jsonb_build_object('until', engine.iso_time(v_until));
    end if;
  end if;
  return v_payload;
end
$$;

-- When a waiting step goes on without being asked: one with child runs starts them at once.
create or replace function engine.wait_run_at(p_payload jsonb, p_at timestamptz)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when p_payload ->> 'kind' in ('run', 'forEach', 'repeat') then p_at
    else (p_payload ->> 'until')::timestamptz
  end
$$;

-- Names with a colon are the engine's own: the call of a resume address is a signal, too.
create or replace function engine.signal_pattern()
  returns text
  language sql
  immutable
  parallel safe
as $$
  select '^[A-Za-z0-9_.-]{1,200}$'
$$;

create or replace function engine.resume_signal(p_node text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select 'resume:' || p_node
$$;

-- The place of a node in the plan and, by place, whether it is that node or one before it.
create or replace function engine.nodes_before(p_nodes engine.plan_node[], p_place int)
  returns boolean[]
  language plpgsql
  immutable
as $$
declare
  v_needed boolean[] := array_fill(false, array[cardinality(p_nodes)]);
  v_source int;
begin
  v_needed[p_place] := true;
  for v_place in reverse p_place .. 1 loop
    if v_needed[v_place] then
      foreach v_source in array (p_nodes[v_place]).sources loop
        v_needed[v_source] := true;
      end loop;
    end if;
  end loop;
  return v_needed;
end
$$;

-- All nodes but one and those before it: with them as open, advance looks at nothing else.
create or replace function engine.nodes_beside(p_plan engine.plans, p_node text)
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_needed boolean[];
  v_others text[] := '{}';
begin
  if p_node is null then
    return p_plan.ids;
  end if;
  v_needed := engine.nodes_before(p_plan.nodes, array_position(p_plan.ids, p_node));
  for v_place in 1 .. cardinality(p_plan.ids) loop
    if not v_needed[v_place] then
      v_others := v_others || p_plan.ids[v_place];
    end if;
  end loop;
  return v_others;
end
$$;

-- A waiting step as it was when it was reached. What it received is not kept anywhere: all of it had settled, so the
-- log gives the same again.
create or replace function engine.reached(
  p_plan engine.plans,
  p_run_id uuid,
  p_log engine.log_entry[],
  p_node text
)
  returns engine.opened_step
  language plpgsql
  stable
as $$
declare
  v_log engine.log_entry[] := '{}';
  v_entry engine.log_entry;
  v_advanced engine.advanced;
begin
  foreach v_entry in array p_log loop
    if v_entry.type <> 'step.waiting' or v_entry.payload ->> 'node' <> p_node then
      v_log := v_log || v_entry;
    end if;
  end loop;
  v_advanced := engine.advance(
    p_plan.nodes, p_plan.ids, p_run_id, v_log, engine.nodes_beside(p_plan, p_node), null, p_plan.resume_key
  );
  return v_advanced.opened[1];
end
$$;
--! EndIncluded 50_engine/waiting.sql
--! Included 50_engine/advance.sql
-- kind: code
-- The heart of the engine. From a plan and the log of a run it computes the events that come next. It reads no table
-- and writes none, so replaying a log gives the same events again; its only look at the clock is to stop in time.

-- long because handing the arrays of a run, or the row of a node, to another function for each node makes a node cost
-- half as much again.
-- p_open: steps that are open already; p_resume_key: what the tokens of resume addresses are made with.
create or replace function engine.advance(
  p_nodes engine.plan_node[],
  p_ids text[],
  p_run_id uuid,
  p_log engine.log_entry[],
  p_open text[] default '{}',
  p_budget int default 200,
  p_resume_key bytea default null
)
  returns engine.advanced
  language plpgsql
  stable
as $$
declare
  v_fold constant engine.folded := engine.fold(p_nodes, p_ids, p_log);
  v_states int[] := v_fold.states;
  v_ports text[] := v_fold.ports;
  v_outputs jsonb[] := v_fold.outputs;
  v_errors jsonb[] := v_fold.errors;
  v_fed boolean[] := array_fill(null::boolean, array[cardinality(p_nodes)]); -- has a live outgoing connection
  v_created constant jsonb := v_fold.created;
  v_input constant jsonb := v_created -> 'input';
  v_vars constant jsonb := v_created -> 'vars';
  v_trigger constant text := v_created ->> 'trigger';
  v_run jsonb;
  v_responded boolean := v_fold.responded;
  -- A child run sees what it was started with as $.item, and its place as $.index.
  v_index constant int := (v_created #>> '{parent,index}')::int;
  v_item constant jsonb := case when v_index is not null then v_input end;
  v_seq int := v_fold.seq;
  v_ts timestamptz := v_fold.ts;
  -- Without a budget, as in a replay, there is no hurry either.
  v_stop_at constant timestamptz :=
    case when p_budget is null then 'infinity' else clock_timestamp() + interval '50 ms' end;
  v_taken int := 0;
  v_place int := 1;
  v_node engine.plan_node;
  v_source int;
  v_live boolean;
  v_settled boolean;
  v_prev jsonb;
  v_inputs jsonb;
  v_properties jsonb;
  v_outcome engine.outcome;
  v_payload jsonb;
  v_run_at timestamptz;
  v_started timestamptz;
  v_open boolean := false;
  v_detail text;
  v_entries engine.log_entry[];
  v_opened engine.opened_step[];
  v_result engine.advanced;
begin
  if v_fold.finished or v_fold.held then
    return v_result;
  end if;

  -- One pass in topological order. A node that fails raises; the failure is noted and the pass goes on from that node.
  loop
    begin
      while v_place <= cardinality(p_nodes) loop
        if v_states[v_place] in (1, 2) then
          v_place := v_place + 1;
          continue;
        end if;
        v_node := p_nodes[v_place];
        v_live := v_node.id = v_trigger;
        v_settled := true;
        v_prev := null;
        for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
          v_source := v_node.sources[v_edge];
          if v_states[v_source] = 1 then
            if v_ports[v_source] = v_node.source_ports[v_edge] then
              v_live := true;
              v_fed[v_source] := true;
              if v_prev is null and v_node.target_inputs[v_edge] = v_node.inputs[1] then
                v_prev := v_outputs[v_source];
              end if;
            end if;
          elsif v_states[v_source] is distinct from 2 then
            v_settled := false;
          end if;
        end loop;

        v_outcome := null;
        if not v_settled or v_node.id = any (p_open)
          or v_states[v_place] = 3
        then
          v_open := true;

        elsif not v_live then
          v_states[v_place] := 2;

        elsif v_states[v_place] = 4 then
          v_outcome := engine.outcome_of_failure(v_node, v_errors[v_place], v_prev);
          if v_outcome.port is null then
            v_result.entries := v_entries || row(
              v_seq + 1, v_ts + interval '1 microsecond', 'run.failed',
              jsonb_build_object('error', v_errors[v_place], 'node', v_node.id)
            )::engine.log_entry;
            return v_result;
          end if;

        else
          v_started := clock_timestamp();
          -- One node is always taken: however slow the machine, the run gets on. Effects are only queued.
          if (v_taken >= p_budget or (v_taken > 0 and v_started > v_stop_at)) and v_node.kind not in ('effect', 'local')
          then
            v_result.entries := v_entries;
            v_result.opened := v_opened
              || row(v_node.id, 'queued', v_place, null, null, null, null, null)::engine.opened_step;
            return v_result;
          end if;
          v_taken := v_taken + 1;

          v_properties := v_node.properties;
          v_inputs := null;
          if cardinality(v_node.sources) > 1 or v_node.uses_inputs then
            v_inputs := engine.inputs_of(v_node, v_states, v_ports, v_outputs);
          end if;
          if v_node.expressions is not null and not v_node.disabled then
            if v_node.uses_run and v_run is null then
              v_run := engine.run_context(p_run_id, v_created, v_fold.created_at, p_nodes, p_resume_key);
            end if;
            v_properties := engine.resolve(
              v_properties, v_node.expressions, v_node.is_strict, v_input, v_prev, v_inputs, v_outputs, v_run, v_vars,
              v_item, v_index
            );
          end if;

          case
            when v_node.disabled then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_prev;
            when v_node.pin is not null and v_created ->> 'mode' = 'manual' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_node.pin;
            when v_node.kind = 'pure' then
              v_outcome := engine.run_pure(v_node.type, v_node.function, v_properties, v_prev, v_inputs);
            when v_node.kind = 'trigger' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := case
                when starts_with(v_node.type, 'webhookTrigger@') then v_input -> 'body'
                else v_input
              end;
            else
              null; -- a worker takes it, or time
          end case;
          v_seq := v_seq + 1;
          v_ts := v_ts + interval '1 microsecond';
          if v_outcome.port is not null then
            v_outcome.output := coalesce(v_outcome.output, 'null');
            if pg_column_size(v_outcome.output) > 1048576 then
              perform private.raise_error('TOO_LARGE', format('The output of %s is larger than 1 MiB.', v_node.id));
            end if;
            -- Building the payload anew would cost three times as much.
            v_payload := jsonb_set(v_node.success, '{output}', v_outcome.output);
            if v_outcome.port <> v_node.ports[1] then
              v_payload := jsonb_set(v_payload, '{port}', to_jsonb(v_outcome.port));
            end if;
            if clock_timestamp() > v_started + interval '1 ms' then
              v_payload := jsonb_set(
                v_payload, '{ms}', to_jsonb((date_part('epoch', clock_timestamp() - v_started) * 1000)::int)
              );
            end if;
            v_entries := v_entries || row(v_seq, v_ts, 'step.succeeded', v_payload)::engine.log_entry;
            if v_responded is null and starts_with(v_node.type, 'respondToWebhook@') and not v_node.disabled then
              v_responded := true;
              v_seq := v_seq + 1;
              v_ts := v_ts + interval '1 microsecond';
              v_entries := v_entries || row(
                v_seq, v_ts, 'run.responded', engine.response_of(v_node.id, v_properties, v_prev)
              )::engine.log_entry;
            end if;
          else
            v_open := true;
            v_run_at := null;
            if v_node.kind = 'wait' then
              v_payload := engine.waiting_payload(v_node, v_properties, v_fold.at);
              v_run_at := engine.wait_run_at(v_payload, v_fold.at);
              v_entries := v_entries || row(v_seq, v_ts, 'step.waiting', v_payload)::engine.log_entry;
            elsif pg_column_size(v_properties) > 1048576 then
              perform private.raise_error('TOO_LARGE', format('The input of %s is larger than 1 MiB.', v_node.id));
            else
              v_seq := v_seq - 1; -- a queued step has no event until a worker begins it
              v_ts := v_ts - interval '1 microsecond';
            end if;
            v_opened := v_opened || row(
              v_node.id, case v_node.kind when 'wait' then 'waiting' else 'queued' end, v_place, v_properties,
              v_prev, v_run_at,
              case when v_node.deferred is not null then v_inputs end,
              case when v_node.deferred is not null then v_outputs end
            )::engine.opened_step;
          end if;
        end if;

        if v_outcome.port is not null then
          v_states[v_place] := 1;
          v_ports[v_place] := v_outcome.port;
          v_outputs[v_place] := v_outcome.output;
        end if;
        v_place := v_place + 1;
      end loop;
      exit;
    exception
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        v_states[v_place] := 4;
        v_errors[v_place] := engine.error_of(sqlstate, sqlerrm, v_detail);
        v_seq := coalesce(v_entries[cardinality(v_entries)].seq, v_fold.seq) + 1;
        v_ts := coalesce(v_entries[cardinality(v_entries)].ts, v_fold.ts) + interval '1 microsecond';
        v_entries := v_entries || row(
          v_seq, v_ts, 'step.failed',
          jsonb_build_object('node', v_node.id, 'attempt', 1, 'error', v_errors[v_place])
        )::engine.log_entry;
    end;
  end loop;

  if not v_open then
    v_entries := v_entries || row(
      v_seq + 1, v_ts + interval '1 microsecond', 'run.succeeded',
      jsonb_build_object('output', engine.output_of_run(p_nodes, v_fold.states, v_states, v_ports, v_outputs, v_fed))
    )::engine.log_entry;
  end if;
  v_result.entries := v_entries;
  v_result.opened := v_opened;
  return v_result;
end
$$;
--! EndIncluded 50_engine/advance.sql
--! Included 50_engine/fair.sql
-- kind: code
-- Fairness between organizations. However much one of them starts, it runs at most three quarters of the steps that the
-- workers can run at once, so that a slot is free when another one comes. What is beyond that is parked: queued without
-- a job, run_at infinity, so that the queue stays short. Each step of the organization that ends lets the next one in.

-- How many steps of one organization may run at once; null: as many as there are slots. Where there is one organization
-- only, nobody has to be left room.
create or replace function engine.organization_slots()
  returns int
  language sql
  stable
as $$
  select ceil(sum(w.capacity) * 0.75)::int
  from engine.workers as w
  where w.seen_at > engine.now() - interval '15 seconds'
    and (select count(*) from (select from public.organizations limit 2) as o) = 2
$$;

-- How many more steps of an organization may begin; null: any number.
create or replace function engine.free_slots(p_organization_id uuid, p_slots int)
  returns int
  language plpgsql
  stable
  set enable_seqscan = off -- by the index of running steps, however many are queued
as $$
declare
  v_running int;
begin
  if p_slots is null then
    return null;
  end if;
  v_running := (
    select count(*)
    from (
      select
      from engine.open_steps as s
      where s.organization_id = p_organization_id and s.state = 'running'
      limit p_slots
    ) as running
  );
  return p_slots - v_running;
end
$$;

create or replace function engine.is_any_parked()
  returns boolean
  language plpgsql
  stable
  set enable_seqscan = off
as $$
begin
  return exists (select from engine.open_steps as s where s.run_at = 'infinity' and s.state = 'queued');
end
$$;

create or replace function engine.parked_step(p_step engine.open_steps)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.run_at := 'infinity';
  return p_step;
end
$$;

-- For one whose job has come when there is no room.
create or replace function engine.parked_move(p_run public.workflow_runs, p_step engine.open_steps)
  returns engine.move
  language plpgsql
  immutable
as $$
declare
  v_move engine.move;
begin
  v_move.run := p_run;
  v_move.is_changed := false;
  v_move.steps := array[engine.parked_step(p_step)];
  return v_move;
end
$$;

-- Which organizations have so much to do that what these moves queue is parked, and how much of it is not: nothing
-- while older steps are parked already.
create or replace function engine.crowded(p_moves engine.move[])
  returns table (
    organization_id uuid,
    room int
  )
  language sql
  stable
as $$
  select o.id, case when o.has_parked then 0 else o.slots end
  from (
    select
      m.id,
      exists (
        select
        from engine.open_steps as s
        where s.organization_id = m.id and s.run_at = 'infinity' and s.state = 'queued'
      ) as has_parked,
      engine.organization_slots() as slots,
      m.opened
    from (
      select (m.run).organization_id as id, sum(cardinality(m.steps)) as opened
      from unnest(p_moves) as m
      group by (m.run).organization_id
    ) as m
  ) as o
  where o.has_parked
    or o.opened > o.slots
$$;

create or replace function engine.park_steps(
  p_moves engine.move[],
  p_organization_id uuid,
  p_room int,
  p_now timestamptz
)
  returns engine.move[]
  language plpgsql
  stable
as $$
declare
  v_step engine.open_steps;
begin
  for v_move in 1 .. cardinality(p_moves) loop
    continue when (p_moves[v_move].run).organization_id <> p_organization_id;
    for v_place in 1 .. coalesce(cardinality(p_moves[v_move].steps), 0) loop
      v_step := p_moves[v_move].steps[v_place];
      continue when v_step.state <> 'queued' or v_step.run_at > p_now;
      p_room := p_room - 1;
      if p_room < 0 then
        p_moves[v_move].steps[v_place] := engine.parked_step(v_step);
      end if;
    end loop;
  end loop;
  return p_moves;
end
$$;

-- Queues the oldest parked steps of an organization, so many.
create or replace function engine.unpark_steps(p_organization_id uuid, p_count int)
  returns void
  language plpgsql
  volatile
  set enable_seqscan = off
as $$
declare
  v_steps engine.open_steps[];
begin
  with parked as (
    select s.run_id, s.node
    from engine.open_steps as s
    where s.organization_id = p_organization_id
      and s.run_at = 'infinity'
      and s.state = 'queued'
    order by s.run_id
    limit greatest(p_count, 0)
    for update skip locked
  ),
  unparked as (
    update engine.open_steps as s
    set run_at = engine.now(), wake_at = engine.now() + interval '1 minute'
    from parked as p
    where s.run_id = p.run_id
      and s.node = p.node
    returning s.*
  )
  select array_agg(u) into v_steps from unparked as u;
  perform engine.add_jobs(engine.jobs_of(v_steps));
end
$$;

-- p_left: the organization of each step that has left its slot. What others left beside it is not filled here: they
-- do so themselves.
create or replace function engine.fill_slots(p_left uuid[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_left record;
begin
  for v_left in
    select l.id, count(*)::int as count
    from unnest(p_left) as l (id)
    where exists (
      select
      from engine.open_steps as s
      where s.organization_id = l.id and s.run_at = 'infinity' and s.state = 'queued'
    )
    group by l.id
    order by l.id
  loop
    perform engine.unpark_steps(
      v_left.id, least(v_left.count, engine.free_slots(v_left.id, engine.organization_slots()))
    );
  end loop;
end
$$;

-- For the reconciler: slots that were left in another way than by a result, as by a canceled run.
create or replace function engine.unpark_overdue_steps()
  returns void
  language plpgsql
  volatile
as $$
declare
  c_slots constant int := engine.organization_slots();
  v_organization_id uuid;
begin
  for v_organization_id in
    select distinct s.organization_id
    from engine.open_steps as s
    where s.run_at = 'infinity' and s.state = 'queued'
  loop
    perform engine.unpark_steps(
      v_organization_id, coalesce(engine.free_slots(v_organization_id, c_slots), 1000)
    );
  end loop;
end
$$;
--! EndIncluded 50_engine/fair.sql
--! Included 50_engine/jobs.sql
-- kind: code
-- Jobs in the queue of the workers.

-- A job is a wake-up and nothing else: losing or doubling one does no harm.
create or replace function engine.job(p_step engine.open_steps, p_priority int default 0, p_key text default null)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select row(
    'run_step',
    json_build_object('runId', p_step.run_id, 'node', p_step.node),
    null,
    null,
    null,
    p_key || p_step.run_id || '/' || p_step.node,
    p_priority::smallint,
    null
  )::graphile_worker.job_spec
$$;

-- For steps whose runs are not at hand.
create or replace function engine.jobs_of(p_steps engine.open_steps[], p_key text default null)
  returns graphile_worker.job_spec[]
  language sql
  stable
as $$
  select array(
    select engine.job(s, (select r.priority from public.workflow_runs as r where r.id = s.run_id), p_key)
    from unnest(p_steps) as s
  )
$$;

-- Wakes the parents of runs that have ended, each once however many of its children end, and ends the children of
-- those that will not wait for them any more.
create or replace function engine.family_jobs(p_moves engine.move[], p_parents uuid[])
  returns graphile_worker.job_spec[]
  language sql
  stable
as $$
  select array(
    select row(
      'run_step',
      json_build_object('runId', (m.run).parent_run_id, 'node', (m.run).parent_node),
      null, null, null,
      'child:' || (m.run).parent_run_id || '/' || (m.run).parent_node,
      min((m.run).priority),
      null
    )::graphile_worker.job_spec
    from unnest(p_moves) as m
    where m.is_changed
      and (m.run).finished_at is not null
      and (m.run).parent_index is not null
    group by (m.run).parent_run_id, (m.run).parent_node
    order by (m.run).parent_run_id, (m.run).parent_node -- so that batches never wait in a circle
  ) || array(
    select row(
      'end_children', json_build_object('runId', p.id), null, null, null, 'children:' || p.id, 0::smallint, null
    )::graphile_worker.job_spec
    from unnest(p_parents) as p (id)
    order by p.id
  )
$$;

create or replace function engine.add_jobs(p_jobs graphile_worker.job_spec[])
  returns void
  language plpgsql
  volatile
  -- Jobs are looked up by key, never by reading all of them, as a plan may do that was made when there were none.
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  if cardinality(p_jobs) > 0 then
    perform graphile_worker.add_jobs(p_jobs);
  end if;
end
$$;
--! EndIncluded 50_engine/jobs.sql
--! Included 50_engine/write.sql
-- kind: code
-- The only writers of runs, events and open steps: a batch of moves is written table by table, not run by run.
--
-- Statements that take arrays are planned anew in every call if PostgreSQL has its way, as it then knows how long the
-- array is. That costs more than they do: the functions that begin a batch set plan_cache_mode for all below them.

create or replace function engine.insert_events(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
  -- Here above all, because foreign-key checks follow it too: 5 to 10 µs a row with a generic plan, 80 µs without.
  set plan_cache_mode = force_generic_plan
as $$
begin
  insert into public.workflow_events (organization_id, run_id, seq, ts, type, payload)
  select (m.run).organization_id, (m.run).id, e.seq, e.ts, e.type, e.payload
  from unnest(p_moves) as m
  cross join unnest(m.entries) as e;
end
$$;

-- Answers with the runs that ended while child runs of theirs may still go on.
create or replace function engine.close_steps(p_moves engine.move[])
  returns uuid[]
  language plpgsql
  volatile
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_parents uuid[];
begin
  with closed as (
    delete from engine.open_steps as s
    using unnest(p_moves) as m
    where s.run_id = (m.run).id
      and (s.node = any (m.closed) or (m.run).finished_at is not null)
    returning s.run_id, s.next_index, s.node = any (m.closed) as is_done
  )
  select array_agg(distinct c.run_id) into v_parents
  from closed as c
  where c.next_index is not null
    and c.is_done is not true;
  return v_parents;
end
$$;

-- The step that a branch goes on with takes over the row of the one that has ended: one row is changed, instead of one
-- deleted and another written.
create or replace function engine.hand_on_steps(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
  set enable_seqscan = off -- as above
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  update engine.open_steps as s
  set node = (m.heir).node,
    state = (m.heir).state,
    attempt = (m.heir).attempt,
    failures = (m.heir).failures,
    deaths = (m.heir).deaths,
    worker_id = (m.heir).worker_id,
    lease_until = (m.heir).lease_until,
    run_at = (m.heir).run_at,
    next_index = (m.heir).next_index,
    error = (m.heir).error,
    wake_at = null
  from unnest(p_moves) as m
  where s.run_id = (m.run).id
    and s.node = m.closed[1]
    and (m.heir).node is not null;
end
$$;

-- When a step gets another job, or its first one. What must happen later has none until then, so that those that
-- sleep are in nobody's way; what must happen now has one, and gets another after a minute, in case that was lost. One
-- that the caller has taken has none, unless nobody has begun it in a few seconds.
create or replace function engine.wake_at(p_step engine.open_steps, p_taken text, p_now timestamptz)
  returns timestamptz
  language sql
  immutable
as $$
  select case
    when p_step.state = 'running' then null
    when p_step.run_at > p_now then p_step.run_at
    when p_step.node = p_taken then p_now + interval '5 seconds'
    when p_step.run_at is not null then p_now + interval '1 minute'
    when p_step.next_index is not null then p_now + interval '1 hour'
  end
$$;

create or replace function engine.open_steps(p_moves engine.move[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_crowded record;
begin
  -- Few steps crowd nobody.
  if cardinality(p_moves) > 8 or engine.is_any_parked() then
    for v_crowded in select * from engine.crowded(p_moves) loop
      p_moves := engine.park_steps(p_moves, v_crowded.organization_id, v_crowded.room, p_now);
    end loop;
  end if;
  insert into engine.open_steps (
    organization_id, run_id, node, state, attempt, failures, deaths, worker_id, lease_until, run_at, next_index, error,
    wake_at
  )
  select
    s.organization_id, s.run_id, s.node, s.state, s.attempt, s.failures, s.deaths, s.worker_id, s.lease_until, s.run_at,
    s.next_index, s.error, engine.wake_at(s, m.taken, p_now)
  from unnest(p_moves) as m
  cross join unnest(m.steps) as s
  where (m.run).finished_at is null
  on conflict (run_id, node) do update set
    state = excluded.state,
    attempt = excluded.attempt,
    failures = excluded.failures,
    worker_id = excluded.worker_id,
    lease_until = excluded.lease_until,
    run_at = excluded.run_at,
    next_index = excluded.next_index,
    error = excluded.error,
    wake_at = excluded.wake_at;
  perform engine.add_jobs(array(
    select engine.job(s, (m.run).priority)
    from unnest(p_moves) as m
    cross join unnest(m.steps) as s
    where s.state <> 'running'
      and s.run_at <= p_now
      and s.node is distinct from m.taken
      and (m.run).finished_at is null
  ));
end
$$;

-- The bounds say which partitions the rows are in.
create or replace function engine.update_runs(p_runs public.workflow_runs[], p_first uuid, p_last uuid)
  returns void
  language plpgsql
  volatile
  set plan_cache_mode = auto -- see below
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  perform set_config('plan_cache_mode', engine.plan_mode(), true);
  update public.workflow_runs as r
  set status = changed.status,
    finished_at = changed.finished_at,
    error = changed.error
  from unnest(p_runs) as changed
  where r.id = changed.id
    and r.id between p_first and p_last;
end
$$;

-- Null: there is nothing to write.
create or replace function engine.write_moves(p_moves engine.move[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
  strict
as $$
declare
  v_move engine.move;
  v_is_closing boolean := false;
  v_is_opening boolean := false;
  v_is_handing_on boolean := false;
  v_is_child boolean := false;
  v_parents uuid[];
  v_ids uuid[];
  v_changed public.workflow_runs[];
  v_failed public.workflow_runs[];
  v_left public.workflow_runs[];
begin
  foreach v_move in array p_moves loop
    -- A run that ends in its first move never had a step to close.
    v_is_handing_on := v_is_handing_on or (v_move.heir).node is not null;
    v_is_closing := v_is_closing or coalesce(cardinality(v_move.closed), 0) > ((v_move.heir).node is not null)::int
      or (v_move.is_changed and (v_move.run).finished_at is not null);
    v_is_opening := v_is_opening or v_move.steps is not null;
    v_is_child := v_is_child or (v_move.run).parent_index is not null;
    if v_ids[cardinality(v_ids)] is distinct from (v_move.run).id then
      v_ids := v_ids || (v_move.run).id;
    end if;
    -- The moves of a run stand together, in the order in which they were made.
    if v_changed[cardinality(v_changed)].id = (v_move.run).id then
      v_changed[cardinality(v_changed)] := v_move.run;
    elsif v_move.is_changed then
      v_changed := v_changed || v_move.run;
    end if;
    if (v_move.run).status = 'error' then
      v_failed := v_failed || v_move.run;
    end if;
    if (v_move.run).concurrency_key is not null and (v_move.run).finished_at is not null then
      v_left := v_left || v_move.run;
    end if;
  end loop;

  perform engine.insert_events(p_moves);
  if v_is_handing_on then
    perform engine.hand_on_steps(p_moves);
  end if;
  if v_is_opening then
    perform engine.open_steps(p_moves, p_now);
  end if;
  if v_is_closing then
    v_parents := engine.close_steps(p_moves);
  end if;
  if v_is_child or v_parents is not null then
    perform engine.add_jobs(engine.family_jobs(p_moves, v_parents));
  end if;
  if v_changed is not null then
    perform engine.update_runs(v_changed, engine.earliest(v_ids), engine.latest(v_ids));
  end if;
  perform engine.notify(v_ids);
  if v_failed is not null then
    perform engine.start_error_runs(v_failed);
  end if;
  if v_left is not null then
    perform engine.leave_flow(v_left, v_move.is_changed is null);
  end if;
end
$$;
--! EndIncluded 50_engine/write.sql
--! Included 50_engine/requests.sql
-- kind: code
-- What is asked of start_runs: read, checked, and refused one by one.

create or replace function engine.request_error(p_code text, p_message text)
  returns jsonb
  language sql
  stable
  parallel safe
as $$
  select jsonb_build_object('code', p_code, 'message', p_message)
$$;

-- A request that is not a start at all is answered with an error, not an exception: the others of its batch go on.
create or replace function engine.parse_start(p_request jsonb, p_index int, p_now timestamptz)
  returns engine.start_request
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
begin
  v_request.index := p_index;
  begin
    v_request.organization_id := p_request ->> 'organizationId';
    v_request.workflow_id := p_request ->> 'workflowId';
    v_request.version := p_request ->> 'version';
    v_request.priority := p_request ->> 'priority';
    v_request.started_by := p_request ->> 'startedBy';
    v_request.parent_run_id := p_request #>> '{parent,run}';
    v_request.parent_index := p_request #>> '{parent,index}';
  exception
    when data_exception then
      v_request.error := engine.request_error('INVALID_ARGUMENT', sqlerrm);
      return v_request;
  end;
  v_request.mode := coalesce(p_request ->> 'mode', 'api');
  v_request.parent_node := p_request #>> '{parent,node}';
  v_request.trigger := p_request ->> 'trigger';
  v_request.input := coalesce(p_request -> 'input', '{}');
  v_request.key := p_request ->> 'key';
  v_request.fingerprint := p_request ->> 'fingerprint';
  v_request.metadata := nullif(p_request -> 'metadata', 'null');
  v_request.is_taken := p_request -> 'take' = 'true';
  v_request.run_id := engine.uuid_v7(p_now);
  v_request.error := case
    when v_request.organization_id is null or v_request.workflow_id is null
      then engine.request_error('INVALID_ARGUMENT', 'A start names its organizationId and its workflowId.')
    when v_request.mode not in ('manual', 'webhook', 'api', 'schedule', 'error')
      and (v_request.mode <> 'child' or v_request.parent_run_id is null)
      then engine.request_error('INVALID_ARGUMENT', 'The mode of a start is manual, webhook, api, schedule or error.')
    when v_request.priority not between -1000 and 1000
      then engine.request_error('INVALID_ARGUMENT', 'The priority of a run is a number from -1000 to 1000.')
    when length(v_request.key) not between 1 and 256
      then engine.request_error('INVALID_ARGUMENT', 'An idempotency key has 1 to 256 characters.')
    when jsonb_typeof(v_request.metadata) <> 'object'
      then engine.request_error('INVALID_ARGUMENT', 'The metadata of a run is an object.')
    when pg_column_size(v_request.metadata) > 65536
      then engine.request_error('TOO_LARGE', 'The metadata of a run is at most 64 KiB.')
    when pg_column_size(v_request.input) > 1048576
      then engine.request_error('TOO_LARGE', 'The input of a run is at most 1 MiB.')
  end;
  return v_request;
end
$$;

-- Marks the requests whose key was used before: the same input is answered with the same run, another is a conflict.
create or replace function engine.claim_keys(p_requests engine.start_request[], p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
  v_hash bytea;
  v_holder engine.start_keys;
begin
  for v_place in 1 .. cardinality(p_requests) loop
    v_request := p_requests[v_place];
    if v_request.key is not null and v_request.error is null then
      v_hash := sha256(convert_to(coalesce(v_request.fingerprint, v_request.input::text), 'UTF8'));
      insert into engine.start_keys as k (organization_id, workflow_id, key, run_id, request_hash, expires_at)
      values (
        v_request.organization_id, v_request.workflow_id, v_request.key, v_request.run_id, v_hash,
        p_now + interval '7 days'
      )
      on conflict (organization_id, workflow_id, key) do update set
        run_id = case when k.expires_at < p_now then excluded.run_id else k.run_id end,
        request_hash = case when k.expires_at < p_now then excluded.request_hash else k.request_hash end,
        expires_at = case when k.expires_at < p_now then excluded.expires_at else k.expires_at end
      returning * into v_holder;
      if v_holder.run_id <> v_request.run_id then
        if v_holder.request_hash = v_hash then
          v_request.duplicate_of := v_holder.run_id;
        else
          v_request.error := engine.request_error(
            'CONFLICT', 'This idempotency key was used with another input.'
          );
        end if;
        p_requests[v_place] := v_request;
      end if;
    end if;
  end loop;
  return p_requests;
end
$$;

-- A start that was refused may be tried again with the same key. Returns the run that holds it no more.
create or replace function engine.release_key(p_request engine.start_request)
  returns uuid
  language plpgsql
  volatile
as $$
begin
  if p_request.key is not null then
    delete from engine.start_keys as k
    where k.organization_id = p_request.organization_id
      and k.workflow_id = p_request.workflow_id
      and k.key = p_request.key
      and k.run_id = p_request.run_id;
  end if;
  return coalesce(p_request.duplicate_of, p_request.run_id);
end
$$;

-- The requests of a batch, in the one order in which everybody takes locks, so that batches never wait in a circle.
create or replace function engine.read_starts(p_requests jsonb, p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_requests engine.start_request[] := array(
    select engine.parse_start(r.request, (r.place - 1)::int, p_now)
    from jsonb_array_elements(p_requests) with ordinality as r (request, place)
    order by r.request ->> 'organizationId', r.request ->> 'workflowId', r.request ->> 'key', r.place
  );
begin
  if p_requests @? '$[*].key' then
    v_requests := engine.claim_keys(v_requests, p_now);
  end if;
  return v_requests;
end
$$;

-- Its settings say also which team looks after the workflow, if any does: that costs nobody a look-up.
create or replace function engine.plan_to_start(p_request engine.start_request)
  returns engine.plans
  language plpgsql
  stable
as $$
declare
  v_plan engine.plans;
begin
  select
    p.organization_id, p.workflow_id, p.version, p.nodes, p.ids, p.vars,
    case when w.team_id is null then p.settings else p.settings || jsonb_build_object('team', w.team_id) end,
    p.resume_key
  into v_plan
  from public.workflows as w
  join engine.plans as p
    on p.organization_id = w.organization_id
    and p.workflow_id = w.id
    and p.version = coalesce(p_request.version, w.published_version)
  where w.organization_id = p_request.organization_id
    and w.id = p_request.workflow_id
    and w.archived_at is null;
  return v_plan;
end
$$;

-- Why a request starts nothing; null when it does. p_version: of the plan that was found, p_kind: of the trigger node.
create or replace function engine.start_refusal(p_request engine.start_request, p_version int, p_kind text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_workflow public.workflows;
begin
  if p_version is not null and p_kind = 'trigger' then
    return null;
  end if;
  select w.* into v_workflow
  from public.workflows as w
  where w.organization_id = p_request.organization_id
    and w.id = p_request.workflow_id;
  return case
    when v_workflow.id is null
      then engine.request_error('NOT_FOUND', 'There is no such workflow.')
    when v_workflow.archived_at is not null
      then engine.request_error('NOT_PUBLISHED', 'The workflow is archived; it starts no runs.')
    when p_version is not null
      then engine.request_error('NOT_FOUND', format('The workflow has no trigger %L.', p_request.trigger))
    when p_request.version is not null
      then engine.request_error('NOT_FOUND', format('The workflow has no version %s.', p_request.version))
    else engine.request_error(
      'NOT_PUBLISHED', 'The workflow has no published version; call publish_workflow first.'
    )
  end;
end
$$;
--! EndIncluded 50_engine/requests.sql
--! Included 50_engine/admit.sql
-- kind: code
-- Executions are counted once per batch and organization, when the first of its requests is about to start, and per
-- team that has a limit: as many as the batch may start. What it does not, goes back in the same transaction.

create or replace function engine.give_back(p_admission private.admission, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_admission.admitted > 0 and p_admission.limit is not null then
    perform private.release(
      p_admission.organization_id, p_admission.metric, p_admission.admitted, p_now, p_admission.team_id
    );
  end if;
end
$$;

-- p_before: of the workflow that came before this one; what both have in common is kept. Without a plan it gives back.
create or replace function engine.admit_starts(
  p_before engine.room,
  p_plan engine.plans,
  p_wanted int,
  p_now timestamptz
)
  returns engine.room
  language plpgsql
  volatile
as $$
declare
  c_metric constant text := 'executions_per_month';
  v_start constant timestamptz := date_trunc('month', p_now, 'UTC');
  v_team_id constant uuid := p_plan.settings ->> 'team';
  v_used constant int := p_before.admitted - p_before.left;
  v_organization private.admission := p_before.for_organization;
  v_team private.admission := p_before.for_team;
begin
  v_organization.admitted := v_organization.admitted - v_used;
  v_team.admitted := v_team.admitted - v_used;
  if v_organization.organization_id is distinct from p_plan.organization_id then
    perform engine.give_back(v_organization, p_now);
    v_organization := null;
    if p_plan.organization_id is not null then
      v_organization := private.admit_flow(p_plan.organization_id, c_metric, p_wanted, v_start);
    end if;
  end if;
  if v_team.team_id is distinct from v_team_id then
    perform engine.give_back(v_team, p_now);
    v_team := null;
    if v_team_id is not null then
      v_team := private.admit_flow(p_plan.organization_id, c_metric, p_wanted, v_start, v_team_id);
    end if;
  end if;
  p_before.workflow_id := p_plan.workflow_id;
  p_before.for_organization := v_organization;
  p_before.for_team := v_team;
  p_before.admitted := least(v_organization.admitted, v_team.admitted);
  p_before.left := p_before.admitted;
  return p_before;
end
$$;

-- Null while there is one left.
create or replace function engine.admission_error(p_room engine.room)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return case
    when p_room.left > 0 then null
    when (p_room.for_team).admitted < (p_room.for_organization).admitted then private.limit_error(p_room.for_team)
    else private.limit_error(p_room.for_organization)
  end;
end
$$;

create or replace function engine.count_executions(
  p_organization_id uuid,
  p_span tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select count(*)
  from public.workflow_runs as r
  where r.organization_id = p_organization_id
    and r.id >= engine.uuid_floor(lower(p_span))
    and r.id < engine.uuid_floor(upper(p_span))
    and (
      p_team_id is null
      or r.workflow_id = any (array(
        select w.id from public.workflows as w where w.organization_id = p_organization_id and w.team_id = p_team_id
      ))
    )
$$;
comment on function engine.count_executions(uuid, tstzrange, uuid) is
  'How many runs of an organization, or of the workflows that a team looks after now, began in a span of time: what executions_per_month counts.';
--! EndIncluded 50_engine/admit.sql
--! Included 50_engine/release.sql
-- kind: code
-- Lets held runs in when a slot is free, the window of a rate moves on, or a debounce is over: lower priorities first,
-- older runs first.

-- The held runs that a wake-up is about. p_by: run (p_key is its id), concurrency or rate (p_key is what they count
-- under).
create or replace function engine.held_rows(p_workflow_id uuid, p_by text, p_key text, p_now timestamptz)
  returns setof engine.flow_runs
  language plpgsql
  stable
as $$
begin
  case p_by
    when 'run' then
      return query
        select f.* from engine.flow_runs as f
        where f.run_id = p_key::uuid and f.is_held and f.workflow_id = p_workflow_id;
    when 'concurrency' then
      return query
        select f.* from engine.flow_runs as f
        where f.workflow_id = p_workflow_id
          and f.concurrency_key = p_key
          and f.is_held
          and (f.held_until <= p_now or f.held_until is null)
        order by f.priority, f.place
        limit 1000;
    else
      return query
        select f.* from engine.flow_runs as f
        where f.workflow_id = p_workflow_id
          and f.rate_key = p_key
          and f.is_held
          and (f.held_until <= p_now or f.held_until is null)
        order by f.priority, f.place
        limit 1000;
  end case;
end
$$;

-- Whether a start with the same key came while this run was still to be debounced.
create or replace function engine.is_replaced(p_row engine.flow_runs)
  returns boolean
  language sql
  stable
as $$
  select p_row.debounce_key is not null and exists (
    select
    from engine.flow_runs as f
    where f.workflow_id = p_row.workflow_id
      and f.debounce_key = p_row.debounce_key
      and f.is_held
      and f.place > p_row.place
      and (select r.finished_at is null from public.workflow_runs as r where r.id = f.run_id)
  )
$$;

-- What becomes of a held run whose turn it may be: in, replaced (a debounce has a newer one), gone (it has ended
-- meanwhile), busy (somebody has it locked), or why it has to wait on.
create or replace function engine.judge_held(
  p_row engine.flow_runs,
  p_now timestamptz,
  out verdict text,
  out at timestamptz
)
  language plpgsql
  volatile
as $$
declare
  v_status text;
  v_flow jsonb;
begin
  select p.settings -> 'flow' into v_flow
  from engine.plans as p
  where p.organization_id = p_row.organization_id
    and p.workflow_id = p_row.workflow_id
    and p.version = p_row.version;
  select b.reason, b.until into verdict, at from engine.flow_block(p_row, v_flow, p_now) as b;
  if verdict is not null then
    return;
  end if;
  select r.status into v_status
  from public.workflow_runs as r
  where r.id = p_row.run_id
  for no key update skip locked;
  verdict := case
    when v_status in ('waiting', 'paused') then case
      when engine.is_replaced(p_row) then 'replaced'
      when v_status = 'paused' then 'paused'
      else 'in'
    end
    when v_status is null and exists (select from public.workflow_runs as r where r.id = p_row.run_id) then 'busy'
    else 'gone'
  end;
  if verdict = 'in' then
    perform engine.count_start(p_row, v_flow, p_now);
  end if;
end
$$;

-- The run begins with its trigger, in another transaction: what its nodes cost is not paid under the lock of the flow.
create or replace function engine.released_move(p_loaded engine.loaded_run, p_now timestamptz)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_created constant jsonb := p_loaded.log[1].payload;
  v_trigger engine.opened_step;
  v_released constant engine.log_entry := engine.next_entry(
    p_loaded.log[cardinality(p_loaded.log)], p_now, 'run.released',
    jsonb_build_object('reason', v_created -> 'held' -> 'reason')
  );
  v_move engine.move;
begin
  v_trigger.node := v_created ->> 'trigger';
  v_trigger.state := 'queued';
  v_move.entries := array[v_released];
  v_move.steps := array[engine.new_step(p_loaded.run, v_trigger, p_now)];
  v_move.run := engine.run_after(p_loaded.run, v_released, false);
  v_move.is_changed := true;
  return v_move;
end
$$;

-- No later start replaces a run whose debounce is over and that waits for another limit.
create or replace function engine.end_debounce(p_row engine.flow_runs)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_row.held_until is not null then
    update engine.flow_runs as f set held_until = null, debounce_key = null where f.run_id = p_row.run_id;
  end if;
end
$$;

-- Lets in what fits, at most 100 runs; answers how many. The caller holds the lock of the flow.
create or replace function engine.let_in(p_workflow_id uuid, p_by text, p_key text, p_now timestamptz)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_row engine.flow_runs;
  v_held record;
  v_in uuid[] := '{}';
  v_replaced uuid[] := '{}';
  v_rates text[] := '{}';
  v_missed int := 0;
  v_jobs graphile_worker.job_spec[];
begin
  for v_row in select * from engine.held_rows(p_workflow_id, p_by, p_key, p_now) where p_key is not null loop
    v_held := engine.judge_held(v_row, p_now);
    case v_held.verdict
      when 'in' then
        v_in := v_in || v_row.run_id;
        update engine.flow_runs as f
        set is_held = false, held_until = null, debounce_key = null, rate_key = null
        where f.run_id = v_row.run_id;
      when 'gone' then
        delete from engine.flow_runs as f where f.run_id = v_row.run_id;
      when 'replaced' then
        v_replaced := v_replaced || v_row.run_id;
        delete from engine.flow_runs as f where f.run_id = v_row.run_id;
      when 'busy' then
        v_jobs := v_jobs || engine.release_job(
          p_workflow_id, 'run', v_row.run_id::text, p_now + interval '1 second'
        );
      when 'rate' then
        if v_row.rate_key <> all (v_rates) then
          v_jobs := v_jobs || engine.rate_job(v_row, v_held.at);
          v_rates := v_rates || v_row.rate_key;
        end if;
        perform engine.end_debounce(v_row);
      when 'concurrency' then
        perform engine.end_debounce(v_row);
      else
        null; -- paused: resuming asks again; debounce: its own wake-up is still to come
    end case;
    v_missed := v_missed + (v_held.verdict <> 'in')::int;
    -- What is behind so many that wait for something else is left to their wake-ups, and to the reconciler.
    exit when v_held.verdict = p_by or cardinality(v_in) >= 100 or v_missed >= 100;
  end loop;

  delete from engine.flow_runs as f
  where f.run_id = any (v_in)
    and f.concurrency_key is null;
  perform engine.write_moves(
    (select array_agg(engine.released_move(l, p_now)) from engine.load_runs(v_in, p_now) as l), p_now
  );
  perform from engine.end_runs(
    v_replaced, 'run.canceled', engine.given_by(null, 'A newer start with the same key has replaced it.')
  );
  perform engine.add_jobs(v_jobs);
  return cardinality(v_in);
end
$$;

create or replace function engine.release_runs(p_workflow_id uuid, p_by text, p_key text)
  returns int
  language plpgsql
  volatile
  security definer -- definer because runs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_count int;
begin
  perform engine.lock_flow(p_workflow_id);
  v_count := engine.let_in(p_workflow_id, p_by, p_key, engine.now());
  if v_count >= 100 then
    perform engine.add_jobs(array[engine.release_job(p_workflow_id, p_by, p_key, null)]);
  end if;
  return v_count;
end
$$;
comment on function engine.release_runs(uuid, text, text) is
  'For workers: lets held runs of a workflow in, as far as its limits allow, and answers how many; by run, concurrency or rate, with the run''s id or the key that they count under. Example: select engine.release_runs(''0190…'', ''concurrency'', ''customer-1'');';

grant execute on function engine.release_runs(uuid, text, text) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/release.sql
--! Included 50_engine/first_move.sql
-- kind: code
-- The beginning of a run: its row, its first event, and what follows from that at once.

-- The row of a run that is about to begin.
create or replace function engine.new_run(
  p_request engine.start_request,
  p_version int,
  p_settings jsonb,
  p_now timestamptz
)
  returns public.workflow_runs
  language plpgsql
  immutable
as $$
declare
  v_run public.workflow_runs;
begin
  v_run.id := p_request.run_id;
  v_run.organization_id := p_request.organization_id;
  v_run.workflow_id := p_request.workflow_id;
  v_run.version := p_version;
  v_run.mode := p_request.mode;
  v_run.parent_run_id := p_request.parent_run_id;
  v_run.parent_node := p_request.parent_node;
  v_run.parent_index := p_request.parent_index;
  v_run.started_by := p_request.started_by;
  v_run.priority := coalesce(p_request.priority, (p_settings -> 'priority')::smallint, 0);
  v_run.started_at := p_now;
  v_run.deadline_at := p_now + make_interval(secs => (p_settings ->> 'deadlineMs')::double precision / 1000);
  v_run.metadata := p_request.metadata;
  v_run.retry_of := p_request.retry_of;
  v_run.concurrency_key := p_request.concurrency_key;
  return v_run;
end
$$;

-- A run from its first event to where it needs somebody else, or its end.
create or replace function engine.first_move(
  p_request engine.start_request,
  p_plan engine.plans,
  p_nodes engine.plan_node[],
  p_trigger text,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_created engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_step engine.open_steps;
  v_waiting boolean := true;
  v_error jsonb;
  v_move engine.move;
begin
  if p_plan.settings ? 'flow' then
    p_request := engine.admit_start(p_request, p_plan);
  end if;
  v_run := engine.new_run(p_request, p_plan.version, p_plan.settings, p_now);

  v_created.seq := 1;
  v_created.ts := p_now;
  v_created.type := 'run.created';
  v_created.payload := jsonb_build_object(
    'workflowId', v_run.workflow_id,
    'version', v_run.version,
    'mode', v_run.mode,
    'trigger', p_trigger,
    'input', p_request.input,
    'vars', case
      when cardinality(p_plan.vars) > 0 then engine.variables_of(v_run.organization_id, p_plan.vars) else '{}'
    end
  );
  if v_run.parent_run_id is not null then
    v_created.payload := v_created.payload || engine.parent_of(v_run);
  end if;
  if p_request.origin is not null then
    v_created.payload := v_created.payload || p_request.origin;
  end if;
  v_move.entries := v_created || p_request.reused;
  if p_request.mode = 'child' then
    v_error := engine.input_error(p_nodes[array_position(p_plan.ids, p_trigger)], p_request.input);
  end if;
  if v_error is null then
    v_advanced := engine.advance(
      p_nodes, p_plan.ids, v_run.id, v_move.entries, p_resume_key => p_plan.resume_key
    );
  else
    v_advanced.entries := array[engine.next_entry(
      v_created, p_now, 'run.failed', jsonb_build_object('error', v_error)
    )];
  end if;
  v_move.entries := v_move.entries || v_advanced.entries;

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_step := engine.new_step(v_run, v_opened, p_now);
    if p_request.is_taken and v_step.state = 'queued' then
      v_move.taken := coalesce(v_move.taken, v_step.node);
    end if;
    v_move.steps := v_move.steps || v_step;
    v_waiting := v_waiting and v_opened.state = 'waiting';
  end loop;
  v_move.run := engine.run_after(v_run, v_move.entries[cardinality(v_move.entries)], v_waiting);
  return v_move;
end
$$;

-- What run.created says of a child's parent.
create or replace function engine.parent_of(p_run public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('parent', jsonb_strip_nulls(jsonb_build_object(
    'run', p_run.parent_run_id, 'node', p_run.parent_node, 'index', p_run.parent_index
  )))
$$;
--! EndIncluded 50_engine/first_move.sql
--! Included 50_engine/start.sql
-- kind: code
-- Starts runs, a batch at a time. Pure nodes are evaluated here and now: a run of nothing else is finished when the
-- transaction commits, and costs no worker a round trip.

-- The response that a webhook waits for, if it was given already.
create or replace function engine.response_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
  strict
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_entries loop
    if v_entry.type = 'run.responded' then
      return v_entry.payload - 'node';
    end if;
  end loop;
  return null;
end
$$;

-- The output of a run that has succeeded already.
create or replace function engine.output_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
  strict
as $$
declare
  v_last constant engine.log_entry := p_entries[cardinality(p_entries)];
begin
  return case when v_last.type = 'run.succeeded' then v_last.payload -> 'output' end;
end
$$;

-- Of a run that was there before, or that this batch starts.
create or replace function engine.status_of(p_run_id uuid, p_moves engine.move[])
  returns text
  language sql
  stable
as $$
  select coalesce(
    (select r.status from public.workflow_runs as r where r.id = p_run_id),
    (select (m.run).status from unnest(p_moves) as m where (m.run).id = p_run_id)
  )
$$;

create or replace function engine.write_starts(p_moves engine.move[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  insert into public.workflow_runs select (m.run).* from unnest(p_moves) as m;
  perform engine.write_moves(p_moves, p_now);
end
$$;

create or replace function engine.start_runs(p_requests jsonb)
  returns table (
    index int,
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb,
    duplicate boolean,
    taken text
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_requests constant engine.start_request[] := engine.read_starts(p_requests, v_now);
  v_request engine.start_request;
  v_plan engine.plans;
  v_nodes engine.plan_node[];
  v_asked int;
  v_trigger text;
  v_room engine.room;
  v_refused uuid;
  v_move engine.move;
  v_moves engine.move[];
begin
  foreach v_request in array v_requests loop
    index := v_request.index;
    run_id := v_request.duplicate_of;
    duplicate := run_id is not null;
    status := case when duplicate then engine.status_of(run_id, v_moves) end;
    v_move := null;
    -- The request before this one may have held the key and been refused: then this one is, too.
    error := case when run_id = v_refused then error else v_request.error end;

    if not duplicate and error is null then
      -- Requests come sorted by workflow: its plan is read once.
      if (v_plan.organization_id, v_plan.workflow_id, v_asked) is distinct from
        (v_request.organization_id, v_request.workflow_id, coalesce(v_request.version, 0))
      then
        v_plan := engine.plan_to_start(v_request);
        v_nodes := v_plan.nodes;
        v_asked := coalesce(v_request.version, 0);
      end if;
      v_trigger := coalesce(v_request.trigger, engine.trigger_for(v_nodes, v_request.mode));
      error := engine.start_refusal(v_request, v_plan.version, (v_nodes[array_position(v_plan.ids, v_trigger)]).kind);
      if error is null and v_room.workflow_id is distinct from v_request.workflow_id then
        v_room := engine.admit_starts(v_room, v_plan, cardinality(v_requests), v_now);
      end if;
      error := coalesce(error, engine.admission_error(v_room));
      v_room.left := v_room.left - (error is null)::int;
    end if;

    if error is not null then
      v_refused := engine.release_key(v_request);
      run_id := null;
      duplicate := false;
    elsif not duplicate then
      v_move := engine.first_move(v_request, v_plan, v_nodes, v_trigger, v_now);
      v_moves := v_moves || v_move;
      run_id := (v_move.run).id;
      status := (v_move.run).status;
      error := (v_move.run).error;
    end if;
    response := engine.response_in(v_move.entries);
    output := engine.output_in(v_move.entries);
    taken := v_move.taken;
    return next;
  end loop;
  perform engine.admit_starts(v_room, null, 0, v_now);
  perform engine.write_starts(v_moves, v_now);
end
$$;

comment on function engine.start_runs(jsonb) is
  'Starts a batch of runs, in one transaction; pure nodes are evaluated in it. Takes an array of {"organizationId", "workflowId", "mode"?, "input"?, "trigger"?, "key"?, "fingerprint"?, "startedBy"?, "priority"?, "metadata"?, "version"?, "take"?}; answers with one row per request, by its index from 0. What is wrong with a request is in its row''s error, {"code", "message"}; the others go on. With "take" the run''s first step gets no job for the next five seconds: the caller, a worker with room for it, begins it by begin_steps; its node is in taken. Example: select run_id, status, output from engine.start_runs(''[{"organizationId": "0190…", "workflowId": "0190…", "input": {"total": 120}}]'');';

grant execute on function engine.start_runs(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/start.sql
--! Included 50_engine/load.sql
-- kind: code
-- Takes a batch of runs under lock, with what is needed to move them on.

-- In the one order in which everybody locks: organization, workflow, run.
create or replace function engine.lock_runs(p_ids uuid[], p_first uuid, p_last uuid)
  returns setof public.workflow_runs
  language plpgsql
  volatile
as $$
begin
  -- Every writer takes the table of runs first, and that of events then: who locks both, to attach or detach a month,
  -- meets nobody half-way.
  lock table only public.workflow_runs in row exclusive mode;
  return query
  select r.*
  from public.workflow_runs as r
  where r.id = any (p_ids)
    and r.id between p_first and p_last
  order by r.organization_id, r.workflow_id, r.id
  for no key update;
end
$$;

-- Locks first and reads then: what is read is what the last holder of the lock has committed. The settings make it a
-- plan of index look-ups by construction, whatever the statistics of a table say that was empty a minute ago.
create or replace function engine.load_runs(p_ids uuid[], p_now timestamptz)
  returns setof engine.loaded_run
  language plpgsql
  volatile
  set plan_cache_mode = auto -- see below
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_first constant uuid := engine.earliest(p_ids);
  v_from constant timestamptz := engine.uuid_time(v_first);
  v_to constant timestamptz := greatest(p_now, clock_timestamp()) + interval '1 day';
  v_runs public.workflow_runs[];
begin
  perform set_config('plan_cache_mode', engine.plan_mode(), true);
  v_runs := array(select r from engine.lock_runs(p_ids, v_first, engine.latest(p_ids)) as r);
  return query
  select
    r.run,
    array(
      select row(e.seq, e.ts, e.type, case when e.type <> 'step.started' then e.payload end)::engine.log_entry
      from public.workflow_events as e
      where e.run_id = (r.run).id
        and e.ts >= v_from
        and e.ts < v_to
      order by e.seq
    ),
    array(select s from engine.open_steps as s where s.run_id = (r.run).id)
  from (select v_runs[place] as run from generate_subscripts(v_runs, 1) as place) as r;
end
$$;

create or replace function engine.plan_of(p_run public.workflow_runs)
  returns engine.plans
  language plpgsql
  stable
as $$
declare
  v_plan engine.plans;
begin
  select p.* into v_plan
  from engine.plans as p
  where p.organization_id = p_run.organization_id
    and p.workflow_id = p_run.workflow_id
    and p.version = p_run.version;
  return v_plan;
end
$$;

create or replace function engine.step_of(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  foreach v_step in array coalesce(p_steps, '{}') loop
    if v_step.node = p_node then
      return v_step;
    end if;
  end loop;
  return null;
end
$$;

create or replace function engine.without_step(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps[]
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
  v_steps engine.open_steps[] := '{}';
begin
  foreach v_step in array coalesce(p_steps, '{}') loop
    if v_step.node <> p_node then
      v_steps := v_steps || v_step;
    end if;
  end loop;
  return v_steps;
end
$$;

-- A run as a move leaves it, for the next request of the same batch that is about it.
create or replace function engine.after_move(p_loaded engine.loaded_run, p_move engine.move)
  returns engine.loaded_run
  language plpgsql
  immutable
as $$
declare
  v_node text;
  v_step engine.open_steps;
begin
  p_loaded.run := p_move.run;
  p_loaded.log := p_loaded.log || p_move.entries;
  foreach v_node in array coalesce(p_move.closed, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_node);
  end loop;
  foreach v_step in array p_move.steps || p_move.heir loop
    continue when v_step.node is null;
    if v_step.state = 'waiting' then
      v_step.run_at := null; -- its time has been seen to; another job for it in this batch would add nothing
      v_step.next_index := null;
    end if;
    p_loaded.steps := engine.without_step(p_loaded.steps, v_step.node) || v_step;
  end loop;
  return p_loaded;
end
$$;
--! EndIncluded 50_engine/load.sql
--! Included 50_engine/signals.sql
-- kind: code
-- Signals: news that somebody sends to a run, by name. One that comes before its wait is kept for it.

-- The signals of a log that no wait has taken yet, in the order of their coming, and for each name in turn the oldest
-- wait that takes one now.
create or replace function engine.kept_signals(p_log engine.log_entry[])
  returns engine.signal[]
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
  v_nodes text[] := '{}'; -- that wait …
  v_names text[] := '{}'; -- … for these
  v_place int;
  v_signal engine.signal;
  v_kept engine.signal[] := '{}';
begin
  foreach v_entry in array p_log loop
    v_place := array_position(v_nodes, v_entry.payload ->> 'node');
    if v_entry.type = 'run.signaled' then
      v_kept := v_kept || row(null, v_entry.payload ->> 'name', v_entry.payload -> 'payload')::engine.signal;
    elsif v_entry.type = 'step.waiting' and v_entry.payload ->> 'kind' in ('signal', 'webhook') then
      v_nodes := v_nodes || (v_entry.payload ->> 'node');
      v_names := v_names || coalesce(v_entry.payload ->> 'name', engine.resume_signal(v_entry.payload ->> 'node'));
    elsif v_place is not null then
      -- A wait that timed out has taken none.
      if v_entry.type = 'step.succeeded' and v_entry.payload ->> 'port' <> 'timeout' then
        v_kept := engine.without_signal(v_kept, v_names[v_place]);
      end if;
      v_nodes := v_nodes[: v_place - 1] || v_nodes[v_place + 1 :];
      v_names := v_names[: v_place - 1] || v_names[v_place + 1 :];
    end if;
  end loop;

  for v_index in 1 .. cardinality(v_kept) loop
    v_signal := v_kept[v_index];
    v_place := array_position(v_names, v_signal.name);
    if v_place is not null then
      v_signal.node := v_nodes[v_place];
      v_kept[v_index] := v_signal;
      v_names[v_place] := null;
    end if;
  end loop;
  return v_kept;
end
$$;

-- Without the oldest of that name.
create or replace function engine.without_signal(p_signals engine.signal[], p_name text)
  returns engine.signal[]
  language plpgsql
  immutable
as $$
begin
  for v_index in 1 .. cardinality(p_signals) loop
    if (p_signals[v_index]).name = p_name then
      return p_signals[: v_index - 1] || p_signals[v_index + 1 :];
    end if;
  end loop;
  return p_signals;
end
$$;

-- The oldest kept signal that a step is waiting for; its node is null when there is none.
create or replace function engine.next_signal(p_log engine.log_entry[])
  returns engine.signal
  language plpgsql
  immutable
as $$
declare
  v_signal engine.signal;
begin
  foreach v_signal in array engine.kept_signals(p_log) loop
    if v_signal.node is not null then
      return v_signal;
    end if;
  end loop;
  return null;
end
$$;

-- Records a signal in the log of a loaded run, which moves on if a step was waiting for it.
create or replace function engine.take_signal(
  p_loaded engine.loaded_run,
  p_name text,
  p_payload jsonb,
  p_by uuid,
  p_now timestamptz
)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_entry constant engine.log_entry := engine.next_entry(
    p_loaded.log[cardinality(p_loaded.log)], p_now, 'run.signaled',
    jsonb_build_object('name', p_name, 'payload', coalesce(p_payload, 'null'), 'by', p_by)
  );
  v_move engine.move;
begin
  p_loaded.log := p_loaded.log || v_entry;
  v_move.run := p_loaded.run;
  if (p_loaded.run).status <> 'paused' then
    v_move := engine.move_on(p_loaded, engine.plan_of(p_loaded.run), null, p_now);
  end if;
  v_move.entries := v_entry || v_move.entries;
  perform engine.write_moves(array[v_move], p_now);
  return v_move.run;
end
$$;

create or replace function engine.signal_run(p_run_id uuid, p_name text, p_payload jsonb, p_by uuid default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
begin
  if p_name is null or p_name !~ engine.signal_pattern() then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'The name of a signal has 1 to 200 letters, digits, "_", "." and "-".'
    );
  elsif pg_column_size(p_payload) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'The payload of a signal is at most 1 MiB.');
  end if;
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  perform engine.refuse_finished(v_loaded.run);
  if cardinality(engine.kept_signals(v_loaded.log)) >= 100 then
    perform private.raise_error(
      'LIMIT_REACHED', 'The run keeps 100 signals that it has not waited for yet.', null, '{"limit": 100}'
    );
  end if;
  return engine.take_signal(v_loaded, p_name, p_payload, p_by, v_now);
end
$$;

create or replace function engine.refuse_finished(p_run public.workflow_runs)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_run.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such run.');
  elsif p_run.finished_at is not null then
    perform private.raise_error(
      'RUN_FINISHED', 'The run has ended.', null, jsonb_build_object('status', p_run.status)
    );
  end if;
end
$$;
--! EndIncluded 50_engine/signals.sql
--! Included 50_engine/move.sql
-- kind: code
-- Moves a run on: what beginning and completing a step have in common.

create or replace function engine.begun_step(p_step engine.open_steps, p_worker uuid, p_now timestamptz)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.state := 'running';
  p_step.attempt := p_step.attempt + 1;
  p_step.worker_id := p_worker;
  p_step.lease_until := p_now + interval '15 seconds';
  p_step.run_at := p_now;
  return p_step;
end
$$;

create or replace function engine.next_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_type text,
  p_payload jsonb
)
  returns engine.log_entry
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  v_entry.seq := p_last.seq + 1;
  v_entry.ts := greatest(p_now, p_last.ts + interval '1 microsecond');
  v_entry.type := p_type;
  v_entry.payload := p_payload;
  return v_entry;
end
$$;

-- The end of the wait that a signal is for.
create or replace function engine.signal_entry(
  p_signal engine.signal,
  p_node engine.plan_node,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.log_entry
  language sql
  stable
as $$
  select engine.next_entry(p_last, p_now, 'step.succeeded', jsonb_build_object(
    'node', p_node.id, 'attempt', 1, 'port', p_node.ports[1], 'output', p_signal.payload, 'ms', 0
  ))
$$;

create or replace function engine.ended_by_signal(p_move engine.move, p_node text, p_entry engine.log_entry)
  returns engine.move
  language plpgsql
  immutable
as $$
begin
  p_move.entries := p_move.entries || p_entry;
  p_move.closed := p_move.closed || p_node;
  p_move.steps := engine.without_step(p_move.steps, p_node);
  return p_move;
end
$$;

-- A step that advance has reached: as it was if it is open already, else new. One that turns out to wait is new, even
-- when the budget ran out just before it: until now it was open to go on there, no more.
create or replace function engine.step_for(
  p_loaded engine.loaded_run,
  p_opened engine.opened_step,
  p_now timestamptz
)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step constant engine.open_steps := engine.step_of(p_loaded.steps, p_opened.node);
begin
  if v_step.node is null or p_opened.state = 'waiting' then
    return engine.new_step(p_loaded.run, p_opened, p_now);
  end if;
  return v_step;
end
$$;

-- Where the budget has run out the graph goes on in another transaction, and nowhere else meanwhile: a replay has no
-- budget, and gives the events in this order only. What is cut off until then; nothing as a rule.
create or replace function engine.cut_off(p_steps engine.open_steps[], p_plan engine.plans, p_prefer text)
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  foreach v_step in array p_steps loop
    if v_step.state = 'queued' and v_step.node is distinct from p_prefer
      and (p_plan.nodes[array_position(p_plan.ids, v_step.node)]).kind not in ('effect', 'local')
    then
      return engine.nodes_beside(p_plan, p_prefer);
    end if;
  end loop;
  return '{}';
end
$$;

-- Advances a run whose log has just grown. One step that has become ready, p_prefer if given, is begun for the calling
-- worker right away, which saves its branch a job and a transaction; every other one is queued.
create or replace function engine.move_on(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_worker uuid,
  p_now timestamptz,
  p_prefer text default null
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_nodes constant engine.plan_node[] := p_plan.nodes;
  v_run constant public.workflow_runs := p_loaded.run;
  v_last engine.log_entry := p_loaded.log[cardinality(p_loaded.log)];
  v_open text[] := engine.cut_off(p_loaded.steps, p_plan, p_prefer);
  v_all_wait boolean := true;
  v_some_wait boolean := false;
  v_step engine.open_steps;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_signal engine.signal;
  v_move engine.move;
begin
  if v_last.seq > 9500 then
    return engine.too_many_events(v_run, v_last, p_now);
  end if;
  foreach v_step in array p_loaded.steps loop
    if v_step.node is distinct from p_prefer then
      v_open := v_open || v_step.node;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
    end if;
  end loop;

  -- Once, and again for each signal that a step turns out to have been waiting for.
  loop
    v_advanced := engine.advance(
      v_nodes, p_plan.ids, v_run.id, p_loaded.log || v_move.entries, v_open, p_resume_key => p_plan.resume_key
    );
    v_move.entries := v_move.entries || v_advanced.entries;
    v_last := coalesce(v_move.entries[cardinality(v_move.entries)], v_last);

    foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
      v_step := engine.step_for(p_loaded, v_opened, p_now);
      if v_move.task is null and v_opened.state = 'queued' and v_opened.properties is not null
        and p_worker is not null and (p_prefer is null or v_opened.node = p_prefer)
      then
        v_step := engine.begun_step(v_step, p_worker, p_now);
        v_move.task := engine.task(v_run, v_nodes[v_opened.place], v_opened, v_step.attempt);
        v_last := engine.next_entry(v_last, p_now, 'step.started', jsonb_build_object(
          'node', v_opened.node, 'attempt', v_step.attempt, 'input', v_opened.properties
        ));
        v_move.entries := v_move.entries || v_last;
      end if;
      v_open := v_open || case when v_opened.properties is null then p_plan.ids else array[v_opened.node] end;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
      v_move.steps := v_move.steps || v_step;
    end loop;

    v_signal := case when v_some_wait then engine.next_signal(p_loaded.log || v_move.entries) end;
    exit when v_signal.node is null;
    v_last := engine.signal_entry(v_signal, v_nodes[array_position(p_plan.ids, v_signal.node)], v_last, p_now);
    v_move := engine.ended_by_signal(v_move, v_signal.node, v_last);
  end loop;

  v_move.run := engine.run_after(v_run, v_last, v_all_wait);
  v_move.is_changed := (v_move.run).status <> v_run.status;
  return v_move;
end
$$;

-- A log that has no end is ended, before its 10,000th event.
create or replace function engine.too_many_events(
  p_run public.workflow_runs,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  stable
as $$
declare
  v_move engine.move;
begin
  p_last := engine.next_entry(p_last, p_now, 'run.failed', jsonb_build_object('error', jsonb_build_object(
    'code', 'TOO_MANY_EVENTS', 'message', 'A run has at most 10,000 events.', 'retryable', false
  )));
  v_move.entries := array[p_last];
  v_move.run := engine.run_after(p_run, p_last, false);
  v_move.is_changed := true;
  return v_move;
end
$$;
--! EndIncluded 50_engine/move.sql
--! Included 50_engine/begin.sql
-- kind: code
-- Begins steps: a worker has taken their jobs. What it gets back is what it has to do; the attempt number in it is the
-- fencing token, and the lease is what its heartbeats extend.

create or replace function engine.is_due(p_run public.workflow_runs, p_step engine.open_steps, p_now timestamptz)
  returns boolean
  language sql
  immutable
as $$
  select p_run.finished_at is null
    and p_run.status <> 'paused'
    and p_step.state in ('queued', 'waiting')
    -- One with child runs is woken when they end.
    and (p_step.run_at <= p_now or p_step.next_index is not null)
$$;

-- What comes of the job of a step that is due: it is begun, its wait ends, or the engine goes on where it had paused.
create or replace function engine.take_job(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_move engine.move;
begin
  if p_step.state = 'waiting' then
    return engine.take_wait(p_loaded, p_plan, p_step, p_worker, p_now);
  end if;
  v_move := engine.move_on(p_loaded, p_plan, p_worker, p_now, p_step.node);
  if (engine.step_of(v_move.steps, p_step.node)).node is null then
    v_move.closed := array[p_step.node];
  end if;
  return v_move;
end
$$;

create or replace function engine.begin_steps(p_requests jsonb, p_worker uuid)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    task jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[] := array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_requests) as r);
  v_nodes constant text[] := array(select r ->> 'node' from jsonb_array_elements(p_requests) as r);
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_places int[];
  v_place int;
  v_step engine.open_steps;
  v_move engine.move;
  v_moves engine.move[];
  v_slots constant int := (select w.share from engine.workers as w where w.id = p_worker);
  v_organization_id uuid;
  v_free int; -- slots that the organization still has
begin
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    if v_plan.workflow_id is distinct from (v_loaded.run).workflow_id or v_plan.version <> (v_loaded.run).version then
      v_plan := engine.plan_of(v_loaded.run);
    end if;
    if v_slots is not null and v_organization_id is distinct from (v_loaded.run).organization_id then
      v_organization_id := (v_loaded.run).organization_id;
      v_free := engine.free_slots(v_organization_id, v_slots);
    end if;
    v_places := array_positions(v_ids, run_id);
    foreach v_place in array v_places loop
      index := v_place - 1;
      task := null;
      v_step := engine.step_of(v_loaded.steps, v_nodes[v_place]);
      outcome := case when v_step.node is null then 'stale' else 'done' end;
      if engine.is_due(v_loaded.run, v_step, v_now) then
        if v_free <= 0 and v_step.state = 'queued' then
          v_move := engine.parked_move(v_loaded.run, v_step);
        else
          v_move := engine.take_job(v_loaded, v_plan, v_step, p_worker, v_now);
        end if;
        v_moves := v_moves || v_move;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_move(v_loaded, v_move);
        end if;
        task := v_move.task;
        if task is not null then
          outcome := 'begun';
          v_free := v_free - 1;
        end if;
      end if;
      return next;
    end loop;
    v_ids := array_replace(v_ids, run_id, null);
  end loop;
  perform engine.write_moves(v_moves, v_now);

  if array_remove(v_ids, null) <> '{}' then -- of runs that are gone
    return query
    select (i.place - 1)::int, 'stale', i.id, null::jsonb
    from unnest(v_ids) with ordinality as i (id, place)
    where i.id is not null;
  end if;
end
$$;

comment on function engine.begin_steps(jsonb, uuid) is
  'For workers: begins the steps of a batch of jobs, [{"runId", "node"}]. outcome is begun, with the task to do; done when there is nothing to do now; stale when the step is gone. Example: select * from engine.begin_steps(''[{"runId": "0190…", "node": "notify"}]'', gen_random_uuid());';

grant execute on function engine.begin_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/begin.sql
--! Included 50_engine/complete.sql
-- kind: code
-- Records the results of steps, each exactly once: a result of an older attempt, or of a run that has ended, is
-- answered `stale` and changes nothing. The run moves on in the same transaction, and the branch's next step is handed
-- back.

-- The event of a result; what is invalid about a result makes it a failure.
create or replace function engine.outcome_entry(
  p_result jsonb,
  p_node engine.plan_node,
  p_step engine.open_steps,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.log_entry
  language plpgsql
  volatile
as $$
declare
  v_port constant text := coalesce(p_result ->> 'port', p_node.ports[1]);
  v_payload jsonb := jsonb_build_object(
    'node', p_node.id, 'attempt', p_step.attempt, 'ms', coalesce(p_result -> 'ms', '0')
  );
  v_error jsonb;
begin
  v_error := case
    when p_result -> 'ok' is distinct from 'true' then coalesce(p_result -> 'error', '{}')
    when pg_column_size(p_result -> 'output') > 1048576
      then engine.request_error('TOO_LARGE', 'The output of a step is at most 1 MiB.')
    when v_port <> all (p_node.ports)
      then engine.request_error('UNKNOWN_PORT', format('The node has no port %L.', v_port))
  end;
  if v_error is null then
    return engine.next_entry(p_last, p_now, 'step.succeeded', v_payload || jsonb_build_object(
      'port', v_port, 'output', coalesce(p_result -> 'output', 'null')
    ));
  end if;

  v_error := engine.short_error(
    '{"code": "NODE_FAILED", "message": "The step failed.", "retryable": false}' || v_error
  );
  v_payload := v_payload || jsonb_build_object('error', v_error - 'retryAfterMs');
  if v_error -> 'retryable' = 'true' and p_step.failures + 1 < p_node.max_attempts then
    v_payload := v_payload || jsonb_build_object(
      'retryAt', engine.iso_time(p_now + engine.retry_delay(p_node, p_step.failures + 1, v_error))
    );
  end if;
  return engine.next_entry(p_last, p_now, 'step.failed', v_payload);
end
$$;

-- min(maxMs, initialMs · 2^(k−1)), with jitter times random(0.5..1), or what the peer asked for if that is longer, an
-- hour at most.
create or replace function engine.retry_delay(p_node engine.plan_node, p_failures int, p_error jsonb)
  returns interval
  language sql
  volatile
as $$
  select make_interval(secs => least(
    3600,
    greatest(
      least(p_node.retry_max_ms, p_node.retry_initial_ms * power(2, least(p_failures - 1, 30)))
        * case when p_node.retry_jitter then 0.5 + random() / 2 else 1 end,
      coalesce((p_error ->> 'retryAfterMs')::double precision, 0)
    ) / 1000
  ))
$$;

-- The step that the branch goes on with takes over the row of the one that has ended.
create or replace function engine.handed_on(p_move engine.move)
  returns engine.move
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
  v_others engine.open_steps[];
begin
  foreach v_step in array p_move.steps loop
    if v_step.state = 'running' then
      p_move.heir := v_step;
    else
      v_others := v_others || v_step;
    end if;
  end loop;
  p_move.steps := v_others;
  return p_move;
end
$$;

-- What comes of a result: the step is queued again, or it has ended and the run moves on.
create or replace function engine.take_result(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_result jsonb,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_entry constant engine.log_entry := engine.outcome_entry(
    p_result, p_plan.nodes[array_position(p_plan.ids, p_step.node)], p_step, p_loaded.log[cardinality(p_loaded.log)],
    p_now
  );
  v_move engine.move;
begin
  p_loaded.log := p_loaded.log || v_entry;
  if v_entry.payload ? 'retryAt' then
    p_step.state := 'queued';
    p_step.failures := p_step.failures + 1;
    p_step.worker_id := null;
    p_step.lease_until := null;
    p_step.run_at := v_entry.payload ->> 'retryAt';
    v_move.run := p_loaded.run;
    v_move.is_changed := false;
    v_move.steps := array[p_step];
  else
    p_loaded.steps := engine.without_step(p_loaded.steps, p_step.node);
    if (p_loaded.run).status = 'paused' then
      v_move.run := p_loaded.run;
      v_move.is_changed := false;
    else
      v_move := engine.move_on(p_loaded, p_plan, p_worker, p_now);
    end if;
    v_move.closed := p_step.node || v_move.closed;
    if v_move.task is not null then
      v_move := engine.handed_on(v_move);
    end if;
  end if;
  v_move.entries := v_entry || v_move.entries;
  return v_move;
end
$$;

create or replace function engine.complete_steps(p_results jsonb, p_worker uuid)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    status text,
    next jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_results jsonb[];
  v_ids uuid[];
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_places int[];
  v_place int;
  v_step engine.open_steps;
  v_move engine.move;
  v_moves engine.move[];
  v_left uuid[];
begin
  select coalesce(array_agg(r), '{}'), coalesce(array_agg((r ->> 'runId')::uuid), '{}')
  into v_results, v_ids
  from jsonb_array_elements(p_results) as r;
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    if v_plan.workflow_id is distinct from (v_loaded.run).workflow_id or v_plan.version <> (v_loaded.run).version then
      v_plan := engine.plan_of(v_loaded.run);
    end if;
    v_places := array_positions(v_ids, run_id);
    foreach v_place in array v_places loop
      index := v_place - 1;
      outcome := 'stale';
      status := (v_loaded.run).status;
      next := null;
      v_step := engine.step_of(v_loaded.steps, v_results[v_place] ->> 'node');
      if v_step.state = 'running' and v_step.attempt = (v_results[v_place] -> 'attempt')::int
        and (v_loaded.run).finished_at is null
      then
        outcome := 'recorded';
        v_move := engine.take_result(v_loaded, v_plan, v_step, v_results[v_place], p_worker, v_now);
        v_moves := v_moves || v_move;
        next := v_move.task;
        if next is null then
          v_left := v_left || (v_loaded.run).organization_id;
        end if;
        status := (v_move.run).status;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_move(v_loaded, v_move);
        end if;
      end if;
      return next;
    end loop;
    v_ids := array_replace(v_ids, run_id, null);
  end loop;
  perform engine.write_moves(v_moves, v_now);
  if v_left is not null and engine.is_any_parked() then
    perform engine.fill_slots(v_left);
  end if;

  if array_remove(v_ids, null) <> '{}' then -- of runs that are gone
    return query
    select (i.place - 1)::int, 'stale', i.id, null::text, null::jsonb
    from unnest(v_ids) with ordinality as i (id, place)
    where i.id is not null;
  end if;
end
$$;

comment on function engine.complete_steps(jsonb, uuid) is
  'For workers: records the results of a batch, [{"runId", "node", "attempt", "ok", "port"?, "output"?, "error"?, "ms"}], each once, and moves the runs on. outcome is recorded, or stale for a result of an older attempt or an ended run, which changes nothing; next is the step to go on with. Example: select * from engine.complete_steps(''[{"runId": "0190…", "node": "notify", "attempt": 1, "ok": true, "output": {}}]'', gen_random_uuid());';

grant execute on function engine.complete_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/complete.sql
--! Included 50_engine/wait.sql
-- kind: code
-- Ends waits: their time has come, or somebody has decided.

-- How a wait that nobody answered ends: at its port `timeout` if that leads anywhere, else it has failed.
create or replace function engine.timeout_result(p_node engine.plan_node, p_prev jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when 'timeout' = any (p_node.ports) then jsonb_build_object('ok', true, 'port', 'timeout', 'output', p_prev)
    else jsonb_build_object('ok', false, 'error', jsonb_build_object(
      'code', 'WAIT_TIMEOUT', 'message', 'Nothing came before the time was up.', 'retryable', false
    ))
  end
$$;

-- What comes of the job of a step that waits.
create or replace function engine.take_wait(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_reached constant engine.opened_step := engine.reached(p_plan, p_step.run_id, p_loaded.log, p_step.node);
  v_node constant engine.plan_node := p_plan.nodes[v_reached.place];
  v_kind constant text := engine.wait_kind(v_node, v_reached.properties);
begin
  p_step.attempt := 1;
  if v_kind in ('run', 'forEach', 'repeat') then
    return engine.take_children(p_loaded, p_plan, p_step, v_reached, p_worker, p_now);
  end if;
  return engine.take_result(
    p_loaded, p_plan, p_step,
    case v_kind
      when 'time' then jsonb_build_object('ok', true, 'output', v_reached.prev)
      else engine.timeout_result(v_node, v_reached.prev)
    end,
    p_worker, p_now
  );
end
$$;

-- How a step ended, for whoever comes too late; null while it has not.
create or replace function engine.first_outcome(p_log engine.log_entry[], p_node text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_log loop
    if v_entry.type in ('step.succeeded', 'step.failed', 'step.reused') and v_entry.payload ->> 'node' = p_node then
      return v_entry.payload - 'ms' || jsonb_build_object('at', engine.iso_time(v_entry.ts));
    end if;
  end loop;
  return null;
end
$$;

-- Refuses what comes after a wait has ended. p_outcome: how it ended, null when it has not.
create or replace function engine.refuse_late(p_outcome jsonb)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_outcome ->> 'port' = 'timeout' or p_outcome #>> '{error,code}' = 'WAIT_TIMEOUT' then
    perform private.raise_error('EXPIRED', 'The time for this is up.', null, jsonb_build_object('first', p_outcome));
  elsif p_outcome is not null then
    perform private.raise_error(
      'ALREADY_USED', 'This was done before; the details say how.', null, jsonb_build_object('first', p_outcome)
    );
  end if;
end
$$;
--! EndIncluded 50_engine/wait.sql
--! Included 50_engine/approve.sql
-- kind: code
-- Approvals: a person decides which way a run goes on, once.

-- Whether a user may decide: as a member of that role or a higher one, or by name. With names alone nobody else may;
-- with neither, admins and owners may.
create or replace function engine.may_approve(p_organization_id uuid, p_user_id uuid, p_approval jsonb)
  returns boolean
  language sql
  stable
as $$
  select exists (
    select
    from public.organization_users as m
    join public.users as u on u.id = m.user_id
    where m.organization_id = p_organization_id
      and m.user_id = p_user_id
      and (
        array_position('{member,admin,owner}', m.role) >= array_position(
          '{member,admin,owner}',
          coalesce(p_approval ->> 'role', case when not p_approval ? 'users' then 'admin' end)
        )
        or exists (
          select
          from jsonb_path_query(p_approval, 'lax $.users[*]') as n (name)
          where lower(n.name #>> '{}') in (lower(u.email), u.id::text)
        )
      )
  )
$$;

-- p_by: the user who decides; null for a DBA, who may.
create or replace function engine.approve_step(
  p_run_id uuid,
  p_node text,
  p_approved boolean,
  p_comment text,
  p_by uuid
)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_step engine.open_steps;
  v_reached engine.opened_step;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  v_plan := engine.plan_of(v_loaded.run);
  if not coalesce(
    (v_plan.nodes[array_position(v_plan.ids, p_node)]).properties ? 'approval'
      and (v_plan.nodes[array_position(v_plan.ids, p_node)]).type like 'wait@%',
    false
  ) then
    perform private.raise_error('NOT_FOUND', format('The run has no approval %L.', p_node));
  end if;
  perform engine.refuse_late(engine.first_outcome(v_loaded.log, p_node));
  perform engine.refuse_finished(v_loaded.run);
  v_step := engine.step_of(v_loaded.steps, p_node);
  if v_step.node is null then
    perform private.raise_error('CONFLICT', 'The run has not come to this approval.');
  elsif v_step.run_at <= v_now then
    perform private.raise_error('EXPIRED', 'The time for this is up.');
  end if;
  v_reached := engine.reached(v_plan, p_run_id, v_loaded.log, p_node);
  if p_by is not null
    and not engine.may_approve((v_loaded.run).organization_id, p_by, v_reached.properties -> 'approval')
  then
    perform private.raise_error('FORBIDDEN', 'This approval is not yours to give.', null, jsonb_build_object(
      'approval', v_reached.properties -> 'approval'
    ));
  end if;

  v_step.attempt := 1;
  v_move := engine.take_result(v_loaded, v_plan, v_step, jsonb_build_object(
    'ok', true,
    'port', case when p_approved then 'approved' else 'rejected' end,
    'output', jsonb_build_object(
      'approved', p_approved, 'by', p_by, 'comment', left(p_comment, 10000), 'at', engine.iso_time(v_now)
    )
  ), null, v_now);
  perform engine.write_moves(array[v_move], v_now);
  return v_move.run;
end
$$;
--! EndIncluded 50_engine/approve.sql
--! Included 50_engine/family.sql
-- kind: code
-- What became of the child runs of a step, read from their rows and logs without a lock.

-- How the children of a step that were started so far stand. p_run_id bounds the partitions: children are younger.
create or replace function engine.family_of(p_run_id uuid, p_node text)
  returns engine.family
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
  v_family engine.family;
begin
  select
    count(*) filter (where r.finished_at is null),
    coalesce(bool_or(r.finished_at is not null), false)
  into v_family
  from public.workflow_runs as r
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.parent_index is not null
    and r.status = any ('{waiting,running,paused,error,canceled}')
    and r.id between v_first and v_last;
  return v_family;
end
$$;

-- What children that have ended leave to their parent, by their place: {"output"} or {"error"}.
create or replace function engine.child_results(p_run_id uuid, p_node text, p_index int default null)
  returns table (index int, result jsonb)
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
begin
  return query
  select
    r.parent_index,
    case r.status
      when 'success' then jsonb_build_object('output', e.payload -> 'output')
      else jsonb_build_object('error', engine.child_error(r))
    end
  from public.workflow_runs as r
  left join public.workflow_events as e
    on e.run_id = r.id
    and e.ts = r.finished_at
    and e.type = 'run.succeeded'
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.parent_index is not null
    and (p_index is null or r.parent_index = p_index)
    and r.finished_at is not null
    and r.id between v_first and v_last;
end
$$;

-- The error of a child as that of its parent's step.
create or replace function engine.child_error(p_child public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'code', coalesce(p_child.error -> 'code', '"CANCELED"'),
    'message', coalesce(p_child.error -> 'message', '"The child run was canceled."'),
    'retryable', false,
    'details', jsonb_strip_nulls(jsonb_build_object('run', p_child.id, 'node', p_child.error -> 'node'))
  )
$$;
--! EndIncluded 50_engine/family.sql
--! Included 50_engine/children.sql
-- kind: code
-- Child runs: a step starts runs of another workflow and goes on when they have ended. Parent and child are in one
-- transaction only when the child starts. Its end is news for the parent, which comes as a job: that locks the parent
-- alone, counts what became of the children, and hands out more or ends the step.

-- The workflow that a node names, by its id or its name; null when there is none.
create or replace function engine.workflow_named(p_organization_id uuid, p_name text)
  returns uuid
  language sql
  stable
as $$
  select w.id
  from public.workflows as w
  where w.organization_id = p_organization_id
    and p_name in (w.id::text, w.name)
  order by w.id::text = p_name desc, w.archived_at is null desc, w.published_version is not null desc, w.id
  limit 1
$$;

-- How many runs stand above one.
create or replace function engine.depth_of(p_run public.workflow_runs)
  returns int
  language plpgsql
  stable
as $$
declare
  v_parent_id uuid := p_run.parent_run_id;
  v_depth int := 0;
begin
  while v_parent_id is not null and v_depth < 10 loop
    v_depth := v_depth + 1;
    select r.parent_run_id into v_parent_id from public.workflow_runs as r where r.id = v_parent_id;
  end loop;
  return v_depth;
end
$$;

-- The properties of a node with the results of those expressions that are left for its child runs.
create or replace function engine.resolve_for_child(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_reached engine.opened_step,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node constant engine.plan_node := p_plan.nodes[p_reached.place];
  v_created constant engine.log_entry := p_loaded.log[1];
begin
  return engine.resolve(
    p_reached.properties - 'items', v_node.deferred, v_node.is_strict, v_created.payload -> 'input', p_reached.prev,
    p_reached.inputs, p_reached.outputs,
    engine.run_context((p_loaded.run).id, v_created.payload, v_created.ts, p_plan.nodes, p_plan.resume_key),
    v_created.payload -> 'vars', p_item, p_index
  );
end
$$;

-- What the schema of a trigger has against the input of a child; null when it has nothing.
create or replace function engine.input_error(p_trigger engine.plan_node, p_input jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'code', 'VALIDATION_FAILED',
    'message', format('The input%s %s.', ' ' || nullif(p.pointer, ''), p.message),
    'retryable', false
  )
  from engine.schema_problems(p_input, coalesce(p_trigger.properties -> 'input', '{}')) as p
  limit 1
$$;

-- Starts the children from p_from on, one for each input. p_waits: whether the parent waits for them. An answer with
-- an error and no run is a refusal: no such workflow, none published, a limit.
create or replace function engine.start_children(
  p_run public.workflow_runs,
  p_reached engine.opened_step,
  p_inputs jsonb[],
  p_from int,
  p_waits boolean default true
)
  returns table (
    run_id uuid,
    status text,
    output jsonb,
    error jsonb
  )
  language plpgsql
  volatile
as $$
declare
  v_workflow_id constant uuid := engine.workflow_named(
    p_run.organization_id, p_reached.properties ->> 'workflow'
  );
begin
  if v_workflow_id is null then
    error := engine.request_error('NOT_FOUND', format(
      'There is no workflow %s.', p_reached.properties ->> 'workflow'
    ));
  elsif p_from = 0 and engine.depth_of(p_run) >= 10 then
    error := engine.request_error('TOO_DEEP', 'Child runs are at most 10 levels deep.');
  end if;
  if error is not null then
    return next;
    return;
  end if;
  return query
  select s.run_id, s.status, s.output, s.error
  from engine.start_runs((
    select jsonb_agg(jsonb_build_object(
      'organizationId', p_run.organization_id,
      'workflowId', v_workflow_id,
      'mode', 'child',
      'input', i.input,
      'startedBy', p_run.started_by,
      'parent', jsonb_build_object(
        'run', p_run.id, 'node', p_reached.node,
        'index', case when p_waits then p_from + i.place - 1 end
      )
    ) order by i.place)
    from unnest(p_inputs) with ordinality as i (input, place)
  )) as s
  order by s.index;
end
$$;

-- What comes of the job of a step with child runs: its first one, or one that the end of a child has sent.
create or replace function engine.take_children(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_reached engine.opened_step,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_type constant text := (p_plan.nodes[p_reached.place]).type;
  v_turn engine.turn;
  v_move engine.move;
begin
  case
    when v_type like 'repeat@%' then
      v_turn := engine.take_repeat(p_loaded, p_plan, p_step, p_reached);
    when p_reached.properties -> 'wait' = 'false' then
      v_turn := engine.take_independent(p_loaded.run, p_reached);
    else
      v_turn := engine.take_for_each(p_loaded, p_plan, p_step, p_reached);
  end case;
  if v_turn.result is not null then
    return engine.take_result(p_loaded, p_plan, p_step, v_turn.result, p_worker, p_now);
  end if;
  p_step.next_index := v_turn.next_index;
  p_step.error := v_turn.error;
  p_step.run_at := case when v_turn.again then p_now end;
  v_move.run := p_loaded.run;
  v_move.is_changed := false;
  v_move.steps := array[p_step];
  return v_move;
end
$$;
--! EndIncluded 50_engine/children.sql
--! Included 50_engine/end.sql
-- kind: code
-- Ends a run from outside: canceled by somebody, or failed because it cannot go on.

-- Each unfinished one of a batch gets the event; answers with those that had not ended before.
create or replace function engine.end_runs(p_ids uuid[], p_type text, p_payload jsonb)
  returns setof public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_move engine.move;
  v_moves engine.move[];
begin
  for v_loaded in select l.* from engine.load_runs(p_ids, v_now) as l loop
    continue when (v_loaded.run).finished_at is not null;
    v_last := engine.next_entry(v_loaded.log[cardinality(v_loaded.log)], v_now, p_type, p_payload);
    v_move.entries := array[v_last];
    v_move.run := engine.run_after(v_loaded.run, v_last, false);
    v_move.is_changed := true;
    v_moves := v_moves || v_move;
    return next v_move.run;
  end loop;
  perform engine.write_moves(v_moves, v_now);
end
$$;

create or replace function engine.end_run(p_run_id uuid, p_type text, p_payload jsonb)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
begin
  select r.* into v_run from engine.end_runs(array[p_run_id], p_type, p_payload) as r;
  if v_run.id is null then
    select r.* into v_run from public.workflow_runs as r where r.id = p_run_id;
  end if;
  return v_run;
end
$$;

-- Who did something, and why: the payload of an event that somebody caused.
create or replace function engine.given_by(p_by uuid, p_reason text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object('by', p_by, 'reason', left(p_reason, 1000)))
$$;

-- Repeated, or on a run that has ended, it changes nothing. Running effects learn of it by their heartbeat.
create or replace function engine.cancel_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language sql
  volatile
as $$
  select engine.end_run(p_run_id, 'run.canceled', engine.given_by(p_by, p_reason))
$$;

create or replace function engine.blameless_error(p_code text, p_message text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('error', jsonb_build_object('code', p_code, 'message', p_message, 'retryable', false))
$$;

create or replace function engine.fail_run(p_run_id uuid, p_code text, p_message text)
  returns public.workflow_runs
  language sql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
  select engine.end_run(p_run_id, 'run.failed', engine.blameless_error(p_code, p_message))
$$;

comment on function engine.fail_run(uuid, text, text) is
  'Ends an unfinished run with an error that no node is to blame for. Changes nothing about a finished one. Example: select status from engine.fail_run(''0190…'', ''DEADLINE'', ''too late'');';

grant execute on function engine.fail_run(uuid, text, text) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/end.sql
--! Included 50_engine/pause.sql
-- kind: code
-- Pauses runs and lets them go on. A paused run begins nothing new; what runs already finishes and is recorded, but the
-- graph moves on only when the run is resumed.

create or replace function engine.pause_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).finished_at is not null or (v_loaded.run).status = 'paused' then
    return v_loaded.run;
  end if;
  v_last := engine.next_entry(
    v_loaded.log[cardinality(v_loaded.log)], v_now, 'run.paused', engine.given_by(p_by, p_reason)
  );
  v_move.entries := array[v_last];
  v_move.run := engine.run_after(v_loaded.run, v_last, false);
  v_move.is_changed := true;
  perform engine.write_moves(array[v_move], v_now);
  update engine.open_steps as s set wake_at = null where s.run_id = p_run_id;
  return v_move.run;
end
$$;

create or replace function engine.resume_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_resumed engine.log_entry;
  v_step engine.open_steps;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).status <> 'paused' then
    return v_loaded.run;
  end if;
  v_resumed := engine.next_entry(
    v_loaded.log[cardinality(v_loaded.log)], v_now, 'run.resumed', engine.given_by(p_by, p_reason)
  );
  v_loaded.log := v_loaded.log || v_resumed;
  -- No worker: nobody waits here for a step to do, so each one that is ready gets a job.
  v_move := engine.move_on(v_loaded, engine.plan_of(v_loaded.run), null, v_now);
  v_move.entries := v_resumed || v_move.entries;
  -- Whose time came in the pause, and whose children ended in it, has lost its job to it; the others are woken at
  -- their time again.
  foreach v_step in array v_loaded.steps loop
    if v_step.state <> 'running' and v_step.node <> all (coalesce(v_move.closed, '{}')) then
      if v_step.next_index is not null then
        v_step.run_at := v_now;
      end if;
      v_move.steps := v_move.steps || v_step;
    end if;
  end loop;
  v_move.is_changed := true;
  perform engine.write_moves(array[v_move], v_now);
  perform engine.wake_held(p_run_id);
  return v_move.run;
end
$$;
--! EndIncluded 50_engine/pause.sql
--! Included 50_engine/rerun.sql
-- kind: code
-- Runs that begin where another one was: a retry does again what failed, a fork what is to come out differently.

-- p_old: locked, with its log. Its finished steps count, but for p_from and what comes after it.
create or replace function engine.rerun(
  p_old engine.loaded_run,
  p_request engine.start_request,
  p_from text,
  p_keep_input boolean
)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_old_plan constant engine.plans := engine.plan_of(p_old.run);
  v_plan constant engine.plans := engine.plan_to_start(p_request);
  v_nodes constant engine.plan_node[] := v_plan.nodes;
  v_folded engine.folded;
  v_reused text[];
  v_move engine.move;
begin
  if cardinality(p_old.log) = 0 then
    perform private.raise_error('EXPIRED', 'The log of the run has expired; nothing is known of its steps.');
  end if;
  v_folded := engine.fold(v_old_plan.nodes, v_old_plan.ids, p_old.log);
  p_request.trigger := v_folded.created ->> 'trigger';
  p_request.error := engine.start_refusal(
    p_request, v_plan.version, (v_nodes[array_position(v_plan.ids, p_request.trigger)]).kind
  );
  if p_request.error is null and p_from <> all (v_plan.ids) then
    p_request.error := engine.request_error('NOT_FOUND', format('The workflow has no node %L.', p_from));
  elsif p_request.error is null and pg_column_size(p_request.input) > 1048576 then
    p_request.error := engine.request_error('TOO_LARGE', 'The input of a run is at most 1 MiB.');
  end if;
  p_request.error := coalesce(
    p_request.error, engine.admission_error(engine.admit_starts(null, v_plan, 1, v_now))
  );
  if p_request.error is not null then
    perform private.raise_error(
      p_request.error ->> 'code', p_request.error ->> 'message', p_request.error ->> 'hint',
      coalesce(p_request.error -> 'details', '{}')
    );
  end if;

  v_reused := engine.reusable_nodes(v_old_plan, v_plan, v_folded, p_from);
  if p_keep_input then
    p_request.input := v_folded.created -> 'input';
  else
    v_reused := array_remove(v_reused, p_request.trigger); -- whose output is the input
  end if;
  p_request.run_id := engine.uuid_v7(v_now);
  p_request.reused := engine.reused_entries((p_old.run).id, v_old_plan.ids, v_folded, v_reused, v_now);
  v_move := engine.first_move(p_request, v_plan, v_nodes, p_request.trigger, v_now);
  perform engine.write_starts(array[v_move], v_now);
  return v_move.run;
end
$$;

-- What a retry and a fork of a run have in common.
create or replace function engine.rerun_request(p_run public.workflow_runs, p_mode text, p_by uuid)
  returns engine.start_request
  language plpgsql
  immutable
as $$
declare
  v_request engine.start_request;
begin
  v_request.organization_id := p_run.organization_id;
  v_request.workflow_id := p_run.workflow_id;
  v_request.version := p_run.version;
  v_request.mode := p_mode;
  v_request.priority := p_run.priority;
  v_request.metadata := p_run.metadata;
  v_request.started_by := p_by;
  v_request.origin := jsonb_build_object(p_mode || 'Of', p_run.id);
  return v_request;
end
$$;

create or replace function engine.retry_run(p_run_id uuid, p_from_node text default null, p_by uuid default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_old engine.loaded_run;
  v_run public.workflow_runs;
  v_request engine.start_request;
begin
  select l.* into v_old from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_run := v_old.run;
  if v_run.id is null then
    return null;
  elsif v_run.retried_by is not null then
    select r.* into v_run from public.workflow_runs as r where r.id = v_run.retried_by;
    return v_run;
  elsif v_run.status not in ('error', 'canceled') then
    perform private.raise_error(
      'CONFLICT', format('The run is %s; what has failed or was canceled can be retried.', v_run.status),
      'fork_run begins at any node of any run.', jsonb_build_object('status', v_run.status)
    );
  elsif v_run.parent_index is not null then
    perform private.raise_error(
      'CONFLICT', 'Another run has started this one and knows how it ended.', 'Retry that one.',
      jsonb_build_object('parentRunId', v_run.parent_run_id)
    );
  end if;
  v_request := engine.rerun_request(v_run, 'retry', p_by);
  v_request.retry_of := v_run.id;
  v_run := engine.rerun(v_old, v_request, p_from_node, true);
  update public.workflow_runs as r set retried_by = v_run.id where r.id = p_run_id;
  return v_run;
end
$$;

create or replace function engine.fork_run(
  p_run_id uuid,
  p_from_node text default null,
  p_input jsonb default null,
  p_version int default null,
  p_by uuid default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_old engine.loaded_run;
  v_request engine.start_request;
begin
  select l.* into v_old from engine.load_runs(array[p_run_id], engine.now()) as l;
  if (v_old.run).id is null then
    return null;
  end if;
  v_request := engine.rerun_request(v_old.run, 'fork', p_by);
  v_request.version := coalesce(p_version, v_request.version);
  v_request.input := p_input;
  -- Another input is news for every node, unless somebody says from which one on.
  if p_from_node is null and p_input is not null then
    p_from_node := v_old.log[1].payload ->> 'trigger';
  end if;
  return engine.rerun(v_old, v_request, p_from_node, p_input is null);
end
$$;
--! EndIncluded 50_engine/rerun.sql
--! Included 50_engine/heartbeat.sql
-- kind: code
-- What a worker tells: that it lives, and at its end what it leaves.

-- Extends the leases of the attempts that a worker is running, and answers with those it should abort: their run has
-- ended, or another attempt has taken over.
create or replace function engine.heartbeat(
  p_worker uuid,
  p_running jsonb,
  p_pool_id text default null,
  p_capacity int default null
)
  returns table (
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and engine.workers are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
begin
  insert into engine.workers as w (id, pool_id, started_at, seen_at, capacity)
  values (p_worker, p_pool_id, v_now, v_now, p_capacity)
  on conflict (id) do update set
    seen_at = excluded.seen_at,
    capacity = coalesce(excluded.capacity, w.capacity),
    pool_id = coalesce(excluded.pool_id, w.pool_id);

  update engine.workers as w
  set share = engine.organization_slots()
  where w.id = p_worker
    and w.share is distinct from engine.organization_slots();

  return query
  with running as (
    select (r ->> 'runId')::uuid as run_id, r ->> 'node' as node, (r ->> 'attempt')::int as attempt
    from jsonb_array_elements(p_running) as r
  ),
  held as (
    select s.run_id, s.node
    from engine.open_steps as s
    join running as r on r.run_id = s.run_id and r.node = s.node and r.attempt = s.attempt
    where s.state = 'running'
    -- A step that is locked is being completed: there is no lease to extend, and waiting could become a deadlock.
    for update of s skip locked
  ),
  extended as (
    update engine.open_steps as s
    set lease_until = v_now + interval '15 seconds'
    from held as h
    where s.run_id = h.run_id
      and s.node = h.node
  )
  select r.run_id, r.node
  from running as r
  where not exists (
    select
    from engine.open_steps as s
    where s.run_id = r.run_id
      and s.node = r.node
      and s.attempt = r.attempt
      and s.state = 'running'
  );
end
$$;

-- Hands running attempts back to the queue, as a worker does that shuts down. It costs the step none of its attempts.
create or replace function engine.release_steps(p_worker uuid, p_steps jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps is closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_released engine.open_steps[];
begin
  with wanted as (
    select (r ->> 'runId')::uuid as run_id, r ->> 'node' as node, (r ->> 'attempt')::int as attempt
    from jsonb_array_elements(p_steps) as r
  ),
  held as (
    select s.run_id, s.node
    from engine.open_steps as s
    join wanted as w on w.run_id = s.run_id and w.node = s.node and w.attempt = s.attempt
    where s.state = 'running'
      and s.worker_id = p_worker
    for update of s skip locked
  ),
  released as (
    update engine.open_steps as s
    set
      state = 'queued', worker_id = null, lease_until = null, run_at = v_now,
      wake_at = v_now + interval '1 minute'
    from held as h
    where s.run_id = h.run_id
      and s.node = h.node
    returning s.*
  )
  select array_agg(r) into v_released from released as r;
  perform engine.add_jobs(engine.jobs_of(v_released));
  return coalesce(cardinality(v_released), 0);
end
$$;

comment on function engine.heartbeat(uuid, jsonb, text, int) is
  'For workers, every 2.5 seconds: extends the leases of the running attempts, [{"runId", "node", "attempt"}], by 15 seconds; answers with those to abort, because their run has ended or another attempt has taken over. p_capacity: how many steps the worker runs at once. Example: select * from engine.heartbeat(''0190…'', ''[]'');';
comment on function engine.release_steps(uuid, jsonb) is
  'For workers that stop: gives running attempts back to the queue, at the cost of no attempt; answers how many. Example: select engine.release_steps(''0190…'', ''[{"runId": "0190…", "node": "notify", "attempt": 1}]'');';

grant execute on function
  engine.heartbeat(uuid, jsonb, text, int),
  engine.release_steps(uuid, jsonb)
  to flowgres_worker;
--! EndIncluded 50_engine/heartbeat.sql
--! Included 50_engine/reconcile.sql
-- kind: code
-- The reconciler: hands on what nobody holds any more, so that an unfinished run always has something that moves it.

-- One pass: at most 1,000 steps of each kind, so that recovery never stalls what works. Safe to run from any number of
-- processes at once: what one has locked the others skip.
create or replace function engine.reconcile()
  returns table (
    action text,
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and the queue are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_dead text[];
begin
  -- graphile-worker itself would keep the jobs of a dead worker locked for four hours.
  with dead as (
    delete from engine.workers as w
    where w.seen_at < v_now - interval '15 seconds'
    returning w.pool_id
  )
  select array_agg(d.pool_id) into v_dead from dead as d where d.pool_id is not null;
  if v_dead is not null then
    perform graphile_worker.force_unlock_workers(v_dead);
  end if;

  return query select 'deadline', e.run_id, null::text from engine.end_overdue_runs(v_now) as e (run_id);
  return query select 'poison', p.run_id, p.node from engine.fail_poisonous_steps(v_now) as p;
  return query select 'requeue', r.run_id, r.node from engine.requeue_expired_steps(v_now) as r;
  perform engine.unpark_overdue_steps();
  return query select 'wake', w.run_id, w.node from engine.wake_steps() as w;
  return query select 'release', l.run_id, null::text from engine.let_overdue_in(v_now) as l;
  return query select 'operation', null::uuid, o.id::text from engine.wake_operations(v_now) as o (id);
end
$$;

-- Steps whose worker died: back to the queue. It is not their failure, so it costs none of their attempts.
create or replace function engine.requeue_expired_steps(p_now timestamptz)
  returns setof engine.open_steps
  language plpgsql
  volatile
as $$
declare
  v_steps engine.open_steps[];
begin
  with requeued as (
    update engine.open_steps as s
    set
      state = 'queued', deaths = s.deaths + 1, worker_id = null, lease_until = null, run_at = p_now,
      wake_at = p_now + interval '1 minute'
    where s.ctid = any (array(
      select e.ctid
      from engine.open_steps as e
      where e.state = 'running'
        and e.lease_until < p_now
        and e.deaths < 4
      order by e.lease_until
      limit 1000
      for update skip locked
    ))
    returning s.*
  )
  select array_agg(r) into v_steps from requeued as r;
  perform engine.add_jobs(engine.jobs_of(v_steps));
  return query select s.* from unnest(v_steps) as s;
end
$$;

-- A step whose worker died five times is what kills them. A run that is locked is being moved on by somebody: the next
-- pass looks at it again, and this one waits for nobody while it holds locks.
create or replace function engine.fail_poisonous_steps(p_now timestamptz)
  returns setof engine.open_steps
  language plpgsql
  volatile
as $$
declare
  v_steps engine.open_steps[];
  v_results jsonb;
begin
  v_steps := array(
    select s
    from engine.open_steps as s
    join public.workflow_runs as r on r.id = s.run_id
    where s.state = 'running'
      and s.lease_until < p_now
      and s.deaths >= 4
    limit 1000
    for no key update of r skip locked
  );
  select jsonb_agg(jsonb_build_object(
    'runId', s.run_id, 'node', s.node, 'attempt', s.attempt, 'ok', false,
    'error', jsonb_build_object(
      'code', 'POISON', 'message', 'Five workers died while they ran this step.', 'retryable', false
    )
  ))
  into v_results
  from unnest(v_steps) as s;
  return query
    select (v_steps[c.index + 1]).*
    from engine.complete_steps(v_results, null) as c
    where c.outcome = 'recorded';
end
$$;

-- Gives a job to the steps whose time has come, and another one to those that nothing has taken for a minute: their
-- job was lost, or the queue is long; another wake-up does no harm. Steps that sleep are not looked at.
create or replace function engine.wake_steps()
  returns table (
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and the queue are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_steps engine.open_steps[];
begin
  with woken as (
    update engine.open_steps as s
    set wake_at = v_now + case when s.run_at is null then interval '1 hour' else interval '1 minute' end
    -- By their place in the table: whatever the planner believes, it reads no other row.
    where s.ctid = any (array(
      select d.ctid
      from engine.open_steps as d
      where d.wake_at <= v_now
      order by d.wake_at
      limit 1000
      for update skip locked
    ))
    returning s.*
  )
  select array_agg(w) into v_steps from woken as w;
  -- With a key: while such a wake-up waits in the queue, another one replaces it.
  perform engine.add_jobs(engine.jobs_of(v_steps, 'due:'));
  return query select s.run_id, s.node from unnest(v_steps) as s;
end
$$;

create or replace function engine.end_overdue_runs(p_now timestamptz)
  returns setof uuid
  language plpgsql
  volatile
as $$
declare
  v_ids uuid[] := array(
    select r.id
    from public.workflow_runs as r
    where r.finished_at is null
      and r.deadline_at < p_now
    limit 1000
    for no key update skip locked
  );
begin
  if cardinality(v_ids) > 0 then
    return query
      select r.id
      from engine.end_runs(v_ids, 'run.failed', engine.blameless_error(
        'DEADLINE', 'The run did not finish before its deadline.'
      )) as r;
  end if;
end
$$;

-- Operations that no worker has gone on with for a minute.
create or replace function engine.wake_operations(p_now timestamptz)
  returns setof uuid
  language plpgsql
  volatile
as $$
declare
  v_operation public.run_operations;
begin
  for v_operation in
    select o.*
    from public.run_operations as o
    where o.finished_at is null
      and o.updated_at < p_now - interval '60 seconds'
    order by o.id
    limit 1000
    for no key update skip locked
  loop
    perform engine.operation_job(v_operation.id);
    update public.run_operations as o set updated_at = p_now where o.id = v_operation.id;
    return next v_operation.id;
  end loop;
end
$$;

comment on function engine.wake_steps() is
  'For workers, every second: gives a job to each step whose time has come, at most 1,000; any number of workers may call it at once. Example: select * from engine.wake_steps();';
comment on function engine.reconcile() is
  'Moves on what nobody holds any more: jobs and steps of dead workers, runs past their deadline, steps that nothing has taken for a minute. Workers call it every 10 seconds; any number may at once. One row per action. Example: select * from engine.reconcile();';

grant execute on function engine.reconcile(), engine.wake_steps() to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/reconcile.sql
--! Included 50_engine/repair.sql
-- kind: code
-- Repairs what cannot happen: runs that nothing would move, because a row was lost. monitor.stuck_runs() names them.

-- The number of a node's last attempt, so that a late result of it is told apart from that of the next one.
create or replace function engine.last_attempt(p_run_id uuid, p_node text)
  returns int
  language sql
  stable
as $$
  select coalesce(max((e.payload ->> 'attempt')::int), 0)
  from public.get_workflow_run_events(p_run_id) as e
  where e.type = 'step.started'
    and e.payload ->> 'node' = p_node
$$;

-- How many children a step has started already; null: none.
create or replace function engine.started_children(p_run_id uuid, p_node text)
  returns int
  language sql
  stable
as $$
  select max(r.parent_index) + 1
  from public.workflow_runs as r
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.id >= engine.uuid_floor(engine.uuid_time(p_run_id))
$$;

-- Opens again what the log says should be open: first what waits, for to the engine a wait that is not open is over.
create or replace function engine.repaired_move(p_loaded engine.loaded_run, p_now timestamptz)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_plan constant engine.plans := engine.plan_of(p_loaded.run);
  v_folded constant engine.folded := engine.fold(v_plan.nodes, v_plan.ids, p_loaded.log);
  v_opened engine.opened_step;
  v_waiting engine.log_entry;
  v_step engine.open_steps;
  v_move engine.move;
begin
  foreach v_waiting in array p_loaded.log loop
    continue when v_waiting.type <> 'step.waiting'
      or v_folded.states[array_position(v_plan.ids, v_waiting.payload ->> 'node')] <> 3;
    v_opened.node := v_waiting.payload ->> 'node';
    v_opened.state := 'waiting';
    v_opened.run_at := engine.wait_run_at(v_waiting.payload, p_now);
    v_step := engine.new_step(p_loaded.run, v_opened, p_now);
    v_step.next_index := engine.started_children((p_loaded.run).id, v_opened.node);
    p_loaded.steps := p_loaded.steps || v_step;
  end loop;
  v_move := engine.move_on(p_loaded, v_plan, null, p_now);
  for v_place in 1 .. coalesce(cardinality(v_move.steps), 0) loop
    v_move.steps[v_place].attempt := engine.last_attempt((p_loaded.run).id, v_move.steps[v_place].node);
  end loop;
  v_move.steps := v_move.steps || p_loaded.steps;
  v_move.is_changed := true;
  return v_move;
end
$$;

-- Puts a held run back into the queue of its workflow, as one that has just come.
create or replace function engine.hold_again(p_loaded engine.loaded_run, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_run constant public.workflow_runs := p_loaded.run;
  v_flow constant jsonb := (engine.plan_of(v_run)).settings -> 'flow';
  v_row engine.flow_runs;
begin
  v_row.run_id := v_run.id;
  v_row.organization_id := v_run.organization_id;
  v_row.workflow_id := v_run.workflow_id;
  v_row.version := v_run.version;
  v_row.priority := v_run.priority;
  v_row.is_held := true;
  v_row.concurrency_key := v_run.concurrency_key;
  v_row.rate_key := engine.flow_key(v_flow -> 'rateLimit', p_loaded.log[1].payload -> 'input');
  perform engine.insert_flow_run(v_row);
  perform engine.wake_held(v_run.id);
end
$$;

create or replace function engine.repair_runs()
  returns table (
    action text,
    run_id uuid
  )
  language plpgsql
  volatile
  security definer -- definer because runs and steps are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[] := array(
    select r.id
    from public.workflow_runs as r
    where r.status in ('running', 'waiting')
      and not exists (select from engine.open_steps as s where s.run_id = r.id)
      and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
    limit 100
    for no key update skip locked
  );
  v_loaded engine.loaded_run;
  v_moves engine.move[];
begin
  if cardinality(v_ids) > 0 then
    -- What is locked now may have moved on since it was looked for.
    v_ids := array(
      select i from unnest(v_ids) as i
      where not exists (select from engine.open_steps as s where s.run_id = i)
        and exists (select from public.workflow_runs as r where r.id = i and r.finished_at is null)
    );
    for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
      run_id := (v_loaded.run).id;
      action := 'open';
      if v_loaded.log[1].payload ? 'held' and not exists (
        select from unnest(v_loaded.log) as e where e.type = 'run.released'
      ) then
        action := 'hold';
        perform engine.hold_again(v_loaded, v_now);
      else
        v_moves := v_moves || engine.repaired_move(v_loaded, v_now);
      end if;
      return next;
    end loop;
    perform engine.write_moves(v_moves, v_now);
  end if;

  return query
    with lost as (
      delete from engine.flow_runs as f
      where not f.is_held
        and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
      returning f.run_id
    )
    select 'slot', l.run_id from lost as l;
end
$$;
comment on function engine.repair_runs() is
  'Repairs unfinished runs that nothing would move, at most 100, and slots that nobody holds; workers call it every minute. A row for each says what was done; no row is health. Example: select * from engine.repair_runs();';

grant execute on function engine.repair_runs() to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/repair.sql
--! Included 50_engine/verify.sql
-- kind: code
-- Replays the log of a run: what came from outside is fed to the engine again, and it must compute every other event
-- anew.

-- Whether an event came from outside. p_open: the steps that were open when it was written.
create or replace function engine.is_fed(p_entry engine.log_entry, p_open text[])
  returns boolean
  language sql
  immutable
as $$
  select case
    when p_entry.type in ('step.succeeded', 'step.failed') then p_entry.payload ->> 'node' = any (p_open)
    -- Without a node it was ended from outside: DEADLINE, POISON.
    when p_entry.type = 'run.failed' then not p_entry.payload ? 'node'
    else p_entry.type not in ('step.waiting', 'run.responded', 'run.succeeded')
  end
$$;

-- p_is_prelude: a step that the run has taken over comes next, before the graph moves at all.
create or replace function engine.feed(
  p_replay engine.replay,
  p_entry engine.log_entry,
  p_is_prelude boolean,
  p_plan engine.plans,
  p_run_id uuid
)
  returns engine.replay
  language plpgsql
  stable
as $$
declare
  v_node constant text := p_entry.payload ->> 'node';
  v_expected engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
begin
  p_replay.log := p_replay.log || p_entry;
  -- A step that has begun, or is to be tried again, stays open, and nothing in the graph moves.
  if p_entry.type = 'step.started' or p_entry.payload ? 'retryAt' then
    return p_replay;
  end if;
  -- What the engine has put off, it finds out again, with this news.
  foreach v_expected in array coalesce(p_replay.expected, '{}') loop
    if v_expected.type = 'step.waiting' then
      p_replay.open := array_remove(p_replay.open, v_expected.payload ->> 'node');
    end if;
  end loop;
  if p_entry.type in ('run.paused', 'run.resumed') then
    p_replay.paused := p_entry.type = 'run.paused';
    p_replay.expected := null;
  end if;
  p_replay.open := array_remove(p_replay.open, v_node);
  if p_replay.paused is not true and not p_is_prelude then
    v_advanced := engine.advance(
      p_plan.nodes, p_plan.ids, p_run_id, p_replay.log, p_replay.open, null, p_plan.resume_key
    );
    p_replay.expected := v_advanced.entries;
    foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
      p_replay.open := p_replay.open || v_opened.node;
    end loop;
  end if;
  return p_replay;
end
$$;

-- The problem with an event that the engine should have computed; null when there is none.
create or replace function engine.difference(p_expected engine.log_entry, p_entry engine.log_entry)
  returns text
  language sql
  immutable
as $$
  select case
    when p_expected.type is null then 'replay does not give this event'
    when p_expected.type <> p_entry.type or p_expected.payload - 'ms' <> p_entry.payload - 'ms'
      then 'replay gives another event'
  end
$$;

create or replace function engine.verify_run(p_run_id uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_entry engine.log_entry;
  v_replay engine.replay := row('{}', null, '{}', false);
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_plan := engine.plan_of(v_loaded.run);
  if v_plan.version is null then
    problem := 'there is no such run, or its version was never compiled';
    return next;
    return;
  end if;
  foreach v_entry in array coalesce(v_loaded.log, '{}') loop
    seq := v_entry.seq;
    recorded := jsonb_build_object('type', v_entry.type, 'payload', v_entry.payload);
    computed := to_jsonb(v_replay.expected[1]) - 'seq' - 'ts';
    problem := case when v_entry.seq <> cardinality(v_replay.log) + 1 then 'the sequence has a gap' end;
    if engine.is_fed(v_entry, v_replay.open) then
      v_replay := engine.feed(
        v_replay, v_entry, coalesce(v_loaded.log[v_entry.seq + 1].type = 'step.reused', false), v_plan, p_run_id
      );
    else
      problem := coalesce(problem, engine.difference(v_replay.expected[1], v_entry));
      v_replay.expected := v_replay.expected[2:];
      v_replay.log := v_replay.log || v_entry;
    end if;
    if problem is not null then
      return next;
    end if;
  end loop;
  -- What a queued step of the engine's own will write is only put off.
  if cardinality(v_replay.expected) > 0
    and (engine.step_of(v_loaded.steps, v_replay.expected[1].payload ->> 'node')).state is distinct from 'queued'
  then
    seq := cardinality(v_replay.log) + 1;
    problem := 'a computed event was never recorded';
    recorded := null;
    computed := to_jsonb(v_replay.expected[1]) - 'seq' - 'ts';
    return next;
  end if;
end
$$;

comment on function engine.verify_run(uuid) is
  'Replays the log of a run. Each row is an event that the engine would not have written like that; no row means that it would. Example: select * from engine.verify_run(''0190…'');';

grant execute on function engine.verify_run(uuid) to flowgres_dba;
--! EndIncluded 50_engine/verify.sql
--! Included 60_triggers/fire_schedules.sql
-- kind: code
-- Starts the runs of schedules that are due. The run and the schedule's next time are one transaction, and the tick is
-- the run's idempotency key: whoever calls this, at once or after a crash, a tick starts one run.

-- What becomes of a tick. One that is a minute late has been missed; then catchUp says whether it still runs, and from
-- when on the schedule goes on: from the tick itself, or past all that were missed with it.
create or replace function engine.judge_tick(
  p_schedule public.schedules,
  p_now timestamptz,
  out is_run boolean,
  out go_on_after timestamptz
)
  language plpgsql
  immutable
as $$
declare
  v_patience constant interval := '1 minute';
  v_catch_up constant text := coalesce(p_schedule.properties ->> 'catchUp', 'none');
begin
  is_run := true;
  go_on_after := p_schedule.next_run_at;
  if p_schedule.fires_at < p_now - v_patience then
    is_run := v_catch_up <> 'none';
    -- As old as an idempotency key may get; a schedule that was away for longer does not run for hours.
    go_on_after := greatest(
      go_on_after, p_now - case v_catch_up when 'all' then interval '7 days' else v_patience end
    );
  end if;
end
$$;

create or replace function engine.tick_request(p_schedule public.schedules, p_now timestamptz)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_schedule.organization_id,
    'workflowId', p_schedule.workflow_id,
    'version', p_schedule.version,
    'mode', 'schedule',
    'trigger', p_schedule.node,
    'key', format('schedule %s %s', tick, p_schedule.node),
    -- firedAt differs when a tick is tried again, the tick does not.
    'fingerprint', tick,
    'input', jsonb_build_object(
      'scheduledAt', tick,
      'firedAt', engine.iso_time(p_now),
      'timezone', coalesce(p_schedule.properties ->> 'timezone', 'UTC')
    )
  )
  from engine.iso_time(p_schedule.next_run_at) as tick
$$;

-- Starts one run; an error that start_runs did not foresee is the tick's own, the others go on. But that there is no
-- partition for now is nobody's own: all ticks wait until there is.
create or replace function engine.start_tick(p_schedule public.schedules, p_now timestamptz)
  returns jsonb
  language plpgsql
  volatile
as $$
declare
  v_answer record;
  v_constraint text;
begin
  select * into v_answer
  from engine.start_runs(jsonb_build_array(engine.tick_request(p_schedule, p_now)));
  return case when v_answer.run_id is null then v_answer.error end;
exception
  when check_violation then
    -- One without a name is the bounds of the partitions.
    get stacked diagnostics v_constraint = constraint_name;
    if v_constraint = '' then
      raise;
    end if;
    return jsonb_build_object('code', 'INTERNAL', 'message', sqlerrm);
  when others then
    return jsonb_build_object('code', 'INTERNAL', 'message', sqlerrm);
end
$$;

create or replace function engine.fire_schedules(p_limit int default 100)
  returns int
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_schedule public.schedules;
  v_verdict record;
  v_tick timestamptz;
  v_error jsonb;
  v_count int := 0;
begin
  for v_schedule in
    select s.*
    from public.schedules as s
    where s.fires_at <= v_now
      -- Those of a deleted organization wait for its return, or go with it.
      and exists (
        select from public.organizations as o where o.id = s.organization_id and o.deleted_at is null
      )
    order by s.fires_at
    limit p_limit
    for no key update skip locked
  loop
    select * into v_verdict from engine.judge_tick(v_schedule, v_now);
    v_error := case when v_verdict.is_run then engine.start_tick(v_schedule, v_now) else v_schedule.last_error end;
    v_tick := engine.next_tick(v_schedule.properties, v_verdict.go_on_after);
    update public.schedules as s
    set
      next_run_at = v_tick,
      fires_at = v_tick + engine.jitter(s.properties, s.workflow_id, s.node, v_tick),
      last_run_at = case when v_verdict.is_run and v_error is null then v_schedule.next_run_at else s.last_run_at end,
      last_error = v_error
    where s.organization_id = v_schedule.organization_id
      and s.workflow_id = v_schedule.workflow_id
      and s.node = v_schedule.node;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function engine.fire_schedules(int) is
  'Starts the runs of schedules that are due, one tick of each and at most p_limit, and returns how many it looked at: call it again while that is p_limit, or more than none and schedules catch up. Safe to call from many sessions at once.';

grant execute on function engine.fire_schedules(int) to flowgres_worker, flowgres_dba;
--! EndIncluded 60_triggers/fire_schedules.sql

do $condition$
begin
  if not exists (select from pg_extension where extname = 'pg_cron') then
    execute $files$
--! Included 70_cron/policies.sql
-- kind: code
-- The grants of pg_cron, which are to everybody: the key is USAGE of the schema, which nobody has who is not given it.

drop policy if exists cron_job_policy on cron.job;
create policy cron_job_policy on cron.job
  using (username = current_user);

drop policy if exists cron_job_run_details_policy on cron.job_run_details;
create policy cron_job_run_details_policy on cron.job_run_details
  using (username = current_user);

drop policy if exists job_state_flowgres_dba_select on cron.job_state;
create policy job_state_flowgres_dba_select on cron.job_state for select to flowgres_dba
  using (true);

grant select on cron.job_state to flowgres_dba;
grant select on cron.job to public;
grant select, delete on cron.job_run_details to public;
grant select on sequence cron.jobid_seq, cron.runid_seq to public;
grant execute on function
  cron.schedule(text, text),
  cron.schedule(text, text, text),
  cron.unschedule(bigint),
  cron.unschedule(text)
  to public;
grant execute on function
  cron.schedule_in_database(text, text, text, text, text, boolean),
  cron.alter_job(bigint, text, text, text, text, boolean),
  cron.next_run(text, timestamptz, text),
  cron.matches(text, timestamptz, text)
  to flowgres_dba, flowgres_maintenance;

grant usage on schema cron to flowgres_dba, flowgres_maintenance, flowgres_worker;
grant execute on function
  cron.lead(),
  cron.tick(bigint[], boolean),
  cron.begin_run(bigint, int),
  cron.end_run(bigint, text, text)
  to flowgres_worker;
--! EndIncluded 70_cron/policies.sql
    $files$;
  end if;
end
$condition$;

--! Included 90_monitor/broken_logs.sql
-- kind: code
-- Rules of the log: I2, I4, I7 and I8 of docs/invariants.md. Plans are made for the values: only the partitions that
-- can hold events of these runs are read, each once for the rules of runs and once for those of steps.

-- The lowest id of a run that started then, or later.
create or replace function private.first_run(p_since timestamptz)
  returns uuid
  language sql
  immutable
as $$
  select engine.uuid_floor(greatest(p_since, '1970-01-01 00:00:00+00'))
$$;

-- Of whole runs. The events of a run are numbered in the order of their times.
create or replace function private.broken_sequences(p_since timestamptz)
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    with log as (
      select
        e.run_id,
        count(*) as events,
        min(e.seq) as first,
        max(e.seq) as last,
        count(*) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ends,
        max(e.seq) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ended_at,
        min(e.seq) filter (where e.ts <= e.previous) as back
      from (
        select l.run_id, l.seq, l.type, l.ts, lag(l.ts) over (partition by l.run_id order by l.seq) as previous
        from public.workflow_events as l
        where l.ts >= p_since
          and l.run_id >= private.first_run(p_since)
      ) as e
      group by e.run_id
    )
    select i.invariant, l.run_id, to_jsonb(l)
    from log as l
    cross join lateral (values
      ('I2 the events of a run are numbered 1, 2, 3 … without a gap', l.first <> 1 or l.last <> l.events),
      ('I2 the time of events increases with their number', l.back is not null),
      ('I4 a run has at most one terminal event, and it is the last one', l.ends > 1 or l.ended_at < l.last)
    ) as i (invariant, is_broken)
    where i.is_broken;
end
$$;

-- Of the steps of runs. What was known before is the same node's events up to this one.
create or replace function private.broken_steps(p_since timestamptz)
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    with step as (
      select
        e.run_id, e.seq, e.ts, e.node, e.is_end, e.attempt, e.is_timeout,
        count(*) filter (where e.is_end) over known as ends,
        max(e.attempt) filter (where e.type = 'step.started') over known as begun,
        max(e.waits_for) over known as waits_for,
        max(e.until) over known as until
      from (
        select
          l.run_id, l.seq, l.ts, l.type, l.payload ->> 'node' as node, (l.payload -> 'attempt')::int as attempt,
          l.type in ('step.succeeded', 'step.reused') or l.type = 'step.failed' and not l.payload ? 'retryAt' as is_end,
          l.payload ->> 'port' = 'timeout' or l.payload #>> '{error,code}' = 'WAIT_TIMEOUT' as is_timeout,
          case when l.type = 'step.waiting' then l.payload ->> 'kind' end as waits_for,
          case when l.type = 'step.waiting' then (l.payload ->> 'until')::timestamptz end as until
        from public.workflow_events as l
        where l.ts >= p_since
          and l.run_id >= private.first_run(p_since)
          and l.type like 'step.%'
      ) as e
      window known as (partition by e.run_id, e.node order by e.seq)
    )
    select i.invariant, s.run_id, to_jsonb(s)
    from step as s
    cross join lateral (values
      ('I4 a step ends at most once', s.is_end and s.ends > 1),
      ('I7 a result carries the attempt that was begun last', s.attempt < s.begun),
      ('I8 a timer never fires early', s.is_end and s.ts < s.until and (s.waits_for = 'time' or s.is_timeout))
    ) as i (invariant, is_broken)
    where i.is_broken;
end
$$;

-- The tick of a schedule is the run's idempotency key; that key is gone after a week, the log is not.
create or replace function private.doubled_ticks(p_since timestamptz)
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    select 'I8 a tick of a schedule starts at most one run'::text, max(e.run_id::text)::uuid, jsonb_build_object(
      'workflow', e.payload -> 'workflowId', 'tick', e.payload #> '{input,scheduledAt}', 'runs', count(*)
    )
    from public.workflow_events as e
    where e.ts >= p_since
      and e.run_id >= private.first_run(p_since)
      and e.type = 'run.created'
      and e.payload -> 'mode' = '"schedule"'
    group by e.payload -> 'workflowId', e.payload -> 'trigger', e.payload #> '{input,scheduledAt}'
    having count(*) > 1;
end
$$;

create or replace function monitor.broken_logs(since timestamptz default '-infinity')
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.broken_sequences(since)
  union all
  select * from private.broken_steps(since)
  union all
  select * from private.doubled_ticks(since)
$$;
comment on function monitor.broken_logs(timestamptz) is
  'Runs whose log breaks a rule that always holds. Reads every event of the runs that started since then: minutes for all of a large database. Example: select * from monitor.broken_logs(now() - interval ''1 hour'')';

grant execute on function monitor.broken_logs(timestamptz) to flowgres_dba, flowgres_monitor;
--! EndIncluded 90_monitor/broken_logs.sql
--! Included 90_monitor/stuck_runs.sql
-- kind: code
-- Unfinished runs that nothing would move, and what is held by nobody: I5 and I6 of docs/invariants.md. They read the
-- working set only: runs that are not finished, steps that are open, jobs that are locked. The clock is asked once.

create or replace function monitor.stuck_runs()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select 'I5 an unfinished run has something that moves it on', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and not exists (select from engine.open_steps as s where s.run_id = r.id)
    and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
  union all
  select 'I6 a slot of a concurrency limit is held by an unfinished run', f.run_id, to_jsonb(f)
  from engine.flow_runs as f
  where not f.is_held
    and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
  union all
  select 'I5 the status of an unfinished run follows from its open steps', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and r.status <> (
      select case when bool_and(s.state = 'waiting') then 'waiting' else 'running' end
      from engine.open_steps as s
      where s.run_id = r.id
      having count(*) > 0
    )
  union all
  select 'I6 a finished run has no open step', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  join public.workflow_runs as r on r.id = s.run_id
  where r.finished_at is not null
  union all
  select 'I5 a child ends soon after the parent that waits for it', c.id, jsonb_build_object('parent', p.id)
  from public.workflow_runs as c
  join public.workflow_runs as p on p.id = c.parent_run_id
  where c.finished_at is null
    and c.parent_index is not null
    and p.finished_at < (select engine.now()) - interval '2 minutes'
  union all
  select 'I5 nothing waits for longer than two minutes after its time', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where coalesce(s.lease_until, s.run_at) < (select engine.now()) - interval '2 minutes'
    and exists (select from public.workflow_runs as r where r.id = s.run_id and r.status <> 'paused')
  union all
  select 'I6 the attempt that runs is the one that the log has begun last', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where s.state = 'running'
    and s.attempt <> engine.last_attempt(s.run_id, s.node)
  union all
  -- By the clock of the queue, which sets its locks.
  select 'I6 no job is held by a worker that has been gone for a minute', (j.payload ->> 'runId')::uuid, to_jsonb(j)
  from graphile_worker._private_jobs as j
  where j.locked_at < now() - interval '1 minute'
    and not exists (
      select
      from engine.workers as w
      where w.pool_id = j.locked_by
        and w.seen_at > (select engine.now()) - interval '1 minute'
    )
$$;
comment on function monitor.stuck_runs() is
  'Unfinished runs that nothing would move. Cheap: it reads unfinished runs only. Example: select * from monitor.stuck_runs()';

grant execute on function monitor.stuck_runs() to flowgres_dba, flowgres_monitor;
--! EndIncluded 90_monitor/stuck_runs.sql
--! Included 90_monitor/projections.sql
-- kind: code
-- Rows of runs against their logs: I3 and I9 of docs/invariants.md.

create or replace function monitor.wrong_projections(since timestamptz default '-infinity')
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    with last as (
      select distinct on (e.run_id) e.run_id, e.type, e.ts
      from public.workflow_events as e
      where e.ts >= since
        and e.run_id >= private.first_run(since)
      order by e.run_id, e.seq desc
    )
    select
      case when l.run_id is null then 'I9 a run has events' else 'I3 the row of a run agrees with its log' end,
      r.id, jsonb_build_object('status', r.status, 'last', l.type)
    from public.workflow_runs as r
    left join last as l on l.run_id = r.id
    where r.id >= private.first_run(since)
      and (
        l.run_id is null
        or (r.status, r.finished_at) is distinct from (
          case l.type
            when 'run.succeeded' then 'success'
            when 'run.failed' then 'error'
            when 'run.canceled' then 'canceled'
            else case when r.finished_at is null then r.status end
          end,
          case when l.type in ('run.succeeded', 'run.failed', 'run.canceled') then l.ts end
        )
      );
end
$$;
comment on function monitor.wrong_projections(timestamptz) is
  'Runs that started since then and whose row disagrees with their log. Example: select * from monitor.wrong_projections(now() - interval ''1 hour'')';

grant execute on function monitor.wrong_projections(timestamptz) to flowgres_dba, flowgres_monitor;
--! EndIncluded 90_monitor/projections.sql
--! Included 90_monitor/references.sql
-- kind: code
-- References that no foreign key keeps, as what they refer to may leave earlier: I1 and I11 of docs/invariants.md.

create or replace function monitor.wrong_references(since timestamptz default '-infinity')
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    -- A key lives for a week, whoever used it first.
    select
      case
        when r.id is null then 'I1 an accepted start has a run'
        else 'I11 the key of a start is of its run''s organization'
      end,
      k.run_id, to_jsonb(k) - 'request_hash'
    from engine.start_keys as k
    left join public.workflow_runs as r on r.id = k.run_id
    where k.expires_at >= since + interval '7 days'
      and r.organization_id is distinct from k.organization_id
    union all
    select 'I1 a run was started under one key', k.run_id, jsonb_build_object('keys', array_agg(k.key))
    from engine.start_keys as k
    where k.expires_at >= since + interval '7 days'
    group by k.run_id
    having count(*) > 1
    union all
    select 'I11 a parent and its child belong to one organization', c.id, jsonb_build_object('parent', p.id)
    from public.workflow_runs as c
    join public.workflow_runs as p on p.id = c.parent_run_id and p.organization_id <> c.organization_id
    where c.id >= private.first_run(since)
    union all
    select 'I11 a run and the one that it repeats belong to one organization', r.id, jsonb_build_object('of', o.id)
    from public.workflow_runs as r
    join public.workflow_runs as o on o.id = r.retry_of and o.organization_id <> r.organization_id
    where r.id >= private.first_run(since)
    union all
    select 'I11 a place in the queue of a workflow is of its run''s organization', f.run_id, to_jsonb(f)
    from engine.flow_runs as f
    join public.workflow_runs as r on r.id = f.run_id and r.organization_id <> f.organization_id;
end
$$;
comment on function monitor.wrong_references(timestamptz) is
  'Accepted starts without a run, and runs that refer to something of another organization, of runs that started since then. Example: select * from monitor.wrong_references(now() - interval ''1 hour'')';

grant execute on function monitor.wrong_references(timestamptz) to flowgres_dba, flowgres_monitor;
--! EndIncluded 90_monitor/references.sql
--! Included 90_monitor/invariants.sql
-- kind: code
-- What must hold at every moment, as queries that find the runs for which it does not. Zero rows is health.

-- A cheap part of what partitions.doctor() says: what would refuse runs now, or show them to another organization.
create or replace function monitor.broken_partitions()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because monitors do not own the tables
  set search_path = pg_catalog, pg_temp
as $$
  with clock as materialized (
    select engine.now() as at
  ),
  leaf as (
    select p.parent, o.name, o.partition, o.lower, o.upper
    from partitions.policies as p
    cross join lateral partitions.of(p.parent) as o
  )
  select 'I10 there is a partition for now', null::uuid, jsonb_build_object('table', p.parent::text)
  from partitions.policies as p
  cross join clock
  where not exists (
    select from leaf as l where l.parent = p.parent and l.lower <= clock.at and l.upper > clock.at
  )
  union all
  select 'I10 no partition is a default partition', null, jsonb_build_object('partition', l.partition::text)
  from leaf as l
  where l.lower is null
  union all
  select
    'I10 a partition has the row-level security of its table', null,
    jsonb_build_object('partition', l.partition::text)
  from leaf as l
  join pg_class as p on p.oid = l.parent and p.relrowsecurity
  join pg_class as c on c.oid = l.partition and not c.relrowsecurity
$$;
comment on function monitor.broken_partitions() is
  'Managed tables without a partition for now, with a default partition, or with one that lacks their row-level security; partitions.doctor() says more. Example: select * from monitor.broken_partitions()';

create or replace function monitor.invariants(since timestamptz default '-infinity')
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select * from monitor.broken_logs(since)
  union all
  select * from monitor.stuck_runs()
  union all
  select * from monitor.wrong_projections(since)
  union all
  select * from monitor.wrong_references(since)
  union all
  select * from monitor.broken_partitions()
$$;
comment on function monitor.invariants(timestamptz) is
  'Everything that must always hold, and where it does not: the rule with its number in docs/invariants.md, the run, the facts. No row is health. Of finished runs only those that started since then. Example: select * from monitor.invariants(now() - interval ''1 hour'')';

grant execute on function monitor.broken_partitions(), monitor.invariants(timestamptz)
  to flowgres_dba, flowgres_monitor;
--! EndIncluded 90_monitor/invariants.sql
--! Included 95_api/workflows.sql
-- kind: code
-- Drafts. Every change locks the workflow first; publishing is in publish.sql.

create or replace function private.lock_workflow(p_id uuid)
  returns public.workflows
  language plpgsql
  volatile
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows as w where w.id = p_id;
  perform private.require_access(v_workflow.organization_id, 'workflows:write', 'workflow');
  select w.* into strict v_workflow from public.workflows as w where w.id = p_id for no key update;
  return v_workflow;
end
$$;
comment on function private.lock_workflow(uuid) is
  'The workflow that a command changes, locked. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function private.check_draft(p_name text, p_description text, p_definition jsonb)
  returns void
  language plpgsql
  immutable
as $$
begin
  if btrim(p_name) = '' or length(p_name) > 200 then
    perform private.raise_error('VALIDATION_FAILED', 'A name has 1 to 200 characters.', null, '{"field": "name"}');
  elsif length(p_description) > 5000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A description has at most 5,000 characters.', null, '{"field": "description"}'
    );
  elsif jsonb_typeof(p_definition) <> 'object' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A definition is an object: {"nodes": [], "connections": []}.',
      null,
      '{"field": "definition"}'
    );
  elsif octet_length(p_definition::text) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'A definition is at most 1 MiB.');
  end if;
end
$$;
comment on function private.check_draft(text, text, jsonb) is
  'What even a draft must keep to; nulls pass. Raises VALIDATION_FAILED, TOO_LARGE.';

-- Each tag once, in order, without the space around it.
create or replace function private.clean_tags(p_tags text[])
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_tags constant text[] := array(select distinct btrim(t.tag) from unnest(p_tags) as t (tag) order by 1);
begin
  if not private.are_tags(v_tags) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A workflow has at most 20 tags, each of 1 to 50 characters.', null, '{"field": "tags"}'
    );
  end if;
  return v_tags;
end
$$;

create or replace function public.create_workflow(
  name text,
  definition jsonb,
  description text default null,
  tags text[] default null
)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_workflow public.workflows;
begin
  perform private.require_scope('workflows:write');
  perform private.check_draft(coalesce(name, ''), description, coalesce(definition, 'null'));
  perform private.admit(v_organization_id, 'workflows');
  insert into public.workflows (organization_id, name, description, definition, created_by, tags)
  values (
    v_organization_id, create_workflow.name, create_workflow.description, create_workflow.definition,
    public.current_user_id(), private.clean_tags(create_workflow.tags)
  )
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.create_workflow(text, jsonb, text, text[]) is
  'Creates a workflow with a draft, which may still be invalid: publish_workflow checks it. tags: at most 20 of at most 50 characters. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (a definition above 1 MiB), LIMIT_REACHED (workflows). Example: select id from create_workflow(''Orders'', ''{"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}'');';

create or replace function public.save_workflow(
  id uuid,
  definition jsonb,
  expected_revision int,
  name text default null,
  description text default null,
  tags text[] default null
)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  perform private.check_draft(name, description, coalesce(definition, 'null'));
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  elsif v_workflow.revision is distinct from expected_revision then
    perform private.raise_error(
      'CONFLICT',
      format('The draft is at revision %s.', v_workflow.revision),
      'Somebody else saved it: read it again, merge and save with its revision.',
      jsonb_build_object('revision', v_workflow.revision)
    );
  end if;
  update public.workflows as w
  set
    definition = save_workflow.definition,
    name = coalesce(save_workflow.name, w.name),
    description = coalesce(save_workflow.description, w.description),
    tags = case when save_workflow.tags is null then w.tags else private.clean_tags(save_workflow.tags) end,
    revision = w.revision + 1,
    updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.save_workflow(uuid, jsonb, int, text, text, text[]) is
  'Replaces the draft; name, description and tags stay when not given. expected_revision is the revision that the change is based on. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (another revision, with the current one in details; or archived), VALIDATION_FAILED, TOO_LARGE, LIMIT_REACHED (beyond the plan: read-only). Example: select revision from save_workflow(''0190…'', ''{"nodes": [], "connections": []}'', 3);';

create or replace function public.archive_workflow(id uuid)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.archived_at is null then
    perform engine.unregister_webhooks(v_workflow.organization_id, v_workflow.id);
    perform engine.unregister_schedules(v_workflow.organization_id, v_workflow.id);
    update public.workflows as w
    set archived_at = engine.now(), published_version = null, updated_at = now()
    where w.id = v_workflow.id
    returning * into v_workflow;
  end if;
  return v_workflow;
end
$$;
comment on function public.archive_workflow(uuid) is
  'Unpublishes a workflow for good; its versions and runs stay readable, unfinished runs go on. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select archived_at from archive_workflow(''0190…'');';

create or replace function public.assign_workflow(id uuid, team uuid default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.team_id is distinct from team and team is not null and v_workflow.archived_at is null then
    perform private.admit(v_workflow.organization_id, 'workflows', p_team_id => team);
  end if;
  update public.workflows as w
  set team_id = assign_workflow.team, updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
exception
  when foreign_key_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
    return null;
end
$$;
comment on function public.assign_workflow(uuid, uuid) is
  'Says which team looks after a workflow; null or left out: none. Every member of the organization still sees it. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or the team), LIMIT_REACHED (the team''s workflows). Example: select team_id from assign_workflow(''0190…'', ''0191…'');';

grant execute on function
  public.assign_workflow(uuid, uuid),
  public.create_workflow(text, jsonb, text, text[]),
  public.save_workflow(uuid, jsonb, int, text, text, text[]),
  public.archive_workflow(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/workflows.sql
--! Included 95_api/templates.sql
-- kind: code
-- Templates are workflows that may be copied: by their own organization, or by everybody. A copy is a new draft that
-- has nothing to do with its template any more.

-- What is copied: never what belongs to the organization, its credentials and the data that was pinned for tests.
create or replace function private.template_definition(p_workflow public.workflows)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_set(d.definition, '{nodes}', coalesce(
    (
      select jsonb_agg(
        case jsonb_typeof(n.node) when 'object' then n.node - 'credentials' - 'pin' else n.node end order by n.place
      )
      from jsonb_path_query(d.definition, 'lax $.nodes[*]') with ordinality as n (node, place)
    ),
    '[]'
  ))
  from (
    select coalesce(
      (
        select v.definition
        from public.workflow_versions as v
        where v.organization_id = p_workflow.organization_id
          and v.workflow_id = p_workflow.id
          and v.version = p_workflow.published_version
      ),
      p_workflow.definition
    ) as definition
  ) as d
$$;

create or replace function public.set_template(id uuid, template text default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if template not in ('organization', 'public') then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A template is for the organization, or public.', null, '{"field": "template"}'
    );
  elsif template = 'public' and not private.is_dba() then
    perform private.raise_error('FORBIDDEN', 'Only a DBA makes a template public.');
  end if;
  update public.workflows as w
  set template = set_template.template, updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.set_template(uuid, text) is
  'Makes a workflow a template: organization, for its members, or public, for everybody (a DBA without a context only); null or left out makes it none again. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select template from set_template(''0190…'', ''organization'');';

create or replace function public.workflow_templates()
  returns setof public.workflow_template
  language plpgsql
  stable
  security definer -- definer because public templates are other organizations' rows
  set search_path = pg_catalog, pg_temp
  rows 50
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:read');
  return query
  select
    w.id, w.name, w.description, w.tags, private.template_definition(w), w.organization_id = v_organization_id
  from public.workflows as w
  where (w.template = 'public' or w.template = 'organization' and w.organization_id = v_organization_id)
    and w.archived_at is null
  order by w.organization_id = v_organization_id desc, w.name, w.id;
end
$$;
comment on function public.workflow_templates() is
  'The templates that the organization may copy: its own ones first, then the public ones, by name. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN. Example: select id, name from workflow_templates() where ''finance'' = any (tags);';

create or replace function public.copy_template(id uuid, name text default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because a public template is another organization's row
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_template public.workflows;
begin
  perform private.require_scope('workflows:write');
  select w.* into v_template
  from public.workflows as w
  where w.id = copy_template.id
    and (w.template = 'public' or w.template = 'organization' and w.organization_id = v_organization_id)
    and w.archived_at is null;
  if v_template.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such template.', 'Query workflow_templates() lists them.');
  end if;
  return public.create_workflow(
    coalesce(copy_template.name, v_template.name),
    private.template_definition(v_template),
    v_template.description,
    v_template.tags
  );
end
$$;
comment on function public.copy_template(uuid, text) is
  'A new workflow of the organization with the template''s definition, description and tags; under another name if given. Credentials and pinned outputs are not copied. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, LIMIT_REACHED (workflows). Example: select id from copy_template(''0190…'', ''Our invoices'');';

create or replace function public.export_workflow(id uuid)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows as w where w.id = export_workflow.id;
  perform private.require_access(v_workflow.organization_id, 'workflows:read', 'workflow');
  return jsonb_build_object(
    'name', v_workflow.name,
    'description', v_workflow.description,
    'tags', to_jsonb(v_workflow.tags),
    'definition', v_workflow.definition
  );
end
$$;
comment on function public.export_workflow(uuid) is
  'The draft as a document, {"name", "description", "tags", "definition"}: the arguments of create_workflow. Credentials are in it by name only. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select export_workflow(''0190…'');';

grant execute on function
  public.set_template(uuid, text),
  public.workflow_templates(),
  public.copy_template(uuid, text),
  public.export_workflow(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/templates.sql
--! Included 95_api/runs.sql
-- kind: code
-- Commands on runs. The engine does the work; here it is decided for which organization and with which right.

-- The organization of a run that a request may touch.
create or replace function private.require_run(p_run uuid, p_scope text)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_organization_id uuid;
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = p_run;
  perform private.require_access(v_organization_id, p_scope, 'run');
  return v_organization_id;
end
$$;
comment on function private.require_run(uuid, text) is
  'The organization of a run that the request may touch. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.start_workflow_run(
  workflow uuid,
  input jsonb default '{}',
  idempotency_key text default null,
  priority int default null,
  metadata jsonb default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid;
  v_answer record;
  v_run public.workflow_runs;
begin
  select w.organization_id into v_organization_id from public.workflows as w where w.id = start_workflow_run.workflow;
  perform private.require_access(v_organization_id, 'runs:write', 'workflow');
  select a.run_id, a.error into v_answer
  from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', v_organization_id,
    'workflowId', workflow,
    'mode', 'api',
    'input', coalesce(input, '{}'),
    'key', idempotency_key,
    'priority', priority,
    'metadata', metadata,
    'startedBy', public.current_user_id()
  ))) as a;
  if v_answer.run_id is null then
    perform private.raise_error(
      v_answer.error ->> 'code',
      v_answer.error ->> 'message',
      v_answer.error ->> 'hint',
      coalesce(v_answer.error -> 'details', '{}')
    );
  end if;
  select r.* into v_run from public.workflow_runs as r where r.id = v_answer.run_id;
  return v_run;
end
$$;
comment on function public.start_workflow_run(uuid, jsonb, text, int, jsonb) is
  'Starts a run of the published version. It is durable when this returns; a workflow of pure nodes is finished by then, with its result in output. The same idempotency_key (at most 256 characters, kept 7 days) with the same input returns the same run. priority, from -1000 to 1000, replaces that of the workflow: lower begins earlier. metadata: an object of free facts, to find the run by. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, NOT_PUBLISHED, CONFLICT (the key was used with another input), TOO_LARGE (an input above 1 MiB, metadata above 64 KiB), INVALID_ARGUMENT. Example: select id, status from start_workflow_run(''0190…'', ''{"total": 120}'', ''order-17'', metadata => ''{"customer": 42}'');';

create or replace function public.cancel_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.cancel_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.cancel_run(uuid, text) is
  'Ends a run at once; a running effect is told within 5 seconds, and what it still answers is not recorded. A run that has ended stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from cancel_run(''0190…'', ''wrong customer'');';

create or replace function public.verify_run(run uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because it replays with the engine's own functions
  set search_path = pg_catalog, pg_temp
  rows 1
as $$
begin
  perform private.require_run(run, 'runs:read');
  return query select v.seq, v.problem, v.recorded, v.computed from engine.verify_run(run) as v;
end
$$;
comment on function public.verify_run(uuid) is
  'Replays a run from its log and returns where the engine would decide differently today: no row when the log is whole. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from verify_run(''0190…'');';

grant execute on function
  public.start_workflow_run(uuid, jsonb, text, int, jsonb),
  public.cancel_run(uuid, text),
  public.verify_run(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/runs.sql
--! Included 95_api/run_commands.sql
-- kind: code
-- Pausing, resuming, retrying and forking runs.

create or replace function public.pause_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.pause_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.pause_run(uuid, text) is
  'Begins nothing new in a run until resume_run. Attempts that run finish and are recorded; timers and signals are kept; the deadline goes on. A run that is paused or has ended stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from pause_run(''0190…'', ''the peer is down'');';

create or replace function public.resume_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.resume_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.resume_run(uuid, text) is
  'Lets a paused run go on: with what has finished in the pause, and at once with timers whose time came in it. A run that is not paused stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from resume_run(''0190…'');';

create or replace function public.retry_run(run uuid, from_node text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.retry_run(run, from_node, public.current_user_id());
end
$$;
comment on function public.retry_run(uuid, text) is
  'Starts a new run, which it returns, that does again what a failed or canceled run did not finish, or from_node and all that comes after it; steps that were finished are taken over, not executed. Version and input are the same, variables are those of now; the same are idempotency keys sent to peers of steps that never succeeded. A run is retried once: calling it again returns the same run; if that fails too, retry that. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (also: no such node), CONFLICT (the run is unfinished, was successful, or was started by a step of another run), EXPIRED (its log is gone), NOT_PUBLISHED (the workflow is archived). Example: select id, status from retry_run(''0190…'', from_node => ''charge'');';

create or replace function public.fork_run(
  run uuid,
  from_node text default null,
  input jsonb default null,
  version int default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.fork_run(run, from_node, input, version, public.current_user_id());
end
$$;
comment on function public.fork_run(uuid, text, jsonb, int) is
  'Starts a new run, which it returns, from any run, finished or not. It does again from_node and what comes after it, what had not succeeded, and what is different in another version; the other steps are taken over. Without an input it has that of the run; with another input, and no from_node, it does everything again. Without a version it stays on that of the run; variables are those of now. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (also: no such node or version), EXPIRED (its log is gone), NOT_PUBLISHED (the workflow is archived), TOO_LARGE (an input above 1 MiB). Example: select id, status from fork_run(''0190…'', input => ''{"total": 90}'', version => 3);';

grant execute on function
  public.pause_run(uuid, text),
  public.resume_run(uuid, text),
  public.retry_run(uuid, text),
  public.fork_run(uuid, text, jsonb, int)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/run_commands.sql
--! Included 95_api/run_operations.sql
-- kind: code
-- Commands on many runs. They answer at once; workers do the work, and the operation shows how far they are.

create or replace function private.run_filter_schema(p_command text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'object',
    'additionalProperties', false,
    'properties', jsonb_build_object(
      'workflowId', '{"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}'::jsonb,
      'status', jsonb_build_object('enum', case p_command
        when 'cancel' then '["waiting", "running", "paused"]'::jsonb
        else '["error", "canceled"]'
      end),
      'mode', '{"enum": ["manual", "webhook", "api", "schedule", "retry", "fork", "error", "child"]}'::jsonb,
      'startedAfter', '{"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\d"}'::jsonb,
      'startedBefore', '{"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\d"}'::jsonb,
      'errorCode', '{"type": "string"}'::jsonb,
      'metadata', '{"type": "object"}'::jsonb
    )
  )
$$;
comment on function private.run_filter_schema(text) is 'What the filter of a command on many runs may say.';

create or replace function private.command_runs(p_command text, p_filter jsonb, p_reason text)
  returns public.run_operations
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_problems jsonb;
begin
  perform private.require_scope('runs:write');
  if pg_column_size(p_filter) > 65536 then
    perform private.raise_error('TOO_LARGE', 'A filter is at most 64 KiB.');
  end if;
  select jsonb_agg(to_jsonb(p)) into v_problems
  from engine.schema_problems(coalesce(p_filter, 'null'), private.run_filter_schema(p_command)) as p;
  if v_problems is null then
    begin
      perform (p_filter ->> 'startedAfter')::timestamptz, (p_filter ->> 'startedBefore')::timestamptz;
    exception
      when data_exception then
        v_problems := jsonb_build_array(jsonb_build_object('message', sqlerrm));
    end;
  end if;
  if v_problems is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      format('The filter is not valid: %s %s', v_problems -> 0 ->> 'pointer', v_problems -> 0 ->> 'message'),
      'An empty object, {}, is every run that the command fits.',
      jsonb_build_object('problems', v_problems)
    );
  end if;
  return engine.start_operation(
    v_organization_id, p_command, p_filter || jsonb_strip_nulls(jsonb_build_object('reason', left(p_reason, 1000))),
    public.current_user_id()
  );
end
$$;
comment on function private.command_runs(text, jsonb, text) is
  'Begins a command on many runs. Raises UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE.';

create or replace function public.cancel_runs(filter jsonb, reason text default null)
  returns public.run_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs('cancel', filter, reason)
$$;
comment on function public.cancel_runs(jsonb, text) is
  'Cancels the unfinished runs that fit the filter: an object with any of workflowId, status (waiting, running or paused), mode, startedAfter, startedBefore, metadata (that they contain). Returns at once; the row in run_operations counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select id, total from cancel_runs(''{"workflowId": "0190…", "status": "waiting"}'', ''wrong import'');';

create or replace function public.retry_runs(filter jsonb)
  returns public.run_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs('retry', filter, null)
$$;
comment on function public.retry_runs(jsonb) is
  'Retries the failed runs that fit the filter and were not retried yet, as retry_run does: an object with any of workflowId, status (error, or canceled for those), mode, errorCode, startedAfter, startedBefore, metadata (that they contain). Returns at once; the row in run_operations counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select id, total from retry_runs(''{"errorCode": "HTTP_STATUS", "startedAfter": "2026-11-21"}'');';

grant execute on function public.cancel_runs(jsonb, text), public.retry_runs(jsonb) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/run_operations.sql

reset role;
