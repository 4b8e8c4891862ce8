-- kind: code
-- Counts the runs of a filter, up to a limit. Writes and locks nothing.

create or replace function public.workflow_run_count(filter jsonb default '{}')
  returns public.workflow_run_count
  language plpgsql
  stable
  security definer -- definer because policies would hide the conditions of the filter from indexes
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_filter constant jsonb := engine.checked_run_filter(coalesce(filter, '{}'));
begin
  perform private.require_scope('runs:read');
  return engine.count_runs(v_organization_id, v_filter);
end
$$;
comment on function public.workflow_run_count(jsonb) is
  'Counts the runs that match a filter: an object with any of id, workflowId, parentRunId, startedById, status, mode, triggerNode, errorCode, version, each with a condition of equalTo, notEqualTo, in, isNull; startedAt, finishedAt, durationMs with lessThan, lessThanOrEqualTo, greaterThan, greaterThanOrEqualTo; metadata with contains (an object) or text (anywhere in it). In SQL a value stands for equalTo and a list for in. Counts at most 100,000: is_exact says whether these are all. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select count from workflow_run_count(''{"status": ["error"], "startedAt": {"greaterThan": "2026-11-21"}}'');';

grant execute on function public.workflow_run_count(jsonb) to flowgres_user, flowgres_dba;

-- Counts the runs of an organization that match a checked filter. Callers plan for the values of the
-- filter (plan_cache_mode = force_custom_plan).
create or replace function engine.count_runs(p_organization_id uuid, p_filter jsonb)
  returns public.workflow_run_count
  language plpgsql
  stable
as $$
declare
  v_most constant int := engine.max_counted_runs();
  v_count public.workflow_run_count;
begin
  select least(count(*), v_most), count(*) <= v_most
  into v_count
  from (
    select
    from public.workflow_runs as r
    where r.organization_id = p_organization_id and engine.run_matches(r, p_filter)
    limit v_most + 1
  ) as found;
  return v_count;
end
$$;
