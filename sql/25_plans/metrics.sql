-- kind: code
-- What can be limited. Two kinds: levels, such as workflows, are counted when one is to be added, so that their number
-- cannot drift from what is there; flows, such as executions of a month, have a counter for each period.

create or replace function private.metrics()
  returns table (metric text, label text, period text, counter text)
  language sql
  immutable
  parallel safe
as $$
  -- A counter is the name of a function (organization uuid) returning bigint, of whichever layer knows the things.
  values
    ('workflows', 'workflows', null, 'private.count_workflows'),
    ('executions_per_month', 'executions a month', 'month', null),
    ('team_members', 'members', null, 'private.count_members'),
    ('credentials', 'credentials', null, 'private.count_credentials'),
    ('storage_gb', 'GB of storage', null, 'private.count_storage_gb'),
    ('api_calls_per_hour', 'API calls an hour', 'hour', null)
$$;

-- The calendar of UTC, whatever the session's time zone; a level has no period.
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

-- Null where nothing counts such things yet.
create or replace function private.count_level(p_counter text, p_organization_id uuid)
  returns bigint
  language plpgsql
  stable
as $$
declare
  v_counter constant regprocedure := to_regprocedure(p_counter || '(uuid)');
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
  execute format('select %I.%I($1)', v_name.schema, v_name.name) into v_count using p_organization_id;
  return v_count;
end
$$;

create or replace function private.used_in_period(p_organization_id uuid, p_metric text, p_period_start timestamptz)
  returns bigint
  language sql
  stable
as $$
  select coalesce(sum(c.used), 0)::bigint
  from private.usage_counters as c
  where c.organization_id = p_organization_id and c.metric = p_metric and c.period_start = p_period_start
$$;
