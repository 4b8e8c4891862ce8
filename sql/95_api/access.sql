-- kind: code
-- The question that every command asks first.

create or replace function private.require_access(p_organization_id uuid, p_scope text, p_thing text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_acting_id constant uuid := public.current_organization_id();
begin
  -- A DBA without a context acts for whichever organization owns the thing.
  if v_acting_id is null and not private.is_dba() then
    perform private.acting_organization();
  end if;
  perform private.require_scope(p_scope);
  if p_organization_id is null or p_organization_id <> v_acting_id then
    perform private.raise_error('NOT_FOUND', format('There is no such %s in this organization.', p_thing));
  end if;
end
$$;
comment on function private.require_access(uuid, text, text) is
  'Whether the request may touch something of that organization (null: it was not found). Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';
