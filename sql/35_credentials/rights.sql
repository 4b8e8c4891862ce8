-- kind: code
-- Says who may see, use and change a credential. Its creator may do all of it, and may share it
-- with a team or the organization; admins see and change all, and use what is shared with them.
-- Writes nothing; lock_credential() locks the row of the credential.

create or replace function private.uses_credential(p_credential public.credentials)
  returns boolean
  language sql
  stable
as $$
  select coalesce(p_credential.organization_id = c.organization_id, false) and (
    p_credential.is_shared
    or coalesce(p_credential.user_id = c.user_id, false)
    or (c.user_id is null and c.token_id is null) -- a DBA who acts for the organization
    or exists (
      select
      from public.team_users as m
      where m.organization_id = c.organization_id
        and m.team_id = p_credential.team_id
        and m.user_id = c.user_id
    )
  )
  from private.context() as c
$$;
comment on function private.uses_credential(public.credentials) is
  'Says whether the request may name a credential in a workflow that it publishes, and test it.';

-- Returns whether the request is an admin of its organization, or the organization's own token, or
-- a DBA who acts for the organization.
create or replace function private.sees_all_credentials()
  returns boolean
  language sql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select c.organization_id is not null and (
    c.user_id is null
    or exists (
      select
      from public.organization_users as m
      where m.organization_id = c.organization_id and m.user_id = c.user_id and m.role in ('owner', 'admin')
    )
  )
  from private.context() as c
$$;

create or replace function private.own_team_ids()
  returns uuid[]
  language sql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select array(
    select m.team_id
    from public.team_users as m
    where m.organization_id = c.organization_id and m.user_id = c.user_id
  )
  from private.context() as c
$$;
comment on function private.own_team_ids() is 'The teams of the request''s user in its organization.';

create or replace function private.lock_credential(p_id uuid)
  returns public.credentials
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_credential public.credentials;
begin
  perform private.require_scope('organization:write');
  select c.* into v_credential
  from public.credentials as c
  where c.id = p_id and c.organization_id = v_organization_id
  for no key update;
  if not found or not (private.uses_credential(v_credential) or private.sees_all_credentials()) then
    perform private.raise_error('NOT_FOUND', 'There is no such credential in this organization.');
  end if;
  if v_credential.user_id is distinct from public.current_user_id() then
    perform private.require_role('admin');
  end if;
  return v_credential;
end
$$;
comment on function private.lock_credential(uuid) is
  'Returns a credential that the request may change, and locks its row: its creator''s, or any for an admin. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function private.count_credentials(
  p_organization_id uuid,
  p_time_range tstzrange default null,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select count(*) from public.credentials as c where c.organization_id = p_organization_id
$$;

grant execute on function private.sees_all_credentials(), private.own_team_ids() to flowgres_user;
