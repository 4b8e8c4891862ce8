-- kind: code
-- Records the results of steps, each exactly once, and moves the runs on in the same transaction. A
-- result of an older attempt, or of a run that has ended, is answered `stale` and changes nothing.
-- Begins the next step of the branch for the worker. engine.apply_batch() locks and writes.

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
begin
  return query
  select b.index, b.outcome, b.run_id, b.status, b.task from engine.apply_batch(p_results, p_worker_id, true) as b;
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
    p_loaded.steps := case
      when cardinality(p_loaded.steps) > 1 then engine.without_step(p_loaded.steps, p_step.node)
      else '{}'
    end;
    if (p_loaded.run).status = 'paused' then
      v_transition.run := p_loaded.run;
      v_transition.is_changed := false;
    else
      v_transition := engine.advance_run(p_loaded, p_compiled, p_worker_id, p_now);
    end if;
    v_transition.closed := p_step.node || v_transition.closed; -- first: the successor takes over its row
    if v_transition.task is not null then
      v_transition.successor.branch := p_step.branch;
    end if;
  end if;
  v_transition.entries := v_entry || v_transition.entries;
  return v_transition;
end
$$;
