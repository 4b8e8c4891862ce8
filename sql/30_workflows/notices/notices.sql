-- kind: code
-- Notices: expressions that are valid but always give null or are never true, such as a text plus a
-- number. They are found from the operators and from the known shapes of $.run, $.index, requests
-- and answers, without any value. A notice does not prevent publication. values.sql explains how
-- values and truths are described. Writes and locks nothing.

-- The notice of a path with its filters; `code` is null when there is none. `at`: the 1-based
-- character. p_shapes: the known shapes by root. parse_expression must have found no problem in the
-- path.
create or replace function engine.expression_notice(
  p_text text,
  p_shapes jsonb,
  out code text,
  out message text,
  out at int
)
  language plpgsql
  immutable
as $$
declare
  v_max_tokens constant int := 200; -- longer paths are not analyzed, so that validation stays fast
  v_found record := engine.significant_tokens(p_text);
  v_tokens text[];
  v_known jsonb;
begin
  v_tokens := v_found.tokens[1 : coalesce(
    (engine.pipe_places(v_found.tokens))[1] - 1, cardinality(v_found.tokens)
  )];
  if cardinality(v_tokens) > v_max_tokens then
    return;
  end if;
  v_known := engine.known_of_path(v_tokens, p_shapes);
  if v_known ->> 'of' = '' then
    code := 'ALWAYS_NULL';
    message := 'this is always null: ' || (v_known ->> 'why');
  elsif v_known ? 'truth' and v_known ->> 'truth' !~ 't' then
    code := 'NEVER_TRUE';
    message := 'this is never true: ' || (v_known ->> 'why');
  end if;
  at := case when code is not null then v_found.starts[(v_known ->> 'at')::int] end;
end
$$;

-- What is known of the result of a path, computed by operator precedence. Open brackets are kept
-- among the operators: `?` is that of a filter, whose item is in v_items, `exists` that of the
-- function.
create or replace function engine.known_of_path(p_tokens text[], p_shapes jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_stack record;
  v_items jsonb[] := '{}';
  v_place int := 1;
  v_needs_value boolean := true;
  v_step record;
  v_rank int;
begin
  select '{}'::jsonb[] as known, '{}'::text[] as operators, '{}'::int[] as places, null::text as closed into v_stack;
  while v_place <= cardinality(p_tokens) loop
    if v_needs_value then
      v_step := engine.first_known(p_tokens, v_place, p_shapes, v_items[cardinality(v_items)]);
    else
      v_step := engine.next_known(p_tokens, v_place, v_stack.known[cardinality(v_stack.known)]);
    end if;
    v_rank := engine.operator_rank(v_step.operator);
    if v_step.operator in ('starts', 'like_regex', ')') or (not v_needs_value and v_rank > 0) then
      v_stack := engine.reduce_known(
        v_stack.known, v_stack.operators, v_stack.places,
        case v_step.operator when ')' then 1 when 'starts' then 4 when 'like_regex' then 4 else v_rank end
      );
    end if;
    case
      when v_step.operator is null and v_needs_value then
        v_stack.known := v_stack.known || v_step.known;
        v_needs_value := false;
      when v_step.operator is null then
        v_stack.known[cardinality(v_stack.known)] := v_step.known;
      when v_step.operator in ('starts', 'like_regex') then
        v_stack.known[cardinality(v_stack.known)] := engine.text_truth(
          engine.as_value(v_stack.known[cardinality(v_stack.known)]), v_place
        );
      when v_step.operator = ')' then
        v_stack := engine.close_bracket(v_stack.known, v_stack.operators, v_stack.places);
        v_items := case when v_stack.closed = '?' then trim_array(v_items, 1) else v_items end;
      else
        v_items := case
          when v_step.operator = '?' then v_items || engine.item_of(v_stack.known[cardinality(v_stack.known)])
          else v_items
        end;
        v_stack.operators := v_stack.operators || v_step.operator;
        v_stack.places := v_stack.places || v_place;
        v_needs_value := true;
    end case;
    v_place := v_place + v_step.consumed;
  end loop;
  v_stack := engine.reduce_known(v_stack.known, v_stack.operators, v_stack.places, 1);
  return v_stack.known[1];
end
$$;

-- The precedence of an operator; 0 for brackets, which are only removed by their closing bracket.
create or replace function engine.operator_rank(p_operator text)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_operator = '||' then 1
    when p_operator = '&&' then 2
    when p_operator in ('==', '!=', '<>', '<', '<=', '>', '>=') then 3
    when p_operator in ('+', '-') then 4
    when p_operator in ('*', '/', '%') then 5
    when p_operator in ('sign', '!') then 6
    else 0
  end
$$;

-- Applies the operators at the end of the stack whose precedence is at least p_rank, the last one
-- first.
create or replace function engine.reduce_known(
  inout known jsonb[],
  inout operators text[],
  inout places int[],
  p_rank int,
  out closed text
)
  language plpgsql
  immutable
as $$
declare
  v_operator text;
  v_last int;
begin
  loop
    v_last := cardinality(operators);
    v_operator := operators[v_last];
    exit when v_operator is null or (engine.operator_rank(v_operator) < p_rank and v_operator <> 'mode');
    if v_operator in ('!', 'sign') then
      known[cardinality(known)] := case v_operator
        when 'sign' then engine.sign_value(engine.as_value(known[cardinality(known)]), places[v_last])
        else known[cardinality(known)] || jsonb_build_object(
          'truth', translate(known[cardinality(known)] ->> 'truth', 'tf', 'ft')
        )
      end;
    elsif v_operator <> 'mode' then
      known := trim_array(known, 2) || engine.operator_known(
        known[cardinality(known) - 1], known[cardinality(known)], v_operator, places[v_last]
      );
    end if;
    operators := trim_array(operators, 1);
    places := trim_array(places, 1);
  end loop;
end
$$;

-- What is known of the result of an operator with two operands.
create or replace function engine.operator_known(p_left jsonb, p_right jsonb, p_operator text, p_at int)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return case engine.operator_rank(p_operator)
    when 1 then engine.joined_truth(p_left, p_right, p_operator)
    when 2 then engine.joined_truth(p_left, p_right, p_operator)
    when 3 then engine.comparison_truth(engine.as_value(p_left), engine.as_value(p_right), p_operator, p_at)
    else engine.arithmetic_value(engine.as_value(p_left), engine.as_value(p_right), p_operator, p_at)
  end;
end
$$;

-- What is known after a closing parenthesis: of exists, of a filter, or of the value inside.
create or replace function engine.close_bracket(
  inout known jsonb[],
  inout operators text[],
  inout places int[],
  out closed text
)
  language plpgsql
  immutable
as $$
declare
  v_last constant jsonb := known[cardinality(known)];
  v_source constant jsonb := known[cardinality(known) - 1];
begin
  closed := operators[cardinality(operators)];
  operators := trim_array(operators, 1);
  places := trim_array(places, 1);
  case closed
    when 'exists' then
      known[cardinality(known)] := case v_last ->> 'of'
        when '' then (v_last - 'of') || '{"truth": "fu"}' else '{"truth": "tfu"}'
      end;
    when '?' then
      known := trim_array(known, 2) || case
        when v_source ->> 'of' = '' then v_source
        when v_last ->> 'truth' !~ 't' then (v_last - 'truth') || '{"of": ""}'
        else engine.item_of(v_source)
      end;
    else null;
  end case;
end
$$;
