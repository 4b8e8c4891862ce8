-- kind: code
-- Reads how the child runs of a step stand and how they ended. Writes and locks nothing.

-- Returns how many started children of a step are unfinished, and whether one has failed or was
-- canceled. p_run_id bounds the partitions that are read: children are younger than their parent.
create or replace function engine.children_of(p_run_id uuid, p_node text)
  returns engine.children
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first_id constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last_id constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
  v_children engine.children;
begin
  select
    count(*) filter (where r.finished_at is null),
    coalesce(bool_or(r.finished_at is not null), false)
  into v_children
  from public.workflow_runs as r
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.parent_index is not null
    and r.status = any ('{waiting,running,paused,error,canceled}')
    and r.id between v_first_id and v_last_id;
  return v_children;
end
$$;

-- Returns whether children of a step have ended since its last job, so that another job has
-- something to do.
create or replace function engine.has_ended_children(p_step engine.open_steps)
  returns boolean
  language sql
  stable
as $$
  select p_step.unfinished_children is null
    or (engine.children_of(p_step.run_id, p_step.node)).unfinished < p_step.unfinished_children
$$;

-- Returns the results of the children that have ended, each with its index: {"output"} or
-- {"error"}. p_index: of this child only.
create or replace function engine.child_results(p_run_id uuid, p_node text, p_index int default null)
  returns table (index int, result jsonb)
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first_id constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last_id constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
begin
  return query
  select
    r.parent_index,
    case r.status
      when 'success' then jsonb_build_object('output', engine.output_of_event(e.payload, r.id, r.finished_at))
      else jsonb_build_object('error', engine.child_error(r))
    end
  from public.workflow_runs as r
  left join public.workflow_events as e
    on e.run_id = r.id
    and e.ts = r.finished_at
    and e.type = 'run.succeeded'
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.parent_index is not null
    and (p_index is null or r.parent_index = p_index)
    and r.finished_at is not null
    and r.id between v_first_id and v_last_id;
end
$$;

-- Returns the error of a child as the error of its parent's step.
create or replace function engine.child_error(p_child public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'code', coalesce(p_child.error -> 'code', '"CANCELED"'),
    'message', coalesce(p_child.error -> 'message', '"The child run was canceled."'),
    'retryable', false,
    'details', jsonb_strip_nulls(jsonb_build_object('run', p_child.id, 'node', p_child.error -> 'node'))
  )
$$;
