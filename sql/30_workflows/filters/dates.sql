-- kind: code
-- Filters on dates. A date is an ISO 8601 text or a Unix time in seconds, to the millisecond. The
-- time zone is always given, as a name of the IANA database, so that the result does not depend on
-- the server. SQL null means that the filter does not apply. time_zones.sql converts local times,
-- as for waits and schedules. Writes and locks nothing.

-- The instant of a value; a text without an offset is a local time of the zone. null when the value
-- is no date.
create or replace function engine.parse_instant(p_value jsonb, p_zone text)
  returns timestamptz
  language plpgsql
  immutable
as $$
declare
  v_text constant text := replace(replace(upper(btrim(engine.scalar_text(p_value)) collate "C"), 'T', ' '), ',', '.');
  v_instant timestamptz;
begin
  if engine.is_time_zone(p_zone) is not true then
    return null;
  end if;
  case
    when jsonb_typeof(p_value) = 'number' then
      v_instant := to_timestamp(v_text::numeric);
    when v_text ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?$' then
      v_instant := engine.instant_of(v_text::timestamp, p_zone);
    when v_text ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?'
      '(Z|[+-][0-9]{2}(:?[0-9]{2}(:[0-9]{2})?)?)$' then
      v_instant := v_text::timestamptz;
    else
      return null;
  end case;
  -- date_trunc also rounds down fractions of a millisecond before 1970.
  return engine.instant_in_range(date_trunc('milliseconds', v_instant, 'UTC'));
exception
  when data_exception then
    return null;
end
$$;

-- The instant, if every zone can write its year with four digits; else null.
create or replace function engine.instant_in_range(p_instant timestamptz)
  returns timestamptz
  language sql
  immutable
as $$
  select case when p_instant >= '0001-01-02 00:00+00' and p_instant < '9999-12-31 00:00+00' then p_instant end
$$;

-- ISO 8601 with the offset of the zone, such as 2026-11-21T10:30:00.000+01:00. Historic offsets may
-- have seconds.
create or replace function engine.instant_text(p_instant timestamptz, p_zone text)
  returns text
  language sql
  immutable
as $$
  select to_char(p_instant at time zone p_zone, 'YYYY-MM-DD"T"HH24:MI:SS.MS')
    || case when o.seconds = 0 then 'Z' else engine.offset_text(o.seconds, 5) end
  from engine.offset_seconds(p_instant, p_zone) as o (seconds)
$$;

-- Replaces OF, TZH and TZM in a template of to_char by their values in the zone, because to_char
-- only knows the zone of the session. null when the template asks for an abbreviation (TZ), which
-- is no name of the IANA database.
create or replace function engine.zoned_template(p_template text, p_instant timestamptz, p_zone text)
  returns text
  language sql
  immutable
as $$
  select case when bool_or(upper(t.token[1] collate "C") = 'TZ') then null else string_agg(
    case upper(t.token[1] collate "C")
      when 'OF' then format('"%s"', engine.offset_text(o.seconds, 2))
      when 'TZH' then format('"%s"', engine.offset_text(o.seconds - o.seconds % 3600, 2))
      when 'TZM' then format('"%s"', to_char(abs(o.seconds) / 60 % 60, 'FM00'))
      else t.token[1]
    end,
    '' order by t.place
  ) end
  from engine.offset_seconds(p_instant, p_zone) as o (seconds)
  -- Quoted texts and escaped characters are tokens of their own, so nothing in them is replaced.
  cross join regexp_matches(p_template, E'("(?:\\\\.|[^"\\\\])*"?|\\\\.|[Tt][Zz][HhMm]?|[Oo][Ff]|.)', 'gs')
    with ordinality as t (token, place)
$$;

