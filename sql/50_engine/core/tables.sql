-- kind: state
-- Who works and who listens, and the types in which the engine's functions hand runs to each other.

create table engine.workers (
  id uuid not null,
  pool_id text,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  capacity int,
  share int,
  organization_capacity int,
  total_capacity int,
  constraint workers_pkey primary key (id)
);
alter table engine.workers enable row level security;
comment on table engine.workers is
  'Worker processes and their heartbeats; pool_id is the name under which graphile-worker locks jobs for them, capacity how many steps they run at once, organization_capacity how many of one organization; share is how many steps of one organization all workers may run at once, total_capacity how many of all, both as the last heartbeat found them.';

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
  outputs jsonb[],        -- from -n to n: see engine.output_at
  errors jsonb[],
  held boolean,           -- created, but not let in yet
  evaluated jsonb[],      -- properties that a local step has found, before the node itself is done
  isolated boolean,       -- every node is evaluated in a local step
  input_of text,          -- where the output of the trigger stands when not in its event: $.input or $.input.body
  bytes bigint            -- of the log, as it was loaded
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
  outputs jsonb[],
  is_isolated boolean, -- queued for its evaluation: its properties are not known yet
  prev_of text        -- where prev stands in the log, if it is large
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
create type engine.transition as (
  run public.workflow_runs,    -- as the move leaves it
  is_changed boolean,          -- whether its row has to be written; null: it is new
  entries engine.log_entry[],  -- the events to append
  steps engine.open_steps[],   -- opened, begun or queued again
  closed text[],               -- nodes whose step has ended
  task jsonb,                  -- what the caller does now
  successor engine.open_steps,      -- begun in the place of the first of the closed ones, whose row it takes over
  claimed text                   -- node whose step the caller begins itself: it gets no job
);

-- A start that was asked for, read and checked.
create type engine.start_request as (
  index int,
  organization_id uuid,
  workflow_id uuid,
  version int,
  mode text,
  trigger text,
  input jsonb,
  key text,
  fingerprint text, -- what must be equal for the same key to be the same request; the whole input when null
  started_by uuid,
  metadata jsonb,
  run_id uuid,
  duplicate_of uuid,
  error jsonb,
  priority int,
  origin jsonb,              -- what run.created says beside all this: retryOf, forkOf
  reused engine.log_entry[], -- steps that a retry or fork takes over
  retry_of uuid,
  concurrency_key text,
  parent_run_id uuid,
  parent_node text,
  parent_index int, -- null when the parent does not wait
  is_claimed boolean  -- the caller begins the run's first step itself
);

-- How many of the starts of one workflow its organization and its team admit.
create type engine.quota as (
  workflow_id uuid,
  admitted int, -- by organization and team, when they were asked
  remaining int,
  for_organization private.admission,
  for_team private.admission
);

-- A signal that no wait has claimed yet.
create type engine.signal as (
  node text,    -- the wait that it is for; null while there is none
  name text,
  payload jsonb
);

-- How the child runs of a step stand.
create type engine.children as (
  unfinished int,
  is_failed boolean
);

-- What one turn of a step with children came to.
create type engine.children_progress as (
  result jsonb,   -- of the step, as a worker would report it; null: it goes on
  next_index int,
  error jsonb,    -- why no further child is started
  again boolean,  -- more can be handed out at once, in another transaction
  unfinished int, -- children that it leaves unfinished
  wait_until timestamptz -- too many nested runs were started: the next child starts then, or later
);

-- A replay: what was fed so far, what the engine says comes next, and which steps it has opened.
create type engine.replay as (
  log engine.log_entry[],
  expected engine.log_entry[],
  open text[],
  paused boolean
);
