-- kind: code
-- Keeps the log of runs append-only. No role has the right to change it; these triggers also stop
-- mistakes of its owner and of superusers. There is none on inserts, so inserts cost nothing more.
-- Events are removed by partitions.retire(), which drops whole months and deletes late events of
-- their runs, and by the purge of organizations. Writes and locks nothing.

-- The trigger function: raises FORBIDDEN.
create or replace function engine.refuse_event_change()
  returns trigger
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'FORBIDDEN',
    format('%s of %s: the log of runs is append-only.', lower(TG_OP collate "C"), TG_TABLE_NAME),
    'Old months leave by partitions.retire(), deleted organizations by engine.purge_organizations().'
  );
  return null;
end
$$;

-- A row trigger, because partitions inherit those: a statement that names a partition is refused,
-- too.
create or replace trigger _100_append_only
  before update on public.workflow_events
  for each row execute function engine.refuse_event_change();

-- private.purge_runs() sets flowgres.purge while it deletes, and so does
-- partitions.clear_some_late_events(), for late events of retired runs.
create or replace trigger _100_append_only_delete
  before delete on public.workflow_events
  for each row when (current_setting('flowgres.purge', true) is distinct from 'on')
  execute function engine.refuse_event_change();

-- Partitions do not inherit statement triggers: partitions.add_partition() creates this one on each
-- new partition.
create or replace trigger _100_append_only_truncate
  before truncate on public.workflow_events
  for each statement execute function engine.refuse_event_change();
