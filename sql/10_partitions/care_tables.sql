-- kind: state
-- What was done for partitions beyond making and dropping them.

create table partitions.care (
  relation regclass not null,
  parent regclass not null,
  fingerprint bigint,
  asked_at timestamptz,
  done_at timestamptz,
  constraint care_pkey primary key (relation),
  constraint care_parent_fkey
    foreign key (parent) references partitions.policies (parent) on delete cascade
);
alter table partitions.care enable row level security;
create index care_parent_idx on partitions.care (parent);

comment on table partitions.care is
  'When each managed table was analyzed as a whole, and when each of its closed partitions was frozen, which happens once.';
comment on column partitions.care.relation is 'The table, or one of its partitions.';
comment on column partitions.care.parent is 'The table.';
comment on column partitions.care.fingerprint is 'Of the table''s partitions when it was analyzed.';
comment on column partitions.care.asked_at is 'When freezing the partition was last asked for.';
comment on column partitions.care.done_at is 'When the table was analyzed, or the partition frozen.';
