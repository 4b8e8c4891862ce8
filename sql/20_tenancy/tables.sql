-- kind: state
-- Users belong to organizations; every other tenant table carries organization_id. The secrets of sessions and tokens
-- exist only as hashes.

create table public.users (
  id uuid not null default engine.uuid_v7(),
  name text not null,
  email text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint users_pkey primary key (id),
  constraint users_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint users_email_check check (email ~ '^[^@\s]+@[^@\s]+$' and length(email) <= 254)
);
create unique index users_email_key on public.users (lower(email));
alter table public.users enable row level security;

comment on table public.users is 'A person. Visible to the members of the same organization.';
comment on column public.users.id is 'UUIDv7.';
comment on column public.users.name is 'Shown to other members, at most 200 characters.';
comment on column public.users.email is 'Unique whatever its case.';
comment on column public.users.created_at is 'When the account was created.';
comment on column public.users.updated_at is 'When name or email last changed.';

create table public.organizations (
  id uuid not null default engine.uuid_v7(),
  name text not null,
  slug text not null,
  webhook_key text not null default private.random_secret(16),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint organizations_pkey primary key (id),
  constraint organizations_slug_key unique (slug),
  constraint organizations_webhook_key_key unique (webhook_key),
  constraint organizations_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint organizations_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$' and length(slug) <= 63),
  constraint organizations_slug_reserved_check check (
    slug <> all (array[
      'about', 'admin', 'api', 'app', 'assets', 'auth', 'billing', 'docs', 'flowgres', 'graphql', 'health', 'healthz',
      'help', 'hooks', 'login', 'logout', 'metrics', 'new', 'null', 'register', 'root', 'settings', 'static', 'status',
      'support', 'system', 'test', 'undefined', 'users', 'webhooks', 'www'
    ])
  ),
  constraint organizations_webhook_key_check check (webhook_key ~ '^[A-Za-z0-9_-]{22}$')
);
alter table public.organizations enable row level security;

comment on table public.organizations is 'A tenant: whatever belongs to an organization is invisible to every other one.';
comment on column public.organizations.id is 'UUIDv7.';
comment on column public.organizations.name is 'At most 200 characters.';
comment on column public.organizations.slug is
  'Unique short name: 2 to 63 lower-case letters and digits with single hyphens between them, for example acme-eu.';
comment on column public.organizations.webhook_key is
  'The unguessable part of its webhook addresses: /hooks/<webhook key>/<path>.';
comment on column public.organizations.created_at is 'When it was created.';
comment on column public.organizations.updated_at is 'When it last changed.';

create table public.organization_users (
  organization_id uuid not null,
  user_id uuid not null,
  role text not null default 'member',
  created_at timestamptz not null default now(),
  constraint organization_users_pkey primary key (organization_id, user_id),
  constraint organization_users_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint organization_users_user_id_fkey
    foreign key (user_id) references public.users (id) on delete cascade,
  constraint organization_users_role_check check (role in ('owner', 'admin', 'member'))
);
create index organization_users_user_id_idx on public.organization_users (user_id);
alter table public.organization_users enable row level security;

comment on table public.organization_users is 'Membership: who belongs to which organization, in which role.';
comment on column public.organization_users.organization_id is 'The organization.';
comment on column public.organization_users.user_id is 'The member.';
comment on column public.organization_users.role is 'owner, admin or member.';
comment on column public.organization_users.created_at is 'When the user joined.';

create table private.sessions (
  id uuid not null default engine.uuid_v7(),
  token_hash bytea not null,
  user_id uuid,
  organization_id uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  constraint sessions_pkey primary key (id),
  constraint sessions_token_hash_key unique (token_hash),
  constraint sessions_user_id_fkey
    foreign key (user_id) references public.users (id) on delete cascade,
  constraint sessions_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- Who leaves an organization stays logged in, outside of it.
  constraint sessions_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete set null (organization_id),
  constraint sessions_subject_check check (user_id is not null or organization_id is not null),
  constraint sessions_token_hash_check check (length(token_hash) = 32)
);
create index sessions_user_id_idx on private.sessions (user_id);
create index sessions_organization_id_user_id_idx on private.sessions (organization_id, user_id);
create index sessions_expires_at_idx on private.sessions (expires_at);
alter table private.sessions enable row level security;

comment on table private.sessions is
  'A person who logged in, or a DBA''s psql session after set_context (then user_id may be null). May do all its user may.';
comment on column private.sessions.organization_id is 'The active organization; null until one is chosen.';

create table private.api_tokens (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  user_id uuid,
  name text not null,
  prefix text not null,
  token_hash bytea not null,
  scopes text[] not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  constraint api_tokens_pkey primary key (id),
  constraint api_tokens_token_hash_key unique (token_hash),
  constraint api_tokens_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- A token dies with the membership of the user who made it.
  constraint api_tokens_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete cascade,
  constraint api_tokens_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint api_tokens_scopes_check check (cardinality(scopes) > 0),
  constraint api_tokens_token_hash_check check (length(token_hash) = 32)
);
create index api_tokens_organization_id_user_id_idx on private.api_tokens (organization_id, user_id);
alter table private.api_tokens enable row level security;

comment on table private.api_tokens is 'Secrets for programs, of one organization, limited to scopes; a null user_id is the organization''s own token.';
comment on column private.api_tokens.prefix is 'The first characters of the secret, to recognize it by.';

-- Who a request is: either session_id or scopes is null.
create type private.context as (
  organization_id uuid,
  user_id uuid,
  scopes text[],
  session_id uuid,
  token_id uuid
);

-- What the token functions answer with.
create type public.api_token as (
  id uuid,
  name text,
  prefix text,
  scopes text[],
  user_id uuid,
  created_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz
);
create type public.new_api_token as (
  secret text,
  token public.api_token
);
comment on type public.api_token is 'An API token without its secret.';
comment on column public.api_token.id is 'UUIDv7.';
comment on column public.api_token.name is 'What it is for.';
comment on column public.api_token.prefix is 'The first characters of the secret, to recognize it by.';
comment on column public.api_token.scopes is 'What it may do.';
comment on column public.api_token.user_id is 'The user it acts as; null for the organization''s own token.';
comment on column public.api_token.created_at is 'When it was created.';
comment on column public.api_token.expires_at is 'When it ends by itself; null when it does not.';
comment on column public.api_token.revoked_at is 'When it was revoked.';
comment on type public.new_api_token is 'A new API token with its secret.';
comment on column public.new_api_token.secret is 'To be sent as "Authorization: Bearer <secret>". It is never shown again.';
comment on column public.new_api_token.token is 'The token.';
grant usage on type public.api_token, public.new_api_token to flowgres_user, flowgres_dba;
