-- kind: code
-- Begins steps: a worker has taken their jobs. What it gets back is what it has to do; the attempt number in it is the
-- fencing token, and the lease is what its heartbeats extend.

-- What is to be done about a job: null when nothing is (any more).
create or replace function engine.is_due(p_run public.workflow_runs, p_step engine.open_steps, p_now timestamptz)
  returns boolean
  language sql
  immutable
as $$
  select p_run.finished_at is null
    and p_run.status <> 'paused'
    and p_step.state in ('queued', 'waiting')
    and p_step.run_at <= p_now
$$;

create or replace function engine.begin_steps(p_requests jsonb, p_worker uuid)
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
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_run public.workflow_runs;
  v_status text;
  v_plan engine.plans;
  v_nodes engine.plan_node[];
  v_request record;
  v_step engine.open_steps;
  v_move engine.move;
  v_seen uuid[] := '{}';
  v_events engine.new_event[];
  v_steps engine.open_steps[];
  v_closed engine.step_key[];
  v_wake_ups engine.wake_up[];
  v_changes engine.run_change[];
begin
  for v_loaded in
    select l.*
    from engine.load_runs(
      array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_requests) as r), v_now
    ) as l
  loop
    v_run := v_loaded.run;
    v_status := v_run.status;
    v_seen := v_seen || v_run.id;
    if (v_plan.workflow_id, v_plan.version) is distinct from (v_run.workflow_id, v_run.version) then
      select p.* into v_plan
      from engine.plans as p
      where p.organization_id = v_run.organization_id
        and p.workflow_id = v_run.workflow_id
        and p.version = v_run.version;
      v_nodes := v_plan.nodes;
    end if;

    for v_request in
      select (r.request ->> 'node') as node, (r.place - 1)::int as index
      from jsonb_array_elements(p_requests) with ordinality as r (request, place)
      where r.request ->> 'runId' = v_run.id::text
    loop
      index := v_request.index;
      run_id := v_run.id;
      task := null;
      outcome := 'stale';
      v_step := engine.step_of(v_loaded.steps, v_request.node);
      if v_step.node is not null then
        outcome := 'done';
        if engine.is_due(v_run, v_step, v_now) then
          v_move := engine.move_on(
            v_loaded, v_plan, v_nodes, p_worker, v_now,
            case when v_step.state = 'queued' then v_step.node end,
            case when v_step.state = 'waiting' then array[v_step.node] else '{}' end
          );
          task := v_move.task;
          if task is not null then
            outcome := 'begun';
          end if;
          if engine.step_of(coalesce(v_move.steps, '{}'), v_step.node) is null then
            v_closed := v_closed || row(v_run.id, v_step.node)::engine.step_key;
          end if;
          v_events := v_events || v_move.events;
          v_wake_ups := v_wake_ups || v_move.wake_ups;
          v_steps := v_steps || v_move.steps;
          -- A second job of the same run in this batch reads what the first has done.
          v_loaded := engine.after_move(v_loaded, v_move, v_step.node);
          v_run := v_loaded.run;
        end if;
      end if;
      return next;
    end loop;
    if v_run.status <> v_status then
      v_changes := v_changes
        || row(v_run.id, v_run.status, v_run.finished_at, v_run.error)::engine.run_change;
    end if;
  end loop;

  perform engine.write_batch(v_events, v_steps, v_closed, v_changes, v_wake_ups);

  -- Runs that are gone.
  return query
  select (r.place - 1)::int, 'stale', (r.request ->> 'runId')::uuid, null::jsonb
  from jsonb_array_elements(p_requests) with ordinality as r (request, place)
  where (r.request ->> 'runId')::uuid <> all (v_seen);
end
$$;

revoke execute on function engine.begin_steps(jsonb, uuid) from public;
grant execute on function engine.begin_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;
