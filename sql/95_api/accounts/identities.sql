-- kind: code
-- Users of external identity providers. TypeScript verifies the provider's token; the functions
-- here map its subject to a user and store the token's hash as a short session, so that later
-- requests find it like any other session. Writes public.users, private.identities,
-- private.sessions. Locks one identity (advisory) while its user is looked up; see
-- docs/reference/locks.md for the order of locks.

create or replace function private.identity_user(
  p_issuer text,
  p_subject text,
  p_email text,
  p_is_verified boolean,
  p_name text
)
  returns uuid
  language plpgsql
  volatile
as $$
declare
  v_user_id uuid := (
    select i.user_id from private.identities as i where i.issuer = p_issuer and i.subject = p_subject
  );
  -- Ignore an invalid address instead of refusing the login: the subject identifies the user.
  v_email constant text := case when private.is_email(p_email) then p_email end;
begin
  if v_user_id is not null then
    return v_user_id;
  end if;
  -- Serialize simultaneous first requests of one identity, so that only one of them creates the
  -- user.
  perform pg_advisory_xact_lock(hashtextextended(format('flowgres identity %L %L', p_issuer, p_subject), 0));
  select i.user_id into v_user_id
  from private.identities as i
  where i.issuer = p_issuer and i.subject = p_subject;
  if v_user_id is null then
    -- Never log in to an existing account by its address alone: a DBA may link the identity to it.
    insert into public.users (name, email, email_verified_at)
    select
      private.clean_name(p_name, 'Unnamed'),
      coalesce(
        v_email,
        encode(private.hash_secret(jsonb_build_array(p_issuer, p_subject)::text), 'hex') || '@identity.invalid'
      ),
      case
        when v_email is not null and p_is_verified and not exists (
          select from public.users as u
          where lower(u.email collate "C") = lower(v_email collate "C") and u.email_verified_at is not null
        ) then engine.now()
      end
    returning id into v_user_id;
    insert into private.identities (issuer, subject, user_id, created_at)
    values (p_issuer, p_subject, v_user_id, engine.now());
  end if;
  return v_user_id;
end
$$;
comment on function private.identity_user(text, text, text, boolean, text) is
  'Returns the user of an identity; creates the user when the identity is new.';

create or replace function public.open_identity_session(
  issuer text,
  subject text,
  token_hash bytea,
  expires_at timestamptz,
  email text default null,
  email_verified boolean default false,
  name text default null
)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- A session ends after at most an hour: then the token is verified again, with the provider's
  -- current keys.
  v_end constant timestamptz := least(expires_at, engine.now() + interval '1 hour');
  v_session private.sessions;
begin
  select s.* into v_session
  from private.sessions as s
  where s.token_hash = open_identity_session.token_hash;
  if not found then
    perform private.open_session(
      private.identity_user(issuer, subject, email, coalesce(email_verified, false), name),
      'identity', token_hash, v_end
    );
    return true;
  end if;
  update private.sessions as s
  set expires_at = v_end
  where s.id = v_session.id and s.revoked_at is null and s.expires_at < v_end;
  return v_session.revoked_at is null and v_end > engine.now();
exception
  -- A simultaneous first request has opened the session.
  when unique_violation then
    return true;
end
$$;
comment on function public.open_identity_session(text, text, bytea, timestamptz, text, boolean, text) is
  'Opens a session for a verified token of an identity provider, given as its SHA-256, or extends it: until the token expires, and for an hour at most. Returns false when that session was revoked. For flowgres_api, which verifies the token, and DBAs. Example: select open_identity_session(''https://id.example.com'', ''4711'', sha256(''eyJ…''), ''2026-12-01 12:00+00'');';

create or replace function public.link_identity(issuer text, subject text, "user" uuid)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_user public.users;
begin
  select u.* into v_user from public.users as u where u.id = "user" and u.deleted_at is null;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such user.');
  end if;
  insert into private.identities as i (issuer, subject, user_id, created_at)
  values (link_identity.issuer, link_identity.subject, v_user.id, engine.now())
  on conflict on constraint identities_pkey do update set user_id = excluded.user_id;
  return v_user;
exception
  when not_null_violation then
    perform private.raise_error('VALIDATION_FAILED', 'An identity has an issuer and a subject.');
    return null;
end
$$;
comment on function public.link_identity(text, text, uuid) is
  'For DBAs: links the subject of an identity provider to this user, for all later logins. Errors: NOT_FOUND, VALIDATION_FAILED. Example: select link_identity(''https://id.example.com'', ''4711'', id) from users where email = ''ada@example.com'';';

grant execute on function
  public.open_identity_session(text, text, bytea, timestamptz, text, boolean, text)
  to flowgres_api, flowgres_dba;
grant execute on function public.link_identity(text, text, uuid) to flowgres_dba;
