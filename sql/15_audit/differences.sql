-- kind: code
-- Chooses what the audit log keeps of a row: the columns that differ, without secrets and without
-- large documents. Writes and locks nothing.

-- Returns the SHA-256 and the size in bytes of a large document.
create or replace function private.audit_digest(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'sha256', encode(sha256(convert_to(p_value::text, 'UTF8')), 'hex'),
    'bytes', octet_length(p_value::text)
  )
$$;

-- Returns the columns of p_row that differ from p_other, or all when p_other is null; null when
-- there are none.
create or replace function private.audit_columns(
  p_row jsonb,
  p_other jsonb,
  p_masked text[],
  p_digested text[],
  p_ignored text[]
)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_object_agg(
    c.key,
    case
      when c.value = 'null' then c.value
      when c.key = any (p_masked) then '"***"'
      when c.key = any (p_digested) then private.audit_digest(c.value)
      else c.value
    end
  )
  from jsonb_each(p_row) as c
  where c.key <> all (p_ignored)
    and (p_other is null or c.value is distinct from p_other -> c.key)
$$;
comment on function private.audit_columns(jsonb, jsonb, text[], text[], text[]) is
  'Returns the columns of a row that the log keeps. A changed secret is "***" before and after: the log shows that it was changed, and nothing else.';