-- Formats a date in a zone, as ISO 8601 or by a template of to_char.
create or replace function engine.filter_date(p_value jsonb, p_zone text, p_template text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_instant constant timestamptz := engine.parse_instant(p_value, p_zone);
  v_template text := p_template;
begin
  if p_template is null then
    return to_jsonb(engine.instant_text(v_instant, p_zone));
  elsif length(p_template) > 200 or p_template ~ 'TM' then -- TM depends on the server's language
    return null;
  elsif p_template collate "C" ~* 'of|tz' then
    v_template := engine.zoned_template(p_template, v_instant, p_zone);
  end if;
  return to_jsonb(to_char(v_instant at time zone p_zone, v_template));
end
$$;

-- One of the unit as an interval; null for units that are not known.
create or replace function engine.unit_interval(p_unit text)
  returns interval
  language sql
  immutable
  parallel safe
as $$
  select case p_unit
    when 'milliseconds' then interval '1 millisecond'
    when 'seconds' then interval '1 second'
    when 'minutes' then interval '1 minute'
    when 'hours' then interval '1 hour'
    when 'days' then interval '1 day'
    when 'weeks' then interval '1 week'
    when 'months' then interval '1 month'
    when 'years' then interval '1 year'
  end
$$;

-- Adds units. Days and longer units follow the calendar of the zone: a day may have 23 or 25 hours,
-- and a date beyond the end of a month becomes its last day. An amount of 0 changes nothing, also
-- in an hour that occurs twice.
create or replace function engine.add_units(p_instant timestamptz, p_amount int, p_unit text, p_zone text)
  returns timestamptz
  language sql
  immutable
as $$
  select case
    when p_amount = 0 then p_instant
    when p_unit in ('milliseconds', 'seconds', 'minutes', 'hours')
      then p_instant + p_amount * engine.unit_interval(p_unit)
    else engine.instant_of((p_instant at time zone p_zone) + p_amount * engine.unit_interval(p_unit), p_zone)
  end
$$;

create or replace function engine.filter_add(p_value jsonb, p_amount int, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return to_jsonb(engine.instant_text(
    engine.instant_in_range(engine.add_units(engine.parse_instant(p_value, p_zone), p_amount, p_unit, p_zone)), p_zone
  ));
exception
  when data_exception then
    return null;
end
$$;

-- Whole units of the calendar between two instants: the largest amount that add_units can add
-- without passing the end, so that the result of add and that of diff agree.
create or replace function engine.calendar_units(p_from timestamptz, p_to timestamptz, p_unit text, p_zone text)
  returns int
  language plpgsql
  immutable
as $$
declare
  v_from constant timestamp := p_from at time zone p_zone;
  v_to constant timestamp := p_to at time zone p_zone;
  v_months constant int := (extract(year from v_to) - extract(year from v_from)) * 12
    + extract(month from v_to) - extract(month from v_from);
  v_sign constant int := case when p_to < p_from then -1 else 1 end;
  -- Begins up to two too high: one for the last unit, which may be incomplete, and one for a change
  -- of the clock.
  v_count int := v_sign + case p_unit
    when 'days' then v_to::date - v_from::date
    when 'weeks' then (v_to::date - v_from::date) / 7
    when 'months' then v_months
    when 'years' then v_months / 12
  end;
begin
  while v_count * v_sign > 0 loop
    exit when (v_sign = 1 and engine.add_units(p_from, v_count, p_unit, p_zone) <= p_to)
      or (v_sign = -1 and engine.add_units(p_from, v_count, p_unit, p_zone) >= p_to);
    v_count := v_count - v_sign;
  end loop;
  return case when v_count * v_sign > 0 then v_count else 0 end;
end
$$;

-- Whole units from p_other to the value; negative when the value is earlier than p_other.
create or replace function engine.filter_diff(p_value jsonb, p_other jsonb, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value constant timestamptz := engine.parse_instant(p_value, p_zone);
  v_other constant timestamptz := engine.parse_instant(p_other, p_zone);
begin
  if v_value is null or v_other is null then
    return null;
  elsif p_unit in ('milliseconds', 'seconds', 'minutes', 'hours') then
    return to_jsonb(trunc(
      extract(epoch from v_value - v_other) * 1000 / (extract(epoch from engine.unit_interval(p_unit)) * 1000)
    ));
  end if;
  return to_jsonb(engine.calendar_units(v_other, v_value, p_unit, p_zone));
end
$$;
