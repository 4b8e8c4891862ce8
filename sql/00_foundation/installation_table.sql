-- kind: state
-- Records on which server and in which database this installation was built or adopted. Written
-- here and by engine.adopt_installation(). Locks nothing else.

create table private.installation (
  only_row boolean not null default true,
  system_identifier bigint,
  database_oid oid,
  adopted_at timestamptz not null default clock_timestamp(),
  adopted_by text not null default session_user,
  constraint installation_pkey primary key (only_row),
  constraint installation_only_row_check check (only_row)
);
comment on table private.installation is
  'One row: the server and the database whose effects may happen, written when the schema is built and by engine.adopt_installation(). Without an oid, copies on the same server are not told apart.';
alter table private.installation enable row level security;

insert into private.installation (system_identifier, database_oid)
values (private.server_identifier(), private.database_oid());
