-- kind: code
-- Queues messages for the webhook endpoints of organizations, in the transaction in which something
-- happens. Inserts into private.webhook_events; locks nothing else.

-- Queues messages about the runs of a batch that have ended, and about approvals that they ask for.
-- Child runs, and the runs that send messages, are not told of.
create or replace function engine.queue_run_events(p_transitions engine.transition[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  -- One look-up for a batch while nobody is told of anything.
  if not exists (select from public.webhook_endpoints as e where e.is_enabled) then
    return;
  end if;
  insert into private.webhook_events (id, endpoint_id, organization_id, event, key, data, at)
  select engine.uuid_v7(p_now), e.id, e.organization_id, h.event, h.key, h.data, p_now
  from unnest(p_transitions) as m
  join public.webhook_endpoints as e on e.organization_id = (m.run).organization_id and e.is_enabled
  cross join lateral engine.events_of(m) as h
  where h.event = any (e.events)
    and (m.run).parent_run_id is null
    and not exists (select from private.delivery_workflows as d where d.workflow_id = (m.run).workflow_id)
  on conflict on constraint webhook_events_endpoint_id_event_key_key do nothing;
end
$$;

-- Returns what a message says of a run.
create or replace function engine.run_facts(p_run public.workflow_runs)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'run', p_run.id,
    'workflow', p_run.workflow_id,
    'workflowName', (select w.name from public.workflows as w where w.id = p_run.workflow_id),
    'version', p_run.version,
    'mode', p_run.mode,
    'startedAt', engine.iso_time(p_run.started_at),
    'finishedAt', engine.iso_time(p_run.finished_at),
    'metadata', p_run.metadata,
    'error', p_run.error
  ))
$$;

-- Returns what a transition tells: that the run has succeeded or failed, and which approvals it
-- asks for. key: equal for what is told once.
create or replace function engine.events_of(p_transition engine.transition)
  returns table (event text, key text, data jsonb)
  language sql
  stable
as $$
  select
    case (p_transition.run).status when 'success' then 'run.succeeded' else 'run.failed' end,
    (p_transition.run).id::text,
    engine.run_facts(p_transition.run)
  where (p_transition.run).status in ('success', 'error')
  union all
  select
    'approval.requested',
    format('%s %s', (p_transition.run).id, w.payload ->> 'node'),
    engine.run_facts(p_transition.run) || jsonb_build_object('node', w.payload ->> 'node')
  from unnest(p_transition.entries) as w
  where w.type = 'step.waiting'
    and exists (
      select
      from engine.compiled_versions as v
      cross join unnest(v.nodes) as n
      where v.organization_id = (p_transition.run).organization_id
        and v.workflow_id = (p_transition.run).workflow_id
        and v.version = (p_transition.run).version
        and n.id = w.payload ->> 'node'
        and n.type like 'wait@%'
        and n.properties ? 'approval'
    )
$$;

-- Queues a message that is not about a run, once for a key.
create or replace function engine.queue_event(
  p_organization_id uuid,
  p_event text,
  p_key text,
  p_data jsonb,
  p_now timestamptz
)
  returns void
  language sql
  volatile
as $$
  insert into private.webhook_events (id, endpoint_id, organization_id, event, key, data, at)
  select engine.uuid_v7(p_now), e.id, e.organization_id, p_event, p_key, p_data, p_now
  from public.webhook_endpoints as e
  where e.organization_id = p_organization_id
    and e.is_enabled
    and p_event = any (e.events)
  on conflict on constraint webhook_events_endpoint_id_event_key_key do nothing
$$;

-- Returns what is equal while a limit is reached in one period.
create or replace function engine.limit_key(p_details jsonb)
  returns text
  language sql
  immutable
as $$
  select concat_ws(' ', p_details ->> 'metric', p_details ->> 'team', p_details ->> 'resetAt')
$$;

-- Queues the message that a limit is reached, once for a period; nothing for another error.
create or replace function engine.queue_limit_event(p_organization_id uuid, p_error jsonb, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_error ->> 'code' = 'LIMIT_REACHED' then
    perform engine.queue_event(
      p_organization_id, 'limit.reached', engine.limit_key(p_error -> 'details'),
      (p_error -> 'details') || jsonb_build_object('message', p_error -> 'message'), p_now
    );
  end if;
end
$$;

-- Queues messages that credentials expire within 7 days: once for each date.
create or replace function engine.queue_expiring_credentials()
  returns void
  language sql
  volatile
  security definer -- definer because credentials are closed to maintenance
  set search_path = pg_catalog, pg_temp
as $$
  select engine.queue_event(
    c.organization_id, 'credential.expiring', format('%s %s', c.id, c.expires_at),
    jsonb_build_object(
      'credential', c.id, 'name', c.name, 'type', c.type, 'expiresAt', engine.iso_time(c.expires_at)
    ),
    engine.now()
  )
  from public.credentials as c
  where c.expires_at between engine.now() and engine.now() + interval '7 days'
    and (select engine.copy_problem()) is null
$$;
comment on function engine.queue_expiring_credentials() is
  'Tells webhook endpoints which credentials expire within 7 days, once for each date. A job calls it daily. Example: select engine.queue_expiring_credentials();';

grant execute on function engine.queue_expiring_credentials() to flowgres_maintenance, flowgres_dba;
