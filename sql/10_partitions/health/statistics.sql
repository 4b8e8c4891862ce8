-- kind: code
-- Reports sizes and rows of partitions. Writes and locks nothing.

-- Returns the planner's number of rows where there is one; before the first ANALYZE the number that
-- the statistics have counted.
create or replace function partitions.estimated_rows(p_class pg_class)
  returns bigint
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_class.reltuples >= 0 then p_class.reltuples::bigint
    else pg_stat_get_live_tuples(p_class.oid)
  end
$$;

create or replace function partitions.estimated_rows(p_table regclass)
  returns bigint
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.estimated_rows(c) from pg_class as c where c.oid = p_table
$$;

create or replace function partitions.statistics(parent regclass, exact boolean default false)
  returns table (
    partition text,
    lower timestamptz,
    upper timestamptz,
    row_count bigint,
    size_bytes bigint,
    size_pretty text
  )
  language plpgsql
  volatile
  security definer -- definer because partitions have no grants; a DBA counts them all the same
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_partition record;
  v_count text;
begin
  for v_partition in
    select o.*, partitions.estimated_rows(o.partition) as estimate from partitions.of(statistics.parent) as o
  loop
    partition := v_partition.name;
    lower := v_partition.lower;
    upper := v_partition.upper;
    row_count := v_partition.estimate;
    if exact then
      v_count := format('select count(*) from %s', v_partition.partition);
      execute v_count into row_count;
    end if;
    size_bytes := pg_total_relation_size(v_partition.partition);
    size_pretty := pg_size_pretty(size_bytes);
    return next;
  end loop;
end
$$;
comment on function partitions.statistics(regclass, boolean) is
  'Returns the size of each partition with its indexes and TOAST, in bytes, and its number of rows: estimated, or counted when exact (which reads them all). Example: select * from partitions.statistics(''public.workflow_events'', exact => true)';

comment on function partitions.estimated_rows(regclass) is
  'Returns the number of rows of a table by the planner''s estimate; before the first ANALYZE, as the statistics have counted them. Example: select partitions.estimated_rows(''public.workflow_events_y2026m11'');';

grant execute on function
  partitions.statistics(regclass, boolean),
  partitions.estimated_rows(regclass)
  to flowgres_dba;
