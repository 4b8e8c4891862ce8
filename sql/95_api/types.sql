-- kind: state
-- Composite types that commands of this layer return and that are no rows of a table.

create type public.workflow_difference as (
  pointer text,
  kind text,
  before jsonb,
  after jsonb
);
comment on type public.workflow_difference is 'A place at which two definitions of a workflow differ.';
comment on column public.workflow_difference.pointer is
  'The place of the difference. Nodes are named by their id, connections by what they connect: /nodes/price/properties/assign/net and /connections/a.true -> b.main.';
comment on column public.workflow_difference.kind is 'What happened there: added, removed or changed.';
comment on column public.workflow_difference.before is 'The value in the first of the two definitions; null when it was added.';
comment on column public.workflow_difference.after is 'The value in the second of the two definitions; null when it was removed.';

create type public.workflow_template as (
  id uuid,
  name text,
  description text,
  tags text[],
  definition jsonb,
  own boolean
);
comment on type public.workflow_template is 'A workflow that copy_template can copy.';
comment on column public.workflow_template.id is 'The id of the workflow.';
comment on column public.workflow_template.name is 'Its name.';
comment on column public.workflow_template.description is 'Its description.';
comment on column public.workflow_template.tags is 'Its tags.';
comment on column public.workflow_template.definition is 'What a copy begins with: the published version, without credentials and pinned outputs.';
comment on column public.workflow_template.own is 'Whether it belongs to the organization of the request.';

create type public.workflow_import as (
  workflow_id uuid,
  problems jsonb
);
comment on type public.workflow_import is 'A workflow that was imported from a document of another product.';
comment on column public.workflow_import.workflow_id is 'The id of the new workflow, whose draft it is.';
comment on column public.workflow_import.problems is
  'What could not be translated: a list of {"pointer", "message"}, where the pointer is a JSON pointer into the document. A node without a counterpart becomes a node of type unconverted; an expression that cannot be translated stays as its text.';

create type public.workflow_test_event as (
  seq int,
  type text,
  payload jsonb
);
comment on type public.workflow_test_event is 'An event that a run would have. It comes from a test, of which nothing is stored.';
comment on column public.workflow_test_event.seq is 'The number of the event, from 1 on, in the order in which they would happen.';
comment on column public.workflow_test_event.type is 'The type of the event, as in the log of a run, for example step.succeeded.';
comment on column public.workflow_test_event.payload is 'The facts of the event; its keys depend on the type.';

create type public.credential_type as (
  name text,
  description text,
  schema jsonb
);
comment on type public.credential_type is 'A type of credentials.';
comment on column public.credential_type.name is 'The name of the type, such as bearer.';
comment on column public.credential_type.description is 'What it is for.';
comment on column public.credential_type.schema is
  'The JSON schema of the data of such a credential. Properties with writeOnly are secret.';

create type public.node_type as (
  name text,
  version int,
  kind text,
  description text,
  ports text[],
  inputs text[],
  properties jsonb,
  category text,
  icon text,
  docs text
);
comment on type public.node_type is 'A type of nodes that a definition can have.';
comment on column public.node_type.name is 'The name, as the definition of a node says it in type.';
comment on column public.node_type.version is 'The version of the type; a definition names it by name@version, or means the newest.';
comment on column public.node_type.kind is 'How its nodes are executed: trigger, pure, local, wait or effect.';
comment on column public.node_type.description is 'What its nodes do.';
comment on column public.node_type.ports is 'The ports at which a node can end, where its properties add none.';
comment on column public.node_type.inputs is 'The inputs that connections can lead to.';
comment on column public.node_type.properties is 'The JSON schema of the properties.';
comment on column public.node_type.category is
  'The group of an editor''s palette: trigger, logic, list, data, flow, integration, or custom for types that a DBA registered.';
comment on column public.node_type.icon is 'The name of an icon of lucide.dev, such as webhook.';
comment on column public.node_type.docs is
  'Where the type is described: a path in the repository with the heading, such as docs/reference/nodes.md#set, or an address; null when a registered type has none.';

create type public.workflow_run_graph_node as (
  node text,
  type text,
  status text,
  attempt int,
  port text,
  started_at timestamptz,
  finished_at timestamptz,
  error jsonb
);
comment on type public.workflow_run_graph_node is 'A node of the version that a run executes, with the state of its step.';
comment on column public.workflow_run_graph_node.node is 'The id of the node in the definition.';
comment on column public.workflow_run_graph_node.type is 'The type of the node.';
comment on column public.workflow_run_graph_node.status is
  'As in steps, and skipped: the run has ended without reaching the node; null while it can still be reached.';
comment on column public.workflow_run_graph_node.attempt is 'The number of the last attempt; null without a step.';
comment on column public.workflow_run_graph_node.port is 'The port at which the node has ended.';
comment on column public.workflow_run_graph_node.started_at is 'The time of the first event of the node.';
comment on column public.workflow_run_graph_node.finished_at is 'When the step ended, or the run before it; null while it has not ended.';
comment on column public.workflow_run_graph_node.error is 'Why the last attempt failed: {"code", "message", "retryable", "details"}.';

