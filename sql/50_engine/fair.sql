-- kind: code
-- Fairness between organizations. However much one of them starts, it runs at most three quarters of the steps that the
-- workers can run at once, so that a slot is free when another one comes. What is beyond that is parked: queued without
-- a job, run_at infinity, so that the queue stays short. Each step of the organization that ends lets the next one in.

-- How many steps of one organization may run at once; null: as many as there are slots. Where there is one organization
-- only, nobody has to be left room.
create or replace function engine.organization_slots()
  returns int
  language sql
  stable
as $$
  select ceil(sum(w.capacity) * 0.75)::int
  from engine.workers as w
  where w.seen_at > engine.now() - interval '15 seconds'
    and (select count(*) from (select from public.organizations limit 2) as o) = 2
$$;

-- How many more steps of an organization may begin; null: any number.
create or replace function engine.free_slots(p_organization_id uuid, p_slots int)
  returns int
  language plpgsql
  stable
  set enable_seqscan = off -- by the index of running steps, however many are queued
as $$
declare
  v_running int;
begin
  if p_slots is null then
    return null;
  end if;
  v_running := (
    select count(*)
    from (
      select
      from engine.open_steps as s
      where s.organization_id = p_organization_id and s.state = 'running'
      limit p_slots
    ) as running
  );
  return p_slots - v_running;
end
$$;

create or replace function engine.is_any_parked()
  returns boolean
  language plpgsql
  stable
  set enable_seqscan = off
as $$
begin
  return exists (select from engine.open_steps as s where s.run_at = 'infinity' and s.state = 'queued');
end
$$;

create or replace function engine.parked_step(p_step engine.open_steps)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.run_at := 'infinity';
  return p_step;
end
$$;

-- For one whose job has come when there is no room.
create or replace function engine.parked_move(p_run public.workflow_runs, p_step engine.open_steps)
  returns engine.move
  language plpgsql
  immutable
as $$
declare
  v_move engine.move;
begin
  v_move.run := p_run;
  v_move.steps := array[engine.parked_step(p_step)];
  return v_move;
end
$$;

-- Which organizations have so much to do that what these moves queue is parked, and how much of it is not: nothing
-- while older steps are parked already.
create or replace function engine.crowded(p_moves engine.move[])
  returns table (
    organization_id uuid,
    room int
  )
  language sql
  stable
as $$
  select o.id, case when o.has_parked then 0 else o.slots end
  from (
    select
      m.id,
      exists (
        select
        from engine.open_steps as s
        where s.organization_id = m.id and s.run_at = 'infinity' and s.state = 'queued'
      ) as has_parked,
      engine.organization_slots() as slots,
      m.opened
    from (
      select (m.run).organization_id as id, sum(cardinality(m.steps)) as opened
      from unnest(p_moves) as m
      group by (m.run).organization_id
    ) as m
  ) as o
  where o.has_parked
    or o.opened > o.slots
$$;

create or replace function engine.park_steps(
  p_moves engine.move[],
  p_organization_id uuid,
  p_room int,
  p_now timestamptz
)
  returns engine.move[]
  language plpgsql
  stable
as $$
declare
  v_step engine.open_steps;
begin
  for v_move in 1 .. cardinality(p_moves) loop
    continue when (p_moves[v_move].run).organization_id <> p_organization_id;
    for v_place in 1 .. coalesce(cardinality(p_moves[v_move].steps), 0) loop
      v_step := p_moves[v_move].steps[v_place];
      continue when v_step.state <> 'queued' or v_step.run_at > p_now;
      p_room := p_room - 1;
      if p_room < 0 then
        p_moves[v_move].steps[v_place] := engine.parked_step(v_step);
      end if;
    end loop;
  end loop;
  return p_moves;
end
$$;

-- Queues the oldest parked steps of an organization, so many.
create or replace function engine.unpark_steps(p_organization_id uuid, p_count int)
  returns void
  language plpgsql
  volatile
  set enable_seqscan = off
as $$
declare
  v_steps engine.open_steps[];
begin
  with parked as (
    select s.run_id, s.node
    from engine.open_steps as s
    where s.organization_id = p_organization_id
      and s.run_at = 'infinity'
      and s.state = 'queued'
    order by s.run_id
    limit greatest(p_count, 0)
    for update skip locked
  ),
  unparked as (
    update engine.open_steps as s
    set run_at = engine.now(), wake_at = engine.now() + interval '1 minute'
    from parked as p
    where s.run_id = p.run_id
      and s.node = p.node
    returning s.*
  )
  select array_agg(u) into v_steps from unparked as u;
  perform engine.add_jobs(array(
    select engine.job(s, (select r.priority from public.workflow_runs as r where r.id = s.run_id))
    from unnest(v_steps) as s
  ));
end
$$;

-- p_left: the organization of each step that has left its slot. What others left beside it is not filled here: they
-- do so themselves.
create or replace function engine.fill_slots(p_left uuid[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_left record;
begin
  for v_left in
    select l.id, count(*)::int as count
    from unnest(p_left) as l (id)
    where exists (
      select
      from engine.open_steps as s
      where s.organization_id = l.id and s.run_at = 'infinity' and s.state = 'queued'
    )
    group by l.id
    order by l.id
  loop
    perform engine.unpark_steps(
      v_left.id, least(v_left.count, engine.free_slots(v_left.id, engine.organization_slots()))
    );
  end loop;
end
$$;

-- For the reconciler: slots that were left in another way than by a result, as by a canceled run.
create or replace function engine.unpark_overdue_steps()
  returns void
  language plpgsql
  volatile
as $$
declare
  c_slots constant int := engine.organization_slots();
  v_organization_id uuid;
begin
  for v_organization_id in
    select distinct s.organization_id
    from engine.open_steps as s
    where s.run_at = 'infinity' and s.state = 'queued'
  loop
    perform engine.unpark_steps(
      v_organization_id, coalesce(engine.free_slots(v_organization_id, c_slots), 1000)
    );
  end loop;
end
$$;
