-- kind: state
-- The parsed form of a schedule in pg_cron's notation: sets of numbers, each as bits of a bigint.
-- Writes and locks nothing.

create type engine.cron_spec as (
  seconds int,      -- of `N seconds`; all other fields are null then
  at_start boolean, -- of @reboot; all other fields are null then
  minutes bigint,   -- bits 0 to 59
  hours bigint,     -- bits 0 to 23
  days bigint,      -- bits 1 to 31
  last_day boolean, -- of `$`: the last day of a month as well
  months bigint,    -- bits 1 to 12
  weekdays bigint,  -- bits 0 (Sunday) to 6
  day_rule text,    -- both: the day and the weekday must fit; either: one of them is enough
  is_wild boolean   -- the minutes or the hours began with `*`: it runs by real time, others by local time
);
