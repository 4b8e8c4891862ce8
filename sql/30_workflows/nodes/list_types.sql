-- kind: code
-- The built-in node types that compute with lists; node_types.sql says how their properties are read. Writes
-- engine.node_types when it is loaded; locks only those rows.

-- A field is a key of the items, or keys with dots between them.
insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values
  ('splitOut', 1, 'pure', 'list', 'ungroup',
    'Gives one list of the items of a list in each object.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["field"],
    "properties": {
      "items": {"type": ["array", "object", "null"], "default": "{{ $.prev }}"},
      "field": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200},
      "as": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200},
      "keep": {
        "type": "array", "format": "static", "maxItems": 50,
        "items": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
      }
    }
  }'),

  ('aggregate', 1, 'pure', 'list', 'group',
    'Makes one object of a list, with lists of its fields.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "fields": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 20,
        "items": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
      },
      "all": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
    },
    "anyOf": [{"required": ["fields"]}, {"required": ["all"]}]
  }'),

  ('summarize', 1, 'pure', 'list', 'sigma',
    'Groups a list and computes sums and the like of each group.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["values"],
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "by": {
        "type": "array", "format": "static", "maxItems": 10,
        "items": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
      },
      "values": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 20,
        "items": {
          "type": "object", "format": "static", "additionalProperties": false, "required": ["function"],
          "properties": {
            "function": {"enum": ["sum", "avg", "count", "min", "max", "first", "last", "list"], "format": "static"},
            "field": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200},
            "as": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
          }
        }
      }
    }
  }'),

  ('sort', 1, 'pure', 'list', 'arrow-up-down', 'Sorts a list by fields of its items.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "by": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 10,
        "items": {
          "type": "object", "format": "static", "additionalProperties": false, "required": ["field"],
          "properties": {
            "field": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200},
            "direction": {"enum": ["asc", "desc"], "format": "static"}
          }
        }
      }
    }
  }'),

  ('limit', 1, 'pure', 'list', 'list-end',
    'Keeps the first or the last items of a list.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["count"],
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "count": {"type": "integer", "minimum": 0, "maximum": 1000000000},
      "keep": {"enum": ["first", "last"], "format": "static"}
    }
  }'),

  ('removeDuplicates', 1, 'pure', 'list', 'copy-minus',
    'Keeps the first of equal items of a list.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "by": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 10,
        "items": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
      }
    }
  }'),

  ('renameKeys', 1, 'pure', 'list', 'replace',
    'Renames keys of an object, or of the objects of a list.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["rename"],
    "properties": {
      "items": {"type": ["array", "object", "null"], "default": "{{ $.prev }}"},
      "rename": {
        "type": "object", "format": "static", "additionalProperties": {"type": "string", "format": "static"}
      }
    }
  }'),

  ('compare', 1, 'pure', 'list', 'git-compare',
    'Says what differs between two lists.', '{main}', '{main,second}', '{
    "type": "object", "additionalProperties": false, "required": ["by"],
    "properties": {
      "by": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 10,
        "items": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
      }
    }
  }'),

  ('dateTime', 1, 'pure', 'data', 'calendar', 'Reads, shifts and writes a date.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["value", "timezone"],
    "properties": {
      "value": {"type": ["string", "number"]},
      "timezone": {"type": "string", "minLength": 1, "maxLength": 64},
      "read": {"type": "string", "minLength": 1, "maxLength": 100},
      "startOf": {"enum": ["seconds", "minutes", "hours", "days", "weeks", "months", "years"], "format": "static"},
      "add": {
        "type": "object", "format": "static", "additionalProperties": false, "required": ["amount", "unit"],
        "properties": {
          "amount": {"type": "integer", "minimum": -100000000, "maximum": 100000000},
          "unit": {
            "enum": ["milliseconds", "seconds", "minutes", "hours", "days", "weeks", "months", "years"],
            "format": "static"
          }
        }
      },
      "write": {"type": "string", "minLength": 1, "maxLength": 200},
      "as": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
    }
  }'),

  ('convert', 1, 'pure', 'data', 'arrow-left-right',
    'Converts between values and JSON, CSV, base64 or URL-encoded text.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["to"],
    "properties": {
      "value": {"default": "{{ $.prev }}"},
      "to": {
        "enum": [
          "json", "fromJson", "csv", "fromCsv", "base64", "fromBase64", "urlEncoded", "fromUrlEncoded"
        ],
        "format": "static"
      },
      "delimiter": {"enum": [",", ";", "\t", "|"], "format": "static"},
      "header": {"type": "boolean", "format": "static"},
      "columns": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 200,
        "items": {"type": "string", "format": "static", "maxLength": 200}
      },
      "numbers": {"type": "boolean", "format": "static"},
      "as": {"type": "string", "format": "static", "minLength": 1, "maxLength": 200}
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
