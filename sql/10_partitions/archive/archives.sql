-- kind: state
-- Records retired periods that are kept, as tables or files. The hash identifies the rows, so that
-- a table is dropped only when a file holds the same rows. docs/reference/tables.md lists the writers.
-- Locks nothing.

create table partitions.archives (
  parent regclass not null,
  lower timestamptz not null,
  upper timestamptz not null,
  content text not null default 'partition',
  kind text not null default 'table',
  name text not null,
  location text not null,
  state text not null default 'archived',
  row_count bigint,
  sha256 text,
  bytes bigint,
  archived_at timestamptz not null,
  kept_until timestamptz,
  constraint archives_pkey primary key (parent, lower, content, kind),
  constraint archives_bounds_check check (lower < upper),
  constraint archives_content_check check (content in ('partition', 'late')),
  constraint archives_kind_check check (kind in ('table', 'csv', 'ndjson')),
  constraint archives_state_check check (state in ('archived', 'restored')),
  constraint archives_sealed_check check ((row_count is null) = (sha256 is null)),
  constraint archives_file_is_sealed_check check (kind = 'table' or sha256 is not null),
  constraint archives_kept_until_matches_state_check check ((kept_until is not null) = (state = 'restored'))
);
alter table partitions.archives enable row level security;

comment on table partitions.archives is
  'Archives of managed tables: a row for each table in schema partitions, and for each file that flowgres archive has written. Example: select parent, lower, kind, location, row_count from partitions.archives order by lower, parent';
comment on column partitions.archives.parent is 'The table that the rows belonged to.';
comment on column partitions.archives.lower is
  'Lower bound of the partition; of late rows, of the period that they refer to.';
comment on column partitions.archives.upper is 'Upper bound, excluded.';
comment on column partitions.archives.content is
  'partition: the rows of the time itself; late: rows of later times that refer to a row of the period, such as the last events of runs that crossed its end.';
comment on column partitions.archives.kind is 'table: in schema partitions; csv, or ndjson (compressed): a file.';
comment on column partitions.archives.name is
  'The table''s name in schema partitions, now or before it was written to a file.';
comment on column partitions.archives.location is
  'The table as partitions.name, or the file as flowgres archive wrote it.';
comment on column partitions.archives.state is
  'archived; or restored: the rows are in the parent again.';
comment on column partitions.archives.row_count is 'Number of rows; null until seal_archives() has counted them.';
comment on column partitions.archives.sha256 is
  'Hash of all rows, the same in a table and in a file: see contents(). Null until seal_archives() has computed it.';
comment on column partitions.archives.bytes is 'Size of the file in bytes; null for tables.';
comment on column partitions.archives.archived_at is
  'When the partition was archived, or the file written.';
comment on column partitions.archives.kept_until is
  'Until when a restored period is not retired again.';
