-- kind: state
-- The tables of runs. The log (workflow_events) is the truth; workflow_runs is its one projection,
-- written when a run changes state, and engine.open_steps has the steps that are not finished.
-- docs/reference/tables.md says who writes each table.

create table public.workflow_runs (
  id uuid not null,
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  mode text not null,
  status text not null,
  parent_run_id uuid,
  parent_node text,
  parent_index int,
  retry_of uuid,
  started_by uuid,
  priority smallint not null default 0,
  deadline_at timestamptz,
  started_at timestamptz not null,
  finished_at timestamptz,
  error jsonb,
  metadata jsonb,
  retried_by uuid,
  concurrency_key text,
  application text,
  trigger_node text,
  constraint workflow_runs_pkey primary key (id),
  constraint workflow_runs_organization_id_id_key unique (organization_id, id),
  constraint workflow_runs_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version)
    on delete restrict,
  constraint workflow_runs_mode_check
    check (mode in ('manual', 'webhook', 'api', 'schedule', 'retry', 'fork', 'error', 'child', 'table')),
  constraint workflow_runs_status_check
    check (status in ('waiting', 'running', 'paused', 'success', 'error', 'canceled')),
  constraint workflow_runs_finished_at_matches_status_check
    check ((finished_at is not null) = (status in ('success', 'error', 'canceled'))),
  constraint workflow_runs_error_matches_status_check
    check (error is null or status = 'error'),
  constraint workflow_runs_metadata_check
    check (jsonb_typeof(metadata) = 'object')
) partition by range (id);

create index workflow_runs_workflow_idx on public.workflow_runs (organization_id, workflow_id, id);
-- For the children of a step by status.
create index workflow_runs_children_idx on public.workflow_runs (parent_run_id, parent_node, status)
  where parent_run_id is not null;
create index workflow_runs_unfinished_idx on public.workflow_runs (organization_id, status, id)
  where status in ('waiting', 'running', 'paused');
-- For lists by status, newest first; id has the time of the start. Successful runs are most of all
-- runs: lists of them find enough in workflow_runs_organization_id_id_key.
create index workflow_runs_status_idx on public.workflow_runs (organization_id, status, id)
  where status <> 'success';
-- For lists in the order of the end. Unfinished runs come last.
create index workflow_runs_finished_at_idx
  on public.workflow_runs (organization_id, (coalesce(finished_at, 'infinity')), id);
-- For dead letters: failed runs that were not retried.
create index workflow_runs_failed_idx on public.workflow_runs (organization_id, id)
  where status = 'error' and retried_by is null;
-- For the runs that a role of an application has started.
create index workflow_runs_application_idx on public.workflow_runs (organization_id, application, id)
  where application is not null;
create index workflow_runs_deadline_idx on public.workflow_runs (deadline_at)
  where deadline_at is not null and finished_at is null;

comment on table public.workflow_runs is
  'One row per run of a workflow. Partitioned by month of the time in its UUIDv7 id; everything else about a run is in its events.';
comment on column public.workflow_runs.id is 'UUIDv7; its time is the time of the run''s first event.';
comment on column public.workflow_runs.organization_id is 'The organization that the run belongs to.';
comment on column public.workflow_runs.workflow_id is 'The workflow that ran.';
comment on column public.workflow_runs.version is 'The published version that the run executes, to its end.';
comment on column public.workflow_runs.mode is 'What started the run: manual, webhook, api, schedule, retry, fork, error, child or table (a change of a watched table).';
comment on column public.workflow_runs.status is 'running, waiting, paused; or final: success, error, canceled.';
comment on column public.workflow_runs.parent_run_id is 'The run whose step started this one, if any.';
comment on column public.workflow_runs.parent_node is 'The node of the parent run that started this one.';
comment on column public.workflow_runs.parent_index is
  'The position of this run among the children of its parent''s step, from 0; null when the parent does not wait for it.';
