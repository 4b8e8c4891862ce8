-- kind: code
-- Ends waits whose time is up, and refuses answers that come too late.
-- Returns transitions: the caller holds the lock of the run and writes them. Of a step with child
-- runs, end_wait() starts these (children/children.sql).

-- Returns the transition for a job of a step that waits: a timer succeeds, a wait without an answer
-- times out, a step with child runs starts more of them or ends.
create or replace function engine.end_wait(
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
  v_opened constant engine.opened_step := engine.opened_step_of(p_compiled, p_step.run_id, p_loaded.log, p_step.node);
  v_node constant engine.compiled_node := p_compiled.nodes[v_opened.place];
  v_kind constant text := engine.wait_kind(v_node, v_opened.properties);
begin
  p_step.attempt := 1;
  if v_kind in ('run', 'forEach', 'repeat') then
    return engine.run_children_step(p_loaded, p_compiled, p_step, v_opened, p_worker_id, p_now);
  end if;
  return engine.apply_result(
    p_loaded, p_compiled, p_step,
    case v_kind
      when 'time' then jsonb_build_object('ok', true, 'output', v_opened.prev)
      else engine.timeout_result(v_node, v_opened.prev)
    end,
    p_worker_id, p_now, v_opened.prev_of
  );
end
$$;

-- Returns the result of a wait without an answer: port timeout where the node has it, else the
-- error WAIT_TIMEOUT. A compiled node has port timeout only when a connection begins there.
create or replace function engine.timeout_result(p_node engine.compiled_node, p_prev jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when 'timeout' = any (p_node.ports) then jsonb_build_object('ok', true, 'port', 'timeout', 'output', p_prev)
    else jsonb_build_object('ok', false, 'error', jsonb_build_object(
      'code', 'WAIT_TIMEOUT', 'message', 'Nothing came before the time was up.', 'retryable', false
    ))
  end
$$;

-- Returns how a step ended, for callers that come too late; null while it has not ended.
create or replace function engine.first_outcome(p_log engine.log_entry[], p_node text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_log loop
    if v_entry.type in ('step.succeeded', 'step.failed', 'step.reused') and v_entry.payload ->> 'node' = p_node then
      return v_entry.payload - 'ms' || jsonb_build_object('at', engine.iso_time(v_entry.ts));
    end if;
  end loop;
  return null;
end
$$;

-- Raises EXPIRED when a wait has timed out, ALREADY_USED when it has ended in another way.
-- p_outcome: how it ended, as engine.first_outcome() returns it; null while it has not.
create or replace function engine.refuse_late(p_outcome jsonb)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_outcome ->> 'port' = 'timeout' or p_outcome #>> '{error,code}' = 'WAIT_TIMEOUT' then
    perform private.raise_error('EXPIRED', 'The time for this is up.', null, jsonb_build_object('first', p_outcome));
  elsif p_outcome is not null then
    perform private.raise_error(
      'ALREADY_USED', 'This was done before; the details say how.', null, jsonb_build_object('first', p_outcome)
    );
  end if;
end
$$;
