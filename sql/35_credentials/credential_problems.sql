-- kind: code
-- Finds problems of the credentials that the nodes of a definition name: slots, existence, types,
-- and whether the request may use them. Writes and locks nothing.

create or replace function engine.credential_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := public.current_organization_id();
  v_use record;
  v_credential public.credentials;
begin
  for v_use in select u.* from engine.credential_uses(p_definition) as u loop
    if v_use.types is null then
      return next engine.problem(v_use.place, 'UNKNOWN_SLOT', format(
        'a node of type %s has no slot %s for credentials', v_use.type, v_use.slot
      ));
      continue;
    end if;
    select c.* into v_credential
    from public.credentials as c
    where c.organization_id = v_organization_id and c.name = v_use.name;
    -- A DBA without a context may name a credential of any organization.
    if v_organization_id is null then
      continue;
    elsif v_credential.id is null or not private.uses_credential(v_credential) then
      return next engine.problem(v_use.place, 'UNKNOWN_CREDENTIAL', format(
        'there is no credential %s in this organization that you may use', v_use.name
      ));
    elsif not v_use.types ? v_credential.type then
      return next engine.problem(v_use.place, 'CREDENTIAL_TYPE', format(
        'the credential %s is of type %s; here fit %s', v_use.name, v_credential.type,
        (select string_agg(t.type, ', ') from jsonb_array_elements_text(v_use.types) as t (type))
      ));
    end if;
  end loop;
  return query select * from engine.variable_problems(p_definition);
end
$$;

-- The types that fit a slot of a node: of a webhook those of its authentication; null for a slot that
-- the node does not have.
create or replace function engine.fitting_types(p_node jsonb, p_type text, p_slot text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_type <> 'webhookTrigger' or p_slot <> 'auth' then engine.credential_slots(p_type) -> p_slot
    else coalesce(
      '{"basic": ["basic"], "header": ["bearer", "apiKey"], "jwt": ["jwt"], "hmac": ["hmac"]}'::jsonb
        -> (p_node #>> '{properties,authentication}'),
      engine.credential_slots(p_type) -> p_slot
    )
  end
$$;

-- Lists the credentials that nodes of known types name, with the types that fit the slot: null for
-- a slot that the node does not have.
create or replace function engine.credential_uses(p_definition jsonb)
  returns table (place text[], type text, slot text, name text, types jsonb)
  language sql
  stable
as $$
  select
    array['nodes', (n.place - 1)::text, 'credentials', c.key], t.name, c.key, c.value #>> '{}',
    engine.fitting_types(n.node, t.name, c.key)
  from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  cross join lateral engine.node_type(n.node ->> 'type') as t
  cross join lateral jsonb_each(
    case jsonb_typeof(n.node -> 'credentials') when 'object' then n.node -> 'credentials' else '{}' end
  ) as c
  where t.name is not null
    and jsonb_typeof(c.value) = 'string'
  order by n.place, c.key
$$;
