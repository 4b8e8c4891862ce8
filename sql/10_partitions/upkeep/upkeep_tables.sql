-- kind: state
-- What was done for partitions beyond making and dropping them.

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
  'When each managed table was analyzed as a whole, and when each of its closed partitions was frozen, which happens once.';
comment on column partitions.upkeep.relation is 'The table, or one of its partitions.';
comment on column partitions.upkeep.parent is 'The table.';
comment on column partitions.upkeep.fingerprint is 'Of the table''s partitions when it was analyzed.';
comment on column partitions.upkeep.asked_at is 'When freezing the partition was last asked for.';
comment on column partitions.upkeep.done_at is 'When the table was analyzed, or the partition frozen.';
