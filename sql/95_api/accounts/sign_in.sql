-- kind: code
-- Registration and login. Passwords never reach the database: TypeScript derives a key with scrypt,
-- and the database stores the SHA-256 of that key. No answer to a client reveals whether an address
-- has an account. Writes public.users, private.passwords, private.email_codes, private.throttles,
-- private.sessions, and by send_code the outbox. Locks the row of the code that is redeemed.

create or replace function private.check_password_hash(p_hash text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_hash !~ E'^\\$scrypt\\$ln=[0-9]{1,2},r=[0-9]{1,2},p=[0-9]{1,2}\\$[A-Za-z0-9+/]{22}\\$[A-Za-z0-9+/]{43}$' then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is no hash of a password.', 'Make one: flowgres hash', '{"field": "password"}'
    );
  end if;
end
$$;

create or replace function private.throttle_network(p_thing text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_prefix constant cidr := private.client_prefix();
begin
  if v_prefix is not null then
    perform private.throttle(array[p_thing || ' from', v_prefix::text], 50, interval '1 hour');
  end if;
end
$$;
comment on function private.throttle_network(text) is
  'Counts an attempt of the client''s network: at most 50 an hour. Counts nothing in psql, which has no client network. Raises RATE_LIMITED.';

create or replace function engine.begin_registration(name text, email text)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.check_name(coalesce(name, ''));
  perform private.check_email(coalesce(email, ''));
  perform private.throttle_network('register');
end
$$;
comment on function engine.begin_registration(text, text) is
  'Counts a registration, at most 50 an hour from one network, before its password is hashed. Commit it before you call register_user. Errors: VALIDATION_FAILED, RATE_LIMITED. Example: select engine.begin_registration(''Ada'', ''ada@example.com'');';

create or replace function engine.forgive_attempt(kind text, email text default null)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  if kind = 'login' then
    perform private.forgive(c.thing)
    from private.login_counters(
      coalesce(forgive_attempt.email, (select u.email from public.users as u where u.id = public.current_user_id()))
    ) as c;
  else
    perform private.forgive(array[kind || ' from', private.client_prefix()::text]);
  end if;
end
$$;
comment on function engine.forgive_attempt(text, text) is
  'Takes back what begin_login (kind login), begin_registration (register) or begin_reset (reset) counted, when the server was too busy to check the password. Example: select engine.forgive_attempt(''login'', ''ada@example.com'');';

create or replace function public.register_user(name text, email text, password_hash text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.check_name(coalesce(name, ''));
  perform private.check_email(coalesce(email, ''));
  perform private.check_password_hash(coalesce(password_hash, ''));
  if exists (
    select from public.users as u
    where lower(u.email collate "C") = lower(register_user.email collate "C") and u.email_verified_at is not null
  ) then
    perform private.send_code(
      'register', 'none', register_user.email, null, 'You have an account already',
      'Somebody, perhaps you, tried to register with this address, which has an account already. If you forgot the '
      'password, reset it; if it was not you, nothing has to be done.'
    );
  else
    perform private.send_code(
      'register', 'register', register_user.email, null, 'Verify your e-mail address',
      'Somebody, we hope you, registered with this address. The code is %s and works for a day: '
      'verify_email(code). If it was not you, nothing has to be done.',
      register_user.name, password_hash
    );
  end if;
  return true;
end
$$;
comment on function public.register_user(text, text, text) is
  'Mails a code with which verify_email creates the account. Always returns true: an address that has an account already gets a mail that says so. For flowgres_api, which hashes passwords, and DBAs: `flowgres hash` makes the hash. Errors: VALIDATION_FAILED. Example: select register_user(''Ada'', ''ada@example.com'', ''$scrypt$ln=15,r=8,p=3$…'');';

create or replace function public.verify_email(code text)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_code constant private.email_codes := private.redeem_code(verify_email.code, '{register,change}');
  v_user_id uuid := v_code.user_id;
begin
  if v_code.purpose = 'change' then
    update public.users as u
    set email = v_code.email, email_verified_at = engine.now(), updated_at = engine.now()
    where u.id = v_user_id;
  else
    insert into public.users (name, email, email_verified_at)
    values (v_code.name, v_code.email, engine.now())
    returning users.id into v_user_id;
    insert into private.passwords (user_id, hash, changed_at)
    values (v_user_id, v_code.password_hash, engine.now());
  end if;
  return v_user_id;
exception
  when unique_violation then
    perform private.raise_error(
      'CONFLICT', 'The address belongs to an account by now.', 'Log in, or reset its password.', '{"field": "email"}'
    );
    return null;
end
$$;
comment on function public.verify_email(text) is
  'Verifies an address by the code that was mailed to it, and returns the user''s id. After register_user it creates the account; after change_email it sets the new address. Errors: NOT_FOUND, ALREADY_USED, EXPIRED, CONFLICT. Example: select verify_email(''3q2-7wAAAAAAAAAAAAAAAA'');';

-- The counters of a login with this address: what is counted, the most attempts in a span, and
-- whether a login forgives it.
create or replace function private.login_counters(p_email text)
  returns table (thing text[], most int, span interval, is_own boolean)
  language sql
  stable
as $$
  -- One network that guesses the password of an address is stopped after 10 attempts, which does
  -- not lock the owner out in other networks. Many networks with one address, and one network with
  -- many addresses, have higher limits.
  select array['login', lower(p_email collate "C"), private.client_prefix()::text], 10, interval '15 minutes', true
  union all
  select array['login', lower(p_email collate "C")], 100, interval '1 hour', true
  union all
  select array['login from', private.client_prefix()::text], 200, interval '15 minutes', false
  where private.client_prefix() is not null
$$;

create or replace function public.begin_login(email text default null)
  returns text
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_email text := begin_login.email;
  v_context private.context;
begin
  if v_email is null then
    v_context := private.acting_person();
    v_email := (select u.email from public.users as u where u.id = v_context.user_id);
  end if;
  perform private.check_email(v_email);
  perform private.throttle(c.thing, c.most, c.span) from private.login_counters(v_email) as c;
  return (
    select regexp_replace(p.hash, E'\\$[^$]*$', '')
    from private.passwords as p
    join public.users as u on u.id = p.user_id
    where lower(u.email collate "C") = lower(v_email collate "C") and u.email_verified_at is not null
  );
end
$$;
comment on function public.begin_login(text) is
  'Counts an attempt to log in, before its result is known, and returns the scrypt parameters and salt of the account''s password; null when there is no account, which the API must not reveal. Without an address it takes that of the current user. Commit it before you call login. Errors: RATE_LIMITED (details.retryAfterMs), UNAUTHENTICATED, VALIDATION_FAILED. Example: select begin_login(''ada@example.com'');';

create or replace function public.login(email text, password_key bytea)
  returns public.new_session
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_secret constant text := private.new_secret('fs_');
  v_user_id uuid;
  v_session private.sessions;
begin
  select u.id into v_user_id
  from public.users as u
  join private.passwords as p on p.user_id = u.id
  where lower(u.email collate "C") = lower(login.email collate "C")
    and u.email_verified_at is not null
    and split_part(p.hash, '$', 5) = rtrim(encode(sha256(password_key), 'base64'), '=');
  if v_user_id is null then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'The address or the password is wrong.',
      'An account begins when its address is verified: see the mail. A password can be reset.'
    );
  end if;
  perform private.forgive(c.thing) from private.login_counters(login.email) as c;
  v_session := private.open_session(
    v_user_id, 'login', private.hash_secret(v_secret), engine.now() + interval '30 days'
  );
  return row(v_secret, v_session.expires_at, v_user_id, v_session.organization_id);
end
$$;
comment on function public.login(text, bytea) is
  'Begins a session of 30 days. password_key is the key of 32 bytes that scrypt derives from the password with the parameters of begin_login. For flowgres_api, which derives it, and DBAs. Errors: UNAUTHENTICATED. Example: select secret from login(''ada@example.com'', ''\x…'');';

grant execute on function engine.begin_registration(text, text), engine.forgive_attempt(text, text) to flowgres_api;
grant execute on function
  public.register_user(text, text, text),
  public.begin_login(text),
  public.login(text, bytea)
  to flowgres_api, flowgres_dba;
grant execute on function public.verify_email(text)
  to flowgres_anonymous, flowgres_user, flowgres_api, flowgres_dba;
