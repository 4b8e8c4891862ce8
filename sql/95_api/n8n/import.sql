-- kind: code
-- Imports a workflow that n8n's editor has exported. Everything that has no counterpart with the
-- same meaning is reported as a problem with its place. Writes public.workflows through
-- create_workflow; locks nothing.

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
  v_import.workflow_id := private.n8n_create(
    coalesce(import_n8n_workflow.name, private.clean_name(doc ->> 'name', 'n8n')), v_result.definition,
    v_result.children
  );
  v_import.problems := v_result.problems;
  return v_import;
end
$$;
comment on function public.import_n8n_workflow(jsonb, text) is
  'Creates a draft from a workflow that n8n''s editor has exported; docs/reference/n8n.md lists what is translated. problems lists every parameter, expression and connection that is not, with the JSON pointer of its place. A node without a counterpart becomes a node of type unconverted, which cannot be published. What a loop does for an item becomes a workflow of its own, named after the workflow and the loop. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (above 1 MiB), LIMIT_REACHED (workflows). Example: select workflow_id, problems from import_n8n_workflow(''{"name": "Orders", "nodes": [], "connections": {}}'');';

grant execute on function public.import_n8n_workflow(jsonb, text) to flowgres_user, flowgres_dba;

-- The path of the item of each node, by the node's name.
create or replace function private.n8n_places(p_nodes jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(
    jsonb_object_agg(n.node ->> 'name', '$.nodes.' || coalesce(n.names ->> 'item', n.names ->> 'id')), '{}'
  )
  from private.n8n_named(p_nodes) as n
  where n.node ->> 'type' not in (
    'n8n-nodes-base.scheduleTrigger', 'n8n-nodes-base.cron', 'n8n-nodes-base.errorTrigger'
  ) and n.node ->> 'name' !~ E'^($|\\x01)' -- the importer keeps '' and names after \x01 for itself
$$;

-- Translates the settings of the workflow: {"settings", "problems"}.
create or replace function private.n8n_settings(p_document jsonb)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_read constant record := private.n8n_read(
    p_document - 'pinData' - 'staticData', private.n8n_rules('@document', 0), '{}', '{}'
  );
  v_zone constant text := v_read.kept #>> '{settings,timezone}';
  v_limit constant text := v_read.kept #>> '{settings,executionTimeout}';
begin
  return jsonb_build_object(
    'settings', jsonb_strip_nulls(jsonb_build_object(
      'timezone', case when engine.is_time_zone(v_zone) then v_zone end,
      'deadlineMs', case when v_limit ~ '^[1-9][0-9]{0,7}$' then v_limit::bigint * 1000 end
    )),
    'problems', v_read.problems || coalesce((
      select jsonb_agg(private.n8n_problem(f.path, f.message))
      from (
        values
          (v_zone is not null and not engine.is_time_zone(v_zone), '{settings,timezone}'::text[],
            'it is no time zone such as Europe/Berlin; schedules are read in UTC'),
          (v_limit !~ '^(-1|[0-9]{1,8})$', '{settings,executionTimeout}', 'it is no number of seconds'),
          (coalesce(p_document -> 'staticData', 'null') not in ('null', '{}', '""'), '{staticData}',
            'what n8n remembers between runs is not taken over'),
          (coalesce(p_document -> 'pinData', 'null') not in ('null', '{}'), '{pinData}',
            'pinned outputs are not taken over; a node may have a pin')
      ) as f (is_so, path, message)
      where f.is_so
    ), '[]')
  );
end
$$;

-- Problems of nodes that only matter when a connection leads on from them.
create or replace function private.n8n_followed_problems(p_made jsonb, p_connections jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(private.n8n_problem(
    array['nodes', m.made ->> 'place'],
    coalesce(m.made ->> 'note', 'what follows gets one list; n8n runs it once for each item')
  ) order by (m.made ->> 'place')::int), '[]')
  from jsonb_each(p_made) as m (name, made)
  where (m.made -> 'list' = 'true' or jsonb_typeof(m.made -> 'note') = 'string')
    and p_connections @> jsonb_build_array(jsonb_build_object('source', m.made -> 'from'))
$$;

-- The definition, its problems, and the definitions of what its loops do. p_is_child: the document
-- is the body of a loop.
create or replace function private.n8n_definition(
  p_document jsonb,
  p_is_child boolean default false,
  out definition jsonb,
  out problems jsonb,
  out children jsonb
)
  language plpgsql
  stable
as $$
declare
  v_split constant record := private.n8n_loops(p_document);
  v_document constant jsonb := v_split.document;
  v_settings constant jsonb := private.n8n_settings(v_document);
  v_places constant jsonb := private.n8n_places(v_document -> 'nodes') || jsonb_build_object(
    chr(1) || 'zone', coalesce(v_settings #>> '{settings,timezone}', 'UTC'), chr(1) || 'child', p_is_child
  );
  v_unreached constant text[] := private.n8n_without_item(v_document -> 'nodes', v_document -> 'connections');
  v_nodes jsonb := '[]';
  v_made jsonb := '{}';
  v_graph record;
  v_loops record;
  v_node record;
  v_one jsonb;
begin
  problems := v_settings -> 'problems' || coalesce((
    select jsonb_agg(
      private.n8n_problem(array['nodes', (n.place - 1)::text], 'a node has a name and a type') order by n.place
    )
    from jsonb_array_elements(v_document -> 'nodes') with ordinality as n (node, place)
    where jsonb_typeof(n.node -> 'type') is distinct from 'string'
      or jsonb_typeof(n.node -> 'name') is distinct from 'string'
  ), '[]');
  for v_node in
    select n.*, o.outputs
    from private.n8n_named(v_document -> 'nodes') as n
    left join (
      select e.source, max(e.output) + 1 as outputs
      from private.n8n_edges(v_document -> 'connections') as e
      where e.kind = 'main'
      group by e.source
    ) as o on o.source = n.node ->> 'name'
    order by n.place
  loop
    v_one := private.n8n_definition_node(
      v_node.place, v_node.node, v_node.names, least(coalesce(v_node.outputs, 0), 90),
      v_settings #>> '{settings,timezone}',
      v_places || jsonb_build_object('', case when v_node.node ->> 'name' <> all (v_unreached) then '$.prev' end)
    );
    problems := problems || (v_one -> 'problems');
    if v_made ? (v_node.node ->> 'name') then
      problems := problems || private.n8n_problem(
        array['nodes', v_node.place::text, 'name'], 'another node has this name; connections lead to that one'
      );
    else
      v_made := v_made || jsonb_build_object(
        v_node.node ->> 'name', v_one || jsonb_build_object('place', v_node.place)
      );
    end if;
    v_nodes := v_nodes || (v_one -> 'nodes');
  end loop;

  v_graph := private.n8n_connections(v_document -> 'connections', v_made);
  definition := private.n8n_completed(v_nodes, v_graph.connections)
    || jsonb_build_object('settings', v_settings -> 'settings');
  problems := problems || v_graph.problems || private.n8n_followed_problems(v_made, v_graph.connections);
  v_loops := private.n8n_children(v_split.loops, v_made);
  children := v_loops.children;
  problems := problems || v_loops.problems;
end
$$;

-- Creates the workflows of loops, then the one that runs them.
create or replace function private.n8n_create(p_name text, p_definition jsonb, p_children jsonb)
  returns uuid
  language plpgsql
  volatile
as $$
declare
  v_definition jsonb := p_definition;
  v_child jsonb;
  v_place int;
  v_id uuid;
begin
  for v_child in select * from jsonb_array_elements(p_children) loop
    v_id := private.n8n_create(
      private.clean_name(left(p_name, 120) || ': ' || (v_child ->> 'name'), p_name), v_child -> 'definition',
      v_child -> 'children'
    );
    v_place := (
      select n.place - 1
      from jsonb_array_elements(v_definition -> 'nodes') with ordinality as n (node, place)
      where n.node -> 'id' = v_child -> 'node'
    );
    v_definition := jsonb_set(
      v_definition, array['nodes', v_place::text, 'properties', 'workflow'], to_jsonb(v_id::text)
    );
  end loop;
  select w.id into v_id from public.create_workflow(p_name, v_definition) as w;
  return v_id;
end
$$;
