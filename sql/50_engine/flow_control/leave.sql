-- kind: code
-- Wakes held runs: when other runs end, when they are resumed, and when their wake-up was lost.
-- Deletes from engine.flow_runs and adds jobs; locks the rows of ended runs by the delete, under
-- the lock of the run. release_overdue_runs() releases runs by release.sql, and skips flows that
-- are locked.

-- Deletes ended runs from flow control, and adds a job for each concurrency key, even if no run
-- seems to be held: a start that has counted an ended run, and is held for that, may not have
-- committed yet, and the job waits for its lock. p_are_new: the runs began in this transaction, so
-- no other start has counted them, and no job is added.
create or replace function engine.leave_flow_control(p_runs public.workflow_runs[], p_are_new boolean)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_jobs graphile_worker.job_spec[];
begin
  with gone as (
    delete from engine.flow_runs as f
    using unnest(p_runs) as r
    where f.run_id = r.id
    returning f.workflow_id, f.concurrency_key
  )
  select array_agg(engine.release_job(g.workflow_id, 'concurrency', g.concurrency_key, null)) into v_jobs
  from (select distinct * from gone) as g;
  if not p_are_new then
    perform engine.add_jobs(v_jobs);
  end if;
end
$$;

-- Adds a job that releases a run, if it is held.
create or replace function engine.wake_held_runs(p_run_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  perform engine.add_jobs(array(
    select engine.release_job(f.workflow_id, 'run', f.run_id::text, null)
    from engine.flow_runs as f
    where f.run_id = p_run_id and f.is_held
  ));
end
$$;

-- Returns the first held run of each key that may be due for release, 1,000 at most, in random
-- order, so that every key is looked at in some pass. Without a concurrency or rate limit no run
-- waits for another one: each is the first.
create or replace function engine.first_held_runs(p_now timestamptz)
  returns setof engine.flow_runs
  language sql
  stable
as $$
  select h.*
  from (
    select distinct on (f.workflow_id, f.concurrency_key, f.rate_key, o.run_id) f.*
    from engine.flow_runs as f
    cross join lateral (
      select case when f.concurrency_key is null and f.rate_key is null then f.run_id end as run_id
    ) as o
    where f.is_held
      and (f.held_until is null or f.held_until < p_now - interval '10 seconds')
    order by f.workflow_id, f.concurrency_key, f.rate_key, o.run_id, f.priority, f.place
  ) as h
  order by random()
  limit 1000
$$;

-- For the reconciler: releases held runs whose wake-up was lost, and returns the first one of each
-- key of which it has released any. Waits for no lock. Where the first run of a key is paused,
-- which blocks no other run, it releases those with the same key.
create or replace function engine.release_overdue_runs(p_now timestamptz)
  returns table (run_id uuid)
  language plpgsql
  volatile
as $$
declare
  v_row engine.flow_runs;
  v_by text;
  v_key text;
begin
  for v_row in select * from engine.first_held_runs(p_now) loop
    v_by := 'run';
    v_key := v_row.run_id;
    if exists (select from public.workflow_runs as r where r.id = v_row.run_id and r.status = 'paused') then
      v_by := case when v_row.concurrency_key is null then 'rate' else 'concurrency' end;
      v_key := coalesce(v_row.concurrency_key, v_row.rate_key);
    end if;
    if engine.try_lock_flow(v_row.workflow_id)
      and engine.release_held_run(v_row.workflow_id, v_by, v_key, p_now) > 0
    then
      -- The next runs with its keys, if the limits allow more.
      perform engine.add_jobs(array(
        select engine.release_job(v_row.workflow_id, k.by, k.key, null)
        from (values ('concurrency', v_row.concurrency_key), ('rate', v_row.rate_key)) as k (by, key)
        where k.key is not null
      ));
      run_id := v_row.run_id;
      return next;
    end if;
  end loop;
end
$$;
