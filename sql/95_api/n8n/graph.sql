-- kind: code
-- The names and connections of a document of n8n. Writes and locks nothing.

-- Gives each node a unique id; ids are compared without regard to case. Leaves notes on the canvas
-- out.
create or replace function private.n8n_named(p_nodes jsonb)
  returns table (place int, node jsonb, names jsonb)
  language plpgsql
  immutable
as $$
declare
  v_used text[] := '{}';
  v_id text;
  v_base text;
  v_names text[];
begin
  for place, node in
    select (n.place - 1)::int, n.node
    from jsonb_array_elements(p_nodes) with ordinality as n (node, place)
    where jsonb_typeof(n.node -> 'type') = 'string' and jsonb_typeof(n.node -> 'name') = 'string'
      and n.node ->> 'type' <> 'n8n-nodes-base.stickyNote'
    order by n.place
  loop
    v_base := coalesce(nullif(left(regexp_replace(
      regexp_replace(node ->> 'name', '[^A-Za-z0-9_]+', '_', 'g'), '^([0-9])|^_+', E'_\\1'
    ), 40), ''), 'node');
    v_id := v_base;
    for v_try in 1 .. 1000 loop
      select array[n.name, n.name || '_item', n.name || '_error'] into v_names from lower(v_id collate "C") as n (name);
      exit when not v_names && v_used;
      v_id := v_base || '_' || place || case when v_try > 1 then '_' || v_try else '' end;
    end loop;
    v_used := v_used || v_names;
    names := jsonb_build_object('id', v_id, 'name', node -> 'name') || case
      when node ->> 'type' in ('n8n-nodes-base.webhook', 'n8n-nodes-base.httpRequest')
        and coalesce(node ->> 'disabled', 'false') <> 'true'
        then jsonb_build_object('item', v_id || '_item')
      else '{}'
    end;
    return next;
  end loop;
end
$$;

-- Every connection, by the names of its nodes; output and input are counted from 0.
create or replace function private.n8n_edges(p_connections jsonb)
  returns table (source text, kind text, output int, target text, input text, path text[])
  language sql
  immutable
as $$
  select
    s.key, k.key, (o.place - 1)::int, t.target ->> 'node', coalesce(t.target ->> 'index', '0'),
    array['connections', s.key, k.key, (o.place - 1)::text, (t.place - 1)::text]
  from jsonb_each(case jsonb_typeof(p_connections) when 'object' then p_connections end) as s
  cross join jsonb_each(case jsonb_typeof(s.value) when 'object' then s.value end) as k
  cross join jsonb_array_elements(case jsonb_typeof(k.value) when 'array' then k.value end)
    with ordinality as o (targets, place)
  cross join jsonb_array_elements(case jsonb_typeof(o.targets) when 'array' then o.targets end)
    with ordinality as t (target, place)
  where jsonb_typeof(t.target -> 'node') = 'string'
$$;

-- The nodes whose input has no counterpart of n8n's item: schedule and error triggers, and the
-- nodes behind them, as far as nodes pass their input on.
create or replace function private.n8n_without_item(p_nodes jsonb, p_connections jsonb)
  returns text[]
  language sql
  immutable
as $$
  with recursive node as (
    select n.node ->> 'name' as name, regexp_replace(n.node ->> 'type', E'^n8n-nodes-base\\.', '') as type
    from jsonb_array_elements(p_nodes) as n (node)
  ),
  behind as (
    select n.name as source from node as n where n.type in ('scheduleTrigger', 'cron', 'errorTrigger')
    union
    select e.target
    from behind as b
    join private.n8n_edges(p_connections) as e on e.source = b.source
    join node as n on n.name = b.source
    where n.type in (
      'scheduleTrigger', 'cron', 'errorTrigger', 'if', 'filter', 'switch', 'noOp', 'wait', 'respondToWebhook', 'merge'
    )
  )
  select coalesce(array_agg(b.source), '{}') from behind as b
$$;

