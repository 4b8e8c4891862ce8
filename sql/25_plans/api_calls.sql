-- kind: code
-- Counts API calls. The server counts by itself and reports once a second, for all its
-- organizations at once. Writes private.usage_counters; locks their rows in the order of
-- organizations.

create or replace function engine.count_api_calls(p_calls jsonb)
  returns table (session text, organization_id uuid, used bigint, "limit" bigint, resets_at timestamptz)
  language plpgsql
  volatile
  security definer -- definer because counters and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  -- Losing the counts of the last second in a crash is acceptable.
  set synchronous_commit = off
as $$
declare
  v_period constant tstzrange := private.metric_period('hour', engine.now());
begin
  insert into private.usage_counters as c (organization_id, owner_id, metric, period_start, used)
  select s.organization_id, s.organization_id, 'api_calls_per_hour', lower(v_period), sum(s.count)
  from private.api_call_sessions(p_calls) as s
  where s.count > 0
  group by s.organization_id
  order by s.organization_id
  on conflict on constraint usage_counters_pkey do update set used = c.used + excluded.used;
  return query
    select
      s.session, s.organization_id,
      coalesce(private.used_of(s.organization_id, 'api_calls_per_hour', v_period), 0),
      private.limit_of(s.organization_id, 'api_calls_per_hour'), upper(v_period)
    from private.api_call_sessions(p_calls) as s;
end
$$;
comment on function engine.count_api_calls(jsonb) is
  'Adds [{"session", "count"}] to the API calls of this hour, and returns what the organization of each session has used and may use. A session without an organization is left out.';

-- Finds the organization of each session or token by its hash.
create or replace function private.api_call_sessions(p_calls jsonb)
  returns table (session text, organization_id uuid, count bigint)
  language sql
  stable
as $$
  select r.session, coalesce(t.organization_id, s.organization_id), r.count
  from jsonb_to_recordset(p_calls) as r (session text, count bigint)
  left join private.api_tokens as t on t.token_hash = decode(r.session, 'hex')
  left join private.sessions as s on s.token_hash = decode(r.session, 'hex')
  where coalesce(t.organization_id, s.organization_id) is not null
$$;

grant execute on function engine.count_api_calls(jsonb) to flowgres_api;
