-- kind: code
-- Templates are workflows that may be copied, by members of their organization or by everybody. A
-- copy is a new draft without any link to its template. Writes public.workflows; set_template locks
-- the row of the workflow.

create or replace function public.workflow_templates()
  returns setof public.workflow_template
  language plpgsql
  stable
  security definer -- definer because public templates are other organizations' rows
  set search_path = pg_catalog, pg_temp
  rows 50
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:read');
  return query
  select
    w.id, w.name, w.description, w.tags, private.template_definition(w), w.organization_id = v_organization_id
  from public.workflows as w
  where (w.template = 'public' or w.template = 'organization' and w.organization_id = v_organization_id)
    and w.archived_at is null
  order by w.organization_id = v_organization_id desc, w.name, w.id;
end
$$;
comment on function public.workflow_templates() is
  'The templates that the organization may copy: its own ones first, then the public ones, by name. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN. Example: select id, name from workflow_templates() where ''finance'' = any (tags);';

-- The definition to copy, without what belongs to the organization: names of credentials and pinned
-- outputs.
create or replace function private.template_definition(p_workflow public.workflows)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_set(d.definition, '{nodes}', coalesce(
    (
      select jsonb_agg(
        case jsonb_typeof(n.node) when 'object' then n.node - 'credentials' - 'pin' else n.node end order by n.place
      )
      from jsonb_path_query(d.definition, 'lax $.nodes[*]') with ordinality as n (node, place)
    ),
    '[]'
  ))
  from (
    select coalesce(
      (
        select v.definition
        from public.workflow_versions as v
        where v.organization_id = p_workflow.organization_id
          and v.workflow_id = p_workflow.id
          and v.version = p_workflow.published_version
      ),
      p_workflow.definition
    ) as definition
  ) as d
$$;

create or replace function public.set_template(id uuid, template text default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if template not in ('organization', 'public') then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A template is for the organization, or public.', null, '{"field": "template"}'
    );
  elsif template = 'public' and not private.is_dba() then
    perform private.raise_error('FORBIDDEN', 'Only a DBA makes a template public.');
  end if;
  update public.workflows as w
  set template = set_template.template, updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.set_template(uuid, text) is
  'Makes a workflow a template for the members of its organization (organization) or for everybody (public, only by a DBA without a context). null, the default, makes it no template again. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select template from set_template(''0190…'', ''organization'');';

create or replace function public.copy_template(id uuid, name text default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because a public template is another organization's row
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_template public.workflows;
begin
  perform private.require_scope('workflows:write');
  select w.* into v_template
  from public.workflows as w
  where w.id = copy_template.id
    and (w.template = 'public' or w.template = 'organization' and w.organization_id = v_organization_id)
    and w.archived_at is null;
  if v_template.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such template.', 'Query workflow_templates() lists them.');
  end if;
  return public.create_workflow(
    coalesce(copy_template.name, v_template.name),
    private.template_definition(v_template),
    v_template.description,
    v_template.tags
  );
end
$$;
comment on function public.copy_template(uuid, text) is
  'Creates a workflow of the organization with the template''s definition, description and tags, and its name unless another one is given. Credentials and pinned outputs are not copied. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, LIMIT_REACHED (workflows). Example: select id from copy_template(''0190…'', ''Our invoices'');';

create or replace function public.export_workflow(id uuid)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows as w where w.id = export_workflow.id;
  perform private.require_access(v_workflow.organization_id, 'workflows:read', 'workflow');
  return jsonb_build_object(
    'name', v_workflow.name,
    'description', v_workflow.description,
    'tags', to_jsonb(v_workflow.tags),
    'definition', v_workflow.definition
  );
end
$$;
comment on function public.export_workflow(uuid) is
  'Returns the draft as a document, {"name", "description", "tags", "definition"}: the arguments of create_workflow. It holds credentials only by name. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select export_workflow(''0190…'');';

grant execute on function
  public.set_template(uuid, text),
  public.workflow_templates(),
  public.copy_template(uuid, text),
  public.export_workflow(uuid)
  to flowgres_user, flowgres_dba;
