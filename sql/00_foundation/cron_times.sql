-- kind: code
-- Computes when a schedule runs. One with fixed minutes and hours runs once per local time: right
-- after the gap when the clock is put forward over it, only the first time when the clock is put
-- back. One whose minutes or hours begin with `*` runs by real time: a local time that is skipped
-- has no run, one that occurs twice has two. Writes and locks nothing.

create or replace function engine.next_cron_run(p_spec engine.cron_spec, p_after timestamptz, p_timezone text)
  returns timestamptz
  language plpgsql
  stable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_margin constant interval := '4 hours';
  v_from timestamptz := date_trunc('minute', p_after, 'UTC') + interval '1 minute';
  v_at timestamptz;
begin
  if p_spec.seconds is not null then
    return p_after + make_interval(secs => p_spec.seconds);
  elsif p_spec.minutes is null then
    return null;
  end if;
  loop
    if engine.offset_seconds(v_from - v_margin, p_timezone) <> engine.offset_seconds(v_from + v_margin, p_timezone) then
      v_at := engine.walk_cron_runs(p_spec, v_from, v_from + v_margin, p_timezone);
      if v_at is not null then
        return v_at;
      end if;
      v_from := v_from + v_margin;
    end if;
    v_at := engine.next_cron_minute(p_spec, v_from at time zone p_timezone) at time zone p_timezone;
    -- No change of the offset is near: the local time names one instant.
    if v_at is null
      or engine.offset_seconds(v_at - v_margin, p_timezone) = engine.offset_seconds(v_at + v_margin, p_timezone)
    then
      return v_at;
    end if;
    v_from := greatest(v_from, v_at - v_margin);
    v_at := engine.walk_cron_runs(p_spec, v_from, v_from + v_margin * 2, p_timezone);
    if v_at is not null then
      return v_at;
    end if;
    v_from := v_from + v_margin * 2;
  end loop;
end
$$;
comment on function engine.next_cron_run(engine.cron_spec, timestamptz, text) is
  'Returns the first run of a schedule after a time, in the calendar of a time zone; null when there is none (@reboot, 31 February). Example: select engine.next_cron_run(engine.parse_cron(''0 9 * * mon''), now(), ''Europe/Berlin'');';

grant execute on function engine.next_cron_run(engine.cron_spec, timestamptz, text) to flowgres_dba;

-- Says whether a day fits the days and weekdays of a schedule, by its day_rule.
create or replace function engine.cron_day_fits(p_spec engine.cron_spec, p_day date)
  returns boolean
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_day constant int := extract(day from p_day);
  v_fits constant boolean := (p_spec.days >> v_day) & 1 = 1
    or (p_spec.last_day and extract(day from p_day + 1) = 1);
  v_weekday_fits constant boolean := (p_spec.weekdays >> extract(dow from p_day)::int) & 1 = 1;
begin
  return case p_spec.day_rule when 'both' then v_fits and v_weekday_fits else v_fits or v_weekday_fits end;
end
$$;

-- Returns the first local minute that fits, from the given one on; null when none does.
create or replace function engine.next_cron_minute(p_spec engine.cron_spec, p_from timestamp)
  returns timestamp
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_day date := p_from::date;
  v_hour int := extract(hour from p_from);
  v_minute int := extract(minute from p_from);
  -- The longest gap is the one of 29 February around 2100: 2,921 days.
  v_end constant date := v_day + 2930;
begin
  while v_day < v_end loop
    if (p_spec.months >> extract(month from v_day)::int) & 1 = 0 then
      v_day := date_trunc('month', v_day) + interval '1 month';
    else
      if engine.cron_day_fits(p_spec, v_day) then
        while v_hour < 24 loop
          if (p_spec.hours >> v_hour) & 1 = 1 and p_spec.minutes >> v_minute > 0 then
            while (p_spec.minutes >> v_minute) & 1 = 0 loop
              v_minute := v_minute + 1;
            end loop;
            return v_day + make_time(v_hour, v_minute, 0);
          end if;
          v_hour := v_hour + 1;
          v_minute := 0;
        end loop;
      end if;
      v_day := v_day + 1;
    end if;
    v_hour := 0;
    v_minute := 0;
  end loop;
  return null;
end
$$;

-- Returns the first run in a span around a change of the offset, found minute by minute; null when
-- there is none.
create or replace function engine.walk_cron_runs(
  p_spec engine.cron_spec,
  p_from timestamptz,
  p_to timestamptz,
  p_timezone text
)
  returns timestamptz
  language plpgsql
  stable
  parallel safe
as $$
declare
  -- Begin four hours earlier: a local time that was shown before the clock was put back counts as
  -- run.
  v_at timestamptz := p_from - interval '4 hours';
  v_due timestamp := engine.next_cron_minute(p_spec, v_at at time zone p_timezone);
  v_shown timestamp;
begin
  while v_at < p_to loop
    v_shown := v_at at time zone p_timezone;
    if p_spec.is_wild and v_at >= p_from and engine.next_cron_minute(p_spec, v_shown) = v_shown then
      return v_at;
    elsif not p_spec.is_wild and v_shown >= v_due then
      if v_at >= p_from then
        return v_at;
      end if;
      v_due := engine.next_cron_minute(p_spec, v_shown + interval '1 minute');
    end if;
    v_at := v_at + interval '1 minute';
  end loop;
  return null;
end
$$;
