-- kind: code
-- Takes a batch of runs under lock, with what is needed to move them on.

-- Locks in the one order (organization, workflow, run), then reads: what is read is what the last holder committed.
-- The bounds are computed first, so that a plan made for them sees two partitions, not all; and it is a plan of index
-- look-ups by construction, whatever the statistics of a table say that was empty a minute ago.
create or replace function engine.load_runs(p_ids uuid[], p_now timestamptz)
  returns setof engine.loaded_run
  language plpgsql
  volatile
  set plan_cache_mode = force_custom_plan
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_from constant timestamptz := engine.uuid_time((select min(i::text)::uuid from unnest(p_ids) as i));
  v_to constant timestamptz := greatest(p_now, clock_timestamp()) + interval '1 day';
begin
  perform
  from public.workflow_runs as r
  where r.id = any (p_ids)
  order by r.organization_id, r.workflow_id, r.id
  for no key update;

  return query
  select
    r,
    array(
      select row(e.seq, e.ts, e.type, case when e.type <> 'step.started' then e.payload end)::engine.log_entry
      from public.workflow_events as e
      where e.run_id = r.id
        and e.ts >= v_from
        and e.ts < v_to
      order by e.seq
    ),
    array(select s from engine.open_steps as s where s.run_id = r.id)
  from public.workflow_runs as r
  where r.id = any (p_ids)
  order by r.organization_id, r.workflow_id, r.id;
end
$$;

-- The plan of a run; the one at hand when it is that.
create or replace function engine.plan_of(p_run public.workflow_runs, p_at_hand engine.plans)
  returns engine.plans
  language plpgsql
  stable
as $$
begin
  if (p_at_hand.organization_id, p_at_hand.workflow_id, p_at_hand.version) is distinct from
    (p_run.organization_id, p_run.workflow_id, p_run.version)
  then
    select p.* into p_at_hand
    from engine.plans as p
    where p.organization_id = p_run.organization_id
      and p.workflow_id = p_run.workflow_id
      and p.version = p_run.version;
  end if;
  return p_at_hand;
end
$$;

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
  foreach v_step in array p_steps loop
    if v_step.node <> p_node then
      v_steps := v_steps || v_step;
    end if;
  end loop;
  return v_steps;
end
$$;

-- A run as a move leaves it, for the next request of the same batch that is about it.
create or replace function engine.after_move(p_loaded engine.loaded_run, p_move engine.move)
  returns engine.loaded_run
  language plpgsql
  immutable
as $$
declare
  v_node text;
  v_step engine.open_steps;
begin
  p_loaded.run := p_move.run;
  p_loaded.log := p_loaded.log || p_move.entries;
  foreach v_node in array coalesce(p_move.closed, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_node);
  end loop;
  foreach v_step in array coalesce(p_move.steps, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_step.node) || v_step;
  end loop;
  return p_loaded;
end
$$;
