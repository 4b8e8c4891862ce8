-- kind: state
-- Tables of workflows: drafts that people edit, published versions that never change, and node
-- types. docs/reference/tables.md lists the functions that write them.

-- Tags with the id of their organization in front, for the index on tags: one index serves all
-- organizations, and a look-up reads the entries of one only. search_workflows uses it as the
-- owner, because array operators are not leakproof and so reach no index under row-level security.
create function private.tag_keys(p_organization_id uuid, p_tags text[])
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array(select p_organization_id::text || ' ' || t.tag from unnest(p_tags) as t (tag))
$$;

-- Whether these may be the tags of a workflow: at most 20, each a name of at most 50 characters.
create function private.are_tags(p_tags text[])
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select cardinality(p_tags) <= 20
    and coalesce(bool_and(t.tag is not null and length(t.tag) <= 50 and private.is_name(t.tag)), true)
  from unnest(p_tags) as t (tag)
$$;

create table public.workflows (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  name text not null,
  description text,
  definition jsonb not null,
  revision int not null default 1,
  published_version int,
  archived_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  tags text[] not null default '{}',
  template text,
  team_id uuid,
  project text,
  constraint workflows_pkey primary key (id),
  constraint workflows_organization_id_id_key unique (organization_id, id),
  constraint workflows_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint workflows_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete set null (team_id),
  constraint workflows_created_by_fkey
    foreign key (created_by) references public.users (id) on delete set null,
  constraint workflows_name_check check (private.is_name(name)),
  constraint workflows_description_check check (length(description) <= 5000),
  constraint workflows_definition_check check (jsonb_typeof(definition) = 'object'),
  constraint workflows_revision_check check (revision > 0),
  constraint workflows_tags_check check (private.are_tags(tags)),
  constraint workflows_template_check check (template in ('organization', 'public')),
  constraint workflows_project_check check (private.is_name(project) and length(project) <= 100)
);
-- These indexes serve the sort orders of lists, forwards and backwards.
create index workflows_created_at_idx on public.workflows (organization_id, created_at, id);
create index workflows_name_idx on public.workflows (organization_id, name, id);
create index workflows_team_idx on public.workflows (organization_id, team_id, id);
create index workflows_created_by_idx on public.workflows (created_by);
create index workflows_tags_idx on public.workflows
  using gin (private.tag_keys(organization_id, tags)) with (fastupdate = off);
create index workflows_template_idx on public.workflows (template, organization_id) where template is not null;

comment on table public.workflows is 'A workflow and its draft. New runs use its published version, not the draft.';
comment on column public.workflows.id is 'The id of the workflow, a UUIDv7.';
comment on column public.workflows.organization_id is 'The organization that owns it.';
comment on column public.workflows.name is 'The name, at most 200 characters.';
comment on column public.workflows.description is 'Free text, at most 5,000 characters.';
comment on column public.workflows.definition is 'The draft: {"nodes", "connections", "settings"}. See docs/reference/nodes.md.';
comment on column public.workflows.revision is 'The number of saves of the draft. Pass it to save_workflow, so that a save does not overwrite a change that somebody else has made.';
comment on column public.workflows.published_version is 'The version that new runs use; null when not published.';
comment on column public.workflows.archived_at is 'When it was archived; an archived workflow starts no run.';
comment on column public.workflows.created_by is 'The user who created it.';
comment on column public.workflows.created_at is 'When it was created.';
comment on column public.workflows.updated_at is 'When the draft or the publication last changed.';
comment on column public.workflows.tags is 'The tags, sorted: at most 20, each of at most 50 characters. search_workflows finds workflows by them.';
comment on column public.workflows.template is
  'Who may copy it: organization (its own members) or public (everybody); null when it is no template.';
comment on column public.workflows.project is 'The project of apply_workflows that it belongs to; null for none.';
comment on column public.workflows.team_id is 'The team that the workflow is assigned to; null when it is assigned to none.';

create table public.workflow_versions (
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  definition jsonb not null,
  message text,
  published_by uuid,
  published_at timestamptz not null default now(),
  notices jsonb not null default '[]',
  constraint workflow_versions_pkey primary key (organization_id, workflow_id, version),
  constraint workflow_versions_workflow_fkey
    foreign key (organization_id, workflow_id) references public.workflows (organization_id, id) on delete cascade,
  constraint workflow_versions_published_by_fkey
    foreign key (published_by) references public.users (id) on delete set null,
  constraint workflow_versions_version_check check (version > 0),
  constraint workflow_versions_message_check check (length(message) <= 5000),
  constraint workflow_versions_notices_check check (jsonb_typeof(notices) = 'array')
);
create index workflow_versions_published_by_idx on public.workflow_versions (published_by);

alter table public.workflows
  add constraint workflows_published_version_fkey
    foreign key (organization_id, id, published_version)
    references public.workflow_versions (organization_id, workflow_id, version)
    deferrable initially deferred;

comment on table public.workflow_versions is 'Published definitions; a row never changes. A run keeps the version that it started with.';
comment on column public.workflow_versions.organization_id is 'The organization that owns the workflow.';
comment on column public.workflow_versions.workflow_id is 'The workflow.';
comment on column public.workflow_versions.version is 'The number of the version: 1, 2, 3 … in the order of publication.';
comment on column public.workflow_versions.definition is 'The definition as published.';
comment on column public.workflow_versions.message is 'What changed, in the words of the publisher.';
comment on column public.workflow_versions.published_by is 'The user who published it.';
comment on column public.workflow_versions.published_at is 'When it was published.';
comment on column public.workflow_versions.notices is
  'The first 100 notices of its validation, each {"pointer", "code", "message", "severity"}: expressions that always give null or are never true.';

-- Node types ---------------------------------------------------------------------------------------------------------

create table engine.node_types (
  name text not null,
  version int not null default 1,
  kind text not null,
  description text not null,
  ports text[] not null default '{main}',
  inputs text[] not null default '{main}',
  properties jsonb not null default '{"type": "object"}',
  function text, -- such as custom.double(jsonb,jsonb,jsonb); text, because pg_upgrade refuses regprocedure
  category text not null default 'custom',
  icon text not null default 'puzzle',
  docs text, -- of a registered type; a built-in one has a heading in docs/reference/nodes.md
  constraint node_types_pkey primary key (name, version),
  constraint node_types_kind_check check (kind in ('trigger', 'pure', 'local', 'wait', 'effect')),
  constraint node_types_category_check
    check (category in ('trigger', 'logic', 'list', 'data', 'flow', 'integration', 'custom')),
  constraint node_types_icon_check check (icon ~ '^[a-z][a-z0-9-]{0,63}$'),
  constraint node_types_docs_check check (docs ~ '^(https?://|docs/)' and length(docs) <= 500),
  constraint node_types_name_check check (name ~ '^[a-z][A-Za-z0-9]{0,63}$'),
  constraint node_types_ports_check check (cardinality(ports) > 0),
  constraint node_types_properties_check check (jsonb_typeof(properties) = 'object')
);
alter table engine.node_types enable row level security;
comment on table engine.node_types is
  'The types of node that a definition may use, with the JSON schema of their properties. The engine runs the function of a registered type.';
