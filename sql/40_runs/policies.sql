-- kind: code
-- Row-level security of runs: users see those of their current organization, with a token only if
-- it has the scope; one subquery tells both, once per query. Partitions have row-level security
-- without a policy, so users reach rows through these tables only. Writes and locks nothing.

alter table public.workflow_runs enable row level security;
drop policy if exists workflow_runs_flowgres_user_select on public.workflow_runs;
create policy workflow_runs_flowgres_user_select on public.workflow_runs
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('runs:read')));

alter table public.workflow_events enable row level security;
drop policy if exists workflow_events_flowgres_user_select on public.workflow_events;
create policy workflow_events_flowgres_user_select on public.workflow_events
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('runs:read')));

alter table public.workflow_run_logs enable row level security;
drop policy if exists workflow_run_logs_flowgres_user_select on public.workflow_run_logs;
create policy workflow_run_logs_flowgres_user_select on public.workflow_run_logs
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('runs:read')));

alter table public.bulk_operations enable row level security;
drop policy if exists bulk_operations_flowgres_user_select on public.bulk_operations;
create policy bulk_operations_flowgres_user_select on public.bulk_operations
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('runs:read')));

grant select on public.bulk_operations to flowgres_user;
grant select on public.workflow_runs, public.workflow_events, public.workflow_run_logs to flowgres_user;

-- get_workflow_run_events() calls engine.uuid_time() with the rights of the user.
grant usage on schema engine to flowgres_user;
