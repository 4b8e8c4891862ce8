-- kind: code
-- Notices of nodes that can be published but are probably not meant so: workflows that do not exist, and inputs that
-- nothing leads to. Reads public.workflows and engine.node_types; writes and locks nothing.

create or replace function engine.graph_notices(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
begin
  return query select * from engine.called_workflow_notices(p_definition, public.current_organization_id());
  return query select * from engine.input_notices(p_definition);
end
$$;

-- Workflows of the organization that a node names, by id or name, and that do not exist or are
-- archived. They may be made later, so this keeps nothing from being published. None without an
-- organization, or when an expression gives the name.
create or replace function engine.called_workflow_notices(p_definition jsonb, p_organization_id uuid)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  select p.*
  from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  cross join lateral (values (n.node #>> '{properties,workflow}')) as w (name)
  cross join lateral engine.notice(
    array['nodes', (n.place - 1)::text, 'properties', 'workflow'], 'MISSING_WORKFLOW',
    format('there is no workflow %s yet: until there is one, the node fails with NOT_FOUND', left(w.name, 200))
  ) as p
  where split_part(n.node ->> 'type', '@', 1) in ('executeWorkflow', 'forEach', 'repeat')
    and jsonb_typeof(n.node #> '{properties,workflow}') = 'string'
    and strpos(w.name, '{{') = 0
    and p_organization_id is not null
    and not exists (
      select
      from public.workflows as k
      where k.organization_id = p_organization_id
        and w.name in (k.id::text, k.name)
        and k.archived_at is null
    )
$$;

-- Inputs that a node needs and nothing leads to: both of `compare`, and of `merge` by position or fields.
create or replace function engine.input_notices(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  select p.*
  from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  cross join unnest('{main,second}'::text[]) as i (input)
  cross join lateral engine.notice(
    array['nodes', (n.place - 1)::text], 'UNCONNECTED_INPUT',
    format('nothing leads to the input %s of %s, so that its list there is always empty', i.input, n.node ->> 'id')
  ) as p
  where (
      split_part(n.node ->> 'type', '@', 1) = 'compare'
      or (
        split_part(n.node ->> 'type', '@', 1) = 'merge'
        and n.node #>> '{properties,mode}' in ('position', 'fields')
      )
    )
    and not exists (
      select
      from jsonb_array_elements(coalesce(p_definition -> 'connections', '[]')) as c (connection)
      where c.connection -> 'target' = n.node -> 'id'
        and coalesce(c.connection ->> 'targetInput', 'main') = i.input
    )
$$;
