-- kind: code
-- Computes the state of a run from its log, the references of one event to the value of another,
-- and the event that ends a run with success. Writes and locks nothing.

-- Returns the state of a run after the events of p_log, which are in the order of seq.
-- long because a call for each event would cost as much as the rest.
create or replace function engine.fold(
  p_nodes engine.compiled_node[],
  p_ids text[],
  p_log engine.log_entry[]
)
  returns engine.folded
  language plpgsql
  immutable
as $$
declare
  v_count constant int := cardinality(p_nodes);
  v_states int[] := array_fill(null::int, array[v_count]);
  v_ports text[] := array_fill(null::text, array[v_count]);
  v_outputs jsonb[] := array_fill(null::jsonb, array[2 * v_count + 1], array[- v_count]);
  v_errors jsonb[];
  v_entry engine.log_entry;
  v_place int;
  v_held int;
  v_bytes bigint := pg_column_size(p_log);
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
        v_outputs[v_place] := v_entry.payload -> 'output';
        if v_outputs[v_place] is null then
          v_held := engine.referred_place(p_ids, v_folded.created, v_entry.payload ->> 'outputOf');
          if v_held <> v_place then
            v_outputs[- v_place] := to_jsonb(v_held);
          else
            v_folded.input_of := v_entry.payload ->> 'outputOf';
            v_outputs[v_place] := engine.referred_input(v_folded.created, v_folded.input_of);
          end if;
        end if;
        if (p_nodes[v_place]).kind not in ('pure', 'trigger') then
          v_folded.at := v_entry.ts;
        end if;
      when 'step.started' then
        -- engine.load_runs() replaces a large payload by its size.
        if jsonb_typeof(v_entry.payload) = 'number' then
          v_bytes := v_bytes + v_entry.payload::int;
        end if;
      when 'step.failed' then
        if not v_entry.payload ? 'retryAt' then
          v_place := array_position(p_ids, v_entry.payload ->> 'node');
          v_states[v_place] := 4;
          v_errors[v_place] := v_entry.payload -> 'error';
          -- A failure with `ms` was reported from outside; one without was computed here.
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
        null; -- run.paused and unknown types change nothing here
    end case;
  end loop;
  v_folded.seq := v_entry.seq;
  v_folded.ts := v_entry.ts;
  v_folded.states := v_states;
  v_folded.ports := v_ports;
  v_folded.outputs := v_outputs;
  v_folded.errors := v_errors;
  v_folded.bytes := v_bytes;
  return v_folded;
end
$$;

-- Returns the place of the node that holds the value of a reference; the trigger holds the input of
-- the run ($…).
create or replace function engine.referred_place(p_ids text[], p_created jsonb, p_of text)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select array_position(p_ids, case when starts_with(p_of, '$') then p_created ->> 'trigger' else p_of end)
$$;

-- Returns the value of a reference to the input of the run: its body for `$.input.body`, else all
-- of it.
create or replace function engine.referred_input(p_created jsonb, p_of text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    case p_of when '$.input.body' then p_created #> '{input,body}' else p_created -> 'input' end,
    'null'
  )
$$;

-- Returns the place of the node that holds the value which a node receives as $.prev: the source of
-- the first live connection at its main input, or the node whose output that source has passed on.
create or replace function engine.holder_of_prev(
  p_node engine.compiled_node,
  p_states int[],
  p_ports text[],
  p_outputs jsonb[]
)
  returns int
  language plpgsql
  immutable
as $$
declare
  v_source int;
begin
  for v_edge in 1 .. cardinality(p_node.sources) loop
    v_source := p_node.sources[v_edge];
    if p_states[v_source] = 1 and p_ports[v_source] = p_node.source_ports[v_edge]
      and p_node.target_inputs[v_edge] = p_node.inputs[1]
    then
      return coalesce(p_outputs[- v_source]::int, v_source);
    end if;
  end loop;
  return null;
end
$$;

-- Returns how an event refers to the value at a place: by the id of the node, or by `$.input…` for
-- the trigger. Null: no event holds the value, since the node has failed and the value is what its
-- onError puts out.
create or replace function engine.reference_to(
  p_held int,
  p_ids text[],
  p_errors jsonb[],
  p_trigger text,
  p_input_of text
)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_errors[p_held] is not null then null
    when p_ids[p_held] = p_trigger then coalesce(p_input_of, p_trigger)
    else p_ids[p_held]
  end
$$;

-- Returns the places of the nodes that ran and have no live outgoing connection.
-- p_before: the states before this call of advance(). p_has_live_output: nodes that advance() knows
-- to have a live outgoing connection; those that only lead to nodes settled before are found here.
create or replace function engine.live_leaves(
  p_nodes engine.compiled_node[],
  p_before int[],
  p_states int[],
  p_ports text[],
  p_has_live_output boolean[]
)
  returns int[]
  language plpgsql
  immutable
as $$
declare
  v_node engine.compiled_node;
  v_source int;
  v_leaves int[];
begin
  for v_place in 1 .. cardinality(p_nodes) loop
    if p_before[v_place] in (1, 2) then
      v_node := p_nodes[v_place];
      for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
        v_source := v_node.sources[v_edge];
        if p_states[v_source] = 1 and p_ports[v_source] = v_node.source_ports[v_edge] then
          p_has_live_output[v_source] := true;
        end if;
      end loop;
    end if;
  end loop;

  for v_place in 1 .. cardinality(p_nodes) loop
    if p_states[v_place] = 1 and p_has_live_output[v_place] is null then
      v_leaves := v_leaves || v_place;
    end if;
  end loop;
  return v_leaves;
end
$$;

-- Returns the event that ends a run with success. Its output is that of the one leaf that ran, or
-- an object with the outputs of several by node. Returns RUN_TOO_LARGE where that object exceeds
-- p_quota, the bytes that the log may still grow by (null: no limit).
create or replace function engine.run_succeeded(
  p_seq int,
  p_ts timestamptz,
  p_ids text[],
  p_leaves int[],
  p_outputs jsonb[],
  p_of text, -- how the log refers to the output of the one leaf
  p_quota bigint
)
  returns engine.log_entry
  language plpgsql
  stable
as $$
declare
  v_place int;
  v_bytes bigint := 0;
  v_output jsonb;
begin
  if cardinality(p_leaves) > 1 then
    foreach v_place in array p_leaves loop
      v_bytes := v_bytes + pg_column_size(engine.output_at(p_outputs, v_place));
    end loop;
    if v_bytes > p_quota then
      return engine.run_too_large(p_seq, p_ts, engine.max_run_bytes());
    end if;
    select jsonb_object_agg(p_ids[l], engine.output_at(p_outputs, l)) into v_output from unnest(p_leaves) as l;
  else
    v_output := engine.output_at(p_outputs, p_leaves[1]);
    if p_of is not null and pg_column_size(v_output) > engine.max_repeated_bytes() then
      return row(p_seq, p_ts, 'run.succeeded', jsonb_build_object('outputOf', p_of))::engine.log_entry;
    end if;
  end if;
  return row(p_seq, p_ts, 'run.succeeded', jsonb_build_object('output', v_output))::engine.log_entry;
end
$$;
