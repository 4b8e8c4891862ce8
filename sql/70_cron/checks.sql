-- kind: code
-- Checks of arguments that raise the errors of pg_cron, with its messages and SQLSTATEs. Writes and
-- locks nothing.

-- Raises an error with a hint or a detail; with both, the hint only.
create or replace function cron.raise_error(
  p_message text,
  p_sqlstate text default 'XX000',
  p_hint text default null,
  p_detail text default null
)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_hint is not null then
    raise exception using errcode = p_sqlstate, message = p_message, hint = p_hint;
  elsif p_detail is not null then
    raise exception using errcode = p_sqlstate, message = p_message, detail = p_detail;
  end if;
  raise exception using errcode = p_sqlstate, message = p_message;
end
$$;

-- Returns a setting of pg_cron: from postgresql.conf, or `alter database … set cron.timezone =
-- 'Europe/Berlin'`.
create or replace function cron.setting(p_name text, p_default text)
  returns text
  language plpgsql
  stable
as $$
begin
  return coalesce(nullif(current_setting('cron.' || p_name, true), ''), p_default);
exception
  -- Where the library of pg_cron is loaded without its extension, only superusers may read its
  -- settings.
  when insufficient_privilege then
    return p_default;
end
$$;

-- Returns the role of the caller. In a definer function current_user is the owner; the setting
-- `role` is what the caller has set, and PostgreSQL has checked that.
create or replace function cron.caller()
  returns text
  language sql
  stable
as $$
  select coalesce(nullif(current_setting('role'), 'none'), session_user)
$$;

create or replace function cron.is_superuser(p_name text)
  returns boolean
  language sql
  stable
as $$
  select exists (select from pg_roles as r where r.rolname = p_name and r.rolsuper)
$$;

-- Raises 22023 for an invalid schedule.
create or replace function cron.check_schedule(p_schedule text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if engine.parse_cron(p_schedule) is null then
    perform cron.raise_error(
      format('invalid schedule: %s', p_schedule),
      '22023',
      'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds'''
    );
  end if;
end
$$;

-- Raises an error for an argument that is null.
create or replace function cron.check_given(p_name text, p_is_given boolean)
  returns void
  language plpgsql
  immutable
as $$
begin
  if not p_is_given then
    perform cron.raise_error(format('%s can not be NULL', p_name));
  end if;
end
$$;

-- Raises an error when the role does not exist or may not log in.
create or replace function cron.check_role(p_name text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_can_log_in constant boolean := (select r.rolcanlogin from pg_roles as r where r.rolname = p_name);
begin
  if v_can_log_in is null then
    perform cron.raise_error(format('role "%s" does not exist', p_name));
  elsif not v_can_log_in then
    perform cron.raise_error(
      format('role "%s" can not log in', p_name),
      p_detail => 'Jobs may only be run by roles that have the LOGIN attribute.'
    );
  end if;
end
$$;

-- Raises an error when the database does not exist, the role may not connect to it, or it is a
-- superuser and cron.enable_superuser_jobs is off.
create or replace function cron.check_target(p_database text, p_username text)
  returns void
  language plpgsql
  stable
as $$
begin
  if not exists (select from pg_database as d where d.datname = p_database) then
    perform cron.raise_error(format('database "%s" does not exist', p_database), '3D000');
  elsif not has_database_privilege(p_username, p_database, 'connect') then
    perform cron.raise_error(format('User %s does not have CONNECT privilege on %s', p_username, p_database));
  elsif cron.is_superuser(p_username) and not cron.setting('enable_superuser_jobs', 'on')::boolean then
    perform cron.raise_error(
      'cannot schedule jobs as superuser',
      '42501',
      p_detail => 'Scheduling jobs as superuser is disallowed when cron.enable_superuser_jobs is set to off.'
    );
  end if;
end
$$;
