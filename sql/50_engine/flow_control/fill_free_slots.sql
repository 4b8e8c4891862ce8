-- kind: code
-- Gives jobs to deferred steps when slots are free. Writes engine.open_steps and jobs. Locks the
-- rows of engine.open_steps that it queues, skipping those that another transaction has locked.

-- Queues deferred steps, at most p_count and as many as slots are free, in equal parts to the
-- organizations, beginning with the one that runs least. Called when results free slots, and by the
-- reconciler for slots that became free without a result, as by a canceled run.
create or replace function engine.fill_free_slots(p_count int)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_limits engine.workers;
  v_left int := p_count;
  v_next record;
begin
  v_limits.share := engine.organization_slots();
  v_limits.total_capacity := engine.total_capacity();
  if v_limits.total_capacity is not null then
    v_left := least(
      p_count, v_limits.total_capacity - engine.running_steps(null, v_limits.total_capacity)
    );
  end if;
  for v_next in
    select
      d.organization_id as id,
      count(*) over () - row_number() over (order by d.running, d.organization_id) + 1 as waiting
    from engine.deferred_organizations(v_limits.total_capacity) as d
    order by d.running, d.organization_id
  loop
    exit when v_left <= 0;
    v_left := v_left - engine.queue_deferred_steps(
      v_next.id,
      least(ceil(v_left::numeric / v_next.waiting)::int, engine.free_slots(v_next.id, v_limits))
    );
  end loop;
end
$$;

-- Queues at most p_count of the oldest deferred steps of an organization; returns how many.
create or replace function engine.queue_deferred_steps(p_organization_id uuid, p_count int)
  returns int
  language plpgsql
  volatile
  set enable_seqscan = off
as $$
declare
  v_steps engine.open_steps[];
begin
  with deferred as (
    select s.run_id, s.node
    from engine.open_steps as s
    where s.organization_id = p_organization_id
      and s.run_at = 'infinity'
      and s.state = 'queued'
    order by s.run_id
    limit greatest(p_count, 0)
    for update skip locked
  ),
  queued as (
    update engine.open_steps as s
    set run_at = engine.now(), wake_at = engine.now() + interval '1 minute'
    from deferred as p
    where s.run_id = p.run_id
      and s.node = p.node
    returning s.*
  )
  select array_agg(u) into v_steps from queued as u;
  perform engine.add_jobs(engine.jobs_of(v_steps));
  return coalesce(cardinality(v_steps), 0);
end
$$;

-- Returns the organizations that have deferred steps, found by one index probe each, and how many
-- steps of theirs run, counted up to p_most.
create or replace function engine.deferred_organizations(p_most int)
  returns table (
    organization_id uuid,
    running int
  )
  language plpgsql
  stable
  set enable_seqscan = off
as $$
begin
  return query
  with recursive deferred as (
    select (
      select s.organization_id
      from engine.open_steps as s
      where s.run_at = 'infinity' and s.state = 'queued'
      order by s.organization_id
      limit 1
    ) as id
    union all
    select (
      select s.organization_id
      from engine.open_steps as s
      where s.run_at = 'infinity' and s.state = 'queued' and s.organization_id > d.id
      order by s.organization_id
      limit 1
    )
    from deferred as d
    where d.id is not null
  )
  select d.id, engine.running_steps(d.id, p_most)
  from deferred as d
  where d.id is not null;
end
$$;
