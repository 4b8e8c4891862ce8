-- kind: code
-- Translates n8n's Set (Edit Fields) to set. For what the function returns see branches.sql. Writes
-- and locks nothing.

create or replace function private.n8n_set(p_version numeric, p_parameters jsonb, p_path text[], p_places jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_others constant jsonb := private.n8n_set_others(p_version, p_parameters);
  v_dots constant boolean := coalesce(p_parameters #>> '{options,dotNotation}', 'true') = 'true';
  v_assign jsonb := '{}';
  v_types jsonb := '{}';
  v_problems jsonb := '[]';
  v_field record;
  v_value jsonb;
  v_keys text[];
  v_problem text;
begin
  if p_parameters ->> 'mode' = 'raw' then
    v_value := private.n8n_json(coalesce(p_parameters -> 'jsonOutput', '"{}"'), p_places) -> 'value';
    if v_others is null or jsonb_typeof(v_value) is distinct from 'object' then
      return jsonb_build_object('type', 'set', 'problems', jsonb_build_array(private.n8n_problem(
        p_path || '{jsonOutput}'::text[], 'it is no object of JSON with expressions that have a counterpart'
      )));
    end if;
    v_assign := v_value;
  elsif coalesce(p_parameters ->> 'mode', 'manual') <> 'manual' or v_others is null then
    return jsonb_build_object('type', 'set', 'problems', jsonb_build_array(private.n8n_problem(
      p_path, 'the fields to include are names without dots, and the mode is manual or raw'
    )));
  else
    for v_field in select f.* from private.n8n_set_fields(p_version, p_parameters) as f loop
      v_value := private.n8n_set_value(v_field.value, v_field.type, p_places);
      v_keys := case when v_dots then string_to_array(v_field.name, '.') else array[v_field.name] end;
      v_problem := case
        when v_field.name = '' then 'the name is missing'
        when v_field.name ~ E'[\\[\\]]' and v_dots then 'the name leads into a list'
        when v_field.type not in ('string', 'number', 'boolean', 'array', 'object', 'any')
          then 'the type of the value is not known'
        when v_value is null then format('the value is no %s', v_field.type)
        when cardinality(v_keys) > 1 and (v_others <> '{"pick": []}' or v_value ? 'type')
          then 'a name with dots can only be set to a value that needs no conversion, with no other field included'
      end;
      if v_problem is not null then
        v_problems := v_problems || private.n8n_problem(p_path || v_field.path, v_problem);
        continue;
      end if;
      for v_depth in 1 .. cardinality(v_keys) - 1 loop
        if jsonb_typeof(v_assign #> v_keys[1 : v_depth]) is distinct from 'object' then
          v_assign := jsonb_set(v_assign, v_keys[1 : v_depth], '{}');
        end if;
      end loop;
      v_assign := jsonb_set(v_assign, v_keys, v_value -> 'value');
      v_types := v_types - v_keys[1] || case
        when v_value ? 'type' then jsonb_build_object(v_keys[1], v_value -> 'type') else '{}'
      end;
    end loop;
  end if;
  return jsonb_build_object(
    'type', 'set', 'ports', '["main"]'::jsonb, 'problems', v_problems,
    'properties', v_others || jsonb_build_object('assign', v_assign)
      || case when v_types <> '{}' then jsonb_build_object('types', v_types) else '{}' end
  );
end
$$;

-- The assignments in one form for all versions: [{"name", "value", "type"}], with the place of
-- each.
create or replace function private.n8n_set_fields(p_version numeric, p_parameters jsonb)
  returns table (name text, value jsonb, type text, path text[])
  language sql
  immutable
as $$
  select
    coalesce(f.item ->> 'name', ''),
    coalesce(
      case when p_version < 3 or p_version >= 3.3 then f.item -> 'value'
        else f.item -> coalesce(f.item ->> 'type', 'stringValue') end,
      '""'
    ),
    case
      when p_version < 2 then 'any'
      when p_version < 3 then case l.key when 'number' then 'number' else 'any' end
      when p_version < 3.3 then replace(coalesce(f.item ->> 'type', 'stringValue'), 'Value', '')
      else coalesce(f.item ->> 'type', 'string')
    end,
    l.path || (f.place - 1)::text
  from (
    select t.key, array['values', t.key] as path, t.value as items
    from jsonb_each(
      case when p_version < 3 and jsonb_typeof(p_parameters -> 'values') = 'object' then p_parameters -> 'values' end
    ) as t
    union all
    select '', '{fields,values}', p_parameters #> '{fields,values}' where p_version >= 3 and p_version < 3.3
    union all
    select '', '{assignments,assignments}', p_parameters #> '{assignments,assignments}' where p_version >= 3.3
  ) as l
  cross join jsonb_array_elements(case jsonb_typeof(l.items) when 'array' then l.items end)
    with ordinality as f (item, place)
$$;

-- Converts a value to its type: {"value"}, or {"value", "type"} when an expression gives it and it
-- is converted at run time; null when it cannot be converted.
create or replace function private.n8n_set_value(p_value jsonb, p_type text, p_places jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_value #>> '{}';
  v_is_text constant boolean := jsonb_typeof(p_value) = 'string';
  v_literal constant jsonb := jsonb_build_object('value', private.n8n_value(p_value, p_places));
begin
  if v_is_text and v_text ~ '^=' or p_type = 'any' then
    return v_literal || case p_type
      when 'string' then case
        when v_text ~ E'^=\\s*\\{\\{((?!\\}\\}).)*\\}\\}\\s*$' then '{"type": "text"}'::jsonb else '{}'
      end
      when 'number' then '{"type": "number"}'
      when 'boolean' then '{"type": "boolean"}'
      when 'array' then '{"type": "json"}'
      when 'object' then '{"type": "json"}'
      else '{}'
    end;
  end if;
  return case
    when p_type = 'string' and jsonb_typeof(p_value) in ('number', 'boolean')
      then jsonb_build_object('value', v_text)
    when p_type = 'string' or jsonb_typeof(p_value) = p_type then v_literal
    when p_type = 'number' and v_text ~ E'^-?[0-9]{1,30}(\\.[0-9]{1,30})?$'
      then jsonb_build_object('value', v_text::numeric)
    when p_type = 'boolean' and v_text in ('true', 'false') then jsonb_build_object('value', v_text::boolean)
    when p_type in ('array', 'object') and jsonb_typeof(engine.parse_json(v_text)) = p_type
      then private.n8n_json(p_value, p_places)
  end;
end
$$;

-- Which of the other fields are kept: {} all, {"pick"}, {"omit"}; null when the parameters have no
-- counterpart.
create or replace function private.n8n_set_others(p_version numeric, p_parameters jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_include constant text := case
    when p_version < 3 then case p_parameters ->> 'keepOnlySet' when 'true' then 'none' else 'all' end
    when p_version >= 3.3 and coalesce(p_parameters ->> 'includeOtherFields', 'false') <> 'true' then 'none'
    else coalesce(p_parameters ->> 'include', 'all')
  end;
  v_names constant text[] := regexp_split_to_array(
    btrim(coalesce(p_parameters ->> case v_include when 'selected' then 'includeFields' else 'excludeFields' end, '')),
    E'\\s*,\\s*'
  );
begin
  return case
    when v_include = 'none' then '{"pick": []}'::jsonb
    when v_include = 'all' then '{}'
    when array_to_string(v_names, '') ~ E'[.\\[]' then null
    when v_include = 'selected' then jsonb_build_object('pick', v_names)
    when v_include = 'except' then jsonb_build_object('omit', v_names)
  end;
end
$$;
