-- kind: code
-- Reads the log of one run from the few partitions that can hold it. Writes and locks nothing.

-- No event of a run is older than the time in its id or younger than its end; a day of margin
-- allows for clocks that differ. The bounds are variables of a custom query plan, which locks one
-- or two partitions instead of 120. Most runs end within a day: then their last event says so, and
-- the run is not looked up.
create or replace function public.get_workflow_run_events(
  run_id uuid,
  start_time timestamptz default null,
  end_time timestamptz default null
)
  returns setof public.workflow_events
  language plpgsql
  stable
  rows 20
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_run_id constant uuid := get_workflow_run_events.run_id;
  v_start constant timestamptz := engine.uuid_time(v_run_id);
  -- An end at midnight UTC stands for that whole day; any other moment is included.
  v_end constant timestamptz := end_time + case
    when end_time = date_trunc('day', end_time, 'UTC') then interval '1 day'
    else interval '1 microsecond'
  end;
  v_from timestamptz := greatest(v_start - interval '1 day', start_time);
  v_to timestamptz := least(v_start + interval '1 day', v_end);
  v_event public.workflow_events;
begin
  for v_event in
    select e.*
    from public.workflow_events as e
    where e.run_id = v_run_id and e.ts >= v_from and e.ts < v_to
    order by e.ts
  loop
    return next v_event;
  end loop;
  if v_event.type in ('run.succeeded', 'run.failed', 'run.canceled') or v_end <= v_to then
    return;
  end if;

  v_from := greatest(v_start + interval '1 day', start_time);
  select coalesce(r.finished_at + interval '1 day', 'infinity')
  into v_to
  from public.workflow_runs as r
  where r.id = v_run_id;
  v_to := least(v_to, v_end);
  if v_to > v_from then
    return query
      select e.*
      from public.workflow_events as e
      where e.run_id = v_run_id and e.ts >= v_from and e.ts < v_to
      order by e.ts;
  end if;
end
$$;
comment on function public.get_workflow_run_events(uuid, timestamptz, timestamptz) is
  'The events of a run in their order, optionally from start_time to end_time, both included; an end at midnight UTC stands for that whole day. Reads only the partitions between the run''s start and end. Empty for an unknown run or another organization''s. Example: select seq, ts, type from get_workflow_run_events(''0190…'', ''2026-01-01'', ''2026-01-31'')';

grant execute on function public.get_workflow_run_events(uuid, timestamptz, timestamptz) to flowgres_user, flowgres_dba;
