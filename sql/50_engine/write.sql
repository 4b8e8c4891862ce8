-- kind: code
-- The only writers of runs, events and open steps: a batch of moves is written table by table, not run by run.

create or replace function engine.insert_events(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
  -- The foreign-key checks follow this setting too: 2 to 6 µs a row with a generic plan, 22 µs without.
  set plan_cache_mode = force_generic_plan
as $$
begin
  insert into public.workflow_events (organization_id, run_id, seq, ts, type, payload)
  select (m.run).organization_id, (m.run).id, e.seq, e.ts, e.type, e.payload
  from unnest(p_moves) as m
  cross join unnest(m.entries) as e;
end
$$;

create or replace function engine.close_steps(p_moves engine.move[])
  returns void
  language sql
  volatile
as $$
  delete from engine.open_steps as s
  using unnest(p_moves) as m
  where s.run_id = (m.run).id
    and (s.node = any (m.closed) or (m.run).finished_at is not null)
$$;

create or replace function engine.open_steps(p_moves engine.move[])
  returns void
  language sql
  volatile
  set plan_cache_mode = force_generic_plan -- for the foreign-key checks, as above
as $$
  insert into engine.open_steps
  select s.*
  from unnest(p_moves) as m
  cross join unnest(m.steps) as s
  where (m.run).finished_at is null
  on conflict (run_id, node) do update set
    state = excluded.state,
    attempt = excluded.attempt,
    failures = excluded.failures,
    worker_id = excluded.worker_id,
    lease_until = excluded.lease_until,
    run_at = excluded.run_at
$$;

-- The bounds are computed first, so that each row is looked up in its own partition.
create or replace function engine.update_runs(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first constant uuid := (select min((m.run).id::text) from unnest(p_moves) as m);
  v_last constant uuid := (select max((m.run).id::text) from unnest(p_moves) as m);
begin
  update public.workflow_runs as r
  set status = (c.run).status,
    finished_at = (c.run).finished_at,
    error = (c.run).error
  from (
    select distinct on ((m.run).id) m.run
    from unnest(p_moves) with ordinality as m (run, is_changed, entries, steps, closed, task, place)
    where m.is_changed
    order by (m.run).id, m.place desc
  ) as c
  where r.id = (c.run).id
    and r.id between v_first and v_last;
end
$$;

-- A job is a wake-up and nothing else: losing or doubling one does no harm.
create or replace function engine.wake_up(
  p_steps engine.open_steps[],
  p_priority int default 0,
  p_key text default null
)
  returns void
  language plpgsql
  volatile
as $$
begin
  if cardinality(p_steps) > 0 then
    perform graphile_worker.add_jobs(array(
      select row(
        'run_step', json_build_object('runId', s.run_id, 'node', s.node), null, s.run_at, null,
        p_key || s.run_id || '/' || s.node, p_priority::smallint, null
      )::graphile_worker.job_spec
      from unnest(p_steps) as s
    ));
  end if;
end
$$;

create or replace function engine.write_moves(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_move engine.move;
  v_closing boolean := false;
  v_opening boolean := false;
  v_changing boolean := false;
begin
  if p_moves is null then
    return;
  end if;
  foreach v_move in array p_moves loop
    v_closing := v_closing or v_move.closed is not null or (v_move.run).finished_at is not null;
    v_opening := v_opening or v_move.steps is not null;
    v_changing := v_changing or v_move.is_changed;
  end loop;

  perform engine.insert_events(p_moves);
  if v_opening then
    perform engine.open_steps(p_moves);
    perform engine.queue_steps(p_moves);
  end if;
  if v_closing then
    perform engine.close_steps(p_moves);
  end if;
  if v_changing then
    perform engine.update_runs(p_moves);
  end if;
  perform engine.notify(array(select distinct (m.run).id from unnest(p_moves) as m));
end
$$;

-- Every step that nobody holds gets a job, for all moves of one priority at once.
create or replace function engine.queue_steps(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_group record;
begin
  for v_group in
    select (m.run).priority, array_agg(s) as steps
    from unnest(p_moves) as m
    cross join unnest(m.steps) as s
    where s.state <> 'running'
      and (m.run).finished_at is null
    group by (m.run).priority
  loop
    perform engine.wake_up(v_group.steps, v_group.priority);
  end loop;
end
$$;
