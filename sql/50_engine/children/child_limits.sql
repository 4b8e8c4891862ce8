-- kind: code
-- Limits of child runs: how many runs one run starts through its descendants, how large the inputs
-- are, and how fast nested runs start. Costs nothing for runs without children.
-- Writes engine.child_starts, only by inserts, and locks no row. Transactions that run at the same
-- time do not see each other's rows, so each may exceed a limit by the children that it starts at
-- once, 100 at most.

-- Counts the children that a run is about to start with these inputs and returns null. When a limit
-- refuses them, writes nothing and returns the error: RUN_TREE_TOO_LARGE or TOO_LARGE.
create or replace function engine.count_children(p_run public.workflow_runs, p_root_run_id uuid, p_inputs jsonb[])
  returns jsonb
  language plpgsql
  volatile
  set enable_seqscan = off -- as in engine.nested_starts()
as $$
declare
  v_bytes constant bigint := (select coalesce(sum(pg_column_size(i)), 0) from unnest(p_inputs) as i);
  v_before record;
begin
  select
    coalesce(sum(s.runs), 0) as runs,
    coalesce(sum(s.bytes) filter (where s.run_id = p_run.id), 0) as bytes
  into v_before
  from engine.child_starts as s
  where s.root_run_id = p_root_run_id;
  if v_before.runs + cardinality(p_inputs) > engine.max_tree_runs() then
    return engine.child_limit_error(
      'RUN_TREE_TOO_LARGE',
      format('A run starts at most %s runs, directly and through its child runs.', engine.max_tree_runs()),
      engine.max_tree_runs(), 'Start independent runs through the API or a webhook, or give each child more to do.'
    );
  elsif v_before.bytes + v_bytes > engine.max_child_bytes() then
    return engine.child_limit_error(
      'TOO_LARGE',
      format('The inputs of the child runs of a run have at most %s bytes together.', engine.max_child_bytes()),
      engine.max_child_bytes(),
      'Give each child only what it needs, or keep large data in a store and pass its address on.'
    );
  end if;
  insert into engine.child_starts (root_run_id, run_id, organization_id, at, runs, bytes, is_nested)
  values (
    p_root_run_id, p_run.id, p_run.organization_id, engine.now(), cardinality(p_inputs), v_bytes,
    engine.is_nesting(p_run)
  );
  return null;
end
$$;

-- Returns whether the children of a run are nested: it is a child itself, or the run of an error
-- workflow.
create or replace function engine.is_nesting(p_run public.workflow_runs)
  returns boolean
  language sql
  immutable
as $$
  select p_run.parent_run_id is not null or p_run.mode = 'error'
$$;

-- Returns when a run may start its next child; null: now. The time is 30 to 60 seconds ahead, at
-- random, so that many runs that wait do not continue at the same moment.
create or replace function engine.children_wait_until(p_run public.workflow_runs)
  returns timestamptz
  language plpgsql
  volatile
as $$
begin
  if not engine.is_nesting(p_run) or engine.nested_starts(p_run.organization_id) < engine.max_nested_starts() then
    return null;
  end if;
  return engine.now() + interval '30 seconds' * (1 + random());
end
$$;

-- Returns how many nested runs an organization has started in the last minute.
create or replace function engine.nested_starts(p_organization_id uuid)
  returns bigint
  language plpgsql
  volatile -- sees what this transaction has started
  set enable_seqscan = off -- uses the index, also when the statistics say that the table is empty
as $$
begin
  return (
    select coalesce(sum(s.runs), 0)
    from engine.child_starts as s
    where s.organization_id = p_organization_id
      and s.is_nested
      and s.at > engine.now() - interval '1 minute'
  );
end
$$;

-- Returns the error of a refused start, with its limit and hint in the details.
create or replace function engine.child_limit_error(p_code text, p_message text, p_limit bigint, p_hint text)
  returns jsonb
  language sql
  stable
as $$
  select engine.request_error(p_code, p_message)
    || jsonb_build_object('details', jsonb_build_object('limit', p_limit, 'hint', p_hint))
$$;
