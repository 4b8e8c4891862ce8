-- kind: code
-- Nobody has the right to change the log of runs; these triggers also stop its owner's, and a superuser's, slips. They
-- say nothing about inserts, so those cost what they did. What leaves the log: whole months, by partitions.retire(),
-- which drops tables and deletes the last events of their runs from the months after; and what is purged.

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

-- By row, because that is what partitions inherit: a statement that names a partition is stopped too.
create or replace trigger _100_append_only
  before update on public.workflow_events
  for each row execute function engine.refuse_event_change();

-- private.purge_runs() sets flowgres.purge while it deletes; partitions.clear_some_late_events() does, too, for events
-- that leave with a month of runs.
create or replace trigger _100_append_only_delete
  before delete on public.workflow_events
  for each row when (current_setting('flowgres.purge', true) is distinct from 'on')
  execute function engine.refuse_event_change();

-- No partition inherits this one: partitions.add_partition() gives it to each that it makes.
create or replace trigger _100_append_only_truncate
  before truncate on public.workflow_events
  for each statement execute function engine.refuse_event_change();
