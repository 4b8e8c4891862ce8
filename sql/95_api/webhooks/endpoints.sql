-- kind: code
-- Creates, changes and deletes webhook endpoints. Writes public.webhook_endpoints, whose row it
-- locks, and through delivery_workflow.sql the workflow that sends the messages; creating locks the
-- row of the organization.

create or replace function public.create_webhook_endpoint(
  url text,
  events text[],
  credential uuid,
  description text default null
)
  returns public.webhook_endpoints
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_endpoint public.webhook_endpoints;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('admin');
  perform private.check_endpoint(v_organization_id, url, events, credential, description);
  perform private.lock_organization(v_organization_id);
  if (
    select count(*) from public.webhook_endpoints as e where e.organization_id = v_organization_id
  ) >= engine.max_webhook_endpoints() then
    perform private.raise_error(
      'LIMIT_REACHED', format('An organization has at most %s webhook endpoints.', engine.max_webhook_endpoints()),
      'Delete one that is not needed.'
    );
  end if;
  perform private.ensure_delivery_workflow(v_organization_id);
  insert into public.webhook_endpoints (id, organization_id, url, events, description, credential_id, created_by)
  values (
    engine.uuid_v7(engine.now()), v_organization_id, create_webhook_endpoint.url, create_webhook_endpoint.events,
    create_webhook_endpoint.description, credential, public.current_user_id()
  )
  returning * into v_endpoint;
  return v_endpoint;
end
$$;
comment on function public.create_webhook_endpoint(text, text[], uuid, text) is
  'Lets an address be told what happens: run.succeeded, run.failed, approval.requested, limit.reached, credential.expiring. credential is one of type hmac whose secrets are whsec_ and base64: they sign the messages as Standard Webhooks. At most 20 endpoints. For owners and admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the credential), VALIDATION_FAILED, LIMIT_REACHED. Example: select id from create_webhook_endpoint(''https://example.com/flowgres'', ''{run.failed}'', ''0190…'');';

create or replace function public.update_webhook_endpoint(
  id uuid,
  url text default null,
  events text[] default null,
  credential uuid default null,
  description text default null,
  is_enabled boolean default null
)
  returns public.webhook_endpoints
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_endpoint public.webhook_endpoints := private.lock_endpoint(id);
begin
  v_endpoint.url := coalesce(update_webhook_endpoint.url, v_endpoint.url);
  v_endpoint.events := coalesce(update_webhook_endpoint.events, v_endpoint.events);
  v_endpoint.credential_id := coalesce(credential, v_endpoint.credential_id);
  v_endpoint.description := coalesce(update_webhook_endpoint.description, v_endpoint.description);
  perform private.check_endpoint(
    v_endpoint.organization_id, v_endpoint.url, v_endpoint.events, v_endpoint.credential_id, v_endpoint.description
  );
  update public.webhook_endpoints as e
  set
    url = v_endpoint.url,
    events = v_endpoint.events,
    credential_id = v_endpoint.credential_id,
    description = v_endpoint.description,
    is_enabled = coalesce(update_webhook_endpoint.is_enabled, e.is_enabled),
    disabled_reason = case when update_webhook_endpoint.is_enabled is null then e.disabled_reason end,
    failing_since = case when update_webhook_endpoint.is_enabled then null else e.failing_since end,
    updated_at = engine.now()
  where e.id = v_endpoint.id
  returning e.* into v_endpoint;
  return v_endpoint;
end
$$;
comment on function public.update_webhook_endpoint(uuid, text, text[], uuid, text, boolean) is
  'Changes what is given of a webhook endpoint. isEnabled: false sends nothing more, true begins again, also after it was disabled because it failed. For owners and admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the endpoint or the credential), VALIDATION_FAILED. Example: select is_enabled from update_webhook_endpoint(''0190…'', is_enabled => true);';

create or replace function public.delete_webhook_endpoint(id uuid)
  returns public.webhook_endpoints
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_endpoint constant public.webhook_endpoints := private.lock_endpoint(id);
begin
  delete from public.webhook_endpoints as e where e.id = v_endpoint.id;
  return v_endpoint;
end
$$;
comment on function public.delete_webhook_endpoint(uuid) is
  'Deletes a webhook endpoint and returns it; messages that wait for another attempt are not sent any more. For owners and admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select url from delete_webhook_endpoint(''0190…'');';

-- Returns an endpoint that the request may change, and locks its row.
create or replace function private.lock_endpoint(p_id uuid)
  returns public.webhook_endpoints
  language plpgsql
  volatile
as $$
declare
  v_endpoint public.webhook_endpoints;
begin
  select e.* into v_endpoint from public.webhook_endpoints as e where e.id = p_id for no key update;
  perform private.require_access(v_endpoint.organization_id, 'organization:write', 'webhook endpoint');
  perform private.require_role('admin');
  return v_endpoint;
end
$$;

-- Raises VALIDATION_FAILED for what an endpoint cannot be, NOT_FOUND for a credential that cannot
-- sign its messages or may not be used by the request.
create or replace function private.check_endpoint(
  p_organization_id uuid,
  p_url text,
  p_events text[],
  p_credential_id uuid,
  p_description text
)
  returns void
  language plpgsql
  stable
as $$
begin
  if coalesce(p_url, '') !~ '^https?://[^[:space:]]+$' or length(p_url) > 2000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The address begins with https:// or http:// and has at most 2,000 characters.', null,
      '{"field": "url"}'
    );
  elsif coalesce(cardinality(p_events), 0) = 0 or not p_events <@ array[
    'run.succeeded', 'run.failed', 'approval.requested', 'limit.reached', 'credential.expiring'
  ] then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'events has run.succeeded, run.failed, approval.requested, limit.reached or credential.expiring.', null,
      '{"field": "events"}'
    );
  elsif length(p_description) > 500 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A description has at most 500 characters.', null, '{"field": "description"}'
    );
  elsif not exists (
    select
    from public.credentials as c
    where c.organization_id = p_organization_id
      and c.id = p_credential_id
      and c.type = 'hmac'
      and private.uses_credential(c)
  ) then
    perform private.raise_error('NOT_FOUND', 'There is no such credential of type hmac that you may use.');
  end if;
end
$$;

grant execute on function
  public.create_webhook_endpoint(text, text[], uuid, text),
  public.update_webhook_endpoint(uuid, text, text[], uuid, text, boolean),
  public.delete_webhook_endpoint(uuid)
  to flowgres_user, flowgres_dba;
