-- kind: code
-- Builds the start of a run: its row, its first event, and what follows at once.
-- engine.write_starts() writes what it returns. Flow control writes and locks here
-- (flow_control/hold.sql), where the workflow has limits; a run that ends a quarantine updates
-- engine.compiled_versions and skips that row where it is locked.

-- Returns the transition of a new run, from its first event to its end, or to where it needs a
-- worker, a time or something outside.
create or replace function engine.start_transition(
  p_request engine.start_request,
  p_compiled engine.compiled_versions,
  p_nodes engine.compiled_node[],
  p_trigger text,
  p_now timestamptz
)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_created engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_step engine.open_steps;
  v_waiting boolean := true;
  v_error jsonb;
  v_transition engine.transition;
begin
  if p_compiled.settings ? 'flow' then
    p_request := engine.apply_flow_control(p_request, p_compiled);
  end if;
  v_run := engine.new_run(p_request, p_compiled.version, p_compiled.settings, p_now);
  v_run.trigger_node := p_trigger;

  v_created.seq := 1;
  v_created.ts := p_now;
  v_created.type := 'run.created';
  v_created.payload := engine.created_payload(p_request, p_compiled, p_trigger);
  if v_run.parent_run_id is not null then
    v_created.payload := v_created.payload || engine.parent_of(v_run);
  end if;
  if p_request.origin is not null then
    v_created.payload := v_created.payload || p_request.origin;
  end if;
  v_transition.entries := v_created || p_request.reused;
  if p_compiled.quarantined_at is not null then
    v_transition.entries := v_transition.entries || engine.isolated_entry(v_transition.entries, p_compiled, p_now);
  end if;
  if p_request.mode = 'child' then
    v_error := engine.input_error(p_nodes[array_position(p_compiled.ids, p_trigger)], p_request.input);
  end if;
  if v_error is null then
    v_advanced := engine.advance(
      p_nodes, p_compiled.ids, v_run.id, v_transition.entries, p_resume_key => p_compiled.resume_key
    );
  else
    v_advanced.entries := array[engine.next_entry(
      v_created, p_now, 'run.failed', jsonb_build_object('error', v_error)
    )];
  end if;
  v_transition.entries := v_transition.entries || v_advanced.entries;

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_step := engine.new_step(v_run, v_opened, p_now);
    if p_request.is_claimed and v_step.state = 'queued' then
      v_transition.claimed := coalesce(v_transition.claimed, v_step.node);
    end if;
    v_transition.steps := v_transition.steps || v_step;
    v_waiting := v_waiting and v_opened.state = 'waiting';
  end loop;
  v_transition.run := engine.run_after(v_run, v_transition.entries[cardinality(v_transition.entries)], v_waiting);
  if p_compiled.quarantined_at is not null then
    perform engine.end_quarantine(p_compiled, v_transition.run, v_transition.entries);
  end if;
  return v_transition;
end
$$;

-- Returns the row of a new run.
create or replace function engine.new_run(
  p_request engine.start_request,
  p_version int,
  p_settings jsonb,
  p_now timestamptz
)
  returns public.workflow_runs
  language plpgsql
  immutable
as $$
declare
  v_run public.workflow_runs;
begin
  v_run.id := p_request.run_id;
  v_run.organization_id := p_request.organization_id;
  v_run.workflow_id := p_request.workflow_id;
  v_run.version := p_version;
  v_run.mode := p_request.mode;
  v_run.parent_run_id := p_request.parent_run_id;
  v_run.parent_node := p_request.parent_node;
  v_run.parent_index := p_request.parent_index;
  v_run.started_by := p_request.started_by;
  v_run.priority := coalesce(p_request.priority, (p_settings -> 'priority')::smallint, 0);
  v_run.started_at := p_now;
  v_run.deadline_at := p_now + make_interval(secs => (p_settings ->> 'deadlineMs')::double precision / 1000);
  v_run.metadata := p_request.metadata;
  v_run.retry_of := p_request.retry_of;
  v_run.concurrency_key := p_request.concurrency_key;
  v_run.application := p_request.origin ->> 'application';
  return v_run;
end
$$;

-- Returns the payload of run.created, without what only child runs, retries, forks and held runs
-- have.
create or replace function engine.created_payload(
  p_request engine.start_request,
  p_compiled engine.compiled_versions,
  p_trigger text
)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return jsonb_build_object(
    'workflowId', p_request.workflow_id,
    'version', p_compiled.version,
    'mode', p_request.mode,
    'trigger', p_trigger,
    'input', p_request.input,
    'vars', case
      when cardinality(p_compiled.vars) > 0 then engine.variables_of(p_request.organization_id, p_compiled.vars)
      else '{}'
    end
  );
end
$$;

-- Returns what run.created says of the parent of a child run.
create or replace function engine.parent_of(p_run public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('parent', jsonb_strip_nulls(jsonb_build_object(
    'run', p_run.parent_run_id, 'node', p_run.parent_node, 'index', p_run.parent_index
  )))
$$;
