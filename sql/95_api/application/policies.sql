-- kind: code
-- Row-level security and rights of the roles of applications, which are members of
-- flowgres_application: of the organization that a DBA has granted, with its scope. Writes no rows;
-- creating a policy locks its table (access exclusive) until the transaction ends.

drop policy if exists workflow_runs_flowgres_application_select on public.workflow_runs;
create policy workflow_runs_flowgres_application_select on public.workflow_runs
  for select to flowgres_application
  using (
    organization_id = (select private.application_organization('runs:read'))
    and application = (select private.application_role())::text
  );

drop policy if exists workflows_flowgres_application_select on public.workflows;
create policy workflows_flowgres_application_select on public.workflows
  for select to flowgres_application
  using (organization_id = (select private.application_organization('runs:read')));

grant select (
  id, organization_id, workflow_id, version, status, application, started_at, finished_at, error, metadata
) on public.workflow_runs to flowgres_application;
grant select (id, organization_id, name) on public.workflows to flowgres_application;
grant select on public.flowgres_runs to flowgres_application;
-- flowgres_wait() calls engine.max_application_wait() as its caller.
grant usage on schema engine to flowgres_application;
grant execute on function
  private.application_organization(text),
  private.application_role(),
  engine.max_application_wait(),
  public.flowgres_start(text, jsonb, text, jsonb),
  public.flowgres_caused_by(uuid),
  public.flowgres_run(uuid)
  to flowgres_application;
grant execute on procedure public.flowgres_wait(uuid, interval, text, jsonb, jsonb) to flowgres_application;

grant execute on function
  engine.grant_application(regrole, uuid, text[]),
  engine.revoke_application(regrole),
  engine.watch_table(regclass, uuid, text[], text, text[], int, boolean),
  engine.unwatch_table(regclass, uuid),
  engine.save_watch(regclass, uuid, text[], text, text[], int, boolean),
  engine.delete_watch(regclass, uuid),
  engine.start_for_changes()
  to flowgres_dba;
grant select on engine.application_grants, engine.table_watches to flowgres_dba;
drop policy if exists application_grants_flowgres_dba_select on engine.application_grants;
create policy application_grants_flowgres_dba_select on engine.application_grants
  for select to flowgres_dba using (true);
drop policy if exists table_watches_flowgres_dba_select on engine.table_watches;
create policy table_watches_flowgres_dba_select on engine.table_watches
  for select to flowgres_dba using (true);
