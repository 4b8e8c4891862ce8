-- kind: state
-- Tables and types of the partition manager. They hold what is wanted of each managed table; which
-- partitions exist is read from PostgreSQL's catalog (pg_inherits, relpartbound), never from names.
-- docs/reference/tables.md lists the writers of each table. Locks nothing.

create table partitions.managed_tables (
  parent regclass not null,
  key_kind text not null,
  granularity text not null default 'month',
  premake int not null default 3,
  behind int not null default 0,
  retention interval,
  on_retire text not null default 'drop',
  retire_with regclass,
  retire_key text,
  guard text,
  storage jsonb not null default '{}',
  adaptive boolean not null default false,
  warn_bytes bigint not null default 107374182400,
  critical_bytes bigint not null default 214748364800,
  constraint managed_tables_pkey primary key (parent),
  constraint managed_tables_retire_with_fkey
    foreign key (retire_with) references partitions.managed_tables (parent) on delete set null,
  constraint managed_tables_key_kind_check check (key_kind in ('timestamptz', 'date', 'uuidv7')),
  constraint managed_tables_granularity_check check (granularity in ('day', 'week', 'month', 'year')),
  constraint managed_tables_premake_check check (premake between 1 and 2000),
  constraint managed_tables_behind_check check (behind between 0 and 2000),
  constraint managed_tables_retention_check check (retention between interval '1 day' and interval '1000 years'),
  constraint managed_tables_on_retire_check check (on_retire in ('drop', 'archive', 'detach')),
  constraint managed_tables_retire_with_check check (retire_with <> parent),
  constraint managed_tables_retire_key_check check (retire_key is null or retire_with is not null),
  constraint managed_tables_storage_check check (jsonb_typeof(storage) = 'object'),
  constraint managed_tables_bytes_check check (warn_bytes > 0 and critical_bytes >= warn_bytes)
);
alter table partitions.managed_tables enable row level security;
create index managed_tables_retire_with_idx on partitions.managed_tables (retire_with);

comment on table partitions.managed_tables is
  'How each managed table is cut and how long its rows are kept. Written by partitions.manage(), and by maintain() where adaptive; a DBA may also update it: the next maintenance applies the change. Example: update partitions.managed_tables set retention = ''90 days'' where parent = ''public.workflow_run_logs''::regclass';
comment on column partitions.managed_tables.parent is 'The partitioned table.';
comment on column partitions.managed_tables.key_kind is
  'Type of the partition key: timestamptz, date or uuidv7 (a UUID that begins with its time).';
comment on column partitions.managed_tables.granularity is
  'Length of new partitions: day, week (ISO), month or year of the UTC calendar. A change takes effect at the end of the current partition: empty partitions after it are cut anew, those with rows are kept.';
comment on column partitions.managed_tables.premake is
  'How many whole periods after the current one always have partitions.';
comment on column partitions.managed_tables.behind is
  'How many whole periods before the current one always have partitions, for rows that come late.';
comment on column partitions.managed_tables.retention is
  'A partition is retired when its upper bound is older than this. Null: never, or together with the table in retire_with.';
comment on column partitions.managed_tables.on_retire is
  'What happens to a retired partition: drop deletes it; archive keeps it in schema partitions, from where restore() brings it back; detach keeps it there as a plain table that is no longer managed.';
comment on column partitions.managed_tables.retire_with is
  'Table whose partitions this one follows: the partition of a period is retired before the one of that table with the same period, so that rows that belong together are retired together.';
comment on column partitions.managed_tables.retire_key is
  'The column that holds the key of retire_with; rows in later partitions that refer to a retired one are deleted with it, or archived with it.';
comment on column partitions.managed_tables.guard is
  'Function (from timestamptz, to timestamptz) returning text that is called before a period is retired: a text is the reason why the period must be kept. Looked up when needed, so it may belong to a later layer.';
comment on column partitions.managed_tables.storage is
  'Storage parameters of new partitions, such as {"autovacuum_vacuum_insert_scale_factor": 0.05}; a partitioned table has none of its own.';
