-- kind: code
-- Wakes held runs: when others end, when they are resumed, and when their wake-up was lost.

-- Runs that have ended give their slots back. By a job, even if nobody seems to wait: a start that
-- has counted them, and is held for that, may not be committed yet, and the job waits for it. Runs
-- that began in this transaction were counted by nobody.
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

-- The first held run of each key that may have to be let in, in any order, so that each has its
-- turn however many there are. Without a concurrency or rate limit no run waits for another one:
-- each is the first.
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

-- For the reconciler: held runs whose wake-up was lost. It waits for no lock. A first run that is
-- paused is in nobody's way: then those with its key are asked for.
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
      -- Those behind it, if there is room for more.
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
