-- kind: code
-- Writes one row of the audit log in the transaction of the change, so that no change is without
-- its row. Writes public.audit_log and private.audit_unsealed; locks nothing, unless a partition is
-- missing and must be created.

-- Returns the hash of a row of the log. Lists the columns: one that is added later must not change
-- the hashes of old rows.
create or replace function private.audit_hash(p_entry public.audit_log)
  returns bytea
  language sql
  immutable
  parallel safe
as $$
  select sha256(convert_to(
    jsonb_build_array(
      p_entry.id, p_entry.organization_id, extract(epoch from p_entry.at), p_entry.table_name, p_entry.operation,
      p_entry.row_key, p_entry.before, p_entry.after, p_entry.user_id, p_entry.token_id, p_entry.session_id,
      p_entry.database_role, p_entry.client_address, p_entry.request_id
    )::text,
    'UTF8'
  ))
$$;

-- Writes a row of the log and puts its hash into the queue of rows to seal.
create or replace function private.write_audit(p_entry public.audit_log)
  returns void
  language plpgsql
  volatile
as $$
begin
  -- A change must not fail because maintenance has not run for months: create the partition. Ask
  -- what maintenance has recorded first: looking for the partition in the catalog costs more than
  -- the row.
  if exists (
    select
    from partitions.managed_tables as p
    left join partitions.maintenance as m on m.parent = p.parent
    where p.parent = 'public.audit_log'::regclass and (m.fingerprint is not null and m.idle @> p_entry.at) is not true
  ) then
    perform partitions.create('public.audit_log', p_entry.at);
  end if;
  insert into public.audit_log select p_entry.*;
  insert into private.audit_unsealed (id, organization_id, hash)
  values (
    p_entry.id, coalesce(p_entry.organization_id, '00000000-0000-0000-0000-000000000000'), private.audit_hash(p_entry)
  );
end
$$;
