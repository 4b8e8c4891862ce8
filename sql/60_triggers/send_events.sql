-- kind: code
-- Sends the messages for webhook endpoints: hands what is queued to runs, tells workers where to,
-- and records what came of it. Writes private.webhook_events and public.webhook_endpoints, whose
-- rows it locks, and starts runs by engine.start_runs().

-- Starts a run for each message. The messages are deleted in the same transaction, and the key of a
-- start is that of its message, so each is sent by one run.
create or replace function engine.send_webhook_events(p_limit int default 500)
  returns int
  language plpgsql
  volatile
  security definer -- definer because only the engine starts runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_requests jsonb;
begin
  if engine.copy_problem() is not null then
    return 0;
  end if;
  with claimed as (
    select w.id
    from private.webhook_events as w
    order by w.id
    limit p_limit
    for update skip locked
  ),
  sent as (
    delete from private.webhook_events as w
    using claimed as c
    where w.id = c.id
    returning w.*
  )
  select jsonb_agg(engine.delivery_request(s, d.workflow_id) order by s.id) into v_requests
  from sent as s
  join private.delivery_workflows as d on d.organization_id = s.organization_id;
  if v_requests is null then
    return 0;
  end if;
  perform from engine.start_runs(v_requests);
  return jsonb_array_length(v_requests);
end
$$;
comment on function engine.send_webhook_events(int) is
  'Starts the runs that send what is queued for webhook endpoints, at most p_limit, and returns how many. Workers call it every 5 seconds. Example: select engine.send_webhook_events();';

create or replace function engine.delivery_request(p_event private.webhook_events, p_workflow_id uuid)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'organizationId', p_event.organization_id,
    'workflowId', p_workflow_id,
    'mode', 'api',
    'key', left(format('%s %s %s', p_event.endpoint_id, p_event.event, p_event.key), 256),
    'fingerprint', p_event.key,
    'metadata', jsonb_build_object('endpoint', p_event.endpoint_id, 'event', p_event.event),
    'input', jsonb_build_object(
      'endpoint', p_event.endpoint_id,
      'id', 'msg_' || replace(p_event.id::text, '-', ''),
      'message', jsonb_build_object(
        'type', p_event.event, 'timestamp', engine.iso_time(p_event.at), 'data', p_event.data
      )
    )
  )
$$;

create or replace function engine.webhook_target(
  p_organization_id uuid,
  p_endpoint_id uuid,
  out url text,
  out credential_id uuid
)
  returns setof record
  language sql
  stable
  security definer -- definer because the worker reads no table
  set search_path = pg_catalog, pg_temp
as $$
  select e.url, e.credential_id
  from public.webhook_endpoints as e
  where e.organization_id = p_organization_id
    and e.id = p_endpoint_id
    and e.is_enabled
$$;
comment on function engine.webhook_target(uuid, uuid) is
  'For workers: where a message is sent to, and the credential that signs it; no row when the endpoint is gone or disabled. Example: select url from engine.webhook_target(''0190…'', ''0191…'');';

create or replace function engine.record_webhook_attempt(
  p_organization_id uuid,
  p_endpoint_id uuid,
  p_is_accepted boolean,
  p_is_gone boolean
)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
begin
  if p_is_accepted then
    -- Writes the row once a minute at most.
    update public.webhook_endpoints as e
    set failing_since = null, last_delivered_at = v_now
    where e.organization_id = p_organization_id
      and e.id = p_endpoint_id
      and (e.failing_since is not null or coalesce(e.last_delivered_at, '-infinity') < v_now - interval '1 minute');
    return;
  end if;
  update public.webhook_endpoints as e
  set
    failing_since = coalesce(e.failing_since, v_now),
    is_enabled = (p_is_gone or e.failing_since < v_now - engine.endpoint_failing_time()) is not true,
    disabled_reason = case
      when p_is_gone then 'gone'
      when e.failing_since < v_now - engine.endpoint_failing_time() then 'failing'
    end
  where e.organization_id = p_organization_id
    and e.id = p_endpoint_id
    and e.is_enabled
    and (p_is_gone or e.failing_since is null or e.failing_since < v_now - engine.endpoint_failing_time());
end
$$;
comment on function engine.record_webhook_attempt(uuid, uuid, boolean, boolean) is
  'For workers: records whether an endpoint accepted a message. Disables it when it is gone, or when it has accepted none for 5 days. Example: select engine.record_webhook_attempt(''0190…'', ''0191…'', true, false);';

grant execute on function engine.send_webhook_events(int) to flowgres_worker, flowgres_dba;
grant execute on function
  engine.webhook_target(uuid, uuid),
  engine.record_webhook_attempt(uuid, uuid, boolean, boolean)
  to flowgres_worker;

insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values (
  'deliverWebhook', 1, 'effect', 'integration', 'send',
  'Sends a message to a webhook endpoint of the organization, signed.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["endpoint", "id", "message"],
    "properties": {"endpoint": {"type": "string"}, "id": {"type": "string"}, "message": {}}
  }'
)
on conflict (name, version) do update
set
  kind = excluded.kind,
  category = excluded.category,
  icon = excluded.icon,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;
