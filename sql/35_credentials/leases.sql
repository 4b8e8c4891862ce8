-- kind: code
-- Lets one process at a time renew the tokens of a credential. A lease is a row that expires, not a
-- lock: no transaction is open while the provider is asked. Writes private.credential_leases,
-- private.secrets and public.credentials; locks only the rows that it writes.

-- Returns leased; busy, while another process has the lease; changed, when the secret has another
-- version than p_version, so that it is to be read again.
create or replace function engine.lease_credential(
  p_organization_id uuid,
  p_id uuid,
  p_version int,
  p_holder_id uuid
)
  returns text
  language plpgsql
  volatile
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  insert into private.credential_leases as l (organization_id, credential_id, holder, expires_at)
  select c.organization_id, c.id, p_holder_id, engine.now() + engine.token_lease_time()
  from public.credentials as c
  where c.organization_id = p_organization_id and c.id = p_id
  on conflict on constraint credential_leases_pkey do update
  set holder = excluded.holder, expires_at = excluded.expires_at
  where l.expires_at <= engine.now();
  if not found then
    return case when exists (
      select from public.credentials as c where c.organization_id = p_organization_id and c.id = p_id
    ) then 'busy' else 'changed' end;
  end if;
  -- A separate statement sees what was committed while the row of the lease was waited for.
  if not exists (
    select
    from private.secrets as s
    where s.organization_id = p_organization_id and s.id = p_id and s.version = p_version
  ) then
    perform engine.release_credential(p_organization_id, p_id, p_holder_id);
    return 'changed';
  end if;
  return 'leased';
end
$$;
comment on function engine.lease_credential(uuid, uuid, int, uuid) is
  'For workers: takes the lease to renew the tokens of a credential, for 30 seconds. Returns leased, busy (another process has it) or changed (the secret has another version than p_version). Example: select engine.lease_credential(''0190…'', ''0190…'', 1, gen_random_uuid());';

create or replace function engine.release_credential(p_organization_id uuid, p_id uuid, p_holder_id uuid)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because leases are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  delete from private.credential_leases as l
  where l.organization_id = p_organization_id and l.credential_id = p_id and l.holder = p_holder_id;
  return found;
end
$$;
comment on function engine.release_credential(uuid, uuid, uuid) is
  'For workers: gives the lease of a credential back; false when p_holder_id does not have it. Example: select engine.release_credential(''0190…'', ''0190…'', ''0190…'');';

create or replace function engine.replace_secret(
  p_organization_id uuid,
  p_id uuid,
  p_version int,
  p_envelope text
)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because secrets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not private.store_secret(private.parse_envelope(p_envelope, p_organization_id, p_id, greatest(p_version, 2))) then
    return false;
  end if;
  update public.credentials as c
  set version = p_version
  where c.organization_id = p_organization_id and c.id = p_id;
  return true;
end
$$;
comment on function engine.replace_secret(uuid, uuid, int, text) is
  'For workers: stores renewed tokens as the version p_version of a secret; false when the secret does not have the version before, because somebody else has changed it. Example: select engine.replace_secret(''0190…'', ''0190…'', 2, ''fv1.k1…'');';

grant execute on function
  engine.lease_credential(uuid, uuid, int, uuid),
  engine.release_credential(uuid, uuid, uuid),
  engine.replace_secret(uuid, uuid, int, text)
  to flowgres_worker;
