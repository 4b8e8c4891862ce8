-- kind: state
-- What has left and is kept. A row's table or file can come and go; what it holds is known by its hash, so that a table
-- is dropped only when a file holds the same.

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
  'What has left managed tables and is kept: a row for each table in schema partitions, and for each file that flowgres archive has written. Example: select parent, lower, kind, location, row_count from partitions.archives order by lower, parent';
comment on column partitions.archives.parent is 'The table that the rows have left.';
comment on column partitions.archives.lower is 'Lower bound of the partition; of late rows, of the period that they belong to.';
comment on column partitions.archives.upper is 'Upper bound, excluded.';
comment on column partitions.archives.content is
  'partition: the rows of the time itself; late: rows of later times that refer to a row of the period, such as the last events of runs that crossed its end.';
comment on column partitions.archives.kind is 'table: in schema partitions; csv, or ndjson (compressed): a file.';
comment on column partitions.archives.name is 'The table''s name, in schema partitions or when it was there.';
comment on column partitions.archives.location is 'The table as partitions.name, or the file as flowgres archive wrote it.';
comment on column partitions.archives.state is 'archived; or restored: the rows are back in the parent.';
comment on column partitions.archives.row_count is 'Number of rows; null until seal_archives() has counted them.';
comment on column partitions.archives.sha256 is
  'Hash of all rows, the same in a table and in a file: see contents(). Null until seal_archives().';
comment on column partitions.archives.bytes is 'Size of the file; null for tables.';
comment on column partitions.archives.archived_at is 'When it left, or was written.';
comment on column partitions.archives.kept_until is 'Until when a restored period does not leave again.';
