-- kind: code
-- Finds the archives of a period and drops their tables once a file holds the same rows. Deletes
-- from partitions.archives; locks each table it drops, in attempts of 200 ms.

-- Lists the archived tables of the period that holds a time, of a table and those that retire with
-- it, in the order in which they are restored.
create or replace function partitions.archived_tables(p_parent regclass, p_at timestamptz)
  returns setof partitions.archives
  language sql
  stable
as $$
  select a.*
  from (
    select a.lower, a.upper
    from partitions.archives as a
    where a.parent = p_parent
      and a.content = 'partition'
    union all
    -- The leading table's partition may be attached while others of its group are archived.
    select o.lower, o.upper from partitions.of(p_parent) as o
  ) as period
  join partitions.archives as a on a.upper > period.lower and a.upper <= period.upper
  left join partitions.managed_tables as p on p.parent = a.parent
  where p_at >= period.lower
    and p_at < period.upper
    and p_parent in (a.parent, p.retire_with)
    and a.kind = 'table'
    and a.state = 'archived'
  group by a.parent, a.lower, a.content, a.kind
  order by a.content = 'late', a.parent <> p_parent, a.parent::text, a.lower
$$;

create or replace function partitions.archived_periods()
  returns table (parent regclass, name text, lower timestamptz, upper timestamptz)
  language sql
  stable
  security definer -- definer because DBAs look at archives without owning them
  set search_path = pg_catalog, pg_temp
as $$
  select a.parent, a.name, a.lower, a.upper
  from partitions.archives as a
  left join partitions.managed_tables as p on p.parent = a.parent
  where a.kind = 'table'
    and a.state = 'archived'
    and a.content = 'partition'
    and not exists (
      select
      from partitions.archived_tables(p.retire_with, a.upper - interval '1 microsecond') as t
      where t.parent = p.retire_with
    )
  order by a.lower, a.parent::text
$$;
comment on function partitions.archived_periods() is
  'Lists the periods that have tables in schema partitions, each once, under the table that the others retire with. Example: select * from partitions.archived_periods()';

create or replace function partitions.drop_archive(parent regclass, at timestamptz, for_good boolean default false)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs drop archives without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_tables constant partitions.archives[] := array(
    select a from partitions.archived_tables(drop_archive.parent, drop_archive.at) as a
  );
  v_only text;
begin
  select a.location into v_only
  from unnest(v_tables) as a
  where not exists (
    select
    from partitions.archives as f
    where f.parent = a.parent
      and f.lower = a.lower
      and f.content = a.content
      and f.kind <> 'table'
      and f.sha256 = a.sha256
  )
  limit 1;
  if found and drop_archive.for_good is not true then
    perform private.raise_error('CONFLICT', format('The rows of %s are nowhere else.', v_only),
      'Write them to a file first: flowgres archive --to <folder>. Or delete them: for_good => true.');
  end if;
  perform partitions.execute_with_lock_timeout(format('drop table if exists partitions.%I', a.name))
  from unnest(v_tables) as a;
  return query
    delete from partitions.archives as a
    using unnest(v_tables) as t
    where a.parent = t.parent
      and a.lower = t.lower
      and a.content = t.content
      and a.kind = t.kind
    returning a.parent, a.name, 'drop', a.lower, a.upper, true, null;
end
$$;
comment on function partitions.drop_archive(regclass, timestamptz, boolean) is
  'Drops the archived tables of a period, with those that were retired with it. Error: CONFLICT, while no file is known to hold the same rows, unless for_good is true. Example: select * from partitions.drop_archive(''public.workflow_runs'', ''2025-01-01'')';

-- Reports archives without their table, and those that were not sealed within two days, to the
-- doctor.
create or replace function partitions.check_archives(p_managed partitions.managed_tables)
  returns setof partitions.finding
  language sql
  volatile
as $$
  select p_managed.parent, 'archive', 'critical', format('The archived table %s is gone.', a.location),
    format('delete from partitions.archives where kind = %L and name = %L', a.kind, a.name)
  from partitions.archives as a
  where a.parent = p_managed.parent
    and a.kind = 'table'
    and a.state = 'archived'
    and partitions.table_of(a) is null
  union all
  select p_managed.parent, 'archive', 'warning', format('%s left two days ago and is not sealed.', a.location),
    'select * from partitions.seal_archives()'
  from partitions.archives as a
  where a.parent = p_managed.parent
    and a.kind = 'table'
    and a.state = 'archived'
    and a.sha256 is null
    and a.archived_at < engine.now() - interval '2 days'
$$;

grant execute on function partitions.archived_periods(), partitions.drop_archive(regclass, timestamptz, boolean)
  to flowgres_dba;
