-- kind: code
-- Replaces expressions by their results when a node runs: the innermost loop of the engine. No
-- function here runs a query, so that each statement is a "simple expression" of PL/pgSQL (0.1 to
-- 0.6 µs instead of 10), and each depends on its arguments alone, so that a replay gives the same
-- results. Plain expressions are evaluated in place, others by evaluate.sql. Writes and locks
-- nothing.

-- The output of a node, by its place among the compiled nodes. An output that a node passes on
-- unchanged is stored once: the element at minus the place of that node holds the place of the
-- output. The planner inlines this function.
create or replace function engine.output_at(p_outputs jsonb[], p_place int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(p_outputs[p_place], p_outputs[(p_outputs[- p_place])::int])
$$;

-- The values that expressions start at, but for outputs: by place 1 input, 2 prev, 3 inputs, 4 run,
-- 5 vars, 6 item, 7 index. An array and no composite type: PL/pgSQL passes an array on by reference,
-- and copies a composite value with all that it holds in each call. The planner inlines this function.
create or replace function engine.source_values(
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_run jsonb,
  p_vars jsonb,
  p_item jsonb,
  p_index int
)
  returns jsonb[]
  language sql
  immutable
  parallel safe
as $$
  select array[p_input, p_prev, p_inputs, p_run, p_vars, p_item, p_index::text::jsonb]
$$;

-- The value of a source, at which a path starts. The planner inlines this function.
create or replace function engine.source_value(
  p_source text,
  p_node int,
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    case p_source
      when 'prev' then p_values[2]
      when 'nodes' then engine.output_at(p_outputs, p_node)
      when 'input' then p_values[1]
      when 'vars' then p_values[5]
      when 'item' then p_values[6]
      when 'inputs' then p_values[3]
      when 'run' then p_values[4]
      when 'index' then p_values[7]
    end,
    'null'
  )
$$;

-- Raises the error that fails the node; the engine adds the id of the node.
create or replace function engine.expression_failed(
  p_code text,
  p_message text,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'NODE_FAILED',
    format('%s (property %s, position %s)', p_message, engine.json_pointer(p_place), p_position),
    null,
    jsonb_build_object('code', p_code, 'property', engine.json_pointer(p_place), 'position', p_position)
  );
  return null;
end
$$;

create or replace function engine.input_too_large(p_max_input int, p_place text[], p_position int)
  returns jsonb
  language sql
  immutable
as $$
  select engine.expression_failed(
    'EXPRESSION_TOO_LARGE', format('an expression reads at most %s kB here', p_max_input / 1024), p_place, p_position
  )
$$;

-- Ends an evaluation; engine.advance() then leaves the node to a local step. Where that is not
-- possible, as in child runs, the error counts as EXPRESSION_TOO_LARGE.
create or replace function engine.leave_to_local_step(p_message text default 'This is evaluated in a local step.')
  returns void
  language sql
  immutable
as $$
  select private.raise_error('NOT_INLINE', p_message, null, '{"code": "EXPRESSION_TOO_LARGE"}')
$$;

-- Called when an expression reads more than inline_input: more than max_input fails the node; less
-- ends the evaluation here, and engine.advance() leaves the node to a local step.
create or replace function engine.beyond_input(p_size int, p_max_input int, p_place text[], p_position int)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_size > p_max_input then
    perform engine.input_too_large(p_max_input, p_place, p_position);
  end if;
  perform engine.leave_to_local_step(
    format('The expression reads too much for what it does (property %s).', engine.json_pointer(p_place))
  );
end
$$;

-- Raises an error: the result of an expression is larger than a value may be.
create or replace function engine.result_too_large(p_place text[], p_position int)
  returns jsonb
  language sql
  immutable
as $$
  select engine.expression_failed(
    'EXPRESSION_TOO_LARGE', 'a result has at most ' || private.size_text(engine.max_value_bytes()), p_place, p_position
  )
$$;

-- Fails the node for a number beyond the bounds, which repeated products could exceed without
-- limit.
create or replace function engine.number_too_large(p_place text[], p_position int)
  returns jsonb
  language sql
  immutable
as $$
  select engine.expression_failed(
    'EXPRESSION_TOO_LARGE', 'the result is a number that is too large or too small', p_place, p_position
  )
$$;

-- The result of a predicate as true or false. An unknown result (a text compared with a number, a
-- missing value) is false; on a strict node it fails the node.
create or replace function engine.truth(p_found jsonb, p_strict boolean, p_place text[], p_position int)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_found in ('[true]', '[false]') then
    return p_found -> 0;
  elsif p_found not in ('[null]', '[]') then
    return engine.expression_failed(
      'EXPRESSION_NOT_BOOLEAN',
      format('a condition must be true or false, not %s', left(p_found::text, 100)),
      p_place,
      p_position
    );
  elsif p_strict then
    return engine.expression_failed(
      'EXPRESSION_UNKNOWN', 'the condition is neither true nor false', p_place, p_position
    );
  end if;
  return 'false';
end
$$;

-- Returns the properties with the results in the places of the expressions.
create or replace function engine.resolve(
  p_properties jsonb,
  p_expressions engine.expression[],
  p_strict boolean,
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_properties jsonb := p_properties;
  v_expression engine.expression;
  v_found jsonb;
begin
  if p_expressions is null then
    return p_properties;
  elsif cardinality(p_expressions) > 8 then
    return engine.resolve_many(p_properties, p_expressions, p_strict, p_values, p_outputs);
  end if;

  foreach v_expression in array p_expressions loop
    if v_expression.source is null then
      v_properties := jsonb_set(v_properties, v_expression.place, engine.evaluate_expression(
        v_expression, v_properties, p_strict, p_values, p_outputs
      ));
      continue;
    end if;

    v_found := engine.source_value(v_expression.source, v_expression.source_node, p_values, p_outputs);
    if pg_column_size(v_found) > coalesce(v_expression.inline_input, v_expression.max_input) then
      perform engine.beyond_input(
        pg_column_size(v_found), v_expression.max_input, v_expression.place, v_expression.position
      );
    end if;

    v_found := jsonb_path_query_array(v_found, v_expression.path, '{}', true);
    v_properties := jsonb_set(
      v_properties,
      v_expression.place,
      case
        when v_expression.kind = 'predicate' and v_found not in ('[true]', '[false]')
          then engine.truth(v_found, false, v_expression.place, v_expression.position)
        when jsonb_array_length(v_found) > 1 then v_found
        when jsonb_typeof(v_found -> 0) = 'number' and not engine.is_bounded(v_found -> 0)
          then engine.number_too_large(v_expression.place, v_expression.position)
        else coalesce(v_found -> 0, 'null')
      end
    );
  end loop;
  return v_properties;
end
$$;
comment on function engine.resolve(jsonb, engine.expression[], boolean, jsonb[], jsonb[]) is
  'The properties of a node with the result of each expression in its place. p_values: see engine.source_values(). Fails with NODE_FAILED; the detail has the code, the property and the position.';
