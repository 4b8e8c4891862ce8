-- kind: code
-- Filters between instants and the dates that people write; dates.sql says what a date is. SQL null means that the
-- filter does not apply. Writes and locks nothing.

-- The calendar date in a zone, such as 2026-11-21.
create or replace function engine.filter_local_date(p_value jsonb, p_zone text)
  returns jsonb
  language sql
  immutable
as $$
  select to_jsonb(to_char(engine.parse_instant(p_value, p_zone) at time zone p_zone, 'YYYY-MM-DD'))
$$;

-- Reads a local date and time by a template of YYYY, MM, DD, HH24, MI and SS; what is between them is compared as it is
-- written. A year has four digits, other fields one or two.
create or replace function engine.filter_parse_date(p_value jsonb, p_template text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_text constant text := btrim(engine.scalar_text(p_value), e' \t\r\n');
  v_pattern text;
  v_fields text[]; -- in the order of the template
  v_found text[];
begin
  if length(p_template) > 100 or length(v_text) > 100 or engine.is_time_zone(p_zone) is not true then
    return null;
  end if;
  select
    string_agg(case
      when t.token[1] = 'YYYY' then '([0-9]{4})'
      when length(t.token[1]) > 1 then '([0-9]{1,2})'
      when t.token[1] ~ '[A-Za-z0-9]' then t.token[1]
      else E'\\' || t.token[1]
    end, '' order by t.place),
    array_agg(t.token[1] order by t.place) filter (where length(t.token[1]) > 1)
  into v_pattern, v_fields
  from regexp_matches(p_template, 'YYYY|MM|DD|HH24|MI|SS|.', 'gs') with ordinality as t (token, place);
  v_found := regexp_match(v_text, '^' || v_pattern || '$');
  if v_found is null or not v_fields @> '{YYYY,MM,DD}' then
    return null;
  end if;
  return to_jsonb(engine.instant_text(engine.instant_in_range(engine.instant_of(
    make_timestamp(
      v_found[array_position(v_fields, 'YYYY')]::int,
      v_found[array_position(v_fields, 'MM')]::int,
      v_found[array_position(v_fields, 'DD')]::int,
      coalesce(v_found[array_position(v_fields, 'HH24')]::int, 0),
      coalesce(v_found[array_position(v_fields, 'MI')]::int, 0),
      coalesce(v_found[array_position(v_fields, 'SS')]::int, 0)
    ), p_zone
  )), p_zone));
exception
  when data_exception then
    return null;
end
$$;

-- The beginning of the unit in which an instant lies, by the calendar of a zone; weeks begin on Monday.
create or replace function engine.filter_start_of(p_value jsonb, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_instant constant timestamptz := engine.parse_instant(p_value, p_zone);
begin
  return to_jsonb(engine.instant_text(engine.instant_in_range(case
    when p_unit in ('days', 'weeks', 'months', 'years')
      then engine.instant_of(date_trunc(rtrim(p_unit, 's'), v_instant at time zone p_zone), p_zone)
    when p_unit in ('milliseconds', 'seconds', 'minutes', 'hours')
      then v_instant - ((v_instant at time zone p_zone) - date_trunc(rtrim(p_unit, 's'), v_instant at time zone p_zone))
  end), p_zone));
end
$$;
