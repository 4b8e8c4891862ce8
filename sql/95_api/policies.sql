-- kind: code
-- Restricts an API token to the tables that its scopes name. The policies are restrictive: they
-- narrow those of the layers. Each check is a subquery, so PostgreSQL evaluates it once per query.
-- Writes no rows; creating a policy locks its table (access exclusive) until the transaction ends.

drop policy if exists workflows_flowgres_user_select_scope on public.workflows;
create policy workflows_flowgres_user_select_scope on public.workflows
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists workflow_versions_flowgres_user_select_scope on public.workflow_versions;
create policy workflow_versions_flowgres_user_select_scope on public.workflow_versions
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists variables_flowgres_user_select_scope on public.variables;
create policy variables_flowgres_user_select_scope on public.variables
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists webhooks_flowgres_user_select_scope on public.webhooks;
create policy webhooks_flowgres_user_select_scope on public.webhooks
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists schedules_flowgres_user_select_scope on public.schedules;
create policy schedules_flowgres_user_select_scope on public.schedules
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists workflow_runs_flowgres_user_select_scope on public.workflow_runs;
create policy workflow_runs_flowgres_user_select_scope on public.workflow_runs
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists workflow_events_flowgres_user_select_scope on public.workflow_events;
create policy workflow_events_flowgres_user_select_scope on public.workflow_events
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists workflow_run_logs_flowgres_user_select_scope on public.workflow_run_logs;
create policy workflow_run_logs_flowgres_user_select_scope on public.workflow_run_logs
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists bulk_operations_flowgres_user_select_scope on public.bulk_operations;
create policy bulk_operations_flowgres_user_select_scope on public.bulk_operations
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

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
