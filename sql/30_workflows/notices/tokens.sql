-- kind: code
-- What is known of a value after the next tokens of a path; see values.sql. Writes and locks
-- nothing.

-- Reads the tokens at a place that needs a value: returns the value and its number of tokens, or a
-- prefix operator or opening bracket.
create or replace function engine.first_known(
  p_tokens text[],
  p_place int,
  p_shapes jsonb,
  p_item jsonb,
  out known jsonb,
  out operator text,
  out consumed int
)
  language plpgsql
  immutable
as $$
declare
  v_token constant text := p_tokens[p_place];
  v_root record;
begin
  consumed := 1;
  case
    when v_token in ('(', '!') then
      operator := v_token;
    when v_token in ('+', '-') then
      operator := 'sign';
    when v_token in ('strict', 'lax') then
      operator := 'mode';
    when v_token = 'exists' then
      operator := 'exists';
      consumed := 2;
    when v_token = '$' then
      v_root := engine.path_root(p_tokens[p_place : p_place + 4]);
      consumed := v_root.consumed;
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

-- Reads the tokens after a value: returns what a member, a method or a subscript makes of it, or
-- the operator that follows.
create or replace function engine.next_known(
  p_tokens text[],
  p_place int,
  p_known jsonb,
  out known jsonb,
  out operator text,
  out consumed int
)
  language plpgsql
  immutable
as $$
declare
  v_token constant text := p_tokens[p_place];
  v_next constant text := p_tokens[p_place + 1];
  v_value constant jsonb := engine.as_value(p_known);
begin
  consumed := 1;
  case
    when v_token = '.' and v_next in ('*', '**') then
      consumed := 2;
      if p_tokens[p_place + 2] = '{' then
        consumed := array_position(p_tokens, '}', p_place) - p_place + 1;
      end if;
      known := case
        when v_next = '*' and v_value ->> 'of' !~ '[ao]' then engine.nothing_found(
          v_value, p_place, format('%s has no members', engine.kind_name(v_value ->> 'of'))
        )
        when v_value ->> 'of' = '' then v_value
        else engine.value_of_shape('true')
      end;
    when v_token = '.' and p_tokens[p_place + 2] = '(' then
      consumed := array_position(p_tokens, ')', p_place) - p_place + 1;
      known := engine.method_value(v_value, v_next, p_place + 1);
    when v_token = '.' then
      consumed := 2;
      known := engine.member_value(
        v_value, case when v_next ~ '^"' then engine.token_text(v_next) else v_next end, v_next ~ '^"', p_place + 1
      );
    when v_token = '[' and v_next ~ '^"' then
      consumed := 3;
      known := engine.member_value(v_value, engine.token_text(v_next), true, p_place + 1);
    when v_token = '[' then
      consumed := engine.closing_bracket(p_tokens, p_place) - p_place + 1;
      known := engine.item_of(v_value) || case
        when v_value ? 'many' or (v_next = '*' and v_value ->> 'of' ~ '[al]') then '{"many": true}' else '{}'
      end::jsonb;
    when v_token = 'is' then -- unknown
      consumed := 2;
      known := '{"truth": "tf"}';
    when v_token = 'starts' then -- with a text
      operator := v_token;
      consumed := 3;
    when v_token = 'like_regex' then
      operator := v_token;
      consumed := case when p_tokens[p_place + 2] = 'flag' then 4 else 2 end;
    when v_token = '?' then
      operator := v_token;
      consumed := 2;
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

-- A truth as a value: null or a boolean.
create or replace function engine.as_value(p_known jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_known ? 'truth' then '{"of": "zb"}' else p_known end
$$;

-- What a filter or a subscript sees of a value: the items of a list, else the value itself.
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
