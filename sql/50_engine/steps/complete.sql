-- kind: code
-- Records the results of steps, each exactly once, and moves the runs on in the same transaction. A
-- result of an older attempt, or of a run that has ended, is answered `stale` and changes nothing.
-- Begins the next step of the branch for the worker. Locks the runs by core/load.sql and writes by
-- core/write.sql; queues deferred steps for the slots that become free, skipping locked ones.

-- long because each result of a batch is answered in one loop, with what the last one has read.
create or replace function engine.complete_steps(p_results jsonb, p_worker_id uuid)
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
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_results jsonb[];
  v_ids uuid[];
  v_loaded engine.loaded_run;
  v_compiled engine.compiled_versions;
  v_places int[];
  v_place int;
  v_step engine.open_steps;
  v_transition engine.transition;
  v_transitions engine.transition[];
  v_left int := 0; -- slots that become free
begin
  select coalesce(array_agg(r), '{}'), coalesce(array_agg((r ->> 'runId')::uuid), '{}')
  into v_results, v_ids
  from jsonb_array_elements(p_results) as r;
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    if (v_compiled.workflow_id, v_compiled.version)
      is distinct from ((v_loaded.run).workflow_id, (v_loaded.run).version) then
      v_compiled := engine.compiled_version_of(v_loaded.run);
    end if;
    v_places := array_positions(v_ids, run_id);
    foreach v_place in array v_places loop
      index := v_place - 1;
      outcome := 'stale';
      status := (v_loaded.run).status;
      next := null;
      v_step := engine.step_of(v_loaded.steps, v_results[v_place] ->> 'node');
      if v_step.state = 'running' and v_step.attempt = (v_results[v_place] -> 'attempt')::int
        and (v_loaded.run).finished_at is null
      then
        outcome := 'recorded';
        v_transition := engine.apply_result(v_loaded, v_compiled, v_step, v_results[v_place], p_worker_id, v_now);
        v_transitions := v_transitions || v_transition;
        next := v_transition.task;
        if next is null then
          v_left := v_left + 1;
        end if;
        status := (v_transition.run).status;
        if status = 'error' then
          perform engine.lock_error_quotas(array[v_transition.run], v_now);
        end if;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_transition(v_loaded, v_transition);
        end if;
      end if;
      return next;
    end loop;
    v_ids := array_replace(v_ids, run_id, null);
  end loop;
  perform engine.write_transitions(v_transitions, v_now);
  if v_left > 0 and engine.has_deferred_steps() then
    perform engine.fill_free_slots(v_left);
  end if;

  if array_remove(v_ids, null) <> '{}' then -- of runs that do not exist
    return query
    select (i.place - 1)::int, 'stale', i.id, null::text, null::jsonb
    from unnest(v_ids) with ordinality as i (id, place)
    where i.id is not null;
  end if;
end
$$;

comment on function engine.complete_steps(jsonb, uuid) is
  'For workers: records the results of a batch, [{"runId", "node", "attempt", "ok", "port"?, "output"?, "properties"?, "error"?, "ms"}], each once, and moves the runs on. outcome: recorded; stale, for a result of an older attempt or of a run that has ended, which changes nothing. next: the task of the step to go on with, if there is one. Example: select * from engine.complete_steps(''[{"runId": "0190…", "node": "notify", "attempt": 1, "ok": true, "output": {}}]'', gen_random_uuid());';

grant execute on function engine.complete_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;

-- Returns the event of a result. A result that is invalid becomes a failure: TOO_LARGE,
-- UNKNOWN_PORT. p_of: how the log refers to its output; null: the event holds it.
create or replace function engine.outcome_entry(
  p_result jsonb,
  p_node engine.compiled_node,
  p_step engine.open_steps,
  p_last engine.log_entry,
  p_now timestamptz,
  p_of text
)
  returns engine.log_entry
  language plpgsql
  volatile
as $$
declare
  v_port constant text := coalesce(p_result ->> 'port', p_node.ports[1]);
  v_payload jsonb := jsonb_build_object(
    'node', p_node.id, 'attempt', p_step.attempt, 'ms', coalesce(p_result -> 'ms', '0')
  );
  v_error jsonb;
