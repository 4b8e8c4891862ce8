-- kind: code
-- The built-in node types. Writes engine.node_types when it is loaded; locks only those rows.

-- The properties of a type are a JSON schema (keywords: schema_problems.sql). Its formats say how a text is read:
--   predicate  a path without braces that is true or false
--   each       such a path, for each item of the property `items` beside it
--   path       a path without braces that gives a value
--   static     never an expression itself; texts inside of a list or an object may hold expressions
-- Other texts may hold expressions between {{ and }}, except in triggers; below `secret` with secret variables.

insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values
  ('manualTrigger', 1, 'trigger', 'trigger', 'mouse-pointer-click', 'Starts a run by hand.', '{main}', '{}',
    '{"type": "object", "additionalProperties": false}'),

  ('apiTrigger', 1, 'trigger', 'trigger', 'plug', 'Starts a run by a call of the API.', '{main}', '{}',
    '{"type": "object", "additionalProperties": false}'),

  ('subworkflowTrigger', 1, 'trigger', 'trigger', 'corner-down-right',
    'Starts a run for another workflow''s executeWorkflow, forEach or repeat.', '{main}', '{}', '{
    "type": "object", "additionalProperties": false,
    "properties": {"input": {"type": "object"}}
  }'),

  ('webhookTrigger', 1, 'trigger', 'trigger', 'webhook', 'Starts a run by an HTTP request.', '{main}', '{}', '{
    "type": "object", "additionalProperties": false, "required": ["path"],
    "properties": {
      "path": {"type": "string", "maxLength": 512},
      "method": {
        "anyOf": [
          {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
          {"type": "array", "minItems": 1, "items": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]}}
        ]
      },
      "authentication": {"enum": ["none", "basic", "header", "jwt", "hmac"]},
      "signature": {
        "type": "object", "additionalProperties": false, "required": ["scheme"],
        "properties": {
          "scheme": {"enum": ["standard", "github", "stripe", "slack", "shopify", "generic"]},
          "toleranceSeconds": {"type": "integer", "minimum": 1, "maximum": 3600},
          "header": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
          "algorithm": {"enum": ["sha1", "sha256", "sha384", "sha512"]},
          "encoding": {"enum": ["hex", "base64", "base64url"]},
          "prefix": {"type": "string", "maxLength": 64}, "content": {"type": "string", "maxLength": 200},
          "timestampHeader": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}
        }
      },
      "allowCidrs": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "maxLength": 50}},
      "rawBody": {"type": "boolean"},
      "respond": {"enum": ["immediately", "lastNode", "respondNode"]},
      "responseTimeoutMs": {"type": "integer", "minimum": 1, "maximum": 120000},
      "dedupeHeader": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
      "dedupe": {"type": "string", "minLength": 1, "maxLength": 500}
    }
  }'),

  ('set', 1, 'pure', 'data', 'pencil',
    'Assigns, renames, picks and omits the keys of an object.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "pick": {"type": "array", "format": "static", "items": {"type": "string", "format": "static"}},
      "omit": {"type": "array", "format": "static", "items": {"type": "string", "format": "static"}},
      "rename": {
        "type": "object", "format": "static", "additionalProperties": {"type": "string", "format": "static"}
      },
      "assign": {"type": "object", "format": "static"},
      "types": {
        "type": "object", "format": "static",
        "additionalProperties": {"enum": ["text", "number", "integer", "boolean", "json"], "format": "static"}
      }
    }
  }'),

  ('if', 1, 'pure', 'logic', 'split', 'Goes one way or the other.', '{true,false}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["when"],
    "properties": {"when": {"type": ["string", "boolean"], "format": "predicate"}}
  }'),

  ('switch', 1, 'pure', 'logic', 'signpost', 'Goes the way of the first rule that holds.', '{fallback}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["rules"],
    "properties": {
      "value": {},
      "rules": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 100,
        "items": {
          "type": "object", "format": "static", "additionalProperties": false,
          "properties": {
            "when": {"type": ["string", "boolean"], "format": "predicate"},
            "equals": {},
            "port": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_ -]{0,63}$", "format": "static"}
          },
          "anyOf": [{"required": ["when"]}, {"required": ["equals"]}]
        }
      },
      "fallback": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_ -]{0,63}$", "format": "static"}
    }
  }'),

  ('filter', 1, 'pure', 'list', 'funnel',
    'Keeps the items of a list for which a condition holds.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["when"],
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "when": {"type": ["string", "boolean"], "format": "each"}
    }
  }'),

  ('merge', 1, 'pure', 'logic', 'merge', 'Brings branches together.', '{main}', '{main,second}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "mode": {"enum": ["choose", "append", "position", "fields"], "format": "static"},
      "by": {"type": "string", "minLength": 1, "format": "static"},
      "bySecond": {"type": "string", "minLength": 1, "format": "static"},
      "join": {"enum": ["inner", "left", "outer"], "format": "static"},
      "choose": {"enum": ["first", "last"], "format": "static"}
    }
  }'),

  ('transform', 1, 'pure', 'data', 'braces',
    'Builds a value from a template or takes one by a path.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "template": {},
      "path": {"type": "string", "format": "path"}
    },
    "anyOf": [{"required": ["template"]}, {"required": ["path"]}]
  }'),

  ('noOp', 1, 'pure', 'logic', 'circle-dot', 'Passes its input on.', '{main}', '{main}',
    '{"type": "object", "additionalProperties": false}'),

  ('stopAndError', 1, 'pure', 'logic', 'octagon-x', 'Ends the run with an error.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["message"],
    "properties": {
      "message": {"type": "string", "minLength": 1},
      "code": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]{0,63}$"}
    }
  }'),

  ('respondToWebhook', 1, 'pure', 'flow', 'reply',
    'Answers the request that started the run; the run goes on.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "status": {"type": "integer", "minimum": 200, "maximum": 599},
      "headers": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
      "body": {}
    }
  }'),

  ('random', 1, 'local', 'data', 'dices', 'Draws a UUID, a token or a number.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "kind": {"enum": ["uuid", "token", "number"], "format": "static"},
      "bytes": {"type": "integer", "minimum": 16, "maximum": 32, "format": "static"},
      "min": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
      "max": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991}
    }
  }'),

  ('dataTable', 1, 'local', 'data', 'table', 'Reads or writes rows of a data table.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["table", "operation"],
    "properties": {
      "table": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$", "format": "static"},
      "operation": {
        "enum": ["get", "list", "insert", "upsert", "update", "delete", "increment"], "format": "static"
      },
      "key": {"type": ["string", "number", "boolean"]},
      "filter": {"type": "object"},
      "updatedBefore": {"type": "string"},
      "rows": {"type": ["object", "array"]},
      "values": {"type": "object"},
      "property": {"type": "string", "minLength": 1, "maxLength": 256},
      "by": {"type": "number"},
      "after": {"type": ["string", "null"]},
      "limit": {"type": "integer", "minimum": 1, "maximum": 1000}
    }
  }'),

  ('httpRequest', 1, 'effect', 'integration', 'globe', 'Makes an HTTP request.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["url"],
    "properties": {
      "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]},
      "url": {"type": "string", "minLength": 1, "maxLength": 8192},
      "query": {"type": "object", "secret": true},
      "headers": {"type": "object", "secret": true, "additionalProperties": {"type": ["string", "number", "boolean"]}},
      "body": {"secret": true},
      "bodyType": {"enum": ["json", "form", "raw"]},
      "responseType": {"enum": ["auto", "json", "text", "base64"]},
      "followRedirects": {"type": "boolean"}
    }
  }'),

  ('log', 1, 'effect', 'integration', 'scroll-text',
    'Writes a line to the log of the run and passes its input on.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["message"],
    "properties": {
      "level": {"enum": ["debug", "info", "warning", "error"]},
      "message": {},
      "context": {"type": "object"}
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
