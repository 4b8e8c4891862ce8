-- kind: code
-- Finds problems of the graph of a definition whose shape is valid. Writes and locks nothing.

-- Connections from or to nodes, ports or inputs that do not exist, and connections that occur
-- twice.
create or replace function engine.connection_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  with plug as (
    select distinct on (n.node ->> 'id')
      n.node ->> 'id' as id,
      t.kind,
      t.inputs,
      case when t.name is not null then engine.node_ports(
        t,
        coalesce(n.node -> 'properties', '{}'),
        coalesce(n.node ->> 'onError', p_definition -> 'settings' ->> 'errorHandling')
      ) end as ports
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
    cross join lateral engine.node_type(n.node ->> 'type') as t
    order by n.node ->> 'id', n.place
  ),
  connection as (
    select
      array['connections', (c.place - 1)::text] as place,
      c.connection ->> 'source' as source,
      c.connection ->> 'target' as target,
      coalesce(c.connection ->> 'sourceOutput', 'main') as output,
      coalesce(c.connection ->> 'targetInput', 'main') as input,
      row_number() over (
        partition by c.connection ->> 'source', c.connection ->> 'target',
          coalesce(c.connection ->> 'sourceOutput', 'main'), coalesce(c.connection ->> 'targetInput', 'main')
        order by c.place
      ) as number
    from jsonb_array_elements(p_definition -> 'connections') with ordinality as c (connection, place)
  )
  select p.*
  from connection as c
  left join plug as s on s.id = c.source
  left join plug as t on t.id = c.target
  cross join lateral (
    values
      (s.id is null, 'source', 'UNKNOWN_NODE', format('there is no node %s', c.source)),
      (t.id is null, 'target', 'UNKNOWN_NODE', format('there is no node %s', c.target)),
      (c.output <> all (s.ports), 'sourceOutput', 'UNKNOWN_PORT',
        format('%s has no port %s; it has %s', c.source, c.output, array_to_string(s.ports, ', '))),
      (t.kind = 'trigger', 'target', 'UNKNOWN_INPUT', format('%s is a trigger, nothing leads to it', c.target)),
      (t.kind <> 'trigger' and c.input <> all (t.inputs), 'targetInput', 'UNKNOWN_INPUT',
        format('%s has no input %s; it has %s', c.target, c.input, array_to_string(t.inputs, ', '))),
      (c.number > 1, null, 'DUPLICATE_CONNECTION', 'the same connection is there already')
  ) as found (is_so, key, code, message)
  cross join lateral engine.problem(
    c.place || case when found.key is not null then array[found.key] else '{}' end, found.code, found.message
  ) as p
  where found.is_so
$$;

-- A definition without a trigger, or with two triggers that cannot be distinguished.
create or replace function engine.trigger_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  with found as (
    select (n.place - 1)::text as place, t.name, n.node -> 'properties' as properties, n.place as number
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
    cross join lateral engine.node_type(n.node ->> 'type') as t
    where t.kind = 'trigger'
  ),
  address as (
    select f.place, f.number, f.name, null as path, m.method
    from found as f
    cross join (values ('*')) as m (method)
    where f.name <> 'webhookTrigger'
    union
    select
      f.place, f.number, f.name,
      -- Parameters of a path (:name) are equal whatever their names are.
      regexp_replace('/' || btrim(regexp_replace(f.properties ->> 'path', '/+', '/', 'g'), '/'), '/:[^/]*', '/:', 'g'),
      m.method #>> '{}'
    from found as f
    cross join lateral jsonb_path_query(coalesce(f.properties -> 'method', '"POST"'), 'lax $[*]') as m (method)
    where f.name = 'webhookTrigger' and f.properties ? 'path'
  )
  select p.*
  from (select min(f.number) as first_trigger from found as f) as f
  cross join lateral engine.problem(
    '{nodes}', 'NO_TRIGGER', 'a trigger is missing, such as manualTrigger or webhookTrigger'
  ) as p
  where f.first_trigger is null
  union all
  select p.*
  from (
    select distinct on (a.place) a.*
    from (
      select a.*, row_number() over (partition by a.name, a.path, a.method order by a.number) as rank from address as a
    ) as a
    where a.rank > 1
    order by a.place
  ) as a
  cross join lateral engine.problem(
    array['nodes', a.place], 'DUPLICATE_TRIGGER',
    case when a.path is null then format('there is another %s already', a.name)
      else format('another webhookTrigger has %s %s already', a.method, a.path) end
  ) as p
$$;

-- Cycles, and nodes that no trigger leads to. The edges connect known nodes; p_order is the result
-- of sort_graph.
create or replace function engine.order_problems(
  p_definition jsonb,
  p_ids text[],
  p_sources int[],
  p_targets int[],
  p_order int[],
  p_upstream varbit[]
)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_count constant int := cardinality(p_ids);
  v_back constant int[] := engine.sort_graph(v_count, p_targets, p_sources);
  v_cycle constant int[] := array(
    select n from generate_series(1, v_count) as n where n <> all (p_order) and n <> all (v_back)
  );
  v_triggers varbit := repeat('0', v_count)::varbit;
  v_type engine.node_types;
begin
  if cardinality(v_cycle) > 0 then
    return next engine.problem('{connections}', 'CYCLE', format(
      'the nodes %s form a cycle, but a node runs once; repeat and forEach are loops',
      (select string_agg(p_ids[n], ', ' order by n) from unnest(v_cycle[1 : 20]) as n)
    ));
    return; -- with a cycle, reachability cannot be decided
  end if;

  for v_node in 1 .. v_count loop
    v_type := engine.node_type(p_definition -> 'nodes' -> (v_node - 1) ->> 'type');
    if v_type.kind = 'trigger' then
      v_triggers := set_bit(v_triggers, v_node - 1, 1);
    end if;
  end loop;
  for v_node in 1 .. v_count loop
    if get_bit(v_triggers, v_node - 1) = 0 and (v_triggers & p_upstream[v_node]) = repeat('0', v_count)::varbit then
      return next engine.problem(
        array['nodes', (v_node - 1)::text], 'UNREACHABLE', format('no trigger leads to %s', p_ids[v_node])
      );
    end if;
  end loop;
end
$$;

-- The second and later nodes with the same id. Ids are compared without regard to case.
create or replace function engine.id_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  immutable
as $$
  select p.*
  from (
    select
      n.node ->> 'id' as id, n.place,
      row_number() over (partition by lower((n.node ->> 'id') collate "C") order by n.place) as number
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  ) as n
  cross join lateral engine.problem(
    array['nodes', (n.place - 1)::text, 'id'], 'DUPLICATE_ID', format('%s is the id of another node already', n.id)
  ) as p
  where n.number > 1
$$;
