-- kind: code
-- Checks time zones and turns local times into instants: one rule for filters, waits and schedules.
-- Reads no table; writes and locks nothing.

-- Says whether a text is a name of the IANA database, in any case. PostgreSQL itself also accepts
-- abbreviations (IST is Israel by default, and also means India), offsets (+02:00 is two hours west
-- of Greenwich) and rules (Europe/Berln+2); all are refused here. CET, EET, MET and WET are refused
-- too: IANA gives them summer time, PostgreSQL reads them as offsets.
create or replace function engine.is_time_zone(p_name text)
  returns boolean
  language plpgsql
  immutable
  parallel safe
as $$
declare
  -- Lists the names without an area and those with digits; every other name is an area and a place.
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

-- Returns how far local time is ahead of UTC, in seconds.
create or replace function engine.offset_seconds(p_instant timestamptz, p_zone text)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select extract(epoch from (p_instant at time zone p_zone) - (p_instant at time zone 'UTC'))::int
$$;

-- Returns the instant at which the local clock shows a time. When it shows the time twice, the
-- first one (PostgreSQL picks the second); when the clock skips it, as much later: 02:30 becomes
-- 03:30.
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
  -- Clocks are put back by at most three hours, or by a day where the date line was moved.
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

-- Formats an offset as +02:00. With p_length 2 minutes are left out when they are 0; seconds are
-- shown only when they are not 0.
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

-- Returns a time as text in ISO 8601 and UTC, whatever the time zone of the session.
create or replace function engine.iso_time(p_at timestamptz)
  returns text
  language sql
  stable
  parallel safe
as $$
  select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
