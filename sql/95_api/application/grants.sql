-- kind: code
-- Which organization a role of an application acts for. DBAs grant it. The role that counts is the
-- one that has logged in, or the one of SET ROLE: a definer function of an application does not pass
-- on the rights of its owner. Writes engine.application_grants and memberships of the role
-- flowgres_application; locks the rows it writes.

create or replace function engine.grant_application(
  role regrole,
  organization uuid,
  scopes text[] default '{runs:read,runs:write}'
)
  returns engine.application_grants
  language plpgsql
  volatile
  security definer -- definer because only the owner grants flowgres_application and writes the table
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_name name;
  v_grant engine.application_grants;
begin
  select r.rolname into v_name
  from pg_roles as r
  where r.oid = grant_application.role and r.rolname !~ '^(flowgres|pg)_' and not r.rolsuper;
  if v_name is null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      'An application has a role of its own: no superuser, and none of Flowgres or PostgreSQL.',
      'create role shop login; select engine.grant_application(''shop'', …)'
    );
  elsif cardinality(scopes) > 0 is not true or not scopes <@ '{runs:read,runs:write}' then
    perform private.raise_error('INVALID_ARGUMENT', 'The scopes of an application are runs:read and runs:write.');
  elsif not exists (
    select from public.organizations as o where o.id = grant_application.organization and o.deleted_at is null
  ) then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  if not pg_has_role(v_name, 'flowgres_application', 'member') then
    execute format('grant flowgres_application to %I', v_name);
  end if;
  insert into engine.application_grants (role, organization_id, scopes)
  values (grant_application.role, grant_application.organization, grant_application.scopes)
  on conflict on constraint application_grants_pkey do update
  set
    organization_id = excluded.organization_id,
    scopes = excluded.scopes,
    granted_by = excluded.granted_by,
    granted_at = excluded.granted_at
  returning * into v_grant;
  return v_grant;
end
$$;
comment on function engine.grant_application(regrole, uuid, text[]) is
  'Makes a role of an application act for one organization in flowgres_start, flowgres_run, flowgres_wait and flowgres_runs; repeated, replaces the organization and the scopes (runs:read, runs:write). Errors: INVALID_ARGUMENT (a superuser, a role of Flowgres, other scopes), NOT_FOUND (the organization). Example: select engine.grant_application(''shop'', id) from organizations where slug = ''acme'';';

create or replace function engine.revoke_application(role regrole)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because nobody else writes the table
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- The membership of flowgres_application stays: it is one of the server, other databases may use
  -- it, and without a row here it permits nothing.
  delete from engine.application_grants as g where g.role = revoke_application.role;
  return found;
end
$$;
comment on function engine.revoke_application(regrole) is
  'Ends what engine.grant_application has granted, from the next call on; false when there was nothing. Runs that were started go on. Example: select engine.revoke_application(''shop'');';

create or replace function private.application_role()
  returns name
  language sql
  stable
  security definer -- definer because policies call it as the role of an application
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(nullif(current_setting('role'), 'none'), session_user)::name
$$;
comment on function private.application_role() is
  'Returns the role that the session acts as: that of SET ROLE, which PostgreSQL has checked, else the one that logged in.';

-- Returns the grant of the role that the session acts as; all null when it has none, or when its
-- organization is deleted.
create or replace function private.application_grant()
  returns engine.application_grants
  language sql
  stable
as $$
  select g
  from engine.application_grants as g
  join public.organizations as o on o.id = g.organization_id and o.deleted_at is null
  where g.role = to_regrole(quote_ident(private.application_role()))
$$;

create or replace function private.application_organization(p_scope text)
  returns uuid
  language sql
  stable
  security definer -- definer because policies call it as the role of an application
  set search_path = pg_catalog, pg_temp
as $$
  select (g).organization_id from private.application_grant() as g where p_scope = any ((g).scopes)
$$;
comment on function private.application_organization(text) is
  'Returns the organization that the role of an application acts for if it has the scope; null otherwise. Policies compare with it.';

create or replace function private.require_application(p_scope text)
  returns engine.application_grants
  language plpgsql
  stable
as $$
declare
  v_grant constant engine.application_grants := private.application_grant();
begin
  if v_grant.organization_id is null then
    perform private.raise_error(
      'UNAUTHENTICATED',
      format('The role %s acts for no organization.', private.application_role()),
      format('A DBA grants it one: select engine.grant_application(%L, organization)', private.application_role())
    );
  elsif p_scope <> all (v_grant.scopes) then
    perform private.raise_error(
      'FORBIDDEN',
      format('The role %s lacks the scope %s.', private.application_role(), p_scope),
      'A DBA grants it: select engine.grant_application(role, organization, scopes)',
      jsonb_build_object('scope', p_scope)
    );
  end if;
  return v_grant;
end
$$;
comment on function private.require_application(text) is
  'Returns the grant of the calling role of an application. Raises UNAUTHENTICATED, FORBIDDEN.';
