-- kind: code
-- Builds what a node receives and what it puts out when it fails, and checks what it puts out.
-- These cases are rare enough for a function call each. Writes and locks nothing.

-- Returns an error of at most 64 KiB: a larger one loses its details, and its message is cut to
-- 10,000 characters. An error is repeated in the row of the run, in the input of the error workflow
-- and in the result of the parent.
create or replace function engine.short_error(p_error jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when pg_column_size(p_error) <= engine.max_small_value_bytes() then p_error
    else p_error - 'details' || jsonb_build_object('message', left(p_error ->> 'message', engine.max_text_length()))
  end
$$;

-- Returns an exception as the error of a step. An exception of class WF has its code and facts in
-- p_detail; any other becomes NODE_FAILED with its SQLSTATE.
create or replace function engine.error_of(p_sqlstate text, p_message text, p_detail text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_details jsonb := jsonb_build_object('sqlstate', p_sqlstate);
  v_code text := 'NODE_FAILED';
begin
  if p_sqlstate like 'WF%' then
    v_code := p_detail::jsonb ->> 'code';
    v_details := p_detail::jsonb - 'code';
  end if;
  return engine.short_error(jsonb_strip_nulls(jsonb_build_object(
    'code', v_code,
    'message', p_message,
    'retryable', false,
    'details', nullif(v_details, '{}')
  )));
end
$$;

-- Returns the live values at each input of a node: {"main": [value, …]}. Leaves more than 2 MiB of
-- them to a local step, and raises TOO_LARGE beyond max_inputs_bytes().
create or replace function engine.inputs_of(
  p_node engine.compiled_node,
  p_states int[],
  p_ports text[],
  p_outputs jsonb[],
  p_is_isolated boolean default true
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_inputs jsonb := '{}';
  v_input text;
  v_values jsonb[];
  v_source int;
  v_size bigint := 0;
begin
  foreach v_input in array p_node.inputs loop
    v_values := null;
    for v_edge in 1 .. cardinality(p_node.sources) loop
      v_source := p_node.sources[v_edge];
      if p_node.target_inputs[v_edge] = v_input
        and p_states[v_source] = 1 and p_ports[v_source] = p_node.source_ports[v_edge]
      then
        v_size := v_size + pg_column_size(engine.output_at(p_outputs, v_source));
        if v_size > engine.max_inputs_bytes() then
          perform private.raise_error('TOO_LARGE', format(
            'The inputs of %s are together larger than %s bytes.', p_node.id, engine.max_inputs_bytes()
          ));
        elsif v_size > engine.inline_inputs_bytes() and p_is_isolated is not true then
          perform engine.leave_to_local_step();
        end if;
        v_values := v_values || engine.output_at(p_outputs, v_source);
      end if;
    end loop;
    if v_values is not null then
      v_inputs := v_inputs || jsonb_build_object(v_input, v_values);
    end if;
  end loop;
  return v_inputs;
end
$$;

-- Returns what a node puts out that has failed for good, by its onError; without a port the run
-- stops. Omits `input` where it would make the output larger than an output may be.
create or replace function engine.outcome_of_failure(p_node engine.compiled_node, p_error jsonb, p_prev jsonb)
  returns engine.outcome
  language plpgsql
  immutable
as $$
declare
  v_outcome engine.outcome;
begin
  if p_node.type not like 'stopAndError@%' and p_node.on_error = 'continue' then
    v_outcome.port := 'main';
    v_outcome.output := jsonb_build_object('error', p_error);
  elsif p_node.type not like 'stopAndError@%' and p_node.on_error = 'errorOutput' then
    v_outcome.port := 'error';
    v_outcome.output := jsonb_build_object('error', p_error) || case
      when pg_column_size(p_prev) + pg_column_size(p_error) + 576 > engine.max_value_bytes() then '{}'
      else jsonb_build_object('input', p_prev)
    end;
  end if;
  return v_outcome;
end
$$;

-- Raises TOO_LARGE for an output that is too large or too deep. Of set@1 it checks the depth of the
-- assigned values only, because counting the levels of a large value is slow: an object is as deep
-- as the deeper of what it was and what is assigned to it, and what it was has been checked before.
create or replace function engine.check_output(p_type text, p_node text, p_properties jsonb, p_output jsonb)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_type <> 'set@1' then
    perform engine.refuse_size(p_output, format('The output of %s', p_node));
    return;
  elsif pg_column_size(p_properties) > 512 then
    perform engine.refuse_size(p_properties -> 'assign', format('What %s assigns', p_node));
  end if;
  if pg_column_size(p_output) > engine.measured_bytes() and octet_length(p_output::text) > engine.max_value_bytes() then
    perform private.raise_error('TOO_LARGE', format(
      'The output of %s is larger than %s.', p_node, private.size_text(engine.max_value_bytes())
    ));
  end if;
end
$$;
