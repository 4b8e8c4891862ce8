-- kind: code
-- Starts a run in the transaction of an application: when it commits, the run exists and its pure
-- nodes have finished; when it is rolled back, nothing was. Reads no session and leaves no setting.
-- The engine writes and locks: 50_engine/start/start.sql. Where the plan of the organization limits
-- runs, its counter stays locked until the application commits.

create or replace function public.flowgres_start(
  workflow text,
  input jsonb default '{}',
  idempotency_key text default null,
  metadata jsonb default null
)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := (private.require_application('runs:write')).organization_id;
  v_answer record;
begin
  perform engine.refuse_value(input, 'The input of a run');
  select a.run_id, a.error into v_answer
  from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', v_organization_id,
    'workflowId', private.workflow_named(v_organization_id, workflow),
    'mode', 'api',
    'input', coalesce(input, '{}'),
    'key', idempotency_key,
    'metadata', metadata,
    'origin', jsonb_build_object('application', private.application_role())
  ))) as a;
  if v_answer.run_id is null then
    perform private.raise_json_error(v_answer.error);
  end if;
  return v_answer.run_id;
end
$$;
comment on function public.flowgres_start(text, jsonb, text, jsonb) is
  'For roles of applications: starts a run of a published workflow, given by its name or id, in the caller''s transaction, and returns the id of the run. The same idempotency_key with the same input returns the same run for 7 days. Scope: runs:write, of engine.grant_application. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (several workflows have the name, or the key was used with another input), NOT_PUBLISHED, LIMIT_REACHED, TOO_LARGE, INVALID_ARGUMENT. Example: select flowgres_start(''order-intake'', ''{"total": 120}'', ''order-17'');';

-- Returns the workflow of an organization that has a name or an id.
create or replace function private.workflow_named(p_organization_id uuid, p_workflow text)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_ids uuid[];
begin
  v_ids := array(
    select w.id
    from public.workflows as w
    where w.organization_id = p_organization_id and w.name = p_workflow and w.archived_at is null
    limit 2
  );
  if cardinality(v_ids) = 0 and p_workflow ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    v_ids := array(
      select w.id from public.workflows as w where w.organization_id = p_organization_id and w.id = p_workflow::uuid
    );
  end if;
  if cardinality(v_ids) = 0 then
    perform private.raise_error(
      'NOT_FOUND', format('There is no workflow %L in this organization.', left(p_workflow, 200)),
      'Give the name of a workflow as it is written, or its id.'
    );
  elsif cardinality(v_ids) > 1 then
    perform private.raise_error(
      'CONFLICT', format('Several workflows are named %L.', p_workflow), 'Give the id of one, or rename the others.'
    );
  end if;
  return v_ids[1];
end
$$;
comment on function private.workflow_named(uuid, text) is
  'Returns the id of a workflow by its name or id. Raises NOT_FOUND, CONFLICT.';

create or replace function public.flowgres_caused_by(run uuid)
  returns void
  language plpgsql
  volatile
  security definer -- definer because it reads a run of the organization
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from public.workflow_runs as r
    where r.id = run and r.organization_id = (private.require_application('runs:write')).organization_id
  ) then
    perform private.raise_error('NOT_FOUND', 'There is no such run in this organization.');
  end if;
  perform set_config('flowgres.cause', run::text, true);
end
$$;
comment on function public.flowgres_caused_by(uuid) is
  'For roles of applications: says which run the rest of the transaction is done for, so that watched tables cut loops: a run that writes the table that started it. A request of a node has the id of its run at the start of its Idempotency-Key. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select flowgres_caused_by(''0190…'');';
