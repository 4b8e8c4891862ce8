-- kind: code
-- Defines what can be limited. Levels, such as workflows, are counted when one is added, so that no
-- stored number can be wrong. Flows, such as executions of a month, have a counter for each period,
-- which begins with what was used before the organization got a limit. Without a limit nothing is
-- counted. Writes and locks nothing.

-- Lists the metrics.
create or replace function private.metrics()
  returns table (metric text, label text, period text, counter text, is_by_team boolean)
  language sql
  immutable
  parallel safe
as $$
  -- A counter names a function (organization uuid, span tstzrange, team uuid) returning bigint, of
  -- the layer that has the counted things; a level ignores the span. Without a team it counts for
  -- the organization.
  values
    ('workflows', 'workflows', null, 'private.count_workflows', true),
    ('executions_per_month', 'executions a month', 'month', 'engine.count_executions', true),
    ('team_members', 'members', null, 'private.count_members', true),
    ('credentials', 'credentials', null, 'private.count_credentials', false),
    ('storage_gb', 'GB of storage', null, 'private.count_storage_gb', false),
    ('api_calls_per_hour', 'API calls an hour', 'hour', null, false)
$$;

-- Returns the period of a time in the UTC calendar, whatever the session's time zone; a level has
-- no period.
create or replace function private.metric_period(p_period text, p_at timestamptz)
  returns tstzrange
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_period is null then tstzrange('-infinity', null)
    else tstzrange(
      date_trunc(p_period, p_at, 'UTC'),
      (date_trunc(p_period, p_at at time zone 'UTC') + ('1 ' || p_period)::interval) at time zone 'UTC'
    )
  end
$$;

-- Calls the counter of a metric; null when it does not exist.
create or replace function private.count_used(
  p_counter text,
  p_organization_id uuid,
  p_time_range tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language plpgsql
  stable
as $$
declare
  v_counter constant regprocedure := to_regprocedure(p_counter || '(uuid, tstzrange, uuid)');
  v_name record;
  v_count bigint;
begin
  if v_counter is null then
    return null;
  end if;
  select n.nspname as schema, p.proname as name into v_name
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
  where p.oid = v_counter;
  execute format('select %I.%I($1, $2, $3)', v_name.schema, v_name.name)
  into v_count
  using p_organization_id, p_time_range, p_team_id;
  return v_count;
end
$$;