begin
  v_error := case
    when p_result -> 'ok' is distinct from 'true' then coalesce(p_result -> 'error', '{}')
    when pg_column_size(p_result -> 'output') > 512 and engine.excess(p_result -> 'output') is not null
      then engine.request_error('TOO_LARGE', format('The output of the step %s.', engine.excess(p_result -> 'output')))
    when p_step.is_isolated and p_result ? 'properties' then case
      when engine.excess(p_result -> 'properties', 128) is not null
        then engine.request_error(
          'TOO_LARGE', format('The input of the step %s.', engine.excess(p_result -> 'properties', 128))
        )
    end
    when v_port <> all (p_node.ports)
      then engine.request_error('UNKNOWN_PORT', format('The node has no port %L.', v_port))
  end;
  if v_error is null and p_step.is_isolated and p_result ? 'properties' then
    return engine.next_entry(p_last, p_now, 'step.evaluated', v_payload || jsonb_build_object(
      'properties', p_result -> 'properties'
    ));
  elsif v_error is null then
    return engine.next_entry(p_last, p_now, 'step.succeeded', v_payload || case
      when p_of is null then jsonb_build_object('port', v_port, 'output', coalesce(p_result -> 'output', 'null'))
      else jsonb_build_object('port', v_port, 'outputOf', p_of)
    end);
  end if;

  v_error := engine.short_error(
    '{"code": "NODE_FAILED", "message": "The step failed.", "retryable": false}' || v_error
  );
  v_payload := v_payload || jsonb_build_object('error', v_error - 'retryAfterMs');
  if v_error -> 'retryable' = 'true' and p_step.failures + 1 < p_node.max_attempts then
    v_payload := v_payload || jsonb_build_object(
      'retryAt', engine.iso_time(p_now + engine.retry_delay(p_node, p_step.failures + 1, v_error))
    );
  end if;
  return engine.next_entry(p_last, p_now, 'step.failed', v_payload);
end
$$;

-- Returns the time until the next attempt: min(maxMs, initialMs · 2^(failures − 1)), with jitter
-- times a random number from 0.5 to 1; retryAfterMs of the error if that is longer; at most an
-- hour.
create or replace function engine.retry_delay(p_node engine.compiled_node, p_failures int, p_error jsonb)
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

-- Marks the step that has begun as the successor, which takes over the row of the one that has
-- ended.
create or replace function engine.with_successor(p_transition engine.transition)
  returns engine.transition
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
  v_others engine.open_steps[];
begin
  foreach v_step in array p_transition.steps loop
    if v_step.state = 'running' then
      p_transition.successor := v_step;
    else
      v_others := v_others || v_step;
    end if;
  end loop;
  p_transition.steps := v_others;
  return p_transition;
end
$$;

-- Returns what comes of a result: the step is queued again, or it has ended and the run moves on. A
-- paused run does not move on before it is resumed.
create or replace function engine.apply_result(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_step engine.open_steps,
  p_result jsonb,
  p_worker_id uuid,
  p_now timestamptz,
  p_of text default null
)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_entry constant engine.log_entry := engine.outcome_entry(
    p_result, p_compiled.nodes[array_position(p_compiled.ids, p_step.node)], p_step,
    p_loaded.log[cardinality(p_loaded.log)],
    p_now, p_of
  );
  v_transition engine.transition;
begin
  p_loaded.log := p_loaded.log || v_entry;
  if v_entry.payload ? 'retryAt' then
    p_step.state := 'queued';
    p_step.failures := p_step.failures + 1;
    p_step.worker_id := null;
    p_step.lease_until := null;
    p_step.run_at := v_entry.payload ->> 'retryAt';
    v_transition.run := p_loaded.run;
    v_transition.is_changed := false;
    v_transition.steps := array[p_step];
  elsif v_entry.type = 'step.evaluated' then
    v_transition := engine.after_evaluation(p_loaded, p_compiled, p_step, p_worker_id, p_now);
  else
    p_loaded.steps := engine.without_step(p_loaded.steps, p_step.node);
    if (p_loaded.run).status = 'paused' then
      v_transition.run := p_loaded.run;
      v_transition.is_changed := false;
    else
      v_transition := engine.advance_run(p_loaded, p_compiled, p_worker_id, p_now);
    end if;
    v_transition.closed := p_step.node || v_transition.closed;
    if v_transition.task is not null then
      v_transition := engine.with_successor(v_transition);
    end if;
  end if;
  v_transition.entries := v_entry || v_transition.entries;
  return v_transition;
end
$$;
