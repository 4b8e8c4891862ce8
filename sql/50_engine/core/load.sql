-- kind: code
-- Locks a batch of runs and reads what is needed to move them on. Writes nothing. Locks table
-- public.workflow_runs in row exclusive mode, then its rows, for no key update, sorted by
-- organization, workflow and id; docs/reference/locks.md has the order of all locks.

-- Locks the rows of runs in the order that every batch uses, and returns them as the last holder of
-- the lock has committed them. p_first_id, p_last_id: bounds of p_ids, which select the partitions.
create or replace function engine.lock_runs(p_ids uuid[], p_first_id uuid, p_last_id uuid)
  returns setof public.workflow_runs
  language plpgsql
  volatile
as $$
begin
  -- Lock the table of runs before that of events is used: a session that attaches or detaches a
  -- month locks both in this order, so the two cannot deadlock.
  lock table only public.workflow_runs in row exclusive mode;
  return query
  select r.*
  from public.workflow_runs as r
  where r.id = any (p_ids)
    and r.id between p_first_id and p_last_id
  order by r.organization_id, r.workflow_id, r.id
  for no key update;
end
$$;

-- Returns runs under lock, with their logs and open steps. Locks first and reads then, so it reads
-- what the last holder of the lock has committed. The settings force look-ups by index, whatever
-- the statistics say of a table that was empty a minute ago.
create or replace function engine.load_runs(p_ids uuid[], p_now timestamptz)
  returns setof engine.loaded_run
  language plpgsql
  volatile
  set plan_cache_mode = auto -- set in the body; this clause restores it at the end
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_first_id constant uuid := engine.earliest(p_ids);
  v_from constant timestamptz := engine.uuid_time(v_first_id);
  v_to constant timestamptz := greatest(p_now, clock_timestamp()) + interval '1 day';
  v_runs public.workflow_runs[];
begin
  perform set_config('plan_cache_mode', engine.planner_mode(), true);
  v_runs := array(select r from engine.lock_runs(p_ids, v_first_id, engine.latest(p_ids)) as r);
  return query
  select
    r.run,
    array(
      select row(
        e.seq, e.ts, e.type,
        case
          when e.type <> 'step.started' then e.payload
          when pg_column_size(e.payload) > 512 then to_jsonb(pg_column_size(e.payload)) -- only its size is used
        end
      )::engine.log_entry
      from public.workflow_events as e
      where e.run_id = (r.run).id
        and e.ts >= v_from
        and e.ts < v_to
      order by e.seq
    ),
    array(select s from engine.open_steps as s where s.run_id = (r.run).id)
  from (select v_runs[place] as run from generate_subscripts(v_runs, 1) as place) as r;
end
$$;

-- Returns the compiled version of a run; all null when there is none.
create or replace function engine.compiled_version_of(p_run public.workflow_runs)
  returns engine.compiled_versions
  language plpgsql
  stable
as $$
declare
  v_compiled engine.compiled_versions;
begin
  select p.* into v_compiled
  from engine.compiled_versions as p
  where p.organization_id = p_run.organization_id
    and p.workflow_id = p_run.workflow_id
    and p.version = p_run.version;
  return v_compiled;
end
$$;

-- Returns the open step of a node; all null when there is none.
create or replace function engine.step_of(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  foreach v_step in array coalesce(p_steps, '{}') loop
    if v_step.node = p_node then
      return v_step;
    end if;
  end loop;
  return null;
end
$$;

create or replace function engine.without_step(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps[]
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
  v_steps engine.open_steps[] := '{}';
begin
  foreach v_step in array coalesce(p_steps, '{}') loop
    if v_step.node <> p_node then
      v_steps := v_steps || v_step;
    end if;
  end loop;
  return v_steps;
end
$$;

-- Returns a run as a transition leaves it, for the next request on that run in the same batch.
create or replace function engine.after_transition(p_loaded engine.loaded_run, p_transition engine.transition)
  returns engine.loaded_run
  language plpgsql
  immutable
as $$
declare
  v_node text;
  v_step engine.open_steps;
begin
  p_loaded.run := p_transition.run;
  p_loaded.log := p_loaded.log || p_transition.entries;
  foreach v_node in array coalesce(p_transition.closed, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_node);
  end loop;
  foreach v_step in array p_transition.steps || p_transition.successor loop
    continue when v_step.node is null;
    if v_step.state = 'waiting' then
      v_step.run_at := null; -- its time was handled: another job in this batch has nothing to do
      v_step.next_index := null;
    end if;
    p_loaded.steps := engine.without_step(p_loaded.steps, v_step.node) || v_step;
  end loop;
  return p_loaded;
end
$$;
