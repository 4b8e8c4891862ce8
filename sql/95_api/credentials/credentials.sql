-- kind: code
-- Creates, changes and deletes credentials. Secrets come as envelopes: TypeScript seals them before
-- (src/vault), and `flowgres seal` does for a DBA. Writes public.credentials and private.secrets;
-- locks the row of the credential, and of a new one the counter of the plan's limit.

create or replace function public.create_credential(
  id uuid,
  name text,
  type text,
  envelope text,
  allowed_hosts text[] default '{}',
  is_shared boolean default false,
  expires_at timestamptz default null
)
  returns public.credentials
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_secret private.secrets;
  v_credential public.credentials;
begin
  perform private.require_scope('organization:write');
  perform private.check_name(coalesce(create_credential.name, ''));
  perform private.check_credential_type(type);
  perform private.check_allowed_hosts(allowed_hosts);
  v_secret := private.parse_envelope(envelope, v_organization_id, create_credential.id, 1);
  perform private.admit(v_organization_id, 'credentials');
  insert into public.credentials (id, organization_id, name, type, user_id, is_shared, allowed_hosts, expires_at)
  values (
    create_credential.id, v_organization_id, create_credential.name, create_credential.type, public.current_user_id(),
    -- Without an owner it would be nobody's.
    coalesce(create_credential.is_shared, false) or public.current_user_id() is null,
    coalesce(create_credential.allowed_hosts, '{}'), create_credential.expires_at
  )
  returning * into v_credential;
  perform private.store_secret(v_secret);
  return v_credential;
exception
  when unique_violation then
    perform private.raise_credential_conflict(create_credential.name);
    return null;
end
$$;
comment on function public.create_credential(uuid, text, text, text, text[], boolean, timestamptz) is
  'Creates a credential of the current organization and user. For flowgres_api, which seals secrets, and DBAs: `flowgres seal` makes id and envelope. Only the creator may use it until it is shared. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, CONFLICT (the name is taken), LIMIT_REACHED, TOO_LARGE. Example: select id from create_credential(''0190…'', ''crm'', ''bearer'', ''fv1.k1…'', ''{api.crm.example}'');';

create or replace function public.update_credential(
  id uuid,
  name text default null,
  envelope text default null,
  version int default null,
  allowed_hosts text[] default null,
  expires_at timestamptz default null
)
  returns public.credentials
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_credential public.credentials := private.lock_credential(id);
begin
  perform private.check_name(update_credential.name);
  perform private.check_allowed_hosts(allowed_hosts);
  if update_credential.name <> v_credential.name then
    perform private.refuse_used_credential(v_credential);
  end if;
  if envelope is not null and not private.store_secret(private.parse_envelope(
    envelope, v_credential.organization_id, v_credential.id, greatest(update_credential.version, 2)
  )) then
    perform private.raise_error(
      'CONFLICT', 'The secret was changed by somebody else meanwhile.',
      'Read the credential again, and repeat the change.'
    );
  end if;
  update public.credentials as c
  set
    name = coalesce(update_credential.name, c.name),
    allowed_hosts = coalesce(update_credential.allowed_hosts, c.allowed_hosts),
    version = case when envelope is null then c.version else update_credential.version end,
    -- A new secret has a new end, or none that is known.
    expires_at = case when envelope is null then coalesce(update_credential.expires_at, c.expires_at)
      else update_credential.expires_at end,
    warned_at = null,
    updated_at = engine.now()
  where c.id = v_credential.id
  returning c.* into v_credential;
  return v_credential;
exception
  when unique_violation then
    perform private.raise_credential_conflict(update_credential.name);
    return null;
end
$$;
comment on function public.update_credential(uuid, text, text, int, text[], timestamptz) is
  'Changes a credential: its name, its secret (an envelope for version, which is one more than the current one), the hosts that it may be sent to, when it expires; what is null stays. A name that a published workflow uses stays. For flowgres_api, which seals secrets, and DBAs. For its creator and admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (the name is taken or used, or somebody else has changed the secret), TOO_LARGE. Example: select version from update_credential(''0190…'', allowed_hosts => ''{api.crm.example}'');';

create or replace function public.delete_credential(id uuid, force boolean default false)
  returns public.credentials
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_credential constant public.credentials := private.lock_credential(id);
begin
  if force is not true then
    perform private.refuse_used_credential(v_credential);
  end if;
  delete from private.secrets as s
  where s.organization_id = v_credential.organization_id and s.id = v_credential.id;
  delete from public.credentials as c where c.id = v_credential.id;
  return v_credential;
end
$$;
comment on function public.delete_credential(uuid, boolean) is
  'Deletes a credential with its secret, and returns it. One that a published workflow uses is deleted with force only: its steps then fail with CREDENTIAL_NOT_FOUND; webhook endpoints that sign by it are deleted with it. For its creator and admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (used by published workflows). Example: select name from delete_credential(''0190…'');';

grant execute on function
  public.create_credential(uuid, text, text, text, text[], boolean, timestamptz),
  public.update_credential(uuid, text, text, int, text[], timestamptz)
  to flowgres_api, flowgres_dba;
grant execute on function public.delete_credential(uuid, boolean) to flowgres_user, flowgres_dba;
