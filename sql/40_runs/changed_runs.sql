-- kind: code
-- What a subscription to runs reads: the runs that have started or may have changed since its
-- cursor. Writes and locks nothing.

-- Returns the runs of the organization of the request, of one workflow if it is given, oldest first:
-- those that began after the cursor without the known ones, at most p_limit, and the open ones.
-- Without a cursor (null): the latest. The first row has only the organization.
create or replace function engine.changed_runs(
  p_workflow_id uuid,
  p_after_id uuid,
  p_known_ids uuid[],
  p_open_ids uuid[],
  p_filter jsonb,
  p_limit int
)
  returns table (organization_id uuid, run_id uuid, workflow_id uuid, status text, matches boolean)
  language plpgsql
  stable
  security definer -- definer because policies would hide the conditions of the filter from indexes
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
  v_organization_id constant uuid := private.acting_organization();
  v_filter constant jsonb := engine.checked_run_filter(coalesce(p_filter, '{}'));
  v_ids uuid[];
begin
  perform private.require_scope('runs:read');
  if p_workflow_id is not null and not exists (
    select
    from public.workflows as w
    where w.id = p_workflow_id and w.organization_id = v_organization_id
  ) then
    perform private.raise_error('NOT_FOUND', 'There is no such workflow in this organization.');
  end if;
  v_ids := engine.started_runs(v_organization_id, p_workflow_id, p_after_id, p_known_ids, p_limit) || p_open_ids;
  return query
    select v_organization_id, null::uuid, null::uuid, null::text, false
    union all
    (
      select r.organization_id, r.id, r.workflow_id, r.status, engine.run_matches(r, v_filter)
      from public.workflow_runs as r
      where r.id = any (v_ids)
        and r.organization_id = v_organization_id
        and (p_workflow_id is null or r.workflow_id = p_workflow_id)
      order by r.id
    );
end
$$;

-- Returns the ids of the runs that began after p_after_id, without p_known_ids; of the latest when p_after_id
-- is null. At most p_limit.
create or replace function engine.started_runs(
  p_organization_id uuid,
  p_workflow_id uuid,
  p_after_id uuid,
  p_known_ids uuid[],
  p_limit int
)
  returns uuid[]
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
begin
  if p_after_id is null then
    return array(
      select r.id
      from public.workflow_runs as r
      where r.organization_id = p_organization_id
        and (p_workflow_id is null or r.workflow_id = p_workflow_id)
      order by r.id desc
      limit p_limit
    );
  end if;
  return array(
    select r.id
    from public.workflow_runs as r
    where r.organization_id = p_organization_id
      and (p_workflow_id is null or r.workflow_id = p_workflow_id)
      and r.id > p_after_id
      and r.id <> all (p_known_ids)
    order by r.id
    limit p_limit
  );
end
$$;

grant execute on function engine.changed_runs(uuid, uuid, uuid[], uuid[], jsonb, int) to flowgres_user;
