-- kind: code
-- Pauses and resumes runs. A paused run begins no step; what runs already finishes and is recorded,
-- but the run advances only when it is resumed.
-- Writes events, the row of the run, open steps and jobs through engine.write_transitions(), and
-- wake_at of engine.open_steps. Locks the row of the run (engine.load_runs()).

-- Changes nothing about a run that has ended or is paused. Clears wake_at, so that the reconciler
-- gives no job to a step of the run.
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

-- Changes nothing about a run that is not paused. Advances the run, and lets flow control decide
-- again when it is held.
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
  -- Pass no worker: the caller executes no step, so each one that is ready gets a job.
  v_transition := engine.advance_run(v_loaded, engine.compiled_version_of(v_loaded.run), null, v_now);
  v_transition.entries := v_resumed || v_transition.entries;
  -- Write the open steps again. A timer that was due, or a child that ended, while the run was
  -- paused used up its job: such a step gets a new one. The others get their wake_at again.
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
