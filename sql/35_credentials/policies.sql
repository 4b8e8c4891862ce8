-- kind: code
-- Row-level security of variables, which members of an organization see, and of credentials, which
-- those see who may use or change them. Only functions write them. Writes and locks nothing.

drop policy if exists variables_flowgres_user_select on public.variables;
create policy variables_flowgres_user_select on public.variables
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));
grant select on public.variables to flowgres_user;

drop policy if exists credentials_flowgres_user_select on public.credentials;
create policy credentials_flowgres_user_select on public.credentials
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (
      is_shared
      or user_id = (select public.current_user_id())
      or team_id = any ((select private.own_team_ids())::uuid[])
      or (select private.sees_all_credentials())
    )
  );
grant select on public.credentials to flowgres_user;
