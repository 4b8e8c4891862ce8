-- kind: code
-- New passwords: by a code that was mailed, or by the old password. TypeScript hashes passwords;
-- only hashes come here. Writes private.passwords, private.email_codes, private.throttles,
-- private.sessions, and by send_code the outbox. Locks the row of the code that is redeemed.

create or replace function public.request_password_reset(email text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_user public.users;
begin
  perform private.check_email(coalesce(email, ''));
  perform private.throttle_network('request reset');
  select u.* into v_user
  from public.users as u
  where lower(u.email collate "C") = lower(request_password_reset.email collate "C")
    and u.email_verified_at is not null;
  perform private.send_code(
    'reset', case when v_user.id is null then 'none' else 'reset' end,
    coalesce(v_user.email, request_password_reset.email), v_user.id, 'Reset your password',
    case
      when v_user.id is not null then
        'Somebody, we hope you, wants a new password for this address. The code is %s and works for an hour: '
        'reset_password. If it was not you, nothing has to be done.'
    end
  );
  return true;
end
$$;
comment on function public.request_password_reset(text) is
  'Mails a code for reset_password, which works for an hour. Always returns true, also for an address without an account, which gets no mail. Errors: VALIDATION_FAILED (no e-mail address), RATE_LIMITED. Example: select request_password_reset(''ada@example.com'');';

create or replace function engine.begin_reset(code text)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.throttle_network('reset');
  perform private.require_code(private.find_code(begin_reset.code, '{reset}'));
end
$$;
comment on function engine.begin_reset(text) is
  'Counts an attempt to set a new password by a code, at most 50 an hour from one network, and checks the code, before the password is hashed. Commit it before you call reset_password. Errors: NOT_FOUND, ALREADY_USED, EXPIRED, RATE_LIMITED. Example: select engine.begin_reset(''3q2-7wAAAAAAAAAAAAAAAA'');';
grant execute on function engine.begin_reset(text) to flowgres_api;

create or replace function public.reset_password(code text, password_hash text)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_code private.email_codes;
begin
  perform private.check_password_hash(coalesce(password_hash, ''));
  v_code := private.redeem_code(reset_password.code, '{reset}');
  insert into private.passwords (user_id, hash, changed_at)
  values (v_code.user_id, password_hash, engine.now())
  on conflict (user_id) do update set hash = excluded.hash, changed_at = excluded.changed_at;
  -- A new password ends all sessions and makes the other codes of this address unusable.
  update private.email_codes as c
  set used_at = engine.now()
  where c.user_id = v_code.user_id and c.used_at is null;
  perform private.end_sessions(v_code.user_id);
  delete from private.throttles as t
  using private.login_counters(v_code.email) as c
  where c.is_own and t.key = private.throttle_key(c.thing);
  return v_code.user_id;
end
$$;
comment on function public.reset_password(text, text) is
  'Sets a new password by the code of request_password_reset, ends all sessions of the user, and returns the user''s id. For flowgres_api, which hashes passwords, and DBAs. Errors: NOT_FOUND, ALREADY_USED, EXPIRED, VALIDATION_FAILED. Example: select reset_password(''3q2-7wAAAAAAAAAAAAAAAA'', ''$scrypt$ln=15,r=8,p=3$…'');';

-- Stores the new hash if p_key is the key of the current password; returns whether it is.
create or replace function private.replace_password(p_user_id uuid, p_key bytea, p_hash text)
  returns boolean
  language sql
  volatile
as $$
  with replaced as (
    update private.passwords as p
    set hash = p_hash, changed_at = engine.now()
    where p.user_id = p_user_id
      and split_part(p.hash, '$', 5) = rtrim(encode(sha256(p_key), 'base64'), '=')
    returning 1
  )
  select exists (select from replaced)
$$;

create or replace function public.change_password(current_key bytea, password_hash text)
  returns int
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_email constant text := (select u.email from public.users as u where u.id = v_context.user_id);
begin
  perform private.check_password_hash(coalesce(password_hash, ''));
  if not private.replace_password(v_context.user_id, current_key, password_hash) then
    perform private.raise_error(
      'FORBIDDEN', 'The current password is wrong.', 'It can be reset.', '{"field": "currentPassword"}'
    );
  end if;
  perform private.forgive(c.thing) from private.login_counters(v_email) as c;
  return private.end_sessions(v_context.user_id, v_context.session_id);
end
$$;
comment on function public.change_password(bytea, text) is
  'Sets a new password by the key of the old one, ends all other sessions of the user, and returns how many it ended. For flowgres_api, which makes the key and the hash, and DBAs. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED. Example: select change_password(''\x…'', ''$scrypt$ln=15,r=8,p=3$…'');';

-- Ends no session: the password stays the same, only its hash changes.
create or replace function public.rehash_password(email text, password_key bytea, password_hash text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.check_password_hash(coalesce(password_hash, ''));
  return private.replace_password(
    (
      select u.id from public.users as u
      where lower(u.email collate "C") = lower(rehash_password.email collate "C") and u.email_verified_at is not null
    ),
    password_key, password_hash
  );
end
$$;
comment on function public.rehash_password(text, bytea, text) is
  'Stores the same password under newer parameters of scrypt, after a login with the old ones. Returns whether the key was right. For flowgres_api and DBAs. Errors: VALIDATION_FAILED (no hash). Example: select rehash_password(''ada@example.com'', ''\x…'', ''$scrypt$ln=15,r=8,p=3$…'');';

grant execute on function public.request_password_reset(text)
  to flowgres_anonymous, flowgres_user, flowgres_api, flowgres_dba;
grant execute on function
  public.reset_password(text, text),
  public.change_password(bytea, text),
  public.rehash_password(text, bytea, text)
  to flowgres_api, flowgres_dba;
