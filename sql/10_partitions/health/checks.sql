-- kind: code
-- The doctor's checks. All use the partitions that one query, partitions.examine(), has found.
-- Writes and locks nothing.

-- Collects what the checks need to know of each partition.
create or replace function partitions.examine(p_parent regclass)
  returns partitions.leaf[]
  language sql
  volatile
as $$
  select array_agg(
    (o.name, o.partition, o.lower, o.upper, o.detaching, c.relrowsecurity,
      case when c.relacl is not null or c.oid in (select a.attrelid from pg_attribute as a where a.attacl is not null)
        then partitions.grantees(c.oid)
      end,
      pg_total_relation_size(o.partition), age(c.relfrozenxid), partitions.estimated_rows(c))::partitions.leaf
    order by o.lower, o.upper
  )
  from partitions.of(p_parent) as o
  join pg_class as c on c.oid = o.partition
$$;

-- Says whether a period was restored and is still kept; then its age and gaps beside it are
-- intended.
create or replace function partitions.is_restored(p_parent regclass, p_lower timestamptz)
  returns boolean
  language sql
  volatile
as $$
  select exists (
    select
    from partitions.archives as a
    where a.parent = p_parent
      and a.lower = p_lower
      and a.kept_until > engine.now()
  )
$$;

-- Reports times without a partition, and overlaps.
create or replace function partitions.check_coverage(p_managed partitions.managed_tables, p_leaves partitions.leaf[])
  returns setof partitions.finding
  language sql
  volatile
as $$
  with ahead as (
    select case when covered @> now then coalesce(
      (select upper(span) from unnest(covered) as span where span @> now),
      'infinity'
    ) end as until, now
    from engine.now() as now
    cross join (
      select coalesce(range_agg(tstzrange(l.lower, l.upper)), '{}') from unnest(p_leaves) as l
    ) as ranges (covered)
  ), neighbours as (
    select o.name, o.lower, lag(o.name) over w as previous_name, lag(o.lower) over w as previous_lower,
      lag(o.upper) over w as previous_upper
    from unnest(p_leaves) as o
    window w as (order by o.lower, o.upper)
  )
  select p_managed.parent, 'forward buffer', 'critical', 'There is no partition for the current time: inserts fail.',
    format('select * from partitions.maintain(%L)', p_managed.parent)
  from ahead
  where ahead.until is null
  union all
  select p_managed.parent, 'forward buffer', 'warning',
    format('Partitions end on %s; %s whole periods ahead are wanted.',
      to_char(ahead.until at time zone 'UTC', 'YYYY-MM-DD'), p_managed.premake),
    format('select * from partitions.maintain(%L)', p_managed.parent)
  from ahead
  where ahead.until < upper(partitions.wanted(p_managed))
  union all
  select p_managed.parent, 'hole', case when n.lower > ahead.now then 'warning' else 'info' end,
    format('There is no partition from %s to %s.', n.previous_upper, n.lower),
    format('select partitions.create(%L, %L)', p_managed.parent, n.previous_upper)
  from neighbours as n
  cross join ahead
  where n.previous_upper < n.lower
    -- Gaps beside a restored period are intended.
    and not partitions.is_restored(p_managed.parent, n.previous_lower)
    and not partitions.is_restored(p_managed.parent, n.lower)
  union all
  select p_managed.parent, 'overlap', 'critical', format('%s and %s overlap.', n.previous_name, n.name), null
  from neighbours as n
  where n.previous_upper > n.lower
$$;

-- Reports failed or missing maintenance: of partitions, detaches, retention and statistics.
create or replace function partitions.check_upkeep(p_managed partitions.managed_tables, p_leaves partitions.leaf[])
  returns setof partitions.finding
  language sql
  volatile
