-- kind: code
-- The node type scheduleTrigger, and when it fires: by a cron expression, or every n units. Writes
-- engine.node_types when it is loaded; its functions write and lock nothing.

insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values
  ('scheduleTrigger', 1, 'trigger', 'trigger', 'calendar-clock', 'Starts a run by the clock.', '{main}', '{}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "cron": {"type": "string", "minLength": 1, "maxLength": 500},
      "every": {
        "type": "object", "additionalProperties": false, "required": ["n", "unit"],
        "properties": {
          "n": {"type": "integer", "minimum": 1, "maximum": 10000},
          "unit": {"enum": ["seconds", "minutes", "hours", "days", "weeks", "months"]}
        }
      },
      "timezone": {"type": "string", "minLength": 1, "maxLength": 100},
      "catchUp": {"enum": ["none", "one", "all"]},
      "jitterSeconds": {"type": "integer", "minimum": 0, "maximum": 3600}
    },
    "anyOf": [{"required": ["cron"]}, {"required": ["every"]}]
  }')
on conflict (name, version) do update
set
  kind = excluded.kind,
  category = excluded.category,
  icon = excluded.icon,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;

-- Returns the first moment after p_after that is a multiple of p_n units, counted from 1970 (weeks
-- from Monday, 5 January), so that publishing again shifts nothing. Days, weeks and months begin at
-- midnight in the time zone.
create or replace function engine.next_multiple(p_n int, p_unit text, p_after timestamptz, p_timezone text)
  returns timestamptz
  language plpgsql
  stable
  parallel safe
as $$
declare
  v_today constant date := (p_after at time zone p_timezone)::date;
  v_first constant date := case p_unit when 'weeks' then date '1970-01-05' else date '1970-01-01' end;
  v_size constant interval := make_interval(
    secs => case p_unit when 'seconds' then p_n when 'minutes' then p_n * 60 when 'hours' then p_n * 3600 end
  );
  v_length constant int := case p_unit when 'weeks' then 7 * p_n else p_n end;
  v_months constant int := extract(year from v_today) * 12 + extract(month from v_today) - 1;
begin
  return case
    when v_size > interval '0' then date_bin(v_size, p_after, timestamptz '1970-01-01+00') + v_size
    when p_unit = 'months' then
      engine.instant_of(v_first + make_interval(months => (v_months / p_n + 1) * p_n - 1970 * 12), p_timezone)
    else engine.instant_of((v_first + ((v_today - v_first) / v_length + 1) * v_length)::timestamp, p_timezone)
  end;
end
$$;

create or replace function engine.next_tick(p_properties jsonb, p_after timestamptz)
  returns timestamptz
  language sql
  stable
  parallel safe
as $$
  select case
    when p_properties ? 'cron'
      then engine.next_cron_run(engine.parse_cron(p_properties ->> 'cron'), p_after, zone)
    else engine.next_multiple(
      (p_properties -> 'every' ->> 'n')::int, p_properties -> 'every' ->> 'unit', p_after, zone
    )
  end
  from coalesce(p_properties ->> 'timezone', 'UTC') as zone
$$;
comment on function engine.next_tick(jsonb, timestamptz) is
  'When a scheduleTrigger with these properties fires next. Example: select engine.next_tick(''{"every": {"n": 15, "unit": "minutes"}}'', now());';

create or replace function public.preview_schedule(cron text, timezone text default 'UTC', count int default 5)
  returns setof timestamptz
  language plpgsql
  stable
  security definer -- definer because the engine is closed to users
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem constant text := engine.schedule_problem(jsonb_build_object('cron', cron, 'timezone', timezone));
  v_spec constant engine.cron_spec := engine.parse_cron(cron);
  v_at timestamptz := engine.now();
begin
  if v_problem is not null then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format('No schedule: %s.', v_problem),
      'Write five fields, minute hour day month weekday, and a zone such as Europe/Berlin.'
    );
  elsif (count between 1 and 100) is not true then
    perform private.raise_error('INVALID_ARGUMENT', 'A preview has 1 to 100 times.');
  end if;
  for v_number in 1 .. count loop
    v_at := engine.next_cron_run(v_spec, v_at, timezone);
    return next v_at;
  end loop;
end
$$;
comment on function public.preview_schedule(text, text, int) is
  'The next times of a schedule, 5 by default, at most 100. cron: five fields, a name such as @daily, or "30 seconds"; timezone: the time zone in which it is read, for example Europe/Berlin. Errors: VALIDATION_FAILED (not a schedule, a day that never comes, an unknown time zone), INVALID_ARGUMENT. Example: select preview_schedule(''0 9 * * mon-fri'', ''Europe/Berlin'', 3);';

grant execute on function public.preview_schedule(text, text, int) to flowgres_user, flowgres_dba;
