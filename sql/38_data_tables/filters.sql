-- kind: code
-- Filters of rows: {"status": "open", "total": {"gte": 100}}. A value means equality, which uses
-- the index; an object whose keys are operators compares row by row. Writes and locks nothing.

create or replace function private.is_comparison(p_value jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select jsonb_typeof(p_value) = 'object' and p_value <> '{}'
    and p_value - '{ne,gt,gte,lt,lte,in}'::text[] = '{}'
$$;

-- Returns the part of a filter that is equality.
create or replace function private.filter_equals(p_filter jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_object_agg(f.key, f.value) filter (where not private.is_comparison(f.value)), '{}')
  from jsonb_each(p_filter) as f
$$;

-- Returns the other conditions: [{"property", "operator", "value"}].
create or replace function private.filter_comparisons(p_filter jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(
    jsonb_agg(jsonb_build_object('property', f.key, 'operator', o.key, 'value', o.value) order by f.key, o.key), '[]'
  )
  from jsonb_each(p_filter) as f
  cross join lateral jsonb_each(case when private.is_comparison(f.value) then f.value else '{}' end) as o
$$;

-- Returns whether a row fulfils all comparisons. A value that is missing or of another type fulfils
-- none but ne.
create or replace function private.fulfils(p_data jsonb, p_comparisons jsonb)
  returns boolean
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_each jsonb;
begin
  for v_each in select jsonb_array_elements(p_comparisons) loop
    if private.compares(p_data -> (v_each ->> 'property'), v_each ->> 'operator', v_each -> 'value') is not true then
      return false;
    end if;
  end loop;
  return true;
end
$$;

-- Texts are compared by their characters' code points, as times in ISO 8601 need it.
create or replace function private.compares(p_value jsonb, p_operator text, p_other jsonb)
  returns boolean
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_order int;
begin
  case p_operator
    when 'ne' then return p_value is distinct from p_other;
    when 'in' then return jsonb_typeof(p_other) = 'array' and p_other @> jsonb_build_array(p_value);
    else null;
  end case;
  if p_value is null or jsonb_typeof(p_value) <> jsonb_typeof(p_other)
    or jsonb_typeof(p_value) not in ('number', 'string')
  then
    return false;
  end if;
  v_order := case
    when p_value = p_other then 0
    when jsonb_typeof(p_value) = 'number' then case when p_value::numeric < p_other::numeric then -1 else 1 end
    when (p_value #>> '{}') collate "C" < (p_other #>> '{}') collate "C" then -1
    else 1
  end;
  return case p_operator
    when 'gt' then v_order > 0
    when 'gte' then v_order >= 0
    when 'lt' then v_order < 0
    else v_order <= 0
  end;
end
$$;

-- Raises INVALID_ARGUMENT for what is no filter, or one with too many conditions.
create or replace function private.check_filter(p_filter jsonb)
  returns void
  language plpgsql
  immutable
as $$
begin
  if jsonb_typeof(p_filter) is distinct from 'object' then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'A filter is an object.', 'For example {"status": "open", "total": {"gte": 100}}.'
    );
  end if;
  perform engine.refuse_value(p_filter, 'The filter', engine.max_small_value_bytes());
  if (select count(*) from jsonb_object_keys(p_filter)) > engine.max_filter_conditions() then
    perform private.raise_error(
      'INVALID_ARGUMENT', format('A filter names at most %s properties.', engine.max_filter_conditions())
    );
  end if;
end
$$;
