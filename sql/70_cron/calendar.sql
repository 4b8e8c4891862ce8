-- kind: code
-- Computes when a schedule runs, for which pg_cron has no functions. Writes and locks nothing.

create or replace function cron.next_run(schedule text, after timestamptz default now(), timezone text default null)
  returns timestamptz
  language plpgsql
  stable
  security definer -- definer because the engine is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform cron.check_schedule(schedule);
  return engine.next_cron_run(
    engine.parse_cron(schedule), after, coalesce(timezone, cron.setting('timezone', 'GMT'))
  );
end
$$;
comment on function cron.next_run(text, timestamptz, text) is
  'The first run of a schedule after a time, in the calendar of a time zone (cron.timezone when not given); null when there is none, as for @reboot or 31 February. Errors: 22023 invalid schedule, unknown time zone. Example: select cron.next_run(''0 9 * * mon'', now(), ''Europe/Berlin'');';

create or replace function cron.matches(schedule text, at timestamptz, timezone text default null)
  returns boolean
  language sql
  stable
as $$
  select cron.next_run(schedule, minute - interval '1 second', timezone) = minute
  from date_trunc('minute', at, 'UTC') as minute
$$;
comment on function cron.matches(text, timestamptz, text) is
  'Whether a schedule runs in the minute of that time. False for ''30 seconds'' and @reboot, which have no minute. Example: select cron.matches(''*/5 * * * *'', ''2026-11-21 10:05+00'');';
