-- kind: code
-- Delivers a request to a webhook again: a new run with the input of the old one. Starts the run by
-- engine.start_runs(), which writes and locks as for any start.

create or replace function public.redeliver_webhook(delivery uuid)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_delivery public.webhook_deliveries;
  v_input jsonb;
  v_started record;
  v_run public.workflow_runs;
begin
  select d.* into v_delivery from public.webhook_deliveries as d where d.id = delivery;
  perform private.require_access(v_delivery.organization_id, 'runs:write', 'delivery');
  if v_delivery.run_id is null then
    perform private.raise_error(
      'CONFLICT', 'The request was refused, so there is nothing to deliver again.',
      'Let its sender repeat it.', jsonb_build_object('error', v_delivery.error)
    );
  end if;
  select e.payload -> 'input' into v_input
  from public.get_workflow_run_events(v_delivery.run_id) as e
  where e.seq = 1;
  if v_input is null then
    perform private.raise_error('EXPIRED', 'The log of the run has expired, and with it the request.');
  end if;
  select s.run_id, s.error into v_started
  from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', v_delivery.organization_id,
    'workflowId', v_delivery.workflow_id,
    'mode', 'webhook',
    'trigger', v_delivery.node,
    'input', v_input,
    'startedBy', public.current_user_id(),
    'metadata', jsonb_build_object('redeliveryOf', v_delivery.run_id)
  ))) as s;
  if v_started.run_id is null then
    perform private.raise_json_error(v_started.error);
  end if;
  select r.* into strict v_run from public.workflow_runs as r where r.id = v_started.run_id;
  return v_run;
end
$$;
comment on function public.redeliver_webhook(uuid) is
  'Delivers a request to a webhook again: starts a run of the version that is published now, with the request of that delivery as its input and {"redeliveryOf": the old run} in its metadata. A request that was refused cannot be delivered again. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (it was refused), EXPIRED (its run is gone), NOT_PUBLISHED, LIMIT_REACHED. Example: select id from redeliver_webhook(''0190…'');';

grant execute on function public.redeliver_webhook(uuid) to flowgres_user, flowgres_dba;
