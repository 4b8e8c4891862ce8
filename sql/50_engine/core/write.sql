-- kind: code
-- Writes batches of transitions, table by table instead of run by run: inserts into
-- public.workflow_events, which nothing else does, changes rows of engine.open_steps, adds jobs,
-- and updates public.workflow_runs. docs/reference/tables.md lists the other writers of these tables,
-- and the order of locks. The caller has locked the runs; the usage counters of error workflows,
-- open steps and keys of jobs are locked here, in this order.

-- Writes transitions; those of one run are adjacent, in the order in which they were made. Null:
-- there is nothing to write. The entry functions set plan_cache_mode for everything below them: by
-- default PostgreSQL plans statements with arrays anew in each call, as it then knows their
-- lengths, and that costs more than to execute them.
create or replace function engine.write_transitions(p_transitions engine.transition[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
  strict
as $$
declare
  v_transition engine.transition;
  v_is_closing boolean := false;
  v_is_opening boolean := false;
  v_has_successor boolean := false;
  v_is_child boolean := false;
  v_parent_ids uuid[];
  v_ids uuid[];
  v_changed public.workflow_runs[];
  v_failed engine.transition[];
  v_left public.workflow_runs[];
begin
  foreach v_transition in array p_transitions loop
    -- A new run (is_changed is null) has no open step to close, even if it has ended.
    v_has_successor := v_has_successor or (v_transition.successor).node is not null;
    v_is_closing := v_is_closing
      or coalesce(cardinality(v_transition.closed), 0) > ((v_transition.successor).node is not null)::int
      or (v_transition.is_changed and (v_transition.run).finished_at is not null);
    v_is_opening := v_is_opening or v_transition.steps is not null;
    v_is_child := v_is_child or (v_transition.run).parent_index is not null;
    if v_ids[cardinality(v_ids)] is distinct from (v_transition.run).id then
      v_ids := v_ids || (v_transition.run).id;
    end if;
    -- The transitions of a run are adjacent: update its row once, as the last of them leaves it.
    if v_changed[cardinality(v_changed)].id = (v_transition.run).id then
      v_changed[cardinality(v_changed)] := v_transition.run;
    elsif v_transition.is_changed then
      v_changed := v_changed || v_transition.run;
    end if;
    if (v_transition.run).status = 'error' then
      v_failed := v_failed || engine.with_error_workflow(v_transition, p_now);
    end if;
    if (v_transition.run).concurrency_key is not null and (v_transition.run).finished_at is not null then
      v_left := v_left || v_transition.run;
    end if;
  end loop;
  perform engine.insert_events(p_transitions);
  if v_has_successor then
    perform engine.reuse_step_rows(p_transitions);
  end if;
  if v_is_opening then
    perform engine.open_steps(p_transitions, p_now);
  end if;
  if v_is_closing then
    v_parent_ids := engine.close_steps(p_transitions);
  end if;
  if v_is_child or v_parent_ids is not null then
    perform engine.add_jobs(engine.children_jobs(p_transitions, v_parent_ids));
  end if;
  if v_changed is not null then
    perform engine.update_runs(v_changed, engine.earliest(v_ids), engine.latest(v_ids));
  end if;
  perform engine.notify(p_transitions);
  perform engine.queue_run_events(p_transitions, p_now);
  perform engine.start_error_runs(v_failed);
  if v_left is not null then
    perform engine.leave_flow_control(v_left, v_transition.is_changed is null);
  end if;
end
$$;

create or replace function engine.insert_events(p_transitions engine.transition[])
  returns void
  language plpgsql
  volatile
  -- Foreign-key checks follow this setting, too: 5 to 10 µs a row with a generic plan, 80 µs
  -- without.
  set plan_cache_mode = force_generic_plan
as $$
begin
  insert into public.workflow_events (organization_id, run_id, seq, ts, type, payload)
  select (m.run).organization_id, (m.run).id, e.seq, e.ts, e.type, e.payload
  from unnest(p_transitions) as m
  cross join unnest(m.entries) as e;
end
$$;

-- Deletes the rows of steps that have ended, and all rows of runs that have ended. Returns the runs
-- that ended while child runs of theirs may be unfinished.
create or replace function engine.close_steps(p_transitions engine.transition[])
  returns uuid[]
  language plpgsql
  volatile
  set enable_seqscan = off -- forces look-ups by key, however many rows there are
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_parent_ids uuid[];
begin
  with closed as (
    delete from engine.open_steps as s
    using unnest(p_transitions) as m
    where s.run_id = (m.run).id
      and (s.node = any (m.closed) or (m.run).finished_at is not null)
    returning s.run_id, s.next_index, s.node = any (m.closed) as is_done
  )
  select array_agg(distinct c.run_id) into v_parent_ids
  from closed as c
  where c.next_index is not null
    and c.is_done is not true;
  return v_parent_ids;
end
$$;

-- Gives the row of the step that has ended to its successor: one update instead of a delete and an
-- insert. Changes no column that an index has: run_at stays, which says nothing of a running step.
create or replace function engine.reuse_step_rows(p_transitions engine.transition[])
  returns void
  language plpgsql
  volatile
  set enable_seqscan = off -- as above
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  update engine.open_steps as s
  set node = (m.successor).node,
    state = (m.successor).state,
    attempt = (m.successor).attempt,
    failures = (m.successor).failures,
    crashes = (m.successor).crashes,
    worker_id = (m.successor).worker_id,
    lease_until = (m.successor).lease_until,
    next_index = (m.successor).next_index,
    error = (m.successor).error,
    unfinished_children = null,
    wake_at = null,
    is_isolated = (m.successor).is_isolated
  from unnest(p_transitions) as m
  where s.run_id = (m.run).id
    and s.node = m.closed[1]
    and (m.successor).node is not null;
end
$$;

-- Writes the rows of steps that are opened, begun or queued again, and adds the jobs of those that
-- are due. Defers the steps of organizations over their share.
create or replace function engine.open_steps(p_transitions engine.transition[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_over_share record;
begin
  -- Skip the check of shares for batches of at most 8 transitions while no step is deferred: they
  -- open few steps, and begin_steps() checks the share again.
  if cardinality(p_transitions) > 8 or engine.has_deferred_steps() then
    for v_over_share in select * from engine.over_share(p_transitions) loop
      p_transitions := engine.defer_steps(p_transitions, v_over_share.organization_id, v_over_share.free, p_now);
    end loop;
  end if;
  insert into engine.open_steps (
    organization_id, run_id, node, state, attempt, failures, crashes, worker_id, lease_until, run_at, next_index, error,
    wake_at, unfinished_children, is_isolated, branch
  )
  select
    s.organization_id, s.run_id, s.node, s.state, s.attempt, s.failures, s.crashes, s.worker_id, s.lease_until,
    s.run_at,
    s.next_index, s.error, engine.wake_at(s, m.claimed, p_now), s.unfinished_children,
    coalesce(s.is_isolated, false), s.branch
  from unnest(p_transitions) as m
  cross join unnest(m.steps) as s
  where (m.run).finished_at is null
  on conflict (run_id, branch) do update set
    node = excluded.node,
    state = excluded.state,
    attempt = excluded.attempt,
    failures = excluded.failures,
    worker_id = excluded.worker_id,
    lease_until = excluded.lease_until,
    run_at = excluded.run_at,
    next_index = excluded.next_index,
    error = excluded.error,
    wake_at = excluded.wake_at,
    unfinished_children = excluded.unfinished_children,
    is_isolated = excluded.is_isolated;
  perform engine.add_jobs(array(
    select engine.job(s, (m.run).priority)
    from unnest(p_transitions) as m
    cross join unnest(m.steps) as s
    where s.state <> 'running'
      and s.run_at <= p_now
      and s.node is distinct from m.claimed
      and (m.run).finished_at is null
  ));
end
$$;

-- Returns when a step gets its next job; null: it needs none. What is due later has no job until
-- then, so that waiting steps do not lengthen the queue. What is due now has a job, and gets
-- another one after a minute in case that was lost. A step with child runs is looked at every
-- minute: it gets a job if any of them has ended since its last job. A claimed step has no job, and
-- gets one if it has not begun after 5 seconds.
create or replace function engine.wake_at(p_step engine.open_steps, p_claimed text, p_now timestamptz)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when p_step.state = 'running' then null
    when p_step.run_at > p_now then p_step.run_at
    when p_step.node = p_claimed then p_now + interval '5 seconds'
    when p_step.run_at is not null or p_step.next_index is not null then p_now + interval '1 minute'
  end
$$;

-- Updates status, end and error of runs. p_first_id, p_last_id: bounds of their ids, which select
-- the partitions.
create or replace function engine.update_runs(p_runs public.workflow_runs[], p_first_id uuid, p_last_id uuid)
  returns void
  language plpgsql
  volatile
  set plan_cache_mode = auto -- set in the body; this clause restores it at the end
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  perform set_config('plan_cache_mode', engine.planner_mode(), true);
  update public.workflow_runs as r
  set status = changed.status,
    finished_at = changed.finished_at,
    error = changed.error
  from unnest(p_runs) as changed
  where r.id = changed.id
    and r.id between p_first_id and p_last_id;
end
$$;
