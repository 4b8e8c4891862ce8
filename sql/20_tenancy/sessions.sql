-- kind: code
-- Opens, lists and ends sessions. An ended session sees no rows from that moment on, and its
-- requests are answered with 401 within five seconds. Writes private.sessions; locks nothing but
-- the rows it writes.

create or replace function private.open_session(
  p_user_id uuid,
  p_kind text,
  p_token_hash bytea,
  p_expires_at timestamptz
)
  returns private.sessions
  language sql
  volatile
as $$
  insert into private.sessions (
    token_hash, user_id, organization_id, kind, created_at, expires_at, last_seen_at, user_agent, ip_prefix
  )
  select
    p_token_hash, p_user_id,
    coalesce(
      (
        select s.organization_id
        from private.sessions as s
        join public.organizations as o on o.id = s.organization_id and o.deleted_at is null
        where s.user_id = p_user_id
        order by s.created_at desc, s.id desc
        limit 1
      ),
      (
        select m.organization_id
        from public.organization_users as m
        join public.organizations as o on o.id = m.organization_id and o.deleted_at is null
        where m.user_id = p_user_id
        order by m.created_at, m.organization_id
        limit 1
      )
    ),
    p_kind, n, p_expires_at, n,
    nullif(left(current_setting('flowgres.user_agent', true), 200), ''), private.client_prefix()
  from engine.now() as n
  returning *
$$;
comment on function private.open_session(uuid, text, bytea, timestamptz) is
  'Opens a session, in the organization that was active last, else the one joined first.';

-- Returns a session without its hash, as GraphQL shows it.
create or replace function private.session(p_session private.sessions)
  returns public.session
  language sql
  stable
as $$
  select
    p_session.id, p_session.kind,
    -- Compares hashes: a session that has just been revoked has no context any more.
    encode(p_session.token_hash, 'hex') = coalesce(current_setting('flowgres.session', true), ''),
    p_session.created_at, p_session.expires_at, p_session.last_seen_at, p_session.user_agent, p_session.ip_prefix::text
$$;

create or replace function private.end_sessions(p_user_id uuid, p_except_id uuid default null)
  returns int
  language sql
  volatile
as $$
  with ended as (
    update private.sessions as s
    set revoked_at = engine.now()
    where s.user_id = p_user_id
      and s.id is distinct from p_except_id
      and s.revoked_at is null
      and s.expires_at > engine.now()
    returning 1
  )
  select count(*)::int from ended
$$;
comment on function private.end_sessions(uuid, uuid) is
  'Ends all sessions of a user but one, and returns how many.';

create or replace function public.sessions()
  returns setof public.session
  language sql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 10
as $$
  select session.*
  from private.sessions as s
  cross join lateral private.session(s) as session
  where s.user_id = (private.context()).user_id
    and (private.context()).session_id is not null
    and s.revoked_at is null
    and s.expires_at > engine.now()
  order by s.created_at desc, s.id desc
$$;
comment on function public.sessions() is
  'The open sessions of the current user, newest first. A token sees none. Example: select kind, last_seen_at, user_agent from sessions();';

create or replace function public.revoke_session(id uuid)
  returns public.session
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_session private.sessions;
begin
  update private.sessions as s
  set revoked_at = coalesce(s.revoked_at, engine.now())
  where s.id = revoke_session.id and s.user_id = v_context.user_id
  returning * into v_session;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such session of yours.');
  end if;
  return private.session(v_session);
end
$$;
comment on function public.revoke_session(uuid) is
  'Ends one session of the current user. Repeating it changes nothing. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), NOT_FOUND. Example: select revoke_session(id) from sessions() where not is_current;';

create or replace function public.revoke_other_sessions()
  returns int
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
begin
  return private.end_sessions(v_context.user_id, v_context.session_id);
end
$$;
comment on function public.revoke_other_sessions() is
  'Ends all other sessions of the current user, and returns how many. Errors: UNAUTHENTICATED, FORBIDDEN (an API token). Example: select revoke_other_sessions();';

create or replace function public.logout()
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
begin
  update private.sessions as s set revoked_at = engine.now() where s.id = v_context.session_id;
  return true;
end
$$;
comment on function public.logout() is
  'Ends the session of the request. Errors: UNAUTHENTICATED, FORBIDDEN (an API token: see revoke_api_token). Example: select logout();';

grant execute on function
  public.sessions(),
  public.revoke_session(uuid),
  public.revoke_other_sessions(),
  public.logout()
  to flowgres_user, flowgres_dba;
