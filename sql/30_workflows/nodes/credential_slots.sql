-- kind: code
-- Which credentials a node can name, by slot, and the types that fit. Writes and locks nothing.

create or replace function engine.credential_slots(p_type text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case p_type
    when 'httpRequest' then '{"auth": [
      "basic", "bearer", "apiKey", "custom", "openaiCompatible", "oauth2ClientCredentials", "oauth2AuthorizationCode"
    ]}'
    when 'webhookTrigger' then '{"auth": ["basic", "bearer", "apiKey", "hmac", "jwt"]}'
    else '{}'
  end::jsonb
$$;
comment on function engine.credential_slots(text) is
  'The slots for credentials that a node type has, each with the types that fit; an empty object for types without any.';
