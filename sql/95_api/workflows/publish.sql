-- kind: code
-- Publishes a draft as the version that new runs use: validates and compiles it, registers its
-- webhooks and schedules. Writes public.workflow_versions, engine.compiled_versions,
-- public.workflows, and through 60_triggers public.webhooks and public.schedules. Locks the row of
-- the workflow, then publications of the organization (advisory).

create or replace function private.require_valid(p_definition jsonb)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_found constant jsonb := (
    select jsonb_object_agg(f.severity, f.problems)
    from (
      select p.severity, jsonb_agg(to_jsonb(p)) as problems
      from public.validate_workflow(p_definition) as p
      group by p.severity
    ) as f
  );
  v_problems constant jsonb := v_found -> 'error';
begin
  if v_problems is not null then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format(
        'The definition has %s problem(s), the first one: %s',
        jsonb_array_length(v_problems), v_problems -> 0 ->> 'message'
      ),
      'validate_workflow(definition) lists all of them, each with the place.',
      jsonb_build_object('problems', v_problems)
    );
  end if;
  return coalesce(jsonb_path_query_array(v_found -> 'notice', '$[0 to 99]'), '[]');
end
$$;
comment on function private.require_valid(jsonb) is
  'Validates a definition and returns its first 100 notices, [{"pointer", "code", "message", "severity"}]. Raises VALIDATION_FAILED with every error.';

create or replace function public.publish_workflow(id uuid, message text default null)
  returns public.workflow_versions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow constant public.workflows := private.lock_workflow(id);
  v_version public.workflow_versions;
  v_notices jsonb;
begin
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  elsif length(message) > 5000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A message has at most 5,000 characters.', null, '{"field": "message"}'
    );
  end if;

  v_notices := private.require_valid(v_workflow.definition);
  insert into public.workflow_versions (
    organization_id, workflow_id, version, definition, message, published_by, notices
  )
  select
    v_workflow.organization_id, v_workflow.id, coalesce(max(v.version), 0) + 1, v_workflow.definition,
    publish_workflow.message, public.current_user_id(), v_notices
  from public.workflow_versions as v
  where v.organization_id = v_workflow.organization_id and v.workflow_id = v_workflow.id
  returning * into v_version;

  insert into engine.compiled_versions (organization_id, workflow_id, version, nodes, vars, settings)
  select v_version.organization_id, v_version.workflow_id, v_version.version, p.nodes, p.vars, p.settings
  from engine.compile_version(v_version.definition) as p;

  update public.workflows as w
  set published_version = v_version.version, updated_at = now()
  where w.id = v_workflow.id;

  perform engine.register_webhooks(v_version.organization_id, v_version.workflow_id, v_version.version);
  perform engine.register_schedules(v_version.organization_id, v_version.workflow_id, v_version.version);
  return v_version;
end
$$;
comment on function public.publish_workflow(uuid, text) is
  'Publishes the draft as the next version, which new runs use from now on; unfinished runs keep their version. message says what changed, in at most 5,000 characters. notices of the version lists what validate_workflow found beside errors. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (archived, or a webhook path that another workflow serves), LIMIT_REACHED (1,000 schedules of an organization, or a workflow beyond the plan), VALIDATION_FAILED with all problems in details. Example: select version from publish_workflow(''0190…'', ''Larger orders'');';

create or replace function public.unpublish_workflow(id uuid)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.published_version is not null then
    perform engine.unregister_webhooks(v_workflow.organization_id, v_workflow.id);
    perform engine.unregister_schedules(v_workflow.organization_id, v_workflow.id);
    update public.workflows as w
    set published_version = null, updated_at = now()
    where w.id = v_workflow.id
    returning * into v_workflow;
  end if;
  return v_workflow;
end
$$;
comment on function public.unpublish_workflow(uuid) is
  'Unpublishes a workflow: no webhook, schedule or command starts a run of it until it is published again; unfinished runs go on. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select name from unpublish_workflow(''0190…'');';

grant execute on function public.publish_workflow(uuid, text), public.unpublish_workflow(uuid)
  to flowgres_user, flowgres_dba;
