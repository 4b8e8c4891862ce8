-- kind: code
-- All that drawing a run needs, in one call: the nodes of its version with the state of their steps,
-- and the connections with whether the run has passed them. Writes and locks nothing.

create or replace function public.workflow_run_graph(run uuid)
  returns public.workflow_run_graph
  language plpgsql
  stable
  security definer -- definer because it reads the version too, for which runs:read is enough
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_run public.workflow_runs;
  v_definition jsonb;
  v_graph public.workflow_run_graph;
begin
  perform private.require_run(run, 'runs:read');
  select r.* into v_run from public.workflow_runs as r where r.id = run;
  select v.definition into v_definition
  from public.workflow_versions as v
  where v.organization_id = v_run.organization_id and v.workflow_id = v_run.workflow_id and v.version = v_run.version;
  v_graph.run_id := v_run.id;
  v_graph.status := v_run.status;
  v_graph.nodes := private.graph_nodes(v_run, v_definition);
  v_graph.connections := private.graph_links(v_graph.nodes, v_definition);
  return v_graph;
end
$$;
comment on function public.workflow_run_graph(uuid) is
  'What drawing a run needs: each node of its version with the state of its step, and each connection with whether the run has passed it. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select n.node, n.status from workflow_run_graph(''0190…'') as g, unnest(g.nodes) as n;';

-- Returns the nodes of a definition, in its order, with their steps in a run. When the run has ended
-- a node without a step was skipped.
create or replace function private.graph_nodes(p_run public.workflow_runs, p_definition jsonb)
  returns public.workflow_run_graph_node[]
  language sql
  stable
as $$
  select coalesce(array_agg(
    row(
      n.node ->> 'id',
      n.node ->> 'type',
      coalesce(s.status, case when p_run.finished_at is not null then 'skipped' end),
      s.attempt,
      s.port,
      s.started_at,
      s.finished_at,
      s.error
    )::public.workflow_run_graph_node
    order by n.place
  ), '{}')
  from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  left join public.workflow_runs_steps(p_run) as s on s.node = n.node ->> 'id'
$$;

-- Returns the connections of a definition, in its order. A connection is passed when its source has
-- ended at its port.
create or replace function private.graph_links(p_nodes public.workflow_run_graph_node[], p_definition jsonb)
  returns public.workflow_run_graph_link[]
  language sql
  immutable
as $$
  select coalesce(array_agg(
    row(
      c.connection ->> 'source',
      coalesce(c.connection ->> 'sourceOutput', 'main'),
      c.connection ->> 'target',
      coalesce(c.connection ->> 'targetInput', 'main'),
      coalesce(
        n.status in ('success', 'error') and n.port = coalesce(c.connection ->> 'sourceOutput', 'main'), false
      )
    )::public.workflow_run_graph_link
    order by c.place
  ), '{}')
  from jsonb_array_elements(coalesce(p_definition -> 'connections', '[]')) with ordinality as c (connection, place)
  left join unnest(p_nodes) as n on n.node = c.connection ->> 'source'
$$;

grant execute on function public.workflow_run_graph(uuid) to flowgres_user, flowgres_dba;
