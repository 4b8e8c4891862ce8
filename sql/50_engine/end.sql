-- kind: code
-- Ends a run from outside: canceled by somebody, or failed because it cannot go on.

create or replace function engine.end_run(p_run_id uuid, p_type text, p_payload jsonb)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).finished_at is not null then
    return v_loaded.run;
  end if;
  v_last := engine.next_entry(v_loaded.log[cardinality(v_loaded.log)], v_now, p_type, p_payload);
  v_move.entries := array[v_last];
  v_move.run := engine.run_after(v_loaded.run, v_last, false);
  v_move.is_changed := true;
  perform engine.write_moves(array[v_move]);
  return v_move.run;
end
$$;

-- Repeated, or on a run that has ended, it changes nothing. Running effects learn of it by their heartbeat.
create or replace function engine.cancel_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language sql
  volatile
as $$
  select engine.end_run(
    p_run_id, 'run.canceled', jsonb_strip_nulls(jsonb_build_object('by', p_by, 'reason', left(p_reason, 1000)))
  )
$$;

create or replace function engine.fail_run(p_run_id uuid, p_code text, p_message text)
  returns public.workflow_runs
  language sql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
  select engine.end_run(
    p_run_id, 'run.failed',
    jsonb_build_object('error', jsonb_build_object('code', p_code, 'message', p_message, 'retryable', false))
  )
$$;

comment on function engine.fail_run(uuid, text, text) is
  'Ends an unfinished run with an error that no node is to blame for. Changes nothing about a finished one. Example: select status from engine.fail_run(''0190…'', ''DEADLINE'', ''too late'');';

grant execute on function engine.fail_run(uuid, text, text) to flowgres_worker, flowgres_dba;
