-- kind: code
-- Checks definitions of data tables, and finds a table by its name. Writes and locks nothing.

-- Returns what is indexed of a row. The id of the table stands around the data, so that a search
-- in one table reads nothing of the others.
create or replace function private.data_document(p_table_id uuid, p_data jsonb)
  returns jsonb
  language plpgsql
  immutable
  parallel safe
as $$
begin
  return jsonb_build_object(p_table_id::text, p_data);
end
$$;

-- Raises VALIDATION_FAILED for a name, a schema or a key that a data table cannot have.
create or replace function private.check_data_table(p_table public.data_tables)
  returns void
  language plpgsql
  stable
as $$
declare
  v_problems jsonb;
begin
  if coalesce(p_table.name, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A name begins with a letter or an underscore and has up to 64 letters, digits and underscores.',
      null, '{"field": "name"}'
    );
  elsif length(p_table.description) > 2000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A description has at most 2000 characters.', null, '{"field": "description"}'
    );
  elsif length(p_table.key) not between 1 and 64 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The name of the key property has 1 to 64 characters.', null, '{"field": "key"}'
    );
  elsif jsonb_typeof(p_table.schema) is distinct from 'object' then
    perform private.raise_error('VALIDATION_FAILED', 'A schema is an object.', null, '{"field": "schema"}');
  end if;
  v_problems := (
    select jsonb_agg(jsonb_build_object('pointer', p.pointer, 'message', p.message))
    from engine.input_schema_problems(p_table.schema, '{}') as p
  );
  if v_problems is not null then
    perform private.raise_error(
      'VALIDATION_FAILED', format('The schema is not valid: %s', v_problems -> 0 ->> 'message'), null,
      jsonb_build_object('field', 'schema', 'problems', v_problems)
    );
  end if;
end
$$;

create or replace function private.data_table_named(p_organization_id uuid, p_name text)
  returns public.data_tables
  language plpgsql
  stable
as $$
declare
  v_table public.data_tables;
begin
  select t.* into v_table
  from public.data_tables as t
  where t.organization_id = p_organization_id and t.name = p_name;
  if not found then
    perform private.raise_error(
      'NOT_FOUND', format('There is no data table %s in this organization.', left(p_name, 64)),
      'Create it with create_data_table.'
    );
  end if;
  return v_table;
end
$$;
