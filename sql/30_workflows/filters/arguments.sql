-- kind: code
-- Applies the filters of an expression in order and evaluates their arguments; parse_arguments.sql
-- says how these are written. Like those of resolve.sql, the functions that go through arguments run
-- no query. Writes and locks nothing.

-- Applies filters to a value. p_paths: null when all arguments are literals, which then stand there
-- as they are, but for arguments that are evaluated for each item. p_variables: the sources by name.
create or replace function engine.apply_filters(
  p_value jsonb,
  p_filters jsonb,
  p_paths jsonpath[],
  p_variables jsonb,
  p_strict boolean,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value jsonb := p_value;
  v_filter jsonb;
  v_name text;
  v_filtered jsonb;
  v_arguments jsonb;
begin
  for v_step in 0 .. jsonb_array_length(p_filters) - 1 loop
    v_filter := p_filters -> v_step;
    v_name := v_filter ->> 'name';
    v_arguments := v_filter -> 'arguments';
    if v_name = 'then' then
      -- Evaluates one of the arguments only.
      v_arguments := v_arguments -> case
        when engine.truth(jsonb_build_array(v_value), p_strict, p_place, p_position) = 'true' then 0
        else 1
      end;
      v_filtered := case
        when v_arguments is null then 'null'
        when p_paths is null then v_arguments
        else engine.argument_value(v_arguments, null, p_paths, p_variables, p_strict, p_place, p_position)
      end;
    elsif v_name = 'default' and v_value <> 'null' then
      continue; -- the argument is evaluated only where it is needed
    elsif v_filter ? 'each' then
      v_filtered := engine.apply_each(v_filter, v_value, p_paths, p_variables, p_strict, p_place, p_position);
    else
      if p_paths is not null then
        v_arguments := engine.argument_values(v_arguments, p_paths, p_variables, p_strict, p_place, p_position);
      end if;
      v_filtered := engine.apply_filter(v_name, v_value, v_arguments);
    end if;
    if v_filtered is null then
      return engine.expression_failed(
        'EXPRESSION_FILTER',
        format(
          '%s(%s) cannot be applied to %s', v_name,
          case when v_filter ? 'each' then '…' else left(trim(both '[]' from v_arguments::text), 100) end,
          left(v_value::text, 100)
        ),
        p_place,
        p_position
      );
    elsif pg_column_size(v_filtered) > engine.max_value_bytes() then
      return engine.result_too_large(p_place, p_position);
    end if;
    v_value := v_filtered;
  end loop;
  return v_value;
end
$$;

-- The values of the arguments of a filter.
create or replace function engine.argument_values(
  p_arguments jsonb,
  p_paths jsonpath[],
  p_variables jsonb,
  p_strict boolean,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_values jsonb := '[]';
begin
  for v_argument in 0 .. jsonb_array_length(p_arguments) - 1 loop
    v_values := v_values || jsonb_build_array(
      engine.argument_value(p_arguments -> v_argument, null, p_paths, p_variables, p_strict, p_place, p_position)
    );
  end loop;
  return v_values;
end
$$;

-- The value of an argument. p_item: what @ is in it.
create or replace function engine.argument_value(
  p_argument jsonb,
  p_item jsonb,
  p_paths jsonpath[],
  p_variables jsonb,
  p_strict boolean,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_members constant jsonb := p_argument -> 'members';
  v_keys constant jsonb := p_argument -> 'keys';
  v_value jsonb;
begin
  if p_argument ? 'value' then
    return p_argument -> 'value';
  elsif v_members is not null then
    v_value := case when v_keys is null then '[]' else '{}' end;
    for v_member in 0 .. jsonb_array_length(v_members) - 1 loop
      v_value := v_value || engine.as_member(
        v_keys ->> v_member,
        engine.argument_value(v_members -> v_member, p_item, p_paths, p_variables, p_strict, p_place, p_position)
      );
      if pg_column_size(v_value) > engine.max_value_bytes() then
        return engine.result_too_large(p_place, p_position);
      end if;
    end loop;
    return v_value;
  end if;

  v_value := engine.path_value(
    coalesce(p_item, 'null'), p_paths[(p_argument ->> 'path')::int], p_variables, (p_argument ->> 'many')::boolean,
    p_strict, p_place, p_position
  );
  if p_argument ? 'filters' then
    v_value := engine.apply_filters(
      v_value, p_argument -> 'filters', p_paths, p_variables, p_strict, p_place, p_position
    );
  end if;
  if jsonb_typeof(v_value) = 'number' and not engine.is_bounded(v_value) then
    perform engine.number_too_large(p_place, p_position);
  end if;
  return v_value;
end
$$;

-- A value as an object of one key, or as a list of one item.
create or replace function engine.as_member(p_key text, p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_key is null then jsonb_build_array(p_value) else jsonb_build_object(p_key, p_value) end
$$;

-- What a path finds, with the error handling of strict and of other nodes.
create or replace function engine.path_value(
  p_target jsonb,
  p_path jsonpath,
  p_variables jsonb,
  p_many boolean,
  p_strict boolean,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return engine.result_value(
    case
      when p_strict then engine.query_strictly(p_target, p_path, p_variables, p_place, p_position)
      when engine.compares_times(p_path) then engine.query_times(p_target, p_path, p_variables)
      else jsonb_path_query_array(p_target, p_path, p_variables, true)
    end,
    p_many
  );
end
$$;

-- The result of a path: its one item, an array when there are several or the path asks for many,
-- null for none.
create or replace function engine.result_value(p_found jsonb, p_many boolean)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_many or jsonb_array_length(p_found) > 1 then p_found else coalesce(p_found -> 0, 'null') end
$$;
