-- kind: code
-- The state of a run is the fold of its log.

-- long because each type of event is a branch.
create or replace function engine.fold(
  p_nodes engine.plan_node[],
  p_ids text[],
  p_log engine.log_entry[]
)
  returns engine.folded
  language plpgsql
  immutable
as $$
declare
  c_count constant int := cardinality(p_nodes);
  v_states int[] := array_fill(null::int, array[c_count]);
  v_ports text[] := array_fill(null::text, array[c_count]);
  v_outputs jsonb[] := array_fill(null::jsonb, array[c_count]);
  v_errors jsonb[];
  v_entry engine.log_entry;
  v_place int;
  v_folded engine.folded;
begin
  foreach v_entry in array p_log loop
    case v_entry.type
      when 'run.created' then
        v_folded.created_at := v_entry.ts;
        v_folded.created := v_entry.payload;
        v_folded.at := v_entry.ts;
        v_folded.held := v_entry.payload ? 'held';
      when 'run.released' then
        v_folded.at := v_entry.ts;
        v_folded.held := false;
      when 'step.succeeded', 'step.reused' then
        v_place := array_position(p_ids, v_entry.payload ->> 'node');
        v_states[v_place] := 1;
        v_ports[v_place] := v_entry.payload ->> 'port';
        v_outputs[v_place] := coalesce(v_entry.payload -> 'output', 'null');
        if (p_nodes[v_place]).kind not in ('pure', 'trigger') then
          v_folded.at := v_entry.ts;
        end if;
      when 'step.failed' then
        if not v_entry.payload ? 'retryAt' then
          v_place := array_position(p_ids, v_entry.payload ->> 'node');
          v_states[v_place] := 4;
          v_errors[v_place] := v_entry.payload -> 'error';
          -- Only a worker measures a failure; without `ms` the engine itself noticed it.
          if v_entry.payload ? 'ms' then
            v_folded.at := v_entry.ts;
          end if;
        end if;
      when 'step.evaluated' then
        v_folded.evaluated[array_position(p_ids, v_entry.payload ->> 'node')] := v_entry.payload -> 'properties';
        v_folded.at := v_entry.ts;
      when 'run.isolated' then
        v_folded.isolated := true;
      when 'step.waiting' then
        v_states[array_position(p_ids, v_entry.payload ->> 'node')] := 3;
      when 'run.responded' then
        v_folded.responded := true;
      when 'run.signaled', 'run.resumed' then
        v_folded.at := v_entry.ts;
      when 'run.succeeded', 'run.failed', 'run.canceled' then
        v_folded.finished := true;
      else
        null; -- step.started, run.paused: nothing in the graph moves
    end case;
  end loop;
  v_folded.seq := v_entry.seq;
  v_folded.ts := v_entry.ts;
  v_folded.states := v_states;
  v_folded.ports := v_ports;
  v_folded.outputs := v_outputs;
  v_folded.errors := v_errors;
  return v_folded;
end
$$;

-- The output of the one leaf that ran, or an object with those of several. A leaf has no live outgoing connection.
-- p_fed: the nodes that are known to have one; the nodes settled before, by p_before, have not been looked at.
create or replace function engine.output_of_run(
  p_nodes engine.plan_node[],
  p_before int[],
  p_states int[],
  p_ports text[],
  p_outputs jsonb[],
  p_fed boolean[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_node engine.plan_node;
  v_source int;
  v_count int := 0;
  v_single jsonb;
  v_several jsonb := '{}';
begin
  for v_place in 1 .. cardinality(p_nodes) loop
    if p_before[v_place] in (1, 2) then
      v_node := p_nodes[v_place];
      for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
        v_source := v_node.sources[v_edge];
        if p_states[v_source] = 1 and p_ports[v_source] = v_node.source_ports[v_edge] then
          p_fed[v_source] := true;
        end if;
      end loop;
    end if;
  end loop;

  for v_place in 1 .. cardinality(p_nodes) loop
    if p_states[v_place] = 1 and p_fed[v_place] is null then
      v_count := v_count + 1;
      v_single := p_outputs[v_place];
      v_several := v_several || jsonb_build_object((p_nodes[v_place]).id, v_single);
    end if;
  end loop;
  return case when v_count > 1 then v_several else v_single end;
end
$$;
