-- kind: code
-- Builds jobs, adds them to the queue of graphile-worker, and unlocks those of dead workers. Every
-- job of the engine is added by engine.add_jobs(). Writes graphile_worker._private_jobs. Locks jobs
-- with the same key by their insert; docs/reference/locks.md has the order of all locks.

-- Returns the job of a step. A job is a wake-up and nothing else: losing or doubling one does no
-- harm. p_key: the prefix of its job key; null: it has no key.
create or replace function engine.job(p_step engine.open_steps, p_priority int default 0, p_key text default null)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select row(
    'run_step',
    json_build_object('runId', p_step.run_id, 'node', p_step.node),
    null,
    null,
    null,
    p_key || p_step.run_id || '/' || p_step.node,
    p_priority::smallint,
    null
  )::graphile_worker.job_spec
$$;

-- Returns the jobs of steps with the priorities of their runs, for callers that have not loaded the
-- runs.
create or replace function engine.jobs_of(p_steps engine.open_steps[], p_key text default null)
  returns graphile_worker.job_spec[]
  language sql
  stable
as $$
  select array(
    select engine.job(s, (select r.priority from public.workflow_runs as r where r.id = s.run_id), p_key)
    from unnest(p_steps) as s
  )
$$;

-- Returns the priority of jobs that end or release runs: before those of all steps, whose lowest
-- number is -1000, so that a command against a full queue does not wait behind that queue.
create or replace function engine.relief_priority()
  returns smallint
  language sql
  immutable
as $$
  select (-1001)::smallint
$$;

-- Returns the jobs that follow when runs have ended: one that wakes the step of a parent, however
-- many of its children have ended, and one for each of p_parent_ids, which have ended before their
-- child runs, that cancels those.
create or replace function engine.children_jobs(p_transitions engine.transition[], p_parent_ids uuid[])
  returns graphile_worker.job_spec[]
  language sql
  stable
as $$
  select array(
    select row(
      'run_step',
      json_build_object('runId', (m.run).parent_run_id, 'node', (m.run).parent_node),
      null, null, null,
      'child:' || (m.run).parent_run_id || '/' || (m.run).parent_node,
      min((m.run).priority),
      null
    )::graphile_worker.job_spec
    from unnest(p_transitions) as m
    where m.is_changed
      and (m.run).finished_at is not null
      and (m.run).parent_index is not null
    group by (m.run).parent_run_id, (m.run).parent_node
    order by (m.run).parent_run_id, (m.run).parent_node -- sorted, so that batches cannot deadlock on the keys
  ) || array(
    select row(
      'cancel_children', json_build_object('runId', p.id), null, null, null, 'children:' || p.id,
      engine.relief_priority(), null
    )::graphile_worker.job_spec
    from unnest(p_parent_ids) as p (id)
    order by p.id
  )
$$;

-- Adds all jobs, or fails with 40001 (serialization_failure). The engine adds no job to
-- graphile-worker in any other way.
--
-- Guarantee: a worker executes the job, and begins to do so after this transaction has committed. A
-- worker that has locked a job already may have read before the commit, so a locked job does not
-- count as a wake-up for what this transaction writes.
--
-- graphile-worker adds a job with a key in two statements: (1) it removes the key from a job that
-- is locked; (2) it inserts the job, or updates the one with that key `where locked_at is null`.
-- When a worker locks the job between (1) and (2), or (2) has waited for the lock of that worker,
-- (2) changes nothing and reports no error. So this function counts the rows that are returned, and
-- calls a second time.
--
-- A second call is enough in READ COMMITTED: (2) locks the row that it conflicts with even when it
-- does not change it. Until this transaction ends, no worker completes, unlocks or updates that job,
-- and no other transaction inserts its key. So the second call sees the lock in (1), removes the
-- key, and inserts a new job in (2). No worker can lock a new or updated job before the commit,
-- because it is not visible or its row is locked; so the worker that executes it reads what is
-- committed. Other transactions that ask for the key wait meanwhile, then update that job or do the
-- same: many requests become few jobs.
--
-- In the stricter isolation levels a transaction does not see the lock of the worker. PostgreSQL
-- mostly refuses (2) with 40001; where it does not and jobs are missing, this function raises
-- 40001. The caller repeats the transaction.
create or replace function engine.add_jobs(p_jobs graphile_worker.job_spec[])
  returns void
  language plpgsql
  volatile
  -- Look jobs up by key: a query plan made while the queue was empty would read all of it.
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_asked int := cardinality(p_jobs);
  v_added int;
begin
  if coalesce(v_asked, 0) = 0 then
    return;
  end if;
  perform graphile_worker.add_jobs(p_jobs);
  get diagnostics v_added = row_count;
  if v_added < v_asked and current_setting('transaction_isolation') = 'read committed' then
    -- Add all jobs with a key again: which of them are missing is unknown, and the others update
    -- what was just added. A job without a key has no conflict, so none of those is missing.
    p_jobs := array(select j from unnest(p_jobs) as j where j.job_key is not null);
    v_asked := cardinality(p_jobs);
    perform graphile_worker.add_jobs(p_jobs);
    get diagnostics v_added = row_count;
  end if;
  if v_added < v_asked then
    raise exception 'Jobs were not added: workers have locked others with their keys.'
      using errcode = 'serialization_failure', hint = 'Repeat the transaction.';
  end if;
end
$$;

-- Unlocks the jobs that worker pools have locked, as graphile-worker's force_unlock_workers does,
-- and gives them new ids. A worker that was only slow completes its jobs later, by their ids, even
-- if another worker has locked them by then: with the old id it would delete a job that was updated
-- after it had read. Jobs of a pool are in no named queue of graphile-worker, since the engine uses
-- none.
create or replace function engine.unlock_jobs(p_pools text[])
  returns void
  language sql
  volatile
  security definer -- definer because the queue is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  update graphile_worker._private_jobs as j
  set id = default, locked_at = null, locked_by = null
  where j.locked_by = any (p_pools)
$$;
comment on function engine.unlock_jobs(text[]) is
  'For workers: unlocks the jobs that graphile-worker has locked under these pool names, because their workers are gone. Example: select engine.unlock_jobs(''{pool-0190…}'');';

grant execute on function engine.unlock_jobs(text[]) to flowgres_worker;
