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
