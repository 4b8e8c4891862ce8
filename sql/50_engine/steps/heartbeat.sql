-- kind: code
-- Heartbeats of workers, and the release of attempts by a worker that stops. Writes engine.workers,
-- engine.open_steps and jobs. Locks the row of the worker and the rows of its attempts, skipping
-- those that another transaction has locked.

-- Records that a worker lives, and whether a session holds its lock: only then other workers judge
-- it by that session. Extends the leases of the attempts that it makes, and returns those that it
-- must abort: their run has ended, or another attempt has replaced them.
create or replace function engine.heartbeat(
  p_worker_id uuid,
  p_running jsonb,
  p_pool_id text default null,
  p_capacity int default null,
  p_organization_capacity int default null
)
  returns table (
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and engine.workers are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- forces look-ups by key, however many rows there are
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_is_new boolean; -- the worker is new, or was considered dead
begin
  perform engine.require_original();
  insert into engine.workers as w (id, pool_id, started_at, seen_at, capacity, organization_capacity, has_session)
  values (
    p_worker_id, p_pool_id, v_now, v_now, p_capacity, p_organization_capacity,
    not engine.is_session_free(p_worker_id)
  )
  on conflict (id) do update set
    seen_at = excluded.seen_at,
    has_session = excluded.has_session,
    session_lost_at = null,
    capacity = coalesce(excluded.capacity, w.capacity),
    organization_capacity = coalesce(excluded.organization_capacity, w.organization_capacity),
    pool_id = coalesce(excluded.pool_id, w.pool_id)
  returning w.xmax = 0 into v_is_new;
  if v_is_new then
    perform engine.retract_crashes(p_running);
  end if;

  perform engine.update_share(p_worker_id);

  return query
  with running as (
    select (r ->> 'runId')::uuid as run_id, r ->> 'node' as node, (r ->> 'attempt')::int as attempt
    from jsonb_array_elements(p_running) as r
  ),
  held as (
    select s.run_id, s.node
    from engine.open_steps as s
    join running as r on r.run_id = s.run_id and r.node = s.node and r.attempt = s.attempt
    where s.state = 'running'
      -- Extend a lease with every second heartbeat only: thousands of steps may run for an hour,
      -- and each extension writes a row.
      and s.lease_until < v_now + interval '11 seconds'
    -- Skip a step that is locked: its result is being recorded, so there is no lease to extend, and
    -- waiting for it could become a deadlock.
    for update of s skip locked
  ),
  extended as (
    update engine.open_steps as s
    set lease_until = v_now + engine.lease_time()
    from held as h
    where s.run_id = h.run_id
      and s.node = h.node
  )
  select r.run_id, r.node
  from running as r
  where not exists (
    select
    from engine.open_steps as s
    where s.run_id = r.run_id
      and s.node = r.node
      and s.attempt = r.attempt
      and s.state = 'running'
  );
end
$$;

-- Writes down for a worker how many steps all workers run at once, in all and of one organization.
create or replace function engine.update_share(p_worker_id uuid)
  returns void
  language sql
  volatile
as $$
  update engine.workers as w
  set share = n.share, total_capacity = n.total_capacity
  from (select engine.organization_slots() as share, engine.total_capacity() as total_capacity) as n
  where w.id = p_worker_id
    and (w.share is distinct from n.share or w.total_capacity is distinct from n.total_capacity)
$$;

-- Takes back a crash of each step that a worker still executes although the worker was considered
-- dead: the step has not crashed it. Locks the rows of these steps, and skips locked ones: then one
-- crash too many stays counted.
create or replace function engine.retract_crashes(p_running jsonb)
  returns void
  language sql
  volatile
as $$
  update engine.open_steps as s
  set crashes = s.crashes - 1
  where s.ctid = any (array(
    select t.ctid
    from engine.open_steps as t
    join jsonb_array_elements(p_running) as r on (r ->> 'runId')::uuid = t.run_id and r ->> 'node' = t.node
    where t.crashes > 0
      and (t.attempt > (r ->> 'attempt')::int or (t.attempt = (r ->> 'attempt')::int and t.state = 'queued'))
    for update of t skip locked
  ))
$$;

-- Gives running attempts back to the queue, as a worker does that stops. Returns how many. Counts
-- no failure.
create or replace function engine.release_steps(p_worker_id uuid, p_steps jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps is closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- forces look-ups by key, however many rows there are
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_released engine.open_steps[];
begin
  with wanted as (
    select (r ->> 'runId')::uuid as run_id, r ->> 'node' as node, (r ->> 'attempt')::int as attempt
    from jsonb_array_elements(p_steps) as r
  ),
  held as (
    select s.run_id, s.node
    from engine.open_steps as s
    join wanted as w on w.run_id = s.run_id and w.node = s.node and w.attempt = s.attempt
    where s.state = 'running'
      and s.worker_id = p_worker_id
    for update of s skip locked
  ),
  released as (
    update engine.open_steps as s
    set
      state = 'queued', worker_id = null, lease_until = null, run_at = v_now,
      wake_at = v_now + interval '1 minute'
    from held as h
    where s.run_id = h.run_id
      and s.node = h.node
    returning s.*
  )
  select array_agg(r) into v_released from released as r;
  perform engine.add_jobs(engine.jobs_of(v_released));
  return coalesce(cardinality(v_released), 0);
end
$$;

comment on function engine.heartbeat(uuid, jsonb, text, int, int) is
  'For workers, every 2.5 seconds: extends the leases of the running attempts, [{"runId", "node", "attempt"}], by 15 seconds, and returns those to abort, because their run has ended or another attempt has replaced them. p_capacity: how many steps the worker runs at once, p_organization_capacity: how many of one organization. Example: select * from engine.heartbeat(''0190…'', ''[]'');';
comment on function engine.release_steps(uuid, jsonb) is
  'For workers that stop: gives running attempts back to the queue, without counting a failure, and returns how many. Example: select engine.release_steps(''0190…'', ''[{"runId": "0190…", "node": "notify", "attempt": 1}]'');';

grant execute on function
  engine.heartbeat(uuid, jsonb, text, int, int),
  engine.release_steps(uuid, jsonb)
  to flowgres_worker;
