-- kind: code
-- Logins at OAuth2 providers: the state of a login that somebody begins, and its use by the request
-- that the provider sends the browser back with. Writes private.credential_authorizations,
-- private.secrets and public.credentials; locks the row of the credential when a login begins, and
-- else only the rows that it writes.

create or replace function engine.credential_to_authorize(p_id uuid)
  returns table (
    id uuid,
    organization_id uuid,
    name text,
    type text,
    version int,
    allowed_hosts text[],
    expires_at timestamptz,
    key_id text,
    wrapped_key bytea,
    sealed bytea
  )
  language plpgsql
  volatile
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_credential constant public.credentials := private.lock_credential(p_id);
begin
  if v_credential.type <> 'oauth2AuthorizationCode' then
    perform private.raise_error(
      'VALIDATION_FAILED', 'People log in with credentials of type oauth2AuthorizationCode only.', null,
      '{"field": "credentialId"}'
    );
  end if;
  return query
  select
    v_credential.id, v_credential.organization_id, v_credential.name, v_credential.type, s.version,
    v_credential.allowed_hosts, v_credential.expires_at, s.key_id, s.wrapped_key, s.sealed
  from private.secrets as s
  where s.organization_id = v_credential.organization_id and s.id = v_credential.id;
end
$$;
comment on function engine.credential_to_authorize(uuid) is
  'For flowgres_api: the sealed secret of a credential with which the request may begin a login: its creator''s, or any for an admin. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED (another type). Example: select name from engine.credential_to_authorize(''0190…'');';

create or replace function engine.begin_authorization(
  p_credential_id uuid,
  p_id uuid,
  p_state_hash bytea,
  p_verifier text,
  p_redirect_uri text
)
  returns timestamptz
  language plpgsql
  volatile
  security definer -- definer because logins are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_credential constant public.credentials := private.lock_credential(p_credential_id);
  v_expires_at constant timestamptz := engine.now() + engine.authorization_time();
begin
  insert into private.credential_authorizations (
    organization_id, credential_id, id, state_hash, verifier, redirect_uri, expires_at
  )
  values (
    v_credential.organization_id, v_credential.id, p_id, p_state_hash, p_verifier, p_redirect_uri, v_expires_at
  )
  on conflict on constraint credential_authorizations_pkey do update
  set
    id = excluded.id,
    state_hash = excluded.state_hash,
    verifier = excluded.verifier,
    redirect_uri = excluded.redirect_uri,
    expires_at = excluded.expires_at,
    used_at = null;
  return v_expires_at;
end
$$;
comment on function engine.begin_authorization(uuid, uuid, bytea, text, text) is
  'For flowgres_api: keeps the state of a login, in place of the one that was begun before for the credential; returns when it ends. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select engine.begin_authorization(''0190…'', ''0190…'', sha256(''x''), ''fv1.k1…'', ''https://flowgres.example/oauth2/callback'');';

create or replace function engine.redeem_authorization(p_state_hash bytea)
  returns table (
    authorization_id uuid,
    verifier text,
    redirect_uri text,
    id uuid,
    organization_id uuid,
    name text,
    type text,
    version int,
    allowed_hosts text[],
    expires_at timestamptz,
    key_id text,
    wrapped_key bytea,
    sealed bytea
  )
  language plpgsql
  volatile
  security definer -- definer because logins and secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_authorization private.credential_authorizations;
begin
  update private.credential_authorizations as a
  set used_at = engine.now()
  where a.state_hash = p_state_hash and a.used_at is null and a.expires_at > engine.now()
  returning a.* into v_authorization;
  if not found then
    perform private.refuse_authorization(p_state_hash);
  end if;
  return query
  select
    v_authorization.id, v_authorization.verifier, v_authorization.redirect_uri,
    c.id, c.organization_id, c.name, c.type, s.version, c.allowed_hosts, c.expires_at, s.key_id, s.wrapped_key,
    s.sealed
  from public.credentials as c
  join private.secrets as s on s.organization_id = c.organization_id and s.id = c.id
  where c.organization_id = v_authorization.organization_id and c.id = v_authorization.credential_id;
end
$$;
comment on function engine.redeem_authorization(bytea) is
  'For flowgres_api: what belongs to the state of a login, which counts once, and the sealed secret of its credential. Errors: NOT_FOUND, ALREADY_USED, EXPIRED. Example: select name from engine.redeem_authorization(sha256(''x''));';

-- Raises why a state does not count.
create or replace function private.refuse_authorization(p_state_hash bytea)
  returns void
  language plpgsql
  stable
as $$
declare
  v_authorization private.credential_authorizations;
begin
  select a.* into v_authorization from private.credential_authorizations as a where a.state_hash = p_state_hash;
  if not found then
    perform private.raise_error(
      'NOT_FOUND', 'No login has this state.',
      'Begin again: authorizeCredential; only the last one that was begun counts.'
    );
  elsif v_authorization.used_at is not null then
    perform private.raise_error('ALREADY_USED', 'This login was used before.', 'Begin again: authorizeCredential.');
  end if;
  perform private.raise_error('EXPIRED', 'This login took too long.', 'Begin again: authorizeCredential.');
end
$$;

create or replace function engine.store_authorization(p_state_hash bytea, p_version int, p_envelope text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because logins and secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_authorization private.credential_authorizations;
begin
  select a.* into v_authorization
  from private.credential_authorizations as a
  where a.state_hash = p_state_hash and a.used_at > engine.now() - engine.authorization_time();
  if not found then
    perform private.raise_error('NOT_FOUND', 'No login has this state.', 'Begin again: authorizeCredential.');
  end if;
  return engine.replace_secret(v_authorization.organization_id, v_authorization.credential_id, p_version, p_envelope);
end
$$;
comment on function engine.store_authorization(bytea, int, text) is
  'For flowgres_api: stores the tokens of a login that was redeemed, as the version p_version of the secret; false when somebody else has changed it meanwhile. Errors: NOT_FOUND. Example: select engine.store_authorization(sha256(''x''), 2, ''fv1.k1…'');';

grant execute on function
  engine.credential_to_authorize(uuid),
  engine.begin_authorization(uuid, uuid, bytea, text, text),
  engine.redeem_authorization(bytea),
  engine.store_authorization(bytea, int, text)
  to flowgres_api;
