-- kind: code
-- Warns of credentials that expire. Writes public.credentials, and the outbox by
-- private.send_mail(); locks the rows of the credentials for no key update, skipping locked ones.

create or replace function engine.warn_expiring_credentials(p_limit int default 1000)
  returns int
  language plpgsql
  volatile
  security definer -- definer because nobody writes credentials and the outbox
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_credential public.credentials;
  v_count int := 0;
begin
  for v_credential in
    select c.*
    from public.credentials as c
    join public.organizations as o on o.id = c.organization_id and o.deleted_at is null
    where c.expires_at > v_now
      and c.expires_at <= v_now + engine.credential_warning_time()
      and c.warned_at is null
      and (select engine.copy_problem()) is null
    order by c.expires_at
    limit p_limit
    for no key update of c skip locked
  loop
    perform private.send_mail(
      m.email,
      format('The credential %s expires', v_credential.name),
      format(
        'The credential %s of %s expires at %s. Workflows that use it fail from then on. '
        'Enter a new secret with updateCredential, and say when that one expires.',
        v_credential.name, m.organization,
        to_char(v_credential.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
      )
    )
    from private.owners_of_credential(v_credential) as m;
    update public.credentials as c set warned_at = v_now where c.id = v_credential.id;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function engine.warn_expiring_credentials(int) is
  'Mails who created a credential that expires within 7 days, or the owners and admins of the organization when that member has left; once until its secret or its end changes. Returns how many credentials; none in a copy that was not adopted. Example: select engine.warn_expiring_credentials();';

-- Returns whom to tell of a credential: its creator, else the owners and admins.
create or replace function private.owners_of_credential(p_credential public.credentials)
  returns table (email text, organization text)
  language sql
  stable
as $$
  select u.email, o.name
  from public.organization_users as m
  join public.users as u on u.id = m.user_id
  join public.organizations as o on o.id = m.organization_id
  where m.organization_id = p_credential.organization_id
    and case
      when p_credential.user_id is null then m.role in ('owner', 'admin')
      else m.user_id = p_credential.user_id
    end
    and u.email is not null
$$;

create or replace function engine.expiring_credentials()
  returns table (
    organization_id uuid,
    id uuid,
    name text,
    type text,
    expires_at timestamptz,
    warned_at timestamptz
  )
  language sql
  stable
  security definer -- definer because it lists credentials of all organizations
  set search_path = pg_catalog, pg_temp
as $$
  select c.organization_id, c.id, c.name, c.type, c.expires_at, c.warned_at
  from public.credentials as c
  where c.expires_at <= engine.now() + engine.credential_warning_time()
  order by c.expires_at, c.id
$$;
comment on function engine.expiring_credentials() is
  'For DBAs and alerts: credentials of all organizations that have expired or expire within 7 days, and when their owners were told. Example: select name, expires_at from engine.expiring_credentials();';

grant execute on function engine.warn_expiring_credentials(int) to flowgres_maintenance, flowgres_dba;
grant execute on function engine.expiring_credentials() to flowgres_dba;
