-- kind: code
-- The JSON schemas of a definition; what a schema cannot express is in the other files of this
-- folder. Writes and locks nothing.

create or replace function engine.node_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "type": "object", "required": ["id", "type"], "additionalProperties": false,
    "properties": {
      "id": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
      "type": {"type": "string", "maxLength": 80},
      "name": {"type": "string", "maxLength": 200},
      "notes": {"type": "string", "maxLength": 5000},
      "position": {
        "type": "object", "required": ["x", "y"], "additionalProperties": false,
        "properties": {"x": {"type": "number"}, "y": {"type": "number"}}
      },
      "properties": {"type": "object"},
      "credentials": {
        "type": "object", "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 200}
      },
      "disabled": {"type": "boolean"},
      "strict": {"type": "boolean"},
      "onError": {"enum": ["stop", "continue", "errorOutput"]},
      "timeoutMs": {"type": "integer", "minimum": 1, "maximum": 3600000},
      "retry": {
        "type": "object", "additionalProperties": false,
        "properties": {
          "maxAttempts": {"type": "integer", "minimum": 1, "maximum": 100},
          "backoff": {"enum": ["exponential", "fixed"]},
          "initialMs": {"type": "integer", "minimum": 0, "maximum": 3600000},
          "maxMs": {"type": "integer", "minimum": 0, "maximum": 3600000},
          "jitter": {"type": "boolean"}
        }
      },
      "pin": {}
    }
  }'::jsonb
$$;

create or replace function engine.settings_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'type', 'object',
    'additionalProperties', false,
    'properties', engine.flow_schemas() || '{
      "errorHandling": {"enum": ["stop", "continue", "errorOutput"]},
      "maxRetries": {"type": "integer", "minimum": 0, "maximum": 99},
      "timeout": {"type": "integer", "minimum": 1, "maximum": 3600000},
      "deadlineMs": {"type": ["integer", "null"], "minimum": 1, "maximum": 157680000000},
      "errorWorkflow": {
        "type": ["string", "null"],
        "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
      },
      "timezone": {"type": "string", "maxLength": 64},
      "priority": {"type": "integer", "minimum": -1000, "maximum": 1000}
    }'
  )
$$;

create or replace function engine.definition_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'type', 'object',
    'required', '["nodes"]'::jsonb,
    'additionalProperties', false,
    'properties', jsonb_build_object(
      'nodes', jsonb_build_object('type', 'array', 'maxItems', engine.max_nodes(), 'items', engine.node_schema()),
      'connections', jsonb_build_object('maxItems', engine.max_connections()) || '{
        "type": "array",
        "items": {
          "type": "object", "required": ["source", "target"], "additionalProperties": false,
          "properties": {
            "source": {"type": "string", "maxLength": 64},
            "target": {"type": "string", "maxLength": 64},
            "sourceOutput": {"type": "string", "maxLength": 64},
            "targetInput": {"type": "string", "maxLength": 64}
          }
        }
      }'::jsonb,
      'settings', engine.settings_schema()
    )
  )
$$;

-- The minimal schema that later checks need, so that one wrong setting does not hide a cycle.
create or replace function engine.readable_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'type', 'object',
    'required', '["nodes"]'::jsonb,
    'properties', jsonb_build_object(
      'nodes', jsonb_build_object('maxItems', engine.max_nodes()) || '{
        "type": "array",
        "items": {
          "type": "object", "required": ["id", "type"],
          "properties": {"id": {"type": "string"}, "type": {"type": "string"}, "properties": {"type": "object"}}
        }
      }'::jsonb,
      'connections', jsonb_build_object('maxItems', engine.max_connections()) || '{
        "type": "array",
        "items": {
          "type": "object", "required": ["source", "target"],
          "properties": {
            "source": {"type": "string"}, "target": {"type": "string"},
            "sourceOutput": {"type": "string"}, "targetInput": {"type": "string"}
          }
        }
      }'::jsonb,
      'settings', '{"type": "object"}'::jsonb
    )
  )
$$;
