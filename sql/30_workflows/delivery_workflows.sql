-- kind: state
-- The workflow of each organization that sends messages to its webhook endpoints. Written by
-- private.ensure_delivery_workflow(). Locks nothing.

create table private.delivery_workflows (
  organization_id uuid not null,
  workflow_id uuid not null,
  constraint delivery_workflows_pkey primary key (organization_id),
  constraint delivery_workflows_workflow_id_key unique (workflow_id),
  constraint delivery_workflows_workflow_fkey
    foreign key (organization_id, workflow_id) references public.workflows (organization_id, id) on delete cascade
);
create index delivery_workflows_workflow_idx on private.delivery_workflows (organization_id, workflow_id);
alter table private.delivery_workflows enable row level security;
comment on table private.delivery_workflows is
  'The workflow of each organization that sends its messages: nobody changes it, and its runs are not counted against the plan.';
