-- kind: code
-- Moves a run on: what beginning and completing a step have in common.

-- Advances a run whose log has just grown. One step that has become ready, p_prefer if given, is begun for the calling
-- worker right away, which saves its branch a job and a transaction; every other one is queued.
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
  v_open text[] := engine.cut_off(p_loaded.steps, p_compiled, p_prefer);
  v_all_wait boolean := true;
  v_some_wait boolean := false;
  v_step engine.open_steps;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_signal engine.signal;
  v_transition engine.transition;
begin
  if v_last.seq > 9500 then
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

  -- Once, and again for each signal that a step turns out to have been waiting for.
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
      end if;
      v_open := v_open || case when v_opened.properties is null then p_compiled.ids else array[v_opened.node] end;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
      v_transition.steps := v_transition.steps || v_step;
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

create or replace function engine.begun_step(p_step engine.open_steps, p_worker_id uuid, p_now timestamptz)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.state := 'running';
  p_step.attempt := p_step.attempt + 1;
  p_step.worker_id := p_worker_id;
  p_step.lease_until := p_now + interval '15 seconds';
  p_step.run_at := p_now;
  return p_step;
end
$$;

create or replace function engine.next_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_type text,
  p_payload jsonb
)
  returns engine.log_entry
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  v_entry.seq := p_last.seq + 1;
  v_entry.ts := greatest(p_now, p_last.ts + interval '1 microsecond');
  v_entry.type := p_type;
  v_entry.payload := p_payload;
  return v_entry;
end
$$;

create or replace function engine.begun_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_opened engine.opened_step,
  p_attempt int
)
  returns engine.log_entry
  language sql
  immutable
as $$
  select engine.next_entry(p_last, p_now, 'step.started', jsonb_build_object(
    'node', p_opened.node, 'attempt', p_attempt
  ) || case
    when p_opened.is_isolated then '{"isolated": true}'
    else jsonb_build_object('input', p_opened.properties)
  end)
$$;

-- The end of the wait that a signal is for.
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

-- A step that advance has reached: as it was if it is open already, else new. One that turns out to wait is new, even
-- when the budget ran out just before it: until now it was open to go on there, no more.
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
  v_step engine.open_steps := engine.step_of(p_loaded.steps, p_opened.node);
begin
  if v_step.node is null or p_opened.state = 'waiting' then
    return engine.new_step(p_loaded.run, p_opened, p_now);
  end if;
  v_step.is_isolated := p_opened.is_isolated;
  return v_step;
end
$$;

-- Where the budget has run out the graph goes on in another transaction, and nowhere else meanwhile: a replay has no
-- budget, and gives the events in this order only. What is cut off until then; nothing as a rule.
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

-- A log that has no end is ended, before its 10,000th event.
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
    'code', 'TOO_MANY_EVENTS', 'message', 'A run has at most 10,000 events.', 'retryable', false
  )));
  v_transition.entries := array[p_last];
  v_transition.run := engine.run_after(p_run, p_last, false);
  v_transition.is_changed := true;
  return v_transition;
end
$$;
