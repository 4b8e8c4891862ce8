-- kind: code
-- Evaluates one path on one value, with the error handling of strict and of other nodes. Writes and
-- locks nothing.

-- On a strict node an error of a path (a division by zero, a text that is no number) fails the
-- node. On other nodes the path finds nothing instead.
create or replace function engine.query_strictly(
  p_target jsonb,
  p_path jsonpath,
  p_variables jsonb,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return jsonb_path_query_array(p_target, p_path, p_variables, false);
exception
  -- PostgreSQL reports a comparison of a date with a time of a zone as not supported, not as a data
  -- exception.
  when data_exception or feature_not_supported then
    return engine.expression_failed('EXPRESSION_FAILED', sqlerrm, p_place, p_position);
end
$$;

-- For nodes that are not strict: PostgreSQL raises an error for a comparison of a date with a time
-- of a zone, even in silent mode; here it finds nothing. Only paths for which compares_times is
-- true can raise it.
create or replace function engine.query_times(p_target jsonb, p_path jsonpath, p_variables jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return jsonb_path_query_array(p_target, p_path, p_variables, true);
exception
  when feature_not_supported then
    return '[]';
end
$$;

-- Whether a path may read dates and times: with .datetime(), .date(), .time(), .timestamp() or the
-- same with time zone.
create or replace function engine.compares_times(p_path jsonpath)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select p_path::text ~ E'\\.(date|time)[a-z_]*\\('
$$;
