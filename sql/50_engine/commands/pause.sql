-- kind: code
-- Pauses runs and lets them go on. A paused run begins nothing new; what runs already finishes and is recorded, but the
-- graph moves on only when the run is resumed.

create or replace function engine.pause_run(p_run_id uuid, p_user_id uuid default null, p_reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_transition engine.transition;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).finished_at is not null or (v_loaded.run).status = 'paused' then
    return v_loaded.run;
  end if;
  v_last := engine.next_entry(
    v_loaded.log[cardinality(v_loaded.log)], v_now, 'run.paused', engine.canceled_by(p_user_id, p_reason)
  );
  v_transition.entries := array[v_last];
  v_transition.run := engine.run_after(v_loaded.run, v_last, false);
  v_transition.is_changed := true;
  perform engine.write_transitions(array[v_transition], v_now);
  update engine.open_steps as s set wake_at = null where s.run_id = p_run_id;
  return v_transition.run;
end
$$;

create or replace function engine.resume_run(p_run_id uuid, p_user_id uuid default null, p_reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_resumed engine.log_entry;
  v_step engine.open_steps;
  v_transition engine.transition;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).status <> 'paused' then
    return v_loaded.run;
  end if;
  v_resumed := engine.next_entry(
    v_loaded.log[cardinality(v_loaded.log)], v_now, 'run.resumed', engine.canceled_by(p_user_id, p_reason)
  );
  v_loaded.log := v_loaded.log || v_resumed;
  -- No worker: nobody waits here for a step to do, so each one that is ready gets a job.
  v_transition := engine.advance_run(v_loaded, engine.compiled_version_of(v_loaded.run), null, v_now);
  v_transition.entries := v_resumed || v_transition.entries;
  -- Whose time came in the pause, and whose children ended in it, has lost its job to it; the others are woken at
  -- their time again.
  foreach v_step in array v_loaded.steps loop
    if v_step.state <> 'running' and v_step.node <> all (coalesce(v_transition.closed, '{}')) then
      if v_step.next_index is not null then
        v_step.run_at := v_now;
      end if;
      v_transition.steps := v_transition.steps || v_step;
    end if;
  end loop;
  v_transition.is_changed := true;
  perform engine.write_transitions(array[v_transition], v_now);
  perform engine.wake_held_runs(p_run_id);
  return v_transition.run;
end
$$;
