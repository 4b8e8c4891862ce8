-- kind: code
-- The guard of runs and events: why a period must not be retired. The log of an unfinished run is
-- needed to finish it; a run that is kept only because another run of its month is unfinished keeps
-- its whole log. Writes and locks nothing.

-- Returns why the period must not be retired although its own runs have ended: it has events of
-- runs of an earlier month that an unfinished run keeps. Returns null when there are none.
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
  'The guard of runs and events: names the unfinished runs that began or have events from p_from to p_to (excluded), or that keep runs of an earlier month with events in it; null when there are none. Example: select engine.unfinished_runs(''2026-01-01'', ''2026-02-01'');';
