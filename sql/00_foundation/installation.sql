-- kind: code
-- Keeps a restored copy inert: no effects, schedules, mails or retention there until a DBA adopts
-- it. Compares the server's system identifier and the database's oid with those in
-- private.installation, which a copy contains too. Writes private.installation
-- (engine.adopt_installation() only); locks nothing else.

create or replace function engine.copy_problem()
  returns text
  language plpgsql
  stable
  security definer -- definer because private.installation is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_home record;
begin
  if current_setting('flowgres.inert', true) = 'on' then
    return 'The setting flowgres.inert is on: no effects, schedules, mails or retention here.';
  end if;
  select i.* into v_home from private.installation as i;
  if v_home.system_identifier is not distinct from private.server_identifier()
    and coalesce(v_home.database_oid, private.database_oid()) = private.database_oid()
  then
    return null;
  end if;
  return format('This database is a copy, made of database %s on server %s: ',
    v_home.database_oid, v_home.system_identifier)
    || 'no effects, schedules, mails or retention here until a DBA adopts it.';
end
$$;
comment on function engine.copy_problem() is
  'Says why this database must cause no effects: it is a copy of an installation and not adopted, or the setting flowgres.inert is on. Null when it is the installation itself. Example: select engine.copy_problem();';

create or replace function engine.require_original()
  returns void
  language plpgsql
  stable
  security definer -- definer because private.installation is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem constant text := engine.copy_problem();
begin
  if v_problem is not null then
    perform private.raise_error('COPIED_DATABASE', v_problem,
      'If the original is gone, or this copy is to work on its own: select engine.adopt_installation().');
  end if;
end
$$;
comment on function engine.require_original() is
  'Raises an error in a copy that has not been adopted; workers call it first in a session. Error: COPIED_DATABASE. Example: select engine.require_original();';

create or replace function engine.adopt_installation()
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because private.installation is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_copy constant boolean := engine.copy_problem() is not null;
begin
  insert into private.installation as i (system_identifier, database_oid, adopted_at, adopted_by)
  values (private.server_identifier(), private.database_oid(), clock_timestamp(), session_user)
  on conflict on constraint installation_pkey do update
  set
    system_identifier = excluded.system_identifier,
    database_oid = excluded.database_oid,
    adopted_at = excluded.adopted_at,
    adopted_by = excluded.adopted_by;
  return v_is_copy;
end
$$;
comment on function engine.adopt_installation() is
  'Makes a restored copy an installation of its own: from now on its workers run effects, schedules and mails, and its jobs retire old data. Do it only when the original does none of that any more, or when both may. Returns whether it was inert. Example: select engine.adopt_installation();';

-- Returns the system identifier of the server; null where it may not be read.
create or replace function private.server_identifier()
  returns bigint
  language plpgsql
  stable
as $$
begin
  return (select s.system_identifier from pg_control_system() as s);
exception
  -- Some providers do not show it. The oid of the database is compared all the same.
  when insufficient_privilege or feature_not_supported then
    return null;
end
$$;

create or replace function private.database_oid()
  returns oid
  language sql
  stable
as $$
  select d.oid from pg_database as d where d.datname = current_database()
$$;

grant execute on function engine.copy_problem(), engine.require_original()
  to flowgres_worker, flowgres_maintenance, flowgres_dba;
grant execute on function engine.adopt_installation() to flowgres_dba;
