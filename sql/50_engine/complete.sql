-- kind: code
-- Records the results of steps, each exactly once: a result of an older attempt, or of a run that has ended, is answered
-- `stale` and changes nothing. The run moves on in the same transaction, and the branch's next step is handed back.

-- The event of a result; what is invalid about a result makes it a failure.
create or replace function engine.outcome_entry(
  p_result jsonb,
  p_node engine.plan_node,
  p_step engine.open_steps,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.log_entry
  language plpgsql
  volatile
as $$
declare
  v_error jsonb;
  v_facts jsonb := jsonb_build_object(
    'node', p_node.id, 'attempt', p_step.attempt, 'ms', coalesce(p_result -> 'ms', '0')
  );
  v_entry engine.log_entry;
begin
  v_entry.seq := p_last.seq + 1;
  v_entry.ts := greatest(p_now, p_last.ts + interval '1 microsecond');
  if p_result -> 'ok' = 'true' then
    if pg_column_size(p_result -> 'output') > 1048576 then
      v_error := engine.request_error('TOO_LARGE', 'The output of a step is at most 1 MiB.');
    elsif coalesce(p_result ->> 'port', p_node.ports[1]) <> all (p_node.ports) then
      v_error := engine.request_error('UNKNOWN_PORT', format('The node has no port %L.', p_result ->> 'port'));
    else
      v_entry.type := 'step.succeeded';
      v_entry.payload := v_facts || jsonb_build_object(
        'port', coalesce(p_result ->> 'port', p_node.ports[1]),
        'output', coalesce(p_result -> 'output', 'null')
      );
      return v_entry;
    end if;
  else
    v_error := coalesce(p_result -> 'error', '{}');
  end if;

  v_error := jsonb_build_object('code', 'NODE_FAILED', 'message', 'The step failed.', 'retryable', false) || v_error;
  v_entry.type := 'step.failed';
  v_entry.payload := v_facts || jsonb_build_object('error', v_error - 'retryAfterMs');
  if v_error -> 'retryable' = 'true' and p_step.failures + 1 < p_node.max_attempts then
    v_entry.payload := v_entry.payload || jsonb_build_object(
      'retryAt', engine.iso_time(p_now + engine.retry_delay(p_node, p_step.failures + 1, v_error))
    );
  end if;
  return v_entry;
end
$$;

-- min(maxMs, initialMs · 2^(k−1)), with jitter times random(0.5..1), or what the peer asked for if that is longer, at most an hour.
create or replace function engine.retry_delay(p_node engine.plan_node, p_failures int, p_error jsonb)
  returns interval
  language sql
  volatile
as $$
  select make_interval(secs => least(
    3600,
    greatest(
      least(p_node.retry_max_ms, p_node.retry_initial_ms * power(2, least(p_failures - 1, 30)))
        * case when p_node.retry_jitter then 0.5 + random() / 2 else 1 end,
      coalesce((p_error ->> 'retryAfterMs')::double precision, 0)
    ) / 1000
  ))
$$;

create or replace function engine.complete_steps(p_results jsonb, p_worker uuid)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    status text,
    next jsonb
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
  v_result record;
  v_step engine.open_steps;
  v_entry engine.log_entry;
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
      array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_results) as r), v_now
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

    for v_result in
      select r.result, (r.place - 1)::int as index
      from jsonb_array_elements(p_results) with ordinality as r (result, place)
      where r.result ->> 'runId' = v_run.id::text
    loop
      index := v_result.index;
      run_id := v_run.id;
      status := v_run.status;
      next := null;
      outcome := 'stale';
      v_step := engine.step_of(v_loaded.steps, v_result.result ->> 'node');
      if v_step.state = 'running' and v_step.attempt = (v_result.result ->> 'attempt')::int
        and v_run.finished_at is null
      then
        outcome := 'recorded';
        v_entry := engine.outcome_entry(
          v_result.result, v_nodes[array_position(v_plan.ids, v_step.node)], v_step,
          v_loaded.log[cardinality(v_loaded.log)], v_now
        );
        v_events := v_events || row(
          v_run.organization_id, v_run.id, v_entry.seq, v_entry.ts, v_entry.type, v_entry.payload
        )::engine.new_event;
        v_loaded.log := v_loaded.log || v_entry;
        if v_entry.payload ? 'retryAt' then
          v_step.state := 'queued';
          v_step.failures := v_step.failures + 1;
          v_step.worker_id := null;
          v_step.lease_until := null;
          v_step.run_at := v_entry.payload ->> 'retryAt';
          v_steps := v_steps || v_step;
          v_loaded.steps := engine.without_step(v_loaded.steps, v_step.node) || v_step;
          v_wake_ups := v_wake_ups || row(v_run.id, v_step.node, v_step.run_at, v_run.priority)::engine.wake_up;
        else
          v_closed := v_closed || row(v_run.id, v_step.node)::engine.step_key;
          v_loaded.steps := engine.without_step(v_loaded.steps, v_step.node);
          if v_run.status <> 'paused' then
            v_move := engine.move_on(v_loaded, v_plan, v_nodes, p_worker, v_now);
            next := v_move.task;
            v_events := v_events || v_move.events;
            v_wake_ups := v_wake_ups || v_move.wake_ups;
            v_steps := v_steps || v_move.steps;
            v_loaded := engine.after_move(v_loaded, v_move, v_step.node);
            v_run := v_loaded.run;
            status := v_run.status;
          end if;
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

  return query
  select (r.place - 1)::int, 'stale', (r.result ->> 'runId')::uuid, null, null::jsonb
  from jsonb_array_elements(p_results) with ordinality as r (result, place)
  where (r.result ->> 'runId')::uuid <> all (v_seen);
end
$$;

revoke execute on function engine.complete_steps(jsonb, uuid) from public;
grant execute on function engine.complete_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;
