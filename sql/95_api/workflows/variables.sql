-- kind: code
-- Sets and deletes variables, one at a time; a run keeps the values that it had at its start.
-- Writes public.variables; locks only the row that it writes.

create or replace function public.set_variable(name text, value jsonb)
  returns public.variables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_variable public.variables;
begin
  perform private.require_scope('workflows:write');
  if coalesce(name, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A name begins with a letter or an underscore and has up to 64 letters, digits and underscores.',
      null,
      '{"field": "name"}'
    );
  end if;
  perform engine.refuse_value(value, 'The variable', engine.max_small_value_bytes());
  insert into public.variables as v (organization_id, name, value, updated_by)
  values (v_organization_id, set_variable.name, coalesce(set_variable.value, 'null'), public.current_user_id())
  on conflict on constraint variables_pkey do update
  set value = excluded.value, updated_by = excluded.updated_by, updated_at = now()
  returning * into v_variable;
  return v_variable;
end
$$;
comment on function public.set_variable(text, jsonb) is
  'Creates or replaces a variable, which expressions read as $.vars.<name>; runs that have started keep the old value. Not for secrets: every member can read it. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED (the name), TOO_LARGE (above 64 KiB). Example: select value from set_variable(''tax_rate'', ''0.19'');';

create or replace function public.delete_variable(name text)
  returns public.variables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_variable public.variables;
begin
  perform private.require_scope('workflows:write');
  delete from public.variables as v
  where v.organization_id = v_organization_id and v.name = delete_variable.name
  returning * into v_variable;
  if v_variable.name is null then
    perform private.raise_error('NOT_FOUND', 'There is no such variable in this organization.');
  end if;
  return v_variable;
end
$$;
comment on function public.delete_variable(text) is
  'Deletes a variable and returns it; expressions that read it give null from the next run on. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select name from delete_variable(''tax_rate'');';

grant execute on function public.set_variable(text, jsonb), public.delete_variable(text)
  to flowgres_user, flowgres_dba;
