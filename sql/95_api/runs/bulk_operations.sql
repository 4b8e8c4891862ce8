-- kind: code
-- Commands on many runs: they return at once, workers do the work, and the bulk operation shows the
-- progress. Writes public.bulk_operations and adds a job, through engine.start_bulk_operation();
-- locks nothing.

create or replace function private.command_filter(p_command text, p_filter jsonb, p_reason text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_filter constant jsonb := engine.checked_run_filter(p_filter);
  v_statuses constant text[] := engine.command_statuses(p_command, v_filter);
begin
  if v_filter ? 'status'
    and not exists (select from unnest(v_statuses) as s where engine.text_matches(s, v_filter -> 'status'))
  then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      format('The filter is not valid: /status names no status of runs to %s.', p_command),
      format('The status is one of %s.', array_to_string(v_statuses, ', ')),
      jsonb_build_object('field', 'filter')
    );
  end if;
  return v_filter || jsonb_strip_nulls(jsonb_build_object('reason', left(p_reason, 1000)));
end
$$;
comment on function private.command_filter(text, jsonb, text) is
  'Checks the filter of a command on many runs; returns it with the reason, as a bulk operation keeps it. Raises INVALID_ARGUMENT, TOO_LARGE.';

create or replace function private.command_runs(p_command text, p_filter jsonb, p_reason text)
  returns public.bulk_operations
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('runs:write');
  return engine.start_bulk_operation(
    v_organization_id, p_command, private.command_filter(p_command, p_filter, p_reason), public.current_user_id()
  );
end
$$;
comment on function private.command_runs(text, jsonb, text) is
  'Begins a command on many runs of the organization of the request. Raises UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE.';

create or replace function public.cancel_runs(filter jsonb, reason text default null)
  returns public.bulk_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs('cancel', filter, reason)
$$;
comment on function public.cancel_runs(jsonb, text) is
  'Cancels the unfinished runs that match the filter, which is that of workflow_run_count. Returns a bulk operation at once; its field done counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select id, total from cancel_runs(''{"workflowId": "0190…", "status": "waiting"}'', ''wrong import'');';

create or replace function public.retry_runs(filter jsonb)
  returns public.bulk_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs('retry', filter, null)
$$;
comment on function public.retry_runs(jsonb) is
  'Retries the failed runs that match the filter and were not retried yet, as retry_run does; canceled ones, too, if the filter names that status. The filter is that of workflow_run_count. Returns a bulk operation at once; its field done counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select id, total from retry_runs(''{"errorCode": "HTTP_STATUS", "startedAt": {"greaterThan": "2026-11-21"}}'');';

grant execute on function public.cancel_runs(jsonb, text), public.retry_runs(jsonb) to flowgres_user, flowgres_dba;
