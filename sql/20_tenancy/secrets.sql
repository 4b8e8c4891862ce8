-- kind: code
-- Makes and hashes secrets. The randomness is that of gen_random_uuid(), which uses the operating
-- system: two UUIDs carry 244 random bits, and SHA-256 spreads them over all bits. Writes and locks
-- nothing.

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
  'Returns random url-safe text of at most 32 bytes: 16 bytes are 22 characters, 32 bytes are 43.';

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
  'Returns the hash by which sessions and API tokens are stored. SHA-256 is enough for random secrets; passwords use scrypt.';

-- Appends a checksum of six characters: a secret that was cut or mistyped is refused without a
-- query, and scanners for leaked secrets recognize it.
create or replace function private.new_secret(p_prefix text)
  returns text
  language sql
  volatile
as $$
  select s.secret || left(translate(encode(private.hash_secret(s.secret), 'base64'), '+/', '-_'), 6)
  from (select p_prefix || private.random_secret(32)) as s (secret)
$$;
comment on function private.new_secret(text) is
  'Makes the secret of a session (prefix fs_) or an API token (fg_): the prefix, 43 random characters, 6 of checksum.';
