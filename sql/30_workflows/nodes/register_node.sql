-- kind: code
-- Node types that a DBA registers: one SQL function each, owned by flowgres_sql and security
-- definer, so that it has the rights of flowgres_sql only. The function takes (properties jsonb,
-- prev jsonb, inputs jsonb) and returns jsonb, the output at port main, or has the out parameters
-- (port text, output jsonb). Writes engine.node_types; locks only the row that it writes.

-- Runs a registered pure node.
create or replace function engine.run_registered(
  p_type text,
  p_function text,
  p_properties jsonb,
  p_prev jsonb,
  p_inputs jsonb
)
  returns engine.outcome
  language plpgsql
  immutable
as $$
begin
  return engine.call_registered(
    engine.registered_function(p_type, p_function, 'pure'), p_properties, p_prev, p_inputs
  );
end
$$;

-- Why a function cannot be a node type; null when it can.
create or replace function engine.registration_problem(p_function regprocedure, p_kind text)
  returns text
  language sql
  stable
as $$
  select case
    when p_kind is null or p_kind not in ('pure', 'local') then 'A registered node is pure or local.'
    when f.prokind <> 'f' or f.proretset or oidvectortypes(f.proargtypes) <> 'jsonb, jsonb, jsonb'
      then 'The function takes (properties jsonb, prev jsonb, inputs jsonb).'
    when f.prorettype <> 'jsonb'::regtype
      and (f.prorettype <> 'record'::regtype or f.proargnames[4:] <> '{port,output}')
      then 'The function returns jsonb, or has the out parameters (port text, output jsonb).'
    when pg_get_userbyid(f.proowner) <> 'flowgres_sql' or not f.prosecdef
      then 'The function belongs to flowgres_sql and is security definer.'
    when not exists (select from unnest(f.proconfig) as c where starts_with(c, 'search_path='))
      then 'The function sets search_path.'
    when p_kind = 'pure' and f.provolatile <> 'i' then 'The function of a pure node is immutable.'
    when has_schema_privilege('flowgres_sql', f.pronamespace, 'create')
      then 'flowgres_sql has no CREATE on the schema of the function: it could replace it.'
  end
  from pg_catalog.pg_proc as f
  where f.oid = p_function
$$;

create or replace function engine.register_node(
  name text,
  function regprocedure,
  kind text default 'pure',
  description text default '',
  properties jsonb default '{"type": "object"}',
  ports text[] default '{main}',
  inputs text[] default '{main}',
  version int default 1,
  category text default 'custom',
  icon text default 'puzzle',
  docs text default null
)
  returns engine.node_types
  language plpgsql
  volatile
  security definer -- definer because node types are not written by anybody else
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text := engine.registration_problem(register_node.function, register_node.kind);
  v_type engine.node_types;
begin
  if exists (select from engine.node_types as t where t.name = register_node.name and t.function is null) then
    v_problem := format('%s is a built-in node type.', register_node.name);
  elsif register_node.function is null then
    v_problem := 'A function is needed.';
  elsif register_node.kind = 'local' and register_node.inputs <> '{main}' then
    v_problem := 'A local node has the input main only.';
  end if;
  if v_problem is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT', v_problem, 'docs/how-to/own-nodes.md shows how a node is registered.',
      jsonb_build_object('function', register_node.function)
    );
  end if;

  insert into engine.node_types (
    name, version, kind, category, icon, docs, description, ports, inputs, properties, function
  )
  values (
    register_node.name, register_node.version, register_node.kind, register_node.category, register_node.icon,
    register_node.docs, register_node.description, register_node.ports, register_node.inputs,
    register_node.properties, register_node.function::text
  )
  on conflict on constraint node_types_pkey do update
  set
    kind = excluded.kind,
    category = excluded.category,
    icon = excluded.icon,
    docs = excluded.docs,
    description = excluded.description,
    ports = excluded.ports,
    inputs = excluded.inputs,
    properties = excluded.properties,
    function = excluded.function
  returning * into v_type;
  return v_type;
end
$$;
comment on function engine.register_node(
  text, regprocedure, text, text, jsonb, text[], text[], int, text, text, text
) is
  'Registers a function as a node type. Repeating it for the same version replaces that version. properties is a JSON schema; category, icon (a name of lucide.dev) and docs (an address) are for editors. Errors: INVALID_ARGUMENT. Example: select engine.register_node(''double'', ''custom.double(jsonb, jsonb, jsonb)''::regprocedure);';
grant execute on function engine.register_node(
  text, regprocedure, text, text, jsonb, text[], text[], int, text, text, text
)
  to flowgres_dba;

-- Resolves the function that register_node stored as text, such as
-- custom.double(jsonb,jsonb,jsonb), and checks again what register_node checked: the caller runs as
-- flowgres_owner, so a function that has become security invoker would run with the owner's rights.
create or replace function engine.registered_function(p_type text, p_function text, p_kind text)
  returns regprocedure
  language plpgsql
  stable
as $$
declare
  v_function constant regprocedure := to_regprocedure(p_function);
  v_problem text;
begin
  if v_function is null then
    perform private.raise_error(
      'NODE_FAILED', format('There is no node %s any more.', p_type), null, '{"code": "UNKNOWN_TYPE"}'
    );
  end if;
  v_problem := engine.registration_problem(v_function, p_kind);
  if v_problem is not null then
    perform private.raise_error(
      'NODE_FAILED', format('The function of node %s has changed since it was registered. %s', p_type, v_problem),
      'A DBA restores the function and calls engine.register_node again.', '{"code": "NODE_CHANGED"}'
    );
  end if;
  return v_function;
end
$$;

-- Calls the function and returns its outcome. Raises TOO_LARGE for an output that is too large.
create or replace function engine.call_registered(
  p_function regprocedure,
  p_properties jsonb,
  p_prev jsonb,
  p_inputs jsonb
)
  returns engine.outcome
  language plpgsql
  volatile
as $$
declare
  v_outcome engine.outcome;
  v_schema text;
  v_name text;
  v_returns oid;
begin
  select n.nspname, f.proname, f.prorettype
  into v_schema, v_name, v_returns
  from pg_catalog.pg_proc as f
  join pg_catalog.pg_namespace as n on n.oid = f.pronamespace
  where f.oid = p_function;
  if v_returns = 'jsonb'::regtype then
    execute format('select ''main'', %I.%I($1, $2, $3)', v_schema, v_name)
    into v_outcome
    using p_properties, p_prev, p_inputs;
  else
    execute format('select o.port, o.output from %I.%I($1, $2, $3) as o', v_schema, v_name)
    into v_outcome
    using p_properties, p_prev, p_inputs;
  end if;
  perform engine.refuse_value(v_outcome.output, 'The output');
  return v_outcome;
end
$$;
