-- kind: code
-- The reconciler: hands on what nobody holds any more, so that an unfinished run always has
-- something that moves it.

-- One pass: at most 1,000 steps of each kind, so that recovery never stalls what works. Safe to run
-- from any number of processes at once: what one has locked the others skip.
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
  -- graphile-worker itself would keep the jobs of a dead worker locked for four hours.
  with dead as (
    delete from engine.workers as w
    where w.seen_at < v_now - interval '15 seconds'
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

-- Whether the worker that holds a step is dead: its row went when its heartbeats stayed away. The lease of a step can
-- also run out while its worker lives, when the answer that handed it out was lost on the way.
create or replace function engine.is_worker_dead(p_worker_id uuid)
  returns boolean
  language sql
  stable
as $$
  select not exists (select from engine.workers as w where w.id = p_worker_id)
$$;

-- Steps whose lease has run out: back to the queue. It is not their failure, so it costs none of their attempts; only
-- the death of their worker counts as one.
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
        and (e.crashes < 4 or not engine.is_worker_dead(e.worker_id))
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

-- A step whose worker died five times is what kills them. A run that is locked is being moved on by
-- somebody: the next pass looks at it again, and this one waits for nobody while it holds locks.
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
      and s.crashes >= 4
      and engine.is_worker_dead(s.worker_id)
    limit 1000
    for no key update of r skip locked
  );
  select jsonb_agg(jsonb_build_object(
    'runId', s.run_id, 'node', s.node, 'attempt', s.attempt, 'ok', false,
    'error', jsonb_build_object(
      'code', 'POISON', 'message', 'Five workers died while they ran this step.', 'retryable', false
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

-- Gives a job to the steps whose time has come, and another one to those that nothing has taken for
-- a minute: their job was lost, or the queue is long; another wake-up does no harm. Steps that
-- sleep are not looked at. Of those that wait for child runs the children are counted once a
-- minute: the end of a child brings a job, so mostly for nothing.
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
    -- By their place in the table: whatever the planner believes, it reads no other row.
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
  -- With a key: while such a wake-up waits in the queue, another one replaces it.
  perform engine.add_jobs(engine.jobs_of(v_steps, 'due:'));
  return query select s.run_id, s.node from unnest(v_steps) as s;
end
$$;

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

-- Operations that no worker has gone on with for a minute.
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
  'For workers, every second: looks at the steps whose time has come, at most 1,000, and gives each of them a job that has something to do; any number of workers may call it at once. Example: select * from engine.wake_steps();';
comment on function engine.reconcile() is
  'Moves on what nobody holds any more: jobs and steps of dead workers, runs past their deadline, steps that nothing has taken for a minute. Workers call it every 10 seconds; any number may at once. One row per action. Example: select * from engine.reconcile();';

grant execute on function engine.reconcile(), engine.wake_steps() to flowgres_worker, flowgres_dba;
