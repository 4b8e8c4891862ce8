-- kind: code
-- Counts workers, jobs and steps for health checks and metrics, which ask every few seconds: cheap
-- at any size. Writes and locks nothing.

create or replace function monitor.queue()
  returns table (
    workers int,
    ready_jobs int,
    running_steps int
  )
  language sql
  stable
  security definer -- definer because it counts across organizations
  set search_path = pg_catalog, pg_temp
as $$
  select
    (select count(*)::int from engine.workers as w where w.seen_at > engine.now() - engine.silence_time()),
    (
      select count(*)::int
      from (
        select from graphile_worker._private_jobs as j where j.is_available and j.run_at <= now() limit 10000
      ) as ready
    ),
    (select count(*)::int from (select from engine.open_steps as s where s.state = 'running' limit 10000) as running)
$$;
comment on function monitor.queue() is
  'How many workers have sent a heartbeat in the last 15 seconds, how many jobs are ready for one, and how many steps run; the counts of jobs and steps stop at 10,000. Example: select * from monitor.queue();';

grant execute on function monitor.queue() to flowgres_monitor, flowgres_dba;
