-- kind: code
-- Takes over a workflow of n8n, as its editor exports it.

-- The nodes with the ids that they get here, and what $json is to each: the body of a webhook has its own path there.
create or replace function private.n8n_named(p_document jsonb)
  returns table (place int, node jsonb, id text, path text, prev text)
  language sql
  stable
as $$
  with named as (
    select
      (n.place - 1)::int as place,
      n.node,
      coalesce(nullif(left(
        regexp_replace(regexp_replace(n.node ->> 'name', '[^A-Za-z0-9_]+', '_', 'g'), '^(\d)|^_+', '_\1'), 56
      ), ''), 'node') as id,
      n.node ->> 'type' = 'n8n-nodes-base.webhook' as is_webhook
    from jsonb_path_query(p_document, 'lax $.nodes[*] ? (@.type.type() == "string")')
      with ordinality as n (node, place)
    where n.node ->> 'type' <> 'n8n-nodes-base.stickyNote'
  ),
  told_apart as (
    select
      n.*,
      case row_number() over (partition by lower(n.id) order by n.place)
        when 1 then n.id
        else n.id || '_' || n.place
      end as unique_id
    from named as n
  )
  select
    n.place, n.node, n.unique_id,
    case when n.is_webhook then '$.input' else '$.nodes.' || n.unique_id end,
    case
      when exists (
        select
        from told_apart as s
        where s.is_webhook
          and jsonb_path_exists(
            p_document -> 'connections' -> (s.node ->> 'name'), 'lax $.main[*][*] ? (@.node == $name)',
            jsonb_build_object('name', n.node -> 'name')
          )
      ) then '$.input'
      else '$.prev'
    end
  from told_apart as n
$$;

-- One node as ours; one that there is nothing like becomes a disabled noOp, so that the graph stays whole.
create or replace function private.n8n_definition_node(p_node jsonb, p_id text, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'id', p_id,
    'type', coalesce(m.type, 'noOp'),
    'name', left(p_node ->> 'name', 200),
    'position', case when jsonb_path_exists(p_node, 'lax $.position[1] ? (@.type() == "number")') then
      jsonb_build_object('x', p_node #> '{position,0}', 'y', p_node #> '{position,1}')
    end,
    'disabled', case when m.type is null or p_node -> 'disabled' = 'true' then true end,
    'onError', case
      when p_node ->> 'onError' = 'continueErrorOutput' then 'errorOutput'
      when p_node ->> 'onError' = 'continueRegularOutput' or p_node -> 'continueOnFail' = 'true' then 'continue'
    end,
    'retry', case when m.type = 'httpRequest' and p_node -> 'retryOnFail' = 'true' then
      jsonb_build_object('maxAttempts', coalesce(p_node -> 'maxTries', '3'))
    end
  )) || jsonb_build_object('properties', coalesce(m.properties, '{}'))
  from private.n8n_node(
    regexp_replace(p_node ->> 'type', '^n8n-nodes-base\.', ''), coalesce(p_node -> 'parameters', '{}'), p_places, p_prev
  ) as m
$$;

create or replace function private.n8n_connections(p_document jsonb, p_ids jsonb, p_types jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(distinct jsonb_build_object(
    'source', p_ids -> s.key,
    'sourceOutput', case
      when p_types ->> s.key = 'if' then case o.place when 1 then 'true' else 'false' end
      when o.place > 1 then 'error'
      else 'main'
    end,
    'target', p_ids -> (t.target ->> 'node'),
    'targetInput', case
      when p_types ->> (t.target ->> 'node') = 'merge' and t.target -> 'index' <> '0' then 'second'
      else 'main'
    end
  )), '[]')
  from jsonb_each(case jsonb_typeof(p_document -> 'connections') when 'object' then p_document -> 'connections' end)
    as s
  cross join jsonb_path_query(s.value, 'lax $.main[*]') with ordinality as o (targets, place)
  cross join jsonb_path_query(o.targets, 'lax $[*] ? (@.node.type() == "string")') as t (target)
  where p_ids ? s.key and p_ids ? (t.target ->> 'node')
$$;

