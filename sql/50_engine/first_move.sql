-- kind: code
-- The beginning of a run: its row, its first event, and what follows from that at once.

-- The row of a run that is about to begin.
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
  return v_run;
end
$$;

-- What run.created says of any run.
create or replace function engine.created_payload(
  p_request engine.start_request,
  p_plan engine.plans,
  p_trigger text
)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return jsonb_build_object(
    'workflowId', p_request.workflow_id,
    'version', p_plan.version,
    'mode', p_request.mode,
    'trigger', p_trigger,
    'input', p_request.input,
    'vars', case
      when cardinality(p_plan.vars) > 0 then engine.variables_of(p_request.organization_id, p_plan.vars) else '{}'
    end
  );
end
$$;

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
  v_step engine.open_steps;
  v_waiting boolean := true;
  v_error jsonb;
  v_move engine.move;
begin
  if p_plan.settings ? 'flow' then
    p_request := engine.admit_start(p_request, p_plan);
  end if;
  v_run := engine.new_run(p_request, p_plan.version, p_plan.settings, p_now);

  v_created.seq := 1;
  v_created.ts := p_now;
  v_created.type := 'run.created';
  v_created.payload := engine.created_payload(p_request, p_plan, p_trigger);
  if v_run.parent_run_id is not null then
    v_created.payload := v_created.payload || engine.parent_of(v_run);
  end if;
  if p_request.origin is not null then
    v_created.payload := v_created.payload || p_request.origin;
  end if;
  v_move.entries := v_created || p_request.reused;
  if p_plan.quarantined_at is not null then
    v_move.entries := v_move.entries || engine.isolated_entry(v_move.entries, p_plan, p_now);
  end if;
  if p_request.mode = 'child' then
    v_error := engine.input_error(p_nodes[array_position(p_plan.ids, p_trigger)], p_request.input);
  end if;
  if v_error is null then
    v_advanced := engine.advance(
      p_nodes, p_plan.ids, v_run.id, v_move.entries, p_resume_key => p_plan.resume_key
    );
  else
    v_advanced.entries := array[engine.next_entry(
      v_created, p_now, 'run.failed', jsonb_build_object('error', v_error)
    )];
  end if;
  v_move.entries := v_move.entries || v_advanced.entries;

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_step := engine.new_step(v_run, v_opened, p_now);
    if p_request.is_taken and v_step.state = 'queued' then
      v_move.taken := coalesce(v_move.taken, v_step.node);
    end if;
    v_move.steps := v_move.steps || v_step;
    v_waiting := v_waiting and v_opened.state = 'waiting';
  end loop;
  v_move.run := engine.run_after(v_run, v_move.entries[cardinality(v_move.entries)], v_waiting);
  if p_plan.quarantined_at is not null then
    perform engine.end_quarantine(p_plan, v_move.run, v_move.entries);
  end if;
  return v_move;
end
$$;

-- What run.created says of a child's parent.
create or replace function engine.parent_of(p_run public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('parent', jsonb_strip_nulls(jsonb_build_object(
    'run', p_run.parent_run_id, 'node', p_run.parent_node, 'index', p_run.parent_index
  )))
$$;
