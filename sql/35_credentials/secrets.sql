-- kind: code
-- Keeps sealed secrets and hands them to the processes that have the keys. Writes private.secrets;
-- locks only the rows that it writes.

-- Returns the parts of an envelope, `fv1.<key id>.<wrapped key>.<sealed secret>` in base64url, as a
-- row of private.secrets. Raises VALIDATION_FAILED.
create or replace function private.parse_envelope(
  p_envelope text,
  p_organization_id uuid,
  p_id uuid,
  p_version int
)
  returns private.secrets
  language plpgsql
  immutable
as $$
declare
  v_parts constant text[] := string_to_array(p_envelope, '.');
begin
  if coalesce(p_envelope, '') !~ '^fv1[.][A-Za-z0-9_-]{1,32}[.][A-Za-z0-9_-]{80}[.][A-Za-z0-9_-]{40,}$'
    or length(v_parts[4]) % 4 = 1
  then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is no envelope of a secret.', 'Make one: flowgres seal', '{"field": "envelope"}'
    );
  elsif length(v_parts[4])::bigint * 3 / 4 > engine.max_small_value_bytes() + 28 then
    perform private.raise_error(
      'TOO_LARGE',
      format('A secret has at most %s as JSON.', private.size_text(engine.max_small_value_bytes())), null,
      jsonb_build_object('field', 'envelope', 'limit', engine.max_small_value_bytes())
    );
  end if;
  return row(
    p_id, p_organization_id, p_version, v_parts[2],
    private.from_base64url(v_parts[3]), private.from_base64url(v_parts[4])
  )::private.secrets;
end
$$;

create or replace function private.from_base64url(p_text text)
  returns bytea
  language sql
  immutable
  strict
  parallel safe
as $$
  select decode(translate(p_text, '-_', '+/') || repeat('=', (4 - length(p_text) % 4) % 4), 'base64')
$$;

-- Writes a secret of a new row, or the next version of one: false when the row has another version
-- than the one before, because somebody else has changed it.
create or replace function private.store_secret(p_secret private.secrets)
  returns boolean
  language plpgsql
  volatile
as $$
begin
  if p_secret.version = 1 then
    insert into private.secrets select p_secret.*;
    return true;
  end if;
  update private.secrets as s
  set version = p_secret.version, key_id = p_secret.key_id, wrapped_key = p_secret.wrapped_key, sealed = p_secret.sealed
  where s.organization_id = p_secret.organization_id and s.id = p_secret.id and s.version = p_secret.version - 1;
  return found;
end
$$;

create or replace function engine.read_credential(
  p_organization_id uuid,
  p_id uuid default null,
  p_name text default null
)
  returns table (
    id uuid,
    name text,
    type text,
    version int,
    allowed_hosts text[],
    expires_at timestamptz,
    key_id text,
    wrapped_key bytea,
    sealed bytea
  )
  language sql
  stable
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select
    c.id, c.name, c.type, s.version, c.allowed_hosts, c.expires_at, s.key_id, s.wrapped_key, s.sealed
  from public.credentials as c
  join private.secrets as s on s.organization_id = c.organization_id and s.id = c.id
  where c.organization_id = p_organization_id
    and (c.id = p_id or c.name = p_name)
$$;
comment on function engine.read_credential(uuid, uuid, text) is
  'For workers and the intake: the sealed secret of a credential of an organization, by id or name; no row when there is none. Only a process with the master key can open it. Example: select id, type from engine.read_credential(''0190…'', p_name => ''crm'');';

create or replace function engine.secrets_to_rewrap(
  p_current_key_id text,
  p_unavailable_key_ids text[] default '{}',
  p_after_key_id text default '',
  p_after_organization_id uuid default null,
  p_after_id uuid default null,
  p_limit int default 500
)
  returns table (
    organization_id uuid,
    id uuid,
    version int,
    key_id text,
    wrapped_key bytea
  )
  language sql
  stable
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select s.organization_id, s.id, s.version, s.key_id, s.wrapped_key
  from private.secrets as s
  where s.key_id <> p_current_key_id
    and s.key_id <> all (p_unavailable_key_ids)
    and (s.key_id, s.organization_id, s.id) > (
      p_after_key_id,
      coalesce(p_after_organization_id, '00000000-0000-0000-0000-000000000000'),
      coalesce(p_after_id, '00000000-0000-0000-0000-000000000000')
    )
  order by s.key_id, s.organization_id, s.id
  limit p_limit
$$;
comment on function engine.secrets_to_rewrap(text, text[], text, uuid, uuid, int) is
  'For `flowgres keys rotate`: wrapped keys, without the secrets, that another master key than the current one wraps, behind the last one of the batch before. Example: select key_id from engine.secrets_to_rewrap(''k2'');';

-- A secret that was changed meanwhile is left: it has the current key.
create or replace function engine.rewrap_secrets(
  p_organization_ids uuid[],
  p_ids uuid[],
  p_versions int[],
  p_wrapped_keys bytea[],
  p_key_id text
)
  returns int
  language sql
  volatile
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with rewrapped as (
    update private.secrets as s
    set key_id = p_key_id, wrapped_key = r.wrapped_key
    from unnest(p_organization_ids, p_ids, p_versions, p_wrapped_keys) as r (organization_id, id, version, wrapped_key)
    where s.organization_id = r.organization_id and s.id = r.id and s.version = r.version
    returning 1
  )
  select count(*)::int from rewrapped
$$;
comment on function engine.rewrap_secrets(uuid[], uuid[], int[], bytea[], text) is
  'For `flowgres keys rotate`: replaces wrapped keys by those that the current master key wraps; returns how many. Example: select engine.rewrap_secrets(''{}'', ''{}'', ''{}'', ''{}'', ''k2'');';

create or replace function engine.secret_keys()
  returns table (key_id text, secrets bigint)
  language sql
  stable
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select s.key_id, count(*) from private.secrets as s group by s.key_id order by s.key_id
$$;
comment on function engine.secret_keys() is
  'How many secrets each master key wraps: a key without any may be removed from the key ring. Example: select * from engine.secret_keys();';

grant execute on function engine.read_credential(uuid, uuid, text) to flowgres_worker, flowgres_intake;
grant execute on function
  engine.secrets_to_rewrap(text, text[], text, uuid, uuid, int),
  engine.rewrap_secrets(uuid[], uuid[], int[], bytea[], text),
  engine.secret_keys()
  to flowgres_maintenance;
grant execute on function engine.secret_keys() to flowgres_dba;
