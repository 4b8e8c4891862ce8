-- kind: code
-- The request context: who a request is. It carries one secret: the setting flowgres.session is the
-- hex SHA-256 of a session's or an API token's secret. No setting names the organization, since any
-- role can set any setting. Writes private.sessions (set_context() only); locks nothing.

-- Policies call this in every query: two look-ups in PL/pgSQL take a third of the time that one
-- union in SQL took, and a regular expression on the setting would double it.
create or replace function private.context()
  returns private.context
  language plpgsql
  stable
as $$
declare
  v_setting constant text := current_setting('flowgres.session', true);
  v_hash bytea;
  v_context private.context;
begin
  if v_setting is null or length(v_setting) <> 64 then
    return null;
  end if;
  v_hash := decode(v_setting, 'hex');

  select t.organization_id, t.user_id, t.scopes, null, t.id
  into v_context
  from private.api_tokens as t
  where t.token_hash = v_hash
    and t.revoked_at is null
    and t.suspended_at is null
    and (t.expires_at is null or t.expires_at > engine.now());
  if found then
    return v_context;
  end if;

  select s.organization_id, s.user_id, null, s.id, null
  into v_context
  from private.sessions as s
  where s.token_hash = v_hash and s.revoked_at is null and s.expires_at > engine.now();
  if found then
    return v_context;
  end if;
  return null;
end
$$;
comment on function private.context() is
  'Returns what the request''s secret stands for; null when it is unknown, expired or revoked, or of a deleted organization.';

-- Tells a DBA who reads tables of organizations without a context why they show no rows, once per
-- statement. The role is the one that was set, else the one that logged in: current_user is the
-- owner here. Superusers see all rows.
create or replace function private.remind_of_context()
  returns void
  language plpgsql
  stable
as $$
declare
  v_role constant name := coalesce(nullif(current_setting('role'), 'none'), session_user);
  v_statement constant text := extract(epoch from statement_timestamp())::text;
begin
  if not pg_has_role(v_role, 'flowgres_dba', 'member')
    or exists (select from pg_roles as r where r.rolname = v_role and r.rolsuper)
    or current_setting('flowgres.reminded', true) = v_statement
  then
    return;
  end if;
  perform set_config('flowgres.reminded', v_statement, false);
  raise notice using
    message = 'No organization is chosen: tables of organizations show no rows.',
    hint = 'Choose one: select set_context(id) from organizations where slug = ''acme''. Across all of them: '
      'monitor.failures, monitor.run_counts(), monitor.sample_runs().';
end
$$;
comment on function private.remind_of_context() is
  'Raises a notice for a DBA whose session has no organization; does nothing for others.';

create or replace function public.current_organization_id()
  returns uuid
  language plpgsql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := (private.context()).organization_id;
begin
  if v_organization_id is null then
    perform private.remind_of_context();
  end if;
  return v_organization_id;
end
$$;
comment on function public.current_organization_id() is
  'Returns the organization that the request acts for; null without a valid token. Policies compare with it.';

create or replace function public.current_user_id()
  returns uuid
  language plpgsql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  return (private.context()).user_id;
end
$$;
comment on function public.current_user_id() is
  'Returns the user of the request; null without a valid token, and for a token that belongs to the organization itself.';

create or replace function private.is_dba()
  returns boolean
  language sql
  stable
as $$
  select
    coalesce(current_setting('flowgres.session', true), '') = ''
    and pg_has_role(session_user, 'flowgres_dba', 'member')
$$;
comment on function private.is_dba() is
  'Says whether a DBA calls without a context: session_user is a member of flowgres_dba.';

create or replace function private.acting_organization(p_organization_id uuid default null)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := public.current_organization_id();
begin
  if v_organization_id is not null then
    if p_organization_id <> v_organization_id then
      perform private.raise_error('NOT_FOUND', 'There is no such object in this organization.');
    end if;
    return v_organization_id;
  end if;
  if public.current_user_id() is not null then
    perform private.raise_error(
      'NO_ORGANIZATION',
      'This needs an organization to act for, and the session is in none.',
      'Create one by create_organization, accept an invitation, or switch_organization to one of yours.'
    );
  elsif p_organization_id is null or not private.is_dba() then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'This needs an organization to act for.',
      'Send a valid API token as "Authorization: Bearer …"; in psql: select set_context(organization, user).'
    );
  end if;
  return p_organization_id;
end
$$;
comment on function private.acting_organization(uuid) is
  'Returns the organization that a command acts for: the context''s; a DBA without a context names it. Raises UNAUTHENTICATED, NO_ORGANIZATION (a user who is in none), NOT_FOUND.';

create or replace function public.set_context(organization uuid, "user" uuid default null)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because it opens a row in private.sessions
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_hash constant bytea := private.hash_secret(private.random_secret(32));
begin
  if organization is null and "user" is null then
    perform private.raise_error(
      'NOT_FOUND', 'There is no such organization.', 'To end the context of this session: reset flowgres.session'
    );
  end if;
  insert into private.sessions (token_hash, user_id, organization_id, expires_at)
  values (v_hash, "user", organization, engine.now() + interval '8 hours');
  perform set_config('flowgres.session', encode(v_hash, 'hex'), false);
  return organization;
exception
  when foreign_key_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such organization, or the user is not a member of it.');
    return null;
end
$$;
comment on function public.set_context(uuid, uuid) is
  'For DBAs: makes this psql session act for an organization, and as a user, for 8 hours; reset flowgres.session ends that. Raises NOT_FOUND. Example: select set_context(id) from organizations where slug = ''demo'';';

grant execute on function public.current_organization_id(), public.current_user_id()
  to flowgres_user, flowgres_anonymous, flowgres_dba, flowgres_api;
-- Functions of local nodes act for the organization of their run: see 50_engine/steps/local.sql.
grant execute on function public.current_organization_id() to flowgres_sql;
grant execute on function public.set_context(uuid, uuid) to flowgres_dba;
