-- kind: code
-- Restricts queries on runs and events to the one or two partitions that they need. Beyond 16
-- partitions the caller computes the range of the runs first, and the query is planned for it in
-- each call. Up to 16, one generic plan for all partitions is kept, which skips the others when it
-- starts: that saves 0.1 ms a query, and costs a lock on each partition. Writes and locks nothing
-- itself.

-- Returns the plan_cache_mode for statements on runs and events.
create or replace function engine.planner_mode()
  returns text
  language plpgsql
  stable
as $$
begin
  return (
    select case when count(*) <= 16 then 'force_generic_plan' else 'force_custom_plan' end
    from pg_catalog.pg_inherits as i
    where i.inhparent = 'public.workflow_runs'::regclass
  );
end
$$;

-- Returns the smallest id, which is the earliest one: the ids of runs are UUIDv7. Null for no ids.
create or replace function engine.earliest(p_ids uuid[])
  returns uuid
  language plpgsql
  immutable
as $$
declare
  v_id uuid;
  v_earliest_id uuid;
begin
  foreach v_id in array p_ids loop
    v_earliest_id := least(v_earliest_id, v_id);
  end loop;
  return v_earliest_id;
end
$$;

-- Returns the largest id, which is the latest one. Null for no ids.
create or replace function engine.latest(p_ids uuid[])
  returns uuid
  language plpgsql
  immutable
as $$
declare
  v_id uuid;
  v_latest_id uuid;
begin
  foreach v_id in array p_ids loop
    v_latest_id := greatest(v_latest_id, v_id);
  end loop;
  return v_latest_id;
end
$$;
