-- kind: code
-- Cuts empty future partitions anew after a change of the granularity, so that it holds from the
-- end of the current period on. The time that they cover stays covered. Drops and creates in one
-- step, all or nothing. Locks the table (access exclusive) and what foreign keys join: writers wait
-- some milliseconds per partition. Writes no rows.

-- Cuts the partitions anew, or says what it would do; returns nothing while the granularity is
-- unchanged. The caller holds the maintenance lock.
create or replace function partitions.recut(p_managed partitions.managed_tables, p_dry_run boolean)
  returns setof partitions.action
  language plpgsql
  volatile
  -- As in retire_group(): rows that refer to the table are looked up in indexes.
  set enable_hashjoin = off
  set enable_seqscan = off
  set jit = off
as $$
declare
  v_plan partitions.action[];
  v_action partitions.action;
  v_error text;
begin
  if not exists (
    select
    from partitions.maintenance as m
    where m.parent = p_managed.parent
      and m.granularity <> p_managed.granularity
  ) then
    return;
  end if;
  begin
    perform partitions.require_manageable(p_managed.parent);
    v_plan := array(select p from partitions.plan_recut(p_managed) as p);
    if v_plan <> '{}' and not p_dry_run then
      perform partitions.execute_with_lock_timeout(partitions.recut_statements(v_plan));
      foreach v_action in array v_plan loop
        if v_action.action = 'create' then
          perform partitions.add_partition(p_managed, tstzrange(v_action.lower, v_action.upper));
        end if;
      end loop;
    end if;
  exception
    when others then v_error := sqlerrm;
  end;
  return query
    select p.parent, p.partition, p.action, p.lower, p.upper, not p_dry_run and v_error is null, v_error
    from unnest(v_plan) as p;
end
$$;

-- Lists the partitions between now and the first gap, and whether each is empty.
create or replace function partitions.ahead(p_parent regclass)
  returns table (name text, span tstzrange, is_empty boolean)
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_partition record;
begin
  for v_partition in
    select o.name as partition, tstzrange(o.lower, o.upper) as span
    from unnest(partitions.covered(p_parent)) as covered
    join partitions.of(p_parent) as o on o.lower > v_now and o.upper <= upper(covered)
    where covered @> v_now
      and not o.detaching
    order by o.lower
  loop
    name := v_partition.partition;
    span := v_partition.span;
    is_empty := partitions.is_empty(partitions.qualified(p_parent, name)::regclass);
    return next;
  end loop;
end
$$;

-- Says whether a table is empty. A file without a page is, whatever this transaction sees.
-- Otherwise the transaction must see what was committed until now: under repeatable read and above,
-- such a table counts as not empty.
create or replace function partitions.is_empty(p_table regclass)
  returns boolean
  language plpgsql
  volatile
as $$
declare
  v_query constant text := format('select not exists (select from %s)', p_table);
  v_is_empty boolean := pg_relation_size(p_table) = 0;
begin
  if not v_is_empty and current_setting('transaction_isolation') in ('read committed', 'read uncommitted') then
    execute v_query into v_is_empty;
  end if;
  return v_is_empty;
end
$$;

-- Raises CONFLICT when a table has got rows.
create or replace function partitions.require_empty(p_table regclass)
  returns void
  language plpgsql
  volatile
as $$
begin
  if not partitions.is_empty(p_table) then
    perform private.raise_error(
      'CONFLICT', format('%s has got rows meanwhile.', p_table), 'The next maintenance goes on.'
    );
  end if;
end
$$;

-- Lists what is to be dropped (`recut`) and created (`create`). Cuts each stretch of empty
-- partitions at the calendar's periods. The last stretch may grow up to the wanted end, so that
-- longer periods are whole, and ends after recut_limit() periods or the wanted end, so that a year
-- does not become 365 partitions at once.
create or replace function partitions.plan_recut(p_managed partitions.managed_tables)
  returns setof partitions.action
  language sql
  volatile
as $$
  with ahead as materialized (
    select a.* from partitions.ahead(p_managed.parent) as a
  ),
  bare as (
    select coalesce(range_agg(a.span) filter (where a.is_empty), '{}') as spans from ahead as a
  ),
  cut as (
    select piece as span,
      row_number() over (order by piece) <= partitions.recut_limit()
        or lower(piece) < upper(partitions.wanted(p_managed))
        or exists (select from ahead as a where not a.is_empty and a.span >> piece) as is_kept
    from bare
    cross join lateral unnest(bare.spans) as stretch
    cross join lateral unnest(
      tstzmultirange(tstzrange(lower(stretch), greatest(upper(stretch), upper(partitions.wanted(p_managed)))))
        - (partitions.covered(p_managed.parent) - bare.spans)
    ) as free
    cross join lateral partitions.split(p_managed.granularity, free) as piece
    where free @> lower(stretch)
  ),
  tile as materialized (
    select c.span from cut as c where c.is_kept
  ),
  misfit as materialized (
    select a.name, a.span from ahead as a where a.is_empty and a.span not in (select t.span from tile as t)
  )
  select p_managed.parent, m.name, 'recut', lower(m.span), upper(m.span), false, null
  from misfit as m
  union all
  select p_managed.parent, partitions.partition_name(c.relname, p_managed.granularity, t.span), 'create',
    lower(t.span), upper(t.span), false, null
  from tile as t
  join pg_class as c on c.oid = p_managed.parent
  where exists (select from misfit as m where m.span && t.span)
$$;

-- Returns the statements that drop the partitions to recut. The table is locked before they are
-- checked to be empty.
create or replace function partitions.recut_statements(p_plan partitions.action[])
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('select partitions.lock_to_detach(array[%L::regclass])', p_plan[1].parent),
    format('lock table only %s in access exclusive mode', p_plan[1].parent),
    string_agg(
      concat_ws('; ',
        format('select partitions.require_empty(%L)', partitions.qualified(a.parent, a.partition)),
        partitions.detach_statements(
          (a.parent, a.partition, 'drop', a.lower, a.upper, false, null)::partitions.action, true
        )),
      '; ' order by a.lower)
  )
  from unnest(p_plan) as a
  where a.action = 'recut'
$$;
