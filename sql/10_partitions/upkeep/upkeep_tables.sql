-- kind: state
-- Records ANALYZE and VACUUM of managed tables and their partitions. Written by
-- partitions.analyze() and partitions.freeze_statements(). Locks nothing.

create table partitions.upkeep (
  relation regclass not null,
  parent regclass not null,
  fingerprint bigint,
  asked_at timestamptz,
  done_at timestamptz,
  constraint upkeep_pkey primary key (relation),
  constraint upkeep_parent_fkey
    foreign key (parent) references partitions.managed_tables (parent) on delete cascade
);
alter table partitions.upkeep enable row level security;
create index upkeep_parent_idx on partitions.upkeep (parent);

comment on table partitions.upkeep is
  'When each managed table was last analyzed as a whole, and when each of its past partitions was frozen, which happens once.';
comment on column partitions.upkeep.relation is 'The table, or one of its partitions.';
comment on column partitions.upkeep.parent is 'The table.';
comment on column partitions.upkeep.fingerprint is
  'Fingerprint of the table''s partitions when it was analyzed; null for a partition.';
comment on column partitions.upkeep.asked_at is
  'When freeze_statements() last listed the partition.';
comment on column partitions.upkeep.done_at is 'When the table was analyzed, or the partition frozen.';
