-- kind: code
-- Records when secrets were last used. Requests do not write it: the server collects the hashes and
-- hands them over now and then, so a request that only reads writes nothing. Writes
-- private.api_tokens and private.sessions; skips rows that another session has locked.

create or replace function engine.record_use(p_hashes text[])
  returns int
  language sql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with seen as materialized (
    select distinct decode(h, 'hex') as token_hash from unnest(p_hashes) as h
  ),
  -- When two servers report the same secret, one of them writes it.
  tokens as materialized (
    select t.id
    from private.api_tokens as t
    where t.token_hash in (select s.token_hash from seen as s)
      and (t.last_used_at is null or t.last_used_at <= engine.now() - interval '1 minute')
    for no key update skip locked
  ),
  sessions as materialized (
    select e.id
    from private.sessions as e
    where e.token_hash in (select s.token_hash from seen as s)
      and (e.last_seen_at is null or e.last_seen_at <= engine.now() - interval '1 minute')
    for no key update skip locked
  ),
  used_tokens as (
    update private.api_tokens as t set last_used_at = engine.now()
    from tokens
    where t.id = tokens.id
    returning 1
  ),
  used_sessions as (
    update private.sessions as e set last_seen_at = engine.now()
    from sessions
    where e.id = sessions.id
    returning 1
  )
  select ((select count(*) from used_tokens) + (select count(*) from used_sessions))::int
$$;
comment on function engine.record_use(text[]) is
  'Records that tokens and sessions, given by their hashes in hex, were used now; each row at most once a minute. Returns how many rows it wrote. Example: select engine.record_use(array[current_setting(''flowgres.session'')]);';

grant execute on function engine.record_use(text[]) to flowgres_api;
