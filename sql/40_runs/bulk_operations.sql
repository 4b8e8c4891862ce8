-- kind: state
-- The table of bulk operations: commands on many runs, with their progress. Written by
-- 50_engine/commands/bulk_operations.sql and engine.wake_bulk_operations().

create table public.bulk_operations (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  command text not null,
  filter jsonb not null,
  total int not null,
  done int not null default 0,
  failed int not null default 0,
  last_run_id uuid,
  started_by uuid,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  finished_at timestamptz,
  constraint bulk_operations_pkey primary key (id),
  constraint bulk_operations_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint bulk_operations_command_check check (command in ('cancel', 'retry')),
  constraint bulk_operations_filter_check check (jsonb_typeof(filter) = 'object')
);
create index bulk_operations_organization_id_idx on public.bulk_operations (organization_id, created_at, id);
create index bulk_operations_unfinished_idx on public.bulk_operations (updated_at) where finished_at is null;

comment on table public.bulk_operations is
  'Commands on many runs, made by cancel_runs and retry_runs, with their progress.';
comment on column public.bulk_operations.id is 'UUIDv7.';
comment on column public.bulk_operations.organization_id is 'The organization that the runs belong to.';
comment on column public.bulk_operations.command is 'cancel or retry.';
comment on column public.bulk_operations.filter is 'Which runs: see docs/how-to/runs.md.';
comment on column public.bulk_operations.total is 'How many runs there were when it began.';
comment on column public.bulk_operations.done is 'How many runs it has been through; those that ended by themselves meanwhile are not among them.';
comment on column public.bulk_operations.failed is 'How many it could not retry; the log of each says why.';
comment on column public.bulk_operations.last_run_id is 'The last run it has been through; it goes from the oldest to the newest.';
comment on column public.bulk_operations.started_by is 'The user who gave the command.';
comment on column public.bulk_operations.created_at is 'When it was given; runs that began later are not touched.';
comment on column public.bulk_operations.updated_at is 'When it last made progress.';
comment on column public.bulk_operations.finished_at is 'When it had processed all runs; null before.';
