-- kind: code
-- Nobody has the right to change the audit log; these triggers also stop its owner's, and a superuser's, slips.

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

-- By row, because that is what partitions inherit: a statement that names a partition is stopped too.
create or replace trigger _100_append_only
  before update or delete on public.audit_log
  for each row execute function private.refuse_change();

create or replace trigger _100_append_only_truncate
  before truncate on public.audit_log
  for each statement execute function private.refuse_change();