comment on column partitions.managed_tables.adaptive is
  'Whether maintenance chooses a shorter granularity by itself when partitions would grow beyond warn_bytes.';
comment on column partitions.managed_tables.warn_bytes is
  'Size of one partition in bytes, with indexes, at which the doctor warns.';
comment on column partitions.managed_tables.critical_bytes is
  'Size of one partition in bytes, with indexes, at which the doctor reports a critical finding.';

create table partitions.maintenance (
  parent regclass not null,
  fingerprint bigint,
  covered tstzrange,
  idle tstzrange,
  managed_xmin text,
  granularity text,
  failures int not null default 0,
  failed_at timestamptz,
  error text,
  constraint maintenance_pkey primary key (parent),
  constraint maintenance_parent_fkey
    foreign key (parent) references partitions.managed_tables (parent) on delete cascade,
  constraint maintenance_error_matches_failures_check
    check ((failures > 0) = (error is not null) and (failures > 0) = (failed_at is not null))
);
alter table partitions.maintenance enable row level security;

comment on table partitions.maintenance is 'What the last maintenance of each managed table found.';
comment on column partitions.maintenance.parent is 'The managed table.';
comment on column partitions.maintenance.fingerprint is
  'Fingerprint of the partitions'' catalog rows when all wanted partitions existed; null when some were missing.';
comment on column partitions.maintenance.covered is
  'The span of time that the partitions cover without a gap; null when some were missing.';
comment on column partitions.maintenance.idle is
  'The span of time in which maintenance has nothing to do, unless the fingerprint or the row in managed_tables changes.';
comment on column partitions.maintenance.managed_xmin is
  'The version (xmin) of the row in managed_tables that this maintenance applied.';
comment on column partitions.maintenance.granularity is
  'The granularity that future partitions were last made for; when managed_tables has another one, maintenance cuts them anew.';
comment on column partitions.maintenance.failures is 'How many maintenances in a row had a failure.';
comment on column partitions.maintenance.failed_at is 'When the last of these failures happened.';
comment on column partitions.maintenance.error is 'The message of its first failure.';

create table partitions.retirements (
  partition regclass not null,
  parent regclass not null,
  name text not null,
  lower timestamptz not null,
  upper timestamptz not null,
  action text not null,
  since timestamptz not null,
  constraint retirements_pkey primary key (partition),
  constraint retirements_parent_fkey
    foreign key (parent) references partitions.managed_tables (parent) on delete cascade
);
alter table partitions.retirements enable row level security;
create index retirements_parent_idx on partitions.retirements (parent);

comment on table partitions.retirements is
  'Partitions that are being detached concurrently, statement by statement. If that is interrupted, the next retire() finishes it.';
comment on column partitions.retirements.partition is 'The partition.';
comment on column partitions.retirements.parent is 'The table that it is detached from.';
comment on column partitions.retirements.name is 'Its name.';
comment on column partitions.retirements.lower is 'Its lower bound.';
comment on column partitions.retirements.upper is 'Its upper bound, excluded.';
comment on column partitions.retirements.action is 'What is done with it: drop, archive or detach.';
comment on column partitions.retirements.since is 'When its retirement began.';

create type partitions.action as (
  parent regclass,
  partition text,
  action text,
  lower timestamptz,
  upper timestamptz,
  done boolean,
  detail text
);
comment on type partitions.action is
  'One row per thing that maintain() or retire() did (done), would do (dry run) or could not do (detail says why).';

create type partitions.finding as (
  parent regclass,
  "check" text,
  severity text,
  detail text,
  fix text
);
comment on type partitions.finding is
  'One row per thing that the doctor found: info, warning or critical, and the SQL that corrects it.';

create type partitions.leaf as (
  name text,
  partition regclass,
  lower timestamptz,
  upper timestamptz,
  detaching boolean,
  is_secured boolean,
  grantees text[],
  bytes bigint,
  frozen_age int,
  rows bigint
);
comment on type partitions.leaf is 'A partition with what the doctor checks.';
