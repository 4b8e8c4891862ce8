-- kind: code
-- Brings workflows and variables of an organization to the state of a set of documents, all in one
-- transaction, and says beforehand what that changes. Writes through other commands, and
-- public.workflows itself. Locks applications of the organization (advisory, first of all), then
-- the rows of the workflows in the order of their ids, then what publishing locks.

create or replace function public.apply_workflows(
  documents jsonb,
  variables jsonb default '{}',
  project text default 'default',
  prune boolean default false,
  message text default null
)
  returns setof public.workflow_change
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
  rows 20
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_changes public.workflow_change[];
  v_change public.workflow_change;
begin
  perform private.require_scope('workflows:write');
  perform private.check_documents(documents, variables, project);
  perform pg_advisory_xact_lock(hashtextextended(format('flowgres.apply %s', v_organization_id), 0));
  -- Lock all rows before the first publication: who publishes locks a workflow, then publications.
  perform from public.workflows as w
  where w.organization_id = v_organization_id and w.archived_at is null
    and (
      w.name in (select d.name from private.read_documents(documents) as d)
      or prune and w.project = apply_workflows.project
    )
  order by w.id
  for no key update;

  v_changes := array(
    select c from private.planned_changes(v_organization_id, documents, variables, project, prune) as c
  );
  foreach v_change in array v_changes loop
    return next private.apply_change(v_change, documents, variables, project, message);
  end loop;
end
$$;
comment on function public.apply_workflows(jsonb, jsonb, text, boolean, text) is
  'Creates, changes and publishes workflows so that they are as the documents say, [{"name", "description", "tags", "definition"}], and sets the variables, {"rate": 0.19}: all or nothing, in one transaction. A workflow is found by its name; what a document does not say is empty. Returns what has changed, also what was as it should be. Workflows remember their project: with prune those of the project without a document are archived, others never. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED with all problems in details, each with its workflow; CONFLICT (two workflows have the name, the workflow is of another project, the variable is secret, or a webhook path that another workflow serves), TOO_LARGE, LIMIT_REACHED. Example: select action, kind, name, version from apply_workflows(''[{"name": "Orders", "definition": {"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}}]'');';

grant execute on function public.apply_workflows(jsonb, jsonb, text, boolean, text) to flowgres_user, flowgres_dba;

-- Makes one change; returns it with the id and the version that it gave.
create or replace function private.apply_change(
  p_change public.workflow_change,
  p_documents jsonb,
  p_variables jsonb,
  p_project text,
  p_message text
)
  returns public.workflow_change
  language plpgsql
  volatile
as $$
declare
  v_change public.workflow_change := p_change;
  v_document record;
  v_message text;
  v_detail text;
  v_hint text;
begin
  if p_change.action = 'unchanged' then
    return v_change;
  elsif p_change.kind = 'variable' then
    perform public.set_variable(p_change.name, p_variables -> p_change.name);
    return v_change;
  elsif p_change.action = 'archive' then
    perform public.archive_workflow(p_change.workflow_id);
    v_change.version := null;
    return v_change;
  end if;
  select d.* into v_document from private.read_documents(p_documents) as d where d.name = p_change.name;
  if p_change.action = 'create' then
    select w.id into v_change.workflow_id
    from public.create_workflow(v_document.name, v_document.definition, v_document.description, v_document.tags) as w;
  else
    perform private.check_draft(v_document.name, v_document.description, v_document.definition);
  end if;
  update public.workflows as w
  set
    definition = v_document.definition,
    description = v_document.description,
    tags = private.clean_tags(v_document.tags),
    project = p_project,
    revision = w.revision + (w.definition is distinct from v_document.definition)::int,
    updated_at = now()
  where w.id = v_change.workflow_id;
  if p_change.action = 'create' or 'publication' = any (p_change.fields) then
    v_change.version := (public.publish_workflow(v_change.workflow_id, p_message)).version;
  end if;
  return v_change;
exception
  -- VALIDATION_FAILED, NOT_FOUND, CONFLICT, LIMIT_REACHED, TOO_LARGE: add whose problem it is.
  when sqlstate 'WF001' or sqlstate 'WF002' or sqlstate 'WF003' or sqlstate 'WF006' or sqlstate 'WF010' then
    get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
    perform private.raise_error(
      v_detail::jsonb ->> 'code', format('%s: %s', p_change.name, v_message), nullif(v_hint, ''),
      v_detail::jsonb - 'code' || jsonb_build_object('workflow', p_change.name)
    );
    return null;
end
$$;
comment on function private.apply_change(public.workflow_change, jsonb, jsonb, text, text) is
  'Makes one planned change and returns it. Raises what the commands raise, with the name of the workflow.';
