-- kind: code
-- Restricts an API token to the tables of people that its scopes name. The policies are restrictive:
-- they narrow those of the layers, some of which admit rows for several reasons. Other tables have
-- the scope in the policy of their layer, by private.organization_with_scope(). Each check is a
-- subquery, so PostgreSQL evaluates it once per query. Writes no rows; creating a policy locks its
-- table (access exclusive) until the transaction ends.

drop policy if exists organization_users_flowgres_user_select_scope on public.organization_users;
create policy organization_users_flowgres_user_select_scope on public.organization_users
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists teams_flowgres_user_select_scope on public.teams;
create policy teams_flowgres_user_select_scope on public.teams
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists team_users_flowgres_user_select_scope on public.team_users;
create policy team_users_flowgres_user_select_scope on public.team_users
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists invitations_flowgres_user_select_scope on public.invitations;
create policy invitations_flowgres_user_select_scope on public.invitations
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists credentials_flowgres_user_select_scope on public.credentials;
create policy credentials_flowgres_user_select_scope on public.credentials
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));
