-- kind: code
-- Commands of a DBA on runs of many organizations: one bulk operation for each organization that
-- has such runs, which that organization sees like its own. Workers treat it like any other. Writes
-- public.bulk_operations and adds jobs, through engine.start_bulk_operation(); locks nothing.

create or replace function private.command_runs_everywhere(
  p_command text,
  p_filter jsonb,
  p_organization_ids uuid[],
  p_reason text
)
  returns setof public.bulk_operations
  language plpgsql
  volatile
as $$
declare
  v_probe public.bulk_operations;
begin
  v_probe.command := p_command;
  v_probe.filter := private.command_filter(p_command, p_filter, p_reason);
  v_probe.created_at := engine.now();
  for v_probe.organization_id in
    select o.id
    from public.organizations as o
    where o.deleted_at is null
      and (p_organization_ids is null or o.id = any (p_organization_ids))
    order by o.id
  loop
    continue when not exists (select from engine.bulk_operation_runs(v_probe, 1));
    return next engine.start_bulk_operation(v_probe.organization_id, p_command, v_probe.filter, null);
  end loop;
end
$$;
comment on function private.command_runs_everywhere(text, jsonb, uuid[], text) is
  'Begins a command on many runs in each of the organizations (null: in all) that has such runs. Raises INVALID_ARGUMENT, TOO_LARGE.';

create or replace function engine.cancel_runs_everywhere(
  filter jsonb,
  organizations uuid[] default null,
  reason text default null
)
  returns setof public.bulk_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs_everywhere('cancel', filter, organizations, reason)
$$;
comment on function engine.cancel_runs_everywhere(jsonb, uuid[], text) is
  'For DBAs: does cancel_runs() in every organization, or in the given ones, and returns a bulk operation for each that has such runs. monitor.bulk_operations() shows their progress. Errors: INVALID_ARGUMENT, TOO_LARGE. Example: select organization_id, total from engine.cancel_runs_everywhere(''{"status": "waiting"}'', reason => ''the peer is gone'')';

create or replace function engine.retry_runs_everywhere(filter jsonb, organizations uuid[] default null)
  returns setof public.bulk_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs_everywhere('retry', filter, organizations, null)
$$;
comment on function engine.retry_runs_everywhere(jsonb, uuid[]) is
  'For DBAs: does retry_runs() in every organization, or in the given ones, and returns a bulk operation for each that has such runs. monitor.bulk_operations() shows their progress. Errors: INVALID_ARGUMENT, TOO_LARGE. Example: select organization_id, total from engine.retry_runs_everywhere(''{"errorCode": "HTTP_STATUS"}'')';

grant execute on function
  engine.cancel_runs_everywhere(jsonb, uuid[], text),
  engine.retry_runs_everywhere(jsonb, uuid[])
  to flowgres_dba;
