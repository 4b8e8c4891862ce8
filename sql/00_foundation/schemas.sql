-- kind: state
-- The schemas and what is not granted by default: no function is executable, no table readable, until a file says so.

alter default privileges revoke execute on functions from public;
alter default privileges revoke usage on types from public;

create schema private;
comment on schema private is 'What nobody reads back: token hashes, sessions, test switches. For definer functions only.';

create schema partitions;
comment on schema partitions is 'The partition manager and its archives.';

create schema engine;
comment on schema engine is 'The workflow engine: called by workers, the webhook intake and definer functions of the API.';

create schema monitor;
comment on schema monitor is 'Statistics, health and invariants.';

grant usage on schema engine to flowgres_api, flowgres_intake, flowgres_worker, flowgres_dba;
grant usage on schema partitions to flowgres_dba, flowgres_monitor;
grant usage on schema monitor to flowgres_dba, flowgres_monitor;
