-- kind: code
-- Secret variables: what a definition may name, and what workers read. Writes and locks nothing.

-- Finds variables that a definition names in the wrong way: secret ones that do not exist, and
-- secret ones that are read like others.
create or replace function engine.variable_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := public.current_organization_id();
  v_secrets constant text[] := array(
    select v.name from public.variables as v where v.organization_id = v_organization_id and v.is_secret
  );
  v_use record;
begin
  -- Parsing every expression once more takes time; a DBA without a context may name any variable.
  if v_organization_id is null
    or p_definition::text !~ (case when v_secrets = '{}' then 'secrets' else 'secrets|vars' end)
  then
    return;
  end if;
  for v_use in select u.* from engine.variable_uses(p_definition) as u loop
    if v_use.is_secret and v_use.name <> all (v_secrets) then
      return next engine.problem(v_use.place, 'UNKNOWN_SECRET', format(
        'there is no secret variable %s in this organization: set_variable(''%1$s'', …, secret => true)', v_use.name
      ));
    elsif not v_use.is_secret and v_use.name = any (v_secrets) then
      return next engine.problem(v_use.place, 'SECRET_NOT_ALLOWED', format(
        'the variable %s is secret: write $.secrets.%1$s, in headers, query or body of httpRequest', v_use.name
      ));
    end if;
  end loop;
end
$$;

-- Lists the variables that the expressions of a definition name, secret and other ones.
create or replace function engine.variable_uses(p_definition jsonb)
  returns table (place text[], name text, is_secret boolean)
  language sql
  stable
as $$
  select distinct on (n.place, p.place, u.name, u.is_secret)
    array['nodes', (n.place - 1)::text, 'properties'] || p.place, u.name, u.is_secret
  from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  cross join lateral engine.node_type(n.node ->> 'type') as t
  cross join lateral engine.parse_properties(coalesce(n.node -> 'properties', '{}'), t.properties) as p
  cross join lateral (
    select substr(s.source, 9) as name, true as is_secret
    from unnest(p.sources) as s (source)
    where starts_with(s.source, 'secrets.')
    union all
    select v.name, false from unnest(p.variables) as v (name)
  ) as u
  where t.name is not null
    and t.kind <> 'trigger'
  order by n.place, p.place, u.name, u.is_secret
$$;

create or replace function engine.read_secret_variables(p_organization_id uuid, p_names text[])
  returns table (
    name text,
    id uuid,
    version int,
    allowed_hosts text[],
    key_id text,
    wrapped_key bytea,
    sealed bytea
  )
  language sql
  stable
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select v.name, s.id, s.version, v.allowed_hosts, s.key_id, s.wrapped_key, s.sealed
  from public.variables as v
  join private.secrets as s on s.organization_id = v.organization_id and s.id = v.secret_id
  where v.organization_id = p_organization_id
    and v.name = any (p_names)
$$;
comment on function engine.read_secret_variables(uuid, text[]) is
  'For workers: the sealed values of secret variables of an organization; no row for a name that is none. Only a process with the master key can open them. Example: select name, allowed_hosts from engine.read_secret_variables(''0190…'', ''{relay_key}'');';

grant execute on function engine.read_secret_variables(uuid, text[]) to flowgres_worker;
