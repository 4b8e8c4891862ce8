-- kind: code
-- Sends codes by e-mail and redeems them: a code proves that its sender reads the mail of the
-- address. Writes private.email_codes, private.throttles and private.outbox; locks the counters of
-- sent mails, and the row of a code that is redeemed.

create or replace function private.may_send(p_kind text, p_email text, p_user_id uuid default null)
  returns boolean
  language sql
  volatile
as $$
  -- The first limit is of the caller, so that one who asks too often uses little of the second
  -- limit, the recipient's. Each kind of mail has its own limits, so that none blocks another.
  select case
    when
      private.is_within(
        array['mail from', p_kind, lower(p_email collate "C"), p_user_id::text, private.client_prefix()::text],
        5, interval '1 hour'
      )
      then private.is_within(array['mail to', p_kind, lower(p_email collate "C")], 10, interval '1 hour')
    else false
  end
$$;
comment on function private.may_send(text, text, uuid) is
  'Counts a mail, and says whether it may be sent: per kind an address gets at most 5 an hour from one user or network, and 10 from all of them.';

create or replace function private.send_code(
  p_kind text,
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
  -- A mail over the limit is not sent, and the caller does not learn it.
  v_is_sent constant boolean := private.may_send(p_kind, p_email, case when p_kind = 'change' then p_user_id end);
  v_purpose constant text := case when v_is_sent then p_purpose else 'none' end;
begin
  insert into private.email_codes (
    purpose, email, user_id, name, password_hash, code_hash, created_at, expires_at
  )
  values (
    v_purpose, p_email, p_user_id, p_name, case when v_purpose = 'register' then p_password_hash end,
    private.hash_secret(v_code), v_now,
    v_now + case v_purpose when 'reset' then interval '1 hour' else interval '1 day' end
  );
  perform private.send_mail(
    case when v_is_sent and p_text is not null then p_email end, p_subject, format(p_text, v_code)
  );
end
$$;
comment on function private.send_code(text, text, text, uuid, text, text, text, text) is
  'Mails a code for register, change or reset; p_kind names what the limits count. The purpose none mails a text without a code. Without a text nothing is sent, which takes as long.';

-- Returns a code of one of these purposes, used or not.
create or replace function private.find_code(p_code text, p_purposes text[])
  returns private.email_codes
  language sql
  stable
as $$
  select c.*
  from private.email_codes as c
  where c.code_hash = private.hash_secret(p_code) and c.purpose = any (p_purposes)
$$;

create or replace function private.require_code(p_code private.email_codes)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_code.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such code.', 'Copy it as it stands in the mail.');
  elsif p_code.used_at is not null then
    perform private.raise_error(
      'ALREADY_USED', 'The code has been used.', null, jsonb_build_object('usedAt', p_code.used_at)
    );
  elsif p_code.expires_at <= engine.now() then
    perform private.raise_error('EXPIRED', 'The code has expired.', 'Ask for a new one.');
  end if;
end
$$;
comment on function private.require_code(private.email_codes) is
  'Raises NOT_FOUND, ALREADY_USED or EXPIRED unless the code can be redeemed.';

create or replace function private.redeem_code(p_code text, p_purposes text[])
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
  perform private.require_code(v_code);
  update private.email_codes as c
  set used_at = engine.now(), password_hash = null
  where c.id = v_code.id;
  return v_code;
end
$$;
comment on function private.redeem_code(text, text[]) is
  'Marks a code as used and returns its row, under a lock, so that it is used once. Raises NOT_FOUND, ALREADY_USED, EXPIRED.';
