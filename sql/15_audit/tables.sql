-- kind: state
-- The audit log, its seals, which show whether somebody has changed the log, and the log of API
-- requests. Written by private.write_audit(), engine.seal_audit() and engine.log_api_requests().
-- Locks nothing.

create table public.audit_log (
  id uuid not null,
  organization_id uuid,
  at timestamptz not null,
  table_name text not null,
  operation text not null,
  row_key jsonb,
  before jsonb,
  after jsonb,
  user_id uuid,
  token_id uuid,
  session_id uuid,
  database_role text not null,
  client_address text,
  request_id text,
  constraint audit_log_pkey primary key (id),
  constraint audit_log_operation_check check (operation in ('insert', 'update', 'delete', 'truncate', 'use'))
) partition by range (id);
create index audit_log_organization_id_id_idx on public.audit_log (organization_id, id);
alter table public.audit_log enable row level security;

comment on table public.audit_log is
  'Every change of configuration: who, when, what, before and after. Append-only, partitioned by the month in its UUIDv7 id. Owners and admins read their organization''s rows. Example: select at, table_name, operation, before, after from audit_log order by id desc limit 20;';
comment on column public.audit_log.id is 'UUIDv7; its time is that of the change.';
comment on column public.audit_log.organization_id is 'The organization that the row belongs to; null for rows that belong to none, such as users and plans.';
comment on column public.audit_log.at is 'When the statement ran.';
comment on column public.audit_log.table_name is 'The table with its schema, for example public.workflows.';
comment on column public.audit_log.operation is 'insert, update, delete or truncate; use for uses of a credential, which are reported once a minute.';
comment on column public.audit_log.row_key is 'The primary key of the row: {"id": "0190…"}; null for truncate.';
comment on column public.audit_log.before is
  'The row before the change: all columns of a deleted row, the changed ones of an update. Secrets are "***", large documents {"sha256", "bytes"}.';
comment on column public.audit_log.after is
  'The row after the change: all columns of a new row, the changed ones of an update.';
comment on column public.audit_log.user_id is 'The user of the request; null for an organization''s own token, and in psql without a context.';
comment on column public.audit_log.token_id is 'The API token of the request.';
comment on column public.audit_log.session_id is 'The session of the request: a person who logged in, or a DBA after set_context.';
comment on column public.audit_log.database_role is 'The role that logged in to the database: flowgres_api for GraphQL, a person''s own for psql.';
comment on column public.audit_log.client_address is
  'The address of the client as the HTTP server reports it (flowgres.client_ip), else that of the database''s own client.';
comment on column public.audit_log.request_id is 'The id of the HTTP request, as in the access log.';

-- A queue of rows that are not sealed yet, with the hash that each had when it was written. Sealing
-- empties it, so it needs no watermark: rows of a transaction that commits late are in it when they
-- become visible, whatever was sealed before.
create table private.audit_unsealed (
  id uuid not null,
  organization_id uuid not null,
  hash bytea not null,
  constraint audit_unsealed_pkey primary key (id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table private.audit_unsealed enable row level security;
comment on table private.audit_unsealed is
  'Rows of the audit log that no seal covers yet. The nil UUID stands for no organization.';

create table private.audit_seals (
  organization_id uuid not null,
  number bigint not null,
  sealed_at timestamptz not null,
  ids uuid[] not null,
  hashes bytea[] not null,
  previous bytea not null,
  hash bytea not null,
  constraint audit_seals_pkey primary key (organization_id, number, sealed_at),
  constraint audit_seals_hashes_check check (cardinality(ids) = cardinality(hashes))
) partition by range (sealed_at);
alter table private.audit_seals enable row level security;
comment on table private.audit_seals is
  'One chain of seals per organization: each seal names its rows with their hashes, and its own hash covers them and the seal before.';

create table private.audit_heads (
  organization_id uuid not null,
  number bigint not null,
  hash bytea not null,
  constraint audit_heads_pkey primary key (organization_id)
);
alter table private.audit_heads enable row level security;
comment on table private.audit_heads is
  'The newest seal of each organization: the next one is appended to it, also when all seals have been retired.';

create table public.api_access_log (
  id uuid not null,
  organization_id uuid,
  at timestamptz not null,
  token_id uuid,
  user_id uuid,
  operation text,
  status int not null,
  error_code text,
  ms int not null,
  request_id text,
  constraint api_access_log_pkey primary key (id)
) partition by range (id);
create index api_access_log_organization_id_id_idx on public.api_access_log (organization_id, id);
alter table public.api_access_log enable row level security;

comment on table public.api_access_log is
  'GraphQL requests: all that failed and a sample of the others. Partitioned by week, kept for 30 days. Owners and admins read their organization''s rows. Example: select at, operation, status, error_code, ms from api_access_log order by id desc limit 20;';
comment on column public.api_access_log.id is 'UUIDv7; its time is that of the request''s end, to a second.';
comment on column public.api_access_log.organization_id is 'The organization of the token; null for a request without a valid one.';
comment on column public.api_access_log.at is 'When the answer was ready.';
comment on column public.api_access_log.token_id is 'The API token; null for a session and an anonymous request.';
comment on column public.api_access_log.user_id is 'The user that the token or session stands for.';
comment on column public.api_access_log.operation is 'The name of the operation in the document; null when it has none.';
comment on column public.api_access_log.status is 'The HTTP status.';
comment on column public.api_access_log.error_code is 'extensions.code of the first error; null without one.';
comment on column public.api_access_log.ms is 'How long the request took, in milliseconds.';
comment on column public.api_access_log.request_id is 'The id of the HTTP request, as in the audit log.';
