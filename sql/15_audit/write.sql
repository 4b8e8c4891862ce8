-- kind: code
-- Writes one row of the audit log, in the transaction of the change: there is no change without its row.

-- A list, not the row itself: a column that is added later must not change the hashes of old rows.
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

create or replace function private.write_audit(p_entry public.audit_log)
  returns void
  language plpgsql
  volatile
as $$
begin
  -- When maintenance has stood still for months, that is no reason to refuse the change. What it knows is asked first:
  -- looking for the partition in the catalog costs more than the row.
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
