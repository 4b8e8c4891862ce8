-- kind: code
-- Jobs in the queue of the workers. add_jobs is the only way into it.

-- A job is a wake-up and nothing else: losing or doubling one does no harm.
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

-- For steps whose runs are not at hand.
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

-- Wakes the parents of runs that have ended, each once however many of its children end, and ends
-- the children of those that will not wait for them any more.
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
    order by (m.run).parent_run_id, (m.run).parent_node -- so that batches never wait in a circle
  ) || array(
    select row(
      'cancel_children', json_build_object('runId', p.id), null, null, null, 'children:' || p.id, 0::smallint, null
    )::graphile_worker.job_spec
    from unnest(p_parent_ids) as p (id)
    order by p.id
  )
$$;

-- Adds jobs: all of them, or it fails. Every job of the engine goes through here, never to
-- graphile-worker directly.
--
-- What a job guarantees: a turn that begins after this transaction has committed. A turn that runs
-- already, in a job that a worker has locked, may have read before the commit; so a locked job is
-- no wake-up for what is written here.
--
-- What graphile-worker does for a job with a key, in two statements: (1) it takes the key off a job
-- that is locked; (2) it inserts the job, or renews the one with that key `where locked_at is
-- null`. A worker that locks the job between (1) and (2), or whose lock (2) has waited for, makes
-- (2) do nothing, and nothing is said. So this function counts what comes back and asks again.
--
-- Why that is enough in READ COMMITTED: (2) locks the row that it conflicts with even when it does
-- not change it. From then on nobody completes, unlocks or renews that job, and no other
-- transaction inserts its key, before this one ends. So the second call sees the lock in (1), takes
-- the key off, and inserts a new job in (2). Nobody can lock what is new or renewed before the
-- commit, because it is locked or not visible; so the turn that it brings reads what is committed.
-- Others that ask for the key meanwhile wait, and then renew that job, or do as above: many ends
-- become few jobs.
--
-- In the stricter isolation levels a transaction does not see the lock of the worker. PostgreSQL
-- mostly refuses (2) with 40001 then; where it does not and jobs are missing, this function does.
-- The caller repeats all of it.
create or replace function engine.add_jobs(p_jobs graphile_worker.job_spec[])
  returns void
  language plpgsql
  volatile
  -- Jobs are looked up by key, never by reading all of them, as a plan may do that was made when there were none.
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
    -- All that have a key, for it is not known which are missing: the others renew what has just been added. Jobs
    -- without a key conflict with none, so none of them is missing.
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

-- Makes the jobs that a worker pool has locked free for others, as graphile-worker's
-- force_unlock_workers would, but under new ids. A worker that was only slow completes its jobs
-- later, by their ids and whoever holds them then: it would delete a job that was renewed meanwhile
-- for something that its turn has not seen. Jobs of a pool are locked by no queue, since the engine
-- uses none.
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
  'For workers: makes the jobs free that graphile-worker has locked under these names, as their worker is gone. Example: select engine.unlock_jobs(''{pool-0190…}'');';

grant execute on function engine.unlock_jobs(text[]) to flowgres_worker;
