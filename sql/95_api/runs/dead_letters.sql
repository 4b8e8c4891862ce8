-- kind: code
-- Failed runs that have not been retried. Writes and locks nothing.

create or replace function public.dead_letters(workflow uuid default null)
  returns setof public.workflow_runs
  language sql
  stable
  rows 100
as $$
  select r.*
  from public.workflow_runs as r
  where r.status = 'error'
    and r.retried_by is null
    and r.parent_index is null
    and (workflow is null or r.workflow_id = workflow)
  order by r.id desc
$$;
comment on function public.dead_letters(uuid) is
  'Runs that have failed and were not retried, newest first; of one workflow, if it is given. Leaves out runs that a step of another run started: their failure is handled by that step. retry_run and retry_runs do them again. Example: select id, error ->> ''message'' from dead_letters();';

grant execute on function public.dead_letters(uuid) to flowgres_user, flowgres_dba;
