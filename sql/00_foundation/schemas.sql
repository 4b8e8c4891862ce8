-- kind: state
-- Creates the schemas and revokes default privileges: no function is executable and no table
-- readable until a file grants it. Writes and locks nothing.

alter default privileges revoke execute on functions from public;
alter default privileges revoke usage on types from public;

create schema private;
comment on schema private is
  'Data that clients never read: token hashes, sessions, test switches. Only definer functions use it.';

create schema partitions;
comment on schema partitions is 'The partition manager and its archives.';

create schema engine;
comment on schema engine is
  'The workflow engine: workers, the webhook intake and definer functions of the API call it.';

create schema monitor;
comment on schema monitor is 'Statistics, health and invariants.';

grant usage on schema engine to flowgres_api, flowgres_intake, flowgres_worker, flowgres_dba;
grant usage on schema partitions to flowgres_dba, flowgres_monitor;
grant usage on schema monitor to flowgres_dba, flowgres_monitor;
