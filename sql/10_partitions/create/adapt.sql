-- kind: code
-- Chooses the length of periods by the growth of a table. Writes partitions.managed_tables
-- (adaptive ones only); locks nothing but its row.

-- Returns the longest granularity, not longer than the present one, at which a partition stays
-- below warn_bytes; uses the largest daily growth of the last three periods.
create or replace function partitions.fitting_granularity(p_managed partitions.managed_tables)
  returns text
  language sql
  volatile
as $$
  with recent as (
    select pg_total_relation_size(o.partition)
      / greatest(extract(epoch from least(o.upper, now) - o.lower) / 86400, 1) as bytes_per_day
    from engine.now() as now
    cross join partitions.of(p_managed.parent) as o
    where o.lower <= now
      and o.upper > now - 3 * partitions.step(p_managed.granularity)
      and isfinite(o.lower)
  )
  select coalesce(
    (
      select g.name
      from (values ('year', 366), ('month', 31), ('week', 7)) as g (name, days)
      where partitions.step(g.name) <= partitions.step(p_managed.granularity)
        and coalesce((select max(r.bytes_per_day) from recent as r), 0) * g.days < p_managed.warn_bytes
      order by g.days desc
      limit 1
    ),
    'day'
  )
$$;

-- Changes the granularity of an adaptive table to the fitting one; returns null where nothing
-- changes.
create or replace function partitions.adapt(p_managed partitions.managed_tables, p_dry_run boolean)
  returns partitions.action
  language plpgsql
  volatile
as $$
declare
  v_granularity text;
begin
  if not p_managed.adaptive then
    return null;
  end if;
  v_granularity := partitions.fitting_granularity(p_managed);
  if v_granularity = p_managed.granularity then
    return null;
  end if;
  if not p_dry_run then
    update partitions.managed_tables as p set granularity = v_granularity where p.parent = p_managed.parent;
  end if;
  return (
    p_managed.parent, null, 'change granularity', null, null, not p_dry_run,
    format('From %s to %s, after the current partition.', p_managed.granularity, v_granularity)
  )::partitions.action;
end
$$;
