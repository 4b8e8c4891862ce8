-- kind: code
-- Bulk operations: one command on many runs. Workers process a part of the runs in each transaction
-- and count them in the row of the operation.
-- Writes public.bulk_operations, public.workflow_run_logs and jobs; runs through engine.end_runs()
-- and engine.retry_run(). Locks the row of the operation (skip locked), then the runs.

-- Returns the next runs of an operation, oldest first, all of them when p_limit is null. Leaves out
-- runs that began after the operation.
create or replace function engine.bulk_operation_runs(p_bulk_operation public.bulk_operations, p_limit int)
  returns setof uuid
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_filter constant jsonb := p_bulk_operation.filter;
  v_statuses constant text[] := engine.command_statuses(p_bulk_operation.command, v_filter);
  v_first_id constant uuid := coalesce(p_bulk_operation.last_run_id, engine.uuid_floor('epoch'));
  -- A cancel includes runs of its own millisecond. A retry does not, because the runs that it
  -- starts may be among them.
  v_end_id constant uuid := engine.uuid_floor(
    p_bulk_operation.created_at
    + case p_bulk_operation.command when 'cancel' then interval '1 ms' else interval '0' end
  );
begin
  return query
  select r.id
  from public.workflow_runs as r
  where r.organization_id = p_bulk_operation.organization_id
    and r.status = any (v_statuses)
    and r.id > v_first_id
    and r.id < v_end_id
    and engine.run_matches(r, v_filter)
    -- Leave out runs that engine.retry_run() would refuse, and those that it has retried.
    and (p_bulk_operation.command <> 'retry' or (r.retried_by is null and r.parent_index is null))
  order by r.id
  limit p_limit;
end
$$;

-- Returns the statuses that runs of a command have: canceled runs are retried only if the filter
-- asks for a status.
create or replace function engine.command_statuses(p_command text, p_filter jsonb)
  returns text[]
  language sql
  immutable
as $$
  select case
    when p_command = 'cancel' then '{waiting,running,paused}'::text[]
    when p_filter ? 'status' then '{error,canceled}'
    else '{error}'
  end
$$;

-- Locks runs, retries them one by one, and returns how many failed. The log of each of these says
-- why.
create or replace function engine.retry_runs(p_ids uuid[], p_user_id uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_failed int := 0;
  v_constraint text;
begin
  for v_run in select r.* from engine.lock_runs(p_ids, engine.earliest(p_ids), engine.latest(p_ids)) as r loop
    begin
      perform engine.retry_run(v_run.id, null, p_user_id);
    exception
      when others then
        get stacked diagnostics v_constraint = constraint_name;
        if private.is_transient(sqlstate, v_constraint) then
          raise; -- the job repeats this part of the operation
        end if;
        v_failed := v_failed + 1;
        insert into public.workflow_run_logs (organization_id, run_id, level, message, context, ts)
        values (
          v_run.organization_id, v_run.id, 'warning', 'The run was not retried.',
          jsonb_build_object('message', sqlerrm), engine.now()
        );
    end;
  end loop;
  return v_failed;
end
$$;

-- Processes the next runs of an operation and adds the job for those after them.
create or replace function engine.work_bulk_operation(p_bulk_operation_id uuid, p_limit int default 100)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because runs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_bulk_operation public.bulk_operations;
  v_ids uuid[];
  v_failed int := 0;
begin
  select o.* into v_bulk_operation
  from public.bulk_operations as o
  where o.id = p_bulk_operation_id and o.finished_at is null
  for no key update skip locked;
  if not found then
    return false;
  end if;
  v_ids := array(select engine.bulk_operation_runs(v_bulk_operation, p_limit));
  if cardinality(v_ids) > 0 and v_bulk_operation.command = 'cancel' then
    perform from engine.end_runs(
      v_ids, 'run.canceled', engine.canceled_by(v_bulk_operation.started_by, v_bulk_operation.filter ->> 'reason')
    );
  elsif cardinality(v_ids) > 0 then
    v_failed := engine.retry_runs(v_ids, v_bulk_operation.started_by);
  end if;
  update public.bulk_operations as o
  set
    done = o.done + cardinality(v_ids) - v_failed,
    failed = o.failed + v_failed,
    last_run_id = coalesce(v_ids[cardinality(v_ids)], o.last_run_id),
    updated_at = engine.now(),
    finished_at = case when cardinality(v_ids) < p_limit then engine.now() end
  where o.id = p_bulk_operation_id;
  if cardinality(v_ids) = p_limit then
    perform engine.bulk_operation_job(p_bulk_operation_id);
    return true;
  end if;
  return false;
end
$$;
comment on function engine.work_bulk_operation(uuid, int) is
  'For workers: processes the next runs of a bulk operation, at most p_limit (100), in one transaction; true when there may be more, false when it is finished or another worker has it locked. Example: select engine.work_bulk_operation(''0190…'', 100);';

-- Adds the job for the next part of an operation; its key replaces a job that still waits. Cancels
-- come before all steps; retries add work, so they come in their turn.
create or replace function engine.bulk_operation_job(p_bulk_operation_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  perform engine.add_jobs(array[row(
    'work_bulk_operation', json_build_object('id', p_bulk_operation_id), null, null, null,
    'operation:' || p_bulk_operation_id,
    case
      when exists (
        select
        from public.bulk_operations as o
        where o.id = p_bulk_operation_id and o.command = 'cancel'
      ) then engine.relief_priority()
      else 0
    end, null
  )::graphile_worker.job_spec]);
end
$$;

-- Inserts an operation, with the number of runs that fit its filter now, and adds its first job.
create or replace function engine.start_bulk_operation(
  p_organization_id uuid,
  p_command text,
  p_filter jsonb,
  p_user_id uuid
)
  returns public.bulk_operations
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_bulk_operation public.bulk_operations;
begin
  v_bulk_operation.organization_id := p_organization_id;
  v_bulk_operation.command := p_command;
  v_bulk_operation.filter := p_filter;
  v_bulk_operation.created_at := v_now;
  insert into public.bulk_operations (organization_id, command, filter, total, started_by, created_at, updated_at)
  select
    p_organization_id, p_command, p_filter, (select count(*) from engine.bulk_operation_runs(v_bulk_operation, null)),
    p_user_id,
    v_now, v_now
  returning * into v_bulk_operation;
  perform engine.bulk_operation_job(v_bulk_operation.id);
  return v_bulk_operation;
end
$$;

grant execute on function engine.work_bulk_operation(uuid, int) to flowgres_worker, flowgres_dba;
