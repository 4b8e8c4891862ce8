-- kind: code
-- Fairness: how many steps of each organization run at once. A running step holds a slot, room for
-- one more step in flight in some worker. An organization has as many slots as its limit, and at
-- most three times those that are free at that moment, so that another one finds free slots. A step
-- beyond is deferred: queued without a job, run_at infinity. fill_free_slots.sql gives it a free
-- slot. Writes and locks nothing.

-- Returns how many steps all workers run at once; null while no live worker states its capacity.
create or replace function engine.total_capacity()
  returns int
  language sql
  stable
as $$
  select sum(w.capacity)::int
  from engine.workers as w
  where w.seen_at > engine.now() - engine.silence_time()
$$;

-- Returns how many steps of one organization may run at once, whatever is free: the sum of the
-- limits of the workers, at most three quarters of all slots. Null: no limit, because there is only
-- one organization, or no live worker.
create or replace function engine.organization_slots()
  returns int
  language sql
  stable
as $$
  select least(sum(coalesce(w.organization_capacity, w.capacity)), ceil(sum(w.capacity) * 0.75))::int
  from engine.workers as w
  where w.seen_at > engine.now() - engine.silence_time()
    and (select count(*) from (select from public.organizations limit 2) as o) = 2
$$;

-- Returns how many steps run, of an organization or (null) of all; counts up to p_most.
create or replace function engine.running_steps(p_organization_id uuid, p_most int)
  returns int
  language plpgsql
  stable
  set enable_seqscan = off -- forces the index of running steps, however many are queued
as $$
begin
  if p_organization_id is null then
    return (
      select count(*)
      from (select from engine.open_steps as s where s.state = 'running' limit p_most) as running
    );
  end if;
  return (
    select count(*)
    from (
      select
      from engine.open_steps as s
      where s.organization_id = p_organization_id and s.state = 'running'
      limit p_most
    ) as running
  );
end
$$;

-- Returns how many more steps of an organization may begin; null: no limit. Step i of them, from 0,
-- may begin while the organization runs fewer steps than three times the free slots:
-- running + i < 3 * (free - i).
-- p_worker holds both limits; p_begun: steps that the caller has begun and not written yet.
create or replace function engine.free_slots(
  p_organization_id uuid,
  p_worker engine.workers,
  p_begun int default 0
)
  returns int
  language plpgsql
  stable
as $$
declare
  v_running int;
  v_free int;
begin
  if p_worker.share is null then
    return null;
  end if;
  v_running := engine.running_steps(p_organization_id, p_worker.share);
  v_free := p_worker.total_capacity - coalesce(p_begun, 0)
    - engine.running_steps(null, p_worker.total_capacity);
  return least(p_worker.share - v_running, (3 * v_free - v_running + 3) / 4);
end
$$;

create or replace function engine.has_deferred_steps()
  returns boolean
  language plpgsql
  stable
  set enable_seqscan = off
as $$
begin
  return exists (select from engine.open_steps as s where s.run_at = 'infinity' and s.state = 'queued');
end
$$;

-- Returns a step as deferred: it gets no job until fill_free_slots() queues it.
create or replace function engine.deferred_step(p_step engine.open_steps)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.run_at := 'infinity';
  return p_step;
end
$$;

-- Returns the transition that defers a step whose job has come while no slot is free.
create or replace function engine.deferred_transition(p_run public.workflow_runs, p_step engine.open_steps)
  returns engine.transition
  language plpgsql
  immutable
as $$
declare
  v_transition engine.transition;
begin
  v_transition.run := p_run;
  v_transition.is_changed := false;
  v_transition.steps := array[engine.deferred_step(p_step)];
  return v_transition;
end
$$;

-- Returns the organizations whose transitions open more steps than their slots, or that have
-- deferred steps already, and how many steps are not deferred: none while older ones are.
create or replace function engine.over_share(p_transitions engine.transition[])
  returns table (
    organization_id uuid,
    free int
  )
  language sql
  stable
as $$
  select o.id, case when o.has_deferred then 0 else o.slots end
  from (
    select
      m.id,
      exists (
        select
        from engine.open_steps as s
        where s.organization_id = m.id and s.run_at = 'infinity' and s.state = 'queued'
      ) as has_deferred,
      engine.organization_slots() as slots,
      m.opened
    from (
      select (m.run).organization_id as id, sum(cardinality(m.steps)) as opened
      from unnest(p_transitions) as m
      group by (m.run).organization_id
    ) as m
  ) as o
  where o.has_deferred
    or o.opened > o.slots
$$;

-- Defers the due queued steps of an organization, beyond the first p_quota of them.
create or replace function engine.defer_steps(
  p_transitions engine.transition[],
  p_organization_id uuid,
  p_quota int,
  p_now timestamptz
)
  returns engine.transition[]
  language plpgsql
  stable
as $$
declare
  v_step engine.open_steps;
begin
  for v_transition in 1 .. cardinality(p_transitions) loop
    continue when (p_transitions[v_transition].run).organization_id <> p_organization_id;
    for v_place in 1 .. coalesce(cardinality(p_transitions[v_transition].steps), 0) loop
      v_step := p_transitions[v_transition].steps[v_place];
      continue when v_step.state <> 'queued' or v_step.run_at > p_now;
      p_quota := p_quota - 1;
      if p_quota < 0 then
        p_transitions[v_transition].steps[v_place] := engine.deferred_step(v_step);
      end if;
    end loop;
  end loop;
  return p_transitions;
end
$$;
