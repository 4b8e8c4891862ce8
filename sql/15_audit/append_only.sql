-- kind: code
-- Keeps the audit log append-only. No role has the right to change it; these triggers also stop
-- mistakes of its owner and of superusers. Writes and locks nothing.

-- Raises FORBIDDEN for a change of the audit log.
create or replace function private.refuse_change()
  returns trigger
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'FORBIDDEN',
    format('%s of %s: the audit log is append-only.', lower(TG_OP collate "C"), TG_TABLE_NAME),
    'Old months leave by partitions.retire().'
  );
  return null;
end
$$;

-- A trigger for each row, because partitions inherit it: a statement that names a partition is
-- refused too.
create or replace trigger _100_append_only
  before update or delete on public.audit_log
  for each row execute function private.refuse_change();

create or replace trigger _100_append_only_truncate
  before truncate on public.audit_log
  for each statement execute function private.refuse_change();
