-- kind: code
-- The built-in node types that wait; node_types.sql says how their properties are read. Writes engine.node_types when
-- it is loaded; locks only those rows.

insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values
  ('wait', 1, 'wait', 'flow', 'hourglass',
    'Waits for a time, a signal, a request or an approval.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "seconds": {"type": "number", "minimum": 0, "maximum": 157680000},
      "until": {"type": ["string", "number"]},
      "timezone": {"type": "string", "maxLength": 64},
      "signal": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,200}$"},
      "webhook": {
        "type": "object", "format": "static", "additionalProperties": false,
        "properties": {
          "method": {
            "anyOf": [
              {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"], "format": "static"},
              {
                "type": "array", "minItems": 1, "format": "static",
                "items": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"], "format": "static"}
              }
            ]
          }
        }
      },
      "approval": {
        "type": "object", "format": "static", "additionalProperties": false,
        "properties": {
          "role": {"enum": ["owner", "admin", "member"]},
          "users": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "minLength": 1}}
        }
      },
      "timeoutSeconds": {"type": "number", "minimum": 0, "maximum": 157680000}
    },
    "anyOf": [
      {"required": ["seconds"]}, {"required": ["until"]}, {"required": ["signal"]}, {"required": ["webhook"]},
      {"required": ["approval"]}
    ]
  }'),

  ('executeWorkflow', 1, 'wait', 'flow', 'workflow',
    'Runs another workflow and waits for its result.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["workflow"],
    "properties": {
      "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
      "input": {"default": "{{ $.prev }}"},
      "wait": {"type": "boolean"}
    }
  }'),

  ('forEach', 1, 'wait', 'flow', 'repeat', 'Runs another workflow for each item of a list.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["workflow"],
    "properties": {
      "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
      "items": {"type": "array", "default": "{{ $.prev }}"},
      "input": {"deferred": true},
      "concurrency": {"type": "integer", "minimum": 1, "maximum": 100, "format": "static"},
      "continue": {"type": "boolean", "format": "static"},
      "maxItems": {"type": "integer", "minimum": 1, "maximum": 10000, "format": "static"}
    }
  }'),

  ('repeat', 1, 'wait', 'flow', 'repeat-2',
    'Runs another workflow again and again, until a condition holds.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["workflow", "until"],
    "properties": {
      "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
      "input": {"default": "{{ $.prev }}"},
      "until": {"type": ["string", "boolean"], "format": "predicate", "deferred": true},
      "maxIterations": {"type": "integer", "minimum": 1, "maximum": 10000, "format": "static"}
    }
  }')
on conflict (name, version) do update
set
  kind = excluded.kind,
  category = excluded.category,
  icon = excluded.icon,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;
