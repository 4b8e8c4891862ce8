-- kind: code
-- Applies one filter to a value. Writes and locks nothing.

-- Applies one filter. Small filters are computed in place: a call of a SQL function that PostgreSQL
-- cannot inline costs six times as much. JSON null passes unchanged through all filters but
-- default, json, length, type, count and constant_time_equals. Returns SQL null when the filter does
-- not apply to the value.
create or replace function engine.apply_filter(p_name text, p_value jsonb, p_arguments jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_value = 'null' and p_name not in (
    'default', 'json', 'length', 'type', 'count', 'constant_time_equals'
  ) then
    return p_value;
  end if;
  return case p_name
    when 'default' then case when p_value = 'null' then p_arguments -> 0 else p_value end
    when 'upper' then to_jsonb(upper(engine.scalar_text(p_value) collate engine.unicode))
    when 'lower' then to_jsonb(lower(engine.scalar_text(p_value) collate engine.unicode))
    when 'trim' then to_jsonb(btrim(engine.scalar_text(p_value), e' \t\r\n\f\v'))
    when 'replace' then engine.filter_replace(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'split' then engine.filter_split(p_value, p_arguments ->> 0)
    when 'join' then engine.filter_join(p_value, coalesce(p_arguments ->> 0, ','))
    when 'slice' then engine.filter_slice(
      p_value, engine.argument_int(p_arguments, 0), engine.argument_int(p_arguments, 1))
    when 'pad' then engine.filter_pad(
      p_value, engine.argument_int(p_arguments, 0),
      coalesce(p_arguments ->> 1, ' '), coalesce(p_arguments ->> 2, 'left'))
    when 'urlencode' then engine.filter_urlencode(p_value)
    when 'base64' then engine.filter_base64(p_value, coalesce(p_arguments ->> 0, 'encode'))
    when 'hash' then engine.filter_hash(p_value, coalesce(p_arguments ->> 0, 'sha256'))
    when 'number' then engine.filter_number(p_value)
    when 'round' then engine.filter_round(p_value, coalesce(engine.argument_int(p_arguments, 0), 0))
    when 'min' then engine.filter_extreme(p_value, false)
    when 'max' then engine.filter_extreme(p_value, true)
    when 'sum' then engine.filter_sum(p_value)
    when 'date' then engine.filter_date(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'add' then engine.filter_add(
      p_value, engine.argument_int(p_arguments, 0), p_arguments ->> 1, p_arguments ->> 2)
    when 'diff' then engine.filter_diff(p_value, p_arguments -> 0, p_arguments ->> 1, p_arguments ->> 2)
    when 'json' then to_jsonb(p_value::text)
    when 'length' then engine.filter_length(p_value)
    when 'keys' then engine.filter_keys(p_value)
    when 'first' then coalesce(engine.list_of(p_value) -> 0, 'null')
    when 'last' then coalesce(engine.list_of(p_value) -> -1, 'null')
    when 'unique' then engine.filter_unique(p_value)
    when 'sort' then engine.filter_sort(p_value, p_arguments ->> 0, coalesce(p_arguments ->> 1, 'asc'))
    when 'flatten' then engine.filter_flatten(p_value, coalesce(engine.argument_int(p_arguments, 0), 1))
    when 'type' then to_jsonb(jsonb_typeof(p_value))
    when 'constant_time_equals' then engine.filter_constant_time_equals(p_value, p_arguments -> 0)
    when 'contains' then engine.filter_contains(p_value, p_arguments -> 0)
    when 'starts_with' then to_jsonb(starts_with(engine.scalar_text(p_value), p_arguments ->> 0))
    when 'ends_with' then to_jsonb(
      right(engine.scalar_text(p_value), length(p_arguments ->> 0)) = (p_arguments ->> 0) collate "C")
    when 'match' then engine.filter_match(p_value, p_arguments ->> 0, coalesce(p_arguments ->> 1, ''))
    when 'title' then engine.filter_title(p_value)
    when 'format_number' then engine.filter_format_number(
      p_value, coalesce(engine.argument_int(p_arguments, 0), 0),
      coalesce(p_arguments ->> 1, '.'), coalesce(p_arguments ->> 2, ','))
    when 'uuid_from' then engine.filter_uuid_from(p_value, p_arguments ->> 0)
    when 'local_date' then engine.filter_local_date(p_value, p_arguments ->> 0)
    when 'parse_date' then engine.filter_parse_date(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'start_of' then engine.filter_start_of(p_value, p_arguments ->> 0, p_arguments ->> 1)
    else engine.apply_list_filter(p_name, p_value, p_arguments)
  end;
end
$$;

-- Further filters, most of them of lists and objects.
create or replace function engine.apply_list_filter(p_name text, p_value jsonb, p_arguments jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return case p_name
    when 'parse_json' then case
      when jsonb_typeof(p_value) = 'string' then engine.parse_json(p_value #>> '{}')
    end
    when 'avg' then engine.filter_avg(p_value)
    when 'count' then to_jsonb(case when p_value = 'null' then 0 else jsonb_array_length(engine.list_of(p_value)) end)
    when 'zip' then engine.filter_zip(engine.list_of(p_value), engine.list_of(p_arguments -> 0))
    when 'merge' then engine.filter_merge(p_value, p_arguments -> 0)
    when 'entries' then engine.filter_entries(p_value)
    when 'values' then case
      when jsonb_typeof(p_value) = 'object' then jsonb_path_query_array(p_value, 'strict $.*')
    end
  end;
end
$$;

-- An argument as a whole number; null when it is none.
create or replace function engine.argument_int(p_arguments jsonb, p_place int)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select case when p_arguments ->> p_place ~ '^-?[0-9]{1,9}$' then (p_arguments ->> p_place)::int end
$$;
