-- kind: code
-- Row-level security: members of an organization read its workflows and versions; only functions
-- write them. Writes no rows; creating a policy locks its table (access exclusive) until the
-- transaction ends.

alter table public.workflows enable row level security;
drop policy if exists workflows_flowgres_user_select on public.workflows;
create policy workflows_flowgres_user_select on public.workflows
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));
grant select on public.workflows to flowgres_user;

alter table public.workflow_versions enable row level security;
drop policy if exists workflow_versions_flowgres_user_select on public.workflow_versions;
create policy workflow_versions_flowgres_user_select on public.workflow_versions
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));
grant select on public.workflow_versions to flowgres_user;
