-- kind: code
-- Starts, cancels and verifies runs. These commands check access and name the organization; the
-- engine writes and locks: see 50_engine/start/start.sql and 50_engine/commands/end.sql.

create or replace function private.require_run(p_run_id uuid, p_scope text)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_organization_id uuid;
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = p_run_id;
  perform private.require_access(v_organization_id, p_scope, 'run');
  return v_organization_id;
end
$$;
comment on function private.require_run(uuid, text) is
  'Returns the organization of a run that the request may touch. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.start_workflow_run(
  workflow uuid,
  input jsonb default '{}',
  idempotency_key text default null,
  priority int default null,
  metadata jsonb default null
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
  perform engine.refuse_value(input, 'The input of a run');
  select a.run_id, a.error into v_answer
  from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', v_organization_id,
    'workflowId', workflow,
    'mode', 'api',
    'input', coalesce(input, '{}'),
    'key', idempotency_key,
    'priority', priority,
    'metadata', metadata,
    'startedBy', public.current_user_id()
  ))) as a;
  if v_answer.run_id is null then
    perform private.raise_json_error(v_answer.error);
  end if;
  select r.* into v_run from public.workflow_runs as r where r.id = v_answer.run_id;
  return v_run;
end
$$;
comment on function public.start_workflow_run(uuid, jsonb, text, int, jsonb) is
  'Starts a run of the published version. The run is stored durably when this returns; a workflow of pure nodes has finished by then, with its result in output. The same idempotency_key (at most 256 characters, kept 7 days) with the same input returns the same run. priority, from -1000 to 1000, replaces that of the workflow: a lower one begins earlier. metadata is any object, by which the run can be found. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, NOT_PUBLISHED, CONFLICT (the key was used with another input), TOO_LARGE (an input above 1 MiB, metadata above 64 KiB), INVALID_ARGUMENT. Example: select id, status from start_workflow_run(''0190…'', ''{"total": 120}'', ''order-17'', metadata => ''{"customer": 42}'');';

create or replace function public.cancel_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.cancel_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.cancel_run(uuid, text) is
  'Cancels a run at once. An effect that is running is notified within 5 seconds; its result is not recorded any more. A run that has ended stays unchanged. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from cancel_run(''0190…'', ''wrong customer'');';

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
begin
  perform private.require_run(run, 'runs:read');
  return query select v.seq, v.problem, v.recorded, v.computed from engine.verify_run(run) as v;
end
$$;
comment on function public.verify_run(uuid) is
  'Replays a run from its log and returns where the engine would now decide differently; no row when replay and log agree. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from verify_run(''0190…'');';

grant execute on function
  public.start_workflow_run(uuid, jsonb, text, int, jsonb),
  public.cancel_run(uuid, text),
  public.verify_run(uuid)
  to flowgres_user, flowgres_dba;
