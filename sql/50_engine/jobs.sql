-- kind: code
-- Jobs in the queue of the workers.

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

-- Wakes the parents of runs that have ended, each once however many of its children end, and ends the children of
-- those that will not wait for them any more.
create or replace function engine.family_jobs(p_moves engine.move[], p_parents uuid[])
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
    from unnest(p_moves) as m
    where m.is_changed
      and (m.run).finished_at is not null
      and (m.run).parent_index is not null
    group by (m.run).parent_run_id, (m.run).parent_node
    order by (m.run).parent_run_id, (m.run).parent_node -- so that batches never wait in a circle
  ) || array(
    select row(
      'end_children', json_build_object('runId', p.id), null, null, null, 'children:' || p.id, 0::smallint, null
    )::graphile_worker.job_spec
    from unnest(p_parents) as p (id)
    order by p.id
  )
$$;

create or replace function engine.add_jobs(p_jobs graphile_worker.job_spec[])
  returns void
  language plpgsql
  volatile
  -- Jobs are looked up by key, never by reading all of them, as a plan may do that was made when there were none.
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  if cardinality(p_jobs) > 0 then
    perform graphile_worker.add_jobs(p_jobs);
  end if;
end
$$;
