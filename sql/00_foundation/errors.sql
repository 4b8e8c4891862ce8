-- kind: code
-- Raises errors: each has a code and one SQLSTATE of class WF. docs/reference/errors.md explains
-- the codes; GraphQL shows them as `extensions.code`. Writes and locks nothing.

-- Raises an error; its detail is a JSON object of the code and p_details. The hint says what to do.
create or replace function private.raise_error(
  p_code text,
  p_message text,
  p_hint text default null,
  p_details jsonb default '{}'
)
  returns void
  language plpgsql
  immutable
as $$
declare
  v_sqlstate constant text := (select e.sqlstate from private.error_codes() as e where e.code = p_code);
  v_detail constant text := (jsonb_build_object('code', p_code) || p_details)::text;
begin
  if p_hint is null then
    raise exception using errcode = v_sqlstate, message = p_message, detail = v_detail;
  end if;
  raise exception using errcode = v_sqlstate, message = p_message, detail = v_detail, hint = p_hint;
end
$$;

-- Raises an error that is held as JSON: {"code", "message", "hint"?, "details"?}.
create or replace function private.raise_json_error(p_error jsonb)
  returns void
  language sql
  immutable
as $$
  select private.raise_error(
    p_error ->> 'code', p_error ->> 'message', p_error ->> 'hint', coalesce(p_error -> 'details', '{}')
  )
$$;

-- Lists the codes with their SQLSTATEs.
create or replace function private.error_codes()
  returns table (code text, sqlstate text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('VALIDATION_FAILED', 'WF001'),
    ('NOT_FOUND',         'WF002'),
    ('CONFLICT',          'WF003'),
    ('UNAUTHENTICATED',   'WF004'),
    ('FORBIDDEN',         'WF005'),
    ('LIMIT_REACHED',     'WF006'),
    ('RUN_FINISHED',      'WF007'),
    ('ALREADY_USED',      'WF008'),
    ('INVALID_ARGUMENT',  'WF009'),
    ('TOO_LARGE',         'WF010'),
    ('NOT_PUBLISHED',     'WF011'),
    ('NODE_FAILED',       'WF012'),
    ('RATE_LIMITED',      'WF013'),
    ('EXPIRED',           'WF014'),
    ('COPIED_DATABASE',   'WF015'),
    ('NO_ORGANIZATION',   'WF016'),
    ('NOT_INLINE',        'WF020')
$$;

-- Says whether an error is independent of the work that met it, so that the work can succeed later:
-- a conflict with another transaction, a server that lacks resources or shuts down, or a missing
-- partition (a check violation without a constraint's name). Code that catches all errors raises
-- these again, so that the work is repeated. `when others` does not catch a statement timeout: that
-- ends the statement.
create or replace function private.is_transient(p_sqlstate text, p_constraint text default null)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select p_sqlstate ~ '^(40|53|55P03|57|58)' or p_sqlstate = '23514' and p_constraint = ''
$$;
