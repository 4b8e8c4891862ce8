-- kind: code
-- Moves a run on after its log has grown: what beginning and completing a step have in common.
-- Returns a transition, which engine.write_transitions() writes. Writes only
-- engine.compiled_versions, when a run ends a quarantine; that row is skipped where it is locked.
-- The caller has locked the run.

-- Returns the transition of a run whose log has just grown. Begins one step that is ready, p_prefer
-- if given, for worker p_worker_id: that saves its branch a job and a transaction. Queues every
-- other one. Without p_prefer a step of the run has ended, and the one that begins is its successor.
-- long because beginning a step and ending a wait are parts of one loop.
create or replace function engine.advance_run(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_worker_id uuid,
  p_now timestamptz,
  p_prefer text default null
)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_nodes constant engine.compiled_node[] := p_compiled.nodes;
  v_run constant public.workflow_runs := p_loaded.run;
  v_last engine.log_entry := p_loaded.log[cardinality(p_loaded.log)];
  v_open text[] := case
    when cardinality(p_loaded.steps) > 0 then engine.cut_off(p_loaded.steps, p_compiled, p_prefer)
    else '{}'
  end;
  v_all_wait boolean := true;
  v_some_wait boolean := false;
  v_step engine.open_steps;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_signal engine.signal;
  v_transition engine.transition;
begin
  if v_last.seq > engine.max_run_events() - engine.max_nodes() then
    return engine.too_many_events(v_run, v_last, p_now);
  end if;
  foreach v_step in array p_loaded.steps loop
    if v_step.node is distinct from p_prefer then
      v_open := v_open || v_step.node;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
    end if;
  end loop;

  if p_compiled.quarantined_at is not null then
    v_transition.entries := array_remove(array[engine.isolated_entry(p_loaded.log, p_compiled, p_now)], null);
    v_last := coalesce(v_transition.entries[1], v_last);
  end if;

  -- Advance once, and again for each kept signal that a wait consumes.
  loop
    v_advanced := engine.advance(
      v_nodes, p_compiled.ids, v_run.id, p_loaded.log || v_transition.entries, v_open,
      p_resume_key => p_compiled.resume_key, p_prefer => p_prefer
    );
    v_transition.entries := v_transition.entries || v_advanced.entries;
    v_last := coalesce(v_transition.entries[cardinality(v_transition.entries)], v_last);

    foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
      v_step := engine.step_for(p_loaded, v_opened, p_now);
      if v_transition.task is null and v_opened.state = 'queued' and v_opened.properties is not null
        and p_worker_id is not null and (p_prefer is null or v_opened.node = p_prefer)
      then
        v_step := engine.begun_step(v_step, p_worker_id, p_now);
        v_transition.task := engine.task(v_run, v_nodes[v_opened.place], v_opened, v_step.attempt);
        v_last := engine.begun_entry(v_last, p_now, v_opened, v_step.attempt);
        v_transition.entries := v_transition.entries || v_last;
        if p_prefer is null then
          v_transition.successor := v_step;
        end if;
      end if;
      v_open := v_open || case when v_opened.properties is null then p_compiled.ids else array[v_opened.node] end;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
      if v_step.state <> 'running' or p_prefer is not null then
        v_transition.steps := v_transition.steps || v_step;
      end if;
    end loop;

    exit when v_last.type = 'run.failed' or not v_some_wait;
    v_signal := engine.next_signal(p_loaded.log || v_transition.entries);
    exit when v_signal.node is null;
    v_last := engine.signal_entry(v_signal, v_nodes[array_position(p_compiled.ids, v_signal.node)], v_last, p_now);
    v_transition := engine.ended_by_signal(v_transition, v_signal.node, v_last);
  end loop;

  v_transition.run := engine.run_after(v_run, v_last, v_all_wait);
  v_transition.is_changed := (v_transition.run).status <> v_run.status;
  if p_compiled.quarantined_at is not null then
    perform engine.end_quarantine(p_compiled, v_transition.run, p_loaded.log || v_transition.entries);
  end if;
  return v_transition;
end
$$;

-- Returns a step as its next attempt begins, with a lease of engine.lease_time().
create or replace function engine.begun_step(p_step engine.open_steps, p_worker_id uuid, p_now timestamptz)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.state := 'running';
  p_step.attempt := p_step.attempt + 1;
  p_step.worker_id := p_worker_id;
  p_step.lease_until := p_now + engine.lease_time();
  p_step.run_at := p_now;
  return p_step;
