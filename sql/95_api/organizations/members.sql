-- kind: code
-- Members of an organization and their roles. Each command locks the row of the organization first
-- and fails if the organization would have no owner afterwards. Writes public.organization_users;
-- foreign keys delete the member's teams and tokens, and leave sessions without an active
-- organization.

create or replace function private.lock_member(p_user_id uuid)
  returns public.organization_users
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_member public.organization_users;
begin
  perform private.require_scope('organization:write');
  perform private.lock_organization(v_organization_id);
  select m.* into v_member
  from public.organization_users as m
  where m.organization_id = v_organization_id and m.user_id = p_user_id;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such member in this organization.');
  end if;
  return v_member;
end
$$;
comment on function private.lock_member(uuid) is
  'Returns a member of the current organization, whose row it locks. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.set_member_role("user" uuid, role text)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_member public.organization_users := private.lock_member("user");
begin
  perform private.check_role(role);
  perform private.require_power_over(v_member.role);
  perform private.require_power_over(role);
  update public.organization_users as m
  set role = set_member_role.role
  where m.organization_id = v_member.organization_id and m.user_id = v_member.user_id
  returning m.* into v_member;
  perform private.require_owner(v_member.organization_id);
  return v_member;
end
$$;
comment on function public.set_member_role(uuid, text) is
  'Changes the role of a member to owner, admin or member, at once, also for the member''s tokens. For admins; only owners change the role of an owner or make somebody an owner. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (the last owner). Example: select set_member_role(''0190…'', ''admin'');';

create or replace function private.end_membership(p_member public.organization_users)
  returns void
  language plpgsql
  volatile
as $$
begin
  -- Foreign keys delete the member's teams and tokens and leave their sessions without an active
  -- organization.
  delete from public.organization_users as m
  where m.organization_id = p_member.organization_id and m.user_id = p_member.user_id;
  perform private.require_owner(p_member.organization_id);
end
$$;

create or replace function public.remove_member("user" uuid)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_member constant public.organization_users := private.lock_member("user");
begin
  perform private.require_power_over(v_member.role);
  perform private.end_membership(v_member);
  return v_member;
end
$$;
comment on function public.remove_member(uuid) is
  'Removes a member from the organization and its teams, ends their access in active sessions, and revokes their tokens. What the member created stays. For admins; only owners remove owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (the last owner). Example: select remove_member(''0190…'');';

create or replace function public.leave_organization()
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_member constant public.organization_users := private.lock_member(v_context.user_id);
begin
  perform private.end_membership(v_member);
  return v_member;
end
$$;
comment on function public.leave_organization() is
  'Ends the caller''s membership in the active organization. The last owner cannot leave. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), CONFLICT. Example: select leave_organization();';

create or replace function public.transfer_ownership(to_user uuid)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_member public.organization_users := private.lock_member(to_user);
begin
  perform private.require_role('owner');
  update public.organization_users as m
  set role = 'admin'
  where m.organization_id = v_member.organization_id and m.user_id = v_context.user_id;
  update public.organization_users as m
  set role = 'owner'
  where m.organization_id = v_member.organization_id and m.user_id = to_user
  returning m.* into v_member;
  return v_member;
end
$$;
comment on function public.transfer_ownership(uuid) is
  'Makes a member an owner in the place of the caller, who becomes an admin. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select transfer_ownership(''0190…'');';

grant execute on function
  public.set_member_role(uuid, text),
  public.remove_member(uuid),
  public.leave_organization(),
  public.transfer_ownership(uuid)
  to flowgres_user, flowgres_dba;
