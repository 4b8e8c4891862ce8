-- kind: code
-- Finds the webhook, and so the workflow, that a request is for. Writes and locks nothing.

-- Returns the organization that has the key, or had it and is in the grace period after its
-- replacement.
create or replace function private.organization_of_webhook_key(p_key text)
  returns uuid
  language sql
  stable
as $$
  select coalesce(
    (select o.id from public.organizations as o where o.webhook_key = p_key),
    (
      select k.organization_id
      from private.retired_webhook_keys as k
      where k.key = p_key and k.expires_at > engine.now()
    )
  )
$$;

create or replace function engine.find_webhook(p_organization_key text, p_method text, p_path text)
  returns jsonb
  language sql
  stable
  security definer -- definer because the intake reads no table
  set search_path = pg_catalog, pg_temp
as $$
  with request as materialized (
    select
      o.id as organization_id,
      string_to_array(btrim(p_path, '/'), '/') as segments
    from public.organizations as o
    where o.deleted_at is null and o.id = private.organization_of_webhook_key(p_organization_key)
  ),
  fitting as materialized (
    select h.*, r.segments as requested
    from request as r
    join public.webhooks as h
      on h.organization_id = r.organization_id
      and cardinality(h.segments) = cardinality(r.segments)
    where not exists (
      select
      from unnest(h.segments, r.segments) as s (wanted, given)
      where s.wanted <> s.given
        and s.wanted <> ':'
    )
      and '' <> all (r.segments)
  ),
  best as (
    select f.*
    from fitting as f
    where p_method = any (f.methods)
    -- A fixed segment wins over a parameter; the first difference decides.
    order by array(
      select s.segment = ':' from unnest(f.segments) with ordinality as s (segment, place) order by s.place
    )
    limit 1
  )
  select jsonb_build_object(
    'organizationId', b.organization_id,
    'workflowId', b.workflow_id,
    'version', b.version,
    'node', b.node,
    'path', b.path,
    'params', coalesce(
      (
        select jsonb_object_agg(substr(s.name, 2), s.given)
        from unnest(string_to_array(ltrim(b.path, '/'), '/'), b.requested) as s (name, given)
        where s.name like ':%'
      ),
      '{}'
    ),
    'properties', b.properties,
    'credential', b.credential,
    'dedupePath', b.dedupe_path,
    'keepsRawBody', b.keeps_raw_body,
    'methods', to_jsonb(b.methods)
  )
  from best as b
  union all
  select jsonb_build_object(
    'methods', (select jsonb_agg(distinct m order by m) from fitting as f, unnest(f.methods) as m)
  )
  where exists (select from fitting)
    and not exists (select from best)
$$;
comment on function engine.find_webhook(text, text, text) is
  'The webhook that a request below /hooks/ is for, with the values of its :params; only {"methods"} when the path exists for other methods, null when it does not exist. Example: select engine.find_webhook(''3q2-7wAAAAAAAAAAAAAAAA'', ''POST'', ''/orders/42'');';

grant execute on function engine.find_webhook(text, text, text) to flowgres_intake;
