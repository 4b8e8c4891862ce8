-- kind: state
-- What publishing compiles a version to. docs/reference/tables.md lists the functions that write it.

-- A part of a property: a literal text, or a path into the values that a node can read. A path with
-- one source starts at that source (`$.total` of `prev`); with several sources, each is a jsonpath
-- variable (`$"prev".total > $"nodes.order".limit`).
create type engine.expression_part as (
  literal text,
  sources text[],    -- input, prev, inputs, run, vars, item, index, nodes.<id>; or secrets.<name> alone
  source_nodes int[], -- for nodes.<id> the place of that node among the compiled nodes, else 0
  path jsonpath,
  many boolean,      -- the result is an array even when only one item is found
  filters jsonb,     -- [{"name": "pad", "arguments": [8]}, …], null when none
  argument_paths jsonpath[], -- of filters, whose arguments then are as parse_arguments.sql says
  max_input int,     -- the most bytes that its sources may have together; more fails the node
  position int,      -- the 1-based character at which it begins in the property
  inline_input int,  -- up to how many bytes of input the engine evaluates it inline; null: any number
  by_name boolean    -- the sources are variables of the path: there are several, or filters read some
);

create type engine.expression as (
  place text[],      -- the place in the properties for the result
  kind text,         -- value: keeps its type; text: parts are joined; predicate: true or false; each: see filter;
                     -- secret: parts that the worker joins, with secret variables
  parts engine.expression_part[], -- null when the expression is plain: a path from one source to one item, no filters
  source text,       -- of a plain expression, as most are: input, prev, nodes, …; these fields save a look into parts
  source_node int,
  path jsonpath,
  max_input int,
  position int,
  inline_input int,  -- up to how many bytes of input the engine evaluates it inline; null: any number
  cost text,         -- linear, quadratic or unbounded: see costs.sql
  weight int         -- how many times it processes each byte that it reads
);

-- What is parsed of an argument of a filter, or of filters: parse_arguments.sql says how `argument` is written.
create type engine.parsed_argument as (
  argument jsonb,
  paths text[],      -- of the argument, in the order of their numbers
  sources text[],
  variables text[],
  inputs text[],
  cost text,
  weight int,
  regex boolean,     -- it matches a regular expression
  repeats boolean,   -- it reads a source for each item of another
  problem text,
  problem_at int     -- the place of the token at which the problem is
);

-- One node, ready to run. Nodes are in topological order, so one pass from the first to the last is
-- enough to find all that can run.
create type engine.compiled_node as (
  id text,
  type text,         -- with its version, such as set@1
  kind text,         -- trigger, pure, local, wait, effect; a pure node that is not cheap is local here
  function text,     -- of a registered node: the SQL function to call; null for built-in ones
  properties jsonb,
  expressions engine.expression[],
  ports text[],      -- the first is the default
  sources int[],     -- incoming connections in the definition's order: the place of the compiled source node …
  source_ports text[], -- … its port …
  target_inputs text[], -- … and the input of this node that it leads to
  inputs text[],     -- the inputs that the node has, the first is the main one
  on_error text,     -- stop, continue or errorOutput
  max_attempts int,
  retry_initial_ms int,
  retry_max_ms int,
  timeout_ms int,
  disabled boolean,
  is_strict boolean, -- an unknown predicate is an error
  uses_inputs boolean, -- an expression or the node itself reads `inputs`
  uses_run boolean,  -- an expression reads `run`
  credentials jsonb, -- {"auth": "crm"}
  pin jsonb,         -- the output that the node gives in a manual run, without being executed
  retry_jitter boolean, -- false: the delays between attempts are not random
  success jsonb,     -- the payload of its step.succeeded, without the output, when the engine runs it inline
  deferred engine.expression[], -- of a node with child runs: the expressions that are evaluated for each child run
  is_isolated boolean, -- evaluated in a local step, whatever the size of its input
  inline_input int,  -- of a pure node: up to how many bytes of input the engine runs it inline; null: any number
  secret_places jsonb -- the places of the properties that name secret variables; null when there are none
);

create function engine.compiled_node_ids(p_nodes engine.compiled_node[])
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg((p_nodes[place]).id order by place) from generate_subscripts(p_nodes, 1) as place
$$;

create table engine.compiled_versions (
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  nodes engine.compiled_node[] not null,
  ids text[] not null generated always as (engine.compiled_node_ids(nodes)) stored,
  vars text[] not null default '{}', -- names of the variables that expressions read
  settings jsonb not null,
  resume_key bytea not null default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
  quarantined_at timestamptz,
  constraint compiled_versions_pkey primary key (organization_id, workflow_id, version),
  constraint compiled_versions_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version) on delete cascade
);
alter table engine.compiled_versions enable row level security;
comment on table engine.compiled_versions is 'What publishing compiles a version to. The engine reads each row once per batch.';
comment on column engine.compiled_versions.quarantined_at is
  'When a transaction with its runs took too long; null otherwise. Until one of its runs succeeds, every node is evaluated in a local step.';
comment on column engine.compiled_versions.resume_key is 'The secret from which the tokens of resume addresses are computed.';

-- The result of a pure or a local node.
create type engine.outcome as (
  port text,
  output jsonb
);
