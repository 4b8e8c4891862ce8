-- kind: state
-- Who works and who listens, and the types in which the engine's functions hand runs to each other.

create table engine.workers (
  id uuid not null,
  pool_id text,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  capacity int,
  share int,
  constraint workers_pkey primary key (id)
);
alter table engine.workers enable row level security;
comment on table engine.workers is
  'Worker processes and their heartbeats; pool_id is the name under which graphile-worker locks jobs for them, capacity how many steps they run at once; share is how many steps of one organization all workers may run at once.';

create table engine.listeners (
  id uuid not null,
  seen_at timestamptz not null,
  constraint listeners_pkey primary key (id)
);
alter table engine.listeners enable row level security;
comment on table engine.listeners is
  'Processes that wait for news of runs; NOTIFY is sent only while one of them was seen in the last 15 seconds.';

-- An event without the identity of its run: what advance reads and what it answers.
create type engine.log_entry as (
  seq int,
  ts timestamptz,
  type text,
  payload jsonb
);

-- What the log of a run adds up to. Of each node, by its place in the plan: 1 succeeded, 2 skipped, 3 waiting, 4 failed
-- for good; null is not settled.
create type engine.folded as (
  created jsonb,          -- the payload of run.created
  created_at timestamptz,
  at timestamptz,         -- when the outside last had its say: what a timer counts from
  responded boolean,
  finished boolean,
  seq int,                -- of the last event …
  ts timestamptz,         -- … and its time
  states int[],
  ports text[],
  outputs jsonb[],
  errors jsonb[],
  held boolean            -- created, but not let in yet
);

-- A step that advance has reached and cannot take itself.
create type engine.opened_step as (
  node text,
  state text,       -- queued: a worker takes it; waiting: something outside must happen
  place int,        -- of the node in the plan
  properties jsonb, -- with the results of its expressions; null: the budget ran out here, go on in another transaction
  prev jsonb,
  run_at timestamptz, -- of one that waits: when it goes on without being asked
  inputs jsonb,       -- where expressions are left for child runs: what else they can see
  outputs jsonb[]
);

create type engine.advanced as (
  entries engine.log_entry[],
  opened engine.opened_step[]
);

-- A run under lock: its row, its log, its open steps.
create type engine.loaded_run as (
  run public.workflow_runs,
  log engine.log_entry[],
  steps engine.open_steps[]
);

-- One step of a run from state to state, as it will be written. A batch is an array of them.
create type engine.move as (
  run public.workflow_runs,    -- as the move leaves it
  is_changed boolean,          -- whether its row has to be written
  entries engine.log_entry[],  -- the events to append
  steps engine.open_steps[],   -- opened, begun or queued again
  closed text[],               -- nodes whose step has ended
  task jsonb,                  -- what the caller does now
  heir engine.open_steps       -- begun in the place of the first of the closed ones, whose row it takes over
);
