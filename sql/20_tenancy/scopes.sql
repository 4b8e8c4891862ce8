-- kind: code
-- The scopes of the request's secret: what a token may do. Policies and commands ask for them.
-- Writes and locks nothing.

create or replace function private.has_scope(p_scope text)
  returns boolean
  language plpgsql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  return private.includes_scope(private.context(), p_scope);
end
$$;
comment on function private.has_scope(text) is
  'Says whether the request has a scope: sessions and DBAs have all, a token those that it lists; a :write scope includes its :read.';

create or replace function private.organization_with_scope(p_scope text)
  returns uuid
  language plpgsql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.context();
begin
  if v_context.organization_id is null then
    perform private.remind_of_context();
  elsif private.includes_scope(v_context, p_scope) then
    return v_context.organization_id;
  end if;
  return null;
end
$$;
comment on function private.organization_with_scope(text) is
  'Returns the organization that the request acts for if the request has the scope; null otherwise. Policies compare with it: one call reads the secret for both.';

create or replace function private.require_scope(p_scope text)
  returns void
  language plpgsql
  stable
as $$
begin
  if not private.has_scope(p_scope) then
    perform private.raise_error(
      'FORBIDDEN',
      format('The token lacks the scope %s.', p_scope),
      'Create a token with this scope: create_api_token(name, scopes, expires_at).',
      jsonb_build_object('scope', p_scope)
    );
  end if;
end
$$;
comment on function private.require_scope(text) is 'Raises FORBIDDEN when the request''s token lacks the scope.';

-- Returns whether a context has a scope.
create or replace function private.includes_scope(p_context private.context, p_scope text)
  returns boolean
  language plpgsql
  stable
as $$
begin
  if p_context.session_id is not null then
    return true;
  elsif p_context.scopes is null then
    return private.is_dba();
  end if;
  return p_scope = any (p_context.scopes) or regexp_replace(p_scope, ':read$', ':write') = any (p_context.scopes);
end
$$;

grant execute on function private.has_scope(text), private.organization_with_scope(text) to flowgres_user;
