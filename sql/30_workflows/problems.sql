-- kind: state
-- The type of a problem or notice of a definition.

create type public.workflow_problem as (
  pointer text,
  code text,
  message text,
  severity text
);
comment on type public.workflow_problem is
  'A problem that keeps a workflow definition from being published, or a notice of something that is probably a mistake.';
comment on column public.workflow_problem.pointer is 'JSON pointer to the place in the definition, such as /nodes/2/properties/url.';
comment on column public.workflow_problem.code is 'The kind of problem, such as UNKNOWN_TYPE. docs/reference/nodes.md lists them.';
comment on column public.workflow_problem.message is 'What is wrong, and what would be right.';
comment on column public.workflow_problem.severity is
  'error: the definition cannot be published; notice: it can, but an expression in it always gives null or is never true.';
grant usage on type public.workflow_problem to flowgres_user, flowgres_dba;
