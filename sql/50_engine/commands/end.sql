-- kind: code
-- Ends unfinished runs from outside: canceled, or failed because of something other than a node.
-- Writes events, runs, open steps, engine.flow_runs and jobs through engine.write_transitions().
-- Locks the rows of the runs (engine.load_runs()).

-- Adds the event to each unfinished run of a batch and returns these runs.
create or replace function engine.end_runs(p_ids uuid[], p_type text, p_payload jsonb)
  returns setof public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_transition engine.transition;
  v_transitions engine.transition[];
begin
  for v_loaded in select l.* from engine.load_runs(p_ids, v_now) as l loop
    continue when (v_loaded.run).finished_at is not null;
    v_last := engine.next_entry(v_loaded.log[cardinality(v_loaded.log)], v_now, p_type, p_payload);
    v_transition.entries := array[v_last];
    v_transition.run := engine.run_after(v_loaded.run, v_last, false);
    v_transition.is_changed := true;
    v_transitions := v_transitions || v_transition;
    return next v_transition.run;
  end loop;
  perform engine.write_transitions(v_transitions, v_now);
end
$$;

-- Ends one run and returns it; returns a run that has ended already as it is.
create or replace function engine.end_run(p_run_id uuid, p_type text, p_payload jsonb)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
begin
  select r.* into v_run from engine.end_runs(array[p_run_id], p_type, p_payload) as r;
  if v_run.id is null then
    v_run := engine.read_run(p_run_id);
  end if;
  return v_run;
end
$$;

-- Returns the payload of an event that somebody caused: who and why. p_reason is cut to 1,000
-- characters.
create or replace function engine.canceled_by(p_user_id uuid, p_reason text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object('by', p_user_id, 'reason', left(p_reason, 1000)))
$$;

-- Changes nothing about a run that has ended. Workers abort its running effects after their next
-- heartbeat.
create or replace function engine.cancel_run(p_run_id uuid, p_user_id uuid default null, p_reason text default null)
  returns public.workflow_runs
  language sql
  volatile
as $$
  select engine.end_run(p_run_id, 'run.canceled', engine.canceled_by(p_user_id, p_reason))
$$;

-- Returns the payload of a run.failed event that no node has caused.
create or replace function engine.blameless_error(p_code text, p_message text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('error', jsonb_build_object('code', p_code, 'message', p_message, 'retryable', false))
$$;

create or replace function engine.fail_run(p_run_id uuid, p_code text, p_message text)
  returns public.workflow_runs
  language sql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
  select engine.end_run(p_run_id, 'run.failed', engine.blameless_error(p_code, p_message))
$$;

comment on function engine.fail_run(uuid, text, text) is
  'Ends an unfinished run with an error that no node has caused, and returns the run. Changes nothing about one that has ended. Example: select status from engine.fail_run(''0190…'', ''DEADLINE'', ''too late'');';

grant execute on function engine.fail_run(uuid, text, text) to flowgres_worker, flowgres_dba;
