-- kind: code
-- One path over one value: what strict and lenient nodes make of what a path cannot do. Reads no table.

-- On a strict node, what a path cannot do (divide by zero, read a text as a number) fails the node; on others
-- nothing is found there.
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
  -- A date compared with a time of a zone is no data exception to PostgreSQL, but not supported.
  when data_exception or feature_not_supported then
    return engine.expression_failed('EXPRESSION_FAILED', sqlerrm, p_place, p_position);
end
$$;

-- On other nodes a comparison of a date with a time of a zone, which PostgreSQL refuses even when it is told to be
-- silent, finds nothing either. Only paths that compares_times names can come to that.
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

-- Whether a path may read dates and times: .datetime(), .date(), .time(), .timestamp() and their relatives.
create or replace function engine.compares_times(p_path jsonpath)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select p_path::text ~ E'\\.(date|time)[a-z_]*\\('
$$;
