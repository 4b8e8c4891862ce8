-- kind: code
-- Publishing takes the addresses of a workflow's webhook triggers, unpublishing gives them up.

-- The path in one form: no slash at the end, one slash between segments.
create or replace function engine.webhook_path(p_path text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select '/' || btrim(regexp_replace(p_path, '/+', '/', 'g'), '/')
$$;

-- What distinguishes addresses: parameters are equal whatever their names.
create or replace function engine.webhook_segments(p_path text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg(case when s.segment like ':%' then ':' else s.segment end order by s.place)
  from unnest(string_to_array(ltrim(engine.webhook_path(p_path), '/'), '/')) with ordinality as s (segment, place)
$$;

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
    -- Unreserved characters only: nothing that a client or proxy might encode in another way.
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

-- The methods of a trigger: its property `method`, one or several; POST when not given.
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

create or replace function engine.webhook_triggers(p_organization uuid, p_workflow uuid, p_version int)
  returns table (id text, properties jsonb)
  language sql
  stable
as $$
  select n.id, n.properties
  from engine.plans as p
  cross join unnest(p.nodes) as n
  where p.organization_id = p_organization
    and p.workflow_id = p_workflow
    and p.version = p_version
    and n.type like 'webhookTrigger@%'
    and not n.disabled
$$;

create or replace function engine.register_webhooks(p_organization uuid, p_workflow uuid, p_version int)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_taken record;
  v_count int;
begin
  -- One publication of an organization after the other, so that two that want the same address see each other. Not the
  -- organization's row: the workflow is locked already, and an organization comes before its workflows.
  perform pg_advisory_xact_lock(hashtextextended('flowgres.webhooks ' || p_organization, 0));
  perform engine.unregister_webhooks(p_organization, p_workflow);

  perform engine.check_webhook_path(n.id, n.properties ->> 'path')
  from engine.webhook_triggers(p_organization, p_workflow, p_version) as n;

  insert into public.webhooks (organization_id, workflow_id, node, version, methods, path, segments, properties)
  select
    p_organization,
    p_workflow,
    n.id,
    p_version,
    engine.webhook_methods(n.properties),
    engine.webhook_path(n.properties ->> 'path'),
    engine.webhook_segments(n.properties ->> 'path'),
    n.properties
  from engine.webhook_triggers(p_organization, p_workflow, p_version) as n;
  get diagnostics v_count = row_count;

  select mine.node, mine.path, other.node as other_node, w.id as other_workflow, w.name into v_taken
  from public.webhooks as mine
  join public.webhooks as other
    on other.organization_id = mine.organization_id
    and other.segments = mine.segments
    and other.methods && mine.methods
    and (other.workflow_id, other.node) <> (mine.workflow_id, mine.node)
  join public.workflows as w
    on w.organization_id = other.organization_id
    and w.id = other.workflow_id
  where mine.organization_id = p_organization
    and mine.workflow_id = p_workflow
  order by mine.node, other.node
  limit 1;
  if found then
    perform private.raise_error(
      'CONFLICT',
      format('The webhook path %s of node %s is taken by node %s of workflow %L.',
        v_taken.path, v_taken.node, v_taken.other_node, v_taken.name),
      'Choose another path or method, or unpublish the other workflow.',
      jsonb_build_object('node', v_taken.node, 'path', v_taken.path, 'workflowId', v_taken.other_workflow)
    );
  end if;
  return v_count;
end
$$;

create or replace function engine.unregister_webhooks(p_organization uuid, p_workflow uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_count int;
begin
  delete from public.webhooks as h
  where h.organization_id = p_organization
    and h.workflow_id = p_workflow;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
