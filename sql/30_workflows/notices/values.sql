-- kind: code
-- Describes what is known of a value before anything runs. A value is {"of", "shape"?, "many"?,
-- "values"?, "why"?, "at"?}. "of": its possible types, a letter each: z null, b boolean, n number,
-- s text, d time of datetime(), a list, l list of texts, o object. "many": it comes from [*].
-- "values": all that it can be. "why", "at": the cause, where "of" is empty. A truth is {"truth":
-- some of t, f, u}, with the cause where t is missing. A shape is true (anything), letters, or
-- {"<member>": shape}, where * stands for all other members. Writes and locks nothing.

-- A notice at a place of a definition.
create or replace function engine.notice(p_place text[], p_code text, p_message text)
  returns public.workflow_problem
  language sql
  immutable
as $$
  select row(engine.json_pointer(p_place), p_code, p_message, 'notice')::public.workflow_problem
$$;

-- The value that a shape describes.
create or replace function engine.value_of_shape(p_shape jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case jsonb_typeof(p_shape)
    when 'string' then jsonb_build_object('of', p_shape)
    when 'object' then jsonb_build_object(
      'of', coalesce(p_shape ->> '?', 'o'), 'shape', p_shape - '?'
    )
    else '{"of": "zbnsao"}'
  end
$$;

-- The name of a type for messages.
create or replace function engine.kind_name(p_of text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case coalesce(nullif(translate(p_of, 'zl', ''), ''), p_of)
    when 'z' then 'null' when 'b' then 'a truth value' when 'n' then 'a number' when 's' then 'a text'
    when 'd' then 'a time' when 'a' then 'a list' when 'o' then 'an object' else 'a value'
  end
$$;

-- The description of a path that finds nothing; keeps the first cause.
create or replace function engine.nothing_found(p_before jsonb, p_at int, p_why text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_before ->> 'of' = '' then p_before
    else jsonb_build_object('of', '', 'why', p_why, 'at', p_at)
  end
$$;

-- What .name finds in a value; p_quoted: the name is written in quotes.
create or replace function engine.member_value(p_value jsonb, p_name text, p_quoted boolean, p_at int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_shape constant jsonb := coalesce(p_value #> array['shape', p_name], p_value #> '{shape,*}');
begin
  if p_name = 'length' and not p_quoted and not p_value ? 'shape' then
    return engine.nothing_found(p_value, p_at,
      '.length is the member of that name, which texts and lists do not have: write | length for a text or list, '
      || '.size() for a list in a condition, or ."length" for the member');
  elsif p_value ->> 'of' !~ '[ao]' then
    return engine.nothing_found(
      p_value, p_at, format('%s has no member %s', engine.kind_name(p_value ->> 'of'), p_name)
    );
  elsif p_value ? 'shape' then
    if v_shape is null then
      return engine.nothing_found(p_value, p_at, format('there is no %s here, only %s', p_name, array_to_string(
        array(select jsonb_object_keys(p_value -> 'shape')), ', '
      )));
    elsif p_value #> '{shape,@}' is not null and p_name ~ '[A-Z]' then
      return engine.nothing_found(
        p_value, p_at, format('names of headers are in lower case: %s', lower(p_name collate "C"))
      );
    end if;
    return engine.value_of_shape(v_shape);
  end if;
  return '{"of": "zbnsao"}'::jsonb || case when p_value ? 'many' then '{"many": true}' else '{}' end::jsonb;
end
$$;

-- What the method .name() gives for a value.
create or replace function engine.method_value(p_value jsonb, p_name text, p_at int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_accepted constant text := case p_name
    when 'double' then '[nsal]' when 'datetime' then '[sal]' when 'keyvalue' then '[oa]'
    when 'type' then '.' when 'size' then '.'
    else '[na]'
  end;
begin
  if p_value ->> 'of' !~ v_accepted then
    return engine.nothing_found(
      p_value, p_at, format('.%s() cannot be computed of %s', p_name, engine.kind_name(p_value ->> 'of'))
    );
  end if;
  return case p_name
    when 'type' then '{
      "of": "s", "values": [
        "null", "boolean", "number", "string", "array", "object", "date", "time without time zone",
        "time with time zone", "timestamp without time zone", "timestamp with time zone"
      ]
    }'
    when 'datetime' then '{"of": "d"}'
    when 'keyvalue' then '{"of": "o", "shape": {"key": "s", "value": true, "id": "n"}}'
    else '{"of": "n"}'
  end::jsonb || case when p_value ? 'many' then '{"many": true}' else '{}' end::jsonb;
end
$$;
