-- kind: code
-- Row-level security of users, organizations, teams and logs. Every condition compares a column
-- with a value or an array that is computed once per query. Writes and locks nothing.

drop policy if exists users_flowgres_user_select on public.users;
create policy users_flowgres_user_select on public.users
  for select to flowgres_user
  using (
    id = (select public.current_user_id())
    or id = any (array(
      select m.user_id
      from public.organization_users as m
      where m.organization_id = (select public.current_organization_id())
    ))
    or (select private.is_super_admin())
  );

drop policy if exists organizations_flowgres_user_select on public.organizations;
create policy organizations_flowgres_user_select on public.organizations
  for select to flowgres_user
  using (
    id = any ((select private.visible_organization_ids())::uuid[])
    or (select private.is_super_admin())
  );

-- DBAs see organizations and users, to choose whom they act for; rows of an organization need
-- set_context().
drop policy if exists users_flowgres_dba_select on public.users;
create policy users_flowgres_dba_select on public.users for select to flowgres_dba using (true);

drop policy if exists organizations_flowgres_dba_select on public.organizations;
create policy organizations_flowgres_dba_select on public.organizations for select to flowgres_dba using (true);

drop policy if exists organization_users_flowgres_user_select on public.organization_users;
create policy organization_users_flowgres_user_select on public.organization_users
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

drop policy if exists teams_flowgres_user_select on public.teams;
create policy teams_flowgres_user_select on public.teams
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

drop policy if exists team_users_flowgres_user_select on public.team_users;
create policy team_users_flowgres_user_select on public.team_users
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

drop policy if exists invitations_flowgres_user_select on public.invitations;
create policy invitations_flowgres_user_select on public.invitations
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

grant select on
  public.users,
  public.organizations,
  public.organization_users,
  public.teams,
  public.team_users,
  public.invitations
  to flowgres_user, flowgres_dba;

drop policy if exists audit_log_flowgres_user_select on public.audit_log;
create policy audit_log_flowgres_user_select on public.audit_log
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()) and (select private.reads_audit()));

drop policy if exists audit_log_flowgres_dba_select on public.audit_log;
create policy audit_log_flowgres_dba_select on public.audit_log
  for select to flowgres_dba
  using (true);

drop policy if exists api_access_log_flowgres_user_select on public.api_access_log;
create policy api_access_log_flowgres_user_select on public.api_access_log
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()) and (select private.reads_audit()));

drop policy if exists api_access_log_flowgres_dba_select on public.api_access_log;
create policy api_access_log_flowgres_dba_select on public.api_access_log
  for select to flowgres_dba
  using (true);
