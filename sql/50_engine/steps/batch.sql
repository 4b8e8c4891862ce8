-- kind: code
-- Handles a batch of requests of a worker: the part that beginning and completing steps have in
-- common. Locks the runs by core/load.sql and writes by core/write.sql: events, open steps, jobs, and
-- the status of runs. Queues deferred steps for the slots that become free, skipping locked ones.

-- Applies each request to its run and returns its answer. p_has_results: the requests are results of
-- steps (engine.complete_steps()), else jobs of steps that are to begin (engine.begin_steps()). A
-- request whose step is no longer open, or has another attempt, is answered `stale` and changes
-- nothing.
-- long because each request of a batch is answered in one loop, with what the last one has read.
create or replace function engine.apply_batch(p_requests jsonb, p_worker_id uuid, p_has_results boolean)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    status text,
    task jsonb
  )
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_requests constant jsonb[] := array(select jsonb_array_elements(p_requests));
  v_ids constant uuid[] := array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_requests) as r);
  v_found_ids uuid[] := '{}';
  v_answered int := 0;
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
  v_left int := 0; -- slots that become free
begin
  if not p_has_results then
    select w.* into v_worker from engine.workers as w where w.id = p_worker_id;
  end if;
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    status := (v_loaded.run).status;
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
      v_step := engine.step_of(v_loaded.steps, v_requests[v_place] ->> 'node');
      v_transition := null;
      if p_has_results then
        if v_step.state = 'running' and v_step.attempt = (v_requests[v_place] -> 'attempt')::int
          and (v_loaded.run).finished_at is null
        then
          v_transition := engine.apply_result(
            v_loaded, v_compiled, v_step, v_requests[v_place], p_worker_id, v_now
          );
          v_left := v_left + (v_transition.task is null)::int;
        end if;
      elsif engine.is_due(v_loaded.run, v_step, v_now) then
        v_transition := engine.apply_job(
          v_loaded, v_compiled, v_step,
          case when v_requests[v_place] -> 'defer' = 'true' or v_free <= 0 then null else p_worker_id end, v_now
        );
        v_free := v_free - (v_transition.task is not null)::int;
      end if;

      index := v_place - 1;
      task := v_transition.task;
      outcome := case
        when p_has_results then case when (v_transition.run).id is null then 'stale' else 'recorded' end
        when v_step.node is null then 'stale'
        when task is null then 'done'
        else 'begun'
      end;
      if (v_transition.run).id is not null then
        status := (v_transition.run).status;
        if status = 'error' then
          v_transition := engine.with_error_workflow(v_transition, v_now);
        end if;
        v_transitions := v_transitions || v_transition;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_transition(v_loaded, v_transition);
        end if;
      end if;
      return next;
    end loop;
    v_found_ids := v_found_ids || run_id;
    v_answered := v_answered + cardinality(v_places);
  end loop;
  perform engine.write_transitions(v_transitions, v_now);
  if v_left > 0 and engine.has_deferred_steps() then
    perform engine.fill_free_slots(v_left);
  end if;

  if v_answered < cardinality(v_ids) then -- of runs that are gone
    return query
    select (i.place - 1)::int, 'stale', i.id, null::text, null::jsonb
    from unnest(v_ids) with ordinality as i (id, place)
    where i.id <> all (v_found_ids);
  end if;
end
$$;