end
$$;

-- Returns the event that follows p_last. Times increase within a run, so its time is at least a
-- microsecond after that of p_last.
create or replace function engine.next_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_type text,
  p_payload jsonb
)
  returns engine.log_entry
  language sql
  stable -- as the addition of an interval: the planner inlines no function that claims more
as $$
  select row(
    p_last.seq + 1, greatest(p_now, p_last.ts + interval '1 microsecond'), p_type, p_payload
  )::engine.log_entry
$$;

-- Returns step.started; its input is left out when only the properties are evaluated.
create or replace function engine.begun_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_opened engine.opened_step,
  p_attempt int
)
  returns engine.log_entry
  language sql
  stable
as $$
  select engine.next_entry(p_last, p_now, 'step.started', jsonb_build_object(
    'node', p_opened.node, 'attempt', p_attempt
  ) || case
    when p_opened.is_isolated then '{"isolated": true}'
    else jsonb_build_object('input', p_opened.properties)
  end)
$$;

-- Returns the event that ends the wait of a signal.
create or replace function engine.signal_entry(
  p_signal engine.signal,
  p_node engine.compiled_node,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.log_entry
  language sql
  stable
as $$
  select engine.next_entry(p_last, p_now, 'step.succeeded', jsonb_build_object(
    'node', p_node.id, 'attempt', 1, 'port', p_node.ports[1], 'output', p_signal.payload, 'ms', 0
  ))
$$;

-- Adds the end of a wait to a transition, and closes its step.
create or replace function engine.ended_by_signal(p_transition engine.transition, p_node text, p_entry engine.log_entry)
  returns engine.transition
  language plpgsql
  immutable
as $$
begin
  p_transition.entries := p_transition.entries || p_entry;
  p_transition.closed := p_transition.closed || p_node;
  p_transition.steps := engine.without_step(p_transition.steps, p_node);
  return p_transition;
end
$$;

-- Returns the row of a step that advance() has reached: the open one, else a new one. A node that
-- turns out to wait gets a new one even if it is open: the budget ran out just before it, and its
-- row only marked where to go on.
create or replace function engine.step_for(
  p_loaded engine.loaded_run,
  p_opened engine.opened_step,
  p_now timestamptz
)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_open constant engine.open_steps := engine.step_of(p_loaded.steps, p_opened.node);
  v_step engine.open_steps := v_open;
begin
  if v_open.node is null or p_opened.state = 'waiting' then
    v_step := engine.new_step(p_loaded.run, p_opened, p_now);
    v_step.branch := coalesce(v_open.branch, v_step.branch);
    return v_step;
  end if;
  v_step.is_isolated := p_opened.is_isolated;
  return v_step;
end
$$;

-- Returns the nodes that must not advance now; none as a rule. Where the budget ran out, a queued
-- pure node marks where the graph goes on in another transaction. Until then nothing else advances,
-- because a replay, which has no budget, computes the events in this order only.
create or replace function engine.cut_off(
  p_steps engine.open_steps[],
  p_compiled engine.compiled_versions,
  p_prefer text
)
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  foreach v_step in array p_steps loop
    if v_step.state = 'queued' and v_step.node is distinct from p_prefer and not v_step.is_isolated
      and (p_compiled.nodes[array_position(p_compiled.ids, v_step.node)]).kind not in ('effect', 'local')
    then
      return engine.nodes_beside(p_compiled, p_prefer);
    end if;
  end loop;
  return '{}';
end
$$;

-- Returns the transition that ends a run with TOO_MANY_EVENTS: another transition, which passes each
-- node at most once, might exceed engine.max_run_events().
create or replace function engine.too_many_events(
  p_run public.workflow_runs,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.transition
  language plpgsql
  stable
as $$
declare
  v_transition engine.transition;
begin
  p_last := engine.next_entry(p_last, p_now, 'run.failed', jsonb_build_object('error', jsonb_build_object(
    'code', 'TOO_MANY_EVENTS', 'message', format('A run has at most %s events.', engine.max_run_events()),
    'retryable', false
  )));
  v_transition.entries := array[p_last];
  v_transition.run := engine.run_after(p_run, p_last, false);
  v_transition.is_changed := true;
  return v_transition;
end
$$;
