-- kind: code
-- The JSON schema (draft 2020-12) of a workflow in a file, for editors that complete and check.
-- Writes and locks nothing.

-- A schema of properties as editors read it: a text with an expression may stand for any value
-- (p_expressions), and formats, which say how the engine reads a text, become descriptions.
create or replace function private.editor_schema(p_schema jsonb, p_expressions boolean, p_is_root boolean default false)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_format constant text := p_schema ->> 'format';
  v_schema jsonb := p_schema - 'format' - 'deferred' - 'secret';
begin
  if jsonb_typeof(p_schema) <> 'object' or p_schema = '{}' then
    return p_schema;
  end if;
  if p_schema ? 'properties' then
    v_schema := jsonb_set(v_schema, '{properties}', (
      select coalesce(jsonb_object_agg(p.key, private.editor_schema(p.value, p_expressions)), '{}')
      from jsonb_each(p_schema -> 'properties') as p
    ));
  end if;
  if p_schema ? 'anyOf' then
    v_schema := jsonb_set(v_schema, '{anyOf}', (
      select jsonb_agg(private.editor_schema(a.schema, p_expressions) order by a.place)
      from jsonb_array_elements(p_schema -> 'anyOf') with ordinality as a (schema, place)
    ));
  end if;
  if p_schema ? 'items' then
    v_schema := jsonb_set(v_schema, '{items}', private.editor_schema(p_schema -> 'items', p_expressions));
  end if;
  if jsonb_typeof(p_schema -> 'additionalProperties') = 'object' then
    v_schema := jsonb_set(
      v_schema, '{additionalProperties}', private.editor_schema(p_schema -> 'additionalProperties', p_expressions)
    );
  end if;
  if v_format is not null then
    return v_schema || jsonb_build_object('description', case v_format
      when 'predicate' then 'A path without braces that is true or false, such as $.prev.total > 100.'
      when 'each' then 'A path without braces that is true or false for each item, such as $.item.quantity > 0.'
      when 'path' then 'A path without braces that gives a value, such as $.prev.total.'
      else 'A constant: no expression is evaluated here.'
    end);
  end if;
  if not p_expressions or p_is_root or v_schema = '{"type": "string"}' then
    return v_schema;
  end if;
  return jsonb_build_object('anyOf', jsonb_build_array(v_schema, '{"$ref": "#/$defs/expression"}'::jsonb));
end
$$;

-- The schema of a node: the properties depend on its type. A name without a version
-- is the newest.
create or replace function private.node_editor_schema()
  returns jsonb
  language sql
  stable
as $$
  select jsonb_set(engine.node_schema(), '{properties,type}', jsonb_build_object('anyOf', jsonb_agg(
      jsonb_build_object(
        'enum', n.names, 'description', format('%s Ports: %s.', t.description, array_to_string(t.ports, ', '))
      )
      order by t.name, t.version
    )))
    || jsonb_build_object('allOf', jsonb_agg(
      jsonb_build_object(
        'if', jsonb_build_object(
          'properties', jsonb_build_object('type', jsonb_build_object('enum', n.names)), 'required', '["type"]'::jsonb
        ),
        'then', jsonb_build_object(
          'properties', jsonb_build_object('properties', private.editor_schema(t.properties, t.kind <> 'trigger', true))
        ) || case when t.properties ? 'required' then '{"required": ["properties"]}' else '{}' end::jsonb
      )
      order by t.name, t.version
    ))
  from engine.node_types as t
  cross join lateral (
    select to_jsonb(array_remove(array[
      case when (engine.node_type(t.name)).version = t.version then t.name end, format('%s@%s', t.name, t.version)
    ], null)) as names
  ) as n
$$;

create or replace function public.workflow_schema()
  returns jsonb
  language sql
  stable
  security definer -- definer because the table of node types also names functions
  set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema',
    'title', 'A Flowgres workflow',
    'type', 'object',
    'required', '["nodes"]'::jsonb,
    'additionalProperties', false,
    'properties', engine.definition_schema() -> 'properties'
      || jsonb_build_object(
        '$schema', '{"type": "string", "description": "Where this schema is."}'::jsonb,
        'name', '{
          "type": "string", "minLength": 1, "maxLength": 200,
          "description": "The name of the workflow; that of the file without its ending when not given."
        }'::jsonb,
        'description', '{"type": "string", "maxLength": 5000, "description": "What the workflow is for."}'::jsonb,
        'tags', '{"type": "array", "maxItems": 20, "items": {"type": "string", "minLength": 1, "maxLength": 50}}'::jsonb
      )
      || jsonb_build_object(
        'nodes', jsonb_set(engine.definition_schema() #> '{properties,nodes}', '{items}', private.node_editor_schema())
      ),
    '$defs', '{
      "expression": {
        "type": "string", "pattern": "[{][{]",
        "description": "An expression: its value replaces the text, such as {{ $.prev.total }}."
      }
    }'::jsonb
  )
$$;
comment on function public.workflow_schema() is
  'The JSON schema of a workflow in a file, from the node types of this installation; also served at /schema/workflow.json. Example: select workflow_schema() -> ''properties'' -> ''tags'';';

grant execute on function public.workflow_schema() to flowgres_user, flowgres_anonymous, flowgres_dba;
