-- kind: code
-- Who sees what: members of an organization see its variables. Writing is for functions.

drop policy if exists variables_flowgres_user_select on public.variables;
create policy variables_flowgres_user_select on public.variables
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.variables to flowgres_user;
