-- kind: code
-- Child runs: a step starts runs of another workflow and continues when they have ended.
-- Writes child runs through engine.start_runs(), and engine.child_starts; the caller holds the lock
-- of the parent and writes its transition. The end of a child adds a job for the parent
-- (engine.children_jobs()), which locks the parent alone: both are in one transaction only when the
-- child starts. Order of locks: docs/reference/locks.md.

-- Starts one child per input; p_from is the index of the first. p_waits: whether the parent waits
-- for them. A row with an error and without run_id is a refusal: no such workflow, none published,
-- a limit. A nested child has the priority of its parent plus one: a tree of runs that grows into
-- thousands does not stand in the queue before the runs of others.
create or replace function engine.start_children(
  p_run public.workflow_runs,
  p_opened engine.opened_step,
  p_inputs jsonb[],
  p_from int,
  p_waits boolean default true
)
  returns table (
    run_id uuid,
    status text,
    output jsonb,
    error jsonb
  )
  language plpgsql
  volatile
as $$
declare
  v_workflow_id constant uuid := engine.workflow_named(
    p_run.organization_id, p_opened.properties ->> 'workflow'
  );
  v_ancestry constant record := engine.ancestry_of(p_run);
begin
  if v_workflow_id is null then
    error := engine.request_error('NOT_FOUND', format(
      'There is no workflow %s.', p_opened.properties ->> 'workflow'
    ));
  elsif v_ancestry.depth >= 10 then
    error := engine.request_error('TOO_DEEP', 'Child runs are at most 10 levels deep.');
  else
    error := engine.count_children(p_run, v_ancestry.root_run_id, p_inputs);
  end if;
  if error is not null then
    return next;
    return;
  end if;
  return query
  select s.run_id, s.status, s.output, s.error
  from engine.start_runs((
    select jsonb_agg(jsonb_build_object(
      'organizationId', p_run.organization_id,
      'workflowId', v_workflow_id,
      'mode', 'child',
      'input', i.input,
      'startedBy', p_run.started_by,
      'priority', case when engine.is_nesting(p_run) then least(p_run.priority + 1, 1000) end,
      'parent', jsonb_build_object(
        'run', p_run.id, 'node', p_opened.node,
        'index', case when p_waits then p_from + i.place - 1 end
      )
    ) order by i.place)
    from unnest(p_inputs) with ordinality as i (input, place)
  )) as s
  order by s.index;
end
$$;

-- Returns the workflow that a node names by id or by name; null when there is none. An id wins over
-- a name; of several with one name, those that are not archived and those that are published come
-- first.
create or replace function engine.workflow_named(p_organization_id uuid, p_name text)
  returns uuid
  language sql
  stable
as $$
  select w.id
  from public.workflows as w
  where w.organization_id = p_organization_id
    and p_name in (w.id::text, w.name)
  order by w.id::text = p_name desc, w.archived_at is null desc, w.published_version is not null desc, w.id
  limit 1
$$;

-- Returns the topmost ancestor of a run and how many ancestors it has; looks 10 levels up at most.
create or replace function engine.ancestry_of(
  p_run public.workflow_runs,
  out root_run_id uuid,
  out depth int
)
  language plpgsql
  stable
as $$
declare
  v_parent_id uuid := p_run.parent_run_id;
begin
  root_run_id := p_run.id;
  depth := 0;
  while v_parent_id is not null and depth < 10 loop
    root_run_id := v_parent_id;
    depth := depth + 1;
    select r.parent_run_id into v_parent_id from public.workflow_runs as r where r.id = root_run_id;
  end loop;
end
$$;

-- Returns the properties of a step with those expressions evaluated that differ for each child
-- (deferred of engine.compiled_node); they see p_item as $.item and p_index as $.index.
create or replace function engine.resolve_for_child(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_opened engine.opened_step,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node constant engine.compiled_node := p_compiled.nodes[p_opened.place];
  v_created constant engine.log_entry := p_loaded.log[1];
begin
  return engine.resolve(
    p_opened.properties - 'items', v_node.deferred, v_node.is_strict,
    engine.source_values(
      v_created.payload -> 'input', p_opened.prev, p_opened.inputs,
      case when v_node.uses_run then engine.run_context(
        (p_loaded.run).id, v_created.payload, v_created.ts, p_compiled.nodes, p_compiled.resume_key,
        (engine.fold(p_compiled.nodes, p_compiled.ids, p_loaded.log)).at
      ) end,
      v_created.payload -> 'vars', p_item, p_index
    ),
    p_opened.outputs
  );
end
$$;

-- Returns the first problem of a child's input with the schema of the trigger, as an error:
-- VALIDATION_FAILED, or TOO_LARGE when comparing costs too much. Returns null when there is none.
create or replace function engine.input_error(p_trigger engine.compiled_node, p_input jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_schema constant jsonb := nullif(p_trigger.properties -> 'input', '{}');
begin
  return case
    when v_schema is null then null
    when engine.is_expensive_input(p_input, v_schema) then jsonb_build_object(
      'code', 'TOO_LARGE',
      'message', 'The input has more values than its schema may be compared with.',
      'retryable', false
    )
    else (
      select jsonb_build_object(
        'code', 'VALIDATION_FAILED',
        'message', format('The input%s %s.', ' ' || nullif(p.pointer, ''), p.message),
        'retryable', false
      )
      from engine.schema_problems(p_input, v_schema, p_most => 1) as p
    )
  end;
end
$$;

-- Returns the transition for a job of a step with child runs: its first job, or one that the end of
-- a child has added. Starts children; ends the step when its result is known.
create or replace function engine.run_children_step(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_step engine.open_steps,
  p_opened engine.opened_step,
  p_worker_id uuid,
  p_now timestamptz
)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_type constant text := (p_compiled.nodes[p_opened.place]).type;
  v_progress engine.children_progress;
  v_transition engine.transition;
begin
  case
    when v_type like 'repeat@%' then
      v_progress := engine.run_repeat(p_loaded, p_compiled, p_step, p_opened);
    when p_opened.properties -> 'wait' = 'false' then
      v_progress := engine.start_independent(p_loaded.run, p_opened);
    else
      v_progress := engine.run_for_each(p_loaded, p_compiled, p_step, p_opened);
  end case;
  if v_progress.result is not null then
    return engine.apply_result(p_loaded, p_compiled, p_step, v_progress.result, p_worker_id, p_now);
  end if;
  p_step.next_index := v_progress.next_index;
  p_step.error := v_progress.error;
  p_step.unfinished_children := v_progress.unfinished;
  p_step.run_at := coalesce(v_progress.wait_until, case when v_progress.again then p_now end);
  v_transition.run := p_loaded.run;
  v_transition.is_changed := false;
  v_transition.steps := array[p_step];
  return v_transition;
end
$$;
