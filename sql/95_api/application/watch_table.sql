-- kind: code
-- Makes the changes of a table of an application start runs, and ends that. Functions of schema
-- engine with the rights of the caller, who must be a DBA and must own the table or have TRIGGER on
-- it. Writes engine.table_watches; creating and dropping triggers locks the watched table (share
-- row exclusive; access exclusive to drop) until the transaction ends.

create or replace function engine.watch_table(
  watched regclass,
  workflow uuid,
  operations text[] default '{insert,update,delete}',
  condition text default null,
  columns text[] default null,
  batch int default 100,
  required boolean default true
)
  returns uuid
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_watch_id uuid;
  v_operation text;
begin
  v_watch_id := engine.save_watch(watched, workflow, operations, condition, columns, batch, required);
  foreach v_operation in array '{insert,update,delete}'::text[] loop
    execute engine.watch_statement(watched, v_watch_id, v_operation, v_operation = any (operations));
  end loop;
  return v_watch_id;
end
$$;
comment on function engine.watch_table(regclass, uuid, text[], text, text[], int, boolean) is
  'For DBAs who own the table: each statement that changes it starts runs of a workflow in its own transaction, with input {"table", "operation", "rows": [{"old"?, "new"?}]}, one run for up to batch rows. Repeating it for the same table and workflow replaces what was said before. condition: an SQL/JSON path on {"old", "new"}, such as $.new.total > 100; rows for which it is not true start nothing. columns: what the rows contain; an update that changes none of them starts nothing, and renamed columns stay watched. required, true by default: the statement fails when a run cannot be started; false: a warning is raised instead. A statement that would start more than 100 runs fails with TOO_LARGE. Errors: NOT_FOUND, INVALID_ARGUMENT, 42501 (not the owner). Example: select engine.watch_table(''orders'', ''0190…'', operations => ''{insert}'', condition => ''$.new.total > 100'');';

create or replace function engine.unwatch_table(watched regclass, workflow uuid)
  returns boolean
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_watch_id constant uuid := engine.delete_watch(watched, workflow);
  v_operation text;
begin
  if v_watch_id is null then
    return false;
  end if;
  foreach v_operation in array '{insert,update,delete}'::text[] loop
    execute engine.watch_statement(watched, v_watch_id, v_operation, false);
  end loop;
  return true;
end
$$;
comment on function engine.unwatch_table(regclass, uuid) is
  'For DBAs who own the table: its changes start no more runs of the workflow; false when they did not. Runs that were started go on. Example: select engine.unwatch_table(''orders'', ''0190…'');';

-- Returns the statement that creates, or drops, the trigger of a watch for one operation.
create or replace function engine.watch_statement(
  p_watched regclass,
  p_watch_id uuid,
  p_operation text,
  p_is_watched boolean
)
  returns text
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select case
    when not p_is_watched then format('drop trigger if exists %I on %I.%I', t.name, n.nspname, c.relname)
    else format(
      'create or replace trigger %I after %s on %I.%I referencing %s '
      'for each statement execute function engine.start_for_changes(%L)',
      t.name, p_operation, n.nspname, c.relname,
      case p_operation
        when 'insert' then 'new table as new_rows'
        when 'delete' then 'old table as old_rows'
        else 'old table as old_rows new table as new_rows'
      end,
      p_watch_id
    )
  end
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  cross join lateral format('flowgres_%s_%s', p_operation, p_watch_id) as t (name)
  where c.oid = p_watched
$$;
grant execute on function engine.watch_statement(regclass, uuid, text, boolean) to flowgres_dba;

-- Checks and stores what watch_table() was told; the trigger reads it. Returns the id of the watch.
create or replace function engine.save_watch(
  p_watched regclass,
  p_workflow_id uuid,
  p_operations text[],
  p_condition text,
  p_columns text[],
  p_batch int,
  p_required boolean
)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because nobody else writes the table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid;
  v_columns smallint[];
  v_watch_id uuid;
begin
  select w.organization_id into v_organization_id from public.workflows as w where w.id = p_workflow_id;
  perform private.require_access(v_organization_id, 'workflows:write', 'workflow');
  perform private.check_watched(p_watched, p_operations, p_batch);
  v_columns := array(
    select a.attnum
    from unnest(p_columns) as c (name)
    join pg_attribute as a on a.attrelid = p_watched and a.attname = c.name and a.attnum > 0 and not a.attisdropped
  );
  if cardinality(v_columns) <> cardinality(p_columns) then
    perform private.raise_error('INVALID_ARGUMENT', format('%s does not have all of these columns.', p_watched));
  end if;
  insert into engine.table_watches (watched, organization_id, workflow_id, condition, columns, batch, required)
  values (
    p_watched, v_organization_id, p_workflow_id, p_condition::jsonpath, nullif(v_columns, '{}'), p_batch, p_required
  )
  on conflict on constraint table_watches_watched_key do update
  set
    condition = excluded.condition,
    columns = excluded.columns,
    batch = excluded.batch,
    required = excluded.required
  returning id into v_watch_id;
  return v_watch_id;
end
$$;

-- Raises INVALID_ARGUMENT for what cannot be watched.
create or replace function private.check_watched(p_watched regclass, p_operations text[], p_batch int)
  returns void
  language plpgsql
  stable
as $$
begin
  if not exists (
    select from pg_class as c
    where c.oid = p_watched and c.relkind in ('r', 'p') and pg_get_userbyid(c.relowner) !~ '^flowgres_'
  ) then
    perform private.raise_error('INVALID_ARGUMENT', 'Only tables can be watched, and none of Flowgres.');
  elsif cardinality(p_operations) > 0 is not true or not p_operations <@ '{insert,update,delete}' then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'The operations of a watched table are insert, update and delete.',
      'For example: operations => ''{insert,update}''.'
    );
  elsif p_batch between 1 and engine.max_watched_rows() is not true then
    perform private.raise_error(
      'INVALID_ARGUMENT', format('A batch has 1 to %s rows.', engine.max_watched_rows())
    );
  end if;
end
$$;

create or replace function engine.delete_watch(p_watched regclass, p_workflow_id uuid)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because nobody else writes the table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_watch engine.table_watches;
begin
  delete from engine.table_watches as t
  where t.watched = p_watched and t.workflow_id = p_workflow_id
  returning * into v_watch;
  if found then
    perform private.require_access(v_watch.organization_id, 'workflows:write', 'workflow');
  end if;
  return v_watch.id;
end
$$;
comment on function engine.save_watch(regclass, uuid, text[], text, text[], int, boolean) is
  'A part of engine.watch_table(): checks and stores what is watched; creates no trigger.';
comment on function engine.delete_watch(regclass, uuid) is
  'A part of engine.unwatch_table(): deletes what is watched; without it the triggers do nothing.';
