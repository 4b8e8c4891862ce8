-- kind: code
-- Commands on many runs: they return at once, workers do the work, and the bulk operation shows the
-- progress. Writes public.bulk_operations and adds a job, through engine.start_bulk_operation();
-- locks nothing.

create or replace function private.run_filter_schema(p_command text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'object',
    'additionalProperties', false,
    'properties', jsonb_build_object(
      'workflowId', '{"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}'::jsonb,
      'status', jsonb_build_object('enum', case p_command
        when 'cancel' then '["waiting", "running", "paused"]'::jsonb
        else '["error", "canceled"]'
      end),
      'mode', '{"enum": ["manual", "webhook", "api", "schedule", "retry", "fork", "error", "child", "table"]}'::jsonb,
      'startedAfter', '{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"}'::jsonb,
      'startedBefore', '{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}"}'::jsonb,
      'errorCode', '{"type": "string"}'::jsonb,
      'metadata', '{"type": "object"}'::jsonb
    )
  )
$$;
comment on function private.run_filter_schema(text) is 'The JSON schema of the filter of a command on many runs.';

create or replace function private.checked_run_filter(p_command text, p_filter jsonb, p_reason text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_problems jsonb;
begin
  if pg_column_size(p_filter) > engine.max_small_value_bytes() then
    perform private.raise_error('TOO_LARGE', format(
      'A filter is at most %s.', private.size_text(engine.max_small_value_bytes())
    ));
  end if;
  select jsonb_agg(to_jsonb(p)) into v_problems
  from engine.schema_problems(coalesce(p_filter, 'null'), private.run_filter_schema(p_command)) as p;
  if v_problems is null then
    begin
      perform (p_filter ->> 'startedAfter')::timestamptz, (p_filter ->> 'startedBefore')::timestamptz;
    exception
      when data_exception then
        v_problems := jsonb_build_array(jsonb_build_object('message', sqlerrm));
    end;
  end if;
  if v_problems is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      format('The filter is not valid: %s %s', v_problems -> 0 ->> 'pointer', v_problems -> 0 ->> 'message'),
      'An empty object, {}, is every run that the command fits.',
      jsonb_build_object('problems', v_problems)
    );
  end if;
  return p_filter || jsonb_strip_nulls(jsonb_build_object('reason', left(p_reason, 1000)));
end
$$;
comment on function private.checked_run_filter(text, jsonb, text) is
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
    v_organization_id, p_command, private.checked_run_filter(p_command, p_filter, p_reason), public.current_user_id()
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
  'Cancels the unfinished runs that match the filter: an object with any of workflowId, status (waiting, running or paused), mode, startedAfter, startedBefore, metadata (an object that the run''s metadata contains). Returns a bulk operation at once; its field done counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select id, total from cancel_runs(''{"workflowId": "0190…", "status": "waiting"}'', ''wrong import'');';

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
  'Retries the failed runs that match the filter and were not retried yet, as retry_run does: an object with any of workflowId, status (error, or canceled for canceled runs), mode, errorCode, startedAfter, startedBefore, metadata (an object that the run''s metadata contains). Returns a bulk operation at once; its field done counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (a filter above 64 KiB). Example: select id, total from retry_runs(''{"errorCode": "HTTP_STATUS", "startedAfter": "2026-11-21"}'');';

grant execute on function public.cancel_runs(jsonb, text), public.retry_runs(jsonb) to flowgres_user, flowgres_dba;
