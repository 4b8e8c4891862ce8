-- kind: code
-- Checks that the deletion of expired rows keeps up. It runs every hour until nothing is left, so
-- many rows that expired more than two hours ago mean that the job does not run, fails, or is too
-- slow. Reads at most as many rows of each table as make a backlog; writes and locks nothing.

create or replace function monitor.check_expired()
  returns setof partitions.finding
  language plpgsql
  stable
  security definer -- definer because what expires is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_expiry record;
  v_count text;
  v_rows bigint;
begin
  -- A standby cannot read unlogged tables; its primary deletes.
  if pg_is_in_recovery() then
    return;
  end if;
  for v_expiry in select e.* from private.expiries() as e loop
    v_count := format('select count(*) from (select from %s where %s limit $2) as e',
      v_expiry.relation, v_expiry.condition);
    execute v_count into v_rows using engine.now() - interval '2 hours', monitor.expired_backlog_rows();
    if v_rows >= monitor.expired_backlog_rows() then
      return next (
        v_expiry.relation, 'expired', 'warning',
        format('%s or more %s expired more than two hours ago: the job flowgres-expired does not run or keep up.',
          v_rows, v_expiry.thing),
        'call engine.delete_all_expired()'
      )::partitions.finding;
    end if;
  end loop;
end
$$;
comment on function monitor.check_expired() is
  'The tables in which 10,000 rows or more expired more than two hours ago, as findings of partitions.doctor(). Example: select * from monitor.check_expired()';

grant execute on function monitor.check_expired() to flowgres_dba, flowgres_monitor;
