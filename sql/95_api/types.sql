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

grant usage on type
  public.workflow_difference, public.workflow_template, public.workflow_import, public.workflow_test_event,
  public.credential_type
  to flowgres_user, flowgres_dba;
