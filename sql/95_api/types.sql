-- kind: state
-- What commands of this layer answer with that is no row of a table.

create type public.workflow_difference as (
  pointer text,
  kind text,
  before jsonb,
  after jsonb
);
comment on type public.workflow_difference is 'A place at which two definitions of a workflow differ.';
comment on column public.workflow_difference.pointer is
  'The place: nodes by their id, connections by what they connect, such as /nodes/price/properties/assign/net or /connections/a.true -> b.main.';
comment on column public.workflow_difference.kind is 'added, removed or changed.';
comment on column public.workflow_difference.before is 'What was there; null when it was added.';
comment on column public.workflow_difference.after is 'What is there now; null when it was removed.';

create type public.workflow_template as (
  id uuid,
  name text,
  description text,
  tags text[],
  definition jsonb,
  own boolean
);
comment on type public.workflow_template is 'A workflow that may be copied: copy_template(id).';
comment on column public.workflow_template.id is 'The workflow that it is.';
comment on column public.workflow_template.name is 'Its name.';
comment on column public.workflow_template.description is 'Its description.';
comment on column public.workflow_template.tags is 'Its tags.';
comment on column public.workflow_template.definition is 'What a copy begins with: the published version, without credentials and pinned outputs.';
comment on column public.workflow_template.own is 'Whether it belongs to the organization of the request.';

create type public.workflow_import as (
  workflow_id uuid,
  problems jsonb
);
comment on type public.workflow_import is 'A workflow made of a document of another product.';
comment on column public.workflow_import.workflow_id is 'The new draft.';
comment on column public.workflow_import.problems is
  'What could not be taken over, a list of {"pointer": into the document, "message"}; a node without a counterpart is there as one of the type unconverted, an expression as the text it was.';

create type public.workflow_test_event as (
  seq int,
  type text,
  payload jsonb
);
comment on type public.workflow_test_event is 'An event that a run would have, in a test that nothing is stored of.';
comment on column public.workflow_test_event.seq is '1, 2, 3 … in the order in which they would happen.';
comment on column public.workflow_test_event.type is 'As in the log of a run, for example step.succeeded.';
comment on column public.workflow_test_event.payload is 'The facts of the event; its keys depend on the type.';

grant usage on type
  public.workflow_difference, public.workflow_template, public.workflow_import, public.workflow_test_event
  to flowgres_user, flowgres_dba;
