-- kind: code
-- Logs API requests, which the server hands over in batches after it has answered them. Writes
-- public.api_access_log; locks nothing.

create or replace function engine.log_api_requests(p_requests jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because nobody writes the access log, and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_count int;
begin
  insert into public.api_access_log
    (id, organization_id, at, token_id, user_id, operation, status, error_code, ms, request_id)
  select
    -- The id has the present time: a server with a wrong clock may report a time without a
    -- partition.
    engine.uuid_v7(engine.now()), coalesce(t.organization_id, s.organization_id), r.at, t.id,
    coalesce(t.user_id, s.user_id), left(r.operation, 200), r.status, left(r.error, 100), r.ms, left(r.request_id, 100)
  from jsonb_to_recordset(p_requests)
    as r (session text, at timestamptz, operation text, status int, error text, ms int, request_id text)
  left join private.api_tokens as t on t.token_hash = decode(r.session, 'hex')
  left join private.sessions as s on s.token_hash = decode(r.session, 'hex');
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function engine.log_api_requests(jsonb) is
  'Writes a batch of served requests to api_access_log and returns how many: an array of {"session", "at", "operation", "status", "error", "ms", "request_id"}; ms is in milliseconds; session is the hash that the request had, from which token and user are found.';

grant execute on function engine.log_api_requests(jsonb) to flowgres_api;