as $$
  select p_managed.parent, 'maintenance', case when m.failures >= 3 then 'critical' else 'warning' end,
    format('Maintenance has failed %s times, last at %s: %s', m.failures, m.failed_at, m.error),
    format('select * from partitions.maintain(%L)', p_managed.parent)
  from partitions.maintenance as m
  where m.parent = p_managed.parent
    and m.failures > 0
  union all
  select p_managed.parent, 'detach', 'warning', format('The detach of %s was interrupted.', o.name),
    format('select * from partitions.maintain(%L)', p_managed.parent)
  from unnest(p_leaves) as o
  where o.detaching
    and not exists (select from partitions.retirements as d where d.partition = o.partition)
  union all
  select p_managed.parent, 'detach', 'warning', format('The detach of %s has not ended since %s.', d.name, d.since),
    format('select * from partitions.retire(%L)', p_managed.parent)
  from partitions.retirements as d
  where d.parent = p_managed.parent
    and d.since < engine.now() - interval '1 hour'
  union all
  -- Allow two days: retirement may run only once a day.
  select p_managed.parent, 'retention', 'warning',
    format('%s should have left: %s', l.partition, coalesce(l.detail, 'retire() has not run.')),
    case when l.detail is null then 'select * from partitions.retire()' end
  from (
    select engine.now() - p_managed.retention - interval '2 days'
  ) as due (at)
  cross join lateral partitions.retiring(p_managed, '-infinity', due.at) as l
  where exists (select from unnest(p_leaves) as o where o.upper <= due.at)
    and not partitions.is_restored(l.parent, l.lower)
  union all
  -- A crash of the server, or a reset, loses the time of the last ANALYZE. Two things are kept: the
  -- number of rows in the catalog, which is negative until the first one, and the time that
  -- partitions.analyze() has recorded.
  select p_managed.parent, 'statistics', 'info',
    format('%s was not analyzed for three months, and autovacuum does not do it.', p_managed.parent),
    format('analyze %s', p_managed.parent)
  from pg_class as c
  left join partitions.upkeep as d on d.relation = c.oid
  where c.oid = p_managed.parent
    and exists (select from unnest(p_leaves) as o where o.rows > 10000)
    and (
      c.reltuples < 0
      or greatest(pg_stat_get_last_analyze_time(c.oid), d.done_at) < engine.now() - interval '100 days'
    )
$$;

-- Reports partitions without row-level security, with grants, too large, or not frozen.
create or replace function partitions.check_each(p_managed partitions.managed_tables, p_leaves partitions.leaf[])
  returns setof partitions.finding
  language sql
  volatile
as $$
  select p_managed.parent, 'row-level security', 'critical', 'It has policies, and they are switched off.',
    format('alter table %s enable row level security', p_managed.parent)
  from pg_class as c
  where c.oid = p_managed.parent
    and not c.relrowsecurity
    and exists (select from pg_policy as p where p.polrelid = c.oid)
  union all
  select p_managed.parent, 'row-level security', 'critical', format('%s has no row-level security.', l.name),
    format('alter table %s enable row level security', l.partition)
  from unnest(p_leaves) as l
  where not l.is_secured
  union all
  select p_managed.parent, 'grants', 'critical', format('%s is open to %s.', l.name, array_to_string(l.grantees, ', ')),
    format('revoke all on %s from %s', l.partition, array_to_string(l.grantees, ', '))
  from unnest(p_leaves) as l
  where l.grantees is not null
  union all
  select p_managed.parent, 'size', case when l.bytes >= p_managed.critical_bytes then 'critical' else 'warning' end,
    format('%s has %s.', l.name, pg_size_pretty(l.bytes)),
    case when fitting <> p_managed.granularity then
      format(
        'update partitions.managed_tables set granularity = %L where parent = %L::regclass', fitting, p_managed.parent
      )
    end
  from unnest(p_leaves) as l
  cross join lateral partitions.fitting_granularity(p_managed) as fitting
  where l.bytes >= p_managed.warn_bytes
  union all
  -- Autovacuum freezes at autovacuum_freeze_max_age; at 2 billion the server accepts no writes.
  select p_managed.parent, 'freeze', case when l.frozen_age > 1000000000 then 'critical' else 'warning' end,
    format('%s was last frozen %s transactions ago.', l.name, l.frozen_age),
    format('vacuum (freeze) %s', l.partition)
  from unnest(p_leaves) as l
  where l.frozen_age > 1.25 * current_setting('autovacuum_freeze_max_age')::bigint
$$;

-- Reports conversions that have not ended.
create or replace function partitions.check_conversions(p_parent regclass)
  returns setof partitions.finding
  language sql
  volatile
as $$
  select c.parent, 'conversion',
    case when c.changed_at < engine.now() - interval '1 day' then 'warning' else 'info' end,
    format('Its conversion stands at %s since %s.', c.state, c.changed_at),
    case
      when c.historic is null then format('call partitions.convert(%L, %L, %L)', c.parent, c.key, c.granularity)
      else format('call partitions.split(%L)', c.parent)
    end
  from partitions.conversions as c
  where c.state <> 'done'
    and (p_parent is null or c.parent = p_parent)
$$;
