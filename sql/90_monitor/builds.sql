-- kind: code
-- Lists the builds of Flowgres that the schema has had; /readyz compares the last one with the
-- build of its process. Writes and locks nothing.

create or replace function monitor.builds()
  returns table (number integer, digest text, version text, protocol integer, installed_at timestamptz)
  language sql
  stable
  security definer -- definer because private.builds is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select b.number, b.digest, b.version, b.protocol, b.installed_at
  from private.builds as b
  order by b.number
$$;
comment on function monitor.builds() is
  'The builds that `flowgres migrate` has brought this schema to, oldest first; the last one is in place. The digest names the functions and the migrations. Example: select * from monitor.builds();';

grant execute on function monitor.builds() to flowgres_monitor, flowgres_dba;
