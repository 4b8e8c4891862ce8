-- kind: code
-- Compares the rows of runs with their logs: I3 and I9 of docs/reference/invariants.md. Leaves out finished
-- runs with events in partitions that are gone, since the rest of such a log does not tell how the
-- run ended. Writes and locks nothing.

create or replace function monitor.wrong_projections(since timestamptz default '-infinity')
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_kept constant tstzmultirange := partitions.covered('public.workflow_events');
begin
  return query
    with last as (
      select distinct on (e.run_id) e.run_id, e.type, e.ts
      from public.workflow_events as e
      where e.ts >= since
        and e.run_id >= private.first_run(since)
      order by e.run_id, e.seq desc
    )
    select
      case when l.run_id is null then 'I9 a run has events' else 'I3 the row of a run agrees with its log' end,
      r.id, jsonb_build_object('status', r.status, 'last', l.type)
    from public.workflow_runs as r
    left join last as l on l.run_id = r.id
    where r.id >= private.first_run(since)
      and (
        l.run_id is null
        or (r.status, r.finished_at) is distinct from (
          case l.type
            when 'run.succeeded' then 'success'
            when 'run.failed' then 'error'
            when 'run.canceled' then 'canceled'
            else case when r.finished_at is null then r.status end
          end,
          case when l.type in ('run.succeeded', 'run.failed', 'run.canceled') then l.ts end
        )
      )
      and (r.finished_at is null or v_kept @> tstzrange(
        least(engine.uuid_time(r.id), r.finished_at), greatest(engine.uuid_time(r.id), r.finished_at), '[]'
      ));
end
$$;
comment on function monitor.wrong_projections(timestamptz) is
  'Runs that started since then and whose row disagrees with their log. Example: select * from monitor.wrong_projections(now() - interval ''1 hour'')';

grant execute on function monitor.wrong_projections(timestamptz) to flowgres_dba, flowgres_monitor;
