-- kind: code
-- Ends a run from outside: canceled by somebody, or failed because it cannot go on.

-- Each unfinished one of a batch gets the event; answers with those that had not ended before.
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
    select r.* into v_run from public.workflow_runs as r where r.id = p_run_id;
  end if;
  return v_run;
end
$$;

-- Who did something, and why: the payload of an event that somebody caused.
create or replace function engine.canceled_by(p_user_id uuid, p_reason text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object('by', p_user_id, 'reason', left(p_reason, 1000)))
$$;

-- Repeated, or on a run that has ended, it changes nothing. Running effects learn of it by their heartbeat.
create or replace function engine.cancel_run(p_run_id uuid, p_user_id uuid default null, p_reason text default null)
  returns public.workflow_runs
  language sql
  volatile
as $$
  select engine.end_run(p_run_id, 'run.canceled', engine.canceled_by(p_user_id, p_reason))
$$;

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
  'Ends an unfinished run with an error that no node is to blame for. Changes nothing about a finished one. Example: select status from engine.fail_run(''0190…'', ''DEADLINE'', ''too late'');';

grant execute on function engine.fail_run(uuid, text, text) to flowgres_worker, flowgres_dba;
