-- kind: code
-- Who sees which run. Partitions have row-level security without a policy: they are reached through these tables only.

alter table public.workflow_runs enable row level security;
drop policy if exists workflow_runs_flowgres_user_select on public.workflow_runs;
create policy workflow_runs_flowgres_user_select on public.workflow_runs
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

alter table public.workflow_events enable row level security;
drop policy if exists workflow_events_flowgres_user_select on public.workflow_events;
create policy workflow_events_flowgres_user_select on public.workflow_events
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

alter table public.workflow_run_logs enable row level security;
drop policy if exists workflow_run_logs_flowgres_user_select on public.workflow_run_logs;
create policy workflow_run_logs_flowgres_user_select on public.workflow_run_logs
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

alter table public.bulk_operations enable row level security;
drop policy if exists bulk_operations_flowgres_user_select on public.bulk_operations;
create policy bulk_operations_flowgres_user_select on public.bulk_operations
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

grant select on public.bulk_operations to flowgres_user;
grant select on public.workflow_runs, public.workflow_events, public.workflow_run_logs to flowgres_user;

-- Reading a run's events takes the time out of its id.
grant usage on schema engine to flowgres_user;
