-- kind: code
-- Finds every problem of a definition, each with its place. A definition without errors can be
-- published. Reads engine.node_types and public.workflows; writes and locks nothing.

create or replace function public.validate_workflow(definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
  security definer -- definer because node types are read, which nobody sees
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- A copy of the definition: a stored one is compressed and would be decompressed at each access.
  v_definition constant jsonb := jsonb_build_array(definition) -> 0;
  v_size constant public.workflow_problem := engine.size_problem(v_definition);
begin
  if v_size.code is not null then
    return next v_size;
    return;
  end if;
  return query select * from engine.schema_problems(v_definition, engine.definition_schema());
  return query select * from engine.key_problems(v_definition);
  if not exists (select from engine.schema_problems(v_definition, engine.readable_schema())) then
    return query select * from engine.content_problems(v_definition);
  end if;
end
$$;
comment on function public.validate_workflow(jsonb) is
  'Returns every problem that keeps a definition from being published, and notices of expressions that always give null or are never true, each with the JSON pointer to its place; no row when there is none. The codes are in docs/reference/nodes.md. Example: select severity, pointer, message from validate_workflow(''{"nodes": []}'');';

grant execute on function public.validate_workflow(jsonb) to flowgres_user, flowgres_dba;

-- The limits of size, which must hold before any other check reads the definition.
create or replace function engine.size_problem(p_definition jsonb)
  returns public.workflow_problem
  language sql
  immutable
as $$
  select case
    when octet_length(p_definition::text) > engine.max_value_bytes()
      then engine.problem('{}', 'TOO_LARGE', 'a definition has at most ' || private.size_text(engine.max_value_bytes()))
    when (octet_length(p_definition::text) - octet_length(replace(p_definition::text, '{{', ''))) / 2
      > engine.max_definition_expressions()
      then engine.problem('{}', 'TOO_LARGE', format(
        'a definition has at most %s expressions', to_char(engine.max_definition_expressions(), 'FM999,999')
      ))
    when jsonb_path_exists(p_definition, 'strict $.**{65}')
      then engine.problem('{}', 'TOO_DEEP', 'a definition is at most 64 levels deep')
  end
$$;

-- The problem of a node whose type is not registered. `unconverted` stands for a node of an
-- imported workflow that has no counterpart; its properties say what it was.
create or replace function engine.type_problem(p_node jsonb, p_place text[])
  returns public.workflow_problem
  language sql
  stable
as $$
  select case p_node ->> 'type'
    when 'unconverted' then engine.problem(p_place || '{type}'::text[], 'UNCONVERTED_NODE', format(
      'this node stands for %s, which has no counterpart: replace it by a node that does the same, or remove it',
      coalesce(left(p_node #>> '{properties,from}', 200), 'another one')
    ))
    else engine.problem(p_place || '{type}'::text[], 'UNKNOWN_TYPE', format(
      'there is no node type %s; there are %s', p_node ->> 'type',
      (select string_agg(distinct t.name, ', ') from engine.node_types as t)
    ))
  end
$$;

-- The problems beyond the shape, of a definition that is readable.
create or replace function engine.content_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_ids constant text[] := array(
    select n.node ->> 'id'
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
    order by n.place
  );
  v_edges record := engine.graph_edges(p_definition);
  v_count constant int := cardinality(v_ids);
  v_sources int[];
  v_targets int[];
  v_order int[];
  v_upstream varbit[];
  v_shapes constant jsonb := engine.known_shapes(p_definition);
begin
  select coalesce(array_agg(e.source), '{}'), coalesce(array_agg(e.target), '{}')
  into v_sources, v_targets
  from unnest(v_edges.sources, v_edges.targets) as e (source, target)
  where e.source is not null and e.target is not null;
  v_order := engine.sort_graph(v_count, v_sources, v_targets);
  v_upstream := engine.upstream_of(v_order, v_sources, v_targets, v_count);
  for v_node in 1 .. v_count loop
    if v_node <> all (v_order) then
      v_upstream[v_node] := repeat('1', v_count)::varbit; -- unknown in or behind a cycle: assume all
    end if;
  end loop;

  return query select * from engine.id_problems(p_definition);
  for v_node in 1 .. v_count loop
    return query select * from engine.node_problems(p_definition, v_node - 1, v_ids, v_upstream[v_node], v_shapes);
  end loop;
  return query select * from engine.connection_problems(p_definition);
  return query select * from engine.trigger_problems(p_definition);
  return query select * from engine.order_problems(p_definition, v_ids, v_sources, v_targets, v_order, v_upstream);
  return query select * from engine.settings_problems(coalesce(p_definition -> 'settings', '{}'));
  return query select * from engine.later_problems(p_definition);
  return query select * from engine.graph_notices(p_definition);
end
$$;

-- What the layer of credentials finds, called by name because it comes after this one.
create or replace function engine.later_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
begin
  if to_regprocedure('engine.credential_problems(jsonb)') is not null then
    return query execute format('select * from %I.%I($1)', 'engine', 'credential_problems') using p_definition;
  end if;
end
$$;
