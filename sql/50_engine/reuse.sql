-- kind: code
-- Which finished steps of a run another run may take over, so that a retry or a fork does not do them again.

-- All that decides what a node does, in a form that can be compared between two versions: nodes by id, not by place.
create or replace function engine.configuration(p_plan engine.plans, p_node engine.plan_node)
  returns jsonb
  language sql
  stable
as $$
  select to_jsonb(p_node) || jsonb_build_object(
    'sources', array(
      select p_plan.ids[s.place] from unnest(p_node.sources) with ordinality as s (place, number) order by s.number
    ),
    'expressions', array(
      select to_jsonb(e) || jsonb_build_object(
        'source_node', p_plan.ids[e.source_node],
        'parts', array(select to_jsonb(p) - 'source_nodes' from unnest(e.parts) as p)
      )
      from unnest(p_node.expressions) as e
    )
  )
$$;

-- A node that is taken over succeeded in p_log, is the same in both plans, and comes after nothing that runs again:
-- p_from, what failed, what was never finished, what is new or has changed.
create or replace function engine.reusable_nodes(
  p_old engine.plans,
  p_new engine.plans,
  p_folded engine.folded,
  p_from text
)
  returns text[]
  language plpgsql
  stable
as $$
declare
  c_nodes constant engine.plan_node[] := p_new.nodes;
  c_trigger constant text := p_folded.created ->> 'trigger';
  v_old_nodes constant engine.plan_node[] := p_old.nodes;
  v_node engine.plan_node;
  v_source text;
  v_old int;
  v_is_dead boolean;
  v_is_again boolean;
  v_dead text[] := '{}';
  v_again text[] := '{}';
  v_reused text[] := '{}';
begin
  foreach v_node in array c_nodes loop
    v_old := array_position(p_old.ids, v_node.id);
    v_is_dead := v_node.id <> c_trigger;
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

-- The events by which a run takes steps over. Copied, not referred to: the old run may be archived before the new one.
create or replace function engine.reused_entries(
  p_run_id uuid,
  p_ids text[],
  p_folded engine.folded,
  p_nodes text[],
  p_now timestamptz
)
  returns engine.log_entry[]
  language sql
  immutable
as $$
  select array(
    select row(
      n.number + 1,
      p_now + n.number * interval '1 microsecond',
      'step.reused',
      jsonb_build_object(
        'node', n.node,
        'port', p_folded.ports[array_position(p_ids, n.node)],
        'output', p_folded.outputs[array_position(p_ids, n.node)],
        'fromRun', p_run_id
      )
    )::engine.log_entry
    from unnest(p_nodes) with ordinality as n (node, number)
    order by n.number
  )
$$;
