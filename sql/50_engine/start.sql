-- kind: code
-- Starts runs, a batch at a time. Pure nodes are evaluated here and now: a run of nothing else is finished when the
-- transaction commits, and costs no worker a round trip.

-- The response that a webhook waits for, if it was given already.
create or replace function engine.response_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
  strict
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

-- The output of a run that has succeeded already.
create or replace function engine.output_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
  strict
as $$
declare
  v_last constant engine.log_entry := p_entries[cardinality(p_entries)];
  v_of constant text := v_last.payload ->> 'outputOf';
  v_entry engine.log_entry;
begin
  if v_last.type <> 'run.succeeded' then
    return null;
  elsif v_of is null then
    return v_last.payload -> 'output';
  elsif starts_with(v_of, '$') then
    return engine.referred_input(p_entries[1].payload, v_of);
  end if;
  foreach v_entry in array p_entries loop
    if v_entry.payload ->> 'node' = v_of and v_entry.payload ? 'output' then
      return v_entry.payload -> 'output';
    end if;
  end loop;
end
$$;

-- Of a run that was there before, or that this batch starts.
create or replace function engine.status_of(p_run_id uuid, p_moves engine.move[])
  returns text
  language sql
  stable
as $$
  select coalesce(
    (select r.status from public.workflow_runs as r where r.id = p_run_id),
    (select (m.run).status from unnest(p_moves) as m where (m.run).id = p_run_id)
  )
$$;

create or replace function engine.write_starts(p_moves engine.move[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  insert into public.workflow_runs select (m.run).* from unnest(p_moves) as m;
  perform engine.write_moves(p_moves, p_now);
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
    duplicate boolean,
    taken text
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
  v_plan engine.plans;
  v_nodes engine.plan_node[];
  v_asked int;
  v_trigger text;
  v_room engine.room;
  v_refused uuid;
  v_move engine.move;
  v_moves engine.move[];
begin
  foreach v_request in array v_requests loop
    index := v_request.index;
    run_id := v_request.duplicate_of;
    duplicate := run_id is not null;
    status := case when duplicate then engine.status_of(run_id, v_moves) end;
    v_move := null;
    -- The request before this one may have held the key and been refused: then this one is, too.
    error := case when run_id = v_refused then error else v_request.error end;

    if not duplicate and error is null then
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
      if error is null and v_room.workflow_id is distinct from v_request.workflow_id then
        v_room := engine.admit_starts(v_room, v_plan, cardinality(v_requests), v_now);
      end if;
      error := coalesce(error, engine.admission_error(v_room));
      v_room.left := v_room.left - (error is null)::int;
    end if;

    if error is not null then
      v_refused := engine.release_key(v_request);
      run_id := null;
      duplicate := false;
    elsif not duplicate then
      v_move := engine.first_move(v_request, v_plan, v_nodes, v_trigger, v_now);
      v_moves := v_moves || v_move;
      run_id := (v_move.run).id;
      status := (v_move.run).status;
      error := (v_move.run).error;
    end if;
    response := engine.response_in(v_move.entries);
    output := engine.output_in(v_move.entries);
    taken := v_move.taken;
    return next;
  end loop;
  perform engine.admit_starts(v_room, null, 0, v_now);
  perform engine.write_starts(v_moves, v_now);
end
$$;

comment on function engine.start_runs(jsonb) is
  'Starts a batch of runs, in one transaction; pure nodes are evaluated in it. Takes an array of {"organizationId", "workflowId", "mode"?, "input"?, "trigger"?, "key"?, "fingerprint"?, "startedBy"?, "priority"?, "metadata"?, "version"?, "take"?}; answers with one row per request, by its index from 0. What is wrong with a request is in its row''s error, {"code", "message"}; the others go on. With "take" the run''s first step gets no job for the next five seconds: the caller, a worker with room for it, begins it by begin_steps; its node is in taken. Example: select run_id, status, output from engine.start_runs(''[{"organizationId": "0190…", "workflowId": "0190…", "input": {"total": 120}}]'');';

grant execute on function engine.start_runs(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;
