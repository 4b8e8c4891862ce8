-- kind: code
-- Time zones, and how a time on the wall becomes an instant: one rule for filters, waits and schedules. Reads no table.

-- Names of the IANA database only, in any case. PostgreSQL itself also takes abbreviations (IST is Israel to it, and
-- India to India), offsets (+02:00, two hours west of Greenwich) and rules (Europe/Berln+2). CET, EET, MET and WET are
-- zones with summer time to IANA and offsets to PostgreSQL, so they are neither here.
create or replace function engine.is_time_zone(p_name text)
  returns boolean
  language plpgsql
  immutable
  parallel safe
as $$
declare
  -- Those without an area, and those with a digit, are written out: the rest is an area and a place.
  v_names constant text[] := '{
    UTC,UCT,GMT,ZULU,GREENWICH,UNIVERSAL,GMT0,GMT+0,GMT-0,EST,MST,HST,EST5EDT,CST6CDT,MST7MDT,PST8PDT,
    CUBA,EGYPT,EIRE,GB,GB-EIRE,HONGKONG,ICELAND,IRAN,ISRAEL,JAMAICA,JAPAN,KWAJALEIN,LIBYA,NAVAJO,NZ,NZ-CHAT,
    POLAND,PORTUGAL,PRC,ROC,ROK,SINGAPORE,TURKEY,W-SU}';
  v_name constant text := upper(p_name collate "C");
begin
  if v_name = any (v_names) then
    return true;
  elsif v_name ~ '^ETC/GMT(0|[+-]0|[+-][1-9]|[+-]1[0-2]|-1[34])$' then
    return true;
  elsif v_name !~ '^[A-Z]+(/[A-Z]+([_-][A-Z]+)*)+$' or v_name ~ '^(POSIX|RIGHT|SYSTEMV)/' then
    return false;
  end if;
  perform timestamp '2026-01-01 00:00' at time zone p_name;
  return p_name is not null;
exception
  when data_exception then
    return false;
end
$$;

-- How far the clock on the wall is ahead of UTC, in seconds.
create or replace function engine.offset_seconds(p_instant timestamptz, p_zone text)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select extract(epoch from (p_instant at time zone p_zone) - (p_instant at time zone 'UTC'))::int
$$;

-- The instant at which the clock on the wall shows a time. Where it shows it twice, the first one (PostgreSQL takes the
-- second); where it is put forward over it, as much later: 02:30 is 03:30.
create or replace function engine.instant_of(p_local timestamp, p_zone text)
  returns timestamptz
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_instant constant timestamptz := p_local at time zone p_zone;
  v_earlier timestamptz;
begin
  -- Clocks are put back by at most three hours, and by a day where the date line was moved.
  foreach v_earlier in array array[
    (p_local at time zone 'UTC') - make_interval(secs => engine.offset_seconds(v_instant - interval '3 hours', p_zone)),
    (p_local at time zone 'UTC') - make_interval(secs => engine.offset_seconds(v_instant - interval '26 hours', p_zone))
  ] loop
    if v_earlier < v_instant and v_earlier at time zone p_zone = p_local then
      return v_earlier;
    end if;
  end loop;
  return v_instant;
end
$$;

-- An offset as +02:00; p_length 2 leaves out minutes that are none. Seconds are said where there are some.
create or replace function engine.offset_text(p_seconds int, p_length int)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case when p_seconds < 0 then '-' else '+' end
    || to_char(abs(p_seconds) / 3600, 'FM00')
    || case when p_length > 2 or p_seconds % 3600 <> 0 then to_char(abs(p_seconds) / 60 % 60, 'FM":"00') else '' end
    || case when p_seconds % 60 <> 0 then to_char(abs(p_seconds) % 60, 'FM":"00') else '' end
$$;
