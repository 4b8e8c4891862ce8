-- kind: code
-- Teams of an organization: admins of the organization create and delete them, and admins of the
-- team may change them. Writes public.teams, public.team_users. Locks the row of the team.

create or replace function public.create_team(
  name text,
  slug text,
  description text default null,
  color text default '#3b82f6'
)
  returns public.teams
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_team public.teams;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('admin');
  perform private.check_name(coalesce(create_team.name, ''));
  insert into public.teams (organization_id, name, slug, description, color)
  values (
    v_organization_id, create_team.name, create_team.slug, create_team.description, lower(create_team.color collate "C")
  )
  returning * into v_team;
  return v_team;
exception
  when unique_violation or check_violation or not_null_violation then
    perform private.raise_bad_team(sqlstate, slug);
    return null;
end
$$;
comment on function public.create_team(text, text, text, text) is
  'Creates a team in the current organization. For admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, CONFLICT (the slug is taken). Example: select id from create_team(''Sales'', ''sales'');';

-- Raises the error for a team that violates a unique constraint (the slug) or a check constraint.
create or replace function private.raise_bad_team(p_sqlstate text, p_slug text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_sqlstate = '23505' then
    perform private.raise_slug_conflict(p_slug);
  end if;
  perform private.raise_error(
    'VALIDATION_FAILED',
    'A team needs a name of 1 to 200 characters, a slug of 2 to 63 lower-case letters, digits and single hyphens, '
    'and a color such as #3b82f6.'
  );
end
$$;

create or replace function private.lock_team(p_id uuid, p_self_id uuid default null)
  returns public.teams
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_user_id constant uuid := public.current_user_id();
  v_team public.teams;
begin
  perform private.require_scope('organization:write');
  select t.* into v_team
  from public.teams as t
  where t.id = p_id and t.organization_id = v_organization_id
  for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  end if;
  if p_self_id is distinct from v_user_id and not exists (
    select from public.team_users as m
    where m.organization_id = v_organization_id
      and m.team_id = p_id
      and m.user_id = v_user_id
      and m.role = 'admin'
  ) then
    perform private.require_role('admin');
  end if;
  return v_team;
end
$$;
comment on function private.lock_team(uuid, uuid) is
  'Returns a team that the request may change, and locks its row. p_self_id: the user whom the command is about, who needs no role to change their own membership. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.update_team(
  id uuid,
  name text default null,
  slug text default null,
  description text default null,
  color text default null
)
  returns public.teams
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team public.teams := private.lock_team(id);
begin
  perform private.check_name(update_team.name);
  update public.teams as t
  set
    name = coalesce(update_team.name, t.name),
    slug = coalesce(update_team.slug, t.slug),
    description = coalesce(update_team.description, t.description),
    color = coalesce(lower(update_team.color collate "C"), t.color),
    updated_at = engine.now()
  where t.id = v_team.id
  returning t.* into v_team;
  return v_team;
exception
  when unique_violation or check_violation then
    perform private.raise_bad_team(sqlstate, slug);
    return null;
end
$$;
comment on function public.update_team(uuid, text, text, text, text) is
  'Changes a team; null leaves a value unchanged. For admins of the organization or the team. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (the slug is taken). Example: select update_team(''0190…'', color => ''#ff8800'');';

create or replace function public.delete_team(id uuid)
  returns public.teams
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team constant public.teams := private.lock_team(id);
begin
  perform private.require_role('admin');
  delete from public.teams as t where t.id = v_team.id;
  return v_team;
end
$$;
comment on function public.delete_team(uuid) is
  'Deletes a team; its members and what they created stay in the organization. For admins of the organization. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select delete_team(''0190…'');';

create or replace function public.add_team_member(team uuid, "user" uuid, role text default 'member')
  returns public.team_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team constant public.teams := private.lock_team(team);
  v_member public.team_users;
begin
  if not exists (
    select from public.team_users as m
    where m.organization_id = v_team.organization_id and m.team_id = v_team.id and m.user_id = "user"
  ) then
    perform private.admit(v_team.organization_id, 'team_members', p_team_id => v_team.id);
  end if;
  insert into public.team_users (organization_id, team_id, user_id, role, added_by)
  values (v_team.organization_id, v_team.id, "user", add_team_member.role, public.current_user_id())
  on conflict (organization_id, team_id, user_id) do update set role = excluded.role
  returning * into v_member;
  return v_member;
exception
  when foreign_key_violation or not_null_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such member in this organization.', 'Invite them first.');
    return null;
  when check_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such role.', 'Roles in a team: admin, member.', '{"field": "role"}'
    );
    return null;
end
$$;
comment on function public.add_team_member(uuid, uuid, text) is
  'Adds a member of the organization to a team, as admin or member (the default). Repeating it with another role changes the role. For admins of the organization or the team. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, LIMIT_REACHED (the team''s members). Example: select add_team_member(team => ''0190…'', "user" => ''0190…'');';

create or replace function public.remove_team_member(team uuid, "user" uuid)
  returns public.team_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team constant public.teams := private.lock_team(team, "user");
  v_member public.team_users;
begin
  delete from public.team_users as m
  where m.organization_id = v_team.organization_id and m.team_id = v_team.id and m.user_id = "user"
  returning * into v_member;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such member in this team.');
  end if;
  return v_member;
end
$$;
comment on function public.remove_team_member(uuid, uuid) is
  'Removes a member from a team. For admins of the organization or the team; everybody may remove themselves. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select remove_team_member(team => ''0190…'', "user" => ''0190…'');';

grant execute on function
  public.create_team(text, text, text, text),
  public.update_team(uuid, text, text, text, text),
  public.delete_team(uuid),
  public.add_team_member(uuid, uuid, text),
  public.remove_team_member(uuid, uuid)
  to flowgres_user, flowgres_dba;