create type public.workflow_run_graph_link as (
  source text,
  source_output text,
  target text,
  target_input text,
  passed boolean
);
comment on type public.workflow_run_graph_link is 'A connection of the version that a run executes.';
comment on column public.workflow_run_graph_link.source is 'The node that it leads from.';
comment on column public.workflow_run_graph_link.source_output is 'The port of that node.';
comment on column public.workflow_run_graph_link.target is 'The node that it leads to.';
comment on column public.workflow_run_graph_link.target_input is 'The input of that node.';
comment on column public.workflow_run_graph_link.passed is 'Whether the source has ended at this port.';

create type public.workflow_run_graph as (
  run_id uuid,
  status text,
  nodes public.workflow_run_graph_node[],
  connections public.workflow_run_graph_link[]
);
comment on type public.workflow_run_graph is 'A run as a graph, as it is drawn.';
comment on column public.workflow_run_graph.run_id is 'The id of the run.';
comment on column public.workflow_run_graph.status is 'The status of the run.';
comment on column public.workflow_run_graph.nodes is 'The nodes of its version, in the order of the definition.';
comment on column public.workflow_run_graph.connections is 'The connections of its version, in the order of the definition.';

grant usage on type
  public.node_type, public.workflow_run_graph, public.workflow_run_graph_node, public.workflow_run_graph_link,
  public.workflow_difference, public.workflow_template, public.workflow_import, public.workflow_test_event,
  public.credential_type
  to flowgres_user, flowgres_dba;

create type public.workflow_change as (
  kind text,
  name text,
  action text,
  fields text[],
  workflow_id uuid,
  version int
);
comment on type public.workflow_change is 'What applying documents does to one workflow or variable.';
comment on column public.workflow_change.kind is 'What is changed: workflow or variable.';
comment on column public.workflow_change.name is 'Its name.';
comment on column public.workflow_change.action is
  'What happens: create, change, unchanged (it is as the document says) or archive (its document is gone).';
comment on column public.workflow_change.fields is
  'Of a change, what differs: definition, description, tags, publication (the published version differs), project; or value, of a variable.';
comment on column public.workflow_change.workflow_id is 'The workflow; null for a variable, and for a workflow that is still to be created.';
comment on column public.workflow_change.version is
  'The version that is published: after apply_workflows the new one, where there is one. Null for a variable and where none is published.';

create type public.workflow_run_count as (
  count int,
  is_exact boolean
);
comment on type public.workflow_run_count is 'How many runs match a filter.';
comment on column public.workflow_run_count.count is 'How many; the limit when there are more.';
comment on column public.workflow_run_count.is_exact is 'Whether these are all of them: false when the limit was reached.';

create type public.workflow_run_stats_group as (
  bucket timestamptz,
  key text,
  runs int,
  waiting int,
  running int,
  paused int,
  success int,
  error int,
  canceled int,
  avg_ms double precision,
  p50_ms double precision,
  p95_ms double precision,
  p99_ms double precision
);
comment on type public.workflow_run_stats_group is 'Figures of a group of runs.';
comment on column public.workflow_run_stats_group.bucket is 'The begin of the span of time in which they started; null without buckets.';
comment on column public.workflow_run_stats_group.key is
  'What they have in common: a status, the id of a workflow, the code of an error, a mode; null without groups, and for runs without an error.';
comment on column public.workflow_run_stats_group.runs is 'How many runs.';
comment on column public.workflow_run_stats_group.waiting is 'How many of them are waiting.';
comment on column public.workflow_run_stats_group.running is 'How many of them are running.';
comment on column public.workflow_run_stats_group.paused is 'How many of them are paused.';
comment on column public.workflow_run_stats_group.success is 'How many of them have succeeded.';
comment on column public.workflow_run_stats_group.error is 'How many of them have failed.';
comment on column public.workflow_run_stats_group.canceled is 'How many of them were canceled.';
comment on column public.workflow_run_stats_group.avg_ms is 'The mean duration of those that have ended, in milliseconds; null when there are none.';
comment on column public.workflow_run_stats_group.p50_ms is 'The median of their durations, in milliseconds.';
comment on column public.workflow_run_stats_group.p95_ms is 'The 95th percentile of their durations, in milliseconds.';
comment on column public.workflow_run_stats_group.p99_ms is 'The 99th percentile of their durations, in milliseconds.';

create type public.workflow_run_stats as (
  runs int,
  groups public.workflow_run_stats_group[]
);
comment on type public.workflow_run_stats is 'Figures of the runs that match a filter.';
comment on column public.workflow_run_stats.runs is 'How many runs match.';
comment on column public.workflow_run_stats.groups is 'A row for each group and span of time with a run, by time and value.';

create type public.data_change as (
  count int,
  rows jsonb
);
comment on type public.data_change is 'What a command did to rows of a data table.';
comment on column public.data_change.count is 'The number of rows that were written or deleted.';
comment on column public.data_change.rows is
  'The rows as they are now, a list of {"id", "key", "data", "createdAt", "updatedAt"}; null after a command that gives their number only.';
