-- kind: code
-- The types of credentials. What is sealed is checked in TypeScript, before it is sealed:
-- src/vault/types.ts has the same shapes. Writes and locks nothing.

-- long because it is a list.
create or replace function public.credential_types()
  returns setof public.credential_type
  language sql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
  rows 12
as $$
  values
    ('apiKey',
      'A key in a header or in the query of the address.', '{
      "type": "object", "additionalProperties": false, "required": ["name", "value"],
      "properties": {
        "in": {"default": "header", "type": "string", "enum": ["header", "query"]},
        "name": {"type": "string"},
        "prefix": {"default": "", "type": "string", "maxLength": 50},
        "value": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true}
      }
    }'::jsonb),
    ('basic',
      'User name and password, as HTTP Basic.', '{
      "type": "object", "additionalProperties": false, "required": ["username", "password"],
      "properties": {
        "username": {"type": "string", "minLength": 1, "maxLength": 500},
        "password": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true}
      }
    }'::jsonb),
    ('bearer',
      'A token, as "Authorization: Bearer …".', '{
      "type": "object", "additionalProperties": false, "required": ["token"],
      "properties": {
        "token": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true}
      }
    }'::jsonb),
    ('custom',
      'Named secrets, sent as headers or in the query; or read by a node of your own.', '{
      "type": "object", "additionalProperties": false, "required": ["fields"],
      "properties": {
        "in": {"default": "header", "type": "string", "enum": ["header", "query", "none"]},
        "fields": {
          "type": "object", "propertyNames": {"type": "string"},
          "additionalProperties": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true}
        }
      }
    }'::jsonb),
    ('hmac',
      'Secrets that sign webhooks; several while they are replaced.', '{
      "type": "object", "additionalProperties": false, "required": ["secrets"],
      "properties": {
        "secrets": {
          "minItems": 1, "maxItems": 3, "type": "array",
          "items": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true}
        }
      }
    }'::jsonb),
    ('jwt',
      'What verifies JSON Web Tokens of webhooks: a secret, a public key, or the address of keys.', '{
      "type": "object", "additionalProperties": false, "required": [],
      "properties": {
        "secret": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true},
        "publicKey": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true},
        "jwksUrl": {"type": "string", "maxLength": 2000, "format": "uri"},
        "issuer": {"type": "string", "minLength": 1, "maxLength": 500},
        "audience": {"type": "string", "minLength": 1, "maxLength": 500}
      }
    }'::jsonb),
    ('oauth2AuthorizationCode',
      'OAuth2 for people: a person logs in once at the provider, and its refresh token is entered here.', '{
      "type": "object", "additionalProperties": false,
      "required": ["authorizationUrl", "tokenUrl", "clientId", "clientSecret"],
      "properties": {
        "authorizationUrl": {"type": "string", "maxLength": 2000, "format": "uri"},
        "tokenUrl": {"type": "string", "maxLength": 2000, "format": "uri"},
        "clientId": {"type": "string", "minLength": 1, "maxLength": 500},
        "clientSecret": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true},
        "scope": {"type": "string", "minLength": 1, "maxLength": 2000},
        "authentication": {"default": "basic", "type": "string", "enum": ["basic", "post"]},
        "accessToken": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true},
        "refreshToken": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true},
        "tokenExpiresAt": {"type": "string", "maxLength": 40}
      }
    }'::jsonb),
    ('oauth2ClientCredentials',
      'OAuth2 for programs: access tokens are fetched with the client''s secret.', '{
      "type": "object", "additionalProperties": false, "required": ["tokenUrl", "clientId", "clientSecret"],
      "properties": {
        "tokenUrl": {"type": "string", "maxLength": 2000, "format": "uri"},
        "clientId": {"type": "string", "minLength": 1, "maxLength": 500},
        "clientSecret": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true},
        "scope": {"type": "string", "minLength": 1, "maxLength": 2000},
        "authentication": {"default": "basic", "type": "string", "enum": ["basic", "post"]},
        "audience": {"type": "string", "minLength": 1, "maxLength": 2000},
        "accessToken": {"type": "string", "minLength": 4, "maxLength": 16000, "writeOnly": true},
        "tokenExpiresAt": {"type": "string", "maxLength": 40}
      }
    }'::jsonb),
    ('openaiCompatible',
      'An API that is compatible with that of OpenAI.', '{
      "type": "object", "additionalProperties": false, "required": ["baseUrl", "apiKey"],
      "properties": {
        "baseUrl": {"type": "string", "maxLength": 2000, "format": "uri"},
        "apiKey": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true},
        "organization": {"type": "string", "minLength": 1, "maxLength": 200}
      }
    }'::jsonb),
    ('postgres',
      'A PostgreSQL database.', '{
      "type": "object", "additionalProperties": false, "required": ["host", "database", "user", "password"],
      "properties": {
        "host": {"type": "string", "minLength": 1, "maxLength": 255},
        "port": {"default": 5432, "type": "integer", "minimum": 1, "maximum": 65535},
        "database": {"type": "string", "minLength": 1, "maxLength": 63},
        "user": {"type": "string", "minLength": 1, "maxLength": 63},
        "password": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true},
        "ssl": {"default": "verify", "type": "string", "enum": ["verify", "require", "off"]}
      }
    }'::jsonb),
    ('smtp',
      'A mail server.', '{
      "type": "object", "additionalProperties": false, "required": ["host"],
      "properties": {
        "host": {"type": "string", "minLength": 1, "maxLength": 255},
        "port": {"default": 587, "type": "integer", "minimum": 1, "maximum": 65535},
        "security": {"default": "starttls", "type": "string", "enum": ["tls", "starttls", "none"]},
        "username": {"type": "string", "minLength": 1, "maxLength": 500},
        "password": {"type": "string", "minLength": 4, "maxLength": 2000, "writeOnly": true}
      }
    }'::jsonb)
$$;
comment on function public.credential_types() is
  'The types that credentials may have, each with the JSON schema of its data, from which a form can be drawn: what is writeOnly is secret. Example: select name, schema -> ''required'' from credential_types();';

grant execute on function public.credential_types() to flowgres_user, flowgres_dba;
