-- kind: code
-- Changes, deletes and restores organizations, and switches between them. A deleted organization is
-- not accessible; its owners can restore it for 30 days, then purge.sql deletes its rows. Writes
-- public.organizations, private.sessions, private.api_tokens. Locks the row of the organization:
-- for share in switch_organization, else for no key update.

create or replace function public.update_organization(
  name text default null,
  slug text default null,
  description text default null
)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.acting_organization();
  perform private.require_scope('organization:write');
  v_organization := private.lock_organization(public.current_organization_id());
  perform private.require_role('admin');
  perform private.check_name(update_organization.name);
  update public.organizations as o
  set
    name = coalesce(update_organization.name, o.name),
    slug = coalesce(update_organization.slug, o.slug),
    description = coalesce(update_organization.description, o.description),
    updated_at = engine.now()
  where o.id = v_organization.id
  returning o.* into v_organization;
  return v_organization;
exception
  when unique_violation then
    perform private.raise_slug_conflict(slug);
    return null;
  when check_violation then
    perform private.raise_bad_organization();
    return null;
end
$$;
comment on function public.update_organization(text, text, text) is
  'Changes the name, slug or description of the current organization; null leaves a value unchanged. For admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, CONFLICT (the slug is taken), VALIDATION_FAILED. Example: select * from update_organization(slug => ''acme-eu'');';

-- Passes for an owner of the organization, whichever one is active in the session, for a super
-- admin, and for a DBA.
create or replace function private.require_ownership(p_organization_id uuid)
  returns void
  language plpgsql
  stable
as $$
declare
  v_context private.context;
  v_role text;
begin
  if private.is_dba() then
    return;
  end if;
  v_context := private.acting_person();
  select m.role into v_role
  from public.organization_users as m
  where m.organization_id = p_organization_id and m.user_id = v_context.user_id;
  if v_role = 'owner' or private.is_super_admin() then
    return;
  elsif v_role is null then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  perform private.raise_error(
    'FORBIDDEN', 'This needs the role owner in the organization.', 'Ask an owner.', '{"role": "owner"}'
  );
end
$$;
comment on function private.require_ownership(uuid) is 'Checks that the request comes from an owner, a super admin or a DBA. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.delete_organization(id uuid, confirm_slug text)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.require_ownership(id);
  v_organization := private.lock_organization(id);
  perform private.require_ownership(id);
  if v_organization.slug is distinct from confirm_slug then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is not the slug of the organization.', null, '{"field": "confirmSlug"}'
    );
  end if;
  update public.organizations as o
  set deleted_at = engine.now(), updated_at = engine.now()
  where o.id = v_organization.id
  returning o.* into v_organization;
  update private.sessions as s
  set organization_id = null
  where s.organization_id = v_organization.id and s.user_id is not null;
  update private.api_tokens as t set suspended_at = engine.now() where t.organization_id = v_organization.id;
  return v_organization;
end
$$;
comment on function public.delete_organization(uuid, text) is
  'Deletes an organization: its webhooks and schedules stop, and its tokens and members lose access; unfinished runs may finish. For 30 days restore_organization brings it back; then all of it is deleted for good. confirm_slug must be its slug. For owners who are logged in, super admins and DBAs. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select delete_organization(id, ''acme'') from organizations where slug = ''acme'';';

create or replace function public.restore_organization(id uuid)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.require_ownership(id);
  update public.organizations as o
  set deleted_at = null, updated_at = engine.now()
  where o.id = restore_organization.id and o.deleted_at > engine.now() - private.purge_grace()
  returning o.* into v_organization;
  if found then
    update private.api_tokens as t set suspended_at = null where t.organization_id = v_organization.id;
    return v_organization;
  end if;
  select o.* into v_organization
  from public.organizations as o
  where o.id = restore_organization.id;
  if v_organization.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  elsif v_organization.deleted_at is not null then
    perform private.raise_error('EXPIRED', 'The organization was deleted too long ago.');
  end if;
  return v_organization;
end
$$;
comment on function public.restore_organization(id uuid) is
  'Restores a deleted organization with everything in it. One that is not deleted stays unchanged. For owners who are logged in, super admins and DBAs. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, EXPIRED (after 30 days). Example: select restore_organization(''0190…'');';

create or replace function public.switch_organization(id uuid)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_organization public.organizations;
begin
  select o.* into v_organization
  from public.organizations as o
  join public.organization_users as m on m.organization_id = o.id and m.user_id = v_context.user_id
  where o.id = switch_organization.id and o.deleted_at is null
  -- The lock keeps the organization from being deleted, and the membership from ending, before the
  -- session is updated.
  for share of o, m;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization of yours.');
  end if;
  update private.sessions as s
  set organization_id = v_organization.id
  where s.id = v_context.session_id;
  return v_organization;
end
$$;
comment on function public.switch_organization(uuid) is
  'Makes another organization the active one of this session; the next login begins in it. An API token always belongs to one organization. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), NOT_FOUND. Example: select slug from switch_organization(''0190…'');';

grant execute on function
  public.update_organization(text, text, text),
  public.delete_organization(uuid, text),
  public.restore_organization(uuid),
  public.switch_organization(uuid)
  to flowgres_user, flowgres_dba;
