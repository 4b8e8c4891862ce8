-- kind: state
-- Secrets, sessions and what counts attempts; docs/reference/tables.md lists the writers. Passwords,
-- sessions, tokens and codes are stored as hashes, and so is what is counted; webhook keys and the
-- text of mails that are not sent are readable. Locks nothing.

create table private.passwords (
  user_id uuid not null,
  hash text not null,
  changed_at timestamptz not null,
  constraint passwords_pkey primary key (user_id),
  constraint passwords_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade,
  constraint passwords_hash_check
    check (hash ~ '^\$scrypt\$ln=[0-9]{1,2},r=[0-9]{1,2},p=[0-9]{1,2}\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$')
);
alter table private.passwords enable row level security;
comment on table private.passwords is
  'The SHA-256 of the scrypt key of a password, with scrypt''s parameters and salt: neither this table nor the API''s role is enough to log in.';

create table private.identities (
  issuer text not null,
  subject text not null,
  user_id uuid not null,
  created_at timestamptz not null,
  constraint identities_pkey primary key (issuer, subject),
  constraint identities_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade
);
create index identities_user_id_idx on private.identities (user_id);
alter table private.identities enable row level security;
comment on table private.identities is
  'Maps the subject of an external identity provider to a user.';

create table private.email_codes (
  id uuid not null default engine.uuid_v7(),
  purpose text not null,
  email text not null,
  user_id uuid,
  name text,
  password_hash text,
  code_hash bytea not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  constraint email_codes_pkey primary key (id),
  constraint email_codes_code_hash_key unique (code_hash),
  constraint email_codes_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade,
  constraint email_codes_purpose_check check (purpose in ('register', 'change', 'reset', 'none')),
  constraint email_codes_email_check check (private.is_email(email)),
  constraint email_codes_name_check check (private.is_name(name)),
  constraint email_codes_code_hash_check check (length(code_hash) = 32)
);
create index email_codes_user_id_idx on private.email_codes (user_id);
create index email_codes_email_idx on private.email_codes (lower(email collate "C"), created_at);
create index email_codes_expires_at_idx on private.email_codes (expires_at);
alter table private.email_codes enable row level security;
comment on table private.email_codes is
  'Codes sent by e-mail. A registration is kept here, with name and password, until its address is verified: only then the user is created. Purpose none stands for a mail that could not be sent, so that both take the same time.';

create table private.retired_webhook_keys (
  key text not null,
  organization_id uuid not null,
  expires_at timestamptz not null,
  constraint retired_webhook_keys_pkey primary key (key),
  -- An organization has at most one old key.
  constraint retired_webhook_keys_organization_id_key unique (organization_id),
  constraint retired_webhook_keys_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade
);
create index retired_webhook_keys_expires_at_idx on private.retired_webhook_keys (expires_at);
alter table private.retired_webhook_keys enable row level security;
comment on table private.retired_webhook_keys is
  'The webhook key that an organization had before the last rotation: its addresses work until expires_at.';

create table private.throttles (
  key bytea not null,
  used int not null,
  resets_at timestamptz not null,
  constraint throttles_pkey primary key (key)
);
create index throttles_resets_at_idx on private.throttles (resets_at);
alter table private.throttles enable row level security;
comment on table private.throttles is
  'How many attempts were made until resets_at; the key is the SHA-256 of a JSON list of what is counted: the kind of attempt, an address, a network.';

create table private.outbox (
  id uuid not null default engine.uuid_v7(),
  recipient text not null,
  subject text not null,
  body text,
  created_at timestamptz not null,
  run_at timestamptz not null,
  attempts int not null default 0,
  error text,
  sent_at timestamptz,
  constraint outbox_pkey primary key (id),
  -- A line break would add a header to the mail.
  constraint outbox_subject_check check (subject !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'),
  -- The body may contain a code: it is deleted when the mail is sent.
  constraint outbox_body_matches_sent_at_check check (body is null or sent_at is null)
);
create index outbox_unsent_idx on private.outbox (run_at) where sent_at is null;
create index outbox_created_at_idx on private.outbox (created_at);
alter table private.outbox enable row level security;
comment on table private.outbox is
  'E-mails, written in the transaction that they are about and delivered by the worker.';

create table private.sessions (
  id uuid not null default engine.uuid_v7(),
  token_hash bytea not null,
  user_id uuid,
  organization_id uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  kind text not null default 'context',
  last_seen_at timestamptz,
  user_agent text,
  ip_prefix cidr,
  constraint sessions_pkey primary key (id),
  constraint sessions_token_hash_key unique (token_hash),
  constraint sessions_user_id_fkey
    foreign key (user_id) references public.users (id) on delete cascade,
  constraint sessions_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- A user who is no longer a member stays logged in, without an organization.
  constraint sessions_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete set null (organization_id),
  constraint sessions_kind_check check (kind in ('login', 'identity', 'context')),
  constraint sessions_subject_check check (user_id is not null or organization_id is not null),
  constraint sessions_user_agent_check check (length(user_agent) <= 200),
  constraint sessions_token_hash_check check (length(token_hash) = 32)
);
create index sessions_user_id_idx on private.sessions (user_id);
create index sessions_organization_id_user_id_idx on private.sessions (organization_id, user_id);
create index sessions_expires_at_idx on private.sessions (expires_at);
alter table private.sessions enable row level security;

comment on table private.sessions is
  'A login, by password or by an identity provider, or a DBA''s psql session after set_context (then user_id may be null). It has all rights of its user.';
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
  last_used_at timestamptz,
  suspended_at timestamptz,
  constraint api_tokens_pkey primary key (id),
  constraint api_tokens_token_hash_key unique (token_hash),
  constraint api_tokens_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- A token is deleted with the membership of the user who created it.
  constraint api_tokens_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete cascade,
  constraint api_tokens_name_check check (private.is_name(name)),
  constraint api_tokens_scopes_check check (cardinality(scopes) > 0),
  constraint api_tokens_token_hash_check check (length(token_hash) = 32)
);
create index api_tokens_organization_id_user_id_idx on private.api_tokens (organization_id, user_id);
alter table private.api_tokens enable row level security;

comment on table private.api_tokens is
  'Secrets for programs, of one organization, limited to scopes; a null user_id is the organization''s own token.';
comment on column private.api_tokens.prefix is 'The first characters of the secret, to recognize it by.';
comment on column private.api_tokens.suspended_at is
  'Set while its organization is deleted; joining organizations in each request would cost more.';
