-- kind: code
-- Row-level security of data tables: members of an organization see its tables and rows. Only
-- functions write them. Writes and locks nothing.

drop policy if exists data_tables_flowgres_user_select on public.data_tables;
create policy data_tables_flowgres_user_select on public.data_tables
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('workflows:read')));
grant select on public.data_tables to flowgres_user;

drop policy if exists data_rows_flowgres_user_select on public.data_rows;
create policy data_rows_flowgres_user_select on public.data_rows
  for select to flowgres_user
  using (organization_id = (select private.organization_with_scope('runs:read')));
grant select on public.data_rows to flowgres_user;
