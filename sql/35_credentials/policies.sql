-- kind: code
-- Row-level security of variables: members of an organization see them; only functions write them.
-- Writes and locks nothing.

drop policy if exists variables_flowgres_user_select on public.variables;
create policy variables_flowgres_user_select on public.variables
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.variables to flowgres_user;
