-- kind: code
-- Drafts. Every change locks the workflow first; publishing is in publish.sql.

create or replace function private.lock_workflow(p_id uuid)
  returns public.workflows
  language plpgsql
  volatile
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows as w where w.id = p_id;
  perform private.require_access(v_workflow.organization_id, 'workflows:write', 'workflow');
  select w.* into strict v_workflow from public.workflows as w where w.id = p_id for no key update;
  return v_workflow;
end
$$;
comment on function private.lock_workflow(uuid) is
  'The workflow that a command changes, locked. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function private.check_draft(p_name text, p_description text, p_definition jsonb)
  returns void
  language plpgsql
  immutable
as $$
begin
  if btrim(p_name) = '' or length(p_name) > 200 then
    perform private.raise_error('VALIDATION_FAILED', 'A name has 1 to 200 characters.', null, '{"field": "name"}');
  elsif length(p_description) > 5000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A description has at most 5,000 characters.', null, '{"field": "description"}'
    );
  elsif jsonb_typeof(p_definition) <> 'object' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A definition is an object: {"nodes": [], "connections": []}.',
      null,
      '{"field": "definition"}'
    );
  elsif octet_length(p_definition::text) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'A definition is at most 1 MiB.');
  end if;
end
$$;
comment on function private.check_draft(text, text, jsonb) is
  'What even a draft must keep to; nulls pass. Raises VALIDATION_FAILED, TOO_LARGE.';

create or replace function public.create_workflow(
  name text,
  definition jsonb,
  description text default null
)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_workflow public.workflows;
begin
  perform private.require_scope('workflows:write');
  perform private.check_draft(coalesce(name, ''), description, coalesce(definition, 'null'));
  perform private.admit(v_organization_id, 'workflows');
  insert into public.workflows (organization_id, name, description, definition, created_by)
  values (
    v_organization_id, create_workflow.name, create_workflow.description, create_workflow.definition,
    public.current_user_id()
  )
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.create_workflow(text, jsonb, text) is
  'Creates a workflow with a draft, which may still be invalid: publish_workflow checks it. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (a definition above 1 MiB), LIMIT_REACHED (workflows). Example: select id from create_workflow(''Orders'', ''{"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}'');';

create or replace function public.save_workflow(
  id uuid,
  definition jsonb,
  expected_revision int,
  name text default null,
  description text default null
)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  perform private.check_draft(name, description, coalesce(definition, 'null'));
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  elsif v_workflow.revision is distinct from expected_revision then
    perform private.raise_error(
      'CONFLICT',
      format('The draft is at revision %s.', v_workflow.revision),
      'Somebody else saved it: read it again, merge and save with its revision.',
      jsonb_build_object('revision', v_workflow.revision)
    );
  end if;
  update public.workflows as w
  set
    definition = save_workflow.definition,
    name = coalesce(save_workflow.name, w.name),
    description = coalesce(save_workflow.description, w.description),
    revision = w.revision + 1,
    updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.save_workflow(uuid, jsonb, int, text, text) is
  'Replaces the draft; name and description stay when not given. expected_revision is the revision that the change is based on. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (another revision, with the current one in details; or archived), VALIDATION_FAILED, TOO_LARGE, LIMIT_REACHED (beyond the plan: read-only). Example: select revision from save_workflow(''0190…'', ''{"nodes": [], "connections": []}'', 3);';

create or replace function public.archive_workflow(id uuid)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.archived_at is null then
    perform engine.unregister_webhooks(v_workflow.organization_id, v_workflow.id);
    perform engine.unregister_schedules(v_workflow.organization_id, v_workflow.id);
    update public.workflows as w
    set archived_at = engine.now(), published_version = null, updated_at = now()
    where w.id = v_workflow.id
    returning * into v_workflow;
  end if;
  return v_workflow;
end
$$;
comment on function public.archive_workflow(uuid) is
  'Unpublishes a workflow for good; its versions and runs stay readable, unfinished runs go on. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select archived_at from archive_workflow(''0190…'');';

grant execute on function
  public.create_workflow(text, jsonb, text),
  public.save_workflow(uuid, jsonb, int, text, text),
  public.archive_workflow(uuid)
  to flowgres_user, flowgres_dba;
