-- kind: code
-- Starts runs, a batch at a time. Pure nodes are evaluated in the same transaction: a run of pure
-- nodes only has finished when it commits, without a worker. Inserts into public.workflow_runs;
-- what it calls writes start keys, usage counters, flow control, and (core/write.sql) events, steps
-- and jobs, and locks in the order of docs/reference/locks.md. New runs need no lock.

-- long because each request of a batch is answered in one loop, with what the last one has read.
create or replace function engine.start_runs(p_requests jsonb)
  returns table (
    index int,
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb,
    duplicate boolean,
    claimed text
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_requests constant engine.start_request[] := engine.read_starts(p_requests, v_now);
  v_request engine.start_request;
  v_compiled engine.compiled_versions;
  v_nodes engine.compiled_node[];
  v_asked int;
  v_trigger text;
  v_quota engine.quota;
  v_refused_id uuid;
  v_transition engine.transition;
  v_transitions engine.transition[];
begin
  foreach v_request in array v_requests loop
    index := v_request.index;
    run_id := v_request.duplicate_of;
    duplicate := run_id is not null;
    status := case when duplicate then engine.status_of(run_id, v_transitions) end;
    v_transition := null;
    -- A duplicate of a request that was refused just before is refused with the same error.
    error := case when run_id = v_refused_id then error else v_request.error end;

    if not duplicate and error is null then
      -- Requests are sorted by workflow: read each compiled version once.
      if (v_compiled.organization_id, v_compiled.workflow_id, v_asked) is distinct from
        (v_request.organization_id, v_request.workflow_id, coalesce(v_request.version, 0))
      then
        v_compiled := engine.version_to_start(v_request);
        v_nodes := v_compiled.nodes;
        v_asked := coalesce(v_request.version, 0);
      end if;
      v_trigger := coalesce(v_request.trigger, engine.trigger_for(v_nodes, v_request.mode));
      error := engine.start_refusal(
        v_request, v_compiled.version, (v_nodes[array_position(v_compiled.ids, v_trigger)]).kind
      );
      if error is null and v_quota.workflow_id is distinct from v_request.workflow_id then
        v_quota := engine.reserve_quota(v_quota, v_compiled, cardinality(v_requests), v_now);
      end if;
      error := coalesce(error, engine.admission_error(v_quota));
      v_quota.remaining := v_quota.remaining - (error is null)::int;
    end if;
    if error is not null then
      v_refused_id := engine.release_start_key(v_request);
      perform engine.queue_limit_event(v_request.organization_id, error, v_now);
      run_id := null;
      duplicate := false;
    elsif not duplicate then
      v_transition := engine.start_transition(v_request, v_compiled, v_nodes, v_trigger, v_now);
      run_id := (v_transition.run).id;
      status := (v_transition.run).status;
      error := (v_transition.run).error;
      if status = 'error' then
        v_transition := engine.with_error_workflow(v_transition, v_now);
      end if;
      v_transitions := v_transitions || v_transition;
    end if;
    response := engine.response_in(v_transition.entries);
    output := engine.output_in(v_transition.entries);
    claimed := v_transition.claimed;
    return next;
  end loop;
  perform engine.reserve_quota(v_quota, null, 0, v_now);
  perform engine.write_starts(v_transitions, v_now);
end
$$;

comment on function engine.start_runs(jsonb) is
  'Starts a batch of runs and evaluates their pure nodes, in one transaction. Takes an array of {"organizationId", "workflowId", "mode"?, "input"?, "trigger"?, "key"?, "keyBy"?, "fingerprint"?, "startedBy"?, "priority"?, "metadata"?, "version"?, "claim"?, "origin"?}; returns one row per request, with its index from 0. A request that is refused has an error in its row, {"code", "message"}; the others go on. origin is an object of further facts for run.created. With "claim" the first step of the run gets no job for 5 seconds: the caller, a worker with a free slot, begins it by begin_steps; claimed is the node of that step. Example: select run_id, status, output from engine.start_runs(''[{"organizationId": "0190…", "workflowId": "0190…", "input": {"total": 120}}]'');';

grant execute on function engine.start_runs(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;

-- Returns the status of a run that exists already, or that this batch starts.
create or replace function engine.status_of(p_run_id uuid, p_transitions engine.transition[])
  returns text
  language sql
  stable
as $$
  select coalesce(
    (select r.status from public.workflow_runs as r where r.id = p_run_id),
    (select (m.run).status from unnest(p_transitions) as m where (m.run).id = p_run_id)
  )
$$;

-- Inserts the rows of new runs, then writes their transitions.
create or replace function engine.write_starts(p_transitions engine.transition[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  insert into public.workflow_runs select (m.run).* from unnest(p_transitions) as m;
  perform engine.write_transitions(p_transitions, p_now);
end
$$;
