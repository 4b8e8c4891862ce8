-- kind: queue
-- Grants the worker its rights in schema graphile_worker. `flowgres migrate` runs this file after
-- graphile-worker's own migrations, logged in as flowgres_queue, which owns the schema. The worker
-- may read and change rows but owns nothing: an owner could replace functions that code of
-- flowgres_owner calls. Writes no rows; creating a policy locks its table (access exclusive) until
-- the transaction ends.

-- PostgreSQL grants EXECUTE on new functions to everybody; revoke it after each migration of the
-- queue.
revoke execute on all functions in schema graphile_worker from public;

-- Runs once: creating a policy locks the table against the workers, which keep running during an
-- upgrade.
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

  -- graphile-worker enables row-level security without a policy; without these policies the worker
  -- sees no row.
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
