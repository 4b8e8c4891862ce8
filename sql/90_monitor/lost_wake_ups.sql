-- kind: code
-- Finds what has something to do but no job in the queue: the job was lost. What has to be done is
-- written with its job in one transaction, and the job is deleted after the transaction that does
-- it, so that one statement sees both or neither. What a timer or a worker adds later has a few
-- seconds. Writes and locks nothing.

create or replace function monitor.wake_ups()
  returns table (
    task text,
    run_id uuid,
    node text,
    about jsonb
  )
  language sql
  stable
  security definer -- definer because the queue is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select t.identifier, (j.payload ->> 'runId')::uuid, j.payload ->> 'node', j.payload::jsonb
  from graphile_worker._private_jobs as j
  join graphile_worker._private_tasks as t on t.id = j.task_id
  where j.locked_at is not null
    or j.attempts < j.max_attempts
$$;
comment on function monitor.wake_ups() is
  'The jobs in the queue that will be executed or are being executed: their task, the run and node that they are for, and their whole payload as JSON. Example: select task, count(*) from monitor.wake_ups() group by 1';

create or replace function monitor.lost_wake_ups()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  with clock as materialized (
    select engine.now() as at
  ),
  job as materialized (
    select * from monitor.wake_ups()
  )
  select 'I5 a step that has something to do has a job', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  cross join clock
  where s.state in ('queued', 'waiting')
    and (
      -- A timer gets its job within a second; a step whose claim was lost, within six.
      s.run_at < clock.at - interval '15 seconds'
      or (s.run_at is null and s.next_index is not null and s.unfinished_children > (
        select count(*)
        from public.workflow_runs as c
        where c.parent_run_id = s.run_id
          and c.parent_node = s.node
          and c.parent_index is not null
          and c.status in ('waiting', 'running', 'paused')
      ))
    )
    and not exists (
      select from job as j where j.task = 'run_step' and j.run_id = s.run_id and j.node = s.node
    )
    and exists (select from public.workflow_runs as r where r.id = s.run_id and r.status in ('running', 'waiting'))
  union all
  select 'I5 a held run that fits into its limits has a job', f.run_id, to_jsonb(f)
  from clock
  cross join lateral engine.first_held_runs(clock.at + interval '10 seconds') as f
  join engine.compiled_versions as p
    on p.organization_id = f.organization_id and p.workflow_id = f.workflow_id and p.version = f.version
  where (engine.flow_block(f, p.settings -> 'flow', clock.at)).reason is null
    and exists (select from public.workflow_runs as r where r.id = f.run_id and r.status = 'waiting')
    and not exists (
      select
      from job as j
      where j.task = 'release_runs'
        and j.about ->> 'workflowId' = f.workflow_id::text
        and (j.about ->> 'by', j.about ->> 'key') in (
          ('run', f.run_id::text), ('concurrency', f.concurrency_key), ('rate', f.rate_key)
        )
    )
  union all
  select 'I5 children whose parent has ended have a job that ends them', c.id, jsonb_build_object('parent', p.id)
  from public.workflow_runs as c
  join public.workflow_runs as p on p.id = c.parent_run_id and p.finished_at is not null
  where c.status in ('waiting', 'running', 'paused')
    and c.parent_index is not null
    and not exists (select from job as j where j.task = 'cancel_children' and j.run_id = p.id)
  union all
  select 'I5 an operation on many runs has a job', null, to_jsonb(o)
  from public.bulk_operations as o
  where o.finished_at is null
    and not exists (select from job as j where j.task = 'work_bulk_operation' and j.about ->> 'id' = o.id::text)
$$;
comment on function monitor.lost_wake_ups() is
  'Steps, held runs, child runs and bulk operations that have something to do and no job in the queue; workers add one within a minute. Reads unfinished runs and the queue. Example: select * from monitor.lost_wake_ups()';

-- Finds what the reconciler, every 10 seconds, finds by a time instead of a job.
create or replace function monitor.overdue_runs()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select 'I5 a run ends at its deadline', r.id, jsonb_build_object('deadline', r.deadline_at)
  from public.workflow_runs as r
  where r.finished_at is null
    and r.deadline_at < (select engine.now()) - interval '15 seconds'
  union all
  select 'I5 a step whose worker is gone is taken over', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where s.state = 'running'
    and s.lease_until < (select engine.now()) - interval '15 seconds'
$$;
comment on function monitor.overdue_runs() is
  'Unfinished runs whose deadline, and running steps whose lease, passed more than 15 seconds ago: no worker has handled them. Example: select * from monitor.overdue_runs()';

grant execute on function monitor.wake_ups(), monitor.lost_wake_ups(), monitor.overdue_runs()
  to flowgres_dba, flowgres_monitor;