comment on column public.workflow_runs.retry_of is 'The run that this one retries.';
comment on column public.workflow_runs.started_by is 'The user who started it; null for webhooks and schedules.';
comment on column public.workflow_runs.priority is 'Runs with a lower number are executed earlier, as in graphile-worker; 0 by default.';
comment on column public.workflow_runs.deadline_at is 'When the run, if it is unfinished then, ends with the error DEADLINE.';
comment on column public.workflow_runs.started_at is 'When the run was created.';
comment on column public.workflow_runs.finished_at is 'When the run reached its final status; null before.';
comment on column public.workflow_runs.error is 'Why the run failed: {"code", "message", "node"}.';
comment on column public.workflow_runs.metadata is 'Any facts given at the start, such as the id of a request.';
comment on column public.workflow_runs.retried_by is 'The run that retries this one, if any.';
comment on column public.workflow_runs.concurrency_key is
  'The key under which the run counts for settings.concurrency: its value, or empty when the limit is for the whole workflow; null without such a limit.';
comment on column public.workflow_runs.application is
  'The database role of the application that started it by flowgres_start, or changed the watched table; null otherwise.';
comment on column public.workflow_runs.trigger_node is 'The trigger node at which the run began.';

create table public.workflow_events (
  id bigserial not null,
  organization_id uuid not null,
  run_id uuid not null,
  seq int not null,
  ts timestamptz not null default now(),
  type text not null,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  constraint workflow_events_pkey primary key (id, ts),
  constraint workflow_events_run_fkey
    foreign key (organization_id, run_id)
    references public.workflow_runs (organization_id, id)
    on delete cascade,
  constraint workflow_events_seq_check check (seq > 0),
  constraint workflow_events_payload_check check (jsonb_typeof(payload) = 'object')
) partition by range (ts);

create index workflow_events_run_id_idx on public.workflow_events (run_id);
create index workflow_events_run_ts_idx on public.workflow_events (run_id, ts);
create index workflow_events_type_idx on public.workflow_events (type);
-- For time ranges within a month. Events come nearly in the order of their time, so one summary for
-- 32 pages takes a few kilobytes a month and still finds an hour. Autovacuum summarizes new pages
-- as they fill.
create index workflow_events_ts_idx on public.workflow_events using brin (ts)
  with (pages_per_range = 32, autosummarize = on);

comment on table public.workflow_events is
  'The append-only log of every run, partitioned by month of ts. A run''s state is the fold of its events in the order of seq.';
comment on column public.workflow_events.id is 'Increases with seq within a run; across runs it is not the order of commit.';
comment on column public.workflow_events.organization_id is 'The organization that the run belongs to.';
comment on column public.workflow_events.run_id is 'The run.';
comment on column public.workflow_events.seq is '1, 2, 3 … within the run, without a gap: the cursor of a run''s live events.';
comment on column public.workflow_events.ts is 'When it happened; strictly increasing within a run.';
comment on column public.workflow_events.type is 'For example run.created, step.succeeded, run.failed: see docs/explanation/concepts.md.';
comment on column public.workflow_events.payload is 'The facts of the event, an object; its keys depend on the type.';
comment on column public.workflow_events.created_at is 'When the row was written: the start of its transaction.';

create table public.workflow_run_logs (
  id bigserial not null,
  organization_id uuid not null,
  run_id uuid not null,
  node text,
  level text not null default 'info',
  message text not null,
  context jsonb,
  ts timestamptz not null default now(),
  constraint workflow_run_logs_pkey primary key (id, ts),
  constraint workflow_run_logs_level_check check (level in ('debug', 'info', 'warning', 'error')),
  constraint workflow_run_logs_message_check check (length(message) <= 65536)
) partition by range (ts);

create index workflow_run_logs_run_idx on public.workflow_run_logs (organization_id, run_id, ts);

comment on table public.workflow_run_logs is 'What log nodes and workers wrote about a run. Partitioned by week, kept 30 days.';
comment on column public.workflow_run_logs.id is 'Increasing number.';
comment on column public.workflow_run_logs.organization_id is 'The organization that the run belongs to.';
comment on column public.workflow_run_logs.run_id is 'The run; not a foreign key, because logs and runs are retired at different times.';
comment on column public.workflow_run_logs.node is 'The node that wrote it.';
comment on column public.workflow_run_logs.level is 'debug, info, warning or error.';
comment on column public.workflow_run_logs.message is 'The text, at most 64 kB.';
comment on column public.workflow_run_logs.context is 'Structured facts beside the text.';
comment on column public.workflow_run_logs.ts is 'When it was written.';

