-- kind: code
-- Values of a run that are no columns, read from its log. GraphQL shows workflow_runs_x(run) as
-- field x of a run. No event is older than the time in the id of its run, so with a margin of a day
-- each query reads only the partitions from there on. Writes and locks nothing.

-- PostgreSQL inlines this function into the query that calls it: partitions are pruned at run time,
-- and one statement reads the events of a whole list of runs. Within a run the order of ts is that
-- of seq, and ts has an index.
create or replace function public.workflow_runs_events(run public.workflow_runs)
  returns setof public.workflow_events
  language sql
  stable
  rows 20
as $$
  select e.*
  from public.workflow_events as e
  where e.run_id = run.id
    and e.ts >= engine.uuid_time(run.id) - interval '1 day'
  order by e.ts
$$;
comment on function public.workflow_runs_events(public.workflow_runs) is
  'The log of the run, in the order of seq. Example: select e.seq, e.type from workflow_runs as r, workflow_runs_events(r) as e where r.id = ''0190…'';';

create or replace function public.workflow_runs_latest_events(run public.workflow_runs)
  returns setof public.workflow_events
  language sql
  stable
  rows 20
as $$
  select e.*
  from public.workflow_events as e
  where e.run_id = run.id
    and e.ts >= engine.uuid_time(run.id) - interval '1 day'
  order by e.ts desc
$$;
comment on function public.workflow_runs_latest_events(public.workflow_runs) is
  'The log of the run, the last event first, to show what the run does at the moment. Example: select e.seq, e.type from workflow_runs as r, workflow_runs_latest_events(r) as e where r.id = ''0190…'' limit 5;';

create or replace function public.workflow_runs_logs(run public.workflow_runs)
  returns setof public.workflow_run_logs
  language sql
  stable
  rows 20
as $$
  select l.*
  from public.workflow_run_logs as l
  where l.organization_id = run.organization_id
    and l.run_id = run.id
    and l.ts >= engine.uuid_time(run.id) - interval '1 day'
  order by l.ts, l.id
$$;
comment on function public.workflow_runs_logs(public.workflow_runs) is
  'What log nodes and workers wrote about the run, oldest first; kept 30 days. Example: select l.level, l.message from workflow_runs as r, workflow_runs_logs(r) as l where r.id = ''0190…'';';

-- Plans each call (force_custom_plan): the planner then knows the bounds, so it locks and plans one
-- or two partitions.
create or replace function public.workflow_runs_input(run public.workflow_runs)
  returns jsonb
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := engine.uuid_time(run.id) - interval '1 day';
  v_to constant timestamptz := engine.uuid_time(run.id) + interval '1 day';
begin
  return (
    select e.payload -> 'input'
    from public.workflow_events as e
    where e.run_id = run.id and e.ts >= v_from and e.ts < v_to and e.seq = 1
  );
end
$$;
comment on function public.workflow_runs_input(public.workflow_runs) is
  'The input that the run was started with; null when its events have expired. Example: select workflow_runs_input(r) from workflow_runs as r where r.id = ''0190…'';';

create or replace function public.workflow_runs_output(run public.workflow_runs)
  returns jsonb
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := run.finished_at - interval '1 day';
  v_to constant timestamptz := run.finished_at + interval '1 day';
begin
  if run.status <> 'success' then
    return null;
  end if;
  return (
    select engine.output_of_event(e.payload, run.id, run.finished_at)
    from public.workflow_events as e
    where e.run_id = run.id and e.ts >= v_from and e.ts < v_to and e.type = 'run.succeeded'
  );
end
$$;
comment on function public.workflow_runs_output(public.workflow_runs) is
  'The result of a successful run; null before, after a failure, and when its events have expired. Example: select workflow_runs_output(r) from workflow_runs as r where r.id = ''0190…'';';

create or replace function public.workflow_runs_events_expired(run public.workflow_runs)
  returns boolean
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := engine.uuid_time(run.id) - interval '1 day';
  v_to constant timestamptz := engine.uuid_time(run.id) + interval '1 day';
begin
  return not exists (
    select from public.workflow_events as e where e.run_id = run.id and e.ts >= v_from and e.ts < v_to and e.seq = 1
  );
end
$$;
comment on function public.workflow_runs_events_expired(public.workflow_runs) is
  'Whether the log of the run was dropped by retention; input, output and steps are gone with it. Example: select count(*) from workflow_runs as r where workflow_runs_events_expired(r);';

create or replace function public.workflow_runs_duration_ms(run public.workflow_runs)
  returns double precision
  language sql
  stable
as $$
  select engine.run_duration_ms(run.started_at, run.finished_at)
$$;
comment on function public.workflow_runs_duration_ms(public.workflow_runs) is
  'Milliseconds from the start to the end of the run, a whole number, waits included; null before it ends. Example: select avg(workflow_runs_duration_ms(r)) from workflow_runs as r;';

grant execute on function
  public.workflow_runs_events(public.workflow_runs),
  public.workflow_runs_latest_events(public.workflow_runs),
  public.workflow_runs_logs(public.workflow_runs),
  public.workflow_runs_input(public.workflow_runs),
  public.workflow_runs_output(public.workflow_runs),
  public.workflow_runs_events_expired(public.workflow_runs),
  public.workflow_runs_duration_ms(public.workflow_runs)
  to flowgres_user, flowgres_dba;
