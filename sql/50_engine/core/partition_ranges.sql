-- kind: code
-- How queries on runs and events keep to the one or two partitions that they need. Either the range of the runs is
-- computed first and the query is planned for it, each time anew; or, while there are few partitions, one plan for all
-- of them is kept, which skips the others when it starts: that saves a tenth of a millisecond a query, and costs a lock
-- on each partition.

create or replace function engine.planner_mode()
  returns text
  language sql
  stable
as $$
  select case when count(*) <= 16 then 'force_generic_plan' else 'force_custom_plan' end
  from pg_catalog.pg_inherits as i
  where i.inhparent = 'public.workflow_runs'::regclass
$$;

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
