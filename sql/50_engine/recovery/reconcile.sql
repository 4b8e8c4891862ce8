-- kind: code
-- The reconciler gives a wake-up to everything that has lost its worker or its job, and ends what
-- is overdue.
-- Writes engine.workers, engine.open_steps, public.bulk_operations and jobs; runs through
-- engine.complete_steps(), engine.end_runs() and flow control. Skips steps, runs and operations
-- that are locked.

-- Makes one pass over at most 1,000 rows of each kind, so that recovery does not delay other work.
create or replace function engine.reconcile()
  returns table (
    action text,
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and the queue are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_dead text[];
begin
  -- graphile-worker alone would keep the jobs of a dead worker locked for four hours.
  with dead as (
    delete from engine.workers as w
    where w.seen_at < v_now - engine.silence_time()
    returning w.pool_id
  )
  select array_agg(d.pool_id) into v_dead from dead as d where d.pool_id is not null;
  if v_dead is not null then
    perform engine.unlock_jobs(v_dead);
  end if;

  return query select 'deadline', e.run_id, null::text from engine.end_overdue_runs(v_now) as e (run_id);
  return query select 'poison', p.run_id, p.node from engine.fail_poisonous_steps(v_now) as p;
  return query select 'requeue', r.run_id, r.node from engine.requeue_expired_steps(v_now) as r;
  perform engine.fill_free_slots(1000);
  return query select 'wake', w.run_id, w.node from engine.wake_steps() as w;
  return query select 'release', l.run_id, null::text from engine.release_overdue_runs(v_now) as l;
  return query select 'operation', null::uuid, o.id::text from engine.wake_bulk_operations(v_now) as o (id);
end
$$;

-- Returns whether the worker of a step is dead: engine.reconcile() deletes its row 15 seconds after
-- the last heartbeat. A lease can also expire while the worker lives, when the answer that began
-- the step was lost.
create or replace function engine.is_worker_dead(p_worker_id uuid)
  returns boolean
  language sql
  stable
as $$
  select not exists (select from engine.workers as w where w.id = p_worker_id)
$$;

-- Queues steps whose lease has expired and returns them. That is no failure of theirs and costs
-- none of their attempts; it counts as a crash when their worker is dead.
create or replace function engine.requeue_expired_steps(p_now timestamptz)
  returns setof engine.open_steps
  language plpgsql
  volatile
as $$
declare
  v_steps engine.open_steps[];
begin
  with requeued as (
    update engine.open_steps as s
    set
      state = 'queued', crashes = s.crashes + engine.is_worker_dead(s.worker_id)::int, worker_id = null,
      lease_until = null, run_at = p_now,
      wake_at = p_now + interval '1 minute'
    where s.ctid = any (array(
      select e.ctid
      from engine.open_steps as e
      where e.state = 'running'
        and e.lease_until < p_now
        and (e.crashes < engine.max_crashes() - 1 or not engine.is_worker_dead(e.worker_id))
      order by e.lease_until
      limit 1000
      for update skip locked
    ))
    returning s.*
  )
  select array_agg(r) into v_steps from requeued as r;
  perform engine.add_jobs(engine.jobs_of(v_steps));
  return query select s.* from unnest(v_steps) as s;
end
$$;

-- Fails steps that have had engine.max_crashes() crashes, and returns them. Skips locked runs:
-- they are being advanced, and the next pass looks again. Never waits while it holds locks.
create or replace function engine.fail_poisonous_steps(p_now timestamptz)
  returns setof engine.open_steps
  language plpgsql
  volatile
as $$
declare
  v_steps engine.open_steps[];
  v_results jsonb;
begin
  v_steps := array(
    select s
    from engine.open_steps as s
    join public.workflow_runs as r on r.id = s.run_id
    where s.state = 'running'
      and s.lease_until < p_now
      and s.crashes >= engine.max_crashes() - 1
      and engine.is_worker_dead(s.worker_id)
    limit 1000
    for no key update of r skip locked
  );
  select jsonb_agg(jsonb_build_object(
    'runId', s.run_id, 'node', s.node, 'attempt', s.attempt, 'ok', false,
    'error', jsonb_build_object(
      'code', 'POISON', 'message', format('%s workers crashed while they ran this step.', engine.max_crashes()),
      'retryable', false
    )
  ))
  into v_results
  from unnest(v_steps) as s;
  return query
    select (v_steps[c.index + 1]).*
    from engine.complete_steps(v_results, null) as c
    where c.outcome = 'recorded';
end
$$;

-- Adds jobs for steps whose wake_at has come: for timers and retries, and again for steps that no
-- worker has begun for a minute, since their job may be lost; a second job does no harm. Does not
-- read other steps. Counts the children of a step once a minute, in case the job from their end was
-- lost.
create or replace function engine.wake_steps()
  returns table (
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and the queue are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_steps engine.open_steps[];
begin
  with woken as (
    update engine.open_steps as s
    set wake_at = v_now + interval '1 minute'
    -- Join by ctid: no query plan reads other rows, whatever the statistics say.
    where s.ctid = any (array(
      select d.ctid
      from engine.open_steps as d
      where d.wake_at <= v_now
      order by d.wake_at
      limit 1000
      for update skip locked
    ))
    returning s as step
  )
  select array_agg(w.step) into v_steps
  from woken as w
  where (w.step).run_at is not null
    or engine.has_ended_children(w.step);
  -- With a key, a later job replaces one that still waits in the queue.
  perform engine.add_jobs(engine.jobs_of(v_steps, 'due:'));
  return query select s.run_id, s.node from unnest(v_steps) as s;
end
$$;

-- Fails runs past their deadline and returns their ids; skips locked ones.
create or replace function engine.end_overdue_runs(p_now timestamptz)
  returns setof uuid
  language plpgsql
  volatile
as $$
declare
  v_ids uuid[] := array(
    select r.id
    from public.workflow_runs as r
    where r.finished_at is null
      and r.deadline_at < p_now
    limit 1000
    for no key update skip locked
  );
begin
  if cardinality(v_ids) > 0 then
    return query
      select r.id
      from engine.end_runs(v_ids, 'run.failed', engine.blameless_error(
        'DEADLINE', 'The run did not finish before its deadline.'
      )) as r;
  end if;
end
$$;

-- Adds jobs for operations without progress for a minute and returns their ids.
create or replace function engine.wake_bulk_operations(p_now timestamptz)
  returns setof uuid
  language plpgsql
  volatile
as $$
declare
  v_bulk_operation public.bulk_operations;
begin
  for v_bulk_operation in
    select o.*
    from public.bulk_operations as o
    where o.finished_at is null
      and o.updated_at < p_now - interval '60 seconds'
    order by o.id
    limit 1000
    for no key update skip locked
  loop
    perform engine.bulk_operation_job(v_bulk_operation.id);
    update public.bulk_operations as o set updated_at = p_now where o.id = v_bulk_operation.id;
    return next v_bulk_operation.id;
  end loop;
end
$$;

comment on function engine.wake_steps() is
  'For workers, every second: looks at the steps whose time has come, at most 1,000, and adds a job for each one that has something to do; returns these. Any number of workers may call it at once. Example: select * from engine.wake_steps();';
comment on function engine.reconcile() is
  'Recovers jobs and steps of dead workers, runs past their deadline, and steps, held runs and bulk operations that are due or have lost their job. Workers call it every 10 seconds; any number may at once. One row per action: deadline, poison, requeue, wake, release or operation. Example: select * from engine.reconcile();';

grant execute on function engine.reconcile(), engine.wake_steps() to flowgres_worker, flowgres_dba;
