-- kind: state
-- The table of webhooks: the addresses under which published workflows are called. Written by
-- register_webhooks.sql.

create table public.webhooks (
  organization_id uuid not null,
  workflow_id uuid not null,
  node text not null,
  version int not null,
  methods text[] not null,
  path text not null,
  segments text[] not null,
  properties jsonb not null,
  created_at timestamptz not null default now(),
  credential text,
  dedupe_path text,
  keeps_raw_body boolean not null default false,
  constraint webhooks_pkey primary key (organization_id, workflow_id, node),
  constraint webhooks_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version) on delete cascade,
  constraint webhooks_methods_check check (
    cardinality(methods) > 0
    and methods <@ array['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']
  ),
  constraint webhooks_path_check check (length(path) <= 512 and cardinality(segments) between 1 and 16),
  constraint webhooks_properties_check check (jsonb_typeof(properties) = 'object')
);
-- The first is for the foreign key, the second for engine.find_webhook(): the paths of an
-- organization with that many segments.
create index webhooks_version_idx on public.webhooks (organization_id, workflow_id, version);
create index webhooks_segments_idx on public.webhooks (organization_id, cardinality(segments));
alter table public.webhooks enable row level security;

comment on table public.webhooks is
  'The webhook addresses of published workflows: /hooks/<webhook key of the organization><path>.';
comment on column public.webhooks.organization_id is 'The organization that owns the workflow.';
comment on column public.webhooks.workflow_id is 'The workflow that a request starts.';
comment on column public.webhooks.node is 'The webhookTrigger node.';
comment on column public.webhooks.version is 'The published version that the address belongs to.';
comment on column public.webhooks.methods is 'HTTP methods that it answers to, for example {POST}.';
comment on column public.webhooks.path is 'With :params, for example /orders/:id.';
comment on column public.webhooks.segments is 'The path cut at its slashes, a parameter as ":" alone: {orders,:}.';
comment on column public.webhooks.properties is 'The trigger''s properties: how it authenticates and answers.';
comment on column public.webhooks.created_at is 'When the address was registered for this version.';
comment on column public.webhooks.credential is
  'The name of the credential by which requests are authenticated; null when they are not.';
comment on column public.webhooks.dedupe_path is
  'The SQL/JSON path into the input whose value requests for one run have in common; null without one.';
comment on column public.webhooks.keeps_raw_body is
  'Whether the input has rawBody, the bytes of the body as base64: the trigger says so, or the definition reads it.';
