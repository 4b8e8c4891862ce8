-- kind: code
-- Row-level security of webhooks: users see those of their current organization. Writes and locks
-- nothing.

drop policy if exists webhooks_flowgres_user_select on public.webhooks;
create policy webhooks_flowgres_user_select on public.webhooks
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));

grant select on public.webhooks to flowgres_user, flowgres_dba;

drop policy if exists webhook_deliveries_flowgres_user_select on public.webhook_deliveries;
create policy webhook_deliveries_flowgres_user_select on public.webhook_deliveries
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('runs:read')));

grant select on public.webhook_deliveries to flowgres_user, flowgres_dba;

drop policy if exists webhook_endpoints_flowgres_user_select on public.webhook_endpoints;
create policy webhook_endpoints_flowgres_user_select on public.webhook_endpoints
  for select to flowgres_user
  using (
    organization_id = (select private.organization_with_scope('organization:read'))
    and (select private.sees_all_credentials())
  );

grant select on public.webhook_endpoints to flowgres_user, flowgres_dba;

drop policy if exists schedules_flowgres_user_select on public.schedules;
create policy schedules_flowgres_user_select on public.schedules
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));

grant select on public.schedules to flowgres_user, flowgres_dba;
