-- kind: code
-- Creates missing partitions for roles that own no table, when a row has no partition.
-- Writes and locks through partitions.maintain(): the maintenance lock of a table, and the tables
-- to which partitions are attached.

create or replace function engine.ensure_partitions()
  returns int
  language sql
  volatile
  security definer -- definer because those who start and move runs own no table
  set search_path = pg_catalog, pg_temp
as $$
  select count(*)::int from partitions.maintain() as m where m.action = 'create' and m.done
$$;
comment on function engine.ensure_partitions() is
  'Creates the partitions that maintenance should have created, and returns how many: for workers, every minute, and for callers that got the error that a row has no partition. Does the same as partitions.maintain(); mostly there is nothing to create. Example: select engine.ensure_partitions()';

grant execute on function engine.ensure_partitions() to flowgres_intake, flowgres_worker, flowgres_dba;
