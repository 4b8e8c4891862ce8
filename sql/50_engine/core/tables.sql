-- kind: state
-- Tables of the processes that work and listen, and the types in which functions of the engine pass
-- runs to each other. engine.workers is written by engine.heartbeat(), engine.reconcile() and
-- recovery/sessions.sql, engine.listeners by engine.listen() and engine.unlisten().

create table engine.workers (
  id uuid not null,
  pool_id text,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  capacity int,
  share int,
  organization_capacity int,
  total_capacity int,
  has_session boolean not null default false,
  session_lost_at timestamptz,
  constraint workers_pkey primary key (id)
);
alter table engine.workers enable row level security;
comment on table engine.workers is
  'Worker processes and their heartbeats. pool_id: the name under which graphile-worker locks jobs for the process. capacity: how many steps it runs at once; organization_capacity: how many of one organization. share: how many steps of one organization all workers may run at once; total_capacity: how many steps they run at once in all; both as the last heartbeat computed them. has_session: a session held the lock of the worker at its last heartbeat; session_lost_at: when another worker saw that it had ended, after that heartbeat.';

create table engine.listeners (
  id uuid not null,
  seen_at timestamptz not null,
  constraint listeners_pkey primary key (id)
);
alter table engine.listeners enable row level security;
comment on table engine.listeners is
  'Processes that listen for changes of runs; NOTIFY is sent only while one of them was seen in the last 15 seconds.';

-- An event without the identity of its run: what advance() reads and returns.
create type engine.log_entry as (
  seq int,
  ts timestamptz,
  type text,
  payload jsonb
);

-- The state that the log of a run adds up to. A node in states, by its place in the compiled
-- version: 1 succeeded, 2 skipped, 3 waiting, 4 failed for good; null: not settled.
create type engine.folded as (
  created jsonb,          -- the payload of run.created
  created_at timestamptz,
  at timestamptz,         -- of the last external input that can move the graph: timers count from it
  responded boolean,
  finished boolean,
  seq int,                -- of the last event
  ts timestamptz,         -- of the last event
  states int[],
  ports text[],
  outputs jsonb[],        -- from -n to n: see engine.output_at
  errors jsonb[],
  held boolean,           -- held by flow control, not released yet
  evaluated jsonb[],      -- by place: properties that a local step has evaluated
  isolated boolean,       -- every node is evaluated in a local step
  input_of text,          -- outputOf of the trigger's event: $.input or $.input.body
  bytes bigint            -- size of the log, as it was loaded
);

-- A step that advance() has reached and cannot do itself.
create type engine.opened_step as (
  node text,
  state text,       -- queued: it needs a job; waiting: for a time or something outside
  place int,        -- of the node in the compiled version
  properties jsonb, -- evaluated, or {} where unused; null: the budget ran out here, go on in another transaction
  prev jsonb,
  run_at timestamptz, -- of a wait: when it goes on by itself
  inputs jsonb,       -- where expressions are left for child runs or a local step: their $.inputs
  outputs jsonb[],    -- and the outputs of the nodes, by place
  is_isolated boolean, -- queued for the evaluation of its properties in a local step
  prev_of text        -- how the log refers to prev, if it is large
);

-- What advance() returns: the events to append and the steps to open.
create type engine.advanced as (
  entries engine.log_entry[],
  opened engine.opened_step[]
);

-- A run under lock.
create type engine.loaded_run as (
  run public.workflow_runs,
  log engine.log_entry[],
  steps engine.open_steps[]
);

-- One transition of a run, as it will be written. A batch is an array of them.
create type engine.transition as (
  run public.workflow_runs,    -- after the transition
  is_changed boolean,          -- its row has to be updated; null: the run is new
  entries engine.log_entry[],  -- the events to append
  steps engine.open_steps[],   -- opened, begun or queued again
  closed text[],               -- nodes whose step has ended
  task jsonb,                  -- of the step that is begun for the caller
  successor engine.open_steps,   -- begun; takes over the row of the first closed step
  claimed text,                  -- node whose step the caller begins itself: it gets no job
  error_workflow_id uuid,        -- of a failed run: the workflow that its failure starts
  is_error_checked boolean       -- the above was looked up, and its counters are locked
);

-- A request of start_runs(), parsed and checked.
create type engine.start_request as (
  index int,
  organization_id uuid,
  workflow_id uuid,
  version int,
  mode text,
  trigger text,
  input jsonb,
  key text,
  fingerprint text, -- equal for requests with one key; null: their inputs are compared
  started_by uuid,
  metadata jsonb,
  run_id uuid,
  duplicate_of uuid,
  error jsonb,
  priority int,
  origin jsonb,              -- further keys of run.created: retryOf, forkOf, held, application, table
  reused engine.log_entry[], -- steps that a retry or fork takes over
  retry_of uuid,
  concurrency_key text,
  parent_run_id uuid,
  parent_node text,
  parent_index int, -- null when the parent does not wait
  is_claimed boolean  -- the caller begins the first step of the run itself
);

-- How many of the starts of one workflow its organization and its team admit.
create type engine.quota as (
  workflow_id uuid,
  admitted int, -- the smaller of both admissions, when they were reserved
  remaining int,
  for_organization private.admission,
  for_team private.admission
);

-- A signal that no wait has consumed yet.
create type engine.signal as (
  node text,    -- the wait that it ends; null while there is none
  name text,
  payload jsonb
);

-- The state of the child runs of a step.
create type engine.children as (
  unfinished int,
  is_failed boolean
);

-- What one job of a step with child runs came to.
create type engine.children_progress as (
  result jsonb,   -- of the step, as a worker would report it; null: it goes on
  next_index int,
  error jsonb,    -- why no further child is started
  again boolean,  -- more children can be started at once, in another transaction
  unfinished int, -- children that have not ended after this job
  wait_until timestamptz -- the limit of nested runs is reached: no child starts before
);

-- The state of a replay: the events applied so far, those that the engine computes next, and the
-- steps that it has opened.
create type engine.replay as (
  log engine.log_entry[],
  expected engine.log_entry[],
  open text[],
  paused boolean
);
