-- kind: code
-- Notices: expressions that can be read but never give anything else than null or false, such as a text + a number. It
-- is found from the operators and from what is known of $.run, $.index, requests and answers, not from any value. A
-- notice keeps nothing from being published. notice_values.sql has the rules for values and truths.

-- The notice about a path with its filters; `code` is null when there is none. `at`: the 1-based character. p_shapes:
-- what is known, by root. The path is one that parse_expression has found nothing wrong with.
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
  c_tokens constant int := 200; -- longer paths are not looked at, so that validation stays quick
  v_found record := engine.significant_tokens(p_text);
  v_tokens text[];
  v_known jsonb;
begin
  v_tokens := v_found.tokens[1 : coalesce(
    (engine.pipe_places(v_found.tokens))[1] - 1, cardinality(v_found.tokens)
  )];
  if cardinality(v_tokens) > c_tokens then
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

-- What is known of the result of a path, found by operator precedence. Brackets wait among the operators: `?` is a
-- filter, which holds its item in v_items, `exists` the word before.
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
    v_place := v_place + v_step.taken;
  end loop;
  v_stack := engine.reduce_known(v_stack.known, v_stack.operators, v_stack.places, 1);
  return v_stack.known[1];
end
$$;

-- How strongly an operator binds; brackets wait for their other half.
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

-- Where a value is needed: the value and how many tokens it has, or the operator or bracket before it.
create or replace function engine.first_known(
  p_tokens text[],
  p_place int,
  p_shapes jsonb,
  p_item jsonb,
  out known jsonb,
  out operator text,
  out taken int
)
  language plpgsql
  immutable
as $$
declare
  v_token constant text := p_tokens[p_place];
  v_root record;
begin
  taken := 1;
  case
    when v_token in ('(', '!') then
      operator := v_token;
    when v_token in ('+', '-') then
      operator := 'sign';
    when v_token in ('strict', 'lax') then
      operator := 'mode';
    when v_token = 'exists' then
      operator := 'exists';
      taken := 2;
    when v_token = '$' then
      v_root := engine.path_root(p_tokens[p_place : p_place + 4]);
      taken := v_root.taken;
      known := engine.value_of_shape(p_shapes -> v_root.source);
    when v_token = '@' then
      known := coalesce(p_item, engine.value_of_shape('true'));
    when v_token ~ '^["0-9]' then
      known := jsonb_build_object(
        'of', case when v_token ~ '^"' then 's' else 'n' end, 'values', jsonb_build_array(v_token::jsonb)
      );
    when v_token in ('true', 'false') then
      known := '{"of": "b"}';
    when v_token = 'null' then
      known := '{"of": "z"}';
    else
      known := engine.value_of_shape('true');
  end case;
end
$$;

-- After a value: what a member, a method or a place in a list makes of it; or the operator that follows.
create or replace function engine.next_known(
  p_tokens text[],
  p_place int,
  p_known jsonb,
  out known jsonb,
  out operator text,
  out taken int
)
  language plpgsql
  immutable
as $$
declare
  v_token constant text := p_tokens[p_place];
  v_next constant text := p_tokens[p_place + 1];
  v_value constant jsonb := engine.as_value(p_known);
begin
  taken := 1;
  case
    when v_token = '.' and v_next in ('*', '**') then
      taken := 2;
      if p_tokens[p_place + 2] = '{' then
        taken := array_position(p_tokens, '}', p_place) - p_place + 1;
      end if;
      known := case
        when v_next = '*' and v_value ->> 'of' !~ '[ao]' then engine.nothing_found(
          v_value, p_place, format('%s has no members', engine.kind_name(v_value ->> 'of'))
        )
        when v_value ->> 'of' = '' then v_value
        else engine.value_of_shape('true')
      end;
    when v_token = '.' and p_tokens[p_place + 2] = '(' then
      taken := array_position(p_tokens, ')', p_place) - p_place + 1;
      known := engine.method_value(v_value, v_next, p_place + 1);
    when v_token = '.' then
      taken := 2;
      known := engine.member_value(
        v_value, case when v_next ~ '^"' then engine.token_text(v_next) else v_next end, v_next ~ '^"', p_place + 1
      );
    when v_token = '[' and v_next ~ '^"' then
      taken := 3;
      known := engine.member_value(v_value, engine.token_text(v_next), true, p_place + 1);
    when v_token = '[' then
      taken := engine.closing_bracket(p_tokens, p_place) - p_place + 1;
      known := engine.item_of(v_value) || case
        when v_value ? 'many' or (v_next = '*' and v_value ->> 'of' ~ '[al]') then '{"many": true}' else '{}'
      end::jsonb;
    when v_token = 'is' then -- unknown
      taken := 2;
      known := '{"truth": "tf"}';
    when v_token = 'starts' then -- with a text
      operator := v_token;
      taken := 3;
    when v_token = 'like_regex' then
      operator := v_token;
      taken := case when p_tokens[p_place + 2] = 'flag' then 4 else 2 end;
    when v_token = '?' then
      operator := v_token;
      taken := 2;
    else
      operator := v_token;
  end case;
end
$$;

-- The place of the ] that closes the [ at p_place.
create or replace function engine.closing_bracket(p_tokens text[], p_place int)
  returns int
  language plpgsql
  immutable
as $$
declare
  v_depth int := 0;
begin
  for v_place in p_place .. cardinality(p_tokens) loop
    v_depth := v_depth + (p_tokens[v_place] = '[')::int - (p_tokens[v_place] = ']')::int;
    if v_depth = 0 then
      return v_place;
    end if;
  end loop;
  return cardinality(p_tokens);
end
$$;

-- A truth between parentheses is a value as well.
create or replace function engine.as_value(p_known jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_known ? 'truth' then '{"of": "zb"}' else p_known end
$$;

-- What a filter, or a place between brackets, sees of a value: the items of a list, else the value itself.
create or replace function engine.item_of(p_known jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_known ->> 'of' ~ 'a' then '{"of": "zbnsao"}'
    else engine.as_value(p_known) - 'many'
      || jsonb_build_object('of', engine.compared_kinds(engine.as_value(p_known)))
  end
$$;

-- Computes the operators that bind at least as strongly as p_rank, from the last one on.
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

-- An operator with two sides.
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

-- What a closing parenthesis makes of what is before it.
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
