-- kind: code
-- Converts a plain table into a partitioned one of the same name while it is read and written.
-- Writes partitions.conversions, whose row it locks, and partitions.managed_tables. Locks the
-- table, access exclusive, for an instant to add a check and, with the tables that foreign keys
-- join, to swap it; writers go on while the check is validated.

create or replace procedure partitions.convert(
  parent regclass,
  key text,
  granularity text default 'month',
  premake int default 3,
  behind int default 0,
  retention interval default null,
  extend_primary_key boolean default false
)
  language plpgsql
as $$
begin
  perform partitions.begin_conversion(
    convert.parent, convert.key, convert.granularity, convert.premake, convert.behind, convert.retention,
    convert.extend_primary_key
  );
  commit;
  -- Reads the whole table; writers go on.
  perform partitions.check_rows(convert.parent);
  commit;
  perform partitions.attach_historic(convert.parent);
end
$$;
comment on procedure partitions.convert(regclass, text, text, int, int, interval, boolean) is
  'Makes a plain table a partitioned one of the same name, cut by a column of type timestamptz, date or uuid (version 7), and puts it under management. The old table becomes its only partition, <name>_historic; partitions.split() then cuts that. Writers wait for a moment only, however large the table is. Rights, policies, keys, foreign keys, indexes, triggers, sequences, comments and storage parameters are carried over; what cannot be is refused before anything is changed. If it is interrupted, call it again. Cannot run within a transaction. Errors: NOT_FOUND, FORBIDDEN (another owner), INVALID_ARGUMENT (says what prevents the conversion), CONFLICT (locks were not available, or a name is taken). Example: call partitions.convert(''public.readings'', ''ts'', ''month'', retention => ''1 year'')';

-- Checks that the table can be converted, then adds a check, not validated, that refuses new rows
-- outside of the time range of the old table.
create or replace function partitions.begin_conversion(
  p_table regclass,
  p_key text,
  p_granularity text,
  p_premake int,
  p_behind int,
  p_retention interval,
  p_extend_primary_key boolean
)
  returns void
  language plpgsql
  volatile
  security definer -- definer because a DBA converts tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_time_range tstzrange;
begin
  perform partitions.require_convertible(p_table, p_key, p_extend_primary_key);
  perform partitions.require_conversion_plan(p_granularity, p_premake, p_behind);
  v_time_range := partitions.time_range_of_rows(p_table, p_key, p_granularity, p_premake, p_behind);
  perform partitions.require_free_names(p_table, p_granularity, v_time_range);
  delete from partitions.conversions as c where not exists (select from pg_class as t where t.oid = c.parent);
  insert into partitions.conversions as c
    (parent, state, key, granularity, premake, behind, retention, extend_primary_key, lower, upper, started_at,
     changed_at)
  values (p_table, 'checking', p_key, p_granularity, p_premake, p_behind, p_retention, p_extend_primary_key,
    lower(v_time_range), upper(v_time_range), engine.now(), engine.now())
  on conflict on constraint conversions_pkey do update
  set state = excluded.state,
    key = excluded.key,
    granularity = excluded.granularity,
    premake = excluded.premake,
    behind = excluded.behind,
    retention = excluded.retention,
    extend_primary_key = excluded.extend_primary_key,
    lower = excluded.lower,
    upper = excluded.upper,
    changed_at = excluded.changed_at;
  perform partitions.execute_with_lock_timeout(concat_ws('; ',
    (
      select format('alter table %s drop constraint %I', p_table, k.conname)
      from pg_constraint as k
      where k.conrelid = p_table and k.conname = partitions.bound_check()
    ),
    format('alter table %s add constraint %I check (%s) not valid', p_table, partitions.bound_check(),
      partitions.bound_condition(partitions.kind_of_column(p_table, p_key), p_key, v_time_range))
  ));
end
$$;

-- Validates that check: the existing rows are in the time range too. Locks the conversion's row;
-- writers go on.
create or replace function partitions.check_rows(p_table regclass)
  returns void
  language plpgsql
  volatile
  security definer -- definer because a DBA converts tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform partitions.lock_conversion(p_table, '{checking,checked}');
  perform partitions.execute_with_lock_timeout(
    format('alter table %s validate constraint %I', p_table, partitions.bound_check()));
  update partitions.conversions as c set state = 'checked', changed_at = engine.now() where c.parent = p_table;
end
$$;

-- Replaces the plain table by a partitioned one, with the old table as a partition.
create or replace function partitions.attach_historic(p_table regclass)
  returns void
  language plpgsql
  volatile
  security definer -- definer because a DBA converts tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform partitions.lock_conversion(p_table, '{checked}');
  perform partitions.execute_with_lock_timeout(
    format('select partitions.swap(c) from partitions.conversions as c where c.parent = %L::regclass', p_table));
end
$$;

-- Locks the row of a conversion, so that one session at a time works on it; raises CONFLICT when
-- another session has done the step already.
create or replace function partitions.lock_conversion(p_table regclass, p_states text[])
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions;
begin
  select c.* into v_conversion from partitions.conversions as c where c.parent = p_table for update;
  if not found then
    perform private.raise_error('NOT_FOUND', format('%s is not being converted.', coalesce(p_table::text, 'null')),
      'partitions.convert() begins a conversion.');
  elsif v_conversion.state <> all (p_states) then
    perform private.raise_error('CONFLICT',
      format('Another session is converting %s, which is %s.', p_table, v_conversion.state));
  end if;
  return v_conversion;
end
$$;

grant execute on procedure
  partitions.convert(regclass, text, text, int, int, interval, boolean)
  to flowgres_dba;
grant execute on function
  partitions.begin_conversion(regclass, text, text, int, int, interval, boolean),
  partitions.check_rows(regclass),
  partitions.attach_historic(regclass)
  to flowgres_dba;
