-- kind: code
-- The filter of runs, one for lists, counts, statistics, subscriptions and commands on many runs. A
-- filter is an object: {"status": {"in": ["error"]}, "startedAt": {"greaterThan": "2027-01-31"}}.
-- PostgreSQL inlines run_matches(), because all in it is immutable, and leaves out what a constant
-- filter does not ask for, so that indexes and pruning apply: callers plan for the values
-- (plan_cache_mode = force_custom_plan).
-- Writes and locks nothing.

-- Whole milliseconds from the start of a run to its end; null while it has not ended.
create or replace function engine.run_duration_ms(p_started_at timestamptz, p_finished_at timestamptz)
  returns double precision
  language sql
  immutable
  parallel safe
as $$
  select round(extract(epoch from p_finished_at - p_started_at) * 1000)::double precision
$$;

create or replace function engine.text_items(p_list jsonb)
  returns text[]
  language plpgsql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  return array(select jsonb_array_elements_text(p_list));
end
$$;

-- Reads a time of ISO 8601. Immutable, because it does not use the settings of the session; a time
-- without a time zone is one of UTC.
create or replace function engine.time_of(p_text text)
  returns timestamptz
  language plpgsql
  immutable
  parallel safe
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set search_path = pg_catalog, pg_temp
as $$
begin
  return p_text::timestamptz;
end
$$;

-- The bounds of a condition on a time, in whole milliseconds: without a bound, those of the ids that
-- a time can have.
create or replace function engine.lowest_time(p_condition jsonb)
  returns timestamptz
  language plpgsql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  return greatest(
    engine.time_of(p_condition ->> 'greaterThan'), engine.time_of(p_condition ->> 'greaterThanOrEqualTo'),
    to_timestamp(0)
  );
end
$$;

create or replace function engine.highest_time(p_condition jsonb)
  returns timestamptz
  language plpgsql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  return greatest(
    to_timestamp(0),
    least(
      engine.time_of(p_condition ->> 'lessThan'), engine.time_of(p_condition ->> 'lessThanOrEqualTo'),
      to_timestamp(100000000000)
    ) + interval '1 ms'
  );
end
$$;

