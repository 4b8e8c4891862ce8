-- kind: state
-- Variables of an organization: values that its workflows share, read by expressions as
-- $.vars.<name>, and secret ones, $.secrets.<name>, whose values are sealed in private.secrets.
-- Written by public.set_variable() and public.delete_variable(). Locks nothing.

create table public.variables (
  organization_id uuid not null,
  name text not null,
  value jsonb,
  updated_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  secret_id uuid,
  is_secret boolean not null generated always as (secret_id is not null) stored,
  allowed_hosts text[] not null default '{}',
  constraint variables_pkey primary key (organization_id, name),
  constraint variables_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint variables_updated_by_fkey
    foreign key (updated_by) references public.users (id) on delete set null,
  constraint variables_name_check check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$'),
  constraint variables_value_check check ((value is null) = (secret_id is not null)),
  constraint variables_allowed_hosts_check check (cardinality(allowed_hosts) <= 50)
);
create index variables_updated_by_idx on public.variables (updated_by);
alter table public.variables enable row level security;

comment on table public.variables is
  'Values that the workflows of an organization share: {{ $.vars.<name> }}. A run keeps the values of its start. Secret ones are sealed and cannot be read back: {{ $.secrets.<name> }} in the fields of effect nodes that are marked secret.';
comment on column public.variables.organization_id is 'The organization that owns it.';
comment on column public.variables.name is 'Begins with a letter or underscore, then letters, digits and underscores; at most 64 characters.';
comment on column public.variables.value is 'Any JSON, at most 64 KiB; null of a secret variable.';
comment on column public.variables.updated_by is 'The user who set it last.';
comment on column public.variables.created_at is 'When it was created.';
comment on column public.variables.updated_at is 'When it was set last.';
comment on column public.variables.secret_id is 'The sealed value of a secret variable; each value has another one.';
comment on column public.variables.is_secret is 'Whether the value is sealed: workers use it, and nobody reads it.';
comment on column public.variables.allowed_hosts is
  'The hosts that a secret variable may be sent to, such as api.example.com, *.example.com or api.example.com:8443; it is sent to no other one, and with an empty list to none.';
