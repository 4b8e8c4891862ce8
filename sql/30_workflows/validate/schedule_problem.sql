-- kind: code
-- The rules of schedule triggers beyond their schema. Writes and locks nothing.

-- The problem of the properties; null when there is none.
create or replace function engine.schedule_problem(p_properties jsonb)
  returns text
  language sql
  stable
as $$
  select case
    when p_properties ? 'cron' and p_properties ? 'every' then 'cron and every exclude each other'
    when p_properties ? 'timezone' and engine.is_time_zone(p_properties ->> 'timezone') is not true
      then format('%L is not a time zone; Europe/Berlin and UTC are', p_properties ->> 'timezone')
    when p_properties ? 'cron' then engine.strict_cron_problem(p_properties ->> 'cron')
  end
$$;
