-- kind: code
-- Node types that a DBA adds: one SQL function each, owned by flowgres_sql and running as that role, so that it can do
-- no more than flowgres_sql may.

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
declare
  v_outcome engine.outcome;
begin
  if p_function is null then
    perform private.raise_error('NODE_FAILED', format('there is no node %s', p_type), null, '{"code": "UNKNOWN_TYPE"}');
  end if;
  -- The name comes from engine.register_node, which writes it by the catalog.
  execute format('select o.port, o.output from %s($1, $2, $3) as o', p_function)
  into v_outcome
  using p_properties, p_prev, p_inputs;
  return v_outcome;
end
$$;
