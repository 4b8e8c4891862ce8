-- kind: state
-- The list of requests to webhooks. Written by log_deliveries.sql; maintenance deletes what is older
-- than 7 days.

create table public.webhook_deliveries (
  id uuid not null,
  organization_id uuid not null,
  workflow_id uuid not null,
  node text not null,
  received_at timestamptz not null,
  method text not null,
  path text not null,
  client_address text not null,
  status int,
  error text,
  run_id uuid,
  is_duplicate boolean not null,
  latency_ms int not null,
  constraint webhook_deliveries_pkey primary key (id),
  constraint webhook_deliveries_workflow_fkey
    foreign key (organization_id, workflow_id)
    references public.workflows (organization_id, id) on delete cascade,
  constraint webhook_deliveries_status_check check (status between 100 and 599),
  constraint webhook_deliveries_latency_ms_check check (latency_ms >= 0)
);
create index webhook_deliveries_organization_idx on public.webhook_deliveries (organization_id, received_at);
create index webhook_deliveries_workflow_idx on public.webhook_deliveries (organization_id, workflow_id, id);
create index webhook_deliveries_received_at_idx on public.webhook_deliveries (received_at);
alter table public.webhook_deliveries enable row level security;

comment on table public.webhook_deliveries is
  'Requests to webhooks with their answers, for 7 days: at most 1,000 an hour of an organization, of which at most 200 that started no run. Written a second after the answer; the runs are the complete record.';
comment on column public.webhook_deliveries.id is 'The id of the delivery, a UUIDv7.';
comment on column public.webhook_deliveries.organization_id is 'The organization that owns the webhook.';
comment on column public.webhook_deliveries.workflow_id is 'The workflow that the request was for.';
comment on column public.webhook_deliveries.node is 'The webhookTrigger node.';
comment on column public.webhook_deliveries.received_at is 'When the request came.';
comment on column public.webhook_deliveries.method is 'The HTTP method, for example POST.';
comment on column public.webhook_deliveries.path is 'The path below the organization''s part of the address, as it was sent.';
comment on column public.webhook_deliveries.client_address is 'The address of the client, as the outermost trusted proxy saw it.';
comment on column public.webhook_deliveries.status is 'The status of the answer; null when the caller left before it.';
comment on column public.webhook_deliveries.error is
  'The code of the reason why the request was refused, for example SIGNATURE_MISMATCH; null when it was not. The caller does not learn it.';
comment on column public.webhook_deliveries.run_id is
  'The run that the request started, or that an earlier delivery had started; null when it was refused.';
comment on column public.webhook_deliveries.is_duplicate is 'Whether an earlier delivery had started the run.';
comment on column public.webhook_deliveries.latency_ms is 'Milliseconds until the answer.';
