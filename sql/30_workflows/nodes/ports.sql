-- kind: code
-- The ports of a node, which may depend on its properties. Writes and locks nothing.

-- A switch has a port for each rule, named or numbered from 0, and one for the fallback.
create or replace function engine.switch_ports(p_properties jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg(p.port order by p.place)
  from (
    select r.port, min(r.place) as place
    from (
      select coalesce(r.rule ->> 'port', (r.place - 1)::text), r.place
      from jsonb_array_elements(
        case when jsonb_typeof(p_properties -> 'rules') = 'array' then p_properties -> 'rules' else '[]' end
      ) with ordinality as r (rule, place)
      union all
      select coalesce(p_properties ->> 'fallback', 'fallback'), 1000
    ) as r (port, place)
    group by r.port
  ) as p
$$;

-- A wait has a port for each answer that it may get, and timeout when its answer may not come.
create or replace function engine.wait_ports(p_properties jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_properties ? 'approval' then '{approved,rejected,timeout}'::text[]
    when p_properties ?| '{signal,webhook}' then '{main,timeout}'::text[]
    else '{main}'::text[]
  end
$$;

-- All ports of a node, with error where the node has onError errorOutput.
create or replace function engine.node_ports(p_type engine.node_types, p_properties jsonb, p_on_error text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select case p_type.name
      when 'switch' then engine.switch_ports(p_properties)
      when 'wait' then engine.wait_ports(p_properties)
      else p_type.ports
    end
    || case when p_on_error = 'errorOutput' and p_type.kind <> 'trigger' then '{error}'::text[] else '{}' end
$$;

-- The node type that a name in a definition means: `set` is the newest version, `set@1` that one;
-- null for none.
create or replace function engine.node_type(p_name text)
  returns engine.node_types
  language sql
  stable
as $$
  select t
  from engine.node_types as t
  where t.name = split_part(p_name, '@', 1)
    and (strpos(p_name, '@') = 0 or p_name = t.name || '@' || t.version)
  order by t.version desc
  limit 1
$$;
