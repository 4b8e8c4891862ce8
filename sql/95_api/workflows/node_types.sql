-- kind: code
-- The types of nodes that a definition can have. Writes and locks nothing.

create or replace function public.node_types()
  returns setof public.node_type
  language sql
  stable
  security definer -- definer because the table also names the functions of custom types
  set search_path = pg_catalog, pg_temp
  rows 50
as $$
  select
    t.name, t.version, t.kind, t.description, t.ports, t.inputs, t.properties, t.category, t.icon,
    coalesce(t.docs, case when t.function is null then 'docs/reference/nodes.md#' || lower(t.name collate "C") end)
  from engine.node_types as t
  order by t.name, t.version
$$;
comment on function public.node_types() is
  'The types of nodes that a definition can have, with the JSON schema of their properties, and what an editor shows of them, by name and version. Example: select name, icon from node_types() where kind = ''wait'';';

grant execute on function public.node_types() to flowgres_user, flowgres_dba;
