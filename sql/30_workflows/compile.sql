-- kind: code
-- Compiles a valid definition to the plan that the engine runs.

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

-- Filters with their literal arguments as they are passed on, so that nothing is left to do for them at run time.
create or replace function engine.plain_filters(p_filters jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_agg(
    jsonb_build_object(
      'name', f.filter -> 'name', 'arguments', jsonb_path_query_array(f.filter -> 'arguments', '$[*].value')
    ) order by f.place
  )
  from jsonb_array_elements(p_filters) with ordinality as f (filter, place)
$$;

-- One expression part; p_ids are the nodes in the order of the plan.
create or replace function engine.compile_part(
  p_literal text,
  p_path text,
  p_sources text[],
  p_many boolean,
  p_regex boolean,
  p_filters jsonb,
  p_argument_paths text[],
  p_start_at int,
  p_ids text[]
)
  returns engine.expression_part
  language sql
  immutable
as $$
  select row(
    p_literal,
    p_sources,
    array(
      select coalesce(array_position(p_ids, substr(s.source, 7)), 0)
      from unnest(p_sources) with ordinality as s (source, place)
      order by s.place
    ),
    p_path::jsonpath,
    p_many,
    case when p_argument_paths is null then engine.plain_filters(p_filters) else p_filters end,
    p_argument_paths::jsonpath[],
    case when p_regex then 65536 else 262144 end,
    p_start_at
  )::engine.expression_part
$$;

-- The expression of one place. What is plain becomes flat, because the engine does that without a call.
create or replace function engine.compile_expression(
  p_place text[],
  p_kind text,
  p_parts engine.expression_part[],
  p_strict boolean
)
  returns engine.expression
  language plpgsql
  immutable
as $$
declare
  v_part constant engine.expression_part := p_parts[1];
  v_expression engine.expression;
begin
  v_expression.place := p_place;
  v_expression.kind := p_kind;
  if p_kind in ('value', 'predicate')
    and not p_strict and not v_part.many and v_part.filters is null and cardinality(v_part.sources) = 1
  then
    v_expression.source := split_part(v_part.sources[1], '.', 1);
    v_expression.source_node := v_part.source_nodes[1];
    v_expression.path := v_part.path;
    v_expression.max_input := v_part.max_input;
    v_expression.position := v_part.position;
  else
    v_expression.parts := p_parts;
  end if;
  return v_expression;
end
$$;

-- The properties with literal texts unescaped, their expressions, and what these read.
create or replace function engine.compile_properties(
  p_properties jsonb,
  p_schema jsonb,
  p_strict boolean,
  p_ids text[],
  out properties jsonb,
  out expressions engine.expression[],
  out variables text[],
  out sources text[]
)
  language plpgsql
  immutable
as $$
declare
  v_text record;
begin
  properties := p_properties;
  for v_text in
    select
      p.place, p.kind, string_agg(p.literal, '' order by p.part) as literal,
      array_agg(
        engine.compile_part(
          p.literal, p.path, p.sources, p.many, p.regex, p.filters, p.argument_paths, p.start_at, p_ids
        ) order by p.part
      ) as parts,
      string_agg(array_to_string(p.sources, ' '), ' ') as reads,
      string_agg(array_to_string(p.variables, ' '), ' ') as variables
    from engine.parse_properties(p_properties, p_schema) as p
    group by p.place, p.kind
    order by p.kind = 'each', p.place -- conditions for each item come after the items
  loop
    if v_text.kind = 'literal' then
      properties := jsonb_set(properties, v_text.place, to_jsonb(v_text.literal));
      continue;
    end if;
    expressions := expressions || engine.compile_expression(v_text.place, v_text.kind, v_text.parts, p_strict);
    variables := variables || string_to_array(v_text.variables, ' ');
    sources := sources || string_to_array(v_text.reads, ' ');
  end loop;
end
$$;

-- How often a node is tried, and what happens when that was not enough.
create or replace function engine.compile_attempts(p_node jsonb, p_settings jsonb, p_plan engine.plan_node, p_fed boolean)
  returns engine.plan_node
  language plpgsql
  immutable
as $$
declare
  v_plan engine.plan_node := p_plan;
  v_retry constant jsonb := coalesce(p_node -> 'retry', '{}');
begin
  v_plan.max_attempts := 1;
  if v_plan.kind = 'effect' then
    v_plan.max_attempts := coalesce((v_retry ->> 'maxAttempts')::int, (p_settings ->> 'maxRetries')::int + 1);
  end if;
  v_plan.retry_initial_ms := coalesce((v_retry ->> 'initialMs')::int, 1000);
  v_plan.retry_max_ms := case v_retry ->> 'backoff'
    when 'fixed' then v_plan.retry_initial_ms
    else coalesce((v_retry ->> 'maxMs')::int, 300000)
  end;
  v_plan.retry_jitter := coalesce((v_retry ->> 'jitter')::boolean, true);
  v_plan.timeout_ms := coalesce((p_node ->> 'timeoutMs')::int, (p_settings ->> 'timeout')::int);
  -- Inherited from the settings, errorOutput counts for the nodes that have a connection there.
  v_plan.on_error := coalesce(
    p_node ->> 'onError',
    case when p_settings ->> 'errorHandling' <> 'errorOutput' or p_fed then p_settings ->> 'errorHandling' end,
    'stop'
  );
  return v_plan;
end
$$;

-- One node of the plan; p_ids are all of them in the order of the plan.
create or replace function engine.compile_node(
  p_definition jsonb,
  p_node jsonb,
  p_settings jsonb,
  p_ids text[],
  out node engine.plan_node,
  out variables text[]
)
  language plpgsql
  stable
as $$
declare
  v_type constant engine.node_types := engine.node_type(p_node ->> 'type');
  v_sources text[];
  v_fed constant boolean := jsonb_path_exists(
    p_definition, '$.connections[*] ? (@.source == $id && @.sourceOutput == "error")',
    jsonb_build_object('id', p_node -> 'id')
  );
begin
  node.id := p_node ->> 'id';
  node.type := v_type.name || '@' || v_type.version;
  node.kind := v_type.kind;
  node.function := v_type.function::regproc::text;
  node.inputs := v_type.inputs;
  node.disabled := coalesce((p_node ->> 'disabled')::boolean, false);
  node.is_strict := coalesce((p_node ->> 'strict')::boolean, false);
  node.credentials := p_node -> 'credentials';
  node.pin := p_node -> 'pin';
  node := engine.compile_attempts(p_node, p_settings, node, v_fed);
  node.ports := engine.node_ports(v_type, p_node -> 'properties', node.on_error);

  node.properties := engine.default_properties(v_type.properties) || coalesce(p_node -> 'properties', '{}');
  if v_type.kind <> 'trigger' then
    select c.properties, c.expressions, c.variables, c.sources
    into node.properties, node.expressions, variables, v_sources
    from engine.compile_properties(node.properties, v_type.properties, node.is_strict, p_ids) as c;
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

  if v_type.kind in ('trigger', 'pure') then
    node.success := jsonb_build_object(
      'node', node.id, 'attempt', 1, 'port', node.ports[1], 'output', null, 'ms', 0
    );
  end if;
end
$$;

create or replace function engine.compile_plan(
  p_definition jsonb,
  out nodes engine.plan_node[],
  out vars text[],
  out settings jsonb
)
  language plpgsql
  stable
as $$
declare
  -- Built anew, for a stored definition is compressed, and every look at it would decompress it again.
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
  for v_place in 1 .. v_count loop
    v_compiled := engine.compile_node(v_definition, v_definition -> 'nodes' -> (v_order[v_place] - 1), settings, v_ids);
    nodes := nodes || v_compiled.node;
    v_variables := v_variables || v_compiled.variables;
  end loop;
  vars := array(select distinct v from unnest(v_variables) as v where v <> '' order by v);
end
$$;
comment on function engine.compile_plan(jsonb) is
  'The plan of a definition that validate_workflow found nothing wrong with: nodes in topological order, the variables they read, all settings.';
