-- kind: code
-- The schema that an author gives to the inputs of a workflow. Inputs are checked when runs start,
-- in a batch with runs of others. Publishing therefore refuses schemas with too many parts, or with
-- patterns whose automaton may grow, and an input that would need too many checks is refused.
-- Keywords are those of schema_problems.sql; others are ignored. Writes and locks nothing.

-- The problems of a schema of inputs. p_place: its place in the definition.
create or replace function engine.input_schema_problems(p_schema jsonb, p_place text[])
  returns setof public.workflow_problem
  language plpgsql
  immutable
as $$
declare
  v_part record;
begin
  if length(p_schema::text) > engine.max_input_schema_length() then
    return next engine.problem(p_place, 'EXPENSIVE_EXPRESSION', format(
      'a schema of inputs has at most %s characters', engine.max_input_schema_length()
    ));
    return;
  end if;
  if engine.schemas_in(p_schema) > engine.max_input_schemas() then
    return next engine.problem(p_place, 'EXPENSIVE_EXPRESSION', format(
      'a schema of inputs has at most %s schemas in it', engine.max_input_schemas()
    ));
    return;
  end if;
  for v_part in select * from engine.schema_parts(p_schema) loop
    return query select * from engine.schema_problems(
      v_part.schema, engine.schema_of_schemas(), p_place || v_part.place, false, 'INVALID_PROPERTY'
    );
    if not found and not engine.is_safe_regex(v_part.schema ->> 'pattern', null) then
      return next engine.problem(p_place || v_part.place || '{pattern}'::text[], 'EXPENSIVE_EXPRESSION',
        'a pattern is literal text, or begins with ^ and repeats only its last character or class; '
        'compute others in a node, with like_regex');
    end if;
  end loop;
end
$$;

-- The schema and all schemas in it, the outermost first.
create or replace function engine.schema_parts(p_schema jsonb)
  returns table (place text[], schema jsonb)
  language sql
  immutable
as $$
  with recursive parts as (
    select '{}'::text[] as place, p_schema as schema
    union all
    select p.place || c.place, c.schema
    from parts as p
    cross join lateral (
      select array['properties', e.key] as place, e.value as schema
      from jsonb_each(
        case when jsonb_typeof(p.schema -> 'properties') = 'object' then p.schema -> 'properties' end
      ) as e
      union all
      select array['anyOf', (e.number - 1)::text], e.value
      from jsonb_array_elements(
        case when jsonb_typeof(p.schema -> 'anyOf') = 'array' then p.schema -> 'anyOf' end
      ) with ordinality as e (value, number)
      union all
      select array[k.key], p.schema -> k.key
      from unnest('{items,additionalProperties}'::text[]) as k (key)
      where jsonb_typeof(p.schema -> k.key) = 'object'
    ) as c
  )
  select p.place, p.schema from parts as p
$$;

-- The number of schemas in a schema, itself included.
create or replace function engine.schemas_in(p_schema jsonb)
  returns int
  language sql
  immutable
as $$
  select count(*)::int from engine.schema_parts(p_schema)
$$;

-- The JSON schema of a single schema, without the schemas in it.
create or replace function engine.schema_of_schemas()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "type": "object",
    "properties": {
      "type": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
      "enum": {"type": "array"},
      "required": {"type": "array", "items": {"type": "string"}},
      "properties": {"type": "object"},
      "additionalProperties": {"type": ["boolean", "object"]},
      "items": {"type": "object"},
      "anyOf": {"type": "array", "minItems": 1},
      "minimum": {"type": "number"}, "maximum": {"type": "number"},
      "minItems": {"type": "integer", "minimum": 0, "maximum": 1000000000},
      "maxItems": {"type": "integer", "minimum": 0, "maximum": 1000000000},
      "minLength": {"type": "integer", "minimum": 0, "maximum": 1000000000},
      "maxLength": {"type": "integer", "minimum": 0, "maximum": 1000000000},
      "pattern": {"type": "string"}
    }
  }'::jsonb
$$;

-- Whether checking an input takes more checks than allowed. Only items and additionalProperties
-- apply to more than one value, and each form of an anyOf may apply to each of them. Counts values
-- exactly only if brackets and commas show that there may be too many: each value but the first has
-- one before it.
create or replace function engine.is_expensive_input(p_input jsonb, p_schema jsonb)
  returns boolean
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_input::text;
  v_most int := engine.max_input_checks();
begin
  if length(v_text) < v_most / engine.max_input_schemas() then
    return false;
  end if;
  v_most := v_most / (
    select 1 + count(*) filter (where p.place[cardinality(p.place) - 1] = 'anyOf')
    from engine.schema_parts(p_schema) as p
    having bool_or(p.place[cardinality(p.place)] in ('items', 'additionalProperties'))
  );
  return coalesce(length(v_text) - length(translate(v_text, ',[{', '')) >= v_most, false)
    and (select count(*) from jsonb_path_query(p_input, 'strict $.**')) > v_most;
end
$$;
