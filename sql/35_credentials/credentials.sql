-- kind: state
-- Credentials of an organization, and the sealed secrets of credentials and variables.
-- docs/reference/tables.md lists the writers. The master keys that open the secrets never enter the
-- database: processes have them, see src/vault. Locks nothing.

create table public.credentials (
  id uuid not null,
  organization_id uuid not null,
  name text not null,
  type text not null,
  user_id uuid,
  is_shared boolean not null default false,
  team_id uuid,
  allowed_hosts text[] not null default '{}',
  version int not null default 1,
  expires_at timestamptz,
  warned_at timestamptz,
  last_used_at timestamptz,
  usage_count bigint not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint credentials_pkey primary key (id),
  constraint credentials_organization_id_id_key unique (organization_id, id),
  constraint credentials_organization_id_name_key unique (organization_id, name),
  constraint credentials_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- What a member leaves behind stays; admins of the organization see and share it.
  constraint credentials_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete set null (user_id),
  constraint credentials_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete set null (team_id),
  constraint credentials_name_check check (private.is_name(name)),
  constraint credentials_type_check check (type ~ '^[a-z][A-Za-z0-9]{0,49}$'),
  constraint credentials_one_audience_check check (not is_shared or team_id is null),
  constraint credentials_allowed_hosts_check check (cardinality(allowed_hosts) <= 50),
  constraint credentials_version_check check (version > 0)
);
create index credentials_member_idx on public.credentials (organization_id, user_id);
create index credentials_team_idx on public.credentials (organization_id, team_id);
create index credentials_expires_at_idx on public.credentials (expires_at) where expires_at is not null;
alter table public.credentials enable row level security;

comment on table public.credentials is
  'What workflows log in to other systems with: name, type and use. The secret itself is sealed and cannot be read back. A member sees own credentials, shared ones and those of own teams; admins see all.';
comment on column public.credentials.id is 'The id of the credential, a UUIDv7.';
comment on column public.credentials.organization_id is 'The organization that owns it.';
comment on column public.credentials.name is 'By which nodes name it, unique in the organization; at most 200 characters.';
comment on column public.credentials.type is 'The type of what is sealed, of credential_types(), such as bearer or smtp.';
comment on column public.credentials.user_id is 'The member who created it; null when an organization''s own token did, or the member has left.';
comment on column public.credentials.is_shared is 'Whether every member of the organization may use it.';
comment on column public.credentials.team_id is 'The team whose members may use it; null for none.';
comment on column public.credentials.allowed_hosts is
  'The hosts that it may be sent to by httpRequest, such as api.example.com, *.example.com or api.example.com:8443; it is sent to no other one, and with an empty list to none.';
comment on column public.credentials.version is 'The number of changes of the secret, from 1 on.';
comment on column public.credentials.expires_at is 'When it expires, as far as known; its owner gets a mail 7 days before.';
comment on column public.credentials.warned_at is 'When its owner was told that it expires; null when that has not been necessary since it last changed.';
comment on column public.credentials.last_used_at is 'When it was last used, to the minute.';
comment on column public.credentials.usage_count is 'How often steps and webhooks have used it, up to the last minute.';
comment on column public.credentials.created_at is 'When it was created.';
comment on column public.credentials.updated_at is 'When its secret, its name or who may use it last changed.';

create table private.secrets (
  id uuid not null,
  organization_id uuid not null,
  version int not null,
  key_id text not null,
  wrapped_key bytea not null,
  sealed bytea not null,
  constraint secrets_pkey primary key (organization_id, id),
  constraint secrets_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint secrets_version_check check (version > 0),
  constraint secrets_key_id_check check (key_id ~ '^[A-Za-z0-9_-]{1,32}$'),
  constraint secrets_wrapped_key_check check (length(wrapped_key) = 60),
  constraint secrets_sealed_check check (length(sealed) between 29 and 65564)
);
create index secrets_key_id_idx on private.secrets (key_id, organization_id, id);
alter table private.secrets enable row level security;
comment on table private.secrets is
  'Sealed secrets of credentials, by their id, and of variables, by secret_id: AES-256-GCM with a data key each, which the master key key_id wraps. Both are bound to organization, id and version.';

create table private.credential_leases (
  organization_id uuid not null,
  credential_id uuid not null,
  holder uuid not null,
  expires_at timestamptz not null,
  constraint credential_leases_pkey primary key (organization_id, credential_id),
  constraint credential_leases_credential_fkey
    foreign key (organization_id, credential_id) references public.credentials (organization_id, id) on delete cascade
);
alter table private.credential_leases enable row level security;
comment on table private.credential_leases is
  'Which process refreshes the tokens of a credential, and until when; others wait for its result.';

create table private.credential_authorizations (
  organization_id uuid not null,
  credential_id uuid not null,
  id uuid not null,
  state_hash bytea not null,
  verifier text not null,
  redirect_uri text not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  constraint credential_authorizations_pkey primary key (organization_id, credential_id),
  constraint credential_authorizations_state_hash_key unique (state_hash),
  constraint credential_authorizations_credential_fkey
    foreign key (organization_id, credential_id) references public.credentials (organization_id, id) on delete cascade,
  constraint credential_authorizations_state_hash_check check (length(state_hash) = 32),
  constraint credential_authorizations_verifier_check check (length(verifier) <= 1000),
  constraint credential_authorizations_redirect_uri_check check (length(redirect_uri) <= 2000)
);
alter table private.credential_authorizations enable row level security;
comment on table private.credential_authorizations is
  'Logins at OAuth2 providers that were begun, the last one of each credential: the SHA-256 of the state, and the verifier of PKCE, sealed and bound to id.';
