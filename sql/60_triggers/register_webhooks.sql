-- kind: code
-- Publishing writes the webhooks of a workflow, unpublishing deletes them. Writes public.webhooks;
-- takes the advisory lock of the webhooks of the organization.

-- Replaces the webhooks of a workflow by those of a version and returns how many these are. Errors:
-- VALIDATION_FAILED (a path), CONFLICT (another node has the path and a method).
create or replace function engine.register_webhooks(p_organization_id uuid, p_workflow_id uuid, p_version int)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_used record;
  v_count int;
begin
  -- One publication of an organization at a time, so that the second sees the addresses of the
  -- first. Does not lock the row of the organization: the workflow is locked already, and
  -- organizations come before workflows in the order of locks (docs/reference/locks.md).
  perform pg_advisory_xact_lock(hashtextextended('flowgres.webhooks ' || p_organization_id, 0));
  perform engine.unregister_webhooks(p_organization_id, p_workflow_id);

  perform engine.check_webhook_path(n.id, n.properties ->> 'path')
  from engine.webhook_triggers(p_organization_id, p_workflow_id, p_version) as n;

  insert into public.webhooks (
    organization_id, workflow_id, node, version, methods, path, segments, properties, credential, dedupe_path,
    keeps_raw_body
  )
  select
    p_organization_id,
    p_workflow_id,
    n.id,
    p_version,
    engine.webhook_methods(n.properties),
    engine.webhook_path(n.properties ->> 'path'),
    engine.webhook_segments(n.properties ->> 'path'),
    n.properties,
    n.credential,
    case when n.properties ? 'dedupe' then (engine.parse_expression(n.properties ->> 'dedupe')).path end,
    coalesce((n.properties ->> 'rawBody')::boolean, false) or n.reads_raw_body
  from engine.webhook_triggers(p_organization_id, p_workflow_id, p_version) as n;
  get diagnostics v_count = row_count;

  select mine.node, mine.path, other.node as other_node, w.id as other_workflow, w.name into v_used
  from public.webhooks as mine
  join public.webhooks as other
    on other.organization_id = mine.organization_id
    and other.segments = mine.segments
    and other.methods && mine.methods
    and (other.workflow_id, other.node) <> (mine.workflow_id, mine.node)
  join public.workflows as w
    on w.organization_id = other.organization_id
    and w.id = other.workflow_id
  where mine.organization_id = p_organization_id
    and mine.workflow_id = p_workflow_id
  order by mine.node, other.node
  limit 1;
  if found then
    perform private.raise_error(
      'CONFLICT',
      format('The webhook path %s of node %s is taken by node %s of workflow %L.',
        v_used.path, v_used.node, v_used.other_node, v_used.name),
      'Choose another path or method, or unpublish the other workflow.',
      jsonb_build_object('node', v_used.node, 'path', v_used.path, 'workflowId', v_used.other_workflow)
    );
  end if;
  return v_count;
end
$$;

-- Returns a path in one form: no slash at the end, one slash between segments.
create or replace function engine.webhook_path(p_path text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select '/' || btrim(regexp_replace(p_path, '/+', '/', 'g'), '/')
$$;

-- Returns the segments of a path that distinguish it from others: parameters are equal whatever
-- their names.
create or replace function engine.webhook_segments(p_path text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg(case when s.segment like ':%' then ':' else s.segment end order by s.place)
  from unnest(string_to_array(ltrim(engine.webhook_path(p_path), '/'), '/')) with ordinality as s (segment, place)
$$;

-- Raises VALIDATION_FAILED for a path that a webhook cannot have.
create or replace function engine.check_webhook_path(p_node text, p_path text)
  returns void
  language plpgsql
  immutable
as $$
declare
  v_names text[];
begin
  v_names := array(
    select s.segment
    from unnest(string_to_array(ltrim(engine.webhook_path(p_path), '/'), '/')) as s (segment)
    where s.segment like ':%'
  );
  if p_path is null
    or length(p_path) > 512
    or cardinality(engine.webhook_segments(p_path)) > 16
    -- Only unreserved characters: clients and proxies may encode others in different ways.
    or engine.webhook_path(p_path) !~ '^(/(:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z0-9._~-]+))+$'
    or engine.webhook_path(p_path) ~ '/[.]{1,2}(/|$)'
    or cardinality(v_names) <> (select count(distinct n) from unnest(v_names) as n)
  then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format('Node %s: the path %L is not one that a webhook can have.', p_node, p_path),
      'Use up to 16 segments of letters, digits, ".", "_", "~" and "-", or :names, each name once: /orders/:id.',
      jsonb_build_object('node', p_node, 'path', p_path)
    );
  end if;
end
$$;

-- Returns the methods of a trigger: its property `method`, one or several; POST when not given.
create or replace function engine.webhook_methods(p_properties jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    array_agg(distinct upper(m.method collate "C") order by upper(m.method collate "C")),
    '{POST}'
  )
  from jsonb_array_elements_text(
    case jsonb_typeof(p_properties -> 'method')
      when 'array' then p_properties -> 'method'
      when 'string' then jsonb_build_array(p_properties -> 'method')
      else '[]'
    end
  ) as m (method)
$$;

-- Returns the webhook triggers of a version that are not disabled, and whether its definition reads
-- the raw body.
create or replace function engine.webhook_triggers(p_organization_id uuid, p_workflow_id uuid, p_version int)
  returns table (
    id text,
    properties jsonb,
    credential text,
    reads_raw_body boolean
  )
  language sql
  stable
as $$
  select n.id, n.properties, n.credentials ->> 'auth', v.definition::text like '%rawBody%'
  from engine.compiled_versions as p
  join public.workflow_versions as v
    on v.organization_id = p.organization_id
    and v.workflow_id = p.workflow_id
    and v.version = p.version
  cross join unnest(p.nodes) as n
  where p.organization_id = p_organization_id
    and p.workflow_id = p_workflow_id
    and p.version = p_version
    and n.type like 'webhookTrigger@%'
    and not n.disabled
$$;

create or replace function engine.unregister_webhooks(p_organization_id uuid, p_workflow_id uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_count int;
begin
  delete from public.webhooks as h
  where h.organization_id = p_organization_id
    and h.workflow_id = p_workflow_id;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
