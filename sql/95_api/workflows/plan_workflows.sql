-- kind: code
-- Compares documents of workflows and variables with what an organization has. Writes and locks
-- nothing.

create or replace function public.plan_workflows(
  documents jsonb,
  variables jsonb default '{}',
  project text default 'default',
  prune boolean default false
)
  returns setof public.workflow_change
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
  rows 20
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:read');
  perform private.check_documents(documents, variables, project);
  return query
  select c.* from private.planned_changes(v_organization_id, documents, variables, project, prune) as c;
end
$$;
comment on function public.plan_workflows(jsonb, jsonb, text, boolean) is
  'Returns what apply_workflows would change, and changes nothing. Limits of the plan and webhook paths of other workflows are checked by apply_workflows only. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED with all problems in details, CONFLICT (two workflows have the name, the workflow is of another project, or the variable is secret), TOO_LARGE. Example: select action, kind, name, fields from plan_workflows(''[{"name": "Orders", "definition": {"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}}]'', prune => true) where action <> ''unchanged'';';

grant execute on function public.plan_workflows(jsonb, jsonb, text, boolean) to flowgres_user, flowgres_dba;

-- Compares documents and variables, whose shape has been checked, with what the organization has.
-- Returns what is to be changed, in the order in which it is applied: workflows to archive, whose
-- webhook paths others may take over, then variables, then workflows, each by name.
create or replace function private.planned_changes(
  p_organization_id uuid,
  p_documents jsonb,
  p_variables jsonb,
  p_project text,
  p_prune boolean
)
  returns setof public.workflow_change
  language plpgsql
  stable
as $$
begin
  perform private.check_applicable(p_organization_id, p_documents, p_project);
  perform private.refuse_secret_variables(p_organization_id, p_variables);
  if p_prune then
    return query
    select 'workflow', w.name, 'archive', '{}'::text[], w.id, w.published_version
    from public.workflows as w
    where w.organization_id = p_organization_id and w.project = p_project and w.archived_at is null
      and not exists (select from private.read_documents(p_documents) as d where d.name = w.name)
    order by w.name collate "C", w.id;
  end if;
  return query
  select
    'variable', n.name,
    case when v.name is null then 'create' when v.value = n.value then 'unchanged' else 'change' end,
    case when v.value <> n.value then '{value}' else '{}' end::text[], null::uuid, null::int
  from jsonb_each(p_variables) as n (name, value)
  left join public.variables as v on v.organization_id = p_organization_id and v.name = n.name
  order by n.name collate "C";
  return query
  select
    'workflow', d.name,
    case when w.id is null then 'create' when cardinality(f.fields) = 0 then 'unchanged' else 'change' end,
    case when w.id is null then '{}' else f.fields end, w.id, w.published_version
  from private.read_documents(p_documents) as d
  left join public.workflows as w
    on w.organization_id = p_organization_id and w.name = d.name and w.archived_at is null
  left join public.workflow_versions as v
    on v.organization_id = w.organization_id and v.workflow_id = w.id and v.version = w.published_version
  cross join lateral (
    select array_remove(array[
      case when w.definition is distinct from d.definition then 'definition' end,
      case when w.description is distinct from d.description then 'description' end,
      case when w.tags is distinct from d.tags then 'tags' end,
      case when v.definition is distinct from d.definition then 'publication' end,
      case when w.project is distinct from p_project then 'project' end
    ], null) as fields
  ) as f
  order by d.name collate "C";
end
$$;

-- Raises CONFLICT for a variable whose value is secret: documents hold no secrets.
create or replace function private.refuse_secret_variables(p_organization_id uuid, p_variables jsonb)
  returns void
  language plpgsql
  stable
as $$
declare
  v_name constant text := (
    select min(v.name) from public.variables as v
    where v.organization_id = p_organization_id and v.is_secret and p_variables ? v.name
  );
begin
  if v_name is not null then
    perform private.raise_error(
      'CONFLICT', format('The variable %L is secret; a document cannot set it.', v_name),
      'Remove it from the documents, or delete it first: delete_variable(name).', jsonb_build_object('variable', v_name)
    );
  end if;
end
$$;

-- Raises CONFLICT for a name that does not identify a workflow of the project, and VALIDATION_FAILED
-- with the first 100 problems of all definitions.
create or replace function private.check_applicable(
  p_organization_id uuid,
  p_documents jsonb,
  p_project text
)
  returns void
  language plpgsql
  stable
as $$
declare
  v_found record;
  v_problems jsonb;
begin
  select w.name, count(*) as count, max(w.project) filter (where w.project <> p_project) as project,
    bool_or(exists (select from private.delivery_workflows as s where s.workflow_id = w.id)) as is_delivery
  into v_found
  from private.read_documents(p_documents) as d
  join public.workflows as w on w.organization_id = p_organization_id and w.name = d.name and w.archived_at is null
  group by w.name
  having count(*) > 1 or bool_or(w.project <> p_project)
    or bool_or(exists (select from private.delivery_workflows as s where s.workflow_id = w.id))
  order by w.name collate "C"
  limit 1;
  if v_found.is_delivery then
    perform private.raise_error(
      'CONFLICT', format('%L sends the messages of webhook endpoints.', v_found.name),
      'Give the document another name.',
      jsonb_build_object('workflow', v_found.name)
    );
  elsif v_found.count > 1 then
    perform private.raise_error(
      'CONFLICT', format('%s workflows have the name %L.', v_found.count, v_found.name),
      'Rename or archive all but one: documents are matched by name.', jsonb_build_object('workflow', v_found.name)
    );
  elsif v_found.project is not null then
    perform private.raise_error(
      'CONFLICT', format('The workflow %L is of the project %L.', v_found.name, v_found.project),
      'Apply it with that project, or give the document another name.', jsonb_build_object('workflow', v_found.name)
    );
  end if;
  select jsonb_agg(f.problem order by f.place) into v_problems
  from (
    select jsonb_build_object('workflow', d.name) || to_jsonb(p) as problem,
      row_number() over (order by d.name collate "C", p.pointer collate "C", p.code collate "C") as place
    from private.read_documents(p_documents) as d
    cross join lateral public.validate_workflow(d.definition) as p
    where p.severity = 'error'
      and not exists (
        select from public.workflows as w
        join public.workflow_versions as v
          on v.organization_id = w.organization_id and v.workflow_id = w.id and v.version = w.published_version
        where w.organization_id = p_organization_id and w.name = d.name and v.definition = d.definition
      )
    limit 100
  ) as f;
  if v_problems is not null then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format('%s: %s: %s', v_problems #>> '{0,workflow}', v_problems #>> '{0,pointer}', v_problems #>> '{0,message}'),
      'details.problems has all of them, each with its workflow and place.', jsonb_build_object('problems', v_problems)
    );
  end if;
end
$$;
