-- kind: state
-- Which organization a role of an application acts for, and which tables of applications start
-- runs. docs/reference/tables.md lists the functions that write them.

create table engine.application_grants (
  role regrole not null,
  organization_id uuid not null,
  scopes text[] not null,
  granted_by name not null default session_user,
  granted_at timestamptz not null default now(),
  constraint application_grants_pkey primary key (role),
  constraint application_grants_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint application_grants_scopes_check
    check (cardinality(scopes) > 0 and scopes <@ '{runs:read,runs:write}')
);
alter table engine.application_grants enable row level security;
create index application_grants_organization_id_idx on engine.application_grants (organization_id);

comment on table engine.application_grants is
  'The roles of applications in this database, each with the one organization that it acts for and what it may do there.';

create table engine.table_watches (
  id uuid not null default engine.uuid_v7(),
  watched regclass not null,
  organization_id uuid not null,
  workflow_id uuid not null,
  condition jsonpath,
  columns smallint[],
  batch int not null,
  required boolean not null,
  created_by name not null default session_user,
  created_at timestamptz not null default now(),
  constraint table_watches_pkey primary key (id),
  constraint table_watches_watched_key unique (watched, workflow_id),
  constraint table_watches_workflow_fkey
    foreign key (organization_id, workflow_id) references public.workflows (organization_id, id) on delete cascade,
  constraint table_watches_batch_check check (batch between 1 and 1000)
);
alter table engine.table_watches enable row level security;
create index table_watches_workflow_idx on engine.table_watches (organization_id, workflow_id);

comment on table engine.table_watches is
  'The tables of applications whose changes start runs. Triggers of the table name the row; without it they do nothing.';
comment on column engine.table_watches.columns is
  'Numbers of the columns in pg_attribute, which stay when a column is renamed; null for all columns.';
comment on column engine.table_watches.required is
  'Whether the statement of the application fails when a run cannot be started.';
