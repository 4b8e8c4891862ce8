-- kind: code
-- Commands on runs. The engine does the work; here it is decided for which organization and with which right.

create or replace function public.start_workflow_run(
  workflow uuid,
  input jsonb default '{}',
  idempotency_key text default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid := (select w.organization_id from public.workflows as w where w.id = start_workflow_run.workflow);
  v_answer record;
  v_run public.workflow_runs;
begin
  if v_organization_id is not null or not private.is_dba() then
    v_organization_id := private.acting_organization(v_organization_id);
  end if;
  perform private.require_scope('runs:write');
  select a.run_id, a.error into v_answer
  from engine.start_runs(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
    'organizationId', coalesce(v_organization_id, engine.uuid_v7()),
    'workflowId', coalesce(start_workflow_run.workflow, engine.uuid_v7()),
    'mode', 'api',
    'key', idempotency_key,
    'startedBy', public.current_user_id()
  )) || jsonb_build_object('input', coalesce(input, '{}')))) as a;
  if v_answer.run_id is null then
    perform private.raise_error(
      v_answer.error ->> 'code',
      v_answer.error ->> 'message',
      v_answer.error ->> 'hint',
      coalesce(v_answer.error -> 'details', '{}')
    );
  end if;
  select r.* into v_run from public.workflow_runs as r where r.id = v_answer.run_id;
  return v_run;
end
$$;
