-- kind: code
-- The known shapes of the roots of paths, before a workflow runs; values.sql explains shapes. Reads
-- engine.node_types; writes and locks nothing.

create or replace function engine.run_shape()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{"id": "s", "mode": "s", "startedAt": "s", "now": "s", "workflow": "s", "resume": {"*": "s"}}'::jsonb
$$;

-- The shape of a request to a webhook. `@`: the names are in lower case.
create or replace function engine.request_shape()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "method": "s", "path": "s", "params": {"*": "s"}, "query": {"*": "sl"}, "headers": {"*": "sl", "@": true}, "*": true
  }'::jsonb
$$;

-- The shapes of outputs of node types that always have the same one. `error` is what onError
-- continue adds.
create or replace function engine.output_shape(p_type text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case p_type
    when 'httpRequest' then '{
      "?": "oz", "status": "n", "headers": {"*": "sl", "@": true}, "body": true, "error": true
    }'
    when 'random' then '{"?": "oz", "value": "ns", "error": true}'
  end::jsonb
$$;

-- The known shapes by root; those of "prev" by node. A root without a shape may be anything. The
-- definition must be readable.
create or replace function engine.known_shapes(p_definition jsonb)
  returns jsonb
  language sql
  stable
as $$
  with node as materialized (
    select
      n.node ->> 'id' as id, split_part(n.node ->> 'type', '@', 1) as type, n.node,
      not n.node ? 'pin' and coalesce(n.node -> 'disabled', 'false') = 'false' as runs
    from jsonb_array_elements(p_definition -> 'nodes') as n (node)
  ),
  shape as (
    select n.id, engine.output_shape(n.type) as shape
    from node as n
    where n.runs and engine.output_shape(n.type) is not null
  )
  select jsonb_strip_nulls(jsonb_build_object(
    'index', 'nz',
    'run', engine.run_shape(),
    'input', (
      select case when bool_and(n.type = 'webhookTrigger') then engine.request_shape() end
      from node as n
      join engine.node_types as t on t.name = n.type and t.kind = 'trigger'
    ),
    'prev', (
      select jsonb_object_agg(p.target, p.shape)
      from (
        select c.connection ->> 'target' as target, (array_agg(s.shape))[1] as shape
        from jsonb_array_elements(coalesce(p_definition -> 'connections', '[]')) as c (connection)
        left join shape as s on s.id = c.connection ->> 'source'
        group by c.connection ->> 'target'
        having bool_and(s.id is not null and coalesce(c.connection ->> 'sourceOutput', 'main') = 'main')
          and count(distinct s.shape) = 1
      ) as p
    )
  )) || coalesce((select jsonb_object_agg('nodes.' || s.id, s.shape) from shape as s), '{}')
$$;
