-- kind: code
-- The one trigger that audits all tables of configuration, which 95_api/audit.sql lists, and who
-- may read the log. Writes public.audit_log and private.audit_unsealed by private.write_audit();
-- locks nothing else. Creating the triggers locks the audited table.

create or replace function private.audit_table(
  p_table regclass,
  p_masked text[] default '{}',
  p_digested text[] default '{}',
  p_ignored text[] default '{updated_at}'
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_name record;
  v_key constant text[] := array(
    select a.attname::text
    from pg_index as i
    join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
    where i.indrelid = p_table and i.indisprimary
    order by array_position(i.indkey::int2[], a.attnum)
  );
begin
  select n.nspname as schema, c.relname as name into v_name
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.oid = p_table;
  execute format(
    'create or replace trigger _900_audit after insert or update or delete on %I.%I '
    'for each row execute function private.audit(%L, %L, %L, %L)',
    v_name.schema, v_name.name, v_key, p_masked, p_digested, p_ignored
  );
  execute format(
    'create or replace trigger _900_audit_truncate after truncate on %I.%I '
    'for each statement execute function private.audit(%L, %L, %L, %L)',
    v_name.schema, v_name.name, v_key, p_masked, p_digested, p_ignored
  );
end
$$;
comment on function private.audit_table(regclass, text[], text[], text[]) is
  'Puts a table under audit: columns of p_masked are secrets, columns of p_digested large documents, of which hash and size are kept; an update of p_ignored alone is no change.';

-- Writes a row of the audit log for each changed row, and for a truncate.
create or replace function private.audit()
  returns trigger
  language plpgsql
  volatile
  security definer -- definer because nobody writes the audit log
  set search_path = pg_catalog, pg_temp
  set timezone = 'UTC'
as $$
declare
  v_old constant jsonb := to_jsonb(OLD);
  v_new constant jsonb := to_jsonb(NEW);
  v_row constant jsonb := coalesce(v_new, v_old);
  v_masked constant text[] := TG_ARGV[1];
  v_digested constant text[] := TG_ARGV[2];
  v_ignored constant text[] := TG_ARGV[3];
  v_context constant private.context := private.context();
  v_entry public.audit_log;
begin
  v_entry.before := private.audit_columns(v_old, v_new, v_masked, v_digested, v_ignored);
  v_entry.after := private.audit_columns(v_new, v_old, v_masked, v_digested, v_ignored);
  if TG_OP = 'UPDATE' and v_entry.after is null then
    return null;
  end if;
  v_entry.at := engine.now();
  v_entry.id := engine.uuid_v7(v_entry.at);
  v_entry.table_name := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
  v_entry.operation := lower(TG_OP collate "C");
  v_entry.organization_id := v_row ->> case when TG_RELID = 'public.organizations'::regclass then 'id'
    else 'organization_id' end;
  v_entry.row_key := (
    select jsonb_object_agg(k, v_row -> k) from unnest(TG_ARGV[0]::text[]) as k where v_row is not null
  );
  v_entry.user_id := v_context.user_id;
  v_entry.token_id := v_context.token_id;
  v_entry.session_id := v_context.session_id;
  v_entry.database_role := session_user;
  v_entry.client_address := coalesce(
    left(nullif(current_setting('flowgres.client_ip', true), ''), 100), host(inet_client_addr())
  );
  v_entry.request_id := left(nullif(current_setting('flowgres.request_id', true), ''), 100);
  perform private.write_audit(v_entry);
  return null;
end
$$;

create or replace function private.reads_audit()
  returns boolean
  language sql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select private.has_scope('organization:read') and (
    c.user_id is null
    or exists (
      select
      from public.organization_users as m
      where m.organization_id = c.organization_id and m.user_id = c.user_id and m.role in ('owner', 'admin')
    )
  )
  from private.context() as c
$$;
comment on function private.reads_audit() is
  'Says whether the request may read the logs of its organization: an owner or admin, or the organization''s own token, with the scope organization:read.';

grant select on public.audit_log, public.api_access_log to flowgres_user, flowgres_dba;

grant execute on function private.reads_audit() to flowgres_user;
