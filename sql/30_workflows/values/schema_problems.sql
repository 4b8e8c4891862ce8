-- kind: code
-- Checks a value by a JSON schema. Supports type, enum, const, required, properties, additionalProperties, items,
-- minItems, maxItems, minimum, maximum, minLength, maxLength, pattern and anyOf. `format` says how expressions are
-- read (see node_types.sql). Writes and locks nothing.

create or replace function engine.json_pointer(p_place text[])
  returns text
  language sql
  immutable
  parallel safe
as $$
  select coalesce(string_agg('/' || replace(replace(p.key, '~', '~0'), '/', '~1'), '' order by p.place), '')
  from unnest(p_place) with ordinality as p (key, place)
$$;

create or replace function engine.problem(p_place text[], p_code text, p_message text)
  returns public.workflow_problem
  language sql
  immutable
as $$
  select row(engine.json_pointer(p_place), p_code, p_message, 'error')::public.workflow_problem
$$;

-- The schema of a member: the one for its name, else that of items or of other members; {} when there is none.
create or replace function engine.child_schema(p_schema jsonb, p_key text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    p_schema -> 'properties' -> p_key,
    p_schema -> 'items',
    case when jsonb_typeof(p_schema -> 'additionalProperties') = 'object' then p_schema -> 'additionalProperties' end,
    '{}'
  )
$$;

