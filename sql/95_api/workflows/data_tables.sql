-- kind: code
-- Creates, changes and deletes data tables. Writes public.data_tables; creating locks the row of
-- the organization, the others lock the row of the table.

create or replace function public.create_data_table(
  name text,
  schema jsonb default '{}',
  key text default null,
  description text default null
)
  returns public.data_tables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_table public.data_tables;
begin
  perform private.require_scope('workflows:write');
  v_table.name := create_data_table.name;
  v_table.schema := coalesce(create_data_table.schema, '{}');
  v_table.key := create_data_table.key;
  v_table.description := coalesce(create_data_table.description, '');
  perform private.check_data_table(v_table);
  perform private.lock_organization(v_organization_id);
  if (
    select count(*) from public.data_tables as t where t.organization_id = v_organization_id
  ) >= engine.max_data_tables() then
    perform private.raise_error(
      'LIMIT_REACHED', format('An organization has at most %s data tables.', engine.max_data_tables()),
      'Delete one that is not needed.',
      jsonb_build_object('metric', 'data_tables', 'limit', engine.max_data_tables())
    );
  end if;
  insert into public.data_tables (id, organization_id, name, description, schema, key, created_by)
  values (
    engine.uuid_v7(), v_organization_id, v_table.name, v_table.description, v_table.schema, v_table.key,
    public.current_user_id()
  )
  on conflict on constraint data_tables_organization_id_name_key do nothing
  returning * into v_table;
  if v_table.id is null then
    perform private.raise_error('CONFLICT', 'There is a data table of this name.', null, '{"field": "name"}');
  end if;
  return v_table;
end
$$;
comment on function public.create_data_table(text, jsonb, text, text) is
  'Creates a data table. schema is the JSON schema of a row, with the keywords of input schemas; key names the property that identifies a row, and cannot be changed later. At most 100 tables, of 100,000 rows each. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED (details.field), CONFLICT (the name), LIMIT_REACHED. Example: select id from create_data_table(''contacts'', ''{"properties": {"email": {"type": "string"}}}'', ''email'');';

create or replace function public.update_data_table(
  id uuid,
  name text default null,
  schema jsonb default null,
  description text default null
)
  returns public.data_tables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table public.data_tables := private.lock_data_table(id);
begin
  v_table.name := coalesce(update_data_table.name, v_table.name);
  v_table.schema := coalesce(update_data_table.schema, v_table.schema);
  v_table.description := coalesce(update_data_table.description, v_table.description);
  perform private.check_data_table(v_table);
  update public.data_tables as t
  set name = v_table.name, schema = v_table.schema, description = v_table.description, updated_at = engine.now()
  where t.id = v_table.id
  returning t.* into v_table;
  return v_table;
exception
  when unique_violation then
    perform private.raise_error('CONFLICT', 'There is a data table of this name.', null, '{"field": "name"}');
    return null;
end
$$;
comment on function public.update_data_table(uuid, text, jsonb, text) is
  'Changes what is given of a data table. A new schema applies to rows when they are written next; those that are there stay as they are. Nodes name a table by its name: after a change of the name they fail with NOT_FOUND. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT. Example: select name from update_data_table(''0190…'', description => ''People who wrote to us'');';

create or replace function public.delete_data_table(id uuid)
  returns public.data_tables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table public.data_tables := private.lock_data_table(id);
begin
  delete from public.data_tables as t where t.id = v_table.id;
  return v_table;
end
$$;
comment on function public.delete_data_table(uuid) is
  'Deletes a data table with its rows and returns it; nodes that name it fail with NOT_FOUND. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select name from delete_data_table(''0190…'');';

-- Returns a data table that the request may change, and locks its row.
create or replace function private.lock_data_table(p_id uuid)
  returns public.data_tables
  language plpgsql
  volatile
as $$
declare
  v_table public.data_tables;
begin
  select t.* into v_table from public.data_tables as t where t.id = p_id for no key update;
  perform private.require_access(v_table.organization_id, 'workflows:write', 'data table');
  return v_table;
end
$$;

grant execute on function
  public.create_data_table(text, jsonb, text, text),
  public.update_data_table(uuid, text, jsonb, text),
  public.delete_data_table(uuid)
  to flowgres_user, flowgres_dba;
