-- kind: code
-- Sessions of workers. A worker holds an advisory lock in a session of its own, which the server
-- frees at once when the process dies; others look each second and take its steps over, long before
-- its leases run out. A worker without such a session is judged by its leases alone.
-- Writes engine.workers, engine.open_steps and jobs; locks their rows and skips locked ones.

-- Takes the lock of a worker for the caller's session, which has to stay open; waits up to
-- lock_timeout for an earlier session of the same worker to end.
create or replace function engine.hold_session(p_worker_id uuid)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the functions that it calls are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform engine.require_original();
  perform pg_advisory_lock(engine.session_key(p_worker_id));
end
$$;
comment on function engine.hold_session(uuid) is
  'For workers: takes the advisory lock that says that the worker lives, for the session of the caller, which has to stay open and must not go through a transaction pooler. When that session ends and no heartbeat comes within a second, other workers take the steps over. Example: select engine.hold_session(''0190…'');';

-- Returns the key of the advisory lock of a worker.
create or replace function engine.session_key(p_worker_id uuid)
  returns bigint
  language sql
  immutable
as $$
  select hashtextextended('flowgres.worker ' || p_worker_id, 0)
$$;

-- Returns whether no session holds the lock of a worker. When that is so, the caller has it in
-- share mode until its transaction ends: several callers get the same answer, and a worker that
-- takes its lock again waits for them.
create or replace function engine.is_session_free(p_worker_id uuid)
  returns boolean
  language sql
  volatile
as $$
  select pg_try_advisory_xact_lock_shared(engine.session_key(p_worker_id))
$$;

-- Looks at the sessions of all workers but the caller. Notes when a session was first seen to have
-- ended (suspected). is_lost: the session of some worker ended absence_time() ago or earlier, and
-- the worker has sent no heartbeat since.
create or replace function engine.look_at_sessions(
  p_worker_id uuid,
  p_now timestamptz,
  out is_suspected boolean,
  out is_lost boolean
)
  language sql
  volatile
as $$
  with ended as materialized (
    select w.id, w.session_lost_at
    from engine.workers as w
    where w.has_session
      and w.id <> p_worker_id
      and engine.is_session_free(w.id)
  ),
  noted as (
    update engine.workers as w
    set session_lost_at = p_now
    where w.ctid = any (array(
      select v.ctid
      from engine.workers as v
      where v.id in (select e.id from ended as e where e.session_lost_at is null)
      for update skip locked
    ))
  )
  select
    coalesce(bool_or(e.session_lost_at is null or e.session_lost_at > p_now - engine.absence_time()), false),
    coalesce(bool_or(e.session_lost_at <= p_now - engine.absence_time()), false)
  from ended as e
$$;

-- Declares workers dead whose session has ended and who have been silent since: deletes their rows,
-- unlocks their jobs, and ends the leases of their steps, which engine.reconcile() then queues
-- again. Returns how many workers. A step that is locked keeps its lease: its result is being
-- recorded.
create or replace function engine.expire_lost_workers()
  returns int
  language plpgsql
  volatile
  security definer -- definer because engine.workers and engine.open_steps are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for the index of running steps, however many are queued
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[];
  v_pools text[];
begin
  with lost as (
    delete from engine.workers as w
    where w.ctid = any (array(
      select v.ctid
      from engine.workers as v
      where v.has_session
        and v.session_lost_at <= v_now - engine.absence_time()
      for update skip locked
    ))
      and engine.is_session_free(w.id)
    returning w.id, w.pool_id
  )
  select array_agg(l.id), array_agg(l.pool_id) filter (where l.pool_id is not null)
  into v_ids, v_pools
  from lost as l;
  if v_ids is null then
    return 0;
  end if;
  perform engine.unlock_jobs(v_pools);
  update engine.open_steps as s
  set lease_until = v_now - interval '1 microsecond'
  where s.ctid = any (array(
    select e.ctid
    from engine.open_steps as e
    where e.state = 'running'
      and e.worker_id = any (v_ids)
    for update skip locked
  ));
  return cardinality(v_ids);
end
$$;
comment on function engine.expire_lost_workers() is
  'For workers: declares those dead whose session has ended and who have sent no heartbeat for a second since; ends the leases of their steps and unlocks their jobs, and returns how many workers. Call engine.reconcile() after it, which queues the steps. Example: select engine.expire_lost_workers();';

grant execute on function engine.hold_session(uuid), engine.expire_lost_workers() to flowgres_worker;
