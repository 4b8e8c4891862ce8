-- kind: state
-- Records which files and which builds this schema was made from. `flowgres migrate` alone writes
-- both tables, in the transaction that applies the files.

create table private.code_files (
  path text not null,
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp(),
  constraint code_files_pkey primary key (path)
);
comment on table private.code_files is
  'Files of kind code and the checksum with which each was applied last. A migration that removes what a file makes deletes its row: the file is then applied again.';
alter table private.code_files enable row level security;

create table private.builds (
  number integer not null,
  digest text not null,
  version text not null,
  protocol integer not null,
  committed_at timestamptz,
  installed_at timestamptz not null default clock_timestamp(),
  constraint builds_pkey primary key (number)
);
comment on table private.builds is
  'Builds of Flowgres that this schema has been brought to, in their order. The last one is in place; monitor.builds() shows them. committed_at orders builds of one release, where it is known.';
alter table private.builds enable row level security;
