-- kind: code
-- The question that every command asks first.

create or replace function private.require_access(p_organization uuid, p_scope text, p_thing text)
  returns void
  language plpgsql
  stable
as $$
begin
  -- Without an owner the thing does not exist; a DBA without a context acts for whichever organization owns it.
  if p_organization is not null or not private.is_dba() then
    perform private.acting_organization(p_organization);
  end if;
  perform private.require_scope(p_scope);
  if p_organization is null then
    perform private.raise_error('NOT_FOUND', format('There is no such %s in this organization.', p_thing));
  end if;
end
$$;
comment on function private.require_access(uuid, text, text) is
  'Whether the request may touch something of that organization (null: it was not found). Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';