-- Whether a text may stand for a value of any type, because an expression in it gives the value at run time.
create or replace function engine.is_expression(p_value jsonb, p_schema jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select jsonb_typeof(p_value) = 'string'
    and strpos(p_value #>> '{}', '{{') > 0
    and p_schema ->> 'format' is null
$$;

create or replace function engine.type_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  if not p_schema ? 'type'
    or p_schema -> 'type' ? jsonb_typeof(p_value)
    or (p_schema -> 'type' ? 'integer' and jsonb_typeof(p_value) = 'number' and p_value::text ~ '^-?[0-9]+$')
  then
    return null;
  end if;
  return format(
    'must be %s, not %s',
    array_to_string(array(select jsonb_path_query(p_schema, 'lax $.type[*]') #>> '{}'), ' or '),
    jsonb_typeof(p_value)
  );
end
$$;

-- Compares lists and objects as a whole: containment would search for each item of one list in the other.
create or replace function engine.is_choice(p_value jsonb, p_choices jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) in ('array', 'object')
      then exists (select from jsonb_array_elements(p_choices) as c (choice) where c.choice = p_value)
    else p_choices @> jsonb_build_array(p_value)
  end
$$;

create or replace function engine.choice_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_schema ? 'enum' and not engine.is_choice(p_value, p_schema -> 'enum') then
      format('must be one of %s', (
        select string_agg(e.choice #>> '{}', ', ' order by e.place)
        from jsonb_array_elements(p_schema -> 'enum') with ordinality as e (choice, place)
      ))
    when p_schema ? 'const' and p_schema -> 'const' <> p_value then format('must be %s', p_schema -> 'const')
  end;
end
$$;

-- The problem of a number, a text or a list with its limits; null when there is none.
create or replace function engine.limit_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  return case jsonb_typeof(p_value)
    when 'number' then case
      when p_value < p_schema -> 'minimum' then format('must be at least %s', p_schema -> 'minimum')
      when p_value > p_schema -> 'maximum' then format('must be at most %s', p_schema -> 'maximum')
    end
    when 'string' then case
      when length(p_value #>> '{}') < (p_schema ->> 'minLength')::int
        then format('must have at least %s characters', p_schema ->> 'minLength')
      when length(p_value #>> '{}') > (p_schema ->> 'maxLength')::int
        then format('must have at most %s characters', p_schema ->> 'maxLength')
      when p_value #>> '{}' !~ (p_schema ->> 'pattern') then format('must match %s', p_schema ->> 'pattern')
    end
    when 'array' then case
      when jsonb_array_length(p_value) < (p_schema ->> 'minItems')::int
        then format('must have at least %s items', p_schema ->> 'minItems')
      when jsonb_array_length(p_value) > (p_schema ->> 'maxItems')::int
        then format('must have at most %s items', p_schema ->> 'maxItems')
    end
  end;
end
$$;

-- The problems of a value, at most p_most. p_expressions: a text with an expression counts as a value of any type.
create or replace function engine.schema_problems(
  p_value jsonb,
  p_schema jsonb,
  p_place text[] default '{}',
  p_expressions boolean default false,
  p_code text default 'INVALID_DEFINITION',
  p_most int default 100
)
  returns setof public.workflow_problem
  language plpgsql
  immutable
as $$
declare
  v_others constant jsonb := engine.other_schema(p_schema, jsonb_typeof(p_value));
  v_left int := p_most;
  v_count int;
  v_problem text;
  v_child record;
begin
  if p_schema = '{}' or (p_expressions and engine.is_expression(p_value, p_schema)) then
    return;
  end if;

  v_problem := coalesce(
    engine.type_problem(p_value, p_schema),
    case when p_schema ?| '{enum,const}' then engine.choice_problem(p_value, p_schema) end,
    engine.limit_problem(p_value, p_schema)
  );
  if v_problem is not null then
    return next engine.problem(p_place, p_code, v_problem);
    return;
  end if;

  for v_child in select * from engine.value_parts(p_value, p_schema, v_others is not null) loop
    exit when v_left <= 0;
    if v_child.problem is not null then
      return next engine.problem(p_place || v_child.place, p_code, v_child.problem);
      v_left := v_left - 1;
    else
      return query select * from engine.schema_problems(
        v_child.value, coalesce(v_child.schema, v_others), p_place || v_child.place, p_expressions, p_code, v_left
      );
      get diagnostics v_count = row_count;
      v_left := v_left - v_count;
    end if;
  end loop;

  if p_schema ? 'anyOf' and v_left > 0 then
    v_problem := engine.form_problem(p_value, p_schema -> 'anyOf', p_expressions);
    if v_problem is not null then
      return next engine.problem(p_place, p_code, v_problem);
    end if;
  end if;
end
$$;

-- The schema of all items, or of members without a schema of their own; null when there is none.
create or replace function engine.other_schema(p_schema jsonb, p_type text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select nullif(case p_type
    when 'array' then p_schema -> 'items'
    when 'object' then engine.child_schema(p_schema - 'properties', '')
  end, '{}')
$$;

-- The members and items that the schema applies to: each with the schema for its name (null: that of other_schema),
-- or with the problem that it is missing or unknown. Rows do not repeat the common schema, because there may be many.
create or replace function engine.value_parts(p_value jsonb, p_schema jsonb, p_has_others boolean)
  returns table (place text[], value jsonb, schema jsonb, problem text)
  language plpgsql
  immutable
as $$
declare
  v_properties constant jsonb := coalesce(p_schema -> 'properties', '{}');
  v_is_closed constant boolean := coalesce(p_schema -> 'additionalProperties' = 'false', false);
begin
  if jsonb_typeof(p_value) = 'array' and p_has_others then
    return query
      select array[(e.place - 1)::text], e.value, null::jsonb, null::text
      from jsonb_array_elements(p_value) with ordinality as e (value, place);
  elsif jsonb_typeof(p_value) = 'object' then
    return query
      select '{}'::text[], null::jsonb, null::jsonb, format('%s is missing', k.key)
      from jsonb_array_elements_text(p_schema -> 'required') as k (key)
      where not p_value ? k.key;
    if v_is_closed then
      return query
        select array[e.key], null::jsonb, null::jsonb, format(
          'is not known here; there are %s',
          coalesce(array_to_string(array(select jsonb_object_keys(v_properties)), ', '), 'none')
        )
        from jsonb_each(p_value) as e
        where not v_properties ? e.key
        limit 100;
    end if;
    return query
      select array[e.key], e.value, v_properties -> e.key, null::text
      from jsonb_each(p_value) as e
      where v_properties ? e.key or (p_has_others and not v_is_closed);
  end if;
end
$$;

-- The problems of a value with each form of an anyOf; null when one form has none.
create or replace function engine.form_problem(p_value jsonb, p_forms jsonb, p_expressions boolean)
  returns text
  language sql
  immutable
as $$
  select case when count(p.message) = count(*) then string_agg(distinct p.message, '; or ') end
  from jsonb_array_elements(p_forms) as f (form)
  left join lateral (
    select o.message from engine.schema_problems(p_value, f.form, '{}', p_expressions, p_most => 1) as o
  ) as p on true
$$;
