-- kind: code
-- The token of a resume address. Writes and locks nothing.

-- Returns the token of a resume address: the id of the run and 24 bytes of a MAC over run and node,
-- in base64url. The key is hashed around a hash, so that no token can be extended to another one.
create or replace function engine.resume_token(p_key bytea, p_run_id uuid, p_node text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select rtrim(translate(encode(
    uuid_send(p_run_id) || substring(sha256(
      p_key || sha256(p_key || uuid_send(p_run_id) || convert_to(p_node, 'UTF8'))
    ) for 24),
    'base64'
  ), '+/', '-_'), '=')
$$;