-- What was lost on the way: unknown nodes, expressions that are programs, secrets.
create or replace function private.n8n_problems(p_place int, p_node jsonb, p_places jsonb, p_prev text)
  returns table (pointer text, message text)
  language plpgsql
  stable
as $$
begin
  pointer := format('/nodes/%s', p_place);
  if (private.n8n_node(
    regexp_replace(p_node ->> 'type', '^n8n-nodes-base\.', ''), coalesce(p_node -> 'parameters', '{}'), p_places, p_prev
  )).type is null then
    message := format(
      '%s is not known here, or not as it is used; a disabled noOp stands for it', p_node ->> 'type'
    );
    return next;
    return;
  end if;
  return query
  select
    format('/nodes/%s/parameters', p_place),
    format('%s is more than a path; write it anew', left(t.value #>> '{}', 200))
  from jsonb_path_query(p_node, 'strict $.parameters.** ? (@.type() == "string" && @ starts with "=")', '{}', true)
    as t (value)
  where private.n8n_expression(t.value #>> '{}', p_places, p_prev) is null;
  if p_node ? 'credentials' or p_node #>> '{parameters,authentication}' <> 'none' then
    pointer := format('/nodes/%s/credentials', p_place);
    message := 'credentials are not taken over; choose one here';
    return next;
  end if;
end
$$;

-- The definition, and what was lost.
create or replace function private.n8n_definition(p_document jsonb, out definition jsonb, out problems jsonb)
  language plpgsql
  stable
as $$
declare
  v_ids jsonb;
  v_places jsonb;
  v_types jsonb;
begin
  select
    coalesce(jsonb_object_agg(n.node ->> 'name', n.id), '{}'),
    coalesce(jsonb_object_agg(n.node ->> 'name', n.path), '{}'),
    coalesce(jsonb_object_agg(n.node ->> 'name', regexp_replace(n.node ->> 'type', '^n8n-nodes-base\.', '')), '{}')
  into v_ids, v_places, v_types
  from private.n8n_named(p_document) as n
  where n.node ->> 'name' is not null;

  select
    jsonb_build_object(
      'nodes', coalesce(
        jsonb_agg(private.n8n_definition_node(n.node, n.id, v_places, n.prev) order by n.place), '[]'
      ),
      'connections', private.n8n_connections(p_document, v_ids, v_types)
    ),
    coalesce(
      jsonb_path_query_array(jsonb_agg(p.problems order by n.place) filter (where p.problems is not null), '$[*][*]'),
      '[]'
    )
  into definition, problems
  from private.n8n_named(p_document) as n
  cross join lateral (
    select jsonb_agg(to_jsonb(q)) as problems
    from private.n8n_problems(n.place, n.node, v_places, n.prev) as q
  ) as p;
end
$$;

create or replace function public.import_n8n_workflow(doc jsonb, name text default null)
  returns public.workflow_import
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_result record;
  v_import public.workflow_import;
begin
  perform private.require_scope('workflows:write');
  if coalesce(jsonb_typeof(doc -> 'nodes'), '') <> 'array' or jsonb_array_length(doc -> 'nodes') > 500 then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'This is no workflow of n8n with at most 500 nodes.',
      'Export it with "Download" in the editor.',
      '{"field": "doc"}'
    );
  end if;
  perform engine.refuse_value(doc, 'The document');
  v_result := private.n8n_definition(doc);
  select w.id into v_import.workflow_id
  from public.create_workflow(
    coalesce(import_n8n_workflow.name, private.clean_name(doc ->> 'name', 'n8n')), v_result.definition
  ) as w;
  v_import.problems := v_result.problems;
  return v_import;
end
$$;
comment on function public.import_n8n_workflow(jsonb, text) is
  'Makes a draft of a workflow that n8n''s editor has exported. Taken over are manualTrigger, webhook, scheduleTrigger, if, set, httpRequest, merge, noOp and respondToWebhook, how they are connected, and expressions that take a value by a path; problems lists what is not. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (above 1 MiB), LIMIT_REACHED (workflows). Example: select workflow_id, problems from import_n8n_workflow(''{"name": "Orders", "nodes": [], "connections": {}}'');';

grant execute on function public.import_n8n_workflow(jsonb, text) to flowgres_user, flowgres_dba;
