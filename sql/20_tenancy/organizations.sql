-- kind: code
-- Creates organizations, and shows a request its own organization and user. Writes
-- public.organizations, public.organization_users and private.sessions; locks nothing but the rows
-- it writes.

-- Raises CONFLICT for a slug that another organization has.
create or replace function private.raise_slug_conflict(p_slug text)
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'CONFLICT', format('The slug %s is taken.', p_slug), 'Choose another one.', '{"field": "slug"}'
  );
end
$$;

-- Raises VALIDATION_FAILED for a name or slug that is not allowed.
create or replace function private.raise_bad_organization()
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'VALIDATION_FAILED',
    'An organization needs a name of 1 to 200 characters and a slug that is not reserved.',
    'A slug has 2 to 63 lower-case letters and digits, with single hyphens between them.'
  );
end
$$;

create or replace function public.create_organization(name text, slug text)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_organization public.organizations;
begin
  perform private.check_name(coalesce(create_organization.name, ''));
  begin
    insert into public.organizations (name, slug)
    values (create_organization.name, create_organization.slug)
    returning * into v_organization;
  exception
    when unique_violation then
      perform private.raise_slug_conflict(create_organization.slug);
    when check_violation or not_null_violation then
      perform private.raise_bad_organization();
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
  'Creates an organization with the caller as its owner; it becomes the active organization of a session that has none. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), CONFLICT (the slug is taken), VALIDATION_FAILED. Example: select * from create_organization(''Acme'', ''acme'');';

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
  'Returns the organization that the request acts for; null without a valid token. Example: select slug from current_organization();';

-- Hides the key from tokens that may only read, since the key allows to start runs. GraphQL shows
-- this in place of the column.
create or replace function public.organizations_webhook_key(organization public.organizations)
  returns text
  language sql
  stable
  security definer -- definer because nothing else opens the schema private to requests
  set search_path = pg_catalog, pg_temp
as $$
  select case when private.has_scope('workflows:write') then organization.webhook_key end
$$;
comment on function public.organizations_webhook_key(public.organizations) is
  'The secret part of its webhook addresses: /hooks/<webhook key>/<path>. Members and tokens with the scope workflows:write see it; null for others. Example: select organizations_webhook_key(o) from organizations as o;';

-- Without its schema current_user is a keyword: call it as public.current_user().
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
  'Returns the user of the request; null for an anonymous one or an organization''s own token. Example: select name from public.current_user();';

grant execute on function public.create_organization(text, text) to flowgres_user, flowgres_dba;
grant execute on function public.organizations_webhook_key(public.organizations) to flowgres_user, flowgres_dba;
grant execute on function public.current_organization(), public.current_user()
  to flowgres_user, flowgres_anonymous, flowgres_dba;
