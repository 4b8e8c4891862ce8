-- kind: code
-- Archives one named period of a table, whatever its retention, with the partitions that are
-- retired with it; retire() archives periods by age. Writes partitions.archives,
-- partitions.retirements and late events. Holds the maintenance locks of the tables, then locks
-- them as partitions.retire_group() does. Order: docs/reference/locks.md.

create or replace function partitions.archive(parent regclass, at timestamptz)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs archive partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_managed constant partitions.managed_tables := partitions.require_managed(archive.parent);
  v_progress text;
  v_group partitions.action[];
begin
  select t.detail into v_progress
  from partitions.acquire_maintenance_lock(array(
    select p.parent from partitions.managed_tables as p where v_managed.parent in (p.parent, p.retire_with)
  )) as t;
  if found then
    perform private.raise_error('CONFLICT', v_progress, 'Try again when it is done.');
  end if;
  return query
    select d.*
    from partitions.managed_tables as p
    cross join lateral partitions.finish_retirements(p.parent) as d
    where v_managed.parent in (p.parent, p.retire_with);
  v_group := partitions.archivable_group(v_managed, archive.at);
  if v_group <> '{}' then
    perform partitions.clear_late_events(v_group[cardinality(v_group)]);
    return query select g.* from unnest(partitions.retire_group(v_group)) as g;
  end if;
end
$$;
comment on function partitions.archive(regclass, timestamptz) is
  'Moves the partition that holds a time to schema partitions, with those of the tables that retire with this one, and the rows of later partitions that belong to it; nothing is lost, and only those rows are copied. If it is archived already, nothing happens; a partition whose locks were not available is a row that is not done. Errors: NOT_FOUND (no managed table, no partition), INVALID_ARGUMENT (null, or the period is not over), CONFLICT (the period must be kept: the message says why; or another session maintains the table). Example: select * from partitions.archive(''public.workflow_runs'', ''2025-01-01'')';

create or replace function partitions.archive_concurrently(parent regclass, at timestamptz)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_managed constant partitions.managed_tables := partitions.require_managed(archive_concurrently.parent);
  v_parents constant regclass[] := array(
    select p.parent from partitions.managed_tables as p where v_managed.parent in (p.parent, p.retire_with)
  );
begin
  perform partitions.acquire_session_maintenance_lock(v_parents);
  -- Retirements that are under way are finished first; archive() does the rest.
  if not exists (select from partitions.retirements as d where d.parent = any (v_parents)) then
    return query
      select partitions.concurrent_statement(g)
      from unnest(partitions.archivable_group(v_managed, archive_concurrently.at)) as g;
  end if;
  return query select partitions.last_statements(v_parents, array[
    format('select * from partitions.archive(%L, %L)', v_managed.parent, archive_concurrently.at)
  ]);
end
$$;
comment on function partitions.archive_concurrently(regclass, timestamptz) is
  'Returns what archive() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner; see retire_concurrently(). Errors as of archive(). Example, in psql: set role flowgres_owner; select partitions.archive_concurrently(''public.workflow_runs'', ''2025-01-01'') \gexec';

-- Returns the partition that holds a time and those that are retired with it, in the order of
-- retirement; none when they are archived already.
create or replace function partitions.archivable_group(p_managed partitions.managed_tables, p_at timestamptz)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_partition record;
  v_group partitions.action[];
  v_reason text;
begin
  perform partitions.require_time(p_managed.key_kind, p_at);
  select o.* into v_partition
  from partitions.of(p_managed.parent) as o
  where p_at >= o.lower
    and p_at < o.upper;
  if not found then
    perform partitions.require_archived(p_managed.parent, p_at);
    return '{}';
  elsif v_partition.upper > engine.now() then
    perform private.raise_error('INVALID_ARGUMENT',
      format('%s ends on %s and cannot be archived before.', v_partition.name,
        to_char(v_partition.upper at time zone 'UTC', 'YYYY-MM-DD')),
      'Name a period that is over.');
  end if;
  perform partitions.end_hold(p_managed.parent, v_partition.lower, v_partition.upper);
  v_reason := partitions.hold_reason(p_managed, v_partition.lower, v_partition.upper);
  v_group := partitions.period_group(p_managed, (
    p_managed.parent, v_partition.name, case when v_reason is null then 'archive' else 'keep' end,
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

-- Ends the hold on a restored period: whoever archives it by name needs it no longer.
create or replace function partitions.end_hold(p_parent regclass, p_lower timestamptz, p_upper timestamptz)
  returns void
  language sql
  volatile
as $$
  update partitions.archives as a set kept_until = engine.now()
  from partitions.managed_tables as p
  where p.parent = a.parent
    and p_parent in (p.parent, p.retire_with)
    and a.upper > p_lower
    and a.upper <= p_upper
    and a.kept_until > engine.now()
$$;

-- Raises NOT_FOUND when there is no archive for a time either.
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
      format('To list both: select * from partitions.of(%L); select * from partitions.archives', p_parent));
  end if;
end
$$;

grant execute on function partitions.archive(regclass, timestamptz) to flowgres_dba;
