-- kind: code
-- Creates, lists and revokes API tokens. create_api_token() shows the secret once; only its hash is
-- stored. Writes private.api_tokens; creating one locks the organization's row (share) against its
-- deletion.

create or replace function public.create_api_token(
  name text,
  scopes text[],
  expires_at timestamptz default null
)
  returns public.new_api_token
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_secret constant text := private.new_secret('fg_');
  -- A token made by a token expires with it at the latest.
  v_end constant timestamptz := least(
    create_api_token.expires_at,
    (select t.expires_at from private.api_tokens as t where t.id = (private.context()).token_id)
  );
  v_scope text;
  v_token private.api_tokens;
begin
  perform private.require_scope('organization:write');
  perform private.check_name(coalesce(create_api_token.name, ''));
  foreach v_scope in array coalesce(scopes, '{}') loop
    if v_scope is null or v_scope not in (select s.scope from private.scopes() as s) then
      perform private.raise_error(
        'VALIDATION_FAILED',
        format('There is no scope %s.', coalesce(v_scope, 'null')),
        'Scopes: ' || (select string_agg(s.scope, ', ') from private.scopes() as s) || '.'
      );
    end if;
    -- A token cannot create one with a scope that it lacks.
    perform private.require_scope(v_scope);
  end loop;
  if v_end <= engine.now() or not isfinite(create_api_token.expires_at) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The token would have expired already, or never.', 'Give a later expires_at, or none.',
      '{"field": "expiresAt"}'
    );
  end if;

  -- Waits for a deletion of the organization: it suspends the tokens, and would miss this one.
  perform from public.organizations as o where o.id = v_organization_id and o.deleted_at is null for share;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  insert into private.api_tokens (organization_id, user_id, name, prefix, token_hash, scopes, expires_at)
  values (
    v_organization_id, public.current_user_id(), create_api_token.name, left(v_secret, 9),
    private.hash_secret(v_secret), create_api_token.scopes, v_end
  )
  returning * into v_token;
  return row(v_secret, private.api_token(v_token));
exception
  when check_violation or not_null_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A token needs a name of 1 to 200 characters and at least one scope.'
    );
    return null;
end
$$;
comment on function public.create_api_token(text, text[], timestamptz) is
  'Creates an API token of the current organization and user, and returns its secret, once. Scopes: workflows:read, workflows:write, runs:read, runs:write, organization:read, organization:write; without expires_at it lasts until it is revoked, or as long as the token that creates it. It never has more rights than its creator, now or later: roles are checked at each request, and it ends with the membership. Errors: UNAUTHENTICATED, FORBIDDEN (a scope that the caller lacks), VALIDATION_FAILED. Example: select (create_api_token(''CI'', ''{runs:write}'')).secret;';

-- Lists the scopes of tokens.
create or replace function private.scopes()
  returns table (scope text, allows text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('workflows:read',     'read workflows and their versions'),
    ('workflows:write',    'create, change, publish and archive workflows'),
    ('runs:read',          'read runs, their events and logs'),
    ('runs:write',         'start, cancel, pause, resume, retry and fork runs, send them signals, decide approvals'),
    ('organization:read',  'read the organization, its members and tokens'),
    ('organization:write', 'change the organization, its members and tokens')
$$;

-- Returns a token without its hash, as GraphQL shows it.
create or replace function private.api_token(p_token private.api_tokens)
  returns public.api_token
  language sql
  immutable
as $$
  select
    p_token.id, p_token.name, p_token.prefix, p_token.scopes, p_token.user_id,
    p_token.created_at, p_token.expires_at, p_token.revoked_at, p_token.last_used_at
$$;

create or replace function public.revoke_api_token(id uuid)
  returns public.api_token
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_token private.api_tokens;
begin
  perform private.require_scope('organization:write');
  update private.api_tokens as t
  set revoked_at = coalesce(t.revoked_at, engine.now())
  where t.id = revoke_api_token.id and t.organization_id = v_organization_id
  returning * into v_token;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such token in this organization.');
  end if;
  if v_token.user_id is distinct from public.current_user_id() then
    perform private.require_role('admin');
  end if;
  return private.api_token(v_token);
end
$$;
comment on function public.revoke_api_token(uuid) is
  'Revokes a token, one''s own or, as an admin, any of the organization; requests with it are refused within 5 seconds. Repeating it changes nothing. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from revoke_api_token(''0190…'');';

create or replace function public.api_tokens()
  returns setof public.api_token
  language sql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 10
as $$
  select token.*
  from private.api_tokens as t
  cross join lateral private.api_token(t) as token
  cross join private.context() as c
  left join public.organization_users as m on m.organization_id = c.organization_id and m.user_id = c.user_id
  where t.organization_id = c.organization_id
    and private.has_scope('organization:read')
    -- Owners and admins see all, members their own.
    and (c.user_id is null or t.user_id = c.user_id or m.role in ('owner', 'admin'))
  order by t.created_at desc, t.id desc
$$;
comment on function public.api_tokens() is
  'The tokens of the current organization, newest first, without their secrets: all of them for owners and admins, their own for members. Example: select name, prefix, expires_at from api_tokens();';

grant execute on function
  public.create_api_token(text, text[], timestamptz),
  public.revoke_api_token(uuid),
  public.api_tokens()
  to flowgres_user, flowgres_dba;
