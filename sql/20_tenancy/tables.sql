-- kind: state
-- Users, organizations and memberships; every other table of tenants has organization_id.
-- docs/reference/tables.md lists the writers. Locks nothing.

create table public.users (
  id uuid not null default engine.uuid_v7(),
  name text not null,
  email text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  email_verified_at timestamptz,
  global_role text not null default 'user',
  deleted_at timestamptz,
  constraint users_pkey primary key (id),
  constraint users_global_role_check check (global_role in ('user', 'super_admin')),
  constraint users_name_check check (private.is_name(name)),
  constraint users_email_check check (private.is_email(email))
);
-- Unique among verified addresses only: registering an address of somebody else must neither block
-- its owner nor reveal that the account exists.
create unique index users_email_key on public.users (lower(email collate "C")) where email_verified_at is not null;
alter table public.users enable row level security;

comment on table public.users is 'A person. Visible to the members of the same organization.';
comment on column public.users.id is 'UUIDv7.';
comment on column public.users.name is 'Shown to other members, at most 200 characters.';
comment on column public.users.email is 'Once verified, unique whatever its case.';
comment on column public.users.created_at is 'When the account was created.';
comment on column public.users.updated_at is 'When name or email last changed.';
comment on column public.users.email_verified_at is 'When the address was verified; null until then.';
comment on column public.users.global_role is 'user, or super_admin: operates the installation and sees no workflows or runs of tenants.';
comment on column public.users.deleted_at is 'When the account was deleted; the row is kept, without name and address, for rows that refer to it.';

create table public.organizations (
  id uuid not null default engine.uuid_v7(),
  name text not null,
  slug text not null,
  webhook_key text not null default private.random_secret(16),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  description text,
  deleted_at timestamptz,
  constraint organizations_pkey primary key (id),
  constraint organizations_slug_key unique (slug),
  constraint organizations_webhook_key_key unique (webhook_key),
  constraint organizations_name_check check (private.is_name(name)),
  constraint organizations_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$' and length(slug) <= 63),
  constraint organizations_slug_reserved_check check (
    slug <> all (array[
      'about', 'admin', 'api', 'app', 'assets', 'auth', 'billing', 'docs', 'flowgres', 'graphql', 'health', 'healthz',
      'help', 'hooks', 'login', 'logout', 'metrics', 'new', 'null', 'register', 'root', 'settings', 'static', 'status',
      'support', 'system', 'test', 'undefined', 'users', 'webhooks', 'www'
    ])
  ),
  constraint organizations_description_check check (length(description) <= 5000),
  constraint organizations_webhook_key_check check (webhook_key ~ '^[A-Za-z0-9_-]{22}$')
);
create index organizations_deleted_at_idx on public.organizations (deleted_at) where deleted_at is not null;
alter table public.organizations enable row level security;

comment on table public.organizations is 'A tenant: no other organization sees what belongs to it.';
comment on column public.organizations.id is 'UUIDv7.';
comment on column public.organizations.name is 'At most 200 characters.';
comment on column public.organizations.slug is
  'Unique short name: 2 to 63 lower-case letters and digits with single hyphens between them, for example acme-eu.';
comment on column public.organizations.webhook_key is
  'The secret part of its webhook addresses: /hooks/<webhook key>/<path>.';
comment on column public.organizations.created_at is 'When it was created.';
comment on column public.organizations.updated_at is 'When it last changed.';
comment on column public.organizations.description is 'Free text, at most 5,000 characters.';
comment on column public.organizations.deleted_at is 'When it was deleted; an owner can restore it for 30 days.';

create table public.organization_users (
  organization_id uuid not null,
  user_id uuid not null,
  role text not null default 'member',
  created_at timestamptz not null default now(),
  invited_by uuid,
  constraint organization_users_pkey primary key (organization_id, user_id),
  constraint organization_users_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint organization_users_user_id_fkey
    -- Deleting a user must not leave an organization without an owner: delete_user checks it, and
    -- keeps the row.
    foreign key (user_id) references public.users (id) on delete restrict,
  constraint organization_users_invited_by_fkey
    foreign key (invited_by) references public.users (id) on delete set null,
  constraint organization_users_role_check check (role in ('owner', 'admin', 'member'))
);
create index organization_users_user_id_idx on public.organization_users (user_id);
create index organization_users_invited_by_idx on public.organization_users (invited_by);
alter table public.organization_users enable row level security;

comment on table public.organization_users is 'Membership: who belongs to which organization, in which role.';
comment on column public.organization_users.organization_id is 'The organization.';
comment on column public.organization_users.user_id is 'The member.';
comment on column public.organization_users.role is 'owner, admin or member.';
comment on column public.organization_users.created_at is 'When the user joined.';
comment on column public.organization_users.invited_by is 'The user who invited the member; null for the founder.';
