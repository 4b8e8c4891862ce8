-- kind: code
-- Lists requests to webhooks, a batch at a time, within the share of each organization. Inserts
-- into public.webhook_deliveries; locks nothing.

create or replace function engine.log_webhook_deliveries(p_deliveries jsonb)
  returns void
  language sql
  volatile
  security definer -- definer because the intake writes no table
  set search_path = pg_catalog, pg_temp
as $$
  with given as (
    select
      d.*,
      row_number() over (partition by d."organizationId", d."runId" is null order by d.at) as place
    from jsonb_to_recordset(p_deliveries) as d (
      "organizationId" uuid,
      "workflowId" uuid,
      node text,
      at timestamptz,
      method text,
      path text,
      "clientAddress" text,
      status int,
      error text,
      "runId" uuid,
      "isDuplicate" boolean,
      ms int
    )
  ),
  listed as (
    -- Counts at most as many as may be listed.
    select o.id, o.is_refused, d.number
    from (select distinct g."organizationId" as id, g."runId" is null as is_refused from given as g) as o
    cross join lateral (
      select count(*) as number
      from (
        select
        from public.webhook_deliveries as w
        where w.organization_id = o.id
          and w.received_at > engine.now() - interval '1 hour'
          and (not o.is_refused or w.run_id is null)
        limit engine.max_listed_deliveries()
      ) as w
    ) as d
  )
  insert into public.webhook_deliveries (
    id, organization_id, workflow_id, node, received_at, method, path, client_address, status, error, run_id,
    is_duplicate, latency_ms
  )
  select
    engine.uuid_v7(g.at), w.organization_id, w.id, g.node, g.at, left(g.method, 20), left(g.path, 2000),
    g."clientAddress", g.status, left(g.error, 100), g."runId", g."isDuplicate", greatest(g.ms, 0)
  from given as g
  join listed as l on l.id = g."organizationId" and l.is_refused = (g."runId" is null)
  join public.workflows as w on w.organization_id = g."organizationId" and w.id = g."workflowId"
  where l.number + g.place
    <= case when l.is_refused then engine.max_refused_deliveries() else engine.max_listed_deliveries() end
$$;
comment on function engine.log_webhook_deliveries(jsonb) is
  'For the intake: lists requests to webhooks, [{"organizationId", "workflowId", "node", "at", "method", "path", "clientAddress", "status", "error", "runId", "isDuplicate", "ms"}]; what is above the share of an organization for this hour is left out. Example: select engine.log_webhook_deliveries(''[]'');';

grant execute on function engine.log_webhook_deliveries(jsonb) to flowgres_intake;
