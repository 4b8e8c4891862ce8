-- kind: code
-- What flowgres_api needs to seal a secret for a request, and to open one that the request may use.
-- Writes nothing; credential_to_seal() locks the row of the credential until the transaction ends.

create or replace function engine.credential_organization()
  returns uuid
  language plpgsql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_scope('organization:write');
  return private.acting_organization();
end
$$;
comment on function engine.credential_organization() is
  'For flowgres_api: the organization that a new credential is sealed for. Errors: UNAUTHENTICATED, NO_ORGANIZATION, FORBIDDEN. Example: select engine.credential_organization();';

create or replace function engine.credential_to_seal(p_id uuid)
  returns table (
    organization_id uuid,
    type text,
    version int
  )
  language sql
  volatile
  security definer -- definer because only commands lock rows
  set search_path = pg_catalog, pg_temp
as $$
  select c.organization_id, c.type, c.version from private.lock_credential(p_id) as c
$$;
comment on function engine.credential_to_seal(uuid) is
  'For flowgres_api: what an envelope of the next secret of a credential is bound to; the next version is one more. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select version from engine.credential_to_seal(''0190…'');';

create or replace function engine.read_own_credential(p_id uuid)
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
  stable
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_credential public.credentials;
begin
  perform private.require_scope('organization:write');
  select c.* into v_credential
  from public.credentials as c
  where c.id = p_id and c.organization_id = v_organization_id;
  if not found or not private.uses_credential(v_credential) then
    perform private.raise_error('NOT_FOUND', 'There is no such credential in this organization.');
  end if;
  return query
  select
    v_credential.id, v_credential.organization_id, v_credential.name, v_credential.type, s.version,
    v_credential.allowed_hosts, v_credential.expires_at, s.key_id, s.wrapped_key, s.sealed
  from private.secrets as s
  where s.organization_id = v_organization_id and s.id = v_credential.id;
end
$$;
comment on function engine.read_own_credential(uuid) is
  'For flowgres_api: the sealed secret of a credential that the request may use, to test it or to log in with it. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select type from engine.read_own_credential(''0190…'');';

grant execute on function
  engine.credential_organization(), engine.credential_to_seal(uuid), engine.read_own_credential(uuid)
  to flowgres_api;
