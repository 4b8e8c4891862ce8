-- kind: state
-- Data tables, their rows, and how large they are. docs/reference/tables.md lists the writers.
-- Locks nothing.

create table public.data_tables (
  id uuid not null,
  organization_id uuid not null,
  name text not null,
  description text not null default '',
  schema jsonb not null default '{}',
  key text,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint data_tables_pkey primary key (id),
  constraint data_tables_organization_id_id_key unique (organization_id, id),
  constraint data_tables_organization_id_name_key unique (organization_id, name),
  constraint data_tables_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint data_tables_created_by_fkey
    foreign key (created_by) references public.users (id) on delete set null,
  constraint data_tables_name_check check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$'),
  constraint data_tables_description_check check (length(description) <= 2000),
  constraint data_tables_schema_check check (jsonb_typeof(schema) = 'object'),
  constraint data_tables_key_check check (length(key) between 1 and 64)
);
create index data_tables_created_by_idx on public.data_tables (created_by);
alter table public.data_tables enable row level security;

comment on table public.data_tables is
  'Named lists of rows that the workflows of an organization keep: the node dataTable and the API read and write them.';
comment on column public.data_tables.id is 'The id of the table, a UUIDv7.';
comment on column public.data_tables.organization_id is 'The organization that owns it.';
comment on column public.data_tables.name is
  'By which nodes name it, unique in the organization: a letter or underscore, then letters, digits and underscores; at most 64 characters.';
comment on column public.data_tables.description is 'What it is for, at most 2,000 characters.';
comment on column public.data_tables.schema is 'The JSON schema that a row has to fit when it is written.';
comment on column public.data_tables.key is 'The property that identifies a row: no two rows have the same value of it. Null: rows have no key.';
comment on column public.data_tables.created_by is 'The user who created it.';
comment on column public.data_tables.created_at is 'When it was created.';
comment on column public.data_tables.updated_at is 'When its name, description or schema last changed.';

create table public.data_rows (
  organization_id uuid not null,
  table_id uuid not null,
  id uuid not null,
  key text,
  data jsonb not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint data_rows_pkey primary key (organization_id, table_id, id),
  constraint data_rows_key_key unique (organization_id, table_id, key),
  constraint data_rows_table_fkey
    foreign key (organization_id, table_id) references public.data_tables (organization_id, id) on delete cascade,
  constraint data_rows_key_check check (length(key) <= 256),
  constraint data_rows_data_check check (jsonb_typeof(data) = 'object')
);
alter table public.data_rows enable row level security;

comment on table public.data_rows is 'The rows of data tables.';
comment on column public.data_rows.organization_id is 'The organization that owns it.';
comment on column public.data_rows.table_id is 'The data table.';
comment on column public.data_rows.id is 'The id of the row, a UUIDv7; rows are listed in this order.';
comment on column public.data_rows.key is 'The value of the table''s key property, as text; null in a table without a key.';
comment on column public.data_rows.data is 'The properties of the row: a JSON object of at most 64 KiB.';
comment on column public.data_rows.created_at is 'When it was inserted.';
comment on column public.data_rows.updated_at is 'When it was last written.';

-- A row for each slot: writers at the same time use several, so that they do not wait for each
-- other. The size of a table is the sum of its slots.
create table private.data_table_sizes (
  organization_id uuid not null,
  table_id uuid not null,
  slot int not null,
  rows bigint not null,
  bytes bigint not null,
  constraint data_table_sizes_pkey primary key (organization_id, table_id, slot),
  constraint data_table_sizes_table_fkey
    foreign key (organization_id, table_id) references public.data_tables (organization_id, id) on delete cascade,
  constraint data_table_sizes_slot_check check (slot between 0 and 7)
) with (fillfactor = 50);
alter table private.data_table_sizes enable row level security;
comment on table private.data_table_sizes is
  'How many rows and bytes data tables have, kept by triggers of public.data_rows, with the rows in one transaction.';
