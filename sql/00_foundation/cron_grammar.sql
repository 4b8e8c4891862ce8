-- kind: code
-- Parses schedules in pg_cron's grammar: `5 4 * * *`, lists, ranges, steps, names, `$` for the last
-- day of a month, `30 seconds`, @hourly and the other names with @. Ignores what pg_cron ignores:
-- fields after the fifth, and in a field whatever follows its list. engine.strict_cron_problem()
-- reports what is ignored. Writes and locks nothing.

-- Says why a schedule may not be what its author means; null when nothing is wrong with it.
create or replace function engine.strict_cron_problem(p_schedule text)
  returns text
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_spec constant engine.cron_spec := engine.parse_cron(p_schedule);
begin
  return case
    when v_spec is null or v_spec.at_start then format(
      '%L is not a schedule; five fields such as "5 4 * * mon-fri", @daily, or "30 seconds" are', p_schedule
    )
    when v_spec.seconds is null and p_schedule !~ (
      '^@[a-z]+$|^[0-9*][0-9*,/-]*( [0-9*][0-9*,/-]*| [$]){2}( [0-9*A-Za-z][0-9A-Za-z*,/-]*){2}$'
    )
      or p_schedule ~ '[*][0-9A-Za-z-]|-[^-,/ ]*-|/[^/, ]*[/-]'
      then format('%L has something that would be ignored; one blank separates its five fields', p_schedule)
    when engine.next_cron_run(v_spec, '2000-01-01+00', 'UTC') is null
      then format('%L names a day that never comes', p_schedule)
  end;
end
$$;
comment on function engine.strict_cron_problem(text) is
  'Says why a schedule is refused where people write it: what pg_cron refuses, what it would ignore, @reboot, and days that never come such as 31 February. Null when it is fine. Example: select engine.strict_cron_problem(''0 0 31 2 *'');';

-- Returns one field as bits; null when pg_cron refuses it.
create or replace function engine.cron_bits(p_field text, p_low int, p_high int, p_names text[])
  returns bigint
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_rest text := p_field;
  v_part text[];
  v_from int;
  v_to int;
  v_step int;
  v_bits bigint := 0;
begin
  loop
    -- The groups are: the whole match, star, number, dash, number after it, slash, number after it.
    v_part := regexp_match(v_rest, '^((?:([*])|([0-9A-Za-z]+)(?:(-)([0-9A-Za-z]*))?)(?:(/)([0-9A-Za-z]*))?)');
    -- Refuse a step without a range.
    if v_part is null or (v_part[6] is not null and v_part[2] is null and v_part[4] is null) then
      return null;
    end if;
    v_from := case when v_part[2] is null then engine.cron_number(v_part[3], p_low, p_names) else p_low end;
    v_to := case
      when v_part[2] is not null then p_high
      when v_part[4] is not null then engine.cron_number(v_part[5], p_low, p_names)
      else v_from
    end;
    v_step := case when v_part[6] is null then 1 else engine.cron_number(v_part[7], 0, null) end;
    if (v_from >= p_low and v_from <= v_to and v_to <= p_high and v_step between 1 and p_high) is not true then
      return null;
    end if;
    for v_number in v_from .. v_to by v_step loop
      v_bits := v_bits | (1::bigint << v_number);
    end loop;
    v_rest := substr(v_rest, length(v_part[1]) + 1);
    exit when not starts_with(v_rest, ',');
    v_rest := substr(v_rest, 2);
  end loop;
  return v_bits;
end
$$;

-- Returns the value of a number or a name; null when it is neither.
create or replace function engine.cron_number(p_text text, p_low int, p_names text[])
  returns int
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    p_low + array_position(p_names, lower(p_text collate "C")) - 1,
    case when p_text ~ '^[0-9]{1,9}$' then p_text::int end
  )
$$;

-- Returns a schedule parsed; null when pg_cron refuses it.
create or replace function engine.parse_cron(p_schedule text)
  returns engine.cron_spec
  language plpgsql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_seconds constant text := (regexp_match(p_schedule collate "C", E'^\\s*([0-9]{1,9})\\s*seconds?\\s*$', 'i'))[1];
  v_text constant text := ltrim(p_schedule, E' \t\n');
  v_fields text[] := regexp_split_to_array(v_text, E'[ \\t]+');
  v_spec engine.cron_spec;
begin
  if length(p_schedule) >= 1000 or v_seconds::int not between 1 and 59 then
    return null;
  elsif v_seconds is not null then
    v_spec.seconds := v_seconds;
    return v_spec;
  elsif starts_with(v_text, '@') then
    v_fields := case (regexp_match(v_text, E'^@([^ \\t\\n]*)'))[1]
      when 'reboot' then '{@}'
      when 'restart' then '{@}'
      when 'yearly' then '{0,0,1,1,*}'
      when 'annually' then '{0,0,1,1,*}'
      when 'monthly' then '{0,0,1,*,*}'
      when 'weekly' then '{0,0,*,*,0}'
      when 'daily' then '{0,0,*,*,*}'
      when 'midnight' then '{0,0,*,*,*}'
      when 'hourly' then '{0,*,*,*,*}'
    end;
    if v_fields = '{@}' then
      v_spec.at_start := true;
      return v_spec;
    end if;
  end if;
  v_spec := engine.cron_spec_of(v_fields);
  -- A field that pg_cron refuses is null, and makes the sum null.
  return case
    when v_spec.minutes + v_spec.hours + v_spec.days + v_spec.months + v_spec.weekdays is not null then v_spec
  end;
end
$$;
comment on function engine.parse_cron(text) is
  'Returns a schedule in pg_cron''s notation parsed; null when pg_cron refuses it. Example: select (engine.parse_cron(''*/5 9-17 * * mon-fri'')).*;';

-- Parses the five fields of a schedule; a field that pg_cron refuses becomes null.
create or replace function engine.cron_spec_of(p_fields text[])
  returns engine.cron_spec
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_spec engine.cron_spec;
  v_weekdays bigint;
begin
  v_spec.minutes := engine.cron_bits(p_fields[1], 0, 59, null);
  v_spec.hours := engine.cron_bits(p_fields[2], 0, 23, null);
  v_spec.last_day := p_fields[3] = '$';
  v_spec.days := case when v_spec.last_day then 0 else engine.cron_bits(p_fields[3], 1, 31, null) end;
  v_spec.months := engine.cron_bits(p_fields[4], 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
  v_weekdays := engine.cron_bits(p_fields[5], 0, 7, '{sun,mon,tue,wed,thu,fri,sat}');
  -- Map 7 to 0: both are Sunday.
  v_spec.weekdays := (v_weekdays & 127) | (v_weekdays >> 7);
  v_spec.day_rule := case
    when starts_with(p_fields[3], '*') or starts_with(p_fields[5], '*') then 'both'
    else 'either'
  end;
  v_spec.is_wild := starts_with(p_fields[1], '*') or starts_with(p_fields[2], '*');
  return v_spec;
end
$$;

grant execute on function engine.parse_cron(text) to flowgres_dba;
