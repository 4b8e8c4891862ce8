-- kind: code
-- Row-level security of webhooks: users see those of their current organization. Writes and locks
-- nothing.

drop policy if exists webhooks_flowgres_user_select on public.webhooks;
create policy webhooks_flowgres_user_select on public.webhooks
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));

grant select on public.webhooks to flowgres_user, flowgres_dba;

drop policy if exists schedules_flowgres_user_select on public.schedules;
create policy schedules_flowgres_user_select on public.schedules
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));

grant select on public.schedules to flowgres_user, flowgres_dba;
