-- kind: code
-- Cuts time into periods of the UTC calendar, whatever the session's time zone, and names and
-- bounds their partitions. Writes and locks nothing.

-- Returns the length of a period; null for a granularity that does not exist.
create or replace function partitions.step(p_granularity text)
  returns interval
  language sql
  immutable
  parallel safe
as $$
  select case p_granularity
    when 'day' then interval '1 day'
    when 'week' then interval '7 days'
    when 'month' then interval '1 month'
    when 'year' then interval '1 year'
  end
$$;

-- Returns the period of the calendar that holds a moment, or the one p_shift periods later.
create or replace function partitions.period(
  p_granularity text,
  p_at timestamptz,
  p_shift int default 0
)
  returns tstzrange
  language sql
  immutable
  parallel safe
as $$
  select tstzrange(
    (first.day + p_shift * step) at time zone 'UTC',
    (first.day + (p_shift + 1) * step) at time zone 'UTC'
  )
  from date_trunc(p_granularity, p_at at time zone 'UTC') as first (day),
    partitions.step(p_granularity) as step
$$;

-- Cuts a time range at the calendar's periods: whole periods, except where the range begins or ends
-- inside one.
create or replace function partitions.split(p_granularity text, p_time_range tstzrange)
  returns setof tstzrange
  language sql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.period(p_granularity, cut.at at time zone 'UTC') * p_time_range
  from generate_series(
    date_trunc(p_granularity, lower(p_time_range) at time zone 'UTC'),
    upper(p_time_range) at time zone 'UTC' - interval '1 microsecond',
    partitions.step(p_granularity)
  ) as cut (at)
$$;

-- Names a partition: a whole period after the calendar, a part of one after its first day, because
-- a period may have two parts.
create or replace function partitions.partition_name(
  p_parent text,
  p_granularity text,
  p_time_range tstzrange
)
  returns text
  language sql
  stable
  parallel safe
as $$
  select p_parent || to_char(
    lower(p_time_range) at time zone 'UTC',
    case
      when p_time_range <> partitions.period(p_granularity, lower(p_time_range)) then '"_y"YYYY"m"MM"d"DD'
      when p_granularity = 'year' then '"_y"YYYY'
      when p_granularity = 'month' then '"_y"YYYY"m"MM'
      when p_granularity = 'week' then '"_y"IYYY"w"IW'
      else '"_y"YYYY"m"MM"d"DD'
    end
  )
$$;

-- Writes a bound in the key's type, with an explicit time zone.
create or replace function partitions.bound(p_key_kind text, p_at timestamptz)
  returns text
  language sql
  stable
  parallel safe
as $$
  select case p_key_kind
    when 'uuidv7' then engine.uuid_floor(p_at)::text
    when 'date' then to_char(p_at at time zone 'UTC', 'YYYY-MM-DD')
    else to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"+00"')
  end
$$;

-- Writes the FOR VALUES clause of a time range.
create or replace function partitions.values_clause(p_key_kind text, p_time_range tstzrange)
  returns text
  language sql
  stable
  parallel safe
as $$
  select format('for values from (%s) to (%s)',
    case lower(p_time_range) when '-infinity' then 'minvalue'
      else quote_literal(partitions.bound(p_key_kind, lower(p_time_range))) end,
    case upper(p_time_range) when 'infinity' then 'maxvalue'
      else quote_literal(partitions.bound(p_key_kind, upper(p_time_range))) end)
$$;

-- Raises INVALID_ARGUMENT for a time that no partition can hold: names have a year of four digits,
-- and a UUIDv7 begins in 1970.
create or replace function partitions.require_time(p_key_kind text, p_at timestamptz)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_at is null then
    perform private.raise_error('INVALID_ARGUMENT', 'A time is needed, not null.');
  end if;
  if p_at < timestamptz '0001-01-01 00:00+00'
    or p_at >= timestamptz '9999-01-01 00:00+00'
    or (p_key_kind = 'uuidv7' and p_at < timestamptz '1970-01-01 00:00+00')
  then
    perform private.raise_error('INVALID_ARGUMENT', format('There can be no partition for %s.', p_at),
      'Give a time before the year 9999, and from 1970 on where the key is a UUID.');
  end if;
end
$$;
