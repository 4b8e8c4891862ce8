-- kind: code
-- Workflows beyond the limit of the plan, as after a change to a smaller plan: the oldest stay
-- writable, the others are read-only until the plan has room for them. Their published versions
-- keep running. Writes and locks nothing.

-- The number of workflows of an organization, or of one of its teams, for the metric `workflows`.
-- p_time_range is not used: the metric counts what exists.
create or replace function private.count_workflows(
  p_organization_id uuid,
  p_time_range tstzrange default null,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select count(*)
  from public.workflows as w
  where w.organization_id = p_organization_id
    and w.archived_at is null
    and (p_team_id is null or w.team_id = p_team_id)
    and not exists (select from private.delivery_workflows as d where d.workflow_id = w.id)
$$;

-- Whether as many older workflows exist as the plan allows. Archived workflows do not count.
create or replace function private.is_over_limit(p_workflow public.workflows)
  returns boolean
  language plpgsql
  stable
as $$
declare
  v_limit constant bigint := private.limit_of(p_workflow.organization_id, 'workflows');
begin
  if v_limit is null or p_workflow.archived_at is not null then
    return false;
  end if;
  return v_limit <= (
    select count(*)
    from (
      select
      from public.workflows as w
      where w.organization_id = p_workflow.organization_id
        and (w.created_at, w.id) < (p_workflow.created_at, p_workflow.id)
        and w.archived_at is null
        and not exists (select from private.delivery_workflows as d where d.workflow_id = w.id)
      limit v_limit
    ) as older
  );
end
$$;

create or replace function private.require_within_limit(p_workflow public.workflows)
  returns void
  language plpgsql
  stable
as $$
declare
  v_limit constant bigint := private.limit_of(p_workflow.organization_id, 'workflows');
begin
  if private.is_over_limit(p_workflow) then
    perform private.raise_error(
      'LIMIT_REACHED',
      format('The workflow is beyond the %s that the organization may have; it is read-only.', v_limit),
      'Archive others, or change to a larger plan.',
      jsonb_build_object('metric', 'workflows', 'limit', v_limit, 'resetAt', null)
    );
  end if;
end
$$;

create or replace function public.workflows_is_over_limit(workflow public.workflows)
  returns boolean
  language sql
  stable
  security definer -- definer because plans are closed; it compares within the request's organization
  set search_path = pg_catalog, pg_temp
as $$
  select workflow.organization_id = public.current_organization_id() and private.is_over_limit(workflow)
$$;
comment on function public.workflows_is_over_limit(public.workflows) is
  'Whether the workflow is beyond the limit of the plan: it is then read-only, and its published version keeps running. Example: select w.name from workflows as w where workflows_is_over_limit(w);';

grant execute on function public.workflows_is_over_limit(public.workflows) to flowgres_user, flowgres_dba;
