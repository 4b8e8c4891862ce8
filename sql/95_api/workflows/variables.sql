-- kind: code
-- Sets and deletes variables, one at a time; a run keeps the values that it had at its start, and
-- reads secret ones when a step uses them. The value of a secret one comes sealed: TypeScript seals
-- it before (src/credentials), and `flowgres seal` does for a DBA. Writes public.variables and
-- private.secrets; locks only the rows that it writes.

create or replace function public.set_variable(
  name text,
  value jsonb,
  secret boolean default false,
  allowed_hosts text[] default '{}'
)
  returns public.variables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.variable_organization(name);
  v_is_secret constant boolean := coalesce(secret, false);
  v_secret private.secrets;
  v_variable public.variables;
begin
  perform private.check_allowed_hosts(allowed_hosts);
  if v_is_secret then
    v_secret := private.sealed_variable(v_organization_id, value);
  else
    perform engine.refuse_value(value, 'The variable', engine.max_small_value_bytes());
  end if;
  -- Locks the row, so that of two values that are set at a time the secret of the first is deleted.
  perform from public.variables as v
  where v.organization_id = v_organization_id and v.name = set_variable.name
  for no key update;
  delete from private.secrets as s
  using public.variables as v
  where v.organization_id = v_organization_id and v.name = set_variable.name
    and s.organization_id = v.organization_id and s.id = v.secret_id;
  if v_is_secret then
    perform private.store_secret(v_secret);
  end if;
  insert into public.variables as v (organization_id, name, value, secret_id, allowed_hosts, updated_by)
  values (
    v_organization_id, set_variable.name,
    case when not v_is_secret then coalesce(set_variable.value, 'null') end, v_secret.id,
    case when v_is_secret then coalesce(set_variable.allowed_hosts, '{}') else '{}' end, public.current_user_id()
  )
  on conflict on constraint variables_pkey do update
  set
    value = excluded.value,
    secret_id = excluded.secret_id,
    allowed_hosts = excluded.allowed_hosts,
    updated_by = excluded.updated_by,
    updated_at = now()
  returning * into v_variable;
  return v_variable;
end
$$;
comment on function public.set_variable(text, jsonb, boolean, text[]) is
  'Creates or replaces a variable, which expressions read as $.vars.<name>; runs that have started keep the old value. With secret its value is sealed and nobody can read it back: headers, query and body of httpRequest use it as $.secrets.<name>, only in requests to allowed_hosts. In SQL a secret value is what `flowgres seal --type variable` prints. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED (the name, the hosts, a secret that is not sealed or too short), TOO_LARGE (above 64 KiB). Example: select value from set_variable(''tax_rate'', ''0.19'');';

-- Returns the organization whose variable the request may write. Raises UNAUTHENTICATED, FORBIDDEN,
-- VALIDATION_FAILED.
create or replace function private.variable_organization(p_name text)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:write');
  if coalesce(p_name, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A name begins with a letter or an underscore and has up to 64 letters, digits and underscores.',
      null,
      '{"field": "name"}'
    );
  end if;
  return v_organization_id;
end
$$;

-- Returns the row of a sealed value, {"id", "envelope"}. Raises VALIDATION_FAILED for what is not
-- sealed, and for an id that was used.
create or replace function private.sealed_variable(p_organization_id uuid, p_value jsonb)
  returns private.secrets
  language plpgsql
  stable
as $$
begin
  if jsonb_typeof(p_value) is distinct from 'object'
    or coalesce(p_value ->> 'id', '') !~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'
    or exists (
      select
      from private.secrets as s
      where s.organization_id = p_organization_id and s.id = (p_value ->> 'id')::uuid
    )
  then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The value of a secret variable is sealed before it reaches the database, each time anew.',
      'flowgres seal --type variable prints what belongs here.', '{"field": "value"}'
    );
  end if;
  return private.parse_envelope(p_value ->> 'envelope', p_organization_id, (p_value ->> 'id')::uuid, 1);
end
$$;

create or replace function engine.variable_to_seal(p_name text)
  returns uuid
  language sql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select private.variable_organization(p_name)
$$;
comment on function engine.variable_to_seal(text) is
  'For flowgres_api: the organization that the value of a secret variable is sealed for. Errors: UNAUTHENTICATED, NO_ORGANIZATION, FORBIDDEN, VALIDATION_FAILED. Example: select engine.variable_to_seal(''relay_key'');';

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
  delete from private.secrets as s
  where s.organization_id = v_organization_id and s.id = v_variable.secret_id;
  return v_variable;
end
$$;
comment on function public.delete_variable(text) is
  'Deletes a variable and returns it; expressions that read it give null from the next run on, and steps that use a secret one fail with VARIABLE_NOT_FOUND. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select name from delete_variable(''tax_rate'');';

grant execute on function public.set_variable(text, jsonb, boolean, text[]) to flowgres_user, flowgres_dba;
grant execute on function public.delete_variable(text) to flowgres_user, flowgres_dba;
grant execute on function engine.variable_to_seal(text) to flowgres_api;
