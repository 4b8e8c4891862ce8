-- kind: code
-- Checks roles of members, users and tokens, and locks an organization for commands on its members:
-- its row, for no key update. Writes nothing.

create or replace function private.acting_person()
  returns private.context
  language plpgsql
  stable
as $$
declare
  v_context constant private.context := private.context();
begin
  if v_context.token_id is not null then
    perform private.raise_error('FORBIDDEN', 'Only a person who is logged in can do this, not a token.', 'Log in.');
  elsif v_context.user_id is null then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'Only a person who is logged in can do this.',
      'Log in; in psql: select set_context(null, user).'
    );
  end if;
  return v_context;
end
$$;
comment on function private.acting_person() is
  'Returns the context of a user who is logged in. Raises UNAUTHENTICATED, and FORBIDDEN for a token.';

create or replace function private.require_role(p_role text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_roles constant text[] := '{member,admin,owner}';
  v_context constant private.context := private.context();
  v_role text;
begin
  if v_context.user_id is null and (v_context.token_id is null or p_role <> 'owner') then
    return; -- scopes limit an organization's own token, which is never an owner; nothing limits a DBA
  end if;
  select m.role into v_role
  from public.organization_users as m
  where m.organization_id = v_context.organization_id and m.user_id = v_context.user_id;
  if v_role is null or array_position(v_roles, v_role) < array_position(v_roles, p_role) then
    perform private.raise_error(
      'FORBIDDEN',
      format('This needs the role %s in the organization.', p_role),
      'Ask an owner or admin of the organization.',
      jsonb_build_object('role', p_role)
    );
  end if;
end
$$;
comment on function private.require_role(text) is
  'Raises FORBIDDEN when the request''s user ranks below the role (member, admin, owner). Call it after acting_organization.';

create or replace function private.require_power_over(p_role text)
  returns void
  language plpgsql
  stable
as $$
begin
  perform private.require_role(case p_role when 'owner' then 'owner' else 'admin' end);
end
$$;
comment on function private.require_power_over(text) is
  'Raises FORBIDDEN unless the request may grant or revoke a role: admins may, for the role owner only owners.';

-- Raises VALIDATION_FAILED for a role that does not exist.
create or replace function private.check_role(p_role text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_role is null or p_role not in ('owner', 'admin', 'member') then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such role.', 'Roles: owner, admin, member.', '{"field": "role"}'
    );
  end if;
end
$$;

-- Locks an organization, so that of two commands on its members the second sees what the first did:
-- two owners who resign at once cannot both rely on the other one. Inserts that refer to it, such
-- as starts of runs, do not wait.
create or replace function private.lock_organization(p_id uuid)
  returns public.organizations
  language plpgsql
  volatile
as $$
declare
  v_organization public.organizations;
begin
  select o.* into v_organization
  from public.organizations as o
  where o.id = p_id and o.deleted_at is null
  for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  return v_organization;
end
$$;
comment on function private.lock_organization(uuid) is
  'Returns the organization, locked against other changes of it and its members. Raises NOT_FOUND.';

create or replace function private.require_owner(p_organization_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  if not exists (
    select from public.organization_users as m
    where m.organization_id = p_organization_id and m.role = 'owner'
  ) then
    perform private.raise_error(
      'CONFLICT',
      'The organization would be left without an owner.',
      'Make somebody else an owner first: transfer_ownership(to_user), or delete the organization.',
      '{"reason": "last owner"}'
    );
  end if;
end
$$;
comment on function private.require_owner(uuid) is
  'Raises CONFLICT when an organization has no owner. Call it at the end of each change of members, under lock_organization.';

create or replace function private.is_super_admin()
  returns boolean
  language sql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from private.context() as c
    join public.users as u on u.id = c.user_id
    where c.session_id is not null and u.global_role = 'super_admin'
  )
$$;
comment on function private.is_super_admin() is
  'Says whether a super admin asks who is logged in; false for every token.';

create or replace function private.visible_organization_ids()
  returns uuid[]
  language sql
  stable
  security definer -- definer because it looks past the policy of organization_users, and policies call it
  set search_path = pg_catalog, pg_temp
as $$
  select
    case
      when c.session_id is not null and c.user_id is not null
        then array(
          select m.organization_id
          from public.organization_users as m
          join public.organizations as o on o.id = m.organization_id
          where m.user_id = c.user_id and (o.deleted_at is null or m.role = 'owner')
        )
      else array[c.organization_id]
    end
  from private.context() as c
$$;
comment on function private.visible_organization_ids() is
  'Lists the organizations that a request sees: a user who is logged in sees those to switch to, an owner also those to restore; a token sees its own one only.';

grant execute on function private.visible_organization_ids(), private.is_super_admin() to flowgres_user;
