-- kind: code
-- Shows DBAs runs of all organizations, without a context: counts, failures, samples. Reads the
-- partitions of runs since a time. For the details of a run, set_context() selects its
-- organization. monitor.analyze() writes statistics; the rest writes and locks nothing.

create or replace function monitor.run_counts(since timestamptz default null)
  returns table (
    organization_id uuid,
    organization text,
    workflow_id uuid,
    workflow text,
    status text,
    runs bigint,
    first_at timestamptz,
    last_at timestamptz,
    last_run_id uuid
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select r.organization_id, o.slug, r.workflow_id, w.name, r.status, count(*), min(r.started_at), max(r.started_at),
    max(r.id::text)::uuid
  from public.workflow_runs as r
  join public.organizations as o on o.id = r.organization_id
  join public.workflows as w on w.organization_id = r.organization_id and w.id = r.workflow_id
  where r.id >= private.first_run(coalesce(since, engine.now() - interval '1 day'))
  group by r.organization_id, o.slug, r.workflow_id, w.name, r.status
  order by count(*) desc, o.slug, w.name, r.status
$$;
comment on function monitor.run_counts(timestamptz) is
  'How many runs started since a time (a day ago by default), by organization, workflow and status, with the id of the last one. Example: select * from monitor.run_counts(now() - interval ''1 hour'')';

create or replace function monitor.failures_since(since timestamptz)
  returns table (
    organization_id uuid,
    organization text,
    workflow_id uuid,
    workflow text,
    code text,
    failures bigint,
    first_at timestamptz,
    last_at timestamptz,
    last_run_id uuid,
    last_message text
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  with failure as (
    select r.organization_id, r.workflow_id, r.error ->> 'code' as code, count(*) as failures,
      min(r.finished_at) as first_at, max(r.finished_at) as last_at, max(r.id::text)::uuid as last_run_id
    from public.workflow_runs as r
    where r.status = 'error'
      and r.id >= private.first_run(since)
    group by r.organization_id, r.workflow_id, r.error ->> 'code'
  )
  select f.organization_id, o.slug, f.workflow_id, w.name, f.code, f.failures, f.first_at, f.last_at, f.last_run_id,
    l.error ->> 'message'
  from failure as f
  join public.organizations as o on o.id = f.organization_id
  join public.workflows as w on w.organization_id = f.organization_id and w.id = f.workflow_id
  join public.workflow_runs as l on l.id = f.last_run_id
  order by f.failures desc, o.slug, w.name, f.code
$$;
comment on function monitor.failures_since(timestamptz) is
  'Failed runs that started since a time, by organization, workflow and error code, with the last one and its message. Example: select * from monitor.failures_since(now() - interval ''7 days'')';

create or replace view monitor.failures with (security_invoker = true) as
select f.* from monitor.failures_since(now() - interval '1 day') as f;
comment on view monitor.failures is
  'Failed runs of the last day by organization, workflow and error code, the most frequent first. Example: select organization, workflow, code, failures from monitor.failures';

create or replace function monitor.sample_runs(
  status text default null,
  workflow uuid default null,
  runs int default 10
)
  returns setof public.workflow_runs
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
  rows 10
as $$
  select r.*
  from public.workflow_runs as r
  where (sample_runs.status is null or r.status = sample_runs.status)
    and (sample_runs.workflow is null or r.workflow_id = sample_runs.workflow)
  order by r.id desc
  limit least(sample_runs.runs, 1000)
$$;
comment on function monitor.sample_runs(text, uuid, int) is
  'The newest runs of all organizations, of one status and one workflow if these are given; 10 by default, at most 1,000. Example: select id, organization_id, error from monitor.sample_runs(''error'')';

create or replace function monitor.bulk_operations(since timestamptz default null)
  returns table (
    organization text,
    id uuid,
    command text,
    filter jsonb,
    total int,
    done int,
    failed int,
    created_at timestamptz,
    finished_at timestamptz
  )
  language sql
  stable
  security definer -- definer because it reads the operations of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select o.slug, r.id, r.command, r.filter, r.total, r.done, r.failed, r.created_at, r.finished_at
  from public.bulk_operations as r
  join public.organizations as o on o.id = r.organization_id
  where r.finished_at is null
    or r.created_at >= coalesce(since, engine.now() - interval '1 day')
  order by r.created_at desc, o.slug
$$;
comment on function monitor.bulk_operations(timestamptz) is
  'Bulk operations of all organizations: those that are not finished, and those that began since a time (a day ago by default). Example: select organization, done, total from monitor.bulk_operations()';

create or replace function monitor.analyze("table" regclass)
  returns regclass
  language plpgsql
  volatile
  security definer -- definer because only the owner of a table analyzes it
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_statement constant text := format('analyze %s', "analyze"."table");
begin
  perform partitions.require_ours("analyze"."table");
  execute v_statement;
  return "analyze"."table";
end
$$;
comment on function monitor.analyze(regclass) is
  'Runs ANALYZE on a table of Flowgres and returns the table, for DBAs, who do not own it; partitions.analyze() does so for all managed tables. Errors: NOT_FOUND, FORBIDDEN (not a table of Flowgres). Example: select monitor.analyze(''public.workflows'')';

grant select on monitor.failures to flowgres_dba, flowgres_monitor;
grant execute on function
  monitor.run_counts(timestamptz),
  monitor.failures_since(timestamptz),
  monitor.bulk_operations(timestamptz)
  to flowgres_dba, flowgres_monitor;
grant execute on function monitor.sample_runs(text, uuid, int), monitor.analyze(regclass) to flowgres_dba;
