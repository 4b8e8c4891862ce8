-- kind: code
-- Secrets come from gen_random_uuid(), which draws from the operating system: two of them carry 244 random bits, and
-- SHA-256 spreads those over every bit that is taken.

create or replace function private.random_secret(p_bytes int)
  returns text
  language sql
  volatile
as $$
  select rtrim(
    translate(
      encode(
        substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) from 1 for p_bytes),
        'base64'
      ),
      '+/', '-_'
    ),
    '='
  )
$$;
comment on function private.random_secret(int) is
  'Random url-safe text of at most 32 bytes: 16 bytes are 22 characters, 32 bytes are 43.';

create or replace function private.hash_secret(p_secret text)
  returns bytea
  language sql
  immutable
  strict
  parallel safe
as $$
  select sha256(convert_to(p_secret, 'UTF8'))
$$;
comment on function private.hash_secret(text) is
  'How sessions and API tokens are stored. SHA-256 is enough for random secrets; passwords take scrypt.';

-- The last six characters are a checksum of the others: a secret that was cut or mistyped is refused without a query,
-- and scanners of leaked secrets know it from other text.
create or replace function private.new_secret(p_prefix text)
  returns text
  language sql
  volatile
as $$
  select s.secret || left(translate(encode(private.hash_secret(s.secret), 'base64'), '+/', '-_'), 6)
  from (select p_prefix || private.random_secret(32)) as s (secret)
$$;
comment on function private.new_secret(text) is
  'The secret of a session (prefix fs_) or an API token (fg_): the prefix, 43 random characters, 6 of checksum.';
