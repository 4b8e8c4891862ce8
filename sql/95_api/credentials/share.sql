-- kind: code
-- Shares a credential: with the organization, with a team, or with nobody. Writes
-- public.credentials; locks the row of the credential and of the team (key share).

create or replace function public.share_credential(id uuid, is_shared boolean default false, team uuid default null)
  returns public.credentials
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_credential public.credentials := private.lock_credential(id);
begin
  if share_credential.is_shared and team is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'A credential is shared with the organization or with a team, not both.', null,
      '{"field": "team"}'
    );
  end if;
  perform from public.teams as t
  where t.organization_id = v_credential.organization_id and t.id = team
  for key share;
  if team is not null and not found then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  end if;
  update public.credentials as c
  set is_shared = coalesce(share_credential.is_shared, false), team_id = team, updated_at = engine.now()
  where c.id = v_credential.id
  returning c.* into v_credential;
  return v_credential;
end
$$;
comment on function public.share_credential(uuid, boolean, uuid) is
  'Shares a credential with all members of the organization (is_shared), with the members of a team, or takes it back (neither). Whom it is shared with may publish workflows that use it, and never sees the secret; published workflows go on to use it. For its creator and admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID_ARGUMENT. Example: select name from share_credential(''0190…'', is_shared => true);';

grant execute on function public.share_credential(uuid, boolean, uuid) to flowgres_user, flowgres_dba;
