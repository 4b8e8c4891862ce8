-- kind: code
-- Functions on the partitions of the log, under the names that docs/how-to/event-partitioning.md
-- documents. Schema partitions does the work and takes the locks.

create or replace function public.create_workflow_events_partition(at timestamptz)
  returns text
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.create('public.workflow_events', at)
$$;
comment on function public.create_workflow_events_partition(timestamptz) is
  'Creates the partition of workflow_events for the UTC month of a moment, unless it exists, and returns its name. Errors: INVALID_ARGUMENT (null, infinity, year 9999), CONFLICT (another table has the name, or a lock was not free in time). Example: select create_workflow_events_partition(now() + interval ''1 month'')';

create or replace function public.create_workflow_events_partition(month timestamp)
  returns text
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.create('public.workflow_events', month at time zone 'UTC')
$$;
comment on function public.create_workflow_events_partition(timestamp) is
  'The same for a timestamp without time zone, which is read as UTC. Example: select create_workflow_events_partition(current_date + interval ''1 month'')';

create or replace function public.create_workflow_events_partition(month date)
  returns text
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.create('public.workflow_events', month::timestamp at time zone 'UTC')
$$;
comment on function public.create_workflow_events_partition(date) is
  'The same for a day of the UTC calendar. Example: select create_workflow_events_partition(''2025-06-01''::date)';

-- Creates partitions of runs and logs as well, because an event cannot be written without its run.
create or replace function public.maintain_workflow_events_partitions()
  returns int
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_action partitions.action;
  v_created int := 0;
begin
  for v_action in
    select m.*
    from unnest('{public.workflow_runs, public.workflow_events, public.workflow_run_logs}'::regclass[]) as parent
    cross join lateral partitions.maintain(parent) as m
  loop
    if not v_action.done and v_action.action <> 'skip' then
      raise warning 'Partition %: %', coalesce(v_action.partition, v_action.parent::text), v_action.detail;
    elsif v_action.action = 'create' and v_action.parent = 'public.workflow_events'::regclass then
      v_created := v_created + 1;
    end if;
  end loop;
  return v_created;
end
$$;
comment on function public.maintain_workflow_events_partitions() is
  'Creates the missing partitions of workflow_events from two months back to three ahead, and those of runs and logs; returns how many of workflow_events it created. What fails raises a warning and is tried again by the next call. Example: select maintain_workflow_events_partitions()';

create or replace function public.drop_old_workflow_events_partitions(retention_months int default 12)
  returns int
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_action partitions.action;
  v_dropped int := 0;
begin
  for v_action in
    select r.*
    from coalesce(make_interval(months => retention_months), interval '0') as age
    cross join lateral partitions.retire('public.workflow_events', age) as r
  loop
    if v_action.done then
      v_dropped := v_dropped + 1;
    else
      raise warning 'Partition % stays: %', coalesce(v_action.partition, v_action.parent::text), v_action.detail;
    end if;
  end loop;
  return v_dropped;
end
$$;
comment on function public.drop_old_workflow_events_partitions(int) is
  'Drops the partitions of workflow_events that ended more than retention_months ago and returns how many; their runs stay, without events. A partition with events of an unfinished run stays, with a warning, and so does the last one. Error: INVALID_ARGUMENT (null, zero, negative). Example: select drop_old_workflow_events_partitions(6)';

create or replace function public.get_workflow_events_partition_stats()
  returns table (
    partition_name text,
    start_date date,
    end_date date,
    row_count bigint,
    size_bytes bigint,
    size_pretty text
  )
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select s.partition, (s.lower at time zone 'UTC')::date, (s.upper at time zone 'UTC')::date,
    s.row_count, s.size_bytes, s.size_pretty
  from partitions.statistics('public.workflow_events', exact => true) as s
$$;
comment on function public.get_workflow_events_partition_stats() is
  'The partitions of workflow_events: UTC days from start_date to end_date (excluded), rows counted one by one, size in bytes with indexes. Example: select * from get_workflow_events_partition_stats()';

create or replace view public.workflow_events_partition_info with (security_invoker = true) as
select
  c.relname::text as partition_name,
  pg_size_pretty(pg_total_relation_size(c.oid)) as size,
  case when c.reltuples >= 0 then c.reltuples::bigint else pg_stat_get_live_tuples(c.oid) end as row_count_estimate
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
where i.inhparent = 'public.workflow_events'::regclass
order by c.relname;
comment on view public.workflow_events_partition_info is
  'The partitions of workflow_events, with their size, including indexes, and an estimate of their rows. Example: select * from workflow_events_partition_info';
comment on column public.workflow_events_partition_info.partition_name is 'For example workflow_events_y2026m11.';
comment on column public.workflow_events_partition_info.size is 'Size with indexes, for example 24 MB.';
comment on column public.workflow_events_partition_info.row_count_estimate is 'Number of rows by the server''s statistics.';

grant execute on function
  public.create_workflow_events_partition(timestamptz),
  public.create_workflow_events_partition(timestamp),
  public.create_workflow_events_partition(date),
  public.maintain_workflow_events_partitions(),
  public.drop_old_workflow_events_partitions(int),
  public.get_workflow_events_partition_stats()
  to flowgres_dba;
grant select on public.workflow_events_partition_info to flowgres_dba, flowgres_monitor;
