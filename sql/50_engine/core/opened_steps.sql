-- kind: code
-- Which nodes come before another one, and a waiting step as advance() opened it. Computes from the compiled version
-- and the log alone; writes and locks nothing.

-- Returns a waiting step as advance() opened it. Its input is stored nowhere: everything before the
-- node had settled, so advance() computes it again from the log.
create or replace function engine.opened_step_of(
  p_compiled engine.compiled_versions,
  p_run_id uuid,
  p_log engine.log_entry[],
  p_node text
)
  returns engine.opened_step
  language plpgsql
  stable
as $$
declare
  v_log engine.log_entry[] := '{}';
  v_entry engine.log_entry;
  v_advanced engine.advanced;
begin
  foreach v_entry in array p_log loop
    if v_entry.type <> 'step.waiting' or v_entry.payload ->> 'node' <> p_node then
      v_log := v_log || v_entry;
    end if;
  end loop;
  v_advanced := engine.advance(
    p_compiled.nodes, p_compiled.ids, p_run_id, v_log, engine.nodes_beside(p_compiled, p_node), null,
    p_compiled.resume_key,
    p_max_bytes => null
  );
  return v_advanced.opened[1];
end
$$;

-- Returns the ids of all nodes but p_node and those before it; of all nodes when p_node is null.
-- With them as p_open, advance() evaluates p_node only.
create or replace function engine.nodes_beside(p_compiled engine.compiled_versions, p_node text)
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_needed boolean[];
  v_others text[] := '{}';
begin
  if p_node is null then
    return p_compiled.ids;
  end if;
  v_needed := engine.nodes_before(p_compiled.nodes, array_position(p_compiled.ids, p_node));
  for v_place in 1 .. cardinality(p_compiled.ids) loop
    if not v_needed[v_place] then
      v_others := v_others || p_compiled.ids[v_place];
    end if;
  end loop;
  return v_others;
end
$$;

-- Returns by place whether a node is the one at p_place or comes before it.
create or replace function engine.nodes_before(p_nodes engine.compiled_node[], p_place int)
  returns boolean[]
  language plpgsql
  immutable
as $$
declare
  v_needed boolean[] := array_fill(false, array[cardinality(p_nodes)]);
  v_source int;
begin
  v_needed[p_place] := true;
  for v_place in reverse p_place .. 1 loop
    if v_needed[v_place] then
      foreach v_source in array (p_nodes[v_place]).sources loop
        v_needed[v_source] := true;
      end loop;
    end if;
  end loop;
  return v_needed;
end
$$;
