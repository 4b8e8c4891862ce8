-- kind: code
-- Organizations and the people in them.

create or replace function public.create_organization(name text, slug text)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.context();
  v_organization public.organizations;
begin
  if v_context.user_id is null then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'Only a person can create an organization.',
      'Log in; in psql: select set_context(null, user).'
    );
  elsif v_context.session_id is null then
    perform private.raise_error(
      'FORBIDDEN', 'A token belongs to one organization and cannot create another.', 'Log in.'
    );
  end if;

  begin
    insert into public.organizations (name, slug)
    values (create_organization.name, create_organization.slug)
    returning * into v_organization;
  exception
    when unique_violation then
      perform private.raise_error(
        'CONFLICT',
        format('The slug %s is taken.', create_organization.slug),
        'Choose another one.',
        '{"field": "slug"}'
      );
    when check_violation or not_null_violation then
      perform private.raise_error(
        'VALIDATION_FAILED',
        'An organization needs a name of 1 to 200 characters and a slug that is not reserved.',
        'A slug has 2 to 63 lower-case letters and digits, with single hyphens between them.'
      );
  end;

  insert into public.organization_users (organization_id, user_id, role)
  values (v_organization.id, v_context.user_id, 'owner');

  update private.sessions as s
  set organization_id = v_organization.id
  where s.id = v_context.session_id and s.organization_id is null;

  return v_organization;
end
$$;
comment on function public.create_organization(text, text) is
  'Creates an organization with the caller as its owner; it becomes the active one of a session that has none. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), CONFLICT (the slug is taken), VALIDATION_FAILED. Example: select * from create_organization(''Acme'', ''acme'');';

create or replace function public.current_organization()
  returns public.organizations
  language sql
  stable
  security definer -- definer because an anonymous request may ask too, and gets null
  set search_path = pg_catalog, pg_temp
as $$
  select o.* from public.organizations as o where o.id = public.current_organization_id()
$$;
comment on function public.current_organization() is
  'The organization that the request acts for; null without a valid token. Example: select slug from current_organization();';

-- A keyword without its schema: call it as public.current_user().
create or replace function public.current_user()
  returns public.users
  language sql
  stable
  security definer -- definer because an anonymous request may ask too, and gets null
  set search_path = pg_catalog, pg_temp
as $$
  select u.* from public.users as u where u.id = public.current_user_id()
$$;
comment on function public.current_user() is
  'The user of the request; null for an anonymous one or an organization''s own token. Example: select name from public.current_user();';

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
  if v_context.user_id is null then
    return; -- an organization's own token is bound by its scopes alone, a DBA by nothing
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
        then array(select m.organization_id from public.organization_users as m where m.user_id = c.user_id)
      else array[c.organization_id]
    end
  from private.context() as c
$$;
comment on function private.visible_organization_ids() is
  'A logged-in person sees the organizations to switch between; a token sees its own one only.';

grant execute on function public.create_organization(text, text) to flowgres_user, flowgres_dba;
grant execute on function public.current_organization(), public.current_user()
  to flowgres_user, flowgres_anonymous, flowgres_dba;
grant execute on function private.visible_organization_ids() to flowgres_user;
