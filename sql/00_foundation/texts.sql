-- kind: code
-- Says which names and e-mail addresses are allowed: constraints of tables call is_name() and
-- is_email(), commands call check_name() and check_email(). Writes and locks nothing.

create or replace function private.is_name(p_text text)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  -- Refuse control characters, line and paragraph separators, and characters that change the
  -- direction of text: names stand in subjects of mails, in logs and beside other names.
  select btrim(p_text) <> ''
    and length(p_text) <= 200
    and p_text !~ E'[\\u0001-\\u001f\\u007f-\\u009f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]'
$$;
comment on function private.is_name(text) is
  'Says whether a text can be a name: one line of 1 to 200 characters; null for null.';
-- DBAs write plans; the constraint on their names runs with the rights of the DBA.
grant execute on function private.is_name(text) to flowgres_dba;

create or replace function private.is_email(p_text text)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  -- Refuse addresses that need quotes: they are legal but rare, and mail systems read them
  -- differently.
  select length(p_text) <= 254
    and p_text !~ E'[\\s\\u0001-\\u001f\\u007f-\\u00a0\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]'
    -- Before the @ none of ()<>,;:\"[] is allowed; after it letters, digits, points and hyphens of
    -- all alphabets.
    and p_text ~ (
      E'^[^@()<>,;:\\\\"\\[\\]]{1,64}'
      || E'@[^\\u0021-\\u002c\\u002f\\u003a-\\u0040\\u005b-\\u0060\\u007b-\\u007e]+$'
    )
$$;
comment on function private.is_email(text) is
  'Says whether a text can be an e-mail address of at most 254 characters: no space, no control character, none of ()<>,;:\"[] in it; null for null.';

create or replace function private.clean_name(p_text text, p_default text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select coalesce(nullif(btrim(left(regexp_replace(
    p_text, E'[\\u0001-\\u001f\\u007f-\\u009f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]+', ' ', 'g'
  ), 200)), ''), p_default)
$$;
comment on function private.clean_name(text, text) is
  'Makes a name from a text of another system: one line, at most 200 characters; returns the default when nothing is left.';

create or replace function private.check_name(p_name text, p_field text default 'name')
  returns void
  language plpgsql
  immutable
as $$
begin
  if not private.is_name(p_name) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A name has 1 to 200 characters in one line.',
      'Line breaks and other control characters cannot be in it.', jsonb_build_object('field', p_field)
    );
  end if;
end
$$;
comment on function private.check_name(text, text) is
  'Raises VALIDATION_FAILED unless the text can be a name; null passes.';

create or replace function private.check_email(p_email text, p_field text default 'email')
  returns void
  language plpgsql
  immutable
as $$
begin
  if not private.is_email(p_email) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is no e-mail address.', null, jsonb_build_object('field', p_field)
    );
  end if;
end
$$;
comment on function private.check_email(text, text) is
  'Raises VALIDATION_FAILED unless the text can be an e-mail address; null passes.';