-- Says whether a text or a number anywhere in a value contains a text; upper and lower case are the
-- same.
create or replace function engine.has_text(p_value jsonb, p_text text)
  returns boolean
  language plpgsql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- Nearly all values are excluded by this comparison, which costs a hundredth of reading them.
  if strpos(lower(p_value::text collate engine.unicode), lower(p_text collate engine.unicode)) = 0
    and to_jsonb(p_text)::text = '"' || p_text || '"'
  then
    return false;
  end if;
  return exists (
    select
    from jsonb_path_query(p_value, 'strict $.**') as v (value)
    where jsonb_typeof(v.value) in ('string', 'number')
      and strpos(lower((v.value #>> '{}') collate engine.unicode), lower(p_text collate engine.unicode)) > 0
  );
end
$$;

create or replace function engine.uuid_matches(p_id uuid, p_condition jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select
    (not p_condition ? 'equalTo' or p_id = (p_condition ->> 'equalTo')::uuid)
    and (not p_condition ? 'notEqualTo' or p_id <> (p_condition ->> 'notEqualTo')::uuid)
    and (not p_condition ? 'in' or p_id = any (engine.text_items(p_condition -> 'in')::uuid[]))
    and (not p_condition ? 'isNull' or (p_id is null) = (p_condition -> 'isNull')::boolean)
$$;

create or replace function engine.text_matches(p_value text, p_condition jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select
    (not p_condition ? 'equalTo' or p_value = p_condition ->> 'equalTo')
    and (not p_condition ? 'notEqualTo' or p_value <> p_condition ->> 'notEqualTo')
    and (not p_condition ? 'in' or p_value = any (engine.text_items(p_condition -> 'in')))
    and (not p_condition ? 'isNull' or (p_value is null) = (p_condition -> 'isNull')::boolean)
$$;

create or replace function engine.number_matches(p_value double precision, p_condition jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select
    (not p_condition ? 'lessThan' or p_value < (p_condition -> 'lessThan')::double precision)
    and (not p_condition ? 'lessThanOrEqualTo' or p_value <= (p_condition -> 'lessThanOrEqualTo')::double precision)
    and (not p_condition ? 'greaterThan' or p_value > (p_condition -> 'greaterThan')::double precision)
    and (
      not p_condition ? 'greaterThanOrEqualTo'
      or p_value >= (p_condition -> 'greaterThanOrEqualTo')::double precision
    )
$$;

create or replace function engine.time_matches(p_value timestamptz, p_condition jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select
    (not p_condition ? 'lessThan' or p_value < engine.time_of(p_condition ->> 'lessThan'))
    and (not p_condition ? 'lessThanOrEqualTo' or p_value <= engine.time_of(p_condition ->> 'lessThanOrEqualTo'))
    and (not p_condition ? 'greaterThan' or p_value > engine.time_of(p_condition ->> 'greaterThan'))
    and (
      not p_condition ? 'greaterThanOrEqualTo'
      or p_value >= engine.time_of(p_condition ->> 'greaterThanOrEqualTo')
    )
$$;

create or replace function engine.run_matches(p_run public.workflow_runs, p_filter jsonb)
  returns boolean
  language sql
  immutable
as $$
  select
    (not p_filter ? 'id' or engine.uuid_matches(p_run.id, p_filter -> 'id'))
    and (not p_filter ? 'workflowId' or engine.uuid_matches(p_run.workflow_id, p_filter -> 'workflowId'))
    and (not p_filter ? 'status' or engine.text_matches(p_run.status, p_filter -> 'status'))
    and (not p_filter ? 'mode' or engine.text_matches(p_run.mode, p_filter -> 'mode'))
    and (not p_filter ? 'version' or engine.text_matches(p_run.version::text, p_filter -> 'version'))
    and (not p_filter ? 'parentRunId' or engine.uuid_matches(p_run.parent_run_id, p_filter -> 'parentRunId'))
    and (not p_filter ? 'startedById' or engine.uuid_matches(p_run.started_by, p_filter -> 'startedById'))
    and (not p_filter ? 'triggerNode' or engine.text_matches(p_run.trigger_node, p_filter -> 'triggerNode'))
    -- The time is in the id, too: these bounds let indexes and partitions serve it.
    and (not p_filter ? 'startedAt' or (
      p_run.id >= engine.uuid_floor(engine.lowest_time(p_filter -> 'startedAt'))
      and p_run.id < engine.uuid_floor(engine.highest_time(p_filter -> 'startedAt'))
      and engine.time_matches(p_run.started_at, p_filter -> 'startedAt')
    ))
    and (not p_filter ? 'finishedAt' or engine.time_matches(p_run.finished_at, p_filter -> 'finishedAt'))
    and (not p_filter ? 'durationMs' or engine.number_matches(
      engine.run_duration_ms(p_run.started_at, p_run.finished_at), p_filter -> 'durationMs'
    ))
    -- Only failed runs have a code: the partial index of failed runs serves it.
    and (not p_filter ? 'errorCode' or p_filter -> 'errorCode' -> 'isNull' = 'true' or p_run.status = 'error')
    and (not p_filter ? 'errorCode' or engine.text_matches(p_run.error ->> 'code', p_filter -> 'errorCode'))
    and (not p_filter ? 'metadata' or (
      (not p_filter -> 'metadata' ? 'contains' or p_run.metadata @> (p_filter -> 'metadata' -> 'contains'))
      and (not p_filter -> 'metadata' ? 'text' or engine.has_text(p_run.metadata, p_filter -> 'metadata' ->> 'text'))
    ))
$$;
comment on function engine.run_matches(public.workflow_runs, jsonb) is
  'Says whether a run is one of a filter, which engine.checked_run_filter() returned. Example: select id from workflow_runs as r where engine.run_matches(r, ''{"status": {"equalTo": "error"}}'');';

grant execute on function
  engine.run_matches(public.workflow_runs, jsonb),
  engine.run_duration_ms(timestamptz, timestamptz),
  engine.uuid_matches(uuid, jsonb),
  engine.text_matches(text, jsonb),
  engine.number_matches(double precision, jsonb),
  engine.time_matches(timestamptz, jsonb),
  engine.lowest_time(jsonb),
  engine.highest_time(jsonb),
  engine.time_of(text),
  engine.text_items(jsonb),
  engine.has_text(jsonb, text)
  to flowgres_user, flowgres_dba;