create table engine.open_steps (
  organization_id uuid not null,
  run_id uuid not null,
  node text not null,
  state text not null,
  attempt int not null default 0,
  failures int not null default 0,
  crashes int not null default 0,
  worker_id uuid,
  lease_until timestamptz,
  run_at timestamptz,
  next_index int,
  error jsonb,
  wake_at timestamptz,
  unfinished_children int,
  is_isolated boolean not null default false,
  branch text not null,
  constraint open_steps_pkey primary key (run_id, branch),
  constraint open_steps_run_fkey
    foreign key (organization_id, run_id)
    references public.workflow_runs (organization_id, id)
    on delete cascade,
  constraint open_steps_state_check check (state in ('queued', 'running', 'waiting')),
  constraint open_steps_lease_matches_state_check
    check ((state = 'running') = (lease_until is not null and worker_id is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table engine.open_steps enable row level security;

-- No index has node, worker_id or lease_until: a step that hands its row on, and the extension of a
-- lease, change no index (a HOT update).
create index open_steps_running_idx on engine.open_steps (organization_id) where state = 'running';
create index open_steps_deferred_idx on engine.open_steps (organization_id, run_id)
  where run_at = 'infinity' and state = 'queued';
create index open_steps_wake_at_idx on engine.open_steps (wake_at) where wake_at is not null;

comment on table engine.open_steps is
  'The working set: one row per step that is queued, running or waiting; deleted when the step ends. attempt is the fencing token.';
comment on column engine.open_steps.branch is
  'The node at which the branch of the step began. A step hands its row on to the next one of its branch, and the key stays as it is. Each node is open once at most: writers hold the lock of the run.';
comment on column engine.open_steps.run_at is
  'When the step may go on by itself, infinity while it is deferred; null when it waits for something other than a time. Without meaning while it is running.';
comment on column engine.open_steps.next_index is
  'For a step with child runs: how many it has started; null before the first one.';
comment on column engine.open_steps.unfinished_children is
  'For a step with child runs: how many of them were unfinished after its last job. When fewer are, the step has something to do.';
comment on column engine.open_steps.error is
  'Why a step with child runs starts no further one; it fails when those that run have ended.';
comment on column engine.open_steps.wake_at is
  'When the step gets its job, or another one in case that was lost; null while it needs none.';

create table engine.start_keys (
  organization_id uuid not null,
  workflow_id uuid not null,
  key text not null,
  run_id uuid not null,
  request_hash bytea not null,
  expires_at timestamptz not null,
  constraint start_keys_pkey primary key (organization_id, workflow_id, key),
  constraint start_keys_key_check check (length(key) between 1 and 256)
);
alter table engine.start_keys enable row level security;
create index start_keys_expires_at_idx on engine.start_keys (expires_at);

comment on table engine.start_keys is
  'Idempotency keys of starts: the same key and input returns the same run, other input is a conflict. Kept for 7 days.';

create table engine.child_starts (
  id bigserial not null,
  root_run_id uuid not null,
  run_id uuid not null,
  organization_id uuid not null,
  at timestamptz not null,
  runs int not null,
  bytes bigint not null,
  is_nested boolean not null,
  constraint child_starts_pkey primary key (root_run_id, id),
  constraint child_starts_runs_check check (runs > 0),
  constraint child_starts_bytes_check check (bytes >= 0)
);
alter table engine.child_starts enable row level security;
create index child_starts_nested_idx on engine.child_starts (organization_id, at) where is_nested;
create index child_starts_at_idx on engine.child_starts (at);

comment on table engine.child_starts is
  'How many child runs a run was about to start, and the size of their inputs in bytes: a row each time, never changed, so that no start waits for another. root_run_id: the topmost ancestor; is_nested: the parent is a child itself, or the run of an error workflow. Kept for 7 days.';
