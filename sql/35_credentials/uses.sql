-- kind: code
-- Records uses of credentials, which workers and the intake count in memory and report once a
-- minute. Writes public.credentials, and by private.write_audit() the audit log; locks the rows of
-- the credentials, in the order of their ids, for no key update.

create or replace function engine.record_credential_uses(p_uses jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because nobody writes credentials and the audit log
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_use record;
  v_count int := 0;
begin
  for v_use in
    select
      c.organization_id, c.id, sum((u ->> 'count')::bigint)::bigint as uses,
      jsonb_agg(
        jsonb_build_object('workflowId', u -> 'workflowId', 'node', u -> 'node', 'count', u -> 'count')
        order by u ->> 'workflowId', u ->> 'node'
      ) as places
    from jsonb_array_elements(p_uses) as u
    join public.credentials as c
      on c.organization_id = (u ->> 'organizationId')::uuid and c.id = (u ->> 'credentialId')::uuid
    group by c.organization_id, c.id
    order by c.id
  loop
    update public.credentials as c
    set usage_count = c.usage_count + v_use.uses, last_used_at = v_now
    where c.id = v_use.id;
    perform private.audit_credential_use(v_use.organization_id, v_use.id, v_use.uses, v_use.places);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function engine.record_credential_uses(jsonb) is
  'For workers, the intake and tests of credentials: adds uses, [{"organizationId", "credentialId", "workflowId", "node", "count"}], to the counters of credentials and to the audit log, one row for each credential; returns how many credentials. Example: select engine.record_credential_uses(''[]'');';

-- Writes what a process reports of one credential. The log keeps where it was used, up to 100
-- places; the count is of all.
create or replace function private.audit_credential_use(
  p_organization_id uuid,
  p_id uuid,
  p_uses bigint,
  p_by jsonb
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_entry public.audit_log;
begin
  v_entry.at := engine.now();
  v_entry.id := engine.uuid_v7(v_entry.at);
  v_entry.organization_id := p_organization_id;
  v_entry.table_name := 'public.credentials';
  v_entry.operation := 'use';
  v_entry.row_key := jsonb_build_object('id', p_id);
  v_entry.after := jsonb_build_object('uses', p_uses, 'by', jsonb_path_query_array(p_by, '$[0 to 99]'));
  v_entry.database_role := session_user;
  perform private.write_audit(v_entry);
end
$$;

grant execute on function engine.record_credential_uses(jsonb) to flowgres_worker, flowgres_intake, flowgres_api;
