-- kind: code
-- Translates n8n's Loop Over Items: what the loop does for one item becomes a document of its own, which a forEach
-- runs. Only a loop over single items, every way of which leads back to it, means the same; any other is reported and
-- not translated. Writes and locks nothing.

-- Splits the document: without the bodies of its loops, and {"<name of a loop>": the document of its body}. A loop
-- inside a loop stays in the body of the outer one.
create or replace function private.n8n_loops(p_document jsonb, out document jsonb, out loops jsonb)
  language plpgsql
  stable
as $$
declare
  v_loop record;
  v_body text[];
  v_bodies jsonb := '{}';
begin
  document := p_document;
  loops := '{}';
  for v_loop in
    select n.node, n.node ->> 'name' as name
    from jsonb_array_elements(p_document -> 'nodes') as n (node)
    where n.node ->> 'type' = 'n8n-nodes-base.splitInBatches' and jsonb_typeof(n.node -> 'name') = 'string'
    limit 50
  loop
    v_body := case when private.n8n_loops_over_items(v_loop.node) then
      private.n8n_loop_body(p_document, v_loop.node)
    end;
    if v_body is not null then
      v_bodies := v_bodies || jsonb_build_object(v_loop.name, jsonb_build_object('node', v_loop.node, 'body', v_body));
    end if;
  end loop;
  for v_loop in
    select b.key as name, b.value -> 'node' as node, array(select jsonb_array_elements_text(b.value -> 'body')) as body
    from jsonb_each(v_bodies) as b
    where not exists (select from jsonb_each(v_bodies) as o where o.value -> 'body' ? b.key)
  loop
    loops := loops || jsonb_build_object(
      v_loop.name, private.n8n_loop_document(p_document, v_loop.node, v_loop.body)
    );
    document := document || jsonb_build_object(
      'nodes', (
        select jsonb_agg(
          case
            when n.node ->> 'name' = any (v_loop.body) then private.n8n_placeholder()
            when n.node = v_loop.node then n.node || '{"type": "@loop"}' || jsonb_build_object(
              'parameters', jsonb_build_object('workflow', left(v_loop.name, 200))
            )
            else n.node
          end order by n.place
        )
        from jsonb_array_elements(document -> 'nodes') with ordinality as n (node, place)
      ),
      'connections', jsonb_set(
        (document -> 'connections') - v_loop.body, array[v_loop.name, 'main'],
        jsonb_build_array(coalesce(nullif(document #> array['connections', v_loop.name, 'main', '0'], 'null'), '[]'))
      )
    );
  end loop;
end
$$;

-- Whether a loop goes over single items, is enabled, and has no parameter without a counterpart.
create or replace function private.n8n_loops_over_items(p_loop jsonb)
  returns boolean
  language sql
  immutable
as $$
  select jsonb_typeof(p_loop -> 'typeVersion') = 'number' and (p_loop ->> 'typeVersion')::numeric >= 3
    and coalesce(p_loop ->> 'disabled', 'false') <> 'true'
    and (private.n8n_read(
      coalesce(p_loop -> 'parameters', '{}'), private.n8n_rules('splitInBatches', 3), '{}', '{}'
    )).problems = '[]'
$$;

-- The names of the nodes from the output `loop` back to the input; null when a child run for each item would not do
-- the same. In n8n a way that ends inside the body ends the loop, and two ways at a time begin the next round early.
create or replace function private.n8n_loop_body(p_document jsonb, p_loop jsonb)
  returns text[]
  language sql
  stable
as $$
  with recursive node as materialized (
    select n.node ->> 'name' as name, regexp_replace(n.node ->> 'type', E'^n8n-nodes-base\\.', '') as type, n.node
    from jsonb_array_elements(p_document -> 'nodes') as n (node)
  ),
  edge as materialized (
    select
      e.*, e.source = p_loop ->> 'name' and e.output = 1 and e.kind = 'main' as begins,
      e.target = p_loop ->> 'name' as returns
    from private.n8n_edges(p_document -> 'connections') as e
  ),
  body as (
    select e.target as name from edge as e where e.begins and not e.returns
    union
    select e.target from body as b join edge as e on e.source = b.name where not e.returns
  ),
  needed as ( -- the outputs that have to lead on
    select b.name, o.output
    from body as b
    join node as n on n.name = b.name
    cross join generate_series(0, (
      n.type in ('if', 'splitInBatches') or n.node ->> 'onError' = 'continueErrorOutput'
    )::int) as o (output)
    where n.type <> 'stopAndError' or n.node ->> 'disabled' = 'true'
  )
  select (select array_agg(b.name) from body as b)
  where exists (select from edge as e where e.returns and e.source in (select b.name from body as b))
    and not exists (select from edge as e where e.begins and e.returns)
    and not exists (
      select
      from edge as e
      where (e.source in (select b.name from body as b) and (e.kind <> 'main' or (e.returns and e.input <> '0')))
        or (e.target in (select b.name from body as b) and not e.begins
          and e.source not in (select b.name from body as b))
    )
    and not exists (
      select
      from edge as e
      where e.begins or e.source in (select b.name from body as b)
      group by e.source, e.output
      having count(*) > 1
    )
    and not exists (
      select
      from body as b
      left join node as n on n.name = b.name
      group by b.name
      having count(n.name) <> 1
        or bool_or(n.type in ('filter', 'switch', 'respondToWebhook', 'webhook', 'cron') or n.type ~ 'Trigger$')
    )
    and not exists (
      select
      from needed as w
      where not exists (select from edge as e where e.source = w.name and e.output = w.output)
    )
    and not exists (
      select from node as n where n.name in ('End of ' || (p_loop ->> 'name'), p_loop ->> 'name') and n.node <> p_loop
    )
$$;

-- Keeps the place of a node that is in another document, as a note, which is left out.
create or replace function private.n8n_placeholder()
  returns jsonb
  language sql
  immutable
as $$
  select '{"name": "", "type": "n8n-nodes-base.stickyNote"}'::jsonb
$$;

-- The body of a loop as a document. Nodes keep their places, so that pointers of problems fit the whole document.
create or replace function private.n8n_loop_document(p_document jsonb, p_loop jsonb, p_body text[])
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'nodes', (
      select jsonb_agg(
        case
          when n.node = p_loop then jsonb_build_object(
            'name', n.node -> 'name', 'type', 'executeWorkflowTrigger', 'typeVersion', 1.1,
            'position', n.node -> 'position'
          )
          when n.node ->> 'name' = any (p_body) then n.node
          else private.n8n_placeholder()
        end order by n.place
      )
      from jsonb_array_elements(p_document -> 'nodes') with ordinality as n (node, place)
    ) || jsonb_build_object('name', 'End of ' || (p_loop ->> 'name'), 'type', 'noOp', 'typeVersion', 1),
    'connections', (
      select jsonb_object_agg(s.source, jsonb_build_object('main', s.outputs))
      from (
        select e.source, (
          select jsonb_agg(coalesce(t.targets, '[]') order by o.output)
          -- The trigger that stands for the loop has one output, the loop's output `loop` (1).
          from generate_series((e.source = p_loop ->> 'name')::int, max(e.output)) as o (output)
          left join lateral (
            select jsonb_agg(jsonb_build_object(
              'node', case when i.target = p_loop ->> 'name' then 'End of ' || i.target else i.target end,
              'type', 'main', 'index', i.input::int
            )) as targets
            from private.n8n_edges(p_document -> 'connections') as i
            where i.source = e.source and i.output = o.output
          ) as t on true
        ) as outputs
        from private.n8n_edges(p_document -> 'connections') as e
        where e.source = any (p_body) or (e.source = p_loop ->> 'name' and e.output <= 1)
        group by e.source
      ) as s
    ),
    'settings', case when p_document #> '{settings,timezone}' is null then '{}'
      else jsonb_build_object('timezone', p_document #> '{settings,timezone}') end
  )
$$;

-- The forEach in the place of a loop. A single item that arrives is a list of one.
create or replace function private.n8n_for_each(p_parameters jsonb, p_path text[])
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'forEach', 'ports', '["main"]'::jsonb, 'list', true,
    'properties', jsonb_build_object(
      'workflow', p_parameters -> 'workflow', 'items', '{{ $.prev[*] }}', 'concurrency', 1, 'maxItems', 10000
    ),
    'problems', jsonb_build_array(private.n8n_problem(
      trim_array(p_path, 1),
      'what the loop does for an item is a workflow of its own, named after this one and the loop: publish it first'
    ))
  )
$$;

-- The definitions of the bodies of loops, [{"node": id, "name", "definition", "children"}], and their problems.
create or replace function private.n8n_children(p_loops jsonb, p_made jsonb, out children jsonb, out problems jsonb)
  language plpgsql
  stable
as $$
declare
  v_loop record;
  v_child record;
  v_start text;
begin
  children := '[]';
  problems := '[]';
  for v_loop in select l.key as name, l.value as document from jsonb_each(p_loops) as l loop
    v_child := private.n8n_definition(v_loop.document, true);
    v_start := private.n8n_problem(array['connections', v_loop.name, 'main'], '') ->> 'pointer';
    children := children || jsonb_build_object(
      'node', p_made #> array[v_loop.name, 'id'], 'name', v_loop.name, 'definition', v_child.definition,
      'children', v_child.children
    );
    problems := problems || coalesce((
      select jsonb_agg(case
        when starts_with(p.problem ->> 'pointer', v_start || '/0/') then p.problem || jsonb_build_object(
          'pointer', overlay(p.problem ->> 'pointer' placing '1' from length(v_start) + 2)
        )
        else p.problem
      end)
      from jsonb_array_elements(v_child.problems) as p (problem)
      where p.problem ->> 'pointer' ~ '^/(nodes|connections)/'
    ), '[]');
  end loop;
end
$$;
