-- kind: code
-- The trigger of watched tables: starts runs for the rows that a statement has changed, in its
-- transaction, with all of them in one call of engine.start_runs(), which writes and locks. The
-- rows of an update are paired by their order: PostgreSQL puts the old and the new version of each
-- row into its two tables at the same time.

create or replace function engine.start_for_changes()
  returns trigger
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_watch engine.table_watches;
  v_changes jsonb[];
begin
  select w.* into v_watch
  from engine.table_watches as w
  where w.id = TG_ARGV[0]::uuid and w.watched in (
    select TG_RELID::regclass union all select t.relid::regclass from pg_partition_ancestors(TG_RELID) as t (relid)
  );
  if not found then
    return null;
  elsif TG_OP = 'INSERT' then
    v_changes := array(select jsonb_build_object('new', to_jsonb(n)) from new_rows as n);
  elsif TG_OP = 'DELETE' then
    v_changes := array(select jsonb_build_object('old', to_jsonb(o)) from old_rows as o);
  else
    v_changes := array(
      select jsonb_build_object('old', o.fields, 'new', n.fields)
      from (select to_jsonb(t) as fields, row_number() over () as place from old_rows as t) as o
      join (select to_jsonb(t) as fields, row_number() over () as place from new_rows as t) as n using (place)
      where o.fields <> n.fields
      order by place
    );
  end if;
  v_changes := engine.watched_changes(v_watch, v_changes);
  if cardinality(v_changes) > 0 then
    perform engine.start_watch_runs(v_watch, lower(TG_OP collate "C"), v_changes);
  end if;
  return null;
end
$$;
comment on function engine.start_for_changes() is
  'The trigger that engine.watch_table() creates: starts the runs of a watched table.';

-- Returns the changes that meet the condition of a watch, with its columns only.
create or replace function engine.watched_changes(p_watch engine.table_watches, p_changes jsonb[])
  returns jsonb[]
  language plpgsql
  stable
as $$
declare
  v_changes jsonb[] := p_changes;
  v_names text[];
begin
  if p_watch.condition is not null then
    v_changes := array(
      select c.change
      from unnest(v_changes) with ordinality as c (change, place)
      where jsonb_path_match(c.change, p_watch.condition, silent => true)
      order by c.place
    );
  end if;
  if p_watch.columns is not null then
    v_names := array(
      select a.attname::text from pg_attribute as a
      where a.attrelid = p_watch.watched and a.attnum = any (p_watch.columns) and not a.attisdropped
    );
    v_changes := array(
      select case
        when old.fields is null then jsonb_build_object('new', new.fields)
        when new.fields is null then jsonb_build_object('old', old.fields)
        else jsonb_build_object('old', old.fields, 'new', new.fields)
      end
      from unnest(v_changes) with ordinality as c (change, place)
      cross join lateral engine.some_fields(c.change -> 'old', v_names) as old (fields)
      cross join lateral engine.some_fields(c.change -> 'new', v_names) as new (fields)
      where old.fields is distinct from new.fields
      order by c.place
    );
  end if;
  return v_changes;
end
$$;

-- Returns an object with those of its fields that have these names; null for null.
create or replace function engine.some_fields(p_object jsonb, p_names text[])
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_object is not null then
      (
        select coalesce(jsonb_object_agg(f.key, f.value), '{}')
        from jsonb_each(p_object) as f
        where f.key = any (p_names)
      )
  end
$$;

-- Starts the runs of a statement. A chain of runs that start each other by changing tables is cut:
-- beyond its end nothing is started, and a warning says so.
create or replace function engine.start_watch_runs(
  p_watch engine.table_watches,
  p_operation text,
  p_changes jsonb[]
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_depth constant int := engine.table_depth(current_setting('flowgres.cause', true)) + 1;
  v_batches jsonb[];
  v_error jsonb;
begin
  if v_depth > engine.max_table_depth() then
    raise warning using
      message = format(
        'A change of %s starts no run: runs have changed watched tables %s times in a row.',
        p_watch.watched, engine.max_table_depth()
      ),
      hint = 'A run changes the table that starts it: narrow the condition or the columns of engine.watch_table().';
    return;
  end if;
  v_batches := engine.batches_of(p_changes, p_watch.batch);
  if cardinality(v_batches) > engine.max_watch_runs() then
    v_error := jsonb_build_object(
      'code', 'TOO_LARGE',
      'message', format(
        'The statement would start %s runs, more than %s.', cardinality(v_batches), engine.max_watch_runs()
      ),
      'hint', 'Change fewer rows at a time, or give engine.watch_table() a larger batch, or columns.'
    );
  else
    select s.error into v_error
    from engine.start_runs((
      select jsonb_agg(jsonb_build_object(
        'organizationId', p_watch.organization_id,
        'workflowId', p_watch.workflow_id,
        'mode', 'table',
        'input', jsonb_build_object('table', p_watch.watched::text, 'operation', p_operation, 'rows', b.changes),
        'origin', jsonb_build_object(
          'application', private.application_role(),
          'table', jsonb_build_object('depth', v_depth)
        )
      ) order by b.place)
      from unnest(v_batches) with ordinality as b (changes, place)
    )) as s
    where s.run_id is null
    limit 1;
  end if;
  if v_error is not null and p_watch.required then
    perform private.raise_json_error(v_error);
  elsif v_error is not null then
    raise warning using message = format('A change of %s starts no run: %s', p_watch.watched, v_error ->> 'message');
  end if;
end
$$;

-- Cuts changes into arrays for one run each: at most p_rows, and not more than an input may have.
create or replace function engine.batches_of(p_changes jsonb[], p_rows int)
  returns jsonb[]
  language sql
  immutable
as $$
  select array_agg(b.changes order by b.batch)
  from (
    select jsonb_agg(s.change order by s.place) as changes, s.batch
    from (
      select
        c.change, c.place,
        -- A batch also ends where the size of all before it passes another half of what an input may
        -- have.
        row(
          (c.place - 1) / p_rows,
          div(sum(c.bytes) over (order by c.place) - c.bytes, engine.max_value_bytes() / 2)
        ) as batch
      from (
        select u.change, u.place, octet_length(u.change::text) as bytes
        from unnest(p_changes) with ordinality as u (change, place)
      ) as c
    ) as s
    group by s.batch
  ) as b
$$;

-- Returns how many runs have started each other by changes of tables before the run that is the
-- cause of this transaction, it included; 0 without one. Looks through parents: a child may change
-- the table.
create or replace function engine.table_depth(p_cause text)
  returns int
  language plpgsql
  stable
as $$
declare
  v_run public.workflow_runs;
  v_depth int;
begin
  if p_cause ~ '^[0-9a-f-]{36}$' then
    v_run := engine.read_run(p_cause::uuid);
  end if;
  for v_level in 1 .. engine.max_table_depth() loop
    exit when v_run.id is null;
    select (e.payload #>> '{table,depth}')::int into v_depth
    from public.get_workflow_run_events(v_run.id) as e
    where e.seq = 1;
    exit when v_depth is not null or v_run.parent_run_id is null;
    v_run := engine.read_run(v_run.parent_run_id);
  end loop;
  return coalesce(v_depth, 0);
end
$$;

insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values (
  'tableTrigger', 1, 'trigger', 'trigger', 'table', 'Starts a run because rows of a watched table have changed.',
  '{main}', '{}',
  '{"type": "object", "additionalProperties": false}'
)
on conflict (name, version) do update
set
  kind = excluded.kind,
  category = excluded.category,
  icon = excluded.icon,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;
