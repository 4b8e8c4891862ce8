-- kind: code
-- Finds out whether the log of runs was only appended to: I16 of docs/reference/invariants.md. Reads no
-- event; writes and locks nothing.
-- Triggers refuse changes. When a superuser bypasses them, the server's statistics count the rows
-- as updated; which event it was, engine.verify_run() finds where other events follow from it, and
-- I2 finds missing events. A seal for each run, as the audit log has, would cost one more row for
-- each run and is not kept.

create or replace function monitor.changed_log()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because monitors do not own the tables
  set search_path = pg_catalog, pg_temp
as $$
  select
    'I16 no event was changed', null::uuid,
    jsonb_build_object('partition', o.partition::text, 'updated', pg_stat_get_tuples_updated(o.partition))
  from partitions.of('public.workflow_events') as o
  where pg_stat_get_tuples_updated(o.partition) > 0
  union all
  select
    'I16 triggers refuse changes of the log', null,
    jsonb_build_object('partition', o.partition::text, 'trigger', w.name)
  from partitions.of('public.workflow_events') as o
  cross join (values ('_100_append_only'), ('_100_append_only_delete')) as w (name)
  where not exists (
    select from pg_trigger as t where t.tgrelid = o.partition and t.tgname = w.name and t.tgenabled in ('O', 'A')
  )
$$;
comment on function monitor.changed_log() is
  'Partitions of workflow_events in which rows were updated since the server''s statistics began, and those whose triggers do not refuse changes. Cheap. Example: select * from monitor.changed_log()';

grant execute on function monitor.changed_log() to flowgres_dba, flowgres_monitor;
