-- kind: code
-- Checks the filter of runs, at every border where one arrives. Writes and locks nothing.

-- Returns the filter with every condition as an object: "error" is {"equalTo": "error"}, a list is
-- {"in": […]}. Immutable, so that it is evaluated once while a statement is planned.
create or replace function engine.checked_run_filter(p_filter jsonb)
  returns jsonb
  language plpgsql
  immutable
  security definer -- definer because errors are raised in the schema private, which is closed to requests
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_filter jsonb;
  v_problem jsonb;
begin
  if pg_column_size(p_filter) > engine.max_small_value_bytes() then
    perform private.raise_error('TOO_LARGE', format(
      'A filter is at most %s.', private.size_text(engine.max_small_value_bytes())
    ));
  end if;
  if jsonb_typeof(p_filter) = 'object' then
    select coalesce(jsonb_object_agg(f.key, case jsonb_typeof(f.condition)
      when 'object' then f.condition
      when 'array' then jsonb_build_object('in', f.condition)
      else jsonb_build_object('equalTo', f.condition)
    end), '{}')
    into v_filter
    from jsonb_each(p_filter) as f (key, condition);
  end if;
  v_problem := engine.run_filter_problem(coalesce(v_filter, p_filter, 'null'));
  if v_problem is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      format('The filter is not valid: %s %s', v_problem ->> 'pointer', v_problem ->> 'message'),
      'An empty object, {}, is every run; each condition in it names a value.',
      jsonb_build_object('problems', jsonb_build_array(v_problem))
    );
  end if;
  return v_filter;
end
$$;
comment on function engine.checked_run_filter(jsonb) is
  'Checks a filter of runs and returns it in the form that engine.run_matches() takes. Errors: INVALID_ARGUMENT, TOO_LARGE. Example: select engine.checked_run_filter(''{"status": "error"}'');';

-- Returns the first problem of a filter: {"pointer", "message"}; null when there is none.
create or replace function engine.run_filter_problem(p_filter jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_problem jsonb;
  v_time record;
begin
  select to_jsonb(p) into v_problem
  from engine.schema_problems(p_filter, engine.run_filter_schema(), p_most => 1) as p;
  if v_problem is not null then
    return v_problem;
  end if;
  select to_jsonb(engine.problem(array[f.key], '', 'names no value')) into v_problem
  from jsonb_each(p_filter) as f (key, condition)
  where f.condition = '{}';
  if v_problem is not null then
    return v_problem;
  end if;
  for v_time in
    select array[f.key, c.key] as place, c.value
    from jsonb_each(p_filter) as f (key, condition), jsonb_each_text(f.condition) as c
    where f.key in ('startedAt', 'finishedAt')
  loop
    begin
      perform engine.time_of(v_time.value);
    exception
      when data_exception then
        return to_jsonb(engine.problem(v_time.place, '', sqlerrm));
    end;
  end loop;
  return null;
end
$$;

-- The JSON schema of a condition on values of a schema: equal, one of a list, or null.
create or replace function engine.choice_schema(p_value jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('type', 'object', 'additionalProperties', false, 'properties', jsonb_build_object(
    'equalTo', p_value,
    'notEqualTo', p_value,
    'in', jsonb_build_object('type', 'array', 'items', p_value, 'maxItems', engine.max_filter_items()),
    'isNull', '{"type": "boolean"}'::jsonb
  ))
$$;

-- The JSON schema of a condition on values of a schema: less or greater.
create or replace function engine.range_schema(p_value jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('type', 'object', 'additionalProperties', false, 'properties', jsonb_build_object(
    'lessThan', p_value,
    'lessThanOrEqualTo', p_value,
    'greaterThan', p_value,
    'greaterThanOrEqualTo', p_value
  ))
$$;

create or replace function engine.uuid_schema()
  returns jsonb
  language sql
  immutable
as $$
  select '{"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}'::jsonb
$$;

-- The JSON schema of a filter.
create or replace function engine.run_filter_schema()
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'object',
    'additionalProperties', false,
    'properties', jsonb_build_object(
      'id', engine.choice_schema(engine.uuid_schema()),
      'workflowId', engine.choice_schema(engine.uuid_schema()),
      'parentRunId', engine.choice_schema(engine.uuid_schema()),
      'startedById', engine.choice_schema(engine.uuid_schema()),
      'status', engine.choice_schema('{"enum": ["waiting", "running", "paused", "success", "error", "canceled"]}'),
      'mode', engine.choice_schema(
        '{"enum": ["manual", "webhook", "api", "schedule", "retry", "fork", "error", "child", "table"]}'
      ),
      'triggerNode', engine.choice_schema('{"type": "string"}'),
      'errorCode', engine.choice_schema('{"type": "string"}'),
      'version', engine.choice_schema('{"type": "integer"}'),
      'durationMs', engine.range_schema('{"type": "number"}'),
      'startedAt', engine.range_schema('{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"}'),
      'finishedAt', engine.range_schema('{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"}'),
      'metadata', '{
        "type": "object",
        "additionalProperties": false,
        "properties": {"contains": {"type": "object"}, "text": {"type": "string", "minLength": 1, "maxLength": 1000}}
      }'::jsonb
    )
  )
$$;

grant execute on function engine.checked_run_filter(jsonb) to flowgres_user, flowgres_dba;
