-- kind: queue
-- Rights of the worker in schema graphile_worker. `flowgres migrate` runs this after the queue's own migrations, in a
-- session logged in as flowgres_queue, which owns the schema; running it again changes nothing.
-- The worker reads and changes rows, and owns nothing: code of flowgres_owner calls functions of this schema.

begin;

revoke execute on all functions in schema graphile_worker from public;
revoke all on all tables in schema graphile_worker from public;

grant usage on schema graphile_worker to flowgres_worker;
grant select on graphile_worker.migrations to flowgres_worker;
grant select, update, delete on graphile_worker._private_jobs to flowgres_worker;
grant select, update, delete on graphile_worker._private_job_queues to flowgres_worker;
grant select, insert on graphile_worker._private_tasks to flowgres_worker;
grant select, insert, update on graphile_worker._private_known_crontabs to flowgres_worker;

-- The tables have row-level security without a policy: without these the worker would see no row.
drop policy if exists _private_jobs_worker_all on graphile_worker._private_jobs;
create policy _private_jobs_worker_all on graphile_worker._private_jobs
  to flowgres_worker using (true) with check (true);

drop policy if exists _private_job_queues_worker_all on graphile_worker._private_job_queues;
create policy _private_job_queues_worker_all on graphile_worker._private_job_queues
  to flowgres_worker using (true) with check (true);

drop policy if exists _private_tasks_worker_all on graphile_worker._private_tasks;
create policy _private_tasks_worker_all on graphile_worker._private_tasks
  to flowgres_worker using (true) with check (true);

drop policy if exists _private_known_crontabs_worker_all on graphile_worker._private_known_crontabs;
create policy _private_known_crontabs_worker_all on graphile_worker._private_known_crontabs
  to flowgres_worker using (true) with check (true);

commit;
