-- kind: roles
-- Creates the roles of the server. `flowgres roles` runs this file in database `postgres`, under
-- one advisory lock, before any migration; repeating it changes nothing. It needs a superuser, or
-- from PostgreSQL 16 on a role with CREATEROLE. It sets no passwords: `flowgres roles` does. Writes
-- no table; locks nothing itself.

do $$
declare
  v_role record;
begin
  for v_role in
    select * from (values
      ('flowgres_owner',       false, true,  'owns everything of Flowgres; definer functions run as it'),
      ('flowgres_queue',       true,  true,  'owns the graphile_worker schema; logs in for its migrations only'),
      ('flowgres_sql',         false, true,  'owns the functions that the sql node may call'),
      ('flowgres_anonymous',   false, true,  'a GraphQL request without a token'),
      ('flowgres_user',        false, true,  'a GraphQL request with a token'),
      ('flowgres_dba',         false, true,  'granted to people: every SQL function of Flowgres'),
      ('flowgres_application', false, true,  'granted to roles of applications by engine.grant_application()'),
      ('flowgres_api',         true,  false, 'connection pool of GraphQL'),
      ('flowgres_intake',      true,  true,  'connection pool of the webhook intake'),
      ('flowgres_worker',      true,  true,  'connection pool of the worker'),
      ('flowgres_maintenance', true,  false, 'the one connection of maintenance, may become the owner'),
      ('flowgres_monitor',     true,  true,  'reads schema monitor')
    ) as wanted (name, logs_in, inherits, purpose)
  loop
    begin
      execute format(
        case
          when not v_role.logs_in then 'create role %I nologin'
          when v_role.inherits then 'create role %I login'
          else 'create role %I login noinherit'
        end,
        v_role.name
      );
      execute format('comment on role %I is %L', v_role.name, format('Flowgres: %s', v_role.purpose));
    exception
      when duplicate_object or unique_violation then null;
    end;
  end loop;
end
$$;

do $$
declare
  v_grant record;
begin
  for v_grant in
    select * from (values
      ('flowgres_queue',     'flowgres_owner'),
      ('flowgres_sql',       'flowgres_owner'),
      ('flowgres_anonymous', 'flowgres_api'),
      ('flowgres_user',      'flowgres_api'),
      ('flowgres_user',      'flowgres_dba'),
      ('flowgres_owner',     'flowgres_maintenance'),
      ('flowgres_owner',     current_user)
    ) as wanted (role, member)
  loop
    if v_grant.role <> v_grant.member and not exists (
      select
      from pg_auth_members as m
      where m.roleid = v_grant.role::regrole
        and m.member = v_grant.member::regrole
        -- From PostgreSQL 16 on the creator of a role holds a grant without SET; a second grant
        -- from itself adds SET.
        and coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
    ) then
      execute format('grant %I to %I', v_grant.role, v_grant.member);
    end if;
  end loop;
end
$$;

-- engine.grant_application(), which runs as the owner, grants this role.
do $$
begin
  if not exists (
    select from pg_auth_members as m
    where m.roleid = 'flowgres_application'::regrole and m.member = 'flowgres_owner'::regrole and m.admin_option
  ) then
    grant flowgres_application to flowgres_owner with admin option;
  end if;
end
$$;

-- The worker must not be a member of flowgres_queue: a member could replace functions that
-- flowgres_owner calls.
do $$
begin
  if pg_has_role('flowgres_worker', 'flowgres_queue', 'member') then
    revoke flowgres_queue from flowgres_worker;
  end if;
end
$$;

do $$
begin
  if pg_has_role(current_user, 'pg_monitor', 'member')
    and not pg_has_role('flowgres_monitor', 'pg_monitor', 'member')
  then
    grant pg_monitor to flowgres_monitor;
  end if;
exception
  -- Without ADMIN on pg_monitor this grant fails; the role can still read schema monitor.
  when insufficient_privilege then null;
end
$$;
