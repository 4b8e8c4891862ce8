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
  v_organization_id uuid;
  v_answer record;
  v_run public.workflow_runs;
begin
  select w.organization_id into v_organization_id from public.workflows as w where w.id = start_workflow_run.workflow;
  perform private.require_access(v_organization_id, 'runs:write', 'workflow');
  select a.run_id, a.error into v_answer
  from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', v_organization_id,
    'workflowId', workflow,
    'mode', 'api',
    'input', coalesce(input, '{}'),
    'key', idempotency_key,
    'startedBy', public.current_user_id()
  ))) as a;
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
comment on function public.start_workflow_run(uuid, jsonb, text) is
  'Starts a run of the published version. It is durable when this returns; a workflow of pure nodes is finished by then, with its result in output. The same idempotency_key (at most 256 characters, kept 7 days) with the same input returns the same run. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, NOT_PUBLISHED, CONFLICT (the key was used with another input), TOO_LARGE (an input above 1 MiB), INVALID_ARGUMENT. Example: select id, status from start_workflow_run(''0190…'', ''{"total": 120}'', ''order-17'');';

create or replace function public.cancel_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid;
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = cancel_run.run;
  perform private.require_access(v_organization_id, 'runs:write', 'run');
  return engine.cancel_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.cancel_run(uuid, text) is
  'Ends a run at once; a running effect is told within 5 seconds, and what it still answers is not recorded. A run that has ended stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from cancel_run(''0190…'', ''wrong customer'');';

create or replace function public.verify_run(run uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because it replays with the engine's own functions
  set search_path = pg_catalog, pg_temp
  rows 1
as $$
declare
  v_organization_id uuid;
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = verify_run.run;
  perform private.require_access(v_organization_id, 'runs:read', 'run');
  return query select v.seq, v.problem, v.recorded, v.computed from engine.verify_run(run) as v;
end
$$;
comment on function public.verify_run(uuid) is
  'Replays a run from its log and returns where the engine would decide differently today: no row when the log is whole. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from verify_run(''0190…'');';

grant execute on function
  public.start_workflow_run(uuid, jsonb, text),
  public.cancel_run(uuid, text),
  public.verify_run(uuid)
  to flowgres_user, flowgres_dba;
