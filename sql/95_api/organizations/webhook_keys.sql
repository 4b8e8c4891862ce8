-- kind: code
-- Replaces the secret part of an organization's webhook addresses. Writes public.organizations and
-- private.retired_webhook_keys; locks the row of the organization.

create or replace function public.rotate_webhook_key(grace_hours int default 24)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('owner');
  if grace_hours is null or grace_hours not between 0 and 720 then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'grace_hours is 0 to 720.', '0 closes the old addresses at once.', '{"field": "graceHours"}'
    );
  end if;
  v_organization := private.lock_organization(public.current_organization_id());
  -- Keep at most one old key: further rotations must not keep a leaked key valid.
  delete from private.retired_webhook_keys as k where k.organization_id = v_organization.id;
  if grace_hours > 0 then
    insert into private.retired_webhook_keys (key, organization_id, expires_at)
    values (v_organization.webhook_key, v_organization.id, engine.now() + make_interval(hours => grace_hours));
  end if;
  update public.organizations as o
  set webhook_key = private.random_secret(16), updated_at = engine.now()
  where o.id = v_organization.id
  returning o.* into v_organization;
  return v_organization;
end
$$;
comment on function public.rotate_webhook_key(int) is
  'Gives the organization a new webhook key, and with it new webhook addresses. The current addresses work for grace_hours more (0 to 720, by default 24); addresses of an older key stop at once. For owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT. Example: select organizations_webhook_key(o) from rotate_webhook_key(48) as o;';

grant execute on function public.rotate_webhook_key(int) to flowgres_user, flowgres_dba;
