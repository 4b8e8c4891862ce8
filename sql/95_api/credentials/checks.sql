-- kind: code
-- Checks what the commands on credentials are given. Writes and locks nothing.

create or replace function private.check_credential_type(p_type text)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_type is null or p_type not in (select t.name from public.credential_types() as t) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such type of credentials.',
      'Types: ' || (select string_agg(t.name, ', ' order by t.name) from public.credential_types() as t) || '.',
      '{"field": "type"}'
    );
  end if;
end
$$;

create or replace function private.check_allowed_hosts(p_hosts text[])
  returns void
  language plpgsql
  immutable
as $$
begin
  if cardinality(p_hosts) > 50 or exists (
    select
    from unnest(p_hosts) as h (host)
    where h.host is null
      or length(h.host) > 260
      or h.host !~ E'^([*][.])?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?[.])*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(:[0-9]{1,5})?$'
      and h.host !~ E'^\\[[0-9a-f:.]+\\](:[0-9]{1,5})?$'
  ) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The hosts are at most 50 names in lower case.',
      'Such as api.example.com, *.example.com (all below it), api.example.com:8443 or [2001:db8::1].',
      '{"field": "allowedHosts"}'
    );
  end if;
end
$$;

create or replace function private.raise_credential_conflict(p_name text)
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'CONFLICT', format('The organization has a credential %s already.', p_name), 'Choose another name.',
    '{"field": "name"}'
  );
end
$$;

create or replace function private.refuse_used_credential(p_credential public.credentials)
  returns void
  language plpgsql
  stable
as $$
declare
  v_workflows constant jsonb := (
    select jsonb_agg(jsonb_build_object('id', w.id, 'name', w.name) order by w.name)
    from public.workflows as w
    join public.workflow_versions as v
      on v.organization_id = w.organization_id and v.workflow_id = w.id and v.version = w.published_version
    where w.organization_id = p_credential.organization_id
      and jsonb_path_exists(
        v.definition, '$.nodes[*].credentials.* ? (@ == $name)', jsonb_build_object('name', p_credential.name)
      )
  );
begin
  if exists (
    select
    from public.webhook_endpoints as e
    where e.organization_id = p_credential.organization_id and e.credential_id = p_credential.id
  ) then
    perform private.raise_error(
      'CONFLICT', 'Webhook endpoints sign their messages by the credential.',
      'Give them another one before: update_webhook_endpoint().'
    );
  elsif v_workflows is not null then
    perform private.raise_error(
      'CONFLICT', 'Published workflows use the credential.',
      'Publish them without it before; details has the workflows.',
      jsonb_build_object('workflows', v_workflows)
    );
  end if;
end
$$;
comment on function private.refuse_used_credential(public.credentials) is
  'Raises CONFLICT, with the workflows, for a credential that a published version names.';
