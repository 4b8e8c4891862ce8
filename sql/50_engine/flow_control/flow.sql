-- kind: code
-- Flow control: what the limits of a workflow say about one run, and the jobs that release held
-- runs. Writes engine.flow_starts. Its callers hold the advisory lock of the workflow's flow, which
-- engine.lock_flow() takes. A start takes it after all other locks for which it waits, a release
-- before all others: docs/reference/locks.md has the order of locks.

-- Locks the flow of a workflow until the end of the transaction; waits for the lock.
create or replace function engine.lock_flow(p_workflow_id uuid)
  returns void
  language sql
  volatile
as $$
  select pg_advisory_xact_lock(hashtextextended('flowgres.flow ' || p_workflow_id, 0))
$$;

-- Locks the flow of a workflow if it is free; returns whether it was.
create or replace function engine.try_lock_flow(p_workflow_id uuid)
  returns boolean
  language sql
  volatile
as $$
  select pg_try_advisory_xact_lock(hashtextextended('flowgres.flow ' || p_workflow_id, 0))
$$;

-- Returns the key under which a rule counts a run: the value at the path of the rule, hashed if it
-- has more than 200 characters; empty when the rule has no path; null without a rule.
create or replace function engine.flow_key(p_rule jsonb, p_input jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_key text;
begin
  if p_rule is null or not p_rule ? 'path' then
    return case when p_rule is not null then '' end;
  end if;
  v_key := coalesce(
    jsonb_path_query_first(p_input, (p_rule ->> 'path')::jsonpath, '{}', true) #>> '{}', 'null'
  );
  return case when length(v_key) <= 200 then v_key else encode(sha256(convert_to(v_key, 'UTF8')), 'hex') end;
end
$$;

-- Returns why a run cannot start or be released now, and when to look again, if time alone decides.
-- No reason: it can.
create or replace function engine.flow_block(
  p_row engine.flow_runs,
  p_flow jsonb,
  p_now timestamptz,
  out reason text,
  out until timestamptz
)
  language plpgsql
  stable
as $$
begin
  if p_row.held_until > p_now then
    reason := 'debounce';
    until := p_row.held_until;
    return;
  end if;
  if p_row.concurrency_key is not null then
    perform
    from engine.flow_runs as f
    where f.workflow_id = p_row.workflow_id
      and f.concurrency_key = p_row.concurrency_key
      and not f.is_held
    offset (p_flow -> 'concurrency' -> 'limit')::int - 1
    limit 1;
    if found then
      reason := 'concurrency';
      return;
    end if;
  end if;
  if p_row.rate_key is not null then
    -- The start whose age decides: another one fits when it is outside of the window.
    select s.at + make_interval(secs => (p_flow -> 'rateLimit' -> 'perMs')::double precision / 1000) into until
    from engine.flow_starts as s
    where s.workflow_id = p_row.workflow_id
      and s.rate_key = p_row.rate_key
    order by s.at desc
    offset (p_flow -> 'rateLimit' -> 'limit')::int - 1
    limit 1;
    if until > p_now then
      reason := 'rate';
    end if;
  end if;
end
$$;

-- Counts a start under the rate limit of a run, and deletes those outside of the window.
create or replace function engine.count_start(p_row engine.flow_runs, p_flow jsonb, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_row.rate_key is not null then
    delete from engine.flow_starts as s
    where s.workflow_id = p_row.workflow_id
      and s.rate_key = p_row.rate_key
      and s.at <= p_now - make_interval(secs => (p_flow -> 'rateLimit' -> 'perMs')::double precision / 1000);
    insert into engine.flow_starts (workflow_id, rate_key, at, run_id)
    values (p_row.workflow_id, p_row.rate_key, p_now, p_row.run_id);
  end if;
end
$$;

-- Returns the job that releases held runs: all with a concurrency key, all with a rate key, or one
-- run. p_at: when; null: now.
create or replace function engine.release_job(
  p_workflow_id uuid,
  p_by text,
  p_key text,
  p_at timestamptz,
  p_job_key text default null
)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select row(
    'release_runs', json_build_object('workflowId', p_workflow_id, 'by', p_by, 'key', p_key), null, p_at, null,
    p_job_key, engine.relief_priority(), null
  )::graphile_worker.job_spec
$$;

-- Returns the job that releases the held runs with a rate key. Its job key keeps one such job at a
-- time; the caller holds the lock of the flow.
create or replace function engine.rate_job(p_row engine.flow_runs, p_at timestamptz)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select engine.release_job(
    p_row.workflow_id, 'rate', p_row.rate_key, p_at, 'rate:' || p_row.workflow_id || '/' || p_row.rate_key
  )
$$;