-- The connections of the definition, and their problems. p_made: what n8n_definition_node returned,
-- by the node's name.
create or replace function private.n8n_connections(
  p_connections jsonb,
  p_made jsonb,
  out connections jsonb,
  out problems jsonb
)
  language sql
  immutable
as $$
  with edge as materialized (
    select
      e.*, s.made as source_node, t.made as target_node,
      coalesce(
        s.made -> 'ports' ->> e.output,
        case when s.made ->> 'onError' = 'errorOutput' and e.output = jsonb_array_length(s.made -> 'ports')
          then 'error' end
      ) as port,
      case
        when t.made ->> 'type' = 'merge' and e.input = '1' then 'second'
        when e.input = '0' or t.made ->> 'type' = 'unconverted' then 'main'
      end as port_in
    from private.n8n_edges(p_connections) as e
    left join lateral (select p_made -> e.source as made) as s on true
    left join lateral (select p_made -> e.target as made) as t on true
  ),
  judged as materialized (
    select e.*, case
        when e.kind <> 'main' then format('a connection of the kind %s has no counterpart', left(e.kind, 50))
        when e.source_node is null or e.target_node is null then 'it leads from or to a node that is not there'
        when e.port is null then 'the node has no such output here'
        when e.port_in is null then 'the node has no such input here'
        when e.target_node ->> 'type' ~ 'Trigger$' then 'nothing leads to a trigger'
      end as problem
    from edge as e
  ),
  overfull as (
    select j.target, j.input, min(j.target_node ->> 'place') as place
    from judged as j
    where j.problem is null
    group by j.target, j.input
    having count(*) > 1 and not (
      count(distinct j.source) = 1 and min(j.source_node ->> 'type') in ('if', 'switch')
    )
  )
  select
    (
      select coalesce(jsonb_agg(distinct jsonb_build_object(
        'source', j.source_node -> case j.port when 'error' then 'id' else 'from' end,
        'sourceOutput', j.port, 'target', j.target_node -> 'id', 'targetInput', j.port_in
      )), '[]')
      from judged as j
      where j.problem is null
    ),
    (
      select coalesce(jsonb_agg(private.n8n_problem(j.path, j.problem) order by j.path), '[]')
      from judged as j
      where j.problem is not null
    ) || (
      select coalesce(jsonb_agg(private.n8n_problem(
        array['nodes', c.place], 'several connections lead to it: n8n runs it once for each of them, here it runs once'
      ) order by c.place), '[]')
      from overfull as c
    )
$$;

-- Adds the connections from nodes to the transforms that make their items. Adds a noOp after each
-- error output without a connection, because n8n drops such failures.
create or replace function private.n8n_completed(p_nodes jsonb, p_connections jsonb)
  returns jsonb
  language sql
  immutable
as $$
  with node as (
    select n.node, n.place, lead(n.node) over (order by n.place) as following
    from jsonb_array_elements(p_nodes) with ordinality as n (node, place)
  ),
  dropped as (
    select n.node ->> 'id' as id
    from node as n
    where n.node ->> 'onError' = 'errorOutput' and not p_connections @> jsonb_build_array(
      jsonb_build_object('source', n.node -> 'id', 'sourceOutput', 'error')
    )
  )
  select jsonb_build_object(
    'nodes', p_nodes || coalesce((
      select jsonb_agg(jsonb_build_object('id', d.id || '_error', 'type', 'noOp')) from dropped as d
    ), '[]'),
    'connections', p_connections || coalesce((
      select jsonb_agg(jsonb_build_object(
        'source', n.node -> 'id', 'sourceOutput', 'main', 'target', n.following -> 'id', 'targetInput', 'main'
      ) order by n.place)
      from node as n
      where n.following ->> 'id' = (n.node ->> 'id') || '_item' and n.following ->> 'type' = 'transform'
    ), '[]') || coalesce((
      select jsonb_agg(jsonb_build_object(
        'source', d.id, 'sourceOutput', 'error', 'target', d.id || '_error', 'targetInput', 'main'
      ))
      from dropped as d
    ), '[]')
  )
$$;
