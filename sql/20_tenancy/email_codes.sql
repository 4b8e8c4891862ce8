-- kind: code
-- Codes that prove an address: whoever sends one back has read the mail.

create or replace function private.send_code(
  p_purpose text,
  p_email text,
  p_user_id uuid,
  p_subject text,
  p_text text, -- with %s where the code stands
  p_name text default null,
  p_password_hash text default null
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_code constant text := private.random_secret(16);
  v_sent bigint;
  v_purpose text := p_purpose;
begin
  -- Nobody's mailbox is flooded by us: the sixth mail to an address within an hour is not sent, and nobody is told.
  select count(*) into v_sent
  from private.email_codes as c
  where lower(c.email) = lower(p_email) and c.created_at > v_now - interval '1 hour';
  if v_sent >= 5 then
    v_purpose := 'none';
  end if;
  insert into private.email_codes (
    purpose, email, user_id, name, password_hash, code_hash, created_at, expires_at
  )
  values (
    v_purpose, p_email, p_user_id, p_name, case when v_purpose = 'register' then p_password_hash end,
    private.hash_secret(v_code), v_now,
    v_now + case v_purpose when 'reset' then interval '1 hour' else interval '1 day' end
  );
  perform private.send_mail(
    case when v_purpose <> 'none' or (p_purpose = 'none' and v_sent < 5 and p_text is not null) then p_email end,
    p_subject, format(p_text, v_code)
  );
end
$$;
comment on function private.send_code(text, text, uuid, text, text, text, text) is
  'Mails a code for register, change or reset; for none a text without one. Without a text nothing is sent, which takes as long.';

create or replace function private.take_code(p_code text, p_purposes text[])
  returns private.email_codes
  language plpgsql
  volatile
as $$
declare
  v_code private.email_codes;
begin
  select c.* into v_code
  from private.email_codes as c
  where c.code_hash = private.hash_secret(p_code) and c.purpose = any (p_purposes)
  for update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such code.', 'Copy it as it stands in the mail.');
  elsif v_code.used_at is not null then
    perform private.raise_error(
      'ALREADY_USED', 'The code has been used.', null, jsonb_build_object('usedAt', v_code.used_at)
    );
  elsif v_code.expires_at <= engine.now() then
    perform private.raise_error('EXPIRED', 'The code has expired.', 'Ask for a new one.');
  end if;
  update private.email_codes as c
  set used_at = engine.now(), password_hash = null
  where c.id = v_code.id;
  return v_code;
end
$$;
comment on function private.take_code(text, text[]) is
  'What a code is for; from now on it is used. Raises NOT_FOUND, ALREADY_USED, EXPIRED.';

create or replace function private.check_person(p_name text, p_email text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if btrim(p_name) = '' or length(p_name) > 200 then
    perform private.raise_error('VALIDATION_FAILED', 'A name has 1 to 200 characters.', null, '{"field": "name"}');
  elsif p_email !~ '^[^@\s]+@[^@\s]+$' or length(p_email) > 254 then
    perform private.raise_error('VALIDATION_FAILED', 'This is no e-mail address.', null, '{"field": "email"}');
  end if;
end
$$;
comment on function private.check_person(text, text) is 'Raises VALIDATION_FAILED; nulls pass.';
