-- kind: state
-- Teams of an organization, and invitations to join it. Foreign keys remove a user from the teams
-- with the membership. docs/reference/tables.md lists the writers. Locks nothing.

create table public.teams (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  name text not null,
  slug text not null,
  description text,
  color text not null default '#3b82f6',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint teams_pkey primary key (id),
  constraint teams_organization_id_id_key unique (organization_id, id),
  constraint teams_organization_id_slug_key unique (organization_id, slug),
  constraint teams_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint teams_name_check check (private.is_name(name)),
  constraint teams_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$' and length(slug) <= 63),
  constraint teams_description_check check (length(description) <= 5000),
  constraint teams_color_check check (color ~ '^#[0-9a-f]{6}$')
);
alter table public.teams enable row level security;

comment on table public.teams is 'A part of an organization, such as a department. Visible to all of its members.';
comment on column public.teams.id is 'UUIDv7.';
comment on column public.teams.organization_id is 'The organization that the team is part of.';
comment on column public.teams.name is 'At most 200 characters.';
comment on column public.teams.slug is 'Short name, unique in the organization: lower-case letters and digits with single hyphens between them.';
comment on column public.teams.description is 'Free text, at most 5,000 characters.';
comment on column public.teams.color is 'As #rrggbb in lower case, for editors.';
comment on column public.teams.created_at is 'When it was created.';
comment on column public.teams.updated_at is 'When it last changed.';

create table public.team_users (
  organization_id uuid not null,
  team_id uuid not null,
  user_id uuid not null,
  role text not null default 'member',
  added_by uuid,
  created_at timestamptz not null default now(),
  constraint team_users_pkey primary key (organization_id, team_id, user_id),
  constraint team_users_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete cascade,
  constraint team_users_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete cascade,
  constraint team_users_added_by_fkey
    foreign key (added_by) references public.users (id) on delete set null,
  constraint team_users_role_check check (role in ('admin', 'member'))
);
create index team_users_member_idx on public.team_users (organization_id, user_id);
create index team_users_added_by_idx on public.team_users (added_by);
alter table public.team_users enable row level security;

comment on table public.team_users is 'Membership of users in teams.';
comment on column public.team_users.organization_id is 'The organization of the team.';
comment on column public.team_users.team_id is 'The team.';
comment on column public.team_users.user_id is 'A member of the organization.';
comment on column public.team_users.role is 'admin (changes the team and who is in it) or member.';
comment on column public.team_users.added_by is 'The user who added the member.';
comment on column public.team_users.created_at is 'When the member was added.';

create table public.invitations (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  email text not null,
  role text not null default 'member',
  invited_by uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz,
  constraint invitations_pkey primary key (id),
  constraint invitations_organization_id_id_key unique (organization_id, id),
  constraint invitations_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint invitations_invited_by_fkey
    foreign key (invited_by) references public.users (id) on delete set null,
  constraint invitations_email_check check (private.is_email(email)),
  constraint invitations_role_check check (role in ('owner', 'admin', 'member')),
  constraint invitations_one_end_check check (accepted_at is null or revoked_at is null)
);
create unique index invitations_open_key on public.invitations (organization_id, lower(email collate "C"))
  where accepted_at is null and revoked_at is null;
create index invitations_invited_by_idx on public.invitations (invited_by);
alter table public.invitations enable row level security;

comment on table public.invitations is
  'Invitations to join an organization in a role, open, accepted or revoked. One address has at most one open invitation per organization.';
comment on column public.invitations.id is 'UUIDv7.';
comment on column public.invitations.organization_id is 'The organization to join.';
comment on column public.invitations.email is 'The address that the code was sent to; only its owner can accept.';
comment on column public.invitations.role is 'The role of the membership: owner, admin or member.';
comment on column public.invitations.invited_by is 'The user who sent the invitation.';
comment on column public.invitations.created_at is 'When it was sent.';
comment on column public.invitations.expires_at is 'When its code expires: after 7 days.';
comment on column public.invitations.accepted_at is 'When it was accepted.';
comment on column public.invitations.revoked_at is 'When it was revoked, or replaced by a newer one.';

create table private.invitation_codes (
  organization_id uuid not null,
  invitation_id uuid not null,
  code_hash bytea not null,
  constraint invitation_codes_pkey primary key (organization_id, invitation_id),
  constraint invitation_codes_code_hash_key unique (code_hash),
  constraint invitation_codes_invitation_fkey
    foreign key (organization_id, invitation_id) references public.invitations (organization_id, id) on delete cascade,
  constraint invitation_codes_code_hash_check check (length(code_hash) = 32)
);
alter table private.invitation_codes enable row level security;
comment on table private.invitation_codes is 'The SHA-256 of the codes of invitations.';
