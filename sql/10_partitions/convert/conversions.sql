-- kind: state
-- The state of each conversion of a plain table. Every step is a transaction that also updates its
-- row here, so an interrupted conversion continues from the last step. Writers are in
-- docs/reference/tables.md; locks nothing.

create table partitions.conversions (
  parent regclass not null,
  state text not null,
  key text not null,
  granularity text not null,
  premake int not null,
  behind int not null,
  retention interval,
  extend_primary_key boolean not null,
  lower timestamptz not null,
  upper timestamptz not null,
  historic regclass,
  copy regclass,
  filenode oid,
  blocks bigint not null default 0,
  copied_blocks bigint not null default 0,
  started_at timestamptz not null,
  changed_at timestamptz not null,
  constraint conversions_pkey primary key (parent),
  constraint conversions_state_check
    check (state in ('checking', 'checked', 'attached', 'preparing', 'copying', 'copied', 'equal', 'switched', 'done')),
  constraint conversions_blocks_check check (copied_blocks between 0 and blocks)
);
alter table partitions.conversions enable row level security;

comment on table partitions.conversions is
  'Plain tables that partitions.convert() and partitions.split() turn into partitioned ones, and how far they are. Example: select parent, state, copied_blocks, blocks from partitions.conversions';
comment on column partitions.conversions.parent is
  'The table: the plain one, and from state attached on the partitioned one that replaces it.';
comment on column partitions.conversions.state is
  'checking: its rows are being checked; checked; attached: it is partitioned and the old table is one of its partitions; preparing: the partitions are being made; copying: rows are being copied into them, and a trigger repeats changes there; copied; equal: the copy was compared; switched: the partitions have replaced the old table; done: the old table was dropped.';
comment on column partitions.conversions.key is 'The column that the table is cut by.';
comment on column partitions.conversions.granularity is 'Its value in partitions.managed_tables.';
comment on column partitions.conversions.premake is 'Its value in partitions.managed_tables.';
comment on column partitions.conversions.behind is 'Its value in partitions.managed_tables.';
comment on column partitions.conversions.retention is 'Its value in partitions.managed_tables.';
comment on column partitions.conversions.extend_primary_key is 'Whether the primary key gets the partition key as a further column.';
comment on column partitions.conversions.lower is 'The beginning of the old table''s time range.';
comment on column partitions.conversions.upper is
  'The end of the old table''s time range, excluded.';
comment on column partitions.conversions.historic is 'The old table, now a partition.';
comment on column partitions.conversions.copy is
  'The table that holds the new partitions until they replace the old one.';
comment on column partitions.conversions.filenode is
  'The file that copied_blocks counts in; when the old table was rewritten, copying begins anew.';
comment on column partitions.conversions.blocks is 'How many blocks of the old table are to be copied.';
comment on column partitions.conversions.copied_blocks is 'How many of them have been copied.';
comment on column partitions.conversions.started_at is 'When the conversion began.';
comment on column partitions.conversions.changed_at is 'When its latest step ended.';
