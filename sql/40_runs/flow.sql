-- kind: state
-- The tables of flow control: which runs of workflows with limits hold a slot, which are held, and
-- when runs started under a rate limit. Runs of workflows without limits have no row. Written by
-- 50_engine/flow_control and engine.repair_runs().

create table engine.flow_runs (
  run_id uuid not null,
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  priority smallint not null,
  is_held boolean not null,
  held_until timestamptz,
  concurrency_key text,
  rate_key text,
  debounce_key text,
  place bigserial not null,
  constraint flow_runs_pkey primary key (run_id)
);
alter table engine.flow_runs enable row level security;

create index flow_runs_concurrency_idx
  on engine.flow_runs (workflow_id, concurrency_key, is_held, priority, place)
  where concurrency_key is not null;
create index flow_runs_rate_idx on engine.flow_runs (workflow_id, rate_key, priority, place)
  where is_held and rate_key is not null;
create index flow_runs_debounce_idx on engine.flow_runs (workflow_id, debounce_key, place)
  where is_held and debounce_key is not null;

comment on table engine.flow_runs is
  'Runs of workflows with limits that are held, or that hold a slot of a concurrency limit. held_until: when the debounce ends; place: the order in which they came.';

create table engine.flow_starts (
  workflow_id uuid not null,
  rate_key text not null,
  at timestamptz not null,
  run_id uuid not null,
  constraint flow_starts_pkey primary key (workflow_id, rate_key, at, run_id)
);
alter table engine.flow_starts enable row level security;

comment on table engine.flow_starts is
  'When runs started, or were released, under a rate limit; a row is kept while it counts.';
