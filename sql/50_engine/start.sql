-- kind: code
-- Starts runs, a batch at a time. Pure nodes are evaluated here and now: a run of nothing else is finished when the
-- transaction commits, and costs no worker a round trip.

-- A run from its first event to where it needs somebody else, or its end.
create or replace function engine.first_move(
  p_request engine.start_request,
  p_plan engine.plans,
  p_nodes engine.plan_node[],
  p_trigger text,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_created engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_waiting boolean := true;
  v_move engine.move;
begin
  if p_plan.settings ? 'flow' then
    p_request := engine.admit_start(p_request, p_plan);
  end if;
  v_run.id := p_request.run_id;
  v_run.organization_id := p_request.organization_id;
  v_run.workflow_id := p_request.workflow_id;
  v_run.version := p_plan.version;
  v_run.mode := p_request.mode;
  v_run.started_by := p_request.started_by;
  v_run.priority := coalesce(p_request.priority, (p_plan.settings -> 'priority')::smallint, 0);
  v_run.started_at := p_now;
  v_run.deadline_at := p_now + make_interval(secs => (p_plan.settings ->> 'deadlineMs')::double precision / 1000);
  v_run.metadata := p_request.metadata;
  v_run.retry_of := p_request.retry_of;
  v_run.concurrency_key := p_request.concurrency_key;

  v_created.seq := 1;
  v_created.ts := p_now;
  v_created.type := 'run.created';
  v_created.payload := jsonb_build_object(
    'workflowId', v_run.workflow_id,
    'version', v_run.version,
    'mode', v_run.mode,
    'trigger', p_trigger,
    'input', p_request.input,
    'vars', '{}'::jsonb
  );
  if p_request.origin is not null then
    v_created.payload := v_created.payload || p_request.origin;
  end if;
  v_move.entries := v_created || p_request.reused;
  v_advanced := engine.advance(p_nodes, p_plan.ids, v_run.id, v_move.entries);
  v_move.entries := v_move.entries || v_advanced.entries;

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_move.steps := v_move.steps || engine.new_step(v_run, v_opened, p_now);
    v_waiting := v_waiting and v_opened.state = 'waiting';
  end loop;
  v_move.run := engine.run_after(v_run, v_move.entries[cardinality(v_move.entries)], v_waiting);
  return v_move;
end
$$;

-- The response that a webhook waits for, if it was given already.
create or replace function engine.response_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_entries loop
    if v_entry.type = 'run.responded' then
      return v_entry.payload - 'node';
    end if;
  end loop;
  return null;
end
$$;

create or replace function engine.insert_runs(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
as $$
begin
  insert into public.workflow_runs select (m.run).* from unnest(p_moves) as m;
end
$$;

create or replace function engine.start_runs(p_requests jsonb)
  returns table (
    index int,
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb,
    duplicate boolean
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_request engine.start_request;
  v_plan engine.plans;
  v_nodes engine.plan_node[];
  v_asked int;
  v_trigger text;
  v_move engine.move;
  v_moves engine.move[];
begin
  foreach v_request in array engine.read_starts(p_requests, v_now) loop
    index := v_request.index;
    run_id := v_request.duplicate_of;
    status := null;
    output := null;
    response := null;
    error := v_request.error;
    duplicate := run_id is not null;

    if duplicate then
      status := coalesce(
        (select r.status from public.workflow_runs as r where r.id = v_request.duplicate_of),
        (select (m.run).status from unnest(v_moves) as m where (m.run).id = v_request.duplicate_of)
      );
    elsif error is null then
      -- Requests come sorted by workflow: its plan is read once.
      if (v_plan.organization_id, v_plan.workflow_id, v_asked) is distinct from
        (v_request.organization_id, v_request.workflow_id, coalesce(v_request.version, 0))
      then
        v_plan := engine.plan_to_start(v_request);
        v_nodes := v_plan.nodes;
        v_asked := coalesce(v_request.version, 0);
      end if;
      v_trigger := coalesce(v_request.trigger, engine.trigger_for(v_nodes, v_request.mode));
      error := engine.start_refusal(v_request, v_plan.version, (v_nodes[array_position(v_plan.ids, v_trigger)]).kind);
    end if;

    if error is null and not duplicate then
      v_move := engine.first_move(v_request, v_plan, v_nodes, v_trigger, v_now);
      v_moves := v_moves || v_move;
      run_id := (v_move.run).id;
      status := (v_move.run).status;
      error := (v_move.run).error;
      response := engine.response_in(v_move.entries);
      if status = 'success' then
        output := v_move.entries[cardinality(v_move.entries)].payload -> 'output';
      end if;
    elsif error is not null and v_request.key is not null then
      delete from engine.start_keys as k where k.run_id = v_request.run_id;
    end if;
    return next;
  end loop;

  if v_moves is not null then
    perform engine.insert_runs(v_moves);
    perform engine.write_moves(v_moves);
  end if;
end
$$;

comment on function engine.start_runs(jsonb) is
  'Starts a batch of runs, in one transaction; pure nodes are evaluated in it. Takes an array of {"organizationId", "workflowId", "mode"?, "input"?, "trigger"?, "key"?, "fingerprint"?, "startedBy"?, "priority"?, "metadata"?, "version"?}; answers with one row per request, by its index from 0. What is wrong with a request is in its row''s error, {"code", "message"}; the others go on. Example: select run_id, status, output from engine.start_runs(''[{"organizationId": "0190…", "workflowId": "0190…", "input": {"total": 120}}]'');';

grant execute on function engine.start_runs(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;
