-- kind: code
-- Begins steps for a worker that has taken their jobs, and returns their tasks. The attempt number
-- in a task is the fencing token; heartbeats extend its lease. Locks the runs by core/load.sql and
-- writes by core/write.sql: events, open steps, jobs, and the status of runs.

-- long because each request of a batch is answered in one loop, with what the last one has read.
create or replace function engine.begin_steps(p_requests jsonb, p_worker_id uuid)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    task jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[] := array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_requests) as r);
  v_nodes constant text[] := array(select r ->> 'node' from jsonb_array_elements(p_requests) as r);
  v_deferred constant jsonb[] := array(select r -> 'defer' from jsonb_array_elements(p_requests) as r);
  v_loaded engine.loaded_run;
  v_compiled engine.compiled_versions;
  v_places int[];
  v_place int;
  v_step engine.open_steps;
  v_transition engine.transition;
  v_transitions engine.transition[];
  v_worker engine.workers;
  v_organization_id uuid;
  v_free int; -- free slots of the organization; null: no limit
begin
  select w.* into v_worker from engine.workers as w where w.id = p_worker_id;
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    if (v_compiled.workflow_id, v_compiled.version)
      is distinct from ((v_loaded.run).workflow_id, (v_loaded.run).version) then
      v_compiled := engine.compiled_version_of(v_loaded.run);
    end if;
    if v_worker.share is not null and v_organization_id is distinct from (v_loaded.run).organization_id then
      v_organization_id := (v_loaded.run).organization_id;
      v_free := engine.free_slots(v_organization_id, v_worker, cardinality(v_transitions));
    end if;
    v_places := array_positions(v_ids, run_id);
    foreach v_place in array v_places loop
      index := v_place - 1;
      task := null;
      v_step := engine.step_of(v_loaded.steps, v_nodes[v_place]);
      outcome := case when v_step.node is null then 'stale' else 'done' end;
      if engine.is_due(v_loaded.run, v_step, v_now) then
        v_transition := engine.apply_job(
          v_loaded, v_compiled, v_step,
          case when v_deferred[v_place] = 'true' or v_free <= 0 then null else p_worker_id end, v_now
        );
        v_transitions := v_transitions || v_transition;
        if (v_transition.run).status = 'error' then
          perform engine.lock_error_quotas(array[v_transition.run], v_now);
        end if;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_transition(v_loaded, v_transition);
        end if;
        task := v_transition.task;
        if task is not null then
          outcome := 'begun';
          v_free := v_free - 1;
        end if;
      end if;
      return next;
    end loop;
    v_ids := array_replace(v_ids, run_id, null);
  end loop;
  perform engine.write_transitions(v_transitions, v_now);
  if array_remove(v_ids, null) <> '{}' then -- of runs that are gone
    return query
    select (i.place - 1)::int, 'stale', i.id, null::jsonb
    from unnest(v_ids) with ordinality as i (id, place)
    where i.id is not null;
  end if;
end
$$;

comment on function engine.begin_steps(jsonb, uuid) is
  'For workers: begins the steps of a batch of jobs, [{"runId", "node", "defer"?}]. With defer, from a worker without a free slot, a step that needs a slot is deferred. outcome: begun, with the task to do; done, when there is nothing to do now; stale, when the step is no longer open. Example: select * from engine.begin_steps(''[{"runId": "0190…", "node": "notify"}]'', gen_random_uuid());';

grant execute on function engine.begin_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;

-- Returns whether a step has something to do now. A run that has ended or is paused has not.
create or replace function engine.is_due(p_run public.workflow_runs, p_step engine.open_steps, p_now timestamptz)
  returns boolean
  language sql
  immutable
as $$
  select p_run.finished_at is null
    and p_run.status <> 'paused'
    and p_step.state in ('queued', 'waiting')
    -- The end of a child run sends a job: a step with child runs then looks at once.
    and (p_step.run_at <= p_now or p_step.next_index is not null)
$$;

-- Returns whether a step needs a slot, because a worker has to do it. The end of a wait needs none,
-- nor does a pure node that goes on where the budget ran out.
create or replace function engine.needs_slot(p_compiled engine.compiled_versions, p_step engine.open_steps)
  returns boolean
  language sql
  immutable
as $$
  select p_step.state = 'queued'
    and (p_compiled.nodes[array_position(p_compiled.ids, p_step.node)]).kind in ('effect', 'local')
$$;

-- Returns what comes of the job of a step that is due: the step begins, its wait ends, or the
-- engine goes on where the budget ran out. Without p_worker_id (no slot is free) a step that needs
-- a slot is deferred.
create or replace function engine.apply_job(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_step engine.open_steps,
  p_worker_id uuid,
  p_now timestamptz
)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_transition engine.transition;
begin
  if p_worker_id is null and engine.needs_slot(p_compiled, p_step) then
    return engine.deferred_transition(p_loaded.run, p_step);
  end if;
  if p_step.state = 'waiting' then
    return engine.end_wait(p_loaded, p_compiled, p_step, p_worker_id, p_now);
  end if;
  v_transition := engine.advance_run(p_loaded, p_compiled, p_worker_id, p_now, p_step.node);
  if (engine.step_of(v_transition.steps, p_step.node)).node is null then
    v_transition.closed := array[p_step.node];
  end if;
  return v_transition;
end
$$;
