-- kind: code
-- The steps of a run, computed from its log. A node that was skipped or not reached yet has no
-- event, so it has no row. Writes and locks nothing.

drop view if exists public.workflow_run_steps cascade;
create view public.workflow_run_steps with (security_invoker = true) as
select
  r.id as run_id,
  s.node,
  case
    when s.last_type in ('step.succeeded', 'step.reused') then 'success'
    when s.last_type = 'step.failed' and not s.last_payload ? 'retryAt' then 'error'
    when r.finished_at is not null then 'canceled'
    when s.last_type = 'step.waiting' then 'waiting'
    when s.last_type = 'step.failed' then 'queued'
    else 'running'
  end as status,
  s.attempt,
  s.last_payload ->> 'port' as port,
  case s.last_payload ->> 'outputOf'
    when '$.input' then s.held_by -> 'input'
    when '$.input.body' then s.held_by #> '{input,body}'
    else coalesce(s.held_by, s.last_payload) -> 'output'
  end as output,
  s.last_payload -> 'error' as error,
  s.started_at,
  case
    when s.last_type in ('step.succeeded', 'step.reused')
      or s.last_type = 'step.failed' and not s.last_payload ? 'retryAt' then s.last_ts
    else r.finished_at
  end as finished_at
from public.workflow_runs as r
cross join lateral (
  -- Materialized, because it is read twice: a step whose event refers to the output of another step
  -- joins that step. The node '$.input' stands for the run itself and holds its input.
  with known as materialized (
    select
      coalesce(e.payload ->> 'node', '$.input') as node,
      max((e.payload ->> 'attempt')::int) as attempt,
      min(e.ts) as started_at,
      max(e.ts) as last_ts,
      (array_agg(e.type order by e.seq desc))[1] as last_type,
      (array_agg(e.payload order by e.seq desc))[1] as last_payload
    from public.workflow_events as e
    where e.run_id = r.id
      -- This bound prunes partitions: see run_columns.sql.
      and e.ts >= engine.uuid_time(r.id) - interval '1 day'
      and e.type in (
        'run.created', 'step.started', 'step.succeeded', 'step.failed', 'step.waiting', 'step.reused', 'step.evaluated'
      )
    group by coalesce(e.payload ->> 'node', '$.input')
  )
  select k.*, h.last_payload as held_by
  from known as k
  left join known as h on h.node = case k.last_payload ->> 'outputOf'
    when '$.input.body' then '$.input'
    else k.last_payload ->> 'outputOf'
  end
  where k.node <> '$.input'
) as s;

comment on view public.workflow_run_steps is
  'One row for each node that a run has reached, computed from the run''s log. Always filter by run_id: else it reads the logs of all runs. Example: select node, status, output from workflow_run_steps where run_id = ''0190…'' order by started_at;';
comment on column public.workflow_run_steps.run_id is 'The id of the run.';
comment on column public.workflow_run_steps.node is 'The id of the node in the definition.';
comment on column public.workflow_run_steps.status is
  'queued (between two attempts), running, waiting, success, error, or canceled (the run ended first).';
comment on column public.workflow_run_steps.attempt is 'The number of the last attempt; 1 for pure nodes.';
comment on column public.workflow_run_steps.port is 'The output that the node chose, for example true.';
comment on column public.workflow_run_steps.output is 'The output that the nodes after it read.';
comment on column public.workflow_run_steps.error is 'Why the last attempt failed: {"code", "message", "retryable", "details"}.';
comment on column public.workflow_run_steps.started_at is 'The time of the first event of the node.';
comment on column public.workflow_run_steps.finished_at is 'When the step ended, or the run before it; null while it has not ended.';

grant select on public.workflow_run_steps to flowgres_user, flowgres_dba;

create or replace function public.workflow_runs_steps(run public.workflow_runs)
  returns setof public.workflow_run_steps
  language sql
  stable
  rows 10
as $$
  select s.* from public.workflow_run_steps as s where s.run_id = run.id order by s.started_at, s.node
$$;
comment on function public.workflow_runs_steps(public.workflow_runs) is
  'The steps that the run has reached, in the order of their start. Example: select s.node, s.status from workflow_runs as r, workflow_runs_steps(r) as s where r.id = ''0190…'';';

grant execute on function public.workflow_runs_steps(public.workflow_runs) to flowgres_user, flowgres_dba;
