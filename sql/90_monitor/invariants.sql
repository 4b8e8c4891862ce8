-- kind: code
-- The invariants of docs/reference/invariants.md as queries that return the runs that break them; no row
-- means that all hold. Writes and locks nothing.

-- Checks a cheap part of what partitions.doctor() checks: what would refuse runs now, or show them
-- to another organization.
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
    from partitions.managed_tables as p
    cross join lateral partitions.of(p.parent) as o
  )
  select 'I10 there is a partition for now', null::uuid, jsonb_build_object('table', p.parent::text)
  from partitions.managed_tables as p
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
  union all
  select * from monitor.changed_log()
$$;
comment on function monitor.invariants(timestamptz) is
  'Everything that must always hold, and where it does not: the rule with its number in docs/reference/invariants.md, the run, the facts. No row is health. Of finished runs only those that started since then. Example: select * from monitor.invariants(now() - interval ''1 hour'')';

grant execute on function monitor.broken_partitions(), monitor.invariants(timestamptz)
  to flowgres_dba, flowgres_monitor;
