-- kind: code
-- The last resort against a month without partitions: whoever cannot write makes them.

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
  'Makes the partitions that maintenance should have made, and returns how many it were: for workers, each minute, and for whoever was told that there is no partition for a row. Does the same as partitions.maintain(), which is mostly nothing. Example: select engine.ensure_partitions()';

grant execute on function engine.ensure_partitions() to flowgres_intake, flowgres_worker, flowgres_dba;
