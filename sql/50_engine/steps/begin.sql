-- kind: code
-- Begins steps for a worker that has taken their jobs, and returns their tasks. The attempt number
-- in a task is the fencing token; heartbeats extend its lease. engine.apply_batch() locks and writes.

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
begin
  return query
  select b.index, b.outcome, b.run_id, b.task from engine.apply_batch(p_requests, p_worker_id, false) as b;
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
