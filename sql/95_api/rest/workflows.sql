-- kind: code
-- Workflows as the REST interface shows them, and as documents for files. Each function checks
-- access first. Writes and locks nothing.

-- p_after: the name of the last workflow of the page before.
create or replace function engine.show_workflows(p_name text, p_after text, p_limit int)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan -- the conditions that are not given must not decide the plan
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:read');
  return (
    select jsonb_build_object('workflows', coalesce(
      jsonb_agg(
        jsonb_build_object(
          'id', w.id, 'name', w.name, 'description', w.description, 'tags', to_jsonb(w.tags), 'project', w.project,
          'publishedVersion', w.published_version, 'updatedAt', w.updated_at
        )
        order by w.name, w.id
      ),
      '[]'
    ))
    from (
      select w.* from public.workflows as w
      where w.organization_id = v_organization_id
        and w.archived_at is null
        and (p_name is null or w.name = p_name)
        and (p_after is null or w.name > p_after)
      order by w.name, w.id
      limit p_limit
    ) as w
  );
end
$$;
comment on function engine.show_workflows(text, text, int) is
  'Returns workflows of the organization that are not archived, by name. Scope: workflows:read. Raises UNAUTHENTICATED, FORBIDDEN.';

create or replace function engine.export_documents(p_project text)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:read');
  return jsonb_build_object(
    'documents', coalesce(
      (
        select jsonb_agg(
          jsonb_build_object(
            'name', w.name, 'description', w.description, 'tags', to_jsonb(w.tags), 'definition', w.definition
          )
          order by w.name, w.id
        )
        from public.workflows as w
        where w.organization_id = v_organization_id
          and w.archived_at is null
          and (p_project is null or w.project = p_project)
          and not exists (select from private.delivery_workflows as d where d.workflow_id = w.id)
      ),
      '[]'
    ),
    'variables', coalesce(
      (
        select jsonb_object_agg(v.name, v.value)
        from public.variables as v
        where v.organization_id = v_organization_id and not v.is_secret
      ),
      '{}'
    )
  );
end
$$;
comment on function engine.export_documents(text) is
  'Returns the drafts of the organization, or of one of its projects, as documents that apply_workflows takes, and the variables that are not secret. Scope: workflows:read. Raises UNAUTHENTICATED, FORBIDDEN.';

-- The schema of the input that a run started by the API has; {} when the workflow sets none.
create or replace function engine.workflow_input_schema(p_workflow_id uuid)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because nobody else reads compiled versions
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows;
  v_nodes engine.compiled_node[];
begin
  select w.* into v_workflow from public.workflows as w where w.id = p_workflow_id;
  perform private.require_access(v_workflow.organization_id, 'workflows:read', 'workflow');
  select c.nodes into v_nodes
  from engine.compiled_versions as c
  where c.organization_id = v_workflow.organization_id
    and c.workflow_id = v_workflow.id and c.version = v_workflow.published_version;
  return jsonb_build_object(
    'id', v_workflow.id,
    'name', v_workflow.name,
    'description', v_workflow.description,
    'version', v_workflow.published_version,
    'input', coalesce((
      select n.properties -> 'input' from unnest(v_nodes) as n where n.id = engine.trigger_for(v_nodes, 'api')
    ), '{}')
  );
end
$$;
comment on function engine.workflow_input_schema(uuid) is
  'Returns {"id", "name", "description", "version", "input"} of a workflow: what its OpenAPI document is made of. Scope: workflows:read. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

grant execute on function
  engine.show_workflows(text, text, int),
  engine.export_documents(text),
  engine.workflow_input_schema(uuid)
  to flowgres_user, flowgres_dba;
