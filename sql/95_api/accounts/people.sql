-- kind: code
-- A user's own profile, and the end of an account. The row of a deleted user is kept, without name
-- and address, because workflows and runs of organizations refer to it. Writes public.users,
-- public.organization_users, private.sessions, private.identities, private.passwords,
-- private.email_codes, and through change_email private.throttles and private.outbox. delete_user
-- locks the rows of the user's organizations, sorted by id.

create or replace function public.update_profile(name text)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_user public.users;
begin
  perform private.check_name(coalesce(name, ''));
  update public.users as u
  set name = update_profile.name, updated_at = engine.now()
  where u.id = v_context.user_id
  returning u.* into v_user;
  return v_user;
end
$$;
comment on function public.update_profile(text) is
  'Changes the name of the current user. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), VALIDATION_FAILED. Example: select update_profile(''Ada Lovelace'');';

create or replace function public.change_email(email text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
begin
  perform private.check_email(coalesce(email, ''));
  -- Limit mails to addresses whose owners have not asked for them.
  perform private.throttle(array['change e-mail', v_context.user_id::text], 5, interval '1 hour');
  perform private.send_code(
    'change', 'change', change_email.email, v_context.user_id, 'Verify your e-mail address',
    'Somebody, we hope you, wants to use this address. The code is %s and works for a day: verify_email(code). '
    'If it was not you, nothing has to be done.'
  );
  return true;
end
$$;
comment on function public.change_email(text) is
  'Mails a code to a new address. verify_email with that code changes the address; until then the old one stays valid. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), VALIDATION_FAILED, RATE_LIMITED (more than 5 an hour). Example: select change_email(''ada@example.org'');';

create or replace function private.end_memberships(p_user_id uuid)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_organization_ids constant uuid[] := array(
    select o.id
    from public.organizations as o
    join public.organization_users as m on m.organization_id = o.id
    where m.user_id = p_user_id
    order by o.id
    for no key update of o
  );
begin
  delete from public.organization_users as m where m.user_id = p_user_id;
  perform private.require_owner(o.id)
  from public.organizations as o
  where o.id = any (v_organization_ids) and o.deleted_at is null;
end
$$;
comment on function private.end_memberships(uuid) is
  'Ends all memberships of a user and locks those organizations, sorted by id. Raises CONFLICT when one would have no owner left.';

create or replace function public.delete_user(id uuid, confirm_email text)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context private.context;
  v_user public.users;
begin
  if not private.is_dba() and not private.is_super_admin() then
    v_context := private.acting_person();
    if id is distinct from v_context.user_id then
      perform private.raise_error('NOT_FOUND', 'There is no such user that you could delete.');
    end if;
  end if;
  select u.* into v_user from public.users as u where u.id = delete_user.id and u.deleted_at is null;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such user.');
  elsif lower(v_user.email collate "C") is distinct from lower(confirm_email collate "C") then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is not the address of the user.', null, '{"field": "confirmEmail"}'
    );
  end if;
  perform private.end_memberships(v_user.id);
  delete from private.sessions as s where s.user_id = v_user.id;
  delete from private.identities as i where i.user_id = v_user.id;
  delete from private.passwords as p where p.user_id = v_user.id;
  delete from private.email_codes as c
  where c.user_id = v_user.id or lower(c.email collate "C") = lower(v_user.email collate "C");
  update public.users as u
  set
    name = 'Deleted user',
    email = format('%s@deleted.invalid', u.id),
    email_verified_at = null,
    global_role = 'user',
    deleted_at = engine.now(),
    updated_at = engine.now()
  where u.id = v_user.id
  returning u.* into v_user;
  return v_user;
end
$$;
comment on function public.delete_user(uuid, text) is
  'Deletes an account with its name, address, password, sessions, tokens and memberships; workflows and runs stay with their organizations. confirm_email must be the address of the user. For the user, super admins and DBAs. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), NOT_FOUND, VALIDATION_FAILED, CONFLICT (the last owner of an organization). Example: select delete_user(u.id, u.email) from public.current_user() as u;';

create or replace function public.set_global_role("user" uuid, role text)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_user public.users;
begin
  if not private.is_dba() and not private.is_super_admin() then
    perform private.raise_error('FORBIDDEN', 'Only a super admin or a DBA can do this.');
  end if;
  update public.users as u
  set global_role = role, updated_at = engine.now()
  where u.id = "user" and u.deleted_at is null
  returning u.* into v_user;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such user.');
  end if;
  return v_user;
exception
  when check_violation or not_null_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such role.', 'Roles: user, super_admin.', '{"field": "role"}'
    );
    return null;
end
$$;
comment on function public.set_global_role(uuid, text) is
  'Sets the global role of a user: super_admin or user. A super_admin sees all organizations and people, but not their workflows and runs, can delete organizations and users, and can restore organizations. For DBAs and super admins. Errors: FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select set_global_role(id, ''super_admin'') from users where email = ''ada@example.com'';';

grant execute on function
  public.update_profile(text),
  public.change_email(text),
  public.delete_user(uuid, text),
  public.set_global_role(uuid, text)
  to flowgres_user, flowgres_dba;
