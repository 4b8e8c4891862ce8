-- kind: code
-- Decides which finished steps a retry or a fork reuses, and makes the events that say so. Writes
-- and locks nothing.

-- Returns the nodes that a new run reuses: those that succeeded in the old run, have the same
-- configuration in both versions, and do not follow a node that is executed again: p_from, one that
-- failed or did not finish, one that is new or has changed.
create or replace function engine.reusable_nodes(
  p_old engine.compiled_versions,
  p_new engine.compiled_versions,
  p_folded engine.folded,
  p_from text
)
  returns text[]
  language plpgsql
  stable
as $$
declare
  v_nodes constant engine.compiled_node[] := p_new.nodes;
  v_trigger constant text := p_folded.created ->> 'trigger';
  v_old_nodes constant engine.compiled_node[] := p_old.nodes;
  v_node engine.compiled_node;
  v_source text;
  v_old int;
  v_is_dead boolean;
  v_is_again boolean;
  v_dead text[] := '{}';
  v_again text[] := '{}';
  v_reused text[] := '{}';
begin
  foreach v_node in array v_nodes loop
    v_old := array_position(p_old.ids, v_node.id);
    v_is_dead := v_node.id <> v_trigger;
    v_is_again := v_node.id = p_from;
    for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
      v_source := p_new.ids[v_node.sources[v_edge]];
      v_is_again := v_is_again or v_source = any (v_again);
      v_is_dead := v_is_dead and (
        v_source = any (v_dead)
        or p_folded.ports[array_position(p_old.ids, v_source)] <> v_node.source_ports[v_edge]
      );
    end loop;
    if v_is_dead and v_is_again is not true then
      v_dead := v_dead || v_node.id;
    elsif v_is_again is not true
      and p_folded.states[v_old] = 1
      and (
        p_new.version = p_old.version
        or engine.configuration(p_new, v_node) = engine.configuration(p_old, v_old_nodes[v_old])
      )
    then
      v_reused := v_reused || v_node.id;
    else
      v_again := v_again || v_node.id;
    end if;
  end loop;
  return v_reused;
end
$$;

-- Returns everything that decides what a node does, comparable between versions: it names other
-- nodes by id, not by place.
create or replace function engine.configuration(p_compiled engine.compiled_versions, p_node engine.compiled_node)
  returns jsonb
  language sql
  stable
as $$
  select to_jsonb(p_node) || jsonb_build_object(
    'sources', array(
      select p_compiled.ids[s.place] from unnest(p_node.sources) with ordinality as s (place, number) order by s.number
    ),
    'expressions', array(
      select to_jsonb(e) || jsonb_build_object(
        'source_node', p_compiled.ids[e.source_node],
        'parts', array(select to_jsonb(p) - 'source_nodes' from unnest(e.parts) as p)
      )
      from unnest(p_node.expressions) as e
    )
  )
$$;

-- Returns the step.reused events of a new run. They copy outputs, since the old run may be archived
-- before the new one. A large output that several steps have is copied once; the others refer to
-- it.
create or replace function engine.reused_entries(
  p_run_id uuid,
  p_ids text[],
  p_folded engine.folded,
  p_nodes text[],
  p_now timestamptz
)
  returns engine.log_entry[]
  language plpgsql
  immutable
as $$
declare
  v_trigger constant text := p_folded.created ->> 'trigger';
  v_held_by text[]; -- how the new log names a value, by its place in the old run
  v_node text;
  v_place int;
  v_held int;
  v_output jsonb;
  v_payload jsonb;
  v_entries engine.log_entry[] := '{}';
begin
  if v_trigger = any (p_nodes) then
    v_held_by[array_position(p_ids, v_trigger)] := p_folded.input_of;
  end if;
  foreach v_node in array p_nodes loop
    v_place := array_position(p_ids, v_node);
    v_held := coalesce(p_folded.outputs[- v_place]::int, v_place);
    v_payload := jsonb_build_object('node', v_node, 'port', p_folded.ports[v_place], 'fromRun', p_run_id);
    if v_held_by[v_held] is not null then
      v_payload := v_payload || jsonb_build_object('outputOf', v_held_by[v_held]);
    else
      v_output := p_folded.outputs[v_held];
      v_payload := v_payload || jsonb_build_object('output', v_output);
      if pg_column_size(v_output) > engine.max_repeated_bytes() then
        v_held_by[v_held] := v_node;
      end if;
    end if;
    v_entries := v_entries || row(
      cardinality(v_entries) + 2,
      p_now + (cardinality(v_entries) + 1) * interval '1 microsecond',
      'step.reused',
      v_payload
    )::engine.log_entry;
  end loop;
  return v_entries;
end
$$;
