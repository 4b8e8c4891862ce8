-- kind: code
-- Filters on dates. A date is an ISO 8601 text or a Unix time in seconds; the zone is always said, as a name of
-- the IANA database, so that the result does not depend on the server. SQL null means that a filter does not
-- apply.

-- Names only: PostgreSQL would also take +02:00, but means two hours west of Greenwich by it.
create or replace function engine.is_time_zone(p_name text)
  returns boolean
  language plpgsql
  immutable
as $$
begin
  if p_name !~ '^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$' then
    return false;
  end if;
  perform timestamp '2026-01-01 00:00' at time zone p_name;
  return true;
exception
  when data_exception then
    return false;
end
$$;

-- The instant; a text without an offset is a local time of the zone.
create or replace function engine.parse_instant(p_value jsonb, p_zone text)
  returns timestamptz
  language plpgsql
  immutable
as $$
declare
  v_text constant text := upper(btrim(engine.scalar_text(p_value)));
  v_instant timestamptz;
begin
  if not engine.is_time_zone(p_zone) then
    return null;
  end if;
  case
    when jsonb_typeof(p_value) = 'number' then
      v_instant := to_timestamp(v_text::numeric);
    when v_text ~ '^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?$' then
      v_instant := replace(replace(v_text, 'T', ' '), ',', '.')::timestamp at time zone p_zone;
    when v_text ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$' then
      v_instant := replace(replace(v_text, 'T', ' '), ',', '.')::timestamptz;
    else
      return null;
  end case;
  if v_instant >= '0001-01-02 00:00+00' and v_instant < '9999-12-31 00:00+00' then
    return v_instant;
  end if;
  return null;
exception
  when data_exception then
    return null;
end
$$;

-- ISO 8601 with the offset of the zone, such as 2026-11-21T10:30:00.000+01:00.
create or replace function engine.instant_text(p_instant timestamptz, p_zone text)
  returns text
  language sql
  immutable
as $$
  select to_char(l.local_time, 'YYYY-MM-DD"T"HH24:MI:SS.MS') || case
    when l.minutes = 0 then 'Z'
    else case when l.minutes < 0 then '-' else '+' end
      || to_char(abs(l.minutes) / 60, 'FM00') || ':' || to_char(abs(l.minutes) % 60, 'FM00')
  end
  from (
    select
      p_instant at time zone p_zone as local_time,
      (extract(epoch from (p_instant at time zone p_zone) - (p_instant at time zone 'UTC')) / 60)::int as minutes
  ) as l
$$;

-- The date in a zone, as ISO 8601 or by a template of to_char.
create or replace function engine.filter_date(p_value jsonb, p_zone text, p_template text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_instant constant timestamptz := engine.parse_instant(p_value, p_zone);
begin
  if p_template is null then
    return to_jsonb(engine.instant_text(v_instant, p_zone));
  elsif length(p_template) > 200 or p_template ~ 'TM' then -- TM depends on the server's language
    return null;
  end if;
  return to_jsonb(to_char(v_instant at time zone p_zone, p_template));
end
$$;

-- Days and longer are those of the calendar in the zone; a day may have 23 or 25 hours.
create or replace function engine.filter_add(p_value jsonb, p_amount int, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_instant timestamptz := engine.parse_instant(p_value, p_zone);
  v_step constant interval := case p_unit
    when 'milliseconds' then interval '1 millisecond'
    when 'seconds' then interval '1 second'
    when 'minutes' then interval '1 minute'
    when 'hours' then interval '1 hour'
    when 'days' then interval '1 day'
    when 'weeks' then interval '1 week'
    when 'months' then interval '1 month'
    when 'years' then interval '1 year'
  end;
begin
  if p_unit in ('milliseconds', 'seconds', 'minutes', 'hours') then
    v_instant := v_instant + p_amount * v_step;
  else
    v_instant := ((v_instant at time zone p_zone) + p_amount * v_step) at time zone p_zone;
  end if;
  if v_instant >= '0001-01-02 00:00+00' and v_instant < '9999-12-31 00:00+00' then
    return to_jsonb(engine.instant_text(v_instant, p_zone));
  end if;
  return null;
exception
  when data_exception then
    return null;
end
$$;

-- Whole units from p_other to the value; negative when the value is earlier.
create or replace function engine.filter_diff(p_value jsonb, p_other jsonb, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value constant timestamptz := engine.parse_instant(p_value, p_zone);
  v_other constant timestamptz := engine.parse_instant(p_other, p_zone);
  v_exact constant numeric := extract(epoch from v_value - v_other);
  v_local constant numeric := extract(epoch from (v_value at time zone p_zone) - (v_other at time zone p_zone));
  v_age constant interval := age(v_value at time zone p_zone, v_other at time zone p_zone);
begin
  return to_jsonb(trunc(case p_unit
    when 'milliseconds' then v_exact * 1000
    when 'seconds' then v_exact
    when 'minutes' then v_exact / 60
    when 'hours' then v_exact / 3600
    when 'days' then v_local / 86400
    when 'weeks' then v_local / 604800
    when 'months' then extract(year from v_age) * 12 + extract(month from v_age)
    when 'years' then extract(year from v_age)
  end));
end
$$;
