-- kind: code
-- Evaluates the expressions of one step in a local step, whatever they cost, and runs the node if
-- it is pure. A worker calls this in a transaction of its own with a time limit. Writes and locks
-- nothing: what a node reads has settled before the node is reached, so the log gives the same at
-- any time.

-- Returns {"port", "output"} of a pure node, {"properties"} of any other one, {"error"}, or null
-- when the step is no longer open.
create or replace function engine.evaluate_step(p_run_id uuid, p_node text)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because the worker reads no runs and calls no functions of nodes
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_compiled engine.compiled_versions;
  v_log engine.log_entry[];
  v_opened engine.opened_step;
  v_type engine.node_types;
  v_properties jsonb;
  v_outcome engine.outcome;
  v_detail text;
begin
  v_compiled := engine.compiled_version_of(engine.read_run(p_run_id));
  v_log := engine.read_log(p_run_id);
  v_opened := (engine.advance(
    v_compiled.nodes, v_compiled.ids, p_run_id, v_log, engine.nodes_beside(v_compiled, p_node), null,
    v_compiled.resume_key, p_node,
    null
  )).opened[1];
  if v_opened.is_isolated is not true then
    return null;
  end if;
  v_type := engine.node_type((v_compiled.nodes[v_opened.place]).type);
  begin
    v_properties := engine.evaluate_opened(v_compiled, p_run_id, v_log, v_opened);
    if v_type.kind <> 'pure' or v_type.name = 'respondToWebhook' then
      return jsonb_build_object('properties', v_properties);
    end if;
    v_outcome := engine.run_pure(
      (v_compiled.nodes[v_opened.place]).type, v_type.function, v_properties, v_opened.prev, v_opened.inputs
    );
  exception
    when others then
      get stacked diagnostics v_detail = pg_exception_detail;
      return jsonb_build_object('error', engine.error_of(sqlstate, sqlerrm, v_detail));
  end;
  return jsonb_build_object('port', v_outcome.port, 'output', coalesce(v_outcome.output, 'null'));
end
$$;
comment on function engine.evaluate_step(uuid, text) is
  'For workers: evaluates the expressions of an isolated step in the caller''s transaction, and runs it if it is pure. Returns {"port", "output"}, {"properties"}, {"error"}, or null when the step is no longer open. Set statement_timeout before. Example: select engine.evaluate_step(''0190…'', ''shape'');';
grant execute on function engine.evaluate_step(uuid, text) to flowgres_worker;

-- Returns the log of a run without locking it. Leaves out the payloads of step.started.
create or replace function engine.read_log(p_run_id uuid)
  returns engine.log_entry[]
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan -- prunes partitions
as $$
declare
  v_from constant timestamptz := engine.uuid_time(p_run_id) - interval '1 day';
  v_to constant timestamptz := engine.now() + interval '1 day';
begin
  return array(
    select row(e.seq, e.ts, e.type, case when e.type <> 'step.started' then e.payload end)::engine.log_entry
    from public.workflow_events as e
    where e.run_id = p_run_id
      and e.ts >= v_from
      and e.ts < v_to
    order by e.seq
  );
end
$$;

-- Returns the properties of an opened step, with its expressions evaluated without limits of cost.
create or replace function engine.evaluate_opened(
  p_compiled engine.compiled_versions,
  p_run_id uuid,
  p_log engine.log_entry[],
  p_opened engine.opened_step
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node constant engine.compiled_node := p_compiled.nodes[p_opened.place];
  v_created constant jsonb := p_log[1].payload;
  v_index constant int := (v_created #>> '{parent,index}')::int;
begin
  return engine.resolve(
    v_node.properties, engine.with_inline_input(v_node.expressions), v_node.is_strict,
    engine.source_values(
      v_created -> 'input', p_opened.prev, p_opened.inputs,
      engine.run_context(
        p_run_id, v_created, p_log[1].ts, p_compiled.nodes, p_compiled.resume_key,
        (engine.fold(p_compiled.nodes, p_compiled.ids, p_log)).at
      ),
      v_created -> 'vars', case when v_index is not null then v_created -> 'input' end, v_index
    ),
    p_opened.outputs
  );
end
$$;

-- Returns nodes for a statement that has a time limit of its own: nothing is left to local steps.
create or replace function engine.without_isolation(p_nodes engine.compiled_node[])
  returns engine.compiled_node[]
  language plpgsql
  stable
as $$
declare
  v_node engine.compiled_node;
  v_nodes engine.compiled_node[];
begin
  foreach v_node in array p_nodes loop
    v_node.is_isolated := false;
    v_node.inline_input := null;
    v_node.expressions := engine.with_inline_input(v_node.expressions);
    if v_node.kind = 'local' and (engine.node_type(v_node.type)).kind = 'pure' then
      v_node.kind := 'pure';
    end if;
    v_nodes := v_nodes || v_node;
  end loop;
  return v_nodes;
end
$$;

-- Returns what follows when the properties of a step are known. The step keeps its attempt number,
-- which goes on counting, so a late result of an earlier attempt is stale.
create or replace function engine.after_evaluation(
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
  v_transition engine.transition;
begin
  p_step.state := 'queued';
  p_step.is_isolated := false;
  p_step.worker_id := null;
  p_step.lease_until := null;
  p_step.run_at := p_now;
  if (p_loaded.run).status = 'paused' then
    v_transition.run := p_loaded.run;
    v_transition.is_changed := false;
    v_transition.steps := array[p_step];
    return v_transition;
  end if;
  p_loaded.steps := engine.without_step(p_loaded.steps, p_step.node) || p_step;
  return engine.apply_job(p_loaded, p_compiled, p_step, p_worker_id, p_now);
end
$$;
