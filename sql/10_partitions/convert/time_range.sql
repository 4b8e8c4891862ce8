-- kind: code
-- Finds the time range of a plain table's rows, and the partitions that it makes. Reads the whole
-- table; writes and locks nothing.

-- Returns the kind of partition key that a column makes; null when its type is not supported.
create or replace function partitions.kind_of_column(p_table regclass, p_key text)
  returns text
  language sql
  stable
as $$
  select partitions.kind_of_type(a.atttypid) from pg_attribute as a where a.attrelid = p_table and a.attname = p_key
$$;

-- Raises INVALID_ARGUMENT for a granularity, premake or behind that partitions.managed_tables would
-- refuse.
create or replace function partitions.require_conversion_plan(p_granularity text, p_premake int, p_behind int)
  returns void
  language plpgsql
  stable
as $$
begin
  if partitions.step(p_granularity) is null then
    perform private.raise_error('INVALID_ARGUMENT', format('%s is no granularity.', coalesce(p_granularity, 'null')),
      'Say day, week, month or year.');
  elsif not coalesce(p_premake between 1 and 2000 and p_behind between 0 and 2000, false) then
    perform private.raise_error('INVALID_ARGUMENT', 'premake or behind is out of range.',
      'premake is 1 to 2000, behind 0 to 2000.');
  end if;
end
$$;

-- Returns the earliest and the latest time of the rows; refuses rows that no partition could hold.
create or replace function partitions.require_times(
  p_table regclass,
  p_key text,
  out earliest timestamptz,
  out latest timestamptz
)
  language plpgsql
  stable
as $$
declare
  v_kind constant text := partitions.kind_of_column(p_table, p_key);
  v_misfits bigint;
  v_query text;
begin
  v_query := format(
    'select min(t.at), max(t.at), count(*) filter (where not coalesce(t.fits, false))
     from (select %1$s as at, %2$s as fits from %3$s) as t',
    case v_kind
      when 'uuidv7' then format('case when substr(%1$I::text, 15, 1) = ''7'' then engine.uuid_time(%1$I) end', p_key)
      else format('case when isfinite(%1$I) then %1$I%2$s end', p_key,
        case v_kind when 'date' then '::timestamp at time zone ''UTC''' end)
    end,
    case v_kind
      when 'uuidv7' then format('substr(%I::text, 15, 1) = ''7''', p_key)
      else format('isfinite(%I)', p_key)
    end,
    p_table);
  execute v_query into earliest, latest, v_misfits;
  if v_misfits > 0 then
    perform private.raise_error('INVALID_ARGUMENT',
      format('%s rows of %s have a %I that is null, infinite, or a UUID of another version.',
        v_misfits, p_table, p_key),
      'Change or delete them: they have no time.');
  end if;
  if earliest is not null then
    perform partitions.require_time(v_kind, earliest);
    perform partitions.require_time(v_kind, latest);
  end if;
end
$$;

-- Returns the time range of the old table: that of its rows, and the periods that maintenance would
-- have made by now, so that the check refuses no row that would have had a partition.
create or replace function partitions.time_range_of_rows(
  p_table regclass,
  p_key text,
  p_granularity text,
  p_premake int,
  p_behind int
)
  returns tstzrange
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_time_range tstzrange;
begin
  select tstzrange(
    lower(partitions.period(p_granularity, least(r.earliest, lower(first)))),
    upper(partitions.period(p_granularity, greatest(r.latest, lower(last))))
  )
  into v_time_range
  from partitions.require_times(p_table, p_key) as r
  cross join partitions.period(p_granularity, v_now, -p_behind) as first
  cross join partitions.period(p_granularity, v_now, p_premake) as last;
  if upper(v_time_range) - lower(v_time_range) > 1000 * partitions.step(p_granularity) then
    perform private.raise_error('INVALID_ARGUMENT',
      format('From %s to %s would be more than 1000 partitions.', lower(v_time_range), upper(v_time_range)),
      'Choose a longer granularity, or move the rows of odd times elsewhere first.');
  end if;
  return v_time_range;
end
$$;

-- Raises CONFLICT when a table exists that has one of the names of the conversion's new tables.
create or replace function partitions.require_free_names(p_table regclass, p_granularity text, p_time_range tstzrange)
  returns void
  language plpgsql
  stable
as $$
declare
  v_used_name text;
begin
  select used.name into v_used_name
  from pg_class as c
  cross join lateral (
    select partitions.historic_name(c.relname)
    union all
    select partitions.copy_name(c.relname)
    union all
    select partitions.partition_name(c.relname, p_granularity, piece)
    from partitions.split(p_granularity, p_time_range) as piece
  ) as used (name)
  where c.oid = p_table
    and to_regclass(partitions.qualified(p_table, used.name)) is not null
  limit 1;
  if found then
    perform private.raise_error('CONFLICT', format('There is a table %s already.', v_used_name),
      'The conversion needs its name: rename or drop it.');
  end if;
end
$$;
