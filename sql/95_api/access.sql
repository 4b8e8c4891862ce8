-- kind: code
-- The access check that every command calls first. Writes and locks nothing.

create or replace function private.require_access(p_organization_id uuid, p_scope text, p_thing text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_acting_id constant uuid := public.current_organization_id();
begin
  -- A DBA without a context may act on a thing of any organization.
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
  'Checks that the request has the scope and that its organization owns the thing (null: it was not found). A DBA without a context may touch things of every organization. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';
