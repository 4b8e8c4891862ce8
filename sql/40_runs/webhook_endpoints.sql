-- kind: state
-- Where an organization is told of its runs: endpoints, and the events that are to be sent to them.
-- docs/reference/tables.md lists the writers. Locks nothing.

create table public.webhook_endpoints (
  id uuid not null,
  organization_id uuid not null,
  url text not null,
  events text[] not null,
  description text,
  credential_id uuid not null,
  is_enabled boolean not null default true,
  disabled_reason text,
  failing_since timestamptz,
  last_delivered_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint webhook_endpoints_pkey primary key (id),
  constraint webhook_endpoints_organization_id_id_key unique (organization_id, id),
  constraint webhook_endpoints_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint webhook_endpoints_credential_fkey
    foreign key (organization_id, credential_id) references public.credentials (organization_id, id)
    on delete cascade,
  constraint webhook_endpoints_created_by_fkey
    foreign key (created_by) references public.users (id) on delete set null,
  constraint webhook_endpoints_url_check check (url ~ '^https?://[^[:space:]]+$' and length(url) <= 2000),
  constraint webhook_endpoints_events_check check (
    cardinality(events) > 0
    and events <@ array['run.succeeded', 'run.failed', 'approval.requested', 'limit.reached', 'credential.expiring']
  ),
  constraint webhook_endpoints_description_check check (length(description) <= 500),
  constraint webhook_endpoints_disabled_reason_check
    check (disabled_reason is null or (not is_enabled and disabled_reason in ('failing', 'gone')))
);
create index webhook_endpoints_credential_idx on public.webhook_endpoints (organization_id, credential_id);
create index webhook_endpoints_created_by_idx on public.webhook_endpoints (created_by);
-- For every batch of runs that end: which organizations are told of them.
create index webhook_endpoints_enabled_idx on public.webhook_endpoints (organization_id) where is_enabled;
alter table public.webhook_endpoints enable row level security;

comment on table public.webhook_endpoints is
  'Addresses that are told what happens in the organization, by messages that are signed as Standard Webhooks. Each message is sent by a run of the workflow "Outgoing webhooks", for up to 3 days; these runs are the list of deliveries, their metadata has endpoint and event.';
comment on column public.webhook_endpoints.id is 'The id of the endpoint, a UUIDv7.';
comment on column public.webhook_endpoints.organization_id is 'The organization that is told.';
comment on column public.webhook_endpoints.url is 'Where messages are sent to by POST; redirects are not followed.';
comment on column public.webhook_endpoints.events is
  'What is told: run.succeeded and run.failed (not of child runs), approval.requested, limit.reached, credential.expiring.';
comment on column public.webhook_endpoints.description is 'For people, at most 500 characters.';
comment on column public.webhook_endpoints.credential_id is
  'The credential of type hmac that signs the messages; each of its secrets is whsec_ and base64.';
comment on column public.webhook_endpoints.is_enabled is 'Whether messages are sent.';
comment on column public.webhook_endpoints.disabled_reason is
  'Why it was disabled: failing (no message was accepted for 5 days), gone (the answer was 410); null when a member did it.';
comment on column public.webhook_endpoints.failing_since is
  'Since when no attempt has succeeded; null when the last one did. After 5 days the endpoint is disabled.';
comment on column public.webhook_endpoints.last_delivered_at is 'When a message was last accepted, to the minute.';
comment on column public.webhook_endpoints.created_by is 'The user who created it.';
comment on column public.webhook_endpoints.created_at is 'When it was created.';
comment on column public.webhook_endpoints.updated_at is 'When it was last changed.';

create table private.webhook_events (
  id uuid not null,
  endpoint_id uuid not null,
  organization_id uuid not null,
  event text not null,
  key text not null,
  data jsonb not null,
  at timestamptz not null,
  constraint webhook_events_pkey primary key (id),
  constraint webhook_events_endpoint_id_event_key_key unique (endpoint_id, event, key),
  constraint webhook_events_endpoint_fkey
    foreign key (organization_id, endpoint_id) references public.webhook_endpoints (organization_id, id)
    on delete cascade
);
create index webhook_events_endpoint_idx on private.webhook_events (organization_id, endpoint_id);
alter table private.webhook_events enable row level security;
comment on table private.webhook_events is
  'What has happened and was not handed to a run yet, a row for each endpoint that is told.';
