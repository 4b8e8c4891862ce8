-- kind: code
-- Compiles a valid definition to what the engine runs. Reads engine.node_types; writes and locks
-- nothing.

create or replace function engine.compile_version(
  p_definition jsonb,
  out nodes engine.compiled_node[],
  out vars text[],
  out settings jsonb
)
  language plpgsql
  stable
as $$
declare
  -- A copy of the definition: a stored one is compressed and would be decompressed at each access.
  v_definition constant jsonb := p_definition || '{}';
  v_count constant int := jsonb_array_length(v_definition -> 'nodes');
  v_edges record := engine.graph_edges(v_definition);
  v_order constant int[] := engine.sort_graph(v_count, v_edges.sources, v_edges.targets);
  v_ids constant text[] := array(
    select v_definition -> 'nodes' -> (o.node - 1) ->> 'id'
    from unnest(v_order) with ordinality as o (node, place)
    order by o.place
  );
  v_compiled record;
  v_variables text[];
begin
  settings := engine.settings_of(v_definition);
  settings := settings || jsonb_strip_nulls(jsonb_build_object('flow', engine.compile_flow(settings)));
  for v_place in 1 .. v_count loop
    v_compiled := engine.compile_node(
      v_definition, v_definition -> 'nodes' -> (v_order[v_place] - 1), settings, v_ids
    );
    nodes := nodes || v_compiled.node;
    v_variables := v_variables || v_compiled.variables;
  end loop;
  vars := array(select distinct v from unnest(v_variables) as v where v <> '' order by v);
end
$$;
comment on function engine.compile_version(jsonb) is
  'Compiles a definition in which validate_workflow finds no error: returns its nodes in topological order, the names of the variables they read, and all settings with their defaults.';

-- The settings of a definition, with defaults for those that it leaves out.
create or replace function engine.settings_of(p_definition jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'errorHandling', 'stop', 'maxRetries', 3, 'timeout', 30000, 'errorWorkflow', null, 'timezone', 'UTC',
    'concurrency', null, 'priority', 0, 'deadlineMs', null
  ) || coalesce(p_definition -> 'settings', '{}')
$$;

-- Sets how many attempts a node has, the times between them, and what follows when all have failed.
create or replace function engine.compile_attempts(
  p_node jsonb,
  p_settings jsonb,
  p_compiled engine.compiled_node,
  p_has_live_output boolean
)
  returns engine.compiled_node
  language plpgsql
  immutable
as $$
declare
  v_compiled engine.compiled_node := p_compiled;
  v_retry constant jsonb := coalesce(p_node -> 'retry', '{}');
begin
  v_compiled.max_attempts := 1;
  if v_compiled.kind = 'effect' then
    v_compiled.max_attempts := coalesce((v_retry ->> 'maxAttempts')::int, (p_settings ->> 'maxRetries')::int + 1);
  end if;
  v_compiled.retry_initial_ms := coalesce((v_retry ->> 'initialMs')::int, 1000);
  v_compiled.retry_max_ms := case v_retry ->> 'backoff'
    when 'fixed' then v_compiled.retry_initial_ms
    else coalesce((v_retry ->> 'maxMs')::int, 300000)
  end;
  v_compiled.retry_jitter := coalesce((v_retry ->> 'jitter')::boolean, true);
  v_compiled.timeout_ms := coalesce((p_node ->> 'timeoutMs')::int, (p_settings ->> 'timeout')::int);
  -- errorOutput from the settings only applies to nodes that have a connection at the port error.
  v_compiled.on_error := coalesce(
    p_node ->> 'onError',
    case
      when p_settings ->> 'errorHandling' <> 'errorOutput' or p_has_live_output then p_settings ->> 'errorHandling'
    end,
    'stop'
  );
  return v_compiled;
end
$$;

-- Separates the expressions that are evaluated for each child run, with $.item and $.index, from
-- the others.
create or replace function engine.defer_expressions(p_compiled engine.compiled_node, p_schema jsonb)
  returns engine.compiled_node
  language plpgsql
  immutable
