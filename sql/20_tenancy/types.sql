-- kind: state
-- Types: the context of a request, and the results of functions about secrets. Writes and locks
-- nothing.

-- Who a request is: session_id or scopes is null.
create type private.context as (
  organization_id uuid,
  user_id uuid,
  scopes text[],
  session_id uuid,
  token_id uuid
);

create type public.api_token as (
  id uuid,
  name text,
  prefix text,
  scopes text[],
  user_id uuid,
  created_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
comment on type public.api_token is 'An API token without its secret.';
comment on column public.api_token.id is 'UUIDv7.';
comment on column public.api_token.name is 'What the token is for.';
comment on column public.api_token.prefix is 'The first characters of the secret, to recognize it by.';
comment on column public.api_token.scopes is 'What the token may do.';
comment on column public.api_token.user_id is 'The user it acts as; null for the organization''s own token.';
comment on column public.api_token.created_at is 'When it was created.';
comment on column public.api_token.expires_at is 'When it expires; null when it does not.';
comment on column public.api_token.revoked_at is 'When it was revoked.';
comment on column public.api_token.last_used_at is 'When a request last used it, to the minute.';

create type public.new_api_token as (
  secret text,
  token public.api_token
);
comment on type public.new_api_token is 'A new API token with its secret.';
comment on column public.new_api_token.secret is 'To be sent as "Authorization: Bearer <secret>". It is never shown again.';
comment on column public.new_api_token.token is 'The token.';

create type public.session as (
  id uuid,
  kind text,
  is_current boolean,
  created_at timestamptz,
  expires_at timestamptz,
  last_seen_at timestamptz,
  user_agent text,
  ip_prefix text
);
comment on type public.session is 'A session: a login of a user, or the context of a DBA.';
comment on column public.session.id is 'UUIDv7.';
comment on column public.session.kind is 'login (a password), identity (an identity provider) or context (a DBA, in psql).';
comment on column public.session.is_current is 'Whether it is the session of the request.';
comment on column public.session.created_at is 'When it began.';
comment on column public.session.expires_at is 'When it expires.';
comment on column public.session.last_seen_at is 'When a request last used it, to the minute.';
comment on column public.session.user_agent is 'What the client calls itself, at most 200 characters.';
comment on column public.session.ip_prefix is 'The network that it began in: 24 bits of an IPv4 address, 48 of an IPv6 one.';

create type public.new_session as (
  secret text,
  expires_at timestamptz,
  user_id uuid,
  organization_id uuid
);
comment on type public.new_session is 'A session that has just begun, with its secret.';
comment on column public.new_session.secret is 'To be sent as "Authorization: Bearer <secret>". It is never shown again.';
comment on column public.new_session.expires_at is 'When the session expires.';
comment on column public.new_session.user_id is 'The user who logged in.';
comment on column public.new_session.organization_id is 'The active organization: the one that was active last, else the one joined first; null without any.';

create type public.new_invitation as (
  code text,
  invitation public.invitations
);
comment on type public.new_invitation is 'A new invitation with its code.';
comment on column public.new_invitation.code is 'For accept_invitation. It was sent to the address, and is never shown again.';
comment on column public.new_invitation.invitation is 'The invitation.';

grant usage on type
  public.api_token, public.new_api_token, public.session, public.new_session, public.new_invitation
  to flowgres_user, flowgres_dba, flowgres_api;
