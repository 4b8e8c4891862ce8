-- kind: state
-- The table of the schedules of published workflows. Written by register_schedules.sql, when a
-- workflow is published or unpublished, and by fire_schedules.sql.

create table public.schedules (
  organization_id uuid not null,
  workflow_id uuid not null,
  node text not null,
  version int not null,
  properties jsonb not null,
  next_run_at timestamptz not null,
  fires_at timestamptz not null,
  last_run_at timestamptz,
  last_error jsonb,
  created_at timestamptz not null default now(),
  failures int not null default 0,
  constraint schedules_pkey primary key (organization_id, workflow_id, node),
  constraint schedules_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version) on delete cascade,
  constraint schedules_failures_check check (failures >= 0),
  constraint schedules_fires_at_check check (fires_at >= next_run_at),
  constraint schedules_properties_check check (jsonb_typeof(properties) = 'object')
);
create index schedules_version_idx on public.schedules (organization_id, workflow_id, version);
-- For engine.due_schedules(), every second.
create index schedules_fires_at_idx on public.schedules (fires_at);
alter table public.schedules enable row level security;

comment on table public.schedules is 'When the scheduleTrigger nodes of published workflows fire.';
comment on column public.schedules.organization_id is 'The organization that owns the workflow.';
comment on column public.schedules.workflow_id is 'The workflow that is started.';
comment on column public.schedules.node is 'The scheduleTrigger node.';
comment on column public.schedules.version is 'The published version that the schedule belongs to.';
comment on column public.schedules.properties is
  'The trigger''s properties: cron or every, timezone (UTC when not given), catchUp (none when not given), jitterSeconds.';
comment on column public.schedules.next_run_at is 'The next time that the schedule names: scheduledAt of that run''s input.';
comment on column public.schedules.fires_at is 'When that run starts: next_run_at plus a part of jitterSeconds.';
comment on column public.schedules.last_run_at is 'The last time that started a run; null before the first.';
comment on column public.schedules.last_error is 'Why the latest time started no run: {"code", "message"}; null when it did.';
comment on column public.schedules.failures is
  'How many starts in a row took too long or failed with an error of the database; after the third the tick is given up. 0 when the last one succeeded.';
comment on column public.schedules.created_at is 'When this version was published.';
