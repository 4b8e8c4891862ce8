-- kind: code
-- The graph of a definition as arrays of places: edge n leads from node sources[n] to node
-- targets[n]. Writes and locks nothing.

-- The places of the nodes in topological order, nodes of equal rank by place. Nodes in or behind a
-- cycle are missing.
create or replace function engine.sort_graph(p_count int, p_sources int[], p_targets int[])
  returns int[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_waiting int[] := array_fill(0, array[p_count]); -- for each node, how many of its sources are not in the order yet
  v_order int[] := '{}';
  v_target int;
  v_next int;
  v_edge int;
begin
  foreach v_target in array p_targets loop
    v_waiting[v_target] := v_waiting[v_target] + 1;
  end loop;
  loop
    v_next := array_position(v_waiting, 0);
    exit when v_next is null;
    v_order := v_order || v_next;
    v_waiting[v_next] := -1;
    foreach v_edge in array array_positions(p_sources, v_next) loop
      v_waiting[p_targets[v_edge]] := v_waiting[p_targets[v_edge]] - 1;
    end loop;
  end loop;
  return v_order;
end
$$;

-- For each node a string with one bit per node: the nodes upstream of it. p_order is the result of
-- sort_graph.
create or replace function engine.upstream_of(p_order int[], p_sources int[], p_targets int[], p_count int)
  returns varbit[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_upstream varbit[] := array_fill(repeat('0', p_count)::varbit, array[p_count]);
  v_node int;
  v_edge int;
begin
  foreach v_node in array p_order loop
    foreach v_edge in array array_positions(p_targets, v_node) loop
      v_upstream[v_node] := set_bit(
        (v_upstream[v_node] | v_upstream[p_sources[v_edge]])::bit varying, p_sources[v_edge] - 1, 1
      );
    end loop;
  end loop;
  return v_upstream;
end
$$;

-- The ends of each connection as places in `nodes`; null where no node has that id.
create or replace function engine.graph_edges(
  p_definition jsonb,
  out sources int[],
  out targets int[]
)
  language sql
  immutable
  parallel safe
as $$
  with ids as (
    select array(
      select n.node ->> 'id'
      from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
      order by n.place
    ) as ids
  )
  select
    coalesce(array_agg(array_position(i.ids, c.connection ->> 'source') order by c.place), '{}'),
    coalesce(array_agg(array_position(i.ids, c.connection ->> 'target') order by c.place), '{}')
  from ids as i
  cross join jsonb_array_elements(coalesce(p_definition -> 'connections', '[]'))
    with ordinality as c (connection, place)
$$;