as $$
declare
  v_compiled engine.compiled_node := p_compiled;
  v_expression engine.expression;
begin
  v_compiled.expressions := null;
  foreach v_expression in array coalesce(p_compiled.expressions, '{}') loop
    if p_schema #> array['properties', v_expression.place[1], 'deferred'] = 'true' then
      v_compiled.deferred := v_compiled.deferred || v_expression;
    else
      v_compiled.expressions := v_compiled.expressions || v_expression;
    end if;
  end loop;
  return v_compiled;
end
$$;

-- Compiles one node; p_ids are the ids of all nodes in the order of the compiled nodes.
create or replace function engine.compile_node(
  p_definition jsonb,
  p_node jsonb,
  p_settings jsonb,
  p_ids text[],
  out node engine.compiled_node,
  out variables text[]
)
  language plpgsql
  stable
as $$
declare
  v_type constant engine.node_types := engine.node_type(p_node ->> 'type');
  v_sources text[];
  v_external constant text[] := array(
    select c.connection ->> 'sourceOutput'
    from jsonb_array_elements(p_definition -> 'connections') as c (connection)
    where c.connection -> 'source' = p_node -> 'id'
  );
begin
  node.id := p_node ->> 'id';
  node.type := v_type.name || '@' || v_type.version;
  node.kind := v_type.kind;
  node.function := v_type.function;
  node.inputs := v_type.inputs;
  node.disabled := coalesce((p_node ->> 'disabled')::boolean, false);
  node.is_strict := coalesce((p_node ->> 'strict')::boolean, false);
  node.credentials := p_node -> 'credentials';
  node.pin := p_node -> 'pin';
  node := engine.compile_attempts(p_node, p_settings, node, coalesce('error' = any (v_external), false));
  node.ports := engine.node_ports(v_type, p_node -> 'properties', node.on_error);
  if v_type.name = 'wait' and coalesce('timeout' = any (v_external), false) is false then
    node.ports := array_remove(node.ports, 'timeout'); -- without a connection there, a timeout fails the node
  end if;

  node.properties := engine.default_properties(v_type.properties) || coalesce(p_node -> 'properties', '{}');
  if v_type.name = 'wait' then
    node.properties := jsonb_build_object('timezone', p_settings -> 'timezone') || node.properties;
  end if;
  if v_type.kind <> 'trigger' then
    select c.properties, c.expressions, c.variables, c.sources
    into node.properties, node.expressions, variables, v_sources
    from engine.compile_properties(node.properties, v_type.properties, node.is_strict, p_ids) as c;
    node.secret_places := (
      select jsonb_agg(to_jsonb(e.place)) from unnest(node.expressions) as e where e.kind = 'secret'
    );
    node := engine.defer_expressions(node, v_type.properties);
    node := engine.bound_inline(node);
  end if;
  node.uses_inputs := cardinality(v_type.inputs) > 1 or v_type.function is not null
    or coalesce('inputs' = any (v_sources), false);
  node.uses_run := coalesce('run' = any (v_sources), false);

  select
    array_agg(array_position(p_ids, c.connection ->> 'source') order by c.place),
    array_agg(coalesce(c.connection ->> 'sourceOutput', 'main') order by c.place),
    array_agg(coalesce(c.connection ->> 'targetInput', 'main') order by c.place)
  into node.sources, node.source_ports, node.target_inputs
  from jsonb_array_elements(p_definition -> 'connections') with ordinality as c (connection, place)
  where c.connection ->> 'target' = node.id;
  node.sources := coalesce(node.sources, '{}');
  node.source_ports := coalesce(node.source_ports, '{}');
  node.target_inputs := coalesce(node.target_inputs, '{}');

  node.success := jsonb_build_object(
    'node', node.id, 'attempt', 1, 'port', node.ports[1], 'output', null, 'ms', 0
  );
end
$$;
