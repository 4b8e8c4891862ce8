-- kind: code
-- Retries and forks: runs that reuse finished steps of another run. A retry repeats what failed; a
-- fork begins at any node, with other input or another version.
-- Writes a run with its events, steps and jobs through engine.write_starts(),
-- private.usage_counters through engine.reserve_quota(), and retried_by of the old run. Locks the
-- old run, then the counters; docs/reference/locks.md says why that order is safe.

-- Returns the new run, or the existing retry of a run that was retried before; null when there is
-- no such run. p_from_node: also repeat this node and what follows it.
-- Errors: CONFLICT (it has neither failed nor been canceled, or another run waits for it), and
-- those of engine.rerun().
create or replace function engine.retry_run(p_run_id uuid, p_from_node text default null, p_user_id uuid default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_old engine.loaded_run;
  v_run public.workflow_runs;
  v_request engine.start_request;
begin
  select l.* into v_old from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_run := v_old.run;
  if v_run.id is null then
    return null;
  elsif v_run.retried_by is not null then
    return engine.read_run(v_run.retried_by);
  elsif v_run.status not in ('error', 'canceled') then
    perform private.raise_error(
      'CONFLICT', format('The run is %s; what has failed or was canceled can be retried.', v_run.status),
      'fork_run begins at any node of any run.', jsonb_build_object('status', v_run.status)
    );
  elsif v_run.parent_index is not null then
    perform private.raise_error(
      'CONFLICT', 'Another run has started this one and knows how it ended.', 'Retry that one.',
      jsonb_build_object('parentRunId', v_run.parent_run_id)
    );
  end if;
  v_request := engine.rerun_request(v_run, 'retry', p_user_id);
  v_request.retry_of := v_run.id;
  v_run := engine.rerun(v_old, v_request, p_from_node, true);
  update public.workflow_runs as r set retried_by = v_run.id where r.id = p_run_id;
  return v_run;
end
$$;

-- Starts a run that reuses the finished steps of p_old, except p_from and what follows it. p_old is
-- loaded, and so locked. p_keep_input: the new run has the input of the old one.
-- Errors: EXPIRED (the log is gone), NOT_FOUND (no such node), TOO_LARGE, and those that refuse any
-- start.
create or replace function engine.rerun(
  p_old engine.loaded_run,
  p_request engine.start_request,
  p_from text,
  p_keep_input boolean
)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_old_compiled constant engine.compiled_versions := engine.compiled_version_of(p_old.run);
  v_compiled constant engine.compiled_versions := engine.version_to_start(p_request);
  v_nodes constant engine.compiled_node[] := v_compiled.nodes;
  v_folded engine.folded;
  v_reused text[];
  v_transition engine.transition;
begin
  if cardinality(p_old.log) = 0 then
    perform private.raise_error('EXPIRED', 'The log of the run has expired; nothing is known of its steps.');
  end if;
  v_folded := engine.fold(v_old_compiled.nodes, v_old_compiled.ids, p_old.log);
  p_request.trigger := v_folded.created ->> 'trigger';
  p_request.error := engine.start_refusal(
    p_request, v_compiled.version, (v_nodes[array_position(v_compiled.ids, p_request.trigger)]).kind
  );
  if p_request.error is null and p_from <> all (v_compiled.ids) then
    p_request.error := engine.request_error('NOT_FOUND', format('The workflow has no node %L.', p_from));
  end if;
  if p_request.error is null then
    perform engine.refuse_value(p_request.input, 'The input of the run');
  end if;
  p_request.error := coalesce(
    p_request.error, engine.admission_error(engine.reserve_quota(null, v_compiled, 1, v_now))
  );
  if p_request.error is not null then
    perform private.raise_json_error(p_request.error);
  end if;

  v_reused := engine.reusable_nodes(v_old_compiled, v_compiled, v_folded, p_from);
  if p_keep_input then
    p_request.input := v_folded.created -> 'input';
  else
    v_reused := array_remove(v_reused, p_request.trigger); -- its output is the input
  end if;
  p_request.run_id := engine.uuid_v7(v_now);
  p_request.reused := engine.reused_entries((p_old.run).id, v_old_compiled.ids, v_folded, v_reused, v_now);
  v_transition := engine.start_transition(p_request, v_compiled, v_nodes, p_request.trigger, v_now);
  perform engine.write_starts(array[v_transition], v_now);
  return v_transition.run;
end
$$;

-- Returns what the start requests of a retry and of a fork have in common.
create or replace function engine.rerun_request(p_run public.workflow_runs, p_mode text, p_user_id uuid)
  returns engine.start_request
  language plpgsql
  immutable
as $$
declare
  v_request engine.start_request;
begin
  v_request.organization_id := p_run.organization_id;
  v_request.workflow_id := p_run.workflow_id;
  v_request.version := p_run.version;
  v_request.mode := p_mode;
  v_request.priority := p_run.priority;
  v_request.metadata := p_run.metadata;
  v_request.started_by := p_user_id;
  v_request.origin := jsonb_build_object(p_mode || 'Of', p_run.id);
  return v_request;
end
$$;

-- Returns the new run; null when there is no such run. p_from_node: the first node that is executed
-- again. p_input and p_version: those of the old run when null. Errors: those of engine.rerun().
create or replace function engine.fork_run(
  p_run_id uuid,
  p_from_node text default null,
  p_input jsonb default null,
  p_version int default null,
  p_user_id uuid default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_old engine.loaded_run;
  v_request engine.start_request;
begin
  select l.* into v_old from engine.load_runs(array[p_run_id], engine.now()) as l;
  if (v_old.run).id is null then
    return null;
  end if;
  v_request := engine.rerun_request(v_old.run, 'fork', p_user_id);
  v_request.version := coalesce(p_version, v_request.version);
  v_request.input := p_input;
  -- With other input, execute all nodes again unless p_from_node says where to begin.
  if p_from_node is null and p_input is not null then
    p_from_node := v_old.log[1].payload ->> 'trigger';
  end if;
  return engine.rerun(v_old, v_request, p_from_node, p_input is null);
end
$$;
