-- kind: code
-- Who sees what: members of an organization see its workflows. Writing is for functions.

alter table public.workflows enable row level security;
drop policy if exists workflows_flowgres_user_select on public.workflows;
create policy workflows_flowgres_user_select on public.workflows
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.workflows to flowgres_user;

alter table public.workflow_versions enable row level security;
drop policy if exists workflow_versions_flowgres_user_select on public.workflow_versions;
create policy workflow_versions_flowgres_user_select on public.workflow_versions
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.workflow_versions to flowgres_user;
