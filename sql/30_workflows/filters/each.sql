-- kind: code
-- Applies the filters with an argument that is evaluated for each item of a list, such as map, where and sort_by.
-- Writes and locks nothing.

-- SQL null when the filter does not apply to the value. JSON null passes unchanged, but through calc and count.
create or replace function engine.apply_each(
  p_filter jsonb,
  p_value jsonb,
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
  v_name constant text := p_filter ->> 'name';
  v_arguments constant jsonb := p_filter -> 'arguments';
  v_items constant jsonb := engine.list_of(p_value);
  v_found jsonb;
begin
  if v_name = 'calc' then
    return engine.argument_value(v_arguments -> 0, p_value, p_paths, p_variables, p_strict, p_place, p_position);
  elsif p_value = 'null' then
    return case v_name when 'count' then '0' else p_value end;
  end if;
  v_found := engine.each_value(v_items, v_arguments -> 0, p_paths, p_variables, p_strict, p_place, p_position);
  if v_name in ('where', 'count') then
    v_found := engine.item_truths(v_found, p_strict, p_place, p_position);
  end if;
  return case v_name
    when 'map' then v_found
    when 'where' then engine.filter_where(v_items, v_found)
    when 'count' then to_jsonb(jsonb_array_length(engine.filter_where(v_found, v_found)))
    when 'sum' then engine.filter_sum(v_found)
    when 'avg' then engine.filter_avg(v_found)
    when 'min' then engine.filter_extreme(engine.without_nulls(v_found), false)
    when 'max' then engine.filter_extreme(engine.without_nulls(v_found), true)
    when 'unique' then engine.filter_unique_by(v_items, v_found)
    when 'sort_by' then engine.filter_sort_by(
      v_items, v_found, coalesce(v_arguments -> 1 ->> 'value', 'asc'))
    when 'group_by' then engine.filter_group_by(v_found, case
      when v_arguments -> 1 is null then v_items
      else engine.each_value(v_items, v_arguments -> 1, p_paths, p_variables, p_strict, p_place, p_position)
    end)
    when 'index_by' then engine.filter_object(v_found, v_items)
    when 'object' then engine.filter_object(
      v_found, engine.each_value(v_items, v_arguments -> 1, p_paths, p_variables, p_strict, p_place, p_position))
  end;
end
$$;

-- The values of an argument for each item, in their order. Adds their sizes up, so that a result that is too large is
-- not built: an argument may read a large source for each item.
create or replace function engine.each_value(
  p_items jsonb,
  p_argument jsonb,
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
  v_path jsonpath := case when not p_argument ? 'filters' then p_paths[(p_argument ->> 'path')::int] end;
  v_many constant boolean := coalesce((p_argument ->> 'many')::boolean, false);
  v_value jsonb;
  v_values jsonb[] := '{}';
  v_size bigint := 0;
begin
  -- Only a product or a quotient of items can be a number without bounds.
  if p_strict or engine.compares_times(v_path) or v_path::text ~ ' [*/%] ' then
    v_path := null;
  end if;
  for v_index in 0 .. jsonb_array_length(p_items) - 1 loop
    if v_path is not null then
      v_value := jsonb_path_query_array(p_items -> v_index, v_path, p_variables, true);
      v_value := engine.result_value(v_value, v_many);
    else
      v_value := engine.argument_value(
        p_argument, p_items -> v_index, p_paths, p_variables, p_strict, p_place, p_position
      );
    end if;
    v_size := v_size + pg_column_size(v_value);
    if v_size > engine.max_value_bytes() then
      return engine.result_too_large(p_place, p_position);
    end if;
    v_values[v_index + 1] := v_value;
  end loop;
  return to_jsonb(v_values);
end
$$;

-- The results of a condition for each item as true and false: see truth() in resolve.sql.
create or replace function engine.item_truths(p_found jsonb, p_strict boolean, p_place text[], p_position int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_truths jsonb[] := '{}';
begin
  if not jsonb_path_exists(p_found, 'strict $[*] ? (@.type() != "boolean")') then
    return p_found;
  end if;
  for v_index in 0 .. jsonb_array_length(p_found) - 1 loop
    v_truths[v_index + 1] := engine.truth(jsonb_build_array(p_found -> v_index), p_strict, p_place, p_position);
  end loop;
  return to_jsonb(v_truths);
end
$$;
