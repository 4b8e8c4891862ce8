-- kind: code
-- Creates, saves, archives and assigns workflows; publish.sql publishes them. Writes
-- public.workflows and through 60_triggers public.webhooks and public.schedules. Every change of a
-- workflow locks its row first.

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
  if exists (select from private.delivery_workflows as d where d.workflow_id = p_id) then
    perform private.raise_error(
      'CONFLICT', 'This workflow sends the messages of webhook endpoints; it cannot be changed.',
      'Change the endpoints: update_webhook_endpoint().'
    );
  end if;
  select w.* into strict v_workflow from public.workflows as w where w.id = p_id for no key update;
  return v_workflow;
end
$$;
comment on function private.lock_workflow(uuid) is
  'Returns the workflow that a command changes, and locks its row. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function private.check_draft(p_name text, p_description text, p_definition jsonb)
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.check_name(p_name);
  if length(p_description) > 5000 then
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
  end if;
  perform engine.refuse_value(p_definition, 'The definition');
end
$$;
comment on function private.check_draft(text, text, jsonb) is
  'Checks what even a draft must fulfil; null values are not checked. Raises VALIDATION_FAILED, TOO_LARGE.';

-- Returns each tag once, sorted, without white space around it. Raises VALIDATION_FAILED.
create or replace function private.clean_tags(p_tags text[])
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_tags constant text[] := array(select distinct btrim(t.tag) from unnest(p_tags) as t (tag) order by 1);
begin
  if not private.are_tags(v_tags) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A workflow has at most 20 tags, each of 1 to 50 characters in one line.', null,
      '{"field": "tags"}'
    );
  end if;
  return v_tags;
end
$$;

create or replace function public.create_workflow(
  name text,
  definition jsonb,
  description text default null,
  tags text[] default null
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
  insert into public.workflows (organization_id, name, description, definition, created_by, tags)
  values (
    v_organization_id, create_workflow.name, create_workflow.description, create_workflow.definition,
    public.current_user_id(), private.clean_tags(create_workflow.tags)
  )
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.create_workflow(text, jsonb, text, text[]) is
  'Creates a workflow with a draft, which may still be invalid: publish_workflow checks it. tags: at most 20, each of at most 50 characters. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (a definition above 1 MiB), LIMIT_REACHED (workflows). Example: select id from create_workflow(''Orders'', ''{"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}'');';

create or replace function public.save_workflow(
  id uuid,
  definition jsonb,
  expected_revision int,
  name text default null,
  description text default null,
  tags text[] default null
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
    tags = case when save_workflow.tags is null then w.tags else private.clean_tags(save_workflow.tags) end,
    revision = w.revision + 1,
    updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.save_workflow(uuid, jsonb, int, text, text, text[]) is
  'Replaces the draft; name, description and tags stay unchanged when they are not given. expected_revision is the revision that the change is based on. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (another revision, with the current one in details; or archived), VALIDATION_FAILED, TOO_LARGE, LIMIT_REACHED (beyond the plan: read-only). Example: select revision from save_workflow(''0190…'', ''{"nodes": [], "connections": []}'', 3);';

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
  'Archives a workflow and unpublishes it for good. Its versions and runs stay readable; unfinished runs go on. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select archived_at from archive_workflow(''0190…'');';

create or replace function public.assign_workflow(id uuid, team uuid default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.team_id is distinct from team and team is not null and v_workflow.archived_at is null then
    perform private.admit(v_workflow.organization_id, 'workflows', p_team_id => team);
  end if;
  update public.workflows as w
  set team_id = assign_workflow.team, updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
exception
  when foreign_key_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
    return null;
end
$$;
comment on function public.assign_workflow(uuid, uuid) is
  'Assigns a workflow to a team, or to none when team is null or not given. Every member of the organization still sees it. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or the team), LIMIT_REACHED (the team''s workflows). Example: select team_id from assign_workflow(''0190…'', ''0191…'');';

grant execute on function
  public.assign_workflow(uuid, uuid),
  public.create_workflow(text, jsonb, text, text[]),
  public.save_workflow(uuid, jsonb, int, text, text, text[]),
  public.archive_workflow(uuid)
  to flowgres_user, flowgres_dba;
