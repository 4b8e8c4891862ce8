-- kind: queue
-- Rights of the worker in schema graphile_worker. `flowgres migrate` runs this after the queue's own migrations, in a
-- session logged in as flowgres_queue, which owns the schema.
-- The worker reads and changes rows, and owns nothing: code of flowgres_owner calls functions of this schema.

-- New functions of the queue come with EXECUTE for everybody.
revoke execute on all functions in schema graphile_worker from public;

-- Done once: making a policy locks out the workers, which go on through an upgrade.
do $$
begin
  if exists (
    select from pg_catalog.pg_policies as p
    where p.schemaname = 'graphile_worker' and p.policyname = '_private_jobs_flowgres_worker_all'
  ) then
    return;
  end if;
  revoke all on all tables in schema graphile_worker from public;
  grant usage on schema graphile_worker to flowgres_worker;
  grant select on graphile_worker.migrations to flowgres_worker;
  grant select, update, delete on graphile_worker._private_jobs to flowgres_worker;
  grant select, update, delete on graphile_worker._private_job_queues to flowgres_worker;
  grant select, insert on graphile_worker._private_tasks to flowgres_worker;
  grant select, insert, update on graphile_worker._private_known_crontabs to flowgres_worker;

  -- The tables have row-level security without a policy: without these the worker would see no row.
  create policy _private_jobs_flowgres_worker_all on graphile_worker._private_jobs
    to flowgres_worker using (true) with check (true);
  create policy _private_job_queues_flowgres_worker_all on graphile_worker._private_job_queues
    to flowgres_worker using (true) with check (true);
  create policy _private_tasks_flowgres_worker_all on graphile_worker._private_tasks
    to flowgres_worker using (true) with check (true);
  create policy _private_known_crontabs_flowgres_worker_all on graphile_worker._private_known_crontabs
    to flowgres_worker using (true) with check (true);
end
$$;
