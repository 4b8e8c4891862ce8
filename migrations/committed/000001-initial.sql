--! Previous: -
--! Hash: sha1:236a582ebfddf65356bf2cdf5a4d182338a320b3
--! Message: initial

-- The migration in the making; migrations/README.md says how to write one. The first one is the whole schema.

--! Included index.sql
-- The whole schema, layer by layer: each layer uses only the layers above it in this list.
-- Every object belongs to flowgres_owner; the roles themselves are made before (see roles.sql).

set local role flowgres_owner;

--! Included 00_foundation/index.sql
-- Foundation: what every other layer stands on.

--! Included 00_foundation/schemas.sql
-- kind: state
-- The schemas and what is not granted by default: no function is executable, no table readable, until a file says so.

alter default privileges revoke execute on functions from public;
alter default privileges revoke usage on types from public;

create schema private;
comment on schema private is 'What nobody reads back: token hashes, sessions, test switches. For definer functions only.';

create schema partitions;
comment on schema partitions is 'The partition manager and its archives.';

create schema engine;
comment on schema engine is 'The workflow engine: called by workers, the webhook intake and definer functions of the API.';

create schema monitor;
comment on schema monitor is 'Statistics, health and invariants.';

grant usage on schema engine to flowgres_api, flowgres_intake, flowgres_worker, flowgres_dba;
grant usage on schema partitions to flowgres_dba, flowgres_monitor;
grant usage on schema monitor to flowgres_dba, flowgres_monitor;
--! EndIncluded 00_foundation/schemas.sql
--! Included 00_foundation/errors.sql
-- kind: code
-- Every error that Flowgres raises has a name, and each name has one SQLSTATE of class WF. docs/errors.md explains
-- them; GraphQL shows the name as `extensions.code`.

create or replace function private.error_codes()
  returns table (code text, sqlstate text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('VALIDATION_FAILED', 'WF001'),
    ('NOT_FOUND',         'WF002'),
    ('CONFLICT',          'WF003'),
    ('UNAUTHENTICATED',   'WF004'),
    ('FORBIDDEN',         'WF005'),
    ('LIMIT_REACHED',     'WF006'),
    ('RUN_FINISHED',      'WF007'),
    ('ALREADY_USED',      'WF008'),
    ('INVALID_ARGUMENT',  'WF009'),
    ('TOO_LARGE',         'WF010'),
    ('NOT_PUBLISHED',     'WF011'),
    ('NODE_FAILED',       'WF012'),
    ('RATE_LIMITED',      'WF013'),
    ('EXPIRED',           'WF014')
$$;

create or replace function private.raise_error(
  p_code text,
  p_message text,
  p_hint text default null,
  p_details jsonb default '{}'
)
  returns void
  language plpgsql
  immutable
as $$
declare
  v_sqlstate constant text := (select e.sqlstate from private.error_codes() as e where e.code = p_code);
  v_detail constant text := (jsonb_build_object('code', p_code) || p_details)::text;
begin
  if p_hint is null then
    raise exception using errcode = v_sqlstate, message = p_message, detail = v_detail;
  end if;
  raise exception using errcode = v_sqlstate, message = p_message, detail = v_detail, hint = p_hint;
end
$$;
--! EndIncluded 00_foundation/errors.sql
--! Included 00_foundation/clock.sql
-- kind: state
-- The engine's clock: real time, unless a test froze it. No migration creates the table `private.test_mode` rows.

create table private.test_mode (
  only_row boolean not null default true,
  frozen_at timestamptz not null,
  constraint test_mode_pkey primary key (only_row),
  constraint test_mode_only_row_check check (only_row)
);
comment on table private.test_mode is 'Exists empty; a test inserts its one row to freeze engine.now().';
alter table private.test_mode enable row level security;

create function engine.now()
  returns timestamptz
  language sql
  volatile
  security definer -- definer because private.test_mode is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select t.frozen_at from private.test_mode as t), clock_timestamp())
$$;
comment on function engine.now() is 'The engine''s clock: the real time, or the frozen one in a test.';
--! EndIncluded 00_foundation/clock.sql
--! Included 00_foundation/uuid.sql
-- kind: code
-- UUIDv7 that follow the engine's clock. The time in the id is what partitions of runs are cut by.

create or replace function engine.uuid_v7(p_at timestamptz default engine.now())
  returns uuid
  language sql
  volatile
  parallel safe
as $$
  -- 48 bits of milliseconds, the version, 12 bits for the part of the millisecond; the rest is random.
  select encode(
    int8send(
      (floor(extract(epoch from p_at) * 1000)::bigint << 16)
      | 28672 -- version 7
      | ((extract(microseconds from p_at)::bigint % 1000) * 4)
    ) || substring(uuid_send(gen_random_uuid()) from 9),
    'hex'
  )::uuid
$$;
comment on function engine.uuid_v7(timestamptz) is 'A new UUIDv7 of the given time, by default the engine''s. Ids of later microseconds sort later.';

create or replace function engine.uuid_floor(p_at timestamptz)
  returns uuid
  language sql
  immutable
  strict
  parallel safe
as $$
  select encode(
    int8send(floor(extract(epoch from p_at) * 1000)::bigint << 16) || '\x0000000000000000'::bytea,
    'hex'
  )::uuid
$$;
comment on function engine.uuid_floor(timestamptz) is 'The lowest UUIDv7 of a time: the bound of partitions cut by id. Example: engine.uuid_floor(''2026-11-01+00'')';

create or replace function engine.uuid_time(p_id uuid)
  returns timestamptz
  language sql
  immutable
  strict
  parallel safe
as $$
  select to_timestamp(
    ('x' || translate(left(p_id::text, 13), '-', ''))::bit(48)::bigint / 1000.0
  )
$$;
comment on function engine.uuid_time(uuid) is 'The time in a UUIDv7, in whole milliseconds. Meaningless for other versions.';

-- The defaults of tables that a DBA inserts into.
grant execute on function engine.uuid_v7(timestamptz), engine.now() to flowgres_dba;
grant execute on function engine.uuid_time(uuid), engine.uuid_floor(timestamptz) to flowgres_user, flowgres_dba;
--! EndIncluded 00_foundation/uuid.sql
--! Included 00_foundation/cron_spec.sql
-- kind: state
-- What a schedule in pg_cron's notation says: sets of numbers, each a row of bits.

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
  is_wild boolean   -- the minutes or the hours began with `*`: it runs by real time, others by the clock on the wall
);
--! EndIncluded 00_foundation/cron_spec.sql
--! Included 00_foundation/cron_grammar.sql
-- kind: code
-- The grammar of schedules, that of pg_cron: `5 4 * * *`, lists, ranges, steps and names, `$` for the last day of a
-- month, `30 seconds`, @hourly and its relatives. What pg_cron skips is skipped: fields after the fifth, and in a field
-- what follows its list. strict_cron_problem() is for those who would rather be told.

-- One field as bits; null when pg_cron refuses it.
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
    -- All of it, then: star, number, dash, number after it, slash, number after it.
    v_part := regexp_match(v_rest, '^((?:([*])|([0-9A-Za-z]+)(?:(-)([0-9A-Za-z]*))?)(?:(/)([0-9A-Za-z]*))?)');
    -- A step needs a range.
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

-- A number, or a name that stands for one; null when it is neither.
create or replace function engine.cron_number(p_text text, p_low int, p_names text[])
  returns int
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    p_low + array_position(p_names, lower(p_text)) - 1,
    case when p_text ~ '^[0-9]{1,9}$' then p_text::int end
  )
$$;

-- What a schedule says; null when pg_cron refuses it.
create or replace function engine.parse_cron(p_schedule text)
  returns engine.cron_spec
  language plpgsql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_seconds constant text := (regexp_match(p_schedule, '^\s*([0-9]{1,9})\s*seconds?\s*$', 'i'))[1];
  v_text constant text := ltrim(p_schedule, E' \t\n');
  v_fields text[] := regexp_split_to_array(v_text, '[ \t]+');
  v_spec engine.cron_spec;
begin
  if length(p_schedule) >= 1000 or v_seconds::int not between 1 and 59 then
    return null;
  elsif v_seconds is not null then
    v_spec.seconds := v_seconds;
    return v_spec;
  elsif starts_with(v_text, '@') then
    v_fields := case (regexp_match(v_text, '^@([^ \t\n]*)'))[1]
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
  -- A set that pg_cron refuses is null, and so is their sum.
  return case
    when v_spec.minutes + v_spec.hours + v_spec.days + v_spec.months + v_spec.weekdays is not null then v_spec
  end;
end
$$;
comment on function engine.parse_cron(text) is
  'What a schedule in pg_cron''s notation says; null when pg_cron refuses it. Example: select (engine.parse_cron(''*/5 9-17 * * mon-fri'')).*;';

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
  -- Sunday is 0 and 7.
  v_spec.weekdays := (v_weekdays & 127) | (v_weekdays >> 7);
  v_spec.day_rule := case
    when starts_with(p_fields[3], '*') or starts_with(p_fields[5], '*') then 'both'
    else 'either'
  end;
  v_spec.is_wild := starts_with(p_fields[1], '*') or starts_with(p_fields[2], '*');
  return v_spec;
end
$$;

-- Why a schedule is not what its author means; null when nothing is wrong with it.
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
  'Why a schedule is refused where people write it: what pg_cron refuses, what it would ignore, @reboot, and days that never come such as 31 February. Null when it is fine.';

grant execute on function engine.parse_cron(text) to flowgres_dba;
--! EndIncluded 00_foundation/cron_grammar.sql
--! Included 00_foundation/cron_times.sql
-- kind: code
-- When a schedule runs. One with a fixed time runs once for each time that the clock on the wall passes it: where the
-- clock is put forward over it, right after the gap; where it is put back, the first time only. One whose minutes or
-- hours begin with `*` runs by real time: what a gap leaves out is left out, what comes twice runs twice.

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

-- The first minute on the wall, from the given one on, that fits; null when none does.
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
  -- The longest pause is that of 29 February around 2100.
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

-- How far the clock on the wall is ahead of UTC.
create or replace function engine.utc_offset(p_at timestamptz, p_timezone text)
  returns interval
  language sql
  stable
  parallel safe
as $$
  select (p_at at time zone p_timezone) - (p_at at time zone 'UTC')
$$;

-- The first run in a span around a change of the clock, found minute by minute; null when there is none.
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
  -- What the clock showed before it was put back has run.
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
    if engine.utc_offset(v_from - v_margin, p_timezone) <> engine.utc_offset(v_from + v_margin, p_timezone) then
      v_at := engine.walk_cron_runs(p_spec, v_from, v_from + v_margin, p_timezone);
      if v_at is not null then
        return v_at;
      end if;
      v_from := v_from + v_margin;
    end if;
    v_at := engine.next_cron_minute(p_spec, v_from at time zone p_timezone) at time zone p_timezone;
    -- Far from a change of the clock, what it shows is what time it is.
    if v_at is null
      or engine.utc_offset(v_at - v_margin, p_timezone) = engine.utc_offset(v_at + v_margin, p_timezone)
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
  'The first run of a schedule after a time, in the calendar of a time zone; null when there is none (@reboot, 31 February). Example: select engine.next_cron_run(engine.parse_cron(''0 9 * * mon''), now(), ''Europe/Berlin'');';

grant execute on function engine.next_cron_run(engine.cron_spec, timestamptz, text) to flowgres_dba;
--! EndIncluded 00_foundation/cron_times.sql
--! EndIncluded 00_foundation/index.sql
--! Included 10_partitions/index.sql
-- Partitions: cuts any table by time, ahead of need, and lets old periods leave. Knows nothing of workflows.

--! Included 10_partitions/tables.sql
-- kind: state
-- What is wanted of each partitioned table. What is there, only the catalog says (pg_inherits and relpartbound): names
-- of partitions are decoration.

create table partitions.policies (
  parent regclass not null,
  key_kind text not null,
  granularity text not null default 'month',
  premake int not null default 3,
  behind int not null default 0,
  retention interval,
  on_retire text not null default 'drop',
  retire_with regclass,
  retire_key text,
  guard text,
  storage jsonb not null default '{}',
  adaptive boolean not null default false,
  warn_bytes bigint not null default 107374182400,
  critical_bytes bigint not null default 214748364800,
  constraint policies_pkey primary key (parent),
  constraint policies_retire_with_fkey
    foreign key (retire_with) references partitions.policies (parent) on delete set null,
  constraint policies_key_kind_check check (key_kind in ('timestamptz', 'date', 'uuidv7')),
  constraint policies_granularity_check check (granularity in ('day', 'week', 'month', 'year')),
  constraint policies_premake_check check (premake between 1 and 2000),
  constraint policies_behind_check check (behind between 0 and 2000),
  constraint policies_retention_check check (retention between interval '1 day' and interval '1000 years'),
  constraint policies_on_retire_check check (on_retire in ('drop', 'archive', 'detach')),
  constraint policies_retire_with_check check (retire_with <> parent),
  constraint policies_retire_key_check check (retire_key is null or retire_with is not null),
  constraint policies_storage_check check (jsonb_typeof(storage) = 'object'),
  constraint policies_bytes_check check (warn_bytes > 0 and critical_bytes >= warn_bytes)
);
alter table partitions.policies enable row level security;
create index policies_retire_with_idx on partitions.policies (retire_with);

comment on table partitions.policies is
  'How each managed table is cut and how long its rows stay. Written by partitions.manage(); a DBA may also update it: the next maintenance follows. Example: update partitions.policies set retention = ''90 days'' where parent = ''public.workflow_run_logs''::regclass';
comment on column partitions.policies.parent is 'The partitioned table.';
comment on column partitions.policies.key_kind is 'Type of the partition key: timestamptz, date or uuidv7 (a UUID that begins with its time).';
comment on column partitions.policies.granularity is
  'Length of new partitions: day, week (ISO), month or year of the UTC calendar. A change takes effect where the existing partitions end.';
comment on column partitions.policies.premake is 'How many whole periods after the current one always exist.';
comment on column partitions.policies.behind is 'How many whole periods before the current one always exist, for rows that come late.';
comment on column partitions.policies.retention is
  'A partition leaves when its upper bound is older than this. Null: never, or together with the table in retire_with.';
comment on column partitions.policies.on_retire is
  'What happens to a partition that leaves: drop deletes it; archive keeps it in schema partitions, from where restore() brings it back; detach keeps it there as a plain table that is nobody''s concern any more.';
comment on column partitions.policies.retire_with is
  'Partitions of this table leave before the partition of that table with the same period: rows that belong together leave together.';
comment on column partitions.policies.retire_key is
  'The column that holds the key of retire_with; rows in later partitions that refer to a leaving one are deleted with it, or archived with it.';
comment on column partitions.policies.guard is
  'Function (from timestamptz, to timestamptz) returning text that is asked before a period leaves: a text is the reason why it must stay. Looked up when needed, so it may belong to a later layer.';
comment on column partitions.policies.storage is
  'Storage parameters of new partitions, such as {"autovacuum_vacuum_insert_scale_factor": 0.05}; a partitioned table has none of its own.';
comment on column partitions.policies.adaptive is
  'Whether maintenance chooses a shorter granularity by itself when partitions would grow beyond warn_bytes.';
comment on column partitions.policies.warn_bytes is 'Size of one partition, with indexes, at which the doctor warns.';
comment on column partitions.policies.critical_bytes is 'Size of one partition, with indexes, that the doctor calls critical.';

create table partitions.maintenance (
  parent regclass not null,
  fingerprint bigint,
  covered tstzrange,
  idle tstzrange,
  policy_xmin text,
  failures int not null default 0,
  failed_at timestamptz,
  error text,
  constraint maintenance_pkey primary key (parent),
  constraint maintenance_parent_fkey
    foreign key (parent) references partitions.policies (parent) on delete cascade,
  constraint maintenance_error_matches_failures_check
    check ((failures > 0) = (error is not null) and (failures > 0) = (failed_at is not null))
);
alter table partitions.maintenance enable row level security;

comment on table partitions.maintenance is 'What the last maintenance of each managed table found.';
comment on column partitions.maintenance.parent is 'The managed table.';
comment on column partitions.maintenance.fingerprint is
  'Of the table''s catalog rows when all partitions were there that were wanted; null when not.';
comment on column partitions.maintenance.covered is 'The span of time that they cover without a hole; null when not.';
comment on column partitions.maintenance.idle is
  'While the fingerprint and the policy are unchanged, maintenance has nothing to do in this span of time.';
comment on column partitions.maintenance.policy_xmin is 'The version of the policy''s row that it was for.';
comment on column partitions.maintenance.failures is 'How many maintenances in a row had a failure.';
comment on column partitions.maintenance.failed_at is 'When the last of them was.';
comment on column partitions.maintenance.error is 'What its first failure said.';

create table partitions.departures (
  partition regclass not null,
  parent regclass not null,
  name text not null,
  lower timestamptz not null,
  upper timestamptz not null,
  action text not null,
  since timestamptz not null,
  constraint departures_pkey primary key (partition),
  constraint departures_parent_fkey
    foreign key (parent) references partitions.policies (parent) on delete cascade
);
alter table partitions.departures enable row level security;
create index departures_parent_idx on partitions.departures (parent);

comment on table partitions.departures is
  'Partitions that are being detached concurrently, statement by statement. Whatever interrupts it, the next retire() finishes it.';
comment on column partitions.departures.partition is 'The partition.';
comment on column partitions.departures.parent is 'The table that it leaves.';
comment on column partitions.departures.name is 'Its name.';
comment on column partitions.departures.lower is 'Its lower bound.';
comment on column partitions.departures.upper is 'Its upper bound, excluded.';
comment on column partitions.departures.action is 'What is to happen to it: drop, archive or detach.';
comment on column partitions.departures.since is 'When it was decided.';

create type partitions.action as (
  parent regclass,
  partition text,
  action text,
  lower timestamptz,
  upper timestamptz,
  done boolean,
  detail text
);
comment on type partitions.action is
  'One row per thing that maintain() or retire() did (done), would do (dry run) or could not do (detail says why).';

create type partitions.finding as (
  parent regclass,
  "check" text,
  severity text,
  detail text,
  fix text
);
comment on type partitions.finding is 'One row per thing that the doctor found: info, warning or critical, and the SQL that puts it right.';

create type partitions.leaf as (
  name text,
  partition regclass,
  lower timestamptz,
  upper timestamptz,
  detaching boolean,
  is_secured boolean,
  grantees text[],
  bytes bigint,
  frozen_age int,
  rows bigint
);
comment on type partitions.leaf is 'A partition as the doctor looks at it.';
--! EndIncluded 10_partitions/tables.sql
--! Included 10_partitions/conversions.sql
-- kind: state
-- Plain tables on their way to being partitioned. Every step is a transaction that also changes its row here, so
-- whatever is interrupted goes on from there.

create table partitions.conversions (
  parent regclass not null,
  state text not null,
  key text not null,
  granularity text not null,
  premake int not null,
  behind int not null,
  retention interval,
  extend_primary_key boolean not null,
  lower timestamptz not null,
  upper timestamptz not null,
  historic regclass,
  copy regclass,
  filenode oid,
  blocks bigint not null default 0,
  copied_blocks bigint not null default 0,
  started_at timestamptz not null,
  changed_at timestamptz not null,
  constraint conversions_pkey primary key (parent),
  constraint conversions_state_check
    check (state in ('checking', 'checked', 'attached', 'preparing', 'copying', 'copied', 'equal', 'switched', 'done')),
  constraint conversions_blocks_check check (copied_blocks between 0 and blocks)
);
alter table partitions.conversions enable row level security;

comment on table partitions.conversions is
  'Plain tables that partitions.convert() and partitions.split() turn into partitioned ones, and how far they are. Example: select parent, state, copied_blocks, blocks from partitions.conversions';
comment on column partitions.conversions.parent is 'The table: the plain one, and from state attached on the partitioned one in its place.';
comment on column partitions.conversions.state is
  'checking: its rows are being checked; checked; attached: it is partitioned and the old table is one of its partitions; preparing: the partitions are being made; copying: rows are being copied into them, and changes follow; copied; equal: the copy was compared; switched: the partitions have taken the old one''s place; done: it was dropped.';
comment on column partitions.conversions.key is 'The column that it is cut by.';
comment on column partitions.conversions.granularity is 'For its policy.';
comment on column partitions.conversions.premake is 'For its policy.';
comment on column partitions.conversions.behind is 'For its policy.';
comment on column partitions.conversions.retention is 'For its policy.';
comment on column partitions.conversions.extend_primary_key is 'Whether the primary key gets the partition key as a further column.';
comment on column partitions.conversions.lower is 'From when on the old table has rows.';
comment on column partitions.conversions.upper is 'Until when, excluded.';
comment on column partitions.conversions.historic is 'The old table, now a partition.';
comment on column partitions.conversions.copy is 'Holds the new partitions until they take its place.';
comment on column partitions.conversions.filenode is 'The file that copied_blocks counts in; when the old table was rewritten, copying begins anew.';
comment on column partitions.conversions.blocks is 'How many blocks of the old table are to be copied.';
comment on column partitions.conversions.copied_blocks is 'How many of them have been.';
comment on column partitions.conversions.started_at is 'When the conversion began.';
comment on column partitions.conversions.changed_at is 'When its latest step ended.';
--! EndIncluded 10_partitions/conversions.sql
--! Included 10_partitions/care_tables.sql
-- kind: state
-- What was done for partitions beyond making and dropping them.

create table partitions.care (
  relation regclass not null,
  parent regclass not null,
  fingerprint bigint,
  asked_at timestamptz,
  done_at timestamptz,
  constraint care_pkey primary key (relation),
  constraint care_parent_fkey
    foreign key (parent) references partitions.policies (parent) on delete cascade
);
alter table partitions.care enable row level security;
create index care_parent_idx on partitions.care (parent);

comment on table partitions.care is
  'When each managed table was analyzed as a whole, and when each of its closed partitions was frozen, which happens once.';
comment on column partitions.care.relation is 'The table, or one of its partitions.';
comment on column partitions.care.parent is 'The table.';
comment on column partitions.care.fingerprint is 'Of the table''s partitions when it was analyzed.';
comment on column partitions.care.asked_at is 'When freezing the partition was last asked for.';
comment on column partitions.care.done_at is 'When the table was analyzed, or the partition frozen.';
--! EndIncluded 10_partitions/care_tables.sql
--! Included 10_partitions/archives.sql
-- kind: state
-- What has left and is kept. A row's table or file can come and go; what it holds is known by its hash, so that a table
-- is dropped only when a file holds the same.

create table partitions.archives (
  parent regclass not null,
  lower timestamptz not null,
  upper timestamptz not null,
  content text not null default 'partition',
  kind text not null default 'table',
  name text not null,
  location text not null,
  state text not null default 'archived',
  row_count bigint,
  sha256 text,
  bytes bigint,
  archived_at timestamptz not null,
  kept_until timestamptz,
  constraint archives_pkey primary key (parent, lower, content, kind),
  constraint archives_bounds_check check (lower < upper),
  constraint archives_content_check check (content in ('partition', 'late')),
  constraint archives_kind_check check (kind in ('table', 'csv', 'ndjson')),
  constraint archives_state_check check (state in ('archived', 'restored')),
  constraint archives_sealed_check check ((row_count is null) = (sha256 is null)),
  constraint archives_file_is_sealed_check check (kind = 'table' or sha256 is not null),
  constraint archives_kept_until_matches_state_check check ((kept_until is not null) = (state = 'restored'))
);
alter table partitions.archives enable row level security;

comment on table partitions.archives is
  'What has left managed tables and is kept: a row for each table in schema partitions, and for each file that flowgres archive has written. Example: select parent, lower, kind, location, row_count from partitions.archives order by lower, parent';
comment on column partitions.archives.parent is 'The table that the rows have left.';
comment on column partitions.archives.lower is 'Lower bound of the partition; of late rows, of the period that they belong to.';
comment on column partitions.archives.upper is 'Upper bound, excluded.';
comment on column partitions.archives.content is
  'partition: the rows of the time itself; late: rows of later times that refer to a row of the period, such as the last events of runs that crossed its end.';
comment on column partitions.archives.kind is 'table: in schema partitions; csv, or ndjson (compressed): a file.';
comment on column partitions.archives.name is 'The table''s name, in schema partitions or when it was there.';
comment on column partitions.archives.location is 'The table as partitions.name, or the file as flowgres archive wrote it.';
comment on column partitions.archives.state is 'archived; or restored: the rows are back in the parent.';
comment on column partitions.archives.row_count is 'Number of rows; null until seal_archives() has counted them.';
comment on column partitions.archives.sha256 is
  'Hash of all rows, the same in a table and in a file: see contents(). Null until seal_archives().';
comment on column partitions.archives.bytes is 'Size of the file; null for tables.';
comment on column partitions.archives.archived_at is 'When it left, or was written.';
comment on column partitions.archives.kept_until is 'Until when a restored period does not leave again.';
--! EndIncluded 10_partitions/archives.sql
--! Included 10_partitions/periods.sql
-- kind: code
-- The calendar: which period a moment is in, and what its partition is called. UTC, whatever the session's time zone.

create or replace function partitions.step(p_granularity text)
  returns interval
  language sql
  immutable
  parallel safe
as $$
  select case p_granularity
    when 'day' then interval '1 day'
    when 'week' then interval '7 days'
    when 'month' then interval '1 month'
    when 'year' then interval '1 year'
  end
$$;

-- The period of the calendar that holds a moment, or the one p_shift periods later.
create or replace function partitions.period(
  p_granularity text,
  p_at timestamptz,
  p_shift int default 0
)
  returns tstzrange
  language sql
  immutable
  parallel safe
as $$
  select tstzrange(
    (first.day + p_shift * step) at time zone 'UTC',
    (first.day + (p_shift + 1) * step) at time zone 'UTC'
  )
  from date_trunc(p_granularity, p_at at time zone 'UTC') as first (day),
    partitions.step(p_granularity) as step
$$;

-- A span of time cut by the calendar: whole periods, except where the span begins or ends inside one.
create or replace function partitions.split(p_granularity text, p_span tstzrange)
  returns setof tstzrange
  language sql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.period(p_granularity, cut.at at time zone 'UTC') * p_span
  from generate_series(
    date_trunc(p_granularity, lower(p_span) at time zone 'UTC'),
    upper(p_span) at time zone 'UTC' - interval '1 microsecond',
    partitions.step(p_granularity)
  ) as cut (at)
$$;

-- A whole period is called after the calendar; a piece of one after its first day, because there may be two.
create or replace function partitions.partition_name(
  p_parent text,
  p_granularity text,
  p_span tstzrange
)
  returns text
  language sql
  stable
  parallel safe
as $$
  select p_parent || to_char(
    lower(p_span) at time zone 'UTC',
    case
      when p_span <> partitions.period(p_granularity, lower(p_span)) then '"_y"YYYY"m"MM"d"DD'
      when p_granularity = 'year' then '"_y"YYYY'
      when p_granularity = 'month' then '"_y"YYYY"m"MM'
      when p_granularity = 'week' then '"_y"IYYY"w"IW'
      else '"_y"YYYY"m"MM"d"DD'
    end
  )
$$;

-- The bound as the key's type writes it, with an explicit zone.
create or replace function partitions.bound(p_key_kind text, p_at timestamptz)
  returns text
  language sql
  stable
  parallel safe
as $$
  select case p_key_kind
    when 'uuidv7' then engine.uuid_floor(p_at)::text
    when 'date' then to_char(p_at at time zone 'UTC', 'YYYY-MM-DD')
    else to_char(p_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US"+00"')
  end
$$;

create or replace function partitions.values_clause(p_key_kind text, p_span tstzrange)
  returns text
  language sql
  stable
  parallel safe
as $$
  select format('for values from (%s) to (%s)',
    case lower(p_span) when '-infinity' then 'minvalue'
      else quote_literal(partitions.bound(p_key_kind, lower(p_span))) end,
    case upper(p_span) when 'infinity' then 'maxvalue'
      else quote_literal(partitions.bound(p_key_kind, upper(p_span))) end)
$$;

-- Names have a year of four digits, and a UUIDv7 begins in 1970.
create or replace function partitions.require_time(p_key_kind text, p_at timestamptz)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_at is null then
    perform private.raise_error('INVALID_ARGUMENT', 'A time is needed, not null.');
  end if;
  if p_at < timestamptz '0001-01-01 00:00+00'
    or p_at >= timestamptz '9999-01-01 00:00+00'
    or (p_key_kind = 'uuidv7' and p_at < timestamptz '1970-01-01 00:00+00')
  then
    perform private.raise_error('INVALID_ARGUMENT', format('There can be no partition for %s.', p_at),
      'Give a time before the year 9999, and from 1970 on where the key is a UUID.');
  end if;
end
$$;
--! EndIncluded 10_partitions/periods.sql
--! Included 10_partitions/catalog.sql
-- kind: code
-- What the catalog says about a partitioned table.

-- The kind of key that we can cut by; null when we cannot.
create or replace function partitions.kind_of_type(p_type oid)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case p_type
    when 'timestamptz'::regtype then 'timestamptz'
    when 'date'::regtype then 'date'
    when 'uuid'::regtype then 'uuidv7'
  end
$$;

create or replace function partitions.key_kind(p_parent regclass)
  returns text
  language sql
  stable
as $$
  select partitions.kind_of_type(a.atttypid)
  from pg_partitioned_table as t
  join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
  where t.partrelid = p_parent
    and t.partstrat = 'r'
    and t.partnatts = 1
$$;

-- A bound as pg_get_expr writes it, as a time.
create or replace function partitions.bound_time(p_key_kind text, p_bound text)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when p_key_kind is null then null
    when p_bound = 'MINVALUE' then '-infinity'
    when p_bound = 'MAXVALUE' then 'infinity'
    when p_key_kind = 'uuidv7' then engine.uuid_time(btrim(p_bound, '''')::uuid)
    else btrim(p_bound, '''')::timestamptz
  end
$$;

-- FOR VALUES FROM ('…') TO ('…'), taken apart by position: at 1,200 partitions regular expressions are half the time.
create or replace function partitions.of(parent regclass)
  returns table (
    partition regclass,
    name text,
    lower timestamptz,
    upper timestamptz,
    detaching boolean
  )
  language sql
  stable
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set search_path = pg_catalog, pg_temp
as $$
  select c.oid::regclass, c.relname,
    partitions.bound_time(kind, rtrim(substr(nullif(bound.text, 'DEFAULT'), 18, bound.middle - 18), ')')) as lower,
    partitions.bound_time(kind, rtrim(substr(nullif(bound.text, 'DEFAULT'), bound.middle + 5), ')')) as upper,
    i.inhdetachpending
  from partitions.key_kind($1) as kind
  join pg_inherits as i on i.inhparent = $1
  join pg_class as c on c.oid = i.inhrelid
  cross join lateral (
    select b.text, position(' TO (' in b.text) as middle
    from (select pg_get_expr(c.relpartbound, c.oid) offset 0) as b (text)
  ) as bound
  order by lower, upper
$$;
comment on function partitions.of(regclass) is
  'The partitions of a table in the order of time, with their bounds (upper excluded). A default partition has null bounds. Example: select * from partitions.of(''public.workflow_events'')';

-- The partition that holds the moment, or null.
create or replace function partitions.find(p_parent regclass, p_at timestamptz)
  returns text
  language sql
  stable
as $$
  select o.name
  from partitions.of(p_parent) as o
  where p_at >= o.lower
    and p_at < o.upper
    and not o.detaching
$$;

create or replace function partitions.covered(p_parent regclass)
  returns tstzmultirange
  language sql
  stable
as $$
  select coalesce(range_agg(tstzrange(o.lower, o.upper)), '{}')
  from partitions.of(p_parent) as o
  where o.lower is not null
$$;

-- Changes when a partition comes, goes or is bound anew, which writes a new catalog row. Cheaper than reading bounds.
create or replace function partitions.fingerprint(p_parent regclass)
  returns bigint
  language sql
  stable
as $$
  select coalesce(sum(i.inhrelid::bigint * 31 + i.xmin::text::bigint), 0)::bigint
  from pg_inherits as i
  where i.inhparent = p_parent
$$;

create or replace function partitions.is_referenced(p_table regclass)
  returns boolean
  language sql
  stable
as $$
  select exists (select from pg_constraint as k where k.confrelid = p_table and k.contype = 'f')
$$;

-- How to write the name of a partition, which is in the schema of its parent, in a statement.
create or replace function partitions.qualified(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select format('%I.%I', n.nspname, p_partition)
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.oid = p_parent
$$;

grant execute on function partitions.of(regclass) to flowgres_dba;
--! EndIncluded 10_partitions/catalog.sql
--! Included 10_partitions/locks.sql
-- kind: code
-- DDL that nobody has to wait for: it gives up its place in the lock queue after 200 ms and comes back later.

-- Does this transaction hold a lock that writers wait for? Then it must not linger.
create or replace function partitions.holds_up_others()
  returns boolean
  language sql
  volatile
as $$
  select exists (
    select
    from pg_locks as l
    where l.pid = pg_backend_pid()
      and l.locktype = 'relation'
      and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  )
$$;

create or replace function partitions.execute_patiently(p_statements text)
  returns void
  language plpgsql
  volatile
  set lock_timeout = '200ms'
as $$
begin
  for v_attempt in 1 .. 10 loop
    begin
      execute p_statements;
      return;
    exception
      when lock_not_available or deadlock_detected then
        if v_attempt = 10 or partitions.holds_up_others() then
          perform private.raise_error('CONFLICT',
            format('Another transaction held a lock for too long (attempts of 200 ms: %s).', v_attempt),
            'Try again later; pg_stat_activity shows what has been running for long.',
            jsonb_build_object('statements', p_statements));
        end if;
    end;
    -- Nothing is locked between two attempts: the failed one was rolled back.
    perform pg_sleep(least(0.05 * 2 ^ (v_attempt - 1), 1) * (0.5 + random() / 2));
  end loop;
end
$$;

-- One creation, maintenance or retirement at a time for each table, until the end of the transaction.
create or replace function partitions.lock_key(p_parent regclass)
  returns bigint
  language sql
  immutable
  parallel safe
as $$
  select hashtextextended('partitions of ' || p_parent::oid, 0)
$$;

-- Takes the turn for some tables, or says whose turn it is instead.
create or replace function partitions.take_turn(p_parents regclass[])
  returns setof partitions.action
  language sql
  volatile
as $$
  select (parent, null, 'skip', null, null, false, 'Another session is at it.')::partitions.action
  from unnest(p_parents) as parent
  where not pg_try_advisory_xact_lock(partitions.lock_key(parent))
$$;
--! EndIncluded 10_partitions/locks.sql
--! Included 10_partitions/manage.sql
-- kind: code
-- Puts a partitioned table under management, after checking that it can be.

create or replace function partitions.require_ours(p_table regclass)
  returns void
  language plpgsql
  stable
as $$
declare
  v_owner constant oid := (select c.relowner from pg_class as c where c.oid = p_table);
begin
  if v_owner is null then
    perform private.raise_error('NOT_FOUND', format('There is no table %s.', coalesce(p_table::text, 'null')));
  elsif not pg_has_role(v_owner, 'usage') then
    perform private.raise_error('FORBIDDEN', format('%s does not belong to %s.', p_table, current_user),
      format('alter table %s owner to %I', p_table, current_user));
  end if;
end
$$;

-- Raises what is wrong with the table; called again by each maintenance, because tables change.
create or replace function partitions.require_manageable(p_parent regclass)
  returns void
  language plpgsql
  stable
as $$
declare
  v_table record;
  v_problem text;
  v_hint text;
begin
  perform partitions.require_ours(p_parent);
  select c.relkind, c.relispartition, t.partdefid <> 0 as has_default,
    exists (select from pg_attribute as a where a.attrelid = c.oid and a.attidentity <> '') as has_identity
  into v_table
  from pg_class as c
  left join pg_partitioned_table as t on t.partrelid = c.oid
  where c.oid = p_parent;

  if v_table.relkind <> 'p' then
    v_problem := 'is not a partitioned table';
    v_hint := 'Create it with PARTITION BY RANGE (a timestamptz, date or UUIDv7 column).';
  elsif v_table.relispartition then
    v_problem := 'is itself a partition';
    v_hint := 'Partitions of partitions are not supported.';
  elsif partitions.key_kind(p_parent) is null then
    v_problem := 'is partitioned by something else than one time';
    v_hint := 'Supported is RANGE over one column of type timestamptz, date or uuid (version 7).';
  elsif v_table.has_default then
    v_problem := 'has a default partition';
    v_hint := 'Give its rows partitions of their own and detach it: it is scanned for each new partition.';
  elsif v_table.has_identity then
    v_problem := 'has an identity column';
    v_hint := 'Use bigserial: 18 attaches no partition with an identity, 15 numbers each partition on its own.';
  end if;
  if v_problem is not null then
    perform private.raise_error('INVALID_ARGUMENT', format('%s %s.', p_parent, v_problem), v_hint);
  end if;
  perform partitions.require_short_names(p_parent);
end
$$;

-- Of the table's indexes, and of one more that it may get.
create or replace function partitions.require_short_names(p_parent regclass, p_index text default null)
  returns void
  language plpgsql
  stable
as $$
declare
  v_longest text;
begin
  select n.name into v_longest
  from pg_class as c
  cross join lateral (
    select c.relname || '_y0000m00d00'
    union all
    select partitions.index_name(c.relname, c.relname || '_y0000m00d00', ic.relname)
    from pg_index as i
    join pg_class as ic on ic.oid = i.indexrelid
    where i.indrelid = c.oid
    union all
    select partitions.index_name(c.relname, c.relname || '_y0000m00d00', p_index)
  ) as n (name)
  where c.oid = p_parent
  order by octet_length(n.name) desc nulls last
  limit 1;

  if octet_length(v_longest) > 63 then
    perform private.raise_error('INVALID_ARGUMENT', format('%s is longer than 63 bytes.', v_longest),
      'Give the table or its index a shorter name.');
  end if;
end
$$;

create or replace function partitions.manage(
  parent regclass,
  granularity text default 'month',
  premake int default 3,
  behind int default 0,
  retention interval default null,
  on_retire text default 'drop',
  retire_with regclass default null,
  retire_key text default null,
  guard text default null,
  storage jsonb default '{}',
  adaptive boolean default false
)
  returns partitions.policies
  language plpgsql
  volatile
  security definer -- definer because a DBA manages tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy partitions.policies;
begin
  perform partitions.require_manageable(manage.parent);
  insert into partitions.policies
    (parent, key_kind, granularity, premake, behind, retention, on_retire, retire_with, retire_key, guard, storage,
     adaptive)
  values (
    manage.parent, partitions.key_kind(manage.parent), manage.granularity, manage.premake, manage.behind,
    manage.retention, manage.on_retire, manage.retire_with, manage.retire_key, manage.guard, manage.storage,
    manage.adaptive
  )
  on conflict on constraint policies_pkey do update
  set key_kind = excluded.key_kind,
    granularity = excluded.granularity,
    premake = excluded.premake,
    behind = excluded.behind,
    retention = excluded.retention,
    on_retire = excluded.on_retire,
    retire_with = excluded.retire_with,
    retire_key = excluded.retire_key,
    guard = excluded.guard,
    storage = excluded.storage,
    adaptive = excluded.adaptive
  returning * into v_policy;
  return v_policy;
end
$$;
comment on function partitions.manage(regclass, text, int, int, interval, text, regclass, text, text, jsonb, boolean) is
  'Puts a table that is partitioned by RANGE of a timestamptz, date or UUIDv7 under management, or changes how it is managed. Creates nothing: maintain() does. Errors: NOT_FOUND, INVALID_ARGUMENT, FORBIDDEN (not ours). Example: select partitions.manage(''public.readings'', ''week'', premake => 4, retention => ''1 year'')';

grant execute on function
  partitions.manage(regclass, text, int, int, interval, text, regclass, text, text, jsonb, boolean)
  to flowgres_dba;
--! EndIncluded 10_partitions/manage.sql
--! Included 10_partitions/table_like.sql
-- kind: code
-- A table that can become a partition: everything that the parent has, under the partition's name, and closed to all.

-- The parent's index events_run_id_idx is called events_y2026m11_run_id_idx on the partition; attaching adopts it.
create or replace function partitions.index_name(p_parent text, p_partition text, p_index text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_partition = p_parent then p_index
    when starts_with(p_index, p_parent || '_') then p_partition || substr(p_index, length(p_parent) + 1)
    else p_partition || '_' || p_index
  end
$$;

create or replace function partitions.index_statements(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select string_agg(
    case
      when k.oid is not null then
        format('alter table %s add constraint %I %s', qualified, name, pg_get_constraintdef(k.oid))
      else
        format('create %sindex %I on %s%s', case when x.indisunique then 'unique ' end, name, qualified,
          -- What follows the table's name: method, columns, predicate.
          substr(pg_get_indexdef(x.indexrelid), 1 + length(format('CREATE %sINDEX %I ON ONLY %s',
            case when x.indisunique then 'UNIQUE ' end, ic.relname, partitions.qualified(p.oid, p.relname)))))
    end,
    '; ' order by k.oid is null, name
  )
  from pg_class as p
  join pg_index as x on x.indrelid = p.oid
  join pg_class as ic on ic.oid = x.indexrelid
  left join pg_constraint as k
    on k.conindid = x.indexrelid and k.conrelid = p.oid and k.contype in ('p', 'u')
  cross join lateral partitions.index_name(p.relname, p_partition, ic.relname) as name
  cross join lateral partitions.qualified(p.oid, p_partition) as qualified
  where p.oid = p_parent
$$;

create or replace function partitions.replica_identity_statement(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select format('alter table %s replica identity %s', partitions.qualified(p.oid, p_partition),
    case p.relreplident
      when 'f' then 'full'
      when 'n' then 'nothing'
      when 'i' then format('using index %I', partitions.index_name(p.relname, p_partition, ic.relname))
    end)
  from pg_class as p
  left join pg_index as x on x.indrelid = p.oid and x.indisreplident
  left join pg_class as ic on ic.oid = x.indexrelid
  where p.oid = p_parent
    and p.relreplident <> 'd'
$$;

-- The table's grants, and those of its columns.
create or replace function partitions.access_lists(p_table regclass)
  returns table (owner oid, attname name, list aclitem[])
  language sql
  stable
as $$
  select c.relowner, null, c.relacl from pg_class as c where c.oid = p_table
  union all
  select c.relowner, a.attname, a.attacl
  from pg_class as c
  join pg_attribute as a on a.attrelid = c.oid and a.attacl is not null
  where c.oid = p_table
$$;

-- Who else than the owner has rights on it; null for nobody.
create or replace function partitions.grantees(p_table regclass)
  returns text[]
  language sql
  stable
as $$
  select array_agg(distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end)
  from partitions.access_lists(p_table) as acl
  cross join lateral aclexplode(acl.list) as a
  where a.grantee <> acl.owner
$$;

-- Default privileges may have opened the new table. It is reached through its parent only: policies are not inherited.
create or replace function partitions.close_table(p_table regclass)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_revoke text;
begin
  for v_revoke in
    select format('revoke all on %s from %s', p_table, grantee) from unnest(partitions.grantees(p_table)) as grantee
  loop
    execute v_revoke;
  end loop;
end
$$;

-- The statements that make the table. Foreign keys come with the attachment: one made before would lock the other
-- table harder.
create or replace function partitions.table_like(p_policy partitions.policies, p_partition text)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create table %s (like %s including all excluding indexes excluding comments excluding identity)',
      qualified, p_policy.parent),
    partitions.index_statements(p_policy.parent, p_partition),
    format('alter table %s enable row level security', qualified),
    format('select partitions.close_table(%L)', qualified),
    partitions.replica_identity_statement(p_policy.parent, p_partition),
    (
      select format('alter table %s set (%s)', qualified, string_agg(
        format('%s%I = %L', substring(s.key, '^toast\.'), regexp_replace(s.key, '^toast\.', ''), s.value),
        ', '
      ))
      from jsonb_each_text(p_policy.storage) as s
      having count(*) > 0
    )
  )
  from partitions.qualified(p_policy.parent, p_partition) as qualified
$$;

create or replace function partitions.comment_of_partition(p_parent text, p_table text, p_span tstzrange)
  returns text
  language sql
  stable
as $$
  select format('comment on table %s is %L', p_table, format('Rows of %s from %s to %s (UTC, end excluded).', p_parent,
    to_char(lower(p_span) at time zone 'UTC', 'YYYY-MM-DD'),
    to_char(upper(p_span) at time zone 'UTC', 'YYYY-MM-DD')))
$$;
--! EndIncluded 10_partitions/table_like.sql
--! Included 10_partitions/create.sql
-- kind: code
-- Makes one partition: first a table of its own, which then becomes part of the parent in an instant.
-- `create table … partition of` would lock the parent, and so every insert, until its readers are done.

-- Makes the partition for a span of time that has none, and returns its name.
create or replace function partitions.add_partition(p_policy partitions.policies, p_span tstzrange)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_parent constant text := (select c.relname from pg_class as c where c.oid = p_policy.parent);
  v_name constant text := partitions.partition_name(v_parent, p_policy.granularity, p_span);
  v_table constant text := partitions.qualified(p_policy.parent, v_name);
  -- No CHECK is needed to spare the scan: the table is empty.
  v_attach constant text := format('alter table %s attach partition %s %s',
    p_policy.parent, v_table, partitions.values_clause(p_policy.key_kind, p_span));
begin
  if to_regclass(v_table) is not null then
    perform private.raise_error('CONFLICT',
      format('A table %s exists that is no partition of %s for this time.', v_table, p_policy.parent),
      'Rename it or drop it; or, if its rows belong there: ' || v_attach);
  end if;
  perform partitions.execute_patiently(concat_ws('; ',
    partitions.table_like(p_policy, v_name),
    partitions.comment_of_partition(v_parent, v_table, p_span),
    v_attach
  ));
  return v_name;
end
$$;

create or replace function partitions.require_policy(p_parent regclass)
  returns partitions.policies
  language plpgsql
  stable
as $$
declare
  v_policy partitions.policies;
begin
  select p.* into v_policy from partitions.policies as p where p.parent = p_parent;
  if not found then
    perform private.raise_error('NOT_FOUND', format('%s is not a managed table.', coalesce(p_parent::text, 'null')),
      'partitions.policies lists the managed tables; partitions.manage() adds one.');
  end if;
  return v_policy;
end
$$;

create or replace function partitions.create(parent regclass, at timestamptz)
  returns text
  language plpgsql
  volatile
  security definer -- definer because a DBA adds partitions to tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
  set jit = off -- as in maintain_table
as $$
declare
  v_at constant timestamptz := "create".at;
  v_policy constant partitions.policies := partitions.require_policy("create".parent);
  v_name text;
  v_span tstzrange;
begin
  perform partitions.require_time(v_policy.key_kind, v_at);
  v_name := partitions.find(v_policy.parent, v_at);
  if v_name is not null then
    return v_name;
  end if;
  perform partitions.require_manageable(v_policy.parent);
  perform partitions.execute_patiently(
    format('select pg_advisory_xact_lock(%s)', partitions.lock_key(v_policy.parent)));
  -- What is free of the period; nothing when somebody else has just made the partition.
  select free.span into v_span
  from partitions.period(v_policy.granularity, v_at) as period
  cross join unnest(tstzmultirange(period) - partitions.covered(v_policy.parent)) as free (span)
  where free.span @> v_at;
  if v_span is not null then
    return partitions.add_partition(v_policy, v_span);
  end if;
  v_name := partitions.find(v_policy.parent, v_at);
  if v_name is null then
    perform private.raise_error('CONFLICT',
      format('The partition of %s for %s is being detached.', v_policy.parent, v_at),
      format('If that was interrupted, this finishes it: select * from partitions.maintain(%L)', v_policy.parent));
  end if;
  return v_name;
end
$$;
comment on function partitions.create(regclass, timestamptz) is
  'Makes the partition for a moment, with the parent''s indexes, row-level security on and no grants, and returns its name; also when it existed. Errors: NOT_FOUND (no managed table), INVALID_ARGUMENT (null, infinity, year 9999), CONFLICT (another table has the name, or locks were not to be had). Example: select partitions.create(''public.workflow_events'', ''2027-01-01'')';

grant execute on function partitions.create(regclass, timestamptz) to flowgres_dba;
--! EndIncluded 10_partitions/create.sql
--! Included 10_partitions/adapt.sql
-- kind: code
-- How long periods should be for the rows that come.

-- The longest granularity, not longer than the policy's, at which a partition stays below warn_bytes; judged by the
-- largest daily growth of the last three periods.
create or replace function partitions.fitting_granularity(p_policy partitions.policies)
  returns text
  language sql
  volatile
as $$
  with recent as (
    select pg_total_relation_size(o.partition)
      / greatest(extract(epoch from least(o.upper, now) - o.lower) / 86400, 1) as bytes_per_day
    from engine.now() as now
    cross join partitions.of(p_policy.parent) as o
    where o.lower <= now
      and o.upper > now - 3 * partitions.step(p_policy.granularity)
      and isfinite(o.lower)
  )
  select coalesce(
    (
      select g.name
      from (values ('year', 366), ('month', 31), ('week', 7)) as g (name, days)
      where partitions.step(g.name) <= partitions.step(p_policy.granularity)
        and coalesce((select max(r.bytes_per_day) from recent as r), 0) * g.days < p_policy.warn_bytes
      order by g.days desc
      limit 1
    ),
    'day'
  )
$$;

-- Follows the growth where the policy says so; null where nothing changes.
create or replace function partitions.adapt(p_policy partitions.policies, p_dry_run boolean)
  returns partitions.action
  language plpgsql
  volatile
as $$
declare
  v_granularity text;
begin
  if not p_policy.adaptive then
    return null;
  end if;
  v_granularity := partitions.fitting_granularity(p_policy);
  if v_granularity = p_policy.granularity then
    return null;
  end if;
  if not p_dry_run then
    update partitions.policies as p set granularity = v_granularity where p.parent = p_policy.parent;
  end if;
  return (
    p_policy.parent, null, 'change granularity', null, null, not p_dry_run,
    format('From %s to %s, where the existing partitions end.', p_policy.granularity, v_granularity)
  )::partitions.action;
end
$$;
--! EndIncluded 10_partitions/adapt.sql
--! Included 10_partitions/maintain.sql
-- kind: code
-- Keeps partitions ahead of need. Meant to be called often: when there is nothing to do it reads a few catalog rows.

-- The span of time that must have partitions now; not what would leave at once.
create or replace function partitions.wanted(p_policy partitions.policies)
  returns tstzrange
  language sql
  volatile
as $$
  select tstzrange(
    greatest(
      lower(partitions.period(p_policy.granularity, now, -p_policy.behind)),
      lower(partitions.period(p_policy.granularity, now - p_policy.retention))
    ),
    upper(partitions.period(p_policy.granularity, now, p_policy.premake))
  )
  from engine.now() as now
$$;

create or replace function partitions.maintain(
  parent regclass default null,
  dry_run boolean default false
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because the scheduler and DBAs maintain tables without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_policy partitions.policies;
begin
  -- A standby gets its partitions from the primary.
  if pg_is_in_recovery() then
    return;
  end if;
  if maintain.parent is not null then
    perform partitions.require_policy(maintain.parent);
  end if;
  for v_policy in
    select p.*
    from partitions.policies as p
    left join partitions.maintenance as m on m.parent = p.parent
    where (maintain.parent is null or p.parent = maintain.parent)
      and (m.idle @> v_now and m.policy_xmin = p.xmin::text and m.fingerprint = (
        -- partitions.fingerprint(p.parent), written out: here it is planned once in a session.
        select coalesce(sum(i.inhrelid::bigint * 31 + i.xmin::text::bigint), 0)
        from pg_inherits as i
        where i.inhparent = p.parent
      )) is not true
    order by p.parent::text
  loop
    return query select m.* from partitions.maintain_table(v_policy, maintain.dry_run) as m;
  end loop;
end
$$;
comment on function partitions.maintain(regclass, boolean) is
  'Makes sure that each managed table, or the given one, has partitions from `behind` periods before the current one to `premake` after it, and finishes interrupted detaches. One row per action; a failure is a row and does not stop the rest. With dry_run nothing is done. Error: NOT_FOUND (no managed table). Example: select * from partitions.maintain()';

-- One table: finishes interrupted detaches, then fills what is wanted and missing.
create or replace function partitions.maintain_table(p_policy partitions.policies, p_dry_run boolean)
  returns setof partitions.action
  language plpgsql
  volatile
  set jit = off -- short queries over functions whose cost nobody can guess: compiling them takes longer
as $$
declare
  v_policy partitions.policies := p_policy;
  v_failure text;
  v_action partitions.action;
begin
  return query select t.* from partitions.take_turn(array[p_policy.parent]) as t;
  if found then
    return;
  end if;
  v_action := partitions.adapt(v_policy, p_dry_run);
  if v_action.action is not null then
    return next v_action;
    select p.* into v_policy from partitions.policies as p where p.parent = p_policy.parent;
  end if;
  for v_action in
    select p.* from partitions.plan_maintenance(v_policy, partitions.wanted(v_policy)) as p
  loop
    if not p_dry_run then
      v_action := partitions.perform_action(v_policy, v_action);
      v_failure := coalesce(v_failure, v_action.detail);
    end if;
    return next v_action;
  end loop;
  if not p_dry_run then
    perform partitions.remember(p_policy.parent, v_failure);
  end if;
end
$$;

create or replace function partitions.plan_maintenance(p_policy partitions.policies, p_wanted tstzrange)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
begin
  perform partitions.require_manageable(p_policy.parent);
  return query
    select p_policy.parent, o.name, 'finish detach', o.lower, o.upper, false, null::text
    from partitions.of(p_policy.parent) as o
    where o.detaching
      -- Mostly there is none, and then no bound is read.
      and exists (
        select from pg_inherits as i where i.inhparent = p_policy.parent and i.inhdetachpending
      );
  return query
    select p_policy.parent, partitions.partition_name(c.relname, p_policy.granularity, piece), 'create',
      lower(piece), upper(piece), false, null::text
    from pg_class as c
    cross join unnest(tstzmultirange(p_wanted) - partitions.covered(p_policy.parent)) as hole
    cross join lateral partitions.split(p_policy.granularity, hole) as piece
    where c.oid = p_policy.parent
    order by lower(piece);
exception
  when others then
    return next (p_policy.parent, null, 'check', null, null, false, sqlerrm)::partitions.action;
end
$$;

-- Does one action; what goes wrong becomes its detail.
create or replace function partitions.perform_action(
  p_policy partitions.policies,
  p_action partitions.action
)
  returns partitions.action
  language plpgsql
  volatile
as $$
declare
  v_action partitions.action := p_action;
begin
  if v_action.action = 'create' then
    perform partitions.add_partition(p_policy, tstzrange(v_action.lower, v_action.upper));
    v_action.done := true;
  elsif v_action.action = 'finish detach' then
    perform partitions.execute_patiently(format('alter table %s detach partition %s finalize',
      p_policy.parent, partitions.qualified(p_policy.parent, v_action.partition)));
    v_action.done := true;
  end if;
  return v_action;
exception
  when others then
    v_action.detail := sqlerrm;
    return v_action;
end
$$;

-- What the next maintenance may rely on, and what the doctor reports. If all that is wanted is there, there is nothing
-- to do until the current period ends: with it moves the end of what is wanted, and the beginning only ever forward.
create or replace function partitions.remember(p_parent regclass, p_failure text)
  returns void
  language sql
  volatile
as $$
  insert into partitions.maintenance as m
    (parent, fingerprint, covered, idle, policy_xmin, failures, failed_at, error)
  select p_parent,
    case when is_covered then partitions.fingerprint(p_parent) end,
    case when is_covered then wanted end,
    partitions.period(p.granularity, upper(wanted), -p.premake - 1),
    p.xmin::text,
    case when p_failure is null then 0 else 1 end,
    case when p_failure is not null then engine.now() end,
    p_failure
  from partitions.policies as p
  cross join lateral partitions.wanted(p) as wanted
  cross join lateral (select partitions.covered(p_parent) @> wanted offset 0) as c (is_covered)
  where p.parent = p_parent
  on conflict (parent) do update
  set fingerprint = excluded.fingerprint,
    covered = excluded.covered,
    idle = excluded.idle,
    policy_xmin = excluded.policy_xmin,
    failures = case when p_failure is null then 0 else m.failures + 1 end,
    failed_at = excluded.failed_at,
    error = excluded.error
$$;

grant execute on function partitions.maintain(regclass, boolean) to flowgres_dba;
--! EndIncluded 10_partitions/maintain.sql
--! Included 10_partitions/keep.sql
-- kind: code
-- A partition that has left becomes an archive: the same table, moved to schema partitions, nothing copied.

-- As a time of the partition key, whatever its type.
create or replace function partitions.key_time(p_key_kind text, p_column text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case p_key_kind
    when 'uuidv7' then format('engine.uuid_time(%I)', p_column)
    when 'date' then format('(%I::timestamp at time zone ''UTC'')', p_column)
    else format('%I', p_column)
  end
$$;

-- A CHECK that lets ATTACH skip its scan, once it is validated.
create or replace function partitions.bounds_check(p_parent regclass, p_lower timestamptz, p_upper timestamptz)
  returns text
  language sql
  stable
as $$
  select format('check (%s)', concat_ws(' and ',
    format('%I is not null', a.attname),
    case when isfinite(p_lower) then format('%I >= %L', a.attname, partitions.bound(kind, p_lower)) end,
    case when isfinite(p_upper) then format('%I < %L', a.attname, partitions.bound(kind, p_upper)) end
  ))
  from pg_partitioned_table as t
  join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
  cross join partitions.key_kind(p_parent) as kind
  where t.partrelid = p_parent
$$;

-- Takes a detached table out of the way: nothing else is locked for its sake any more.
create or replace function partitions.put_away(p_parent regclass, p_name text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_table constant regclass := partitions.qualified(p_parent, p_name);
  v_constraint record;
begin
  for v_constraint in
    select n.nspname as schema, k.conname as name
    from pg_constraint as k
    join pg_class as c on c.oid = k.conrelid
    join pg_namespace as n on n.oid = c.relnamespace
    where k.conrelid = v_table
      and k.conparentid = 0
      and (
        k.contype = 'f'
        -- A concurrent detach leaves its bounds behind as a CHECK.
        or k.contype = 'c' and not exists (
          select from pg_constraint as p where p.conrelid = p_parent and p.contype = 'c' and p.conname = k.conname
        )
      )
  loop
    execute format('alter table %I.%I drop constraint %I', v_constraint.schema, p_name, v_constraint.name);
  end loop;
  perform partitions.move_table(v_table, 'partitions');
end
$$;

create or replace function partitions.move_table(p_table regclass, p_schema text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_statement constant text := format('alter table %s set schema %I', p_table, p_schema);
begin
  execute v_statement;
end
$$;

create or replace function partitions.keep_archive(
  p_parent regclass,
  p_name text,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns void
  language plpgsql
  volatile
as $$
begin
  perform partitions.put_away(p_parent, p_name);
  perform partitions.bind_archive(p_parent, p_name, p_lower, p_upper);
  perform partitions.close_table(format('partitions.%I', p_name)::regclass);
  perform partitions.enter_archive(p_parent, p_lower, p_upper, 'partition', p_name);
end
$$;

-- Not validated yet: that reads the table, and here others wait.
create or replace function partitions.bind_archive(
  p_parent regclass,
  p_name text,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_statement constant text := format('alter table partitions.%I add constraint archived_bounds_check %s not valid',
    p_name, partitions.bounds_check(p_parent, p_lower, p_upper));
begin
  execute v_statement;
end
$$;

create or replace function partitions.enter_archive(
  p_parent regclass,
  p_lower timestamptz,
  p_upper timestamptz,
  p_content text,
  p_name text
)
  returns void
  language sql
  volatile
as $$
  insert into partitions.archives (parent, lower, upper, content, name, location, archived_at)
  values (p_parent, p_lower, p_upper, p_content, p_name, format('partitions.%I', p_name), engine.now())
  on conflict on constraint archives_pkey do update
  set upper = excluded.upper,
    name = excluded.name,
    location = excluded.location,
    state = 'archived',
    row_count = null,
    sha256 = null,
    archived_at = excluded.archived_at,
    kept_until = null
$$;

-- The columns of a table, quoted, in the order of their names.
create or replace function partitions.columns(p_table regclass)
  returns text
  language sql
  stable
as $$
  select string_agg(quote_ident(a.attname), ', ' order by a.attname)
  from pg_attribute as a
  where a.attrelid = p_table
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated = ''
$$;

-- An empty table in schema partitions that is as a partition of the parent would be.
create or replace function partitions.create_archive(p_parent regclass, p_name text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_table constant text := partitions.qualified(p_parent, p_name);
  v_statements constant text := partitions.table_like(partitions.require_policy(p_parent), p_name);
begin
  if to_regclass(v_table) is not null or to_regclass(format('partitions.%I', p_name)) is not null then
    perform private.raise_error('CONFLICT',
      format('A table %s exists already, in schema partitions or beside %s.', p_name, p_parent),
      'Rename it or drop it.');
  end if;
  execute v_statements;
  perform partitions.move_table(v_table::regclass, 'partitions');
end
$$;
--! EndIncluded 10_partitions/keep.sql
--! Included 10_partitions/stragglers.sql
-- kind: code
-- Rows in partitions that stay and refer to a period that leaves: the last events of runs that crossed its end. They
-- are deleted with it, or archived with it.

-- The table for those of one period, made when it is first needed.
create or replace function partitions.late_table(
  p_member regclass,
  p_leader partitions.policies,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_name text;
begin
  -- What it holds has changed, so its seal is broken.
  update partitions.archives as a set row_count = null, sha256 = null
  where a.parent = p_member
    and a.lower = p_lower
    and a.content = 'late'
    and a.kind = 'table'
    and a.state = 'archived'
  returning a.name into v_name;
  if not found then
    select partitions.partition_name(c.relname, p_leader.granularity, tstzrange(p_lower, p_upper)) || '_late'
    into v_name
    from pg_class as c
    where c.oid = p_member;
    perform partitions.create_archive(p_member, v_name);
    perform partitions.enter_archive(p_member, p_lower, p_upper, 'late', v_name);
  end if;
  return v_name;
end
$$;

-- Deletes or moves at most so many and returns how many it was; none are left when it returns 0.
create or replace function partitions.clear_some_stragglers(
  p_action partitions.action,
  p_limit int default 10000
)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_leaf record;
  v_statement text;
  v_late text;
  v_cleared bigint;
begin
  for v_leaf in
    select leader, p.parent, partitions.columns(p.parent) as columns,
      format('from %1$s where ctid = any (array(select ctid from %1$s where %2$I >= %3$L and %2$I < %4$L limit %5$s))',
        o.partition, p.retire_key, partitions.bound(leader.key_kind, p_action.lower),
        partitions.bound(leader.key_kind, p_action.upper), p_limit) as rows
    from partitions.policies as leader
    join partitions.policies as p on p.retire_with = leader.parent and p.retire_key is not null
    cross join lateral partitions.of(p.parent) as o
    where leader.parent = p_action.parent
      -- Those up to here leave whole.
      and o.upper > p_action.upper
  loop
    if p_action.action = 'archive' then
      v_statement := format('select count(*) %s', v_leaf.rows);
      execute v_statement into v_cleared;
      continue when v_cleared = 0;
      v_late := partitions.late_table(v_leaf.parent, v_leaf.leader, p_action.lower, p_action.upper);
      v_statement := format(
        'with late as (delete %s returning %s) insert into partitions.%I (%2$s) select %2$s from late',
        v_leaf.rows, v_leaf.columns, v_late);
    else
      v_statement := format('delete %s', v_leaf.rows);
    end if;
    execute v_statement;
    get diagnostics v_cleared = row_count;
    if v_cleared > 0 then
      return v_cleared;
    end if;
  end loop;
  return 0;
end
$$;

-- The same to the end, in one transaction.
create or replace function partitions.clear_stragglers(p_action partitions.action)
  returns void
  language plpgsql
  volatile
as $$
begin
  while partitions.clear_some_stragglers(p_action) > 0 loop
    null;
  end loop;
end
$$;

-- The same to the end, in a transaction for each 10,000 rows; so it cannot be called within one.
create or replace procedure partitions.clear_stragglers(
  parent regclass,
  lower timestamptz,
  upper timestamptz,
  action text
)
  language plpgsql
as $$
begin
  while partitions.clear_some_stragglers(
    (parent, null, clear_stragglers.action, lower, upper, false, null)::partitions.action
  ) > 0 loop
    commit;
  end loop;
end
$$;
--! EndIncluded 10_partitions/stragglers.sql
--! Included 10_partitions/leave.sql
-- kind: code
-- How tables leave: locked for an instant, a group together or not at all.

-- The statements that take a partition out. A plain DROP of an attached one locks less than a detach (nothing of the
-- tables that it refers to), but is refused where other tables refer to the parent.
create or replace function partitions.farewell(p_action partitions.action, p_attached boolean)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    case
      when p_attached and (p_action.action <> 'drop' or partitions.is_referenced(p_action.parent))
      then format('alter table %s detach partition %s', p_action.parent, name)
    end,
    case when p_action.action = 'drop' then format('drop table %s', name) end,
    case p_action.action
      when 'detach' then format('select partitions.put_away(%L, %L)', p_action.parent, p_action.partition)
      when 'archive' then format('select partitions.keep_archive(%L, %L, %L, %L)',
        p_action.parent, p_action.partition, p_action.lower, p_action.upper)
    end
  )
  from partitions.qualified(p_action.parent, p_action.partition) as name
$$;

-- All of the group or nothing of it. Detaching what others refer to makes PostgreSQL look for rows that still do: with
-- these settings by merging two indexes, which ends early, never by reading the whole log. What they make costly on
-- paper would be compiled: that took longer than all the rest.
create or replace function partitions.retire_group(p_group partitions.action[])
  returns partitions.action[]
  language plpgsql
  volatile
  set enable_hashjoin = off
  set enable_seqscan = off
  set jit = off
as $$
declare
  v_statements constant text := (
    select string_agg(partitions.farewell(p_group[i], true), '; ' order by i)
    from generate_subscripts(p_group, 1) as i
  );
  v_error text;
begin
  begin
    perform partitions.execute_patiently(v_statements);
  exception
    when others then v_error := sqlerrm;
  end;
  return array(
    select (g.parent, g.partition, g.action, g.lower, g.upper, v_error is null, v_error)::partitions.action
    from unnest(p_group) as g
  );
end
$$;

-- Sees off what was, or was being, detached concurrently. What is still attached is decided anew.
create or replace function partitions.finish_departures(p_parent regclass)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_departure record;
  v_action partitions.action;
begin
  return query select t.* from partitions.take_turn(array[p_parent]) as t;
  if found then
    return;
  end if;
  for v_departure in
    select d.*, c.oid is not null and (i.inhrelid is null or i.inhdetachpending) as is_leaving,
      -- The policy may have changed since it was decided: what it wants archived is not dropped.
      case when d.action = 'drop' and p.on_retire = 'archive' then 'archive' else d.action end as wish,
      case
        when i.inhdetachpending then format('alter table %s detach partition %s finalize', d.parent, d.partition)
      end as first
    from partitions.departures as d
    join partitions.policies as p on p.parent = d.parent
    left join pg_class as c on c.oid = d.partition
    left join pg_inherits as i on i.inhrelid = d.partition
    where d.parent = p_parent
    order by d.lower
  loop
    if v_departure.is_leaving then
      v_action := (p_parent, v_departure.name, v_departure.wish, v_departure.lower, v_departure.upper, true, null);
      begin
        perform partitions.execute_patiently(
          concat_ws('; ', v_departure.first, partitions.farewell(v_action, false)));
      exception
        when others then
          v_action.done := false;
          v_action.detail := sqlerrm;
      end;
      return next v_action;
      continue when not v_action.done;
    end if;
    delete from partitions.departures as d where d.partition = v_departure.partition;
  end loop;
end
$$;
--! EndIncluded 10_partitions/leave.sql
--! Included 10_partitions/stay.sql
-- kind: code
-- Which partitions may leave, and why the others must stay.

-- Null when the period may leave.
create or replace function partitions.reason_to_stay(
  p_policy partitions.policies,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_guard record;
  v_reason text;
begin
  if not exists (
    select from partitions.of(p_policy.parent) as o where o.lower >= p_upper and not o.detaching
  ) then
    return 'It is the last partition.';
  end if;
  select format('It was restored and stays until %s.', to_char(a.kept_until at time zone 'UTC', 'YYYY-MM-DD'))
  into v_reason
  from partitions.archives as a
  where a.parent = p_policy.parent
    and a.lower = p_lower
    and a.kept_until > engine.now();
  if found then
    return v_reason;
  elsif p_policy.guard is null then
    return null;
  end if;
  -- The guard runs with the owner's rights, so it must be the owner's.
  select n.nspname as schema, f.proname as name
  into v_guard
  from pg_proc as f
  join pg_namespace as n on n.oid = f.pronamespace
  join pg_class as c on c.oid = p_policy.parent and c.relowner = f.proowner
  where f.oid = to_regprocedure(p_policy.guard || '(timestamptz, timestamptz)');
  if not found then
    return format('There is no guard %s(timestamptz, timestamptz) of the table''s owner.', p_policy.guard);
  end if;
  execute format('select %I.%I($1, $2)', v_guard.schema, v_guard.name) into v_reason using p_lower, p_upper;
  return v_reason;
end
$$;

-- Partitions whose upper bound is in (p_after, p_before]: what is to happen to them, or `keep` and why.
create or replace function partitions.leaving(
  p_policy partitions.policies,
  p_after timestamptz,
  p_before timestamptz
)
  returns setof partitions.action
  language sql
  volatile
as $$
  select p_policy.parent, o.name, case when reason is null then p_policy.on_retire else 'keep' end,
    o.lower, o.upper, false, reason
  from partitions.of(p_policy.parent) as o
  cross join lateral partitions.reason_to_stay(p_policy, o.lower, o.upper) as reason
  where o.upper > p_after
    and o.upper <= p_before
    and not o.detaching
  order by o.lower
$$;
--! EndIncluded 10_partitions/stay.sql
--! Included 10_partitions/retire.sql
-- kind: code
-- Lets old periods leave. What leaves is decided by the upper bound in the catalog, never by a name, and the policy's
-- guard is asked first. Tables that belong together leave in one step, the referring one before the referred one.

create or replace function partitions.retire(
  parent regclass default null,
  older_than interval default null,
  dry_run boolean default false
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because the scheduler and DBAs retire partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy partitions.policies;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  perform partitions.require_age(retire.parent, retire.older_than);
  for v_policy in select p.* from partitions.retiring_policies(retire.parent) as p loop
    return query
      select r.*
      from partitions.retire_table(
        v_policy,
        engine.now() - coalesce(retire.older_than, v_policy.retention),
        -- A table that is named goes alone; else what leaves with another table's partition waits for that one.
        case when retire.parent is null then v_policy.retire_with end,
        retire.dry_run
      ) as r;
  end loop;
end
$$;
comment on function partitions.retire(regclass, interval, boolean) is
  'Lets partitions leave whose upper bound is older than the policy''s retention, or than older_than: they are dropped, archived or kept detached in schema partitions, as the policy says; partitions of tables that retire with this one leave with them. The last partition always stays, and so does a period that a guard holds back: action `keep`, with the reason. With dry_run nothing is done. Errors: NOT_FOUND, INVALID_ARGUMENT. Example: select * from partitions.retire(''public.workflow_runs'', dry_run => true)';

create or replace function partitions.require_age(p_parent regclass, p_age interval)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_parent is not null then
    perform partitions.require_policy(p_parent);
  elsif p_age is not null then
    perform private.raise_error('INVALID_ARGUMENT', 'An age is given, but no table.', 'Name the table that it is for.');
  end if;
  if p_age < interval '1 day' or p_age > interval '1000 years' then
    perform private.raise_error('INVALID_ARGUMENT', format('Partitions cannot leave at the age of %s.', p_age),
      'Give an interval between one day and 1000 years.');
  end if;
end
$$;

-- Whose turn it is: what others leave with comes first, and takes them along.
create or replace function partitions.retiring_policies(p_parent regclass)
  returns setof partitions.policies
  language sql
  stable
as $$
  select p.*
  from partitions.policies as p
  where coalesce(p.parent = p_parent, p.retention is not null)
  order by p.retire_with is not null, p.parent::text
$$;

create or replace function partitions.retire_table(
  p_policy partitions.policies,
  p_before timestamptz,
  p_leader regclass,
  p_dry_run boolean
)
  returns setof partitions.action
  language plpgsql
  volatile
  set jit = off -- as in maintain_table
as $$
declare
  v_ready partitions.action[] := '{}';
  v_group partitions.action[];
  v_action partitions.action;
begin
  return query
    select t.*
    from partitions.take_turn(array(
      select p.parent from partitions.policies as p where p_policy.parent in (p.parent, p.retire_with)
    )) as t;
  if found then
    return;
  end if;
  if p_leader is null and not p_dry_run then
    return query
      select d.*
      from partitions.policies as p
      cross join lateral partitions.finish_departures(p.parent) as d
      where p_policy.parent in (p.parent, p.retire_with);
  end if;
  for v_action in select l.* from partitions.leaders(p_policy, p_before, p_leader) as l loop
    v_group := partitions.period_group(p_policy, v_action);
    if p_dry_run or v_group[1].action = 'keep' then
      return query select g.* from unnest(v_group) as g;
    else
      v_ready := v_ready || v_action;
    end if;
  end loop;
  -- All rows are deleted or moved before the first table is locked.
  foreach v_action in array v_ready loop
    perform partitions.clear_stragglers(v_action);
  end loop;
  foreach v_action in array v_ready loop
    return query
      select g.* from unnest(partitions.retire_group(partitions.period_group(p_policy, v_action))) as g;
  end loop;
end
$$;

-- Is the partition's time still held by a partition of the table that it retires with? Then it leaves with that one,
-- unless its own retention is shorter.
create or replace function partitions.leaves_with(
  p_policy partitions.policies,
  p_leader regclass,
  p_action partitions.action
)
  returns boolean
  language sql
  stable
as $$
  select exists (
    select
    from partitions.policies as leader
    cross join partitions.of(leader.parent) as o
    where leader.parent = p_leader
      and leader.retention <= p_policy.retention
      and tstzrange(o.lower, o.upper) && tstzrange(p_action.lower, p_action.upper)
  )
$$;

-- The partitions of a table that leave, each with its group.
create or replace function partitions.leaders(
  p_policy partitions.policies,
  p_before timestamptz,
  p_leader regclass
)
  returns setof partitions.action
  language sql
  volatile
as $$
  select l.*
  from partitions.leaving(p_policy, '-infinity', p_before) as l
  where p_leader is null
    or not partitions.leaves_with(p_policy, p_leader, l)
$$;

-- The partition and those that leave with it, in the order of leaving. If one must stay, all do.
create or replace function partitions.period_group(
  p_policy partitions.policies,
  p_action partitions.action
)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_group constant partitions.action[] := array(
    select f
    from partitions.policies as p
    cross join lateral partitions.leaving(p, p_action.lower, p_action.upper) as f
    where p.retire_with = p_policy.parent
    order by p.parent::text, f.lower
  ) || p_action;
  v_reason constant text := (
    select format('%s: %s', g.partition, g.detail) from unnest(v_group) as g where g.action = 'keep'
    union all
    select format('%s is still on its way out.', d.name)
    from partitions.departures as d
    join partitions.policies as p on p.parent = d.parent and p.retire_with = p_policy.parent
    where d.upper > p_action.lower
      and d.upper <= p_action.upper
    union all
    select format('%s would be dropped, and %s is to be archived: give both the same on_retire.',
      p_action.partition, g.partition)
    from unnest(v_group) as g
    where p_action.action = 'drop'
      and g.action = 'archive'
    limit 1
  );
begin
  if v_reason is null then
    return v_group;
  end if;
  return array(
    select (g.parent, g.partition, 'keep', g.lower, g.upper, false, coalesce(g.detail, v_reason))::partitions.action
    from unnest(v_group) as g
  );
end
$$;

grant execute on function partitions.retire(regclass, interval, boolean) to flowgres_dba;
--! EndIncluded 10_partitions/retire.sql
--! Included 10_partitions/retire_concurrently.sql
-- kind: code
-- The gentle way to retire: statements that each run alone, because DETACH … CONCURRENTLY can run in no function.

create or replace function partitions.retire_concurrently(
  parent regclass default null,
  older_than interval default null
)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
  set jit = off -- as in maintain_table
as $$
declare
  v_parents regclass[];
begin
  if pg_is_in_recovery() then
    return;
  end if;
  perform partitions.require_age(retire_concurrently.parent, retire_concurrently.older_than);
  v_parents := array(
    select p.parent
    from partitions.policies as p
    where retire_concurrently.parent is null
      or retire_concurrently.parent in (p.parent, p.retire_with)
  );
  perform partitions.take_long_turn(v_parents);
  -- After a long pause a partition is due by its own age and with its group: it is to be detached once.
  return query
    select s.statement
    from partitions.gentle_statements(retire_concurrently.parent, retire_concurrently.older_than)
      with ordinality as s (statement, place)
    group by s.statement
    order by min(s.place);
  return query select partitions.last_statements(v_parents, format('select * from partitions.retire(%L, %L)',
    retire_concurrently.parent, retire_concurrently.older_than));
end
$$;
comment on function partitions.retire_concurrently(regclass, interval) is
  'What retire() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner: partitions are detached concurrently, which holds up neither reads nor writes, rows are deleted in batches, and retire() does the rest. If one fails, run the others all the same: the next time finishes it. Example, in psql: set role flowgres_owner; select partitions.retire_concurrently() \gexec';

-- It is this session's turn until the last statement, so that nobody takes its detach for an interrupted one.
create or replace function partitions.take_long_turn(p_parents regclass[])
  returns void
  language sql
  volatile
as $$
  select pg_advisory_lock(partitions.lock_key(p)) from unnest(p_parents) as p order by p
$$;

create or replace function partitions.last_statements(p_parents regclass[], p_final text)
  returns setof text
  language sql
  volatile
as $$
  select distinct format('select * from partitions.finish_departures(%L)', d.parent)
  from partitions.departures as d
  where d.parent = any (p_parents)
  union all
  select p_final
  union all
  select format('select pg_advisory_unlock(partitions.lock_key(%L))', p) from unnest(p_parents) as p
$$;

create or replace function partitions.gentle_statements(p_parent regclass, p_older_than interval)
  returns setof text
  language plpgsql
  volatile
as $$
declare
  v_policy partitions.policies;
  v_action partitions.action;
begin
  for v_policy in select p.* from partitions.retiring_policies(p_parent) as p loop
    for v_action in
      select member.*
      from partitions.leaders(
        v_policy,
        engine.now() - coalesce(p_older_than, v_policy.retention),
        case when p_parent is null then v_policy.retire_with end
      ) as l
      cross join lateral unnest(partitions.period_group(v_policy, l)) as member
      where member.action <> 'keep'
    loop
      return next partitions.gentle_statement(v_action);
    end loop;
  end loop;
end
$$;

-- A table that others refer to is detached plainly, by retire(), once the rows that refer to the period are gone.
create or replace function partitions.gentle_statement(p_action partitions.action)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_partition constant regclass := partitions.qualified(p_action.parent, p_action.partition);
begin
  if partitions.is_referenced(p_action.parent) then
    return format('call partitions.clear_stragglers(%L, %L, %L, %L)',
      p_action.parent, p_action.lower, p_action.upper, p_action.action);
  end if;
  insert into partitions.departures (partition, parent, name, lower, upper, action, since)
  values (
    v_partition, p_action.parent, p_action.partition, p_action.lower, p_action.upper, p_action.action, engine.now()
  )
  on conflict on constraint departures_pkey do update
  set action = excluded.action,
    since = excluded.since;
  return format('alter table %s detach partition %s concurrently', p_action.parent, v_partition);
end
$$;
--! EndIncluded 10_partitions/retire_concurrently.sql
--! Included 10_partitions/contents.sql
-- kind: code
-- What an archive holds, as a number and a hash: the same wherever and in whatever form the rows are.

-- The hash is a chain: each row's text, in UTF-8, is appended to the hash so far (nothing, at first) and hashed anew.
create or replace function partitions.contents_of(p_query text, out row_count bigint, out sha256 text)
  language plpgsql
  volatile
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set intervalstyle = 'postgres'
  set extra_float_digits = 1
  set bytea_output = 'hex'
as $$
declare
  v_row text;
  v_hash bytea := '';
begin
  row_count := 0;
  for v_row in execute p_query loop
    row_count := row_count + 1;
    v_hash := sha256(v_hash || convert_to(v_row, 'UTF8'));
  end loop;
  sha256 := encode(v_hash, 'hex');
end
$$;

-- The order of the rows, the same in every database: by the primary key, unless that depends on a collation.
create or replace function partitions.row_order(p_table regclass)
  returns text
  language sql
  stable
as $$
  select coalesce(
    (
      select string_agg(quote_ident(a.attname), ', ' order by k.place)
      from pg_index as i
      cross join lateral unnest(i.indkey::int[]) with ordinality as k (attnum, place)
      join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
      where i.indrelid = p_table
        and i.indisprimary
      having bool_and(a.attcollation = 0)
    ),
    format('row(%s)::text collate "C"', partitions.columns(p_table))
  )
$$;

create or replace function partitions.contents(archive regclass, out row_count bigint, out sha256 text)
  language sql
  volatile
as $$
  select c.row_count, c.sha256
  from partitions.contents_of(format('select row(%s)::text from %s order by %s',
    partitions.columns(archive), archive, partitions.row_order(archive))) as c
$$;
comment on function partitions.contents(regclass) is
  'Number of rows of a table and a SHA-256 of them: for each row, in the order of the primary key, its text with the columns in the order of their names is appended to the hash so far and hashed again. Reads the whole table. Example: select * from partitions.contents(''partitions.workflow_events_y2025m01'')';

create or replace function partitions.seal_archives()
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because the scheduler and DBAs seal archives without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_archive partitions.archives;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  for v_archive in
    select a.*
    from partitions.archives as a
    where a.kind = 'table'
      and a.state = 'archived'
      and a.sha256 is null
      and to_regclass(a.location) is not null
    order by a.lower, a.parent::text
    for update skip locked
  loop
    perform partitions.seal_archive(v_archive);
    return next (
      v_archive.parent, v_archive.name, 'seal', v_archive.lower, v_archive.upper, true, null
    )::partitions.action;
  end loop;
end
$$;
comment on function partitions.seal_archives() is
  'Reads each table in partitions.archives that has not been read since it left: checks that all rows are within the bounds, so that a restore needs no scan, and notes how many they are and their hash. Nobody waits for it. Example: select * from partitions.seal_archives()';

create or replace function partitions.seal_archive(p_archive partitions.archives)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_archive.content = 'partition' then
    execute format('alter table partitions.%I validate constraint archived_bounds_check', p_archive.name);
  end if;
  update partitions.archives as a
  set row_count = c.row_count,
    sha256 = c.sha256
  from partitions.contents(p_archive.location::regclass) as c
  where a.parent = p_archive.parent
    and a.lower = p_archive.lower
    and a.content = p_archive.content
    and a.kind = p_archive.kind;
end
$$;

grant execute on function partitions.seal_archives() to flowgres_dba;
--! EndIncluded 10_partitions/contents.sql
--! Included 10_partitions/archive.sql
-- kind: code
-- Archives one period of a table by name of its time, whatever the policy says, together with what leaves with it.
-- Periods that the policy lets go by their age are archived by retire().

create or replace function partitions.archive(parent regclass, at timestamptz)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs archive partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy constant partitions.policies := partitions.require_policy(archive.parent);
  v_turn text;
  v_group partitions.action[];
begin
  select t.detail into v_turn
  from partitions.take_turn(array(
    select p.parent from partitions.policies as p where v_policy.parent in (p.parent, p.retire_with)
  )) as t;
  if found then
    perform private.raise_error('CONFLICT', v_turn, 'Try again when it is done.');
  end if;
  return query
    select d.*
    from partitions.policies as p
    cross join lateral partitions.finish_departures(p.parent) as d
    where v_policy.parent in (p.parent, p.retire_with);
  v_group := partitions.archivable_group(v_policy, archive.at);
  if v_group <> '{}' then
    perform partitions.clear_stragglers(v_group[cardinality(v_group)]);
    return query select g.* from unnest(partitions.retire_group(v_group)) as g;
  end if;
end
$$;
comment on function partitions.archive(regclass, timestamptz) is
  'Moves the partition that holds a time to schema partitions, with those of the tables that retire with this one, and the rows of later partitions that belong to it; nothing is copied or lost. If it is archived already, nothing happens; what was not to be had is a row that is not done. Errors: NOT_FOUND (no managed table, no partition), INVALID_ARGUMENT (null, or the period is not over), CONFLICT (it must stay: the message says why; or another session is at it). Example: select * from partitions.archive(''public.workflow_runs'', ''2025-01-01'')';

create or replace function partitions.archive_concurrently(parent regclass, at timestamptz)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy constant partitions.policies := partitions.require_policy(archive_concurrently.parent);
  v_parents constant regclass[] := array(
    select p.parent from partitions.policies as p where v_policy.parent in (p.parent, p.retire_with)
  );
begin
  perform partitions.take_long_turn(v_parents);
  -- What is on its way out already is brought to its end first; archive() does the rest.
  if not exists (select from partitions.departures as d where d.parent = any (v_parents)) then
    return query
      select partitions.gentle_statement(g)
      from unnest(partitions.archivable_group(v_policy, archive_concurrently.at)) as g;
  end if;
  return query select partitions.last_statements(v_parents, format('select * from partitions.archive(%L, %L)',
    v_policy.parent, archive_concurrently.at));
end
$$;
comment on function partitions.archive_concurrently(regclass, timestamptz) is
  'What archive() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner; see retire_concurrently(). Errors as of archive(). Example, in psql: set role flowgres_owner; select partitions.archive_concurrently(''public.workflow_runs'', ''2025-01-01'') \gexec';

-- The partition that holds a time and those that leave with it, in the order of leaving; none when they have left.
create or replace function partitions.archivable_group(p_policy partitions.policies, p_at timestamptz)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_partition record;
  v_group partitions.action[];
  v_reason text;
begin
  perform partitions.require_time(p_policy.key_kind, p_at);
  select o.* into v_partition
  from partitions.of(p_policy.parent) as o
  where p_at >= o.lower
    and p_at < o.upper;
  if not found then
    perform partitions.require_archived(p_policy.parent, p_at);
    return '{}';
  elsif v_partition.upper > engine.now() then
    perform private.raise_error('INVALID_ARGUMENT',
      format('%s ends on %s and cannot be archived before.', v_partition.name,
        to_char(v_partition.upper at time zone 'UTC', 'YYYY-MM-DD')),
      'Name a period that is over.');
  end if;
  perform partitions.end_hold(p_policy.parent, v_partition.lower, v_partition.upper);
  v_reason := partitions.reason_to_stay(p_policy, v_partition.lower, v_partition.upper);
  v_group := partitions.period_group(p_policy, (
    p_policy.parent, v_partition.name, case when v_reason is null then 'archive' else 'keep' end,
    v_partition.lower, v_partition.upper, false, v_reason
  )::partitions.action);
  if v_group[1].action = 'keep' then
    perform private.raise_error('CONFLICT',
      format('%s cannot be archived: %s', v_partition.name, v_group[1].detail),
      'See what holds it: select * from partitions.retire(dry_run => true)');
  end if;
  return array(
    select (g.parent, g.partition, 'archive', g.lower, g.upper, false, null)::partitions.action
    from unnest(v_group) as g
  );
end
$$;

-- Who names a period that was restored is done with it.
create or replace function partitions.end_hold(p_parent regclass, p_lower timestamptz, p_upper timestamptz)
  returns void
  language sql
  volatile
as $$
  update partitions.archives as a set kept_until = engine.now()
  from partitions.policies as p
  where p.parent = a.parent
    and p_parent in (p.parent, p.retire_with)
    and a.upper > p_lower
    and a.upper <= p_upper
    and a.kept_until > engine.now()
$$;

create or replace function partitions.require_archived(p_parent regclass, p_at timestamptz)
  returns void
  language plpgsql
  stable
as $$
begin
  if not exists (
    select
    from partitions.archives as a
    where a.parent = p_parent
      and a.content = 'partition'
      and p_at >= a.lower
      and p_at < a.upper
  ) then
    perform private.raise_error('NOT_FOUND',
      format('%s has neither a partition nor an archive for %s.', p_parent, p_at),
      format('These are there: select * from partitions.of(%L), and: select * from partitions.archives', p_parent));
  end if;
end
$$;

grant execute on function partitions.archive(regclass, timestamptz) to flowgres_dba;
--! EndIncluded 10_partitions/archive.sql
--! Included 10_partitions/drop_archive.sql
-- kind: code
-- Which archives belong to a period, and how their tables go: when a file holds the same rows.

-- The tables in schema partitions for the period of a table that holds a time, in the order in which they come back.
create or replace function partitions.archived_tables(p_parent regclass, p_at timestamptz)
  returns setof partitions.archives
  language sql
  stable
as $$
  select a.*
  from (
    select a.lower, a.upper
    from partitions.archives as a
    where a.parent = p_parent
      and a.content = 'partition'
    union all
    -- Not left yet, or back again, while others of its group are away.
    select o.lower, o.upper from partitions.of(p_parent) as o
  ) as period
  join partitions.archives as a on a.upper > period.lower and a.upper <= period.upper
  left join partitions.policies as p on p.parent = a.parent
  where p_at >= period.lower
    and p_at < period.upper
    and p_parent in (a.parent, p.retire_with)
    and a.kind = 'table'
    and a.state = 'archived'
  group by a.parent, a.lower, a.content, a.kind
  order by a.content = 'late', a.parent <> p_parent, a.parent::text, a.lower
$$;

create or replace function partitions.archived_periods()
  returns table (parent regclass, name text, lower timestamptz, upper timestamptz)
  language sql
  stable
  security definer -- definer because DBAs look at archives without owning them
  set search_path = pg_catalog, pg_temp
as $$
  select a.parent, a.name, a.lower, a.upper
  from partitions.archives as a
  left join partitions.policies as p on p.parent = a.parent
  where a.kind = 'table'
    and a.state = 'archived'
    and a.content = 'partition'
    and not exists (
      select
      from partitions.archived_tables(p.retire_with, a.upper - interval '1 microsecond') as t
      where t.parent = p.retire_with
    )
  order by a.lower, a.parent::text
$$;
comment on function partitions.archived_periods() is
  'The periods whose tables stand in schema partitions, each by the table that the others leave with. Example: select * from partitions.archived_periods()';

create or replace function partitions.drop_archive(parent regclass, at timestamptz, for_good boolean default false)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs drop archives without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_tables constant partitions.archives[] := array(
    select a from partitions.archived_tables(drop_archive.parent, drop_archive.at) as a
  );
  v_only text;
begin
  select a.location into v_only
  from unnest(v_tables) as a
  where not exists (
    select
    from partitions.archives as f
    where f.parent = a.parent
      and f.lower = a.lower
      and f.content = a.content
      and f.kind <> 'table'
      and f.sha256 = a.sha256
  )
  limit 1;
  if found and drop_archive.for_good is not true then
    perform private.raise_error('CONFLICT', format('The rows of %s are nowhere else.', v_only),
      'Write them to a file first: flowgres archive --to <folder>. Or delete them: for_good => true.');
  end if;
  perform partitions.execute_patiently(format('drop table if exists partitions.%I', a.name)) from unnest(v_tables) as a;
  return query
    delete from partitions.archives as a
    using unnest(v_tables) as t
    where a.parent = t.parent
      and a.lower = t.lower
      and a.content = t.content
      and a.kind = t.kind
    returning a.parent, a.name, 'drop', a.lower, a.upper, true, null;
end
$$;
comment on function partitions.drop_archive(regclass, timestamptz, boolean) is
  'Drops the archived tables of a period, with those that left with it. Refused (CONFLICT) while no file is known to hold the same rows, unless they are to go for good. Example: select * from partitions.drop_archive(''public.workflow_runs'', ''2025-01-01'')';

-- For the doctor: is each archive where it should be, and known by its hash?
create or replace function partitions.check_archives(p_policy partitions.policies)
  returns setof partitions.finding
  language sql
  volatile
as $$
  select p_policy.parent, 'archive', 'critical', format('The archived table %s is gone.', a.location),
    format('delete from partitions.archives where location = %L', a.location)
  from partitions.archives as a
  where a.parent = p_policy.parent
    and a.kind = 'table'
    and a.state = 'archived'
    and to_regclass(a.location) is null
  union all
  select p_policy.parent, 'archive', 'warning', format('%s left two days ago and is not sealed.', a.location),
    'select * from partitions.seal_archives()'
  from partitions.archives as a
  where a.parent = p_policy.parent
    and a.kind = 'table'
    and a.state = 'archived'
    and a.sha256 is null
    and a.archived_at < engine.now() - interval '2 days'
$$;

grant execute on function partitions.archived_periods(), partitions.drop_archive(regclass, timestamptz, boolean)
  to flowgres_dba;
--! EndIncluded 10_partitions/drop_archive.sql
--! Included 10_partitions/restore.sql
-- kind: code
-- Brings an archived period back from schema partitions: the referred table first, late rows last. Each table is made
-- ready while it still stands apart, so that attaching it is a matter of the catalog.

create or replace function partitions.restore(
  parent regclass,
  at timestamptz,
  keep interval default '30 days'
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs restore partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_statement text;
begin
  for v_statement in
    select s from partitions.restore_concurrently(restore.parent, restore.at, restore.keep) as s
  loop
    if starts_with(v_statement, 'select *') then
      return query execute v_statement;
    else
      execute v_statement;
    end if;
  end loop;
end
$$;
comment on function partitions.restore(regclass, timestamptz, interval) is
  'Brings back the archived tables of a period, with those that left with it: checks that they hold what was sealed, attaches them, and returns late rows to where they were. The period stays for the given time before retire() may take it again. If it is back already, nothing happens. Errors: NOT_FOUND (no managed table, no archive; the hint has its files), INVALID_ARGUMENT, CONFLICT (a partition is there for the time, the rows refer to rows that are not there, or the archive was changed). Example: select * from partitions.restore(''public.workflow_runs'', ''2025-01-01'', keep => ''7 days'')';

create or replace function partitions.restore_concurrently(
  parent regclass,
  at timestamptz,
  keep interval default '30 days'
)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
  set timezone = 'UTC'
as $$
declare
  v_parent constant regclass := restore_concurrently.parent;
  v_at constant timestamptz := restore_concurrently.at;
  v_keep constant interval := restore_concurrently.keep;
  v_tables constant partitions.archives[] := array(select a from partitions.archived_tables(v_parent, v_at) as a);
  v_archive partitions.archives;
begin
  perform partitions.require_time((partitions.require_policy(v_parent)).key_kind, v_at);
  if v_keep is null or v_keep < interval '1 day' or v_keep > interval '1000 years' then
    perform private.raise_error('INVALID_ARGUMENT', format('A restored period cannot be kept for %s.', v_keep),
      'Give an interval between one day and 1000 years.');
  end if;
  if v_tables = '{}' then
    perform partitions.require_restored(v_parent, v_at);
  end if;
  perform partitions.require_room(v_tables);
  foreach v_archive in array v_tables loop
    return next format('select partitions.prepare_archive(%L, %L, %L)',
      v_archive.parent, v_archive.lower, v_archive.content);
    if v_archive.content = 'partition' then
      return next format('select partitions.link_archive(%L, %L)', v_archive.parent, v_archive.lower);
      return next format('select partitions.validate_archive(%L, %L)', v_archive.parent, v_archive.lower);
      return next format('select * from partitions.attach_archive(%L, %L, %L)',
        v_archive.parent, v_archive.lower, v_keep);
    else
      return next format('select * from partitions.return_late(%L, %L, %L)',
        v_archive.parent, v_archive.lower, v_keep);
    end if;
  end loop;
end
$$;
comment on function partitions.restore_concurrently(regclass, timestamptz, interval) is
  'What restore() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner: foreign keys are then checked while others write. If one fails, the next time goes on. Errors as of restore(). Example, in psql: set role flowgres_owner; select partitions.restore_concurrently(''public.workflow_runs'', ''2025-01-01'') \gexec';

create or replace function partitions.require_restored(p_parent regclass, p_at timestamptz)
  returns void
  language plpgsql
  stable
as $$
declare
  v_file text;
begin
  if partitions.find(p_parent, p_at) is not null then
    return;
  end if;
  select a.location into v_file
  from partitions.archives as a
  where a.parent = p_parent
    and a.kind <> 'table'
    and p_at >= a.lower
    and p_at < a.upper
  limit 1;
  perform private.raise_error('NOT_FOUND',
    format('There is no archived table of %s for %s.', p_parent, to_char(p_at, 'YYYY-MM-DD')),
    case
      when v_file is null then 'These are there: select * from partitions.archives'
      else format('It is in a file: flowgres restore %s', regexp_replace(v_file, '/[^/]*$', ''))
    end);
end
$$;

-- Nothing is begun that could not be ended: no partition may be where one comes back to, and late rows need partitions.
create or replace function partitions.require_room(p_tables partitions.archives[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive partitions.archives;
  v_taken text;
begin
  foreach v_archive in array p_tables loop
    if to_regclass(v_archive.location) is null then
      perform private.raise_error('NOT_FOUND', format('The archived table %s is gone.', v_archive.location),
        'Restore it from a file or a backup; else forget it: delete from partitions.archives, as flowgres_owner.');
    end if;
    select o.name into v_taken
    from partitions.of(v_archive.parent) as o
    where v_archive.content = 'partition'
      and tstzrange(o.lower, o.upper) && tstzrange(v_archive.lower, v_archive.upper)
    union all
    select v_archive.name
    where to_regclass(partitions.qualified(v_archive.parent, v_archive.name)) is not null
    limit 1;
    if found then
      perform private.raise_error('CONFLICT',
        format('%s cannot come back: a table %s is there for its time, or has its name.', v_archive.location, v_taken),
        format('If that one is empty, drop it: drop table %s', partitions.qualified(v_archive.parent, v_taken)));
    end if;
    perform partitions.require_late_room(v_archive, p_tables);
  end loop;
end
$$;

create or replace function partitions.require_late_room(p_archive partitions.archives, p_tables partitions.archives[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_covered constant tstzmultirange := partitions.covered(p_archive.parent) + coalesce(
    (
      select range_agg(tstzrange(t.lower, t.upper))
      from unnest(p_tables) as t
      where t.parent = p_archive.parent
        and t.content = 'partition'
    ),
    '{}'
  );
  v_query constant text := (
    select format('select min(%1$s) from partitions.%2$I where not $1 @> %1$s',
      partitions.key_time(partitions.key_kind(t.partrelid), a.attname), p_archive.name)
    from pg_partitioned_table as t
    join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
    where t.partrelid = p_archive.parent
  );
  v_missing timestamptz;
begin
  if p_archive.content = 'partition' then
    return;
  end if;
  execute v_query into v_missing using v_covered;
  if v_missing is not null then
    perform private.raise_error('CONFLICT',
      format('Late rows of the period have no partition of %s to come back to: one is of %s.',
        p_archive.parent, to_char(v_missing at time zone 'UTC', 'YYYY-MM-DD')),
      format('Restore that time first; if it was dropped: select partitions.create(%L, %L)',
        p_archive.parent, v_missing));
  end if;
end
$$;

grant execute on function partitions.restore(regclass, timestamptz, interval) to flowgres_dba;
--! EndIncluded 10_partitions/restore.sql
--! Included 10_partitions/prepare_archive.sql
-- kind: code
-- Makes an archived table ready to come back: is it what it was, and as the parent's partitions are today?

-- Locked, so that two restores do not meet; null when it is back already.
create or replace function partitions.take_archive(p_parent regclass, p_lower timestamptz, p_content text)
  returns partitions.archives
  language sql
  volatile
as $$
  select a.*
  from partitions.archives as a
  where a.parent = p_parent
    and a.lower = p_lower
    and a.content = p_content
    and a.kind = 'table'
    and a.state = 'archived'
  for update
$$;

create or replace function partitions.prepare_archive(p_parent regclass, p_lower timestamptz, p_content text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.take_archive(p_parent, p_lower, p_content);
  v_contents record;
begin
  if v_archive.sha256 is not null then
    select c.* into v_contents from partitions.contents(v_archive.location::regclass) as c;
    if (v_contents.row_count, v_contents.sha256) <> (v_archive.row_count, v_archive.sha256) then
      perform private.raise_error('CONFLICT',
        format('%s has changed since it was sealed: it has %s rows instead of %s, or others.',
          v_archive.location, v_contents.row_count, v_archive.row_count),
        'Find out who changed it. Set its row_count and sha256 in partitions.archives to null to accept it as it is.');
    end if;
  end if;
  if v_archive.content = 'partition' and partitions.is_outdated(v_archive) then
    perform partitions.rebuild_archive(v_archive);
  end if;
end
$$;

-- Has the parent got other columns, constraints or indexes since?
create or replace function partitions.is_outdated(p_archive partitions.archives)
  returns boolean
  language sql
  stable
as $$
  with shape as (
    select t.oid as table, format('column %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
      a.attcollation, a.attnotnull) as part
    from pg_class as t
    join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    union all
    select k.conrelid, format('check %s %s', k.conname, pg_get_constraintdef(k.oid))
    from pg_constraint as k
    where k.contype = 'c'
      and k.conname <> 'archived_bounds_check'
    union all
    select x.indrelid, format('index %s', case when x.indrelid = p_archive.parent
      then partitions.index_name(p.relname, p_archive.name, i.relname) else i.relname end)
    from pg_index as x
    join pg_class as i on i.oid = x.indexrelid
    join pg_class as p on p.oid = p_archive.parent
  )
  select exists (
    select
    from (select s.part from shape as s where s.table = p_archive.parent) as wanted
    full join (select s.part from shape as s where s.table = p_archive.location::regclass) as present
      on present.part = wanted.part
    where wanted.part is null
      or present.part is null
  )
$$;

-- The same rows in a table of today's shape; new columns get their defaults.
create or replace function partitions.rebuild_archive(p_archive partitions.archives)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_old constant regclass := p_archive.location;
  v_columns constant text := partitions.columns(v_old);
  v_kept text;
begin
  select string_agg(quote_ident(a.attname), ', ' order by a.attname) into v_kept
  from pg_attribute as a
  where a.attrelid = p_archive.parent
    and a.attname in (select o.attname from pg_attribute as o where o.attrelid = v_old and o.attnum > 0)
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated = '';
  if v_kept is distinct from v_columns then
    perform private.raise_error('CONFLICT',
      format('%s has columns that %s has no more: it has %s.', p_archive.location, p_archive.parent, v_columns),
      'Drop them from the archived table, or add them to the parent.');
  end if;
  perform partitions.copy_archive(p_archive, v_old, v_columns);
end
$$;

create or replace function partitions.copy_archive(p_archive partitions.archives, p_old regclass, p_columns text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_new constant text := partitions.qualified(p_archive.parent, p_archive.name);
  v_create constant text := partitions.table_like(partitions.require_policy(p_archive.parent), p_archive.name);
  v_copy constant text := format('insert into %s (%s) select %2$s from %s', v_new, p_columns, p_old);
begin
  execute v_create;
  execute v_copy;
  execute format('drop table partitions.%I', p_archive.name);
  perform partitions.move_table(v_new::regclass, 'partitions');
  perform partitions.bind_archive(p_archive.parent, p_archive.name, p_archive.lower, p_archive.upper);
  update partitions.archives as a set row_count = null, sha256 = null
  where a.parent = p_archive.parent
    and a.lower = p_archive.lower
    and a.content = p_archive.content
    and a.kind = 'table';
end
$$;
--! EndIncluded 10_partitions/prepare_archive.sql
--! Included 10_partitions/restore_steps.sql
-- kind: code
-- The steps of a restore. Each can be done again, and finds what an interrupted one has left.

-- The parent's foreign keys, not validated yet: for an instant others wait.
create or replace function partitions.link_archive(p_parent regclass, p_lower timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.take_archive(p_parent, p_lower, 'partition');
  v_statement text;
begin
  for v_statement in
    select format('alter table partitions.%I add constraint %I %s not valid',
      v_archive.name, k.conname, pg_get_constraintdef(k.oid))
    from pg_constraint as k
    where v_archive.name is not null
      and k.conrelid = p_parent
      and k.contype = 'f'
      and k.conparentid = 0
      and not exists (
        select from pg_constraint as o where o.conrelid = v_archive.location::regclass and o.conname = k.conname
      )
  loop
    perform partitions.execute_patiently(v_statement);
  end loop;
end
$$;

-- Reads the table while others write.
create or replace function partitions.validate_archive(p_parent regclass, p_lower timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.take_archive(p_parent, p_lower, 'partition');
  v_constraint text;
begin
  for v_constraint in
    select k.conname
    from pg_constraint as k
    where v_archive.name is not null
      and k.conrelid = v_archive.location::regclass
      and k.conparentid = 0
      and not k.convalidated
  loop
    execute format('alter table partitions.%I validate constraint %I', v_archive.name, v_constraint);
  end loop;
exception
  when foreign_key_violation or check_violation then
    perform private.raise_error('CONFLICT', format('%s cannot come back: %s.', v_archive.location, sqlerrm),
      'Its rows need others that are not there: restore those first.');
end
$$;

create or replace function partitions.leave_archive(p_archive partitions.archives, p_keep interval)
  returns void
  language sql
  volatile
as $$
  update partitions.archives as a
  set state = 'restored',
    kept_until = engine.now() + p_keep
  where a.parent = p_archive.parent
    and a.lower = p_archive.lower
    and a.content = p_archive.content
    and a.kind = 'table'
$$;

create or replace function partitions.attach_archive(p_parent regclass, p_lower timestamptz, p_keep interval)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.take_archive(p_parent, p_lower, 'partition');
  v_table constant text := partitions.qualified(p_parent, v_archive.name);
begin
  if v_archive.name is null then
    return;
  end if;
  perform partitions.execute_patiently(concat_ws('; ',
    format('select partitions.move_table(%L, %L)', v_archive.location, c.relnamespace::regnamespace::name),
    format('alter table %s attach partition %s %s', p_parent, v_table,
      partitions.values_clause(partitions.key_kind(p_parent), tstzrange(v_archive.lower, v_archive.upper))),
    format('alter table %s drop constraint archived_bounds_check', v_table)
  ))
  from pg_class as c
  where c.oid = p_parent;
  perform partitions.leave_archive(v_archive, p_keep);
  perform partitions.advance_sequences(p_parent, v_table::regclass);
  return next (p_parent, v_archive.name, 'restore', v_archive.lower, v_archive.upper, true, null)::partitions.action;
end
$$;

create or replace function partitions.return_late(p_parent regclass, p_lower timestamptz, p_keep interval)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.take_archive(p_parent, p_lower, 'late');
  v_insert constant text := (
    select format('insert into %s (%s) select %2$s from %s', p_parent, partitions.columns(late), late)
    from to_regclass(v_archive.location) as late
  );
begin
  if v_archive.name is null then
    return;
  end if;
  execute v_insert;
  perform partitions.advance_sequences(p_parent, v_archive.location::regclass);
  execute format('drop table partitions.%I', v_archive.name);
  perform partitions.leave_archive(v_archive, p_keep);
  return next (p_parent, v_archive.name, 'restore', v_archive.lower, v_archive.upper, true, null)::partitions.action;
exception
  when unique_violation or foreign_key_violation or undefined_column then
    perform private.raise_error('CONFLICT', format('%s cannot come back: %s.', v_archive.location, sqlerrm),
      'Its rows are there already, or need others that are not.');
end
$$;

-- Numbers given from now on are above those of the rows that came, also in another database than the one they left.
create or replace function partitions.advance_sequences(p_parent regclass, p_table regclass)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_sequence record;
  v_query text;
  v_highest bigint;
begin
  for v_sequence in
    select d.refobjid::regclass as oid, n.nspname as schema, s.relname as name, a.attname as column
    from pg_attrdef as e
    join pg_depend as d
      on d.classid = 'pg_attrdef'::regclass and d.objid = e.oid and d.refclassid = 'pg_class'::regclass
    join pg_class as s on s.oid = d.refobjid and s.relkind = 'S'
    join pg_namespace as n on n.oid = s.relnamespace
    join pg_attribute as a on a.attrelid = e.adrelid and a.attnum = e.adnum
    where e.adrelid = p_parent
  loop
    v_query := format('select max(%I) from %s', v_sequence.column, p_table);
    execute v_query into v_highest;
    if v_highest > coalesce(pg_sequence_last_value(v_sequence.oid), 0) then
      -- An ALTER keeps others from taking a number in between.
      execute format('alter sequence %I.%I no cycle', v_sequence.schema, v_sequence.name);
      perform setval(v_sequence.oid, greatest(v_highest, coalesce(pg_sequence_last_value(v_sequence.oid), 0)));
    end if;
  end loop;
end
$$;
--! EndIncluded 10_partitions/restore_steps.sql
--! Included 10_partitions/archive_files.sql
-- kind: code
-- What flowgres archive and flowgres restore do in the database: files are read and written by the client only.

-- An empty table in schema partitions with the given columns, for the rows of a file; null when they are here already.
create or replace function partitions.open_archive(
  p_parent regclass,
  p_lower timestamptz,
  p_content text,
  p_name text,
  p_columns text[],
  p_sha256 text
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_archive partitions.archives;
  v_column text;
begin
  perform pg_advisory_xact_lock(partitions.lock_key(p_parent));
  select a.* into v_archive
  from partitions.archives as a
  where a.parent = p_parent
    and a.lower = p_lower
    and a.content = p_content
    and a.kind = 'table';
  if v_archive.sha256 = p_sha256
    and (v_archive.state = 'archived' or p_content = 'late' or partitions.find(p_parent, p_lower) is not null)
  then
    return null;
  elsif v_archive.state = 'archived' then
    perform private.raise_error('CONFLICT',
      format('%s is an archive of the same time with other rows.', v_archive.location),
      'Restore that one, or drop it: select * from partitions.drop_archive(…)');
  end if;
  if p_content = 'partition' and partitions.find(p_parent, p_lower) is not null then
    perform private.raise_error('CONFLICT',
      format('%s is there for the time of %s.', partitions.find(p_parent, p_lower), p_name),
      'If that one is empty, drop it.');
  end if;
  foreach v_column in array p_columns loop
    if not exists (select from pg_attribute as a where a.attrelid = p_parent and a.attname = v_column) then
      perform private.raise_error('CONFLICT', format('%s has no column %s.', p_parent, v_column),
        'The file is of another release: add the column for the time of the restore.');
    end if;
  end loop;
  perform partitions.create_archive(p_parent, p_name);
  for v_column in
    select a.attname
    from pg_attribute as a
    where a.attrelid = format('partitions.%I', p_name)::regclass
      and a.attnum > 0
      and not a.attisdropped
      and a.attname <> all (p_columns)
  loop
    execute format('alter table partitions.%I drop column %I', p_name, v_column);
  end loop;
  return format('partitions.%I', p_name);
end
$$;

-- Enters what was loaded, once it is what the file should hold.
create or replace function partitions.close_archive(
  p_parent regclass,
  p_lower timestamptz,
  p_upper timestamptz,
  p_content text,
  p_name text,
  p_sha256 text
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive partitions.archives;
begin
  if p_content = 'partition' then
    perform partitions.bind_archive(p_parent, p_name, p_lower, p_upper);
  end if;
  perform partitions.enter_archive(p_parent, p_lower, p_upper, p_content, p_name);
  select a.* into v_archive from partitions.take_archive(p_parent, p_lower, p_content) as a;
  perform partitions.seal_archive(v_archive);
  select a.* into v_archive from partitions.take_archive(p_parent, p_lower, p_content) as a;
  if v_archive.sha256 <> p_sha256 then
    perform private.raise_error('CONFLICT', format('The rows of %s are not those that were archived.', p_name),
      'The file was changed, or is of another release of Flowgres.');
  end if;
exception
  when check_violation then
    perform private.raise_error('CONFLICT', format('Rows of %s are out of its bounds.', p_name),
      'The manifest was changed.');
end
$$;

-- Notes a file that was written and read back.
create or replace function partitions.enter_file(p_file jsonb)
  returns void
  language sql
  volatile
as $$
  insert into partitions.archives
  select f.*
  from jsonb_populate_record(null::partitions.archives, p_file || '{"state": "archived"}') as f
  on conflict on constraint archives_pkey do update
  set upper = excluded.upper,
    name = excluded.name,
    location = excluded.location,
    row_count = excluded.row_count,
    sha256 = excluded.sha256,
    bytes = excluded.bytes,
    archived_at = excluded.archived_at
$$;
--! EndIncluded 10_partitions/archive_files.sql
--! Included 10_partitions/convert_obstacles.sql
-- kind: code
-- What keeps a plain table from being partitioned: said before anything is changed.

-- What PostgreSQL allows on no partitioned table, or we could not carry over.
create or replace function partitions.obstacles_of_table(p_table regclass, p_key text)
  returns table (problem text, hint text)
  language sql
  stable
as $$
  select o.problem, o.hint
  from pg_class as c
  left join pg_attribute as a on a.attrelid = c.oid and a.attname = p_key and a.attnum > 0 and not a.attisdropped
  cross join lateral (
    values
      (c.relkind = 'p', 'is partitioned already', format('select partitions.manage(%L)', c.oid::regclass)),
      (c.relkind not in ('r', 'p'), 'is not a table', 'Name a plain table.'),
      (c.relispartition, 'is itself a partition', 'Partitions of partitions are not supported.'),
      (c.relpersistence <> 'p', 'is temporary or unlogged', format('alter table %s set logged', c.oid::regclass)),
      (c.reloftype <> 0, 'is a typed table', format('alter table %s not of', c.oid::regclass)),
      (
        not c.relispartition and c.relkind = 'r'
          and exists (select from pg_inherits as i where c.oid in (i.inhrelid, i.inhparent)),
        'inherits, or others inherit from it', 'Only a table on its own can be converted.'
      ),
      (a.attnum is null, format('has no column %s', coalesce(p_key, 'null')), 'Name the column of its time.'),
      (
        partitions.kind_of_type(a.atttypid) is null, format('cannot be cut by %I', p_key),
        'Supported are columns of type timestamptz, date or uuid (version 7).'
      ),
      (
        a.attgenerated <> '', format('cannot be cut by %I, which is generated', p_key),
        'Name a column that is written.'
      ),
      (
        exists (select from pg_attribute as i where i.attrelid = c.oid and i.attidentity <> ''),
        'has an identity column',
        'Give it a sequence instead, as bigserial does: drop identity, create sequence, set its value and the default.'
      )
  ) as o (applies, problem, hint)
  where c.oid = p_table
    and o.applies
$$;

-- The unique index that can become the primary key together with the partition key: holding both, nothing else.
create or replace function partitions.extended_key_index(p_table regclass, p_key text)
  returns regclass
  language sql
  stable
as $$
  select x.indexrelid::regclass
  from pg_index as pk
  join pg_attribute as a on a.attrelid = pk.indrelid and a.attname = p_key
  join pg_index as x on x.indrelid = pk.indrelid and x.indisunique and x.indisvalid and x.indimmediate
    and x.indpred is null and x.indnatts = x.indnkeyatts
    and x.indkey::text = format('%s %s', pk.indkey, a.attnum)
  where pk.indrelid = p_table
    and pk.indisprimary
    and not exists (select from pg_constraint as k where k.conindid = x.indexrelid)
  order by 1
  limit 1
$$;

create or replace function partitions.obstacles_of_keys(
  p_table regclass,
  p_key text,
  p_extend_primary_key boolean
)
  returns table (problem text, hint text)
  language sql
  stable
as $$
  with keys as (
    select x.*, ic.relname as name, k.contype, p_key_number = any (x.indkey::int[]) as has_key
    from pg_index as x
    join pg_class as ic on ic.oid = x.indexrelid
    left join pg_constraint as k on k.conindid = x.indexrelid and k.conrelid = x.indrelid
    cross join lateral (
      select a.attnum::int from pg_attribute as a where a.attrelid = p_table and a.attname = p_key
    ) as a (p_key_number)
    where x.indrelid = p_table
  )
  select 'has no primary key',
    'Without one its rows cannot be followed while they are copied: add one that holds the partition key.'
  where not exists (select from keys where indisprimary)
  union all
  select format('has a primary key without %I', p_key),
    format('Say extend_primary_key => true to add it. Then the other columns alone may occur twice.', p_key)
  from keys
  where indisprimary and not has_key and not p_extend_primary_key
  union all
  select format('needs an index for its new primary key'),
    format('Build it first, which holds up nobody: create unique index concurrently on %s (%s, %I)', p_table,
      (select string_agg(quote_ident(a.attname), ', ' order by n)
       from unnest(indkey::int[]) with ordinality as c (attnum, n)
       join pg_attribute as a on a.attrelid = p_table and a.attnum = c.attnum), p_key)
  from keys
  where indisprimary and not has_key and p_extend_primary_key
    and partitions.extended_key_index(p_table, p_key) is null
  union all
  select format('has a unique index %I without %I', name, p_key),
    'A unique index of a partitioned table contains the partition key: extend it, or make it a plain index.'
  from keys
  where indisunique and not indisprimary and not has_key
  union all
  select format('has an index %I that is invalid', name), format('reindex index concurrently %s', indexrelid::regclass)
  from keys
  where not indisvalid
  union all
  select format('has an exclusion constraint %I', name), 'Drop it: it would hold within each partition only.'
  from keys
  where contype = 'x'
  union all
  select format('has a primary key %I that is deferrable', name), 'Make it not deferrable: the copy is merged by it.'
  from keys
  where indisprimary and not indimmediate
$$;

-- Does an object that depends on the table come along, or go with the old table without a loss?
create or replace function partitions.is_carried_over(p_table regclass, p_class oid, p_object oid)
  returns boolean
  language sql
  stable
as $$
  select case p_class
    when 'pg_attrdef'::regclass then exists (select from pg_attrdef as d where d.oid = p_object and d.adrelid = p_table)
    when 'pg_constraint'::regclass then
      exists (select from pg_constraint as k where k.oid = p_object and p_table in (k.conrelid, k.confrelid))
    when 'pg_trigger'::regclass then exists (select from pg_trigger as t where t.oid = p_object and t.tgrelid = p_table)
    when 'pg_policy'::regclass then exists (select from pg_policy as p where p.oid = p_object and p.polrelid = p_table)
    when 'pg_statistic_ext'::regclass then
      exists (select from pg_statistic_ext as s where s.oid = p_object and s.stxrelid = p_table)
    when 'pg_class'::regclass then
      exists (select from pg_index as x where x.indexrelid = p_object and x.indrelid = p_table)
      or exists (select from pg_class as s where s.oid = p_object and s.relkind = 'S')
    else false
  end
$$;

-- Foreign keys, triggers, and whatever is bound to the old table itself rather than to its name.
create or replace function partitions.obstacles_around(p_table regclass, p_extend_primary_key boolean)
  returns table (problem text, hint text)
  language sql
  stable
as $$
  select format('has a foreign key %I that is not validated', k.conname),
    format('alter table %s validate constraint %I', p_table, k.conname)
  from pg_constraint as k
  where k.conrelid = p_table and k.contype = 'f' and not k.convalidated
  union all
  select format('refers to itself by %I', k.conname),
    'Drop that foreign key: a partition that others refer to could never leave.'
  from pg_constraint as k
  where k.conrelid = p_table and k.confrelid = p_table
  union all
  select format('is referred to by %s', k.conrelid::regclass), case
    when p_extend_primary_key then 'Drop that foreign key: there is no unique key of those columns alone any more.'
    else 'Drop that foreign key: one of a partitioned table cannot be added without reading it.'
  end
  from pg_constraint as k
  join pg_class as c on c.oid = k.conrelid
  where k.confrelid = p_table and k.conrelid <> p_table and (p_extend_primary_key or c.relkind <> 'r')
  union all
  select format('has a trigger %I with transition tables for each row', t.tgname), 'Make it one for each statement.'
  from pg_trigger as t
  where t.tgrelid = p_table and t.tgtype & 1 = 1 and (t.tgoldtable is not null or t.tgnewtable is not null)
  union all
  select format('is used by %s', pg_describe_object(d.classid, d.objid, d.objsubid)),
    'It would stay with the old table: drop it, and create it again afterwards.'
  from pg_class as c
  join pg_depend as d
    on (d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid)
    or (d.refclassid = 'pg_type'::regclass
      and d.refobjid in (c.reltype, (select t.typarray from pg_type as t where t.oid = c.reltype)))
  where c.oid = p_table
    and d.deptype in ('n', 'a')
    and not partitions.is_carried_over(p_table, d.classid, d.objid)
$$;

create or replace function partitions.require_convertible(
  p_table regclass,
  p_key text,
  p_extend_primary_key boolean
)
  returns void
  language plpgsql
  stable
as $$
declare
  v_obstacle record;
begin
  perform partitions.require_ours(p_table);
  for v_obstacle in
    select o.* from partitions.obstacles_of_table(p_table, p_key) as o
    union all
    select o.* from partitions.obstacles_of_keys(p_table, p_key, p_extend_primary_key) as o
    union all
    select o.* from partitions.obstacles_around(p_table, p_extend_primary_key) as o
  loop
    perform private.raise_error('INVALID_ARGUMENT', format('%s %s.', p_table, v_obstacle.problem), v_obstacle.hint);
  end loop;
  perform partitions.require_short_names(p_table);
end
$$;
--! EndIncluded 10_partitions/convert_obstacles.sql
--! Included 10_partitions/convert_description.sql
-- kind: code
-- A table's description as statements. They name the table, so they can be collected from one table and, when another
-- one has taken over its name, make that the same. LIKE brings columns, defaults, checks and their comments.

create or replace function partitions.key_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select case
    when k.oid is null then pg_get_indexdef(x.indexrelid)
    else format('alter table %s add constraint %I %s', p_table, k.conname, pg_get_constraintdef(k.oid))
  end
  from pg_index as x
  left join pg_constraint as k
    on k.conindid = x.indexrelid and k.conrelid = x.indrelid and k.contype in ('p', 'u')
  where x.indrelid = p_table
  order by x.indexrelid
$$;

create or replace function partitions.foreign_key_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s add constraint %I %s', p_table, k.conname, pg_get_constraintdef(k.oid))
  from pg_constraint as k
  where k.conrelid = p_table
    and k.contype = 'f'
  order by k.oid
$$;

-- Those of other tables. They are checked later: reading the other table now would hold up its writers.
create or replace function partitions.referring_key_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s add constraint %I %s%s', k.conrelid::regclass, k.conname,
    pg_get_constraintdef(k.oid), case when k.convalidated then ' not valid' end)
  from pg_constraint as k
  where k.confrelid = p_table
    and k.conparentid = 0
    and k.contype = 'f'
  order by k.oid
$$;

create or replace function partitions.trigger_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select concat_ws('; ', pg_get_triggerdef(t.oid), case t.tgenabled
    when 'D' then format('alter table %s disable trigger %I', p_table, t.tgname)
    when 'R' then format('alter table %s enable replica trigger %I', p_table, t.tgname)
    when 'A' then format('alter table %s enable always trigger %I', p_table, t.tgname)
  end)
  from pg_trigger as t
  where t.tgrelid = p_table
    and not t.tgisinternal
  order by t.tgname
$$;

create or replace function partitions.policy_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('create policy %I on %s as %s for %s to %s%s%s', p.polname, p_table,
    case when p.polpermissive then 'permissive' else 'restrictive' end,
    case p.polcmd
      when 'r' then 'select'
      when 'a' then 'insert'
      when 'w' then 'update'
      when 'd' then 'delete'
      else 'all'
    end,
    (
      select string_agg(case when role = 0 then 'public' else role::regrole::text end, ', ')
      from unnest(p.polroles) as role
    ),
    ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
    ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  from pg_policy as p
  where p.polrelid = p_table
  order by p.polname
$$;

create or replace function partitions.security_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s owner to %s', p_table, c.relowner::regrole)
  from pg_class as c
  where c.oid = p_table
  union all
  select format('alter table %s %s row level security', p_table, setting.name)
  from pg_class as c
  cross join lateral (values ('enable', c.relrowsecurity), ('force', c.relforcerowsecurity)) as setting (name, is_on)
  where c.oid = p_table
    and setting.is_on
  union all
  select partitions.policy_statements(p_table)
  union all
  select format('grant %s%s on %s to %s%s', a.privilege_type, ' (' || quote_ident(acl.attname) || ')', p_table,
    case when a.grantee = 0 then 'public' else a.grantee::regrole::text end,
    case when a.is_grantable then ' with grant option' end)
  from partitions.access_lists(p_table) as acl
  cross join lateral aclexplode(acl.list) as a
  where a.grantee <> acl.owner
$$;

-- Of the table and of what the statements above make.
create or replace function partitions.comment_statements(p_table regclass)
  returns setof text
  language sql
  stable
as $$
  select format('comment on %s is %L', commented.object, commented.comment)
  from (
    select format('table %s', p_table), obj_description(p_table, 'pg_class')
    union all
    select format('index %s', x.indexrelid::regclass), obj_description(x.indexrelid, 'pg_class')
    from pg_index as x
    where x.indrelid = p_table
    union all
    select format('constraint %I on %s', k.conname, p_table), obj_description(k.oid, 'pg_constraint')
    from pg_constraint as k
    where k.conrelid = p_table
      and k.contype in ('p', 'u', 'f')
    union all
    select format('trigger %I on %s', t.tgname, p_table), obj_description(t.oid, 'pg_trigger')
    from pg_trigger as t
    where t.tgrelid = p_table
    union all
    select format('policy %I on %s', p.polname, p_table), obj_description(p.oid, 'pg_policy')
    from pg_policy as p
    where p.polrelid = p_table
  ) as commented (object, comment)
  where commented.comment is not null
$$;

create or replace function partitions.description(p_table regclass)
  returns setof text
  language sql
  stable
  security definer -- definer because a DBA describes tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.key_statements(p_table)
  union all
  select partitions.foreign_key_statements(p_table)
  union all
  select partitions.security_statements(p_table)
  union all
  select statement
  from pg_class as c
  cross join lateral partitions.replica_identity_statement(p_table, c.relname) as statement
  where c.oid = p_table
    and statement is not null
  union all
  select partitions.trigger_statements(p_table)
  union all
  select partitions.comment_statements(p_table)
$$;
comment on function partitions.description(regclass) is
  'Everything of a table but its columns, as statements: keys and indexes, foreign keys, row-level security with its policies, grants, replica identity, triggers, comments. For a table that takes over its name. Example: select partitions.description(''public.workflow_events'')';

grant execute on function partitions.description(regclass) to flowgres_dba;
--! EndIncluded 10_partitions/convert_description.sql
--! Included 10_partitions/convert_span.sql
-- kind: code
-- Which time the rows of a plain table are from, and which partitions that makes.

create or replace function partitions.kind_of_column(p_table regclass, p_key text)
  returns text
  language sql
  stable
as $$
  select partitions.kind_of_type(a.atttypid) from pg_attribute as a where a.attrelid = p_table and a.attname = p_key
$$;

create or replace function partitions.require_plan(p_granularity text, p_premake int, p_behind int)
  returns void
  language plpgsql
  stable
as $$
begin
  if partitions.step(p_granularity) is null then
    perform private.raise_error('INVALID_ARGUMENT', format('%s is no granularity.', coalesce(p_granularity, 'null')),
      'Say day, week, month or year.');
  elsif not coalesce(p_premake between 1 and 2000 and p_behind between 0 and 2000, false) then
    perform private.raise_error('INVALID_ARGUMENT', 'premake or behind is out of range.',
      'premake is 1 to 2000, behind 0 to 2000.');
  end if;
end
$$;

-- Earliest and latest time of the rows; refuses rows that no partition could hold.
create or replace function partitions.require_times(
  p_table regclass,
  p_key text,
  out earliest timestamptz,
  out latest timestamptz
)
  language plpgsql
  stable
as $$
declare
  v_kind constant text := partitions.kind_of_column(p_table, p_key);
  v_misfits bigint;
  v_query text;
begin
  v_query := format(
    'select min(t.at), max(t.at), count(*) filter (where not coalesce(t.fits, false))
     from (select %1$s as at, %2$s as fits from %3$s) as t',
    case v_kind
      when 'uuidv7' then format('case when substr(%1$I::text, 15, 1) = ''7'' then engine.uuid_time(%1$I) end', p_key)
      else format('case when isfinite(%1$I) then %1$I%2$s end', p_key,
        case v_kind when 'date' then '::timestamp at time zone ''UTC''' end)
    end,
    case v_kind
      when 'uuidv7' then format('substr(%I::text, 15, 1) = ''7''', p_key)
      else format('isfinite(%I)', p_key)
    end,
    p_table);
  execute v_query into earliest, latest, v_misfits;
  if v_misfits > 0 then
    perform private.raise_error('INVALID_ARGUMENT',
      format('%s rows of %s have a %I that is null, infinite, or a UUID of another version.',
        v_misfits, p_table, p_key),
      'Change or delete them: they have no time.');
  end if;
  if earliest is not null then
    perform partitions.require_time(v_kind, earliest);
    perform partitions.require_time(v_kind, latest);
  end if;
end
$$;

-- The time that the old table stands for: that of its rows, and what maintenance would have made by now, so that no row
-- is refused that would not have been.
create or replace function partitions.span_of_rows(
  p_table regclass,
  p_key text,
  p_granularity text,
  p_premake int,
  p_behind int
)
  returns tstzrange
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_span tstzrange;
begin
  select tstzrange(
    lower(partitions.period(p_granularity, least(r.earliest, lower(first)))),
    upper(partitions.period(p_granularity, greatest(r.latest, lower(last))))
  )
  into v_span
  from partitions.require_times(p_table, p_key) as r
  cross join partitions.period(p_granularity, v_now, -p_behind) as first
  cross join partitions.period(p_granularity, v_now, p_premake) as last;
  if upper(v_span) - lower(v_span) > 1000 * partitions.step(p_granularity) then
    perform private.raise_error('INVALID_ARGUMENT',
      format('From %s to %s would be more than 1000 partitions.', lower(v_span), upper(v_span)),
      'Choose a longer granularity, or move the rows of odd times elsewhere first.');
  end if;
  return v_span;
end
$$;

-- The tables that the conversion will make must not exist.
create or replace function partitions.require_free_names(p_table regclass, p_granularity text, p_span tstzrange)
  returns void
  language plpgsql
  stable
as $$
declare
  v_taken text;
begin
  select taken.name into v_taken
  from pg_class as c
  cross join lateral (
    select partitions.historic_name(c.relname)
    union all
    select partitions.copy_name(c.relname)
    union all
    select partitions.partition_name(c.relname, p_granularity, piece)
    from partitions.split(p_granularity, p_span) as piece
  ) as taken (name)
  where c.oid = p_table
    and to_regclass(partitions.qualified(p_table, taken.name)) is not null
  limit 1;
  if found then
    perform private.raise_error('CONFLICT', format('There is a table %s already.', v_taken),
      'The conversion needs its name: rename or drop it.');
  end if;
end
$$;
--! EndIncluded 10_partitions/convert_span.sql
--! Included 10_partitions/convert_swap.sql
-- kind: code
-- A partitioned table takes the name, and everything else, of a plain one, which becomes its first partition.

-- The condition that a bound stands for. A table that has it, validated, is attached without being read.
create or replace function partitions.bound_condition(p_key_kind text, p_key text, p_span tstzrange)
  returns text
  language sql
  stable
  parallel safe
as $$
  select format('%1$I is not null and %1$I >= %2$L and %1$I < %3$L', p_key,
    partitions.bound(p_key_kind, lower(p_span)), partitions.bound(p_key_kind, upper(p_span)))
$$;

-- The name of the check that holds it.
create or replace function partitions.bound_check()
  returns text
  language sql
  immutable
  parallel safe
as $$
  select 'partitions_bound_check'
$$;

create or replace function partitions.perform_all(p_statements text[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_statement text;
begin
  foreach v_statement in array p_statements loop
    execute v_statement;
  end loop;
end
$$;

-- First of all: everything that will be locked, so that nothing is waited for later on. The partition key becomes NOT
-- NULL without a scan, thanks to the check.
create or replace function partitions.lock_statements(p_conversion partitions.conversions)
  returns setof text
  language sql
  stable
as $$
  select format('lock table %s in access exclusive mode', string_agg(t.name, ', '))
  from (
    select p_conversion.parent::text
    union
    select case when k.conrelid = p_conversion.parent then k.confrelid else k.conrelid end::regclass::text
    from pg_constraint as k
    where k.contype = 'f'
      and p_conversion.parent in (k.conrelid, k.confrelid)
      and k.conparentid = 0
  ) as t (name)
  union all
  select format('alter table %s alter column %I set not null', p_conversion.parent, p_conversion.key)
  union all
  select format('alter table %1$s drop constraint %2$I, add constraint %2$I primary key using index %3$I',
    p_conversion.parent, k.conname, ic.relname)
  from pg_constraint as k
  join pg_class as ic on ic.oid = partitions.extended_key_index(p_conversion.parent, p_conversion.key)
  where k.conrelid = p_conversion.parent
    and k.contype = 'p'
    and p_conversion.extend_primary_key
$$;

-- Takes from the old table what the new one gets: rows are reached through that one only.
create or replace function partitions.undress_statements(p_table regclass, p_historic text)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
  from pg_constraint as k
  where k.confrelid = p_table
    and k.contype = 'f'
    and k.conparentid = 0
  union all
  select format('drop trigger %I on %s', t.tgname, p_table)
  from pg_trigger as t
  where t.tgrelid = p_table
    and not t.tgisinternal
  union all
  select format('drop policy %I on %s', p.polname, p_table) from pg_policy as p where p.polrelid = p_table
  union all
  select format('alter table %s enable row level security', p_table)
  union all
  select format('alter table %s no force row level security', p_table)
  union all
  select format('select partitions.close_table(%L)', p_table)
  union all
  select format('alter index %s rename to %I', x.indexrelid::regclass,
    partitions.index_name(c.relname, p_historic, ic.relname))
  from pg_class as c
  join pg_index as x on x.indrelid = c.oid
  join pg_class as ic on ic.oid = x.indexrelid
  where c.oid = p_table
  union all
  select format('alter table %s rename to %I', p_table, p_historic)
$$;

create or replace function partitions.dress_statements(p_conversion partitions.conversions, p_parent text)
  returns setof text
  language sql
  stable
as $$
  select format('create table %s (like %s including all excluding indexes excluding identity) partition by range (%I)',
    p_parent, p_conversion.parent, p_conversion.key)
  union all
  select format('alter table %s drop constraint %I', p_parent, partitions.bound_check())
$$;

create or replace function partitions.attach_statements(p_conversion partitions.conversions, p_parent text)
  returns setof text
  language sql
  stable
as $$
  select format('alter table %s attach partition %s %s', p_parent, p_conversion.parent, partitions.values_clause(
    partitions.key_kind(p_parent), tstzrange(p_conversion.lower, p_conversion.upper)))
  union all
  select format('alter table %s drop constraint %I', p_conversion.parent, partitions.bound_check())
  union all
  select format('alter sequence %s owned by %s.%I', s.oid::regclass, p_parent, a.attname)
  from pg_depend as d
  join pg_class as s on s.oid = d.objid and s.relkind = 'S'
  join pg_attribute as a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass
    and d.refclassid = 'pg_class'::regclass
    and d.refobjid = p_conversion.parent
    and d.deptype = 'a'
$$;

-- The swap. From the first lock to the commit writers wait: nothing in it depends on the number of rows.
create or replace function partitions.swap(p_conversion partitions.conversions)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_old constant regclass := p_conversion.parent;
  v_name constant text := (select c.relname from pg_class as c where c.oid = v_old);
  v_parent constant text := partitions.qualified(v_old, v_name);
  v_description text[];
  v_referring text[];
begin
  perform partitions.perform_all(array(select partitions.lock_statements(p_conversion)));
  v_description := array(select partitions.description(v_old));
  v_referring := array(select partitions.referring_key_statements(v_old));
  perform partitions.perform_all(array(select partitions.undress_statements(v_old, partitions.historic_name(v_name))));
  perform partitions.perform_all(array(select partitions.dress_statements(p_conversion, v_parent)));
  perform partitions.perform_all(v_description);
  perform partitions.perform_all(array(select partitions.attach_statements(p_conversion, v_parent)));
  perform partitions.perform_all(v_referring);
  perform partitions.manage(
    v_parent, p_conversion.granularity, premake => p_conversion.premake, behind => p_conversion.behind,
    retention => p_conversion.retention, storage => partitions.storage_of(v_old)
  );
  update partitions.conversions as c
  set parent = v_parent::regclass,
    historic = v_old,
    state = 'attached',
    changed_at = engine.now()
  where c.parent = v_old;
end
$$;

create or replace function partitions.historic_name(p_name text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select p_name || '_historic'
$$;

-- The storage parameters of a table and its TOAST, as a policy has them.
create or replace function partitions.storage_of(p_table regclass)
  returns jsonb
  language sql
  stable
as $$
  select coalesce(jsonb_object_agg(o.prefix || split_part(option, '=', 1), split_part(option, '=', 2)), '{}')
  from pg_class as c
  left join pg_class as t on t.oid = c.reltoastrelid
  cross join lateral (values ('', c.reloptions), ('toast.', t.reloptions)) as o (prefix, options)
  cross join lateral unnest(o.options) as option
  where c.oid = p_table
$$;
--! EndIncluded 10_partitions/convert_swap.sql
--! Included 10_partitions/convert.sql
-- kind: code
-- From a plain table to a partitioned one of the same name, while it is read and written.

create or replace procedure partitions.convert(
  parent regclass,
  key text,
  granularity text default 'month',
  premake int default 3,
  behind int default 0,
  retention interval default null,
  extend_primary_key boolean default false
)
  language plpgsql
as $$
begin
  perform partitions.begin_conversion(
    convert.parent, convert.key, convert.granularity, convert.premake, convert.behind, convert.retention,
    convert.extend_primary_key
  );
  commit;
  -- Reads the table, without holding up writers.
  perform partitions.check_rows(convert.parent);
  commit;
  perform partitions.attach_historic(convert.parent);
end
$$;
comment on procedure partitions.convert(regclass, text, text, int, int, interval, boolean) is
  'Makes a plain table a partitioned one of the same name, cut by a column of type timestamptz, date or uuid (version 7), and puts it under management. The old table becomes its one partition, <name>_historic; partitions.split() then cuts that. Writers wait for a moment only, however large the table is. Rights, policies, keys, foreign keys, indexes, triggers, sequences, comments and storage parameters come along; what cannot is refused before anything is changed. Whatever interrupts it, call it again. Not within a transaction. Errors: NOT_FOUND, FORBIDDEN (not ours), INVALID_ARGUMENT (says what is in the way), CONFLICT (locks were not to be had, or a name is taken). Example: call partitions.convert(''public.readings'', ''ts'', ''month'', retention => ''1 year'')';

-- Checks that it can be done, and from here on refuses rows outside of the time that the old table stands for.
create or replace function partitions.begin_conversion(
  p_table regclass,
  p_key text,
  p_granularity text,
  p_premake int,
  p_behind int,
  p_retention interval,
  p_extend_primary_key boolean
)
  returns void
  language plpgsql
  volatile
  security definer -- definer because a DBA converts tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_span tstzrange;
begin
  perform partitions.require_convertible(p_table, p_key, p_extend_primary_key);
  perform partitions.require_plan(p_granularity, p_premake, p_behind);
  v_span := partitions.span_of_rows(p_table, p_key, p_granularity, p_premake, p_behind);
  perform partitions.require_free_names(p_table, p_granularity, v_span);
  delete from partitions.conversions as c where not exists (select from pg_class as t where t.oid = c.parent);
  insert into partitions.conversions as c
    (parent, state, key, granularity, premake, behind, retention, extend_primary_key, lower, upper, started_at,
     changed_at)
  values (p_table, 'checking', p_key, p_granularity, p_premake, p_behind, p_retention, p_extend_primary_key,
    lower(v_span), upper(v_span), engine.now(), engine.now())
  on conflict on constraint conversions_pkey do update
  set state = excluded.state,
    key = excluded.key,
    granularity = excluded.granularity,
    premake = excluded.premake,
    behind = excluded.behind,
    retention = excluded.retention,
    extend_primary_key = excluded.extend_primary_key,
    lower = excluded.lower,
    upper = excluded.upper,
    changed_at = excluded.changed_at;
  perform partitions.execute_patiently(concat_ws('; ',
    (
      select format('alter table %s drop constraint %I', p_table, k.conname)
      from pg_constraint as k
      where k.conrelid = p_table and k.conname = partitions.bound_check()
    ),
    format('alter table %s add constraint %I check (%s) not valid', p_table, partitions.bound_check(),
      partitions.bound_condition(partitions.kind_of_column(p_table, p_key), p_key, v_span))
  ));
end
$$;

create or replace function partitions.check_rows(p_table regclass)
  returns void
  language plpgsql
  volatile
  security definer -- definer because a DBA converts tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform partitions.lock_conversion(p_table, '{checking,checked}');
  perform partitions.execute_patiently(
    format('alter table %s validate constraint %I', p_table, partitions.bound_check()));
  update partitions.conversions as c set state = 'checked', changed_at = engine.now() where c.parent = p_table;
end
$$;

create or replace function partitions.attach_historic(p_table regclass)
  returns void
  language plpgsql
  volatile
  security definer -- definer because a DBA converts tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform partitions.lock_conversion(p_table, '{checked}');
  perform partitions.execute_patiently(
    format('select partitions.swap(c) from partitions.conversions as c where c.parent = %L::regclass', p_table));
end
$$;

-- One session at a time; whoever comes second finds that the step is done.
create or replace function partitions.lock_conversion(p_table regclass, p_states text[])
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions;
begin
  select c.* into v_conversion from partitions.conversions as c where c.parent = p_table for update;
  if not found then
    perform private.raise_error('NOT_FOUND', format('%s is not being converted.', coalesce(p_table::text, 'null')),
      'partitions.convert() begins a conversion.');
  elsif v_conversion.state <> all (p_states) then
    perform private.raise_error('CONFLICT',
      format('Another session is converting %s, which is %s.', p_table, v_conversion.state));
  end if;
  return v_conversion;
end
$$;

grant execute on procedure
  partitions.convert(regclass, text, text, int, int, interval, boolean)
  to flowgres_dba;
grant execute on function
  partitions.begin_conversion(regclass, text, text, int, int, interval, boolean),
  partitions.check_rows(regclass),
  partitions.attach_historic(regclass)
  to flowgres_dba;
--! EndIncluded 10_partitions/convert.sql
--! Included 10_partitions/convert_copy.sql
-- kind: code
-- The copy of a converted table's old rows: partitions that are not part of the table yet. A trigger keeps up what is
-- written meanwhile; copying goes through the old table's file from its first block to its last.

create or replace function partitions.copy_name(p_name text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select p_name || '_split'
$$;

create or replace function partitions.columns_of_key(p_table regclass, p_prefix text default '')
  returns text
  language sql
  stable
as $$
  select string_agg(p_prefix || quote_ident(a.attname), ', ' order by c.n)
  from pg_index as x
  cross join lateral unnest(x.indkey::int[]) with ordinality as c (attnum, n)
  join pg_attribute as a on a.attrelid = x.indrelid and a.attnum = c.attnum
  where x.indrelid = p_table
    and x.indisprimary
    and c.n <= x.indnkeyatts
$$;

-- Generated columns are generated again.
create or replace function partitions.written_columns(p_table regclass, p_prefix text default '')
  returns text
  language sql
  stable
as $$
  select string_agg(p_prefix || quote_ident(a.attname), ', ' order by a.attnum)
  from pg_attribute as a
  where a.attrelid = p_table
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated = ''
$$;

-- Holds the partitions while they are filled, and finds the one for a row.
create or replace function partitions.copy_statements(p_policy partitions.policies, p_key text)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create table %s (like %s including generated) partition by range (%I)', copy, p_policy.parent, p_key),
    format('alter table %s add constraint %I primary key (%s)', copy, partitions.copy_name(c.relname) || '_pkey',
      partitions.columns_of_key(p_policy.parent)),
    format('alter table %s enable row level security', copy),
    format('select partitions.close_table(%L)', copy)
  )
  from pg_class as c
  cross join lateral partitions.qualified(c.oid, partitions.copy_name(c.relname)) as copy
  where c.oid = p_policy.parent
$$;

-- A partition as it will be: with the foreign keys too, because adding them to a full one would read it.
create or replace function partitions.piece_statements(
  p_policy partitions.policies,
  p_conversion partitions.conversions,
  p_piece tstzrange
)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    partitions.table_like(p_policy, name),
    partitions.comment_of_partition(c.relname, qualified, p_piece),
    format('alter table %s add constraint %I check (%s)', qualified, partitions.bound_check(),
      partitions.bound_condition(p_policy.key_kind, p_conversion.key, p_piece)),
    (
      select string_agg(format('alter table %s add constraint %I %s', qualified, k.conname,
        pg_get_constraintdef(k.oid)), '; ')
      from pg_constraint as k
      where k.conrelid = p_policy.parent
        and k.contype = 'f'
        and k.conparentid = 0
    ),
    format('alter table %s attach partition %s %s', p_conversion.copy, qualified,
      partitions.values_clause(p_policy.key_kind, p_piece))
  )
  from pg_class as c
  cross join lateral partitions.partition_name(c.relname, p_policy.granularity, p_piece) as name
  cross join lateral partitions.qualified(c.oid, name) as qualified
  where c.oid = p_policy.parent
$$;

-- Whoever inserts, updates or deletes in the old table does so in the copy.
create or replace function partitions.follow_statements(p_conversion partitions.conversions)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create trigger partitions_follow after insert or update or delete on %s
      for each row execute function partitions.follow(%L, %L)', p_conversion.historic,
      format('delete from %s where (%s) = (%s)', p_conversion.copy,
        partitions.columns_of_key(p_conversion.copy), partitions.columns_of_key(p_conversion.copy, '($1).')),
      format('insert into %s (%s) select %s on conflict (%s) do update set (%2$s) = row(%5$s)', p_conversion.copy,
        partitions.written_columns(p_conversion.copy), partitions.written_columns(p_conversion.copy, '($1).'),
        partitions.columns_of_key(p_conversion.copy), partitions.written_columns(p_conversion.copy, 'excluded.'))),
    format('create trigger partitions_follow_truncate after truncate on %s
      for each statement execute function partitions.follow(%L)', p_conversion.historic,
      format('truncate %s', p_conversion.copy))
  )
$$;

create or replace function partitions.follow()
  returns trigger
  language plpgsql
  volatile
  security definer -- definer because who writes the table has no right to its copy
  set search_path = pg_catalog, pg_temp
as $$
begin
  if TG_OP = 'TRUNCATE' then
    execute TG_ARGV[0];
  elsif TG_OP = 'DELETE' then
    execute TG_ARGV[0] using OLD;
  elsif TG_OP = 'UPDATE' then
    -- Its key may be another one now.
    execute TG_ARGV[0] using OLD;
    execute TG_ARGV[1] using NEW;
  else
    execute TG_ARGV[1] using NEW;
  end if;
  return null;
end
$$;

-- Copies some blocks. A row that was written meanwhile is in the copy already, or will be when its transaction ends.
-- One that is being deleted is waited for: a copy made after the deletion would bring it back.
create or replace function partitions.copy_statement(p_conversion partitions.conversions, p_until bigint)
  returns text
  language sql
  stable
as $$
  select format(
    'insert into %s (%s) select %s from only %s where ctid >= %L and ctid < %L for key share
     on conflict (%s) do nothing',
    p_conversion.copy, columns, columns, p_conversion.historic,
    format('(%s,0)', p_conversion.copied_blocks), format('(%s,0)', p_until),
    partitions.columns_of_key(p_conversion.copy))
  from partitions.written_columns(p_conversion.copy) as columns
$$;

-- How many rows both have, and a sum over all that is in them, as one statement sees them at one moment.
create or replace function partitions.is_equal_copy(p_conversion partitions.conversions)
  returns boolean
  language plpgsql
  volatile
as $$
declare
  v_sum constant text := 'select row(count(*), sum(hashtextextended(row(%s)::text, 0)::numeric)) from %s';
  v_columns constant text := partitions.written_columns(p_conversion.copy);
  v_query constant text := format('select (%s) = (%s)',
    format(v_sum, v_columns, format('only %s', p_conversion.historic)), format(v_sum, v_columns, p_conversion.copy));
  v_is_equal boolean;
begin
  execute v_query into v_is_equal;
  return v_is_equal;
end
$$;
--! EndIncluded 10_partitions/convert_copy.sql
--! Included 10_partitions/convert_split.sql
-- kind: code
-- Cuts the old table of a conversion into partitions, in steps that each end with a commit.

create or replace procedure partitions.split(parent regclass default null)
  language plpgsql
as $$
declare
  v_parent regclass;
begin
  for v_parent in select c.parent from partitions.open_conversions($1) as c loop
    while partitions.split_step(v_parent) loop
      commit;
    end loop;
    commit;
  end loop;
end
$$;
comment on procedure partitions.split(regclass) is
  'Cuts what partitions.convert() has attached as one historic partition into periods, for one table or all: makes the partitions, copies the rows in batches of a transaction each while changes follow, compares both, swaps them in a moment and drops the old table. Needs space for both. Progress is in partitions.conversions; whatever interrupts it, call it again. Not within a transaction. Errors: NOT_FOUND (nothing to split), CONFLICT (locks were not to be had: try again later). Example: call partitions.split(''public.readings'')';

create or replace function partitions.open_conversions(p_parent regclass)
  returns table (parent regclass)
  language plpgsql
  stable
  security definer -- definer because the scheduler splits tables without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select c.parent
    from partitions.conversions as c
    where (p_parent is null or c.parent = p_parent)
      and c.state not in ('checking', 'checked', 'done')
      and not pg_is_in_recovery()
    order by c.started_at;
  if not found and p_parent is not null and not exists (
    select from partitions.conversions as c where c.parent = p_parent and c.state = 'done'
  ) then
    perform private.raise_error('NOT_FOUND', format('%s has nothing to split.', p_parent),
      'partitions.convert() prepares a table.');
  end if;
end
$$;

-- Does what is next; false when nothing is.
create or replace function partitions.split_step(p_parent regclass)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because a DBA splits tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_conversion partitions.conversions;
begin
  select c.* into v_conversion from partitions.conversions as c where c.parent = p_parent for update;
  case coalesce(v_conversion.state, 'done')
    when 'attached' then v_conversion := partitions.make_copy(v_conversion);
    when 'preparing' then v_conversion := partitions.make_piece(v_conversion);
    when 'copying' then v_conversion := partitions.copy_batch(v_conversion);
    when 'copied' then v_conversion := partitions.compare(v_conversion);
    when 'equal' then v_conversion := partitions.exchange(v_conversion);
    when 'switched' then v_conversion := partitions.finish_conversion(v_conversion);
    else return false;
  end case;
  update partitions.conversions as c
  set state = v_conversion.state,
    historic = v_conversion.historic,
    copy = v_conversion.copy,
    filenode = v_conversion.filenode,
    blocks = v_conversion.blocks,
    copied_blocks = v_conversion.copied_blocks,
    changed_at = engine.now()
  where c.parent = p_parent;
  return v_conversion.state <> 'done';
end
$$;

create or replace function partitions.make_copy(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_policy constant partitions.policies := partitions.require_policy(p_conversion.parent);
begin
  perform partitions.execute_patiently(partitions.copy_statements(v_policy, p_conversion.key));
  select partitions.qualified(c.oid, partitions.copy_name(c.relname)) into v_conversion.copy
  from pg_class as c
  where c.oid = p_conversion.parent;
  v_conversion.state := 'preparing';
  return v_conversion;
end
$$;

-- One partition; when all are there, what is written begins to follow.
create or replace function partitions.make_piece(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_policy constant partitions.policies := partitions.require_policy(p_conversion.parent);
  v_piece constant tstzrange := (
    select piece
    from unnest(tstzmultirange(tstzrange(p_conversion.lower, p_conversion.upper))
      - partitions.covered(p_conversion.copy)) as hole
    cross join lateral partitions.split(v_policy.granularity, hole) as piece
    order by piece
    limit 1
  );
begin
  if v_piece is not null then
    perform partitions.execute_patiently(partitions.piece_statements(v_policy, p_conversion, v_piece));
    return v_conversion;
  end if;
  perform partitions.execute_patiently(partitions.follow_statements(p_conversion));
  v_conversion.state := 'copying';
  return v_conversion;
end
$$;

-- A megabyte of the old table at a time. Rows that are new since it began are in the copy already.
create or replace function partitions.copy_batch(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_filenode constant oid := pg_relation_filenode(p_conversion.historic);
begin
  if v_conversion.filenode is distinct from v_filenode then
    v_conversion.filenode := v_filenode;
    v_conversion.copied_blocks := 0;
    v_conversion.blocks := pg_relation_size(v_conversion.historic) / current_setting('block_size')::int;
  end if;
  if v_conversion.copied_blocks < v_conversion.blocks then
    perform partitions.execute_patiently(
      partitions.copy_statement(v_conversion, least(v_conversion.copied_blocks + 128, v_conversion.blocks)));
    v_conversion.copied_blocks := least(v_conversion.copied_blocks + 128, v_conversion.blocks);
  else
    v_conversion.state := 'copied';
  end if;
  return v_conversion;
end
$$;

-- Equal, or copied anew. Meanwhile changes follow, so what is equal stays so.
create or replace function partitions.compare(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_analyze constant text := format('analyze %s', p_conversion.copy);
  v_truncate constant text := format('truncate %s', p_conversion.copy);
begin
  if partitions.is_equal_copy(p_conversion) then
    execute v_analyze;
    v_conversion.state := 'equal';
  else
    raise warning 'The copy of % differs; it is made anew. Was it written with triggers disabled?',
      p_conversion.historic;
    -- Writers of the old table wait for this: it is short.
    perform partitions.execute_patiently(v_truncate);
    v_conversion.filenode := null;
    v_conversion.state := 'copying';
  end if;
  return v_conversion;
end
$$;
--! EndIncluded 10_partitions/convert_split.sql
--! Included 10_partitions/convert_exchange.sql
-- kind: code
-- The end of a conversion: partitions for the old table.

create or replace function partitions.exchange_statements(p_conversion partitions.conversions)
  returns setof text
  language sql
  stable
as $$
  select format('lock table %s in access exclusive mode', string_agg(t.name, ', '))
  from (
    select p_conversion.parent::text
    union
    select p_conversion.copy::text
    union
    select case when k.conrelid = p_conversion.parent then k.confrelid else k.conrelid end::regclass::text
    from pg_constraint as k
    where k.contype = 'f'
      and p_conversion.parent in (k.conrelid, k.confrelid)
      and k.conparentid = 0
  ) as t (name)
  union all
  select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
  from pg_constraint as k
  where k.confrelid = p_conversion.parent
    and k.contype = 'f'
    and k.conparentid = 0
  union all
  select format('alter table %s detach partition %s', p_conversion.parent, p_conversion.historic)
  union all
  select piece.statement
  from partitions.of(p_conversion.copy) as o
  cross join lateral (
    values
      (format('alter table %s detach partition %s', p_conversion.copy, o.partition)),
      (format('alter table %s attach partition %s %s', p_conversion.parent, o.partition,
        partitions.values_clause(partitions.key_kind(p_conversion.parent), tstzrange(o.lower, o.upper))))
  ) as piece (statement)
  union all
  select format('drop table %s', p_conversion.copy)
$$;

-- All at once, or not at all. From the lock to the commit writers wait; rows are not read.
create or replace function partitions.exchange_now(p_conversion partitions.conversions)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_referring constant text[] := array(select partitions.referring_key_statements(p_conversion.parent));
begin
  perform partitions.perform_all(array(select partitions.exchange_statements(p_conversion)));
  perform partitions.perform_all(v_referring);
end
$$;

create or replace function partitions.exchange(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
begin
  perform partitions.execute_patiently(
    format('select pg_advisory_xact_lock(%s)', partitions.lock_key(p_conversion.parent)));
  perform partitions.execute_patiently(format(
    'select partitions.exchange_now(c) from partitions.conversions as c where c.parent = %L::regclass',
    p_conversion.parent));
  v_conversion.copy := null;
  v_conversion.state := 'switched';
  return v_conversion;
end
$$;

-- What was left out of the exchange because writers waited, one statement at a time: foreign keys of other tables are
-- checked, and partitions lose the check that spared their reading. Then the old table goes; its rows are all in them.
create or replace function partitions.finish_conversion(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_next constant text := (
    select format('alter table %s validate constraint %I', k.conrelid::regclass, k.conname)
    from pg_constraint as k
    where k.confrelid = p_conversion.parent
      and k.conparentid = 0
      and k.contype = 'f'
      and not k.convalidated
    union all
    select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
    from pg_inherits as i
    join pg_constraint as k on k.conrelid = i.inhrelid and k.conname = partitions.bound_check()
    where i.inhparent = p_conversion.parent
    limit 1
  );
begin
  if v_next is not null then
    perform partitions.execute_patiently(v_next);
    return v_conversion;
  end if;
  perform partitions.execute_patiently(format('drop table %s', p_conversion.historic));
  v_conversion.historic := null;
  v_conversion.state := 'done';
  return v_conversion;
end
$$;

grant execute on procedure partitions.split(regclass) to flowgres_dba, flowgres_maintenance;
grant execute on function
  partitions.open_conversions(regclass),
  partitions.split_step(regclass)
  to flowgres_dba, flowgres_maintenance;
--! EndIncluded 10_partitions/convert_exchange.sql
--! Included 10_partitions/statistics.sql
-- kind: code
-- How large the partitions are.

-- The planner's figure where there is one; before the first ANALYZE the collected count.
create or replace function partitions.estimated_rows(p_class pg_class)
  returns bigint
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select case
    when p_class.reltuples >= 0 then p_class.reltuples::bigint
    else pg_stat_get_live_tuples(p_class.oid)
  end
$$;

create or replace function partitions.estimated_rows(p_table regclass)
  returns bigint
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.estimated_rows(c) from pg_class as c where c.oid = p_table
$$;

create or replace function partitions.statistics(parent regclass, exact boolean default false)
  returns table (
    partition text,
    lower timestamptz,
    upper timestamptz,
    row_count bigint,
    size_bytes bigint,
    size_pretty text
  )
  language plpgsql
  volatile
  security definer -- definer because partitions have no grants; a DBA counts them all the same
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_partition record;
  v_count text;
begin
  for v_partition in
    select o.*, partitions.estimated_rows(o.partition) as estimate from partitions.of(statistics.parent) as o
  loop
    partition := v_partition.name;
    lower := v_partition.lower;
    upper := v_partition.upper;
    row_count := v_partition.estimate;
    if exact then
      v_count := format('select count(*) from %s', v_partition.partition);
      execute v_count into row_count;
    end if;
    size_bytes := pg_total_relation_size(v_partition.partition);
    size_pretty := pg_size_pretty(size_bytes);
    return next;
  end loop;
end
$$;
comment on function partitions.statistics(regclass, boolean) is
  'Size of each partition with its indexes and TOAST, in bytes, and its rows: estimated, or counted when exact (which reads them all). Example: select * from partitions.statistics(''public.workflow_events'', exact => true)';

comment on function partitions.estimated_rows(regclass) is
  'Rows of a table by the planner''s estimate, or as counted since the last ANALYZE. Example: select partitions.estimated_rows(''public.workflow_events_y2026m11'');';

grant execute on function
  partitions.statistics(regclass, boolean),
  partitions.estimated_rows(regclass)
  to flowgres_dba;
--! EndIncluded 10_partitions/statistics.sql
--! Included 10_partitions/care.sql
-- kind: code
-- Statistics of whole tables, and the last vacuum of partitions that nobody writes any more.

-- Autovacuum never looks at a partitioned table as a whole: without this the planner knows nothing of it, or the past.
create or replace function partitions.analyze(parent regclass default null)
  returns setof regclass
  language plpgsql
  volatile
  security definer -- definer because only the owner of a table analyzes it
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_parent regclass;
  v_analyze text;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  if "analyze".parent is not null then
    perform partitions.require_policy("analyze".parent);
  end if;
  for v_parent, v_analyze in
    select p.parent, format(
      -- From 18 on the partitions, which autovacuum has analyzed, need not be read again.
      case when current_setting('server_version_num')::int >= 180000 then 'analyze only %s' else 'analyze %s' end,
      p.parent)
    from partitions.policies as p
    join pg_class as t on t.oid = p.parent
    left join partitions.care as c on c.relation = p.parent
    where coalesce(p.parent = "analyze".parent, c.relation is null
      or c.fingerprint <> partitions.fingerprint(p.parent)
      or c.done_at < engine.now() - interval '3 months')
    order by t.relname
  loop
    execute v_analyze;
    insert into partitions.care as c (relation, parent, fingerprint, done_at)
    values (v_parent, v_parent, partitions.fingerprint(v_parent), engine.now())
    on conflict on constraint care_pkey do update
    set fingerprint = excluded.fingerprint,
      done_at = excluded.done_at;
    return next v_parent;
  end loop;
end
$$;
comment on function partitions.analyze(regclass) is
  'Gathers the statistics of managed tables as a whole and returns their names: of those that have got or lost a partition, and of all every three months; a table that is named always. Error: NOT_FOUND (no managed table). Example: select partitions.analyze()';

create or replace function partitions.freeze_statements(parent regclass default null)
  returns setof text
  language plpgsql
  volatile
  security definer -- definer because a DBA asks for tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  if pg_is_in_recovery() then
    return;
  end if;
  delete from partitions.care as c where not exists (select from pg_class as t where t.oid = c.relation);
  -- What was asked for and has been vacuumed since, by the server's clock, which the statistics have, not the engine's.
  update partitions.care as c
  set done_at = pg_stat_get_last_vacuum_time(c.relation)
  where c.done_at is null
    and pg_stat_get_last_vacuum_time(c.relation) >= c.asked_at;
  return query
    with asked as (
      insert into partitions.care as c (relation, parent, asked_at)
      select o.partition, p.parent, clock_timestamp()
      from partitions.policies as p
      cross join lateral partitions.of(p.parent) as o
      -- Rows may come a little late.
      where o.upper < engine.now() - interval '1 day'
        and not o.detaching
        and (freeze_statements.parent is null or p.parent = freeze_statements.parent)
        and not exists (select from partitions.care as c where c.relation = o.partition and c.done_at is not null)
      on conflict on constraint care_pkey do update
      set asked_at = excluded.asked_at
      returning c.relation
    )
    select format('vacuum (freeze) %s', asked.relation) from asked order by asked.relation::text;
end
$$;
comment on function partitions.freeze_statements(regclass) is
  'A VACUUM for each partition that ended more than a day ago and was not frozen yet, so that it never needs to be read for that again. Run each on its own, as flowgres_owner; the next call sees which were, and lists the others again. Example, in psql: set role flowgres_owner; select partitions.freeze_statements() \gexec';

grant execute on function
  partitions.analyze(regclass),
  partitions.freeze_statements(regclass)
  to flowgres_dba, flowgres_maintenance;
--! EndIncluded 10_partitions/care.sql
--! Included 10_partitions/build_index.sql
-- kind: code
-- A new index on a table that is written all the time: CREATE INDEX on a partitioned table would hold up its writers
-- until all partitions are read, and CONCURRENTLY is not to be had for one.

create or replace function partitions.build_index(
  parent regclass,
  name text,
  definition text,
  is_unique boolean default false
)
  returns setof text
  language plpgsql
  stable
  security definer -- definer because a DBA asks for tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_index regclass;
  v_create constant text := format('create %sindex', case when is_unique then 'unique ' end);
  v_leaf record;
begin
  perform partitions.require_manageable(build_index.parent);
  if coalesce(build_index.name, '') = '' or coalesce(btrim(definition), '') = '' then
    perform private.raise_error('INVALID_ARGUMENT', 'An index needs a name and a definition.',
      'The definition is what follows the table''s name in CREATE INDEX, such as (organization_id, ts).');
  end if;
  perform partitions.require_short_names(build_index.parent, build_index.name);
  v_name := partitions.qualified(build_index.parent, build_index.name);
  v_index := to_regclass(v_name);
  if not coalesce(
    (select x.indrelid = build_index.parent from pg_index as x where x.indexrelid = v_index),
    v_index is null
  ) then
    perform private.raise_error('CONFLICT', format('%s is something else already.', v_index), 'Choose another name.');
  end if;
  -- First that of the table, which is not valid until all partitions have theirs: new partitions come with it.
  if v_index is null then
    return next format('select partitions.execute_patiently(%L)',
      format('%s %I on only %s %s', v_create, build_index.name, build_index.parent, definition));
  end if;
  for v_leaf in
    select * from partitions.indexed_leaves(build_index.parent, build_index.name) as l where not l.is_attached
  loop
    -- Whatever is left of a build that was interrupted.
    if v_leaf.is_valid is false then
      return next format('drop index concurrently %s', v_leaf.qualified);
    end if;
    if v_leaf.is_valid is not true then
      return next format('%s concurrently %I on %s %s', v_create, v_leaf.index, v_leaf.partition, definition);
    end if;
    return next format('select partitions.attach_index(%L, %L)', v_name, v_leaf.qualified);
  end loop;
end
$$;
comment on function partitions.build_index(regclass, text, text, boolean) is
  'Statements that build an index on a partitioned table without holding up its writers: on each partition concurrently, under the partition''s name. The definition is what follows the table''s name in CREATE INDEX. Run them one after the other, each in a transaction of its own, as flowgres_owner. Whatever interrupts them, ask again with the same arguments: what is done is not listed, what was broken off is built anew; nothing is listed when the index is complete. Errors: NOT_FOUND, INVALID_ARGUMENT, CONFLICT (the name is taken). Example, in psql: set role flowgres_owner; select partitions.build_index(''public.workflow_events'', ''workflow_events_seq_idx'', ''(run_id, seq)'') \gexec';

-- Each partition and how far it is with an index of the table; is_valid is null where it has none of that name.
create or replace function partitions.indexed_leaves(p_parent regclass, p_index text)
  returns table (
    partition regclass,
    index text,
    qualified text,
    is_valid boolean,
    is_attached boolean
  )
  language sql
  stable
as $$
  select o.partition, leaf.index, leaf.qualified, x.indisvalid, h.inhrelid is not null
  from pg_class as p
  cross join lateral partitions.of(p.oid) as o
  cross join lateral partitions.index_name(p.relname, o.name, p_index) as index
  cross join lateral partitions.qualified(p.oid, index) as qualified
  cross join lateral (select index, qualified) as leaf
  left join pg_index as x on x.indexrelid = to_regclass(leaf.qualified) and x.indrelid = o.partition
  left join pg_inherits as h
    on h.inhrelid = x.indexrelid and h.inhparent = to_regclass(partitions.qualified(p.oid, p_index))
  where p.oid = p_parent
  order by o.lower desc
$$;

-- One whose build failed must not be attached: it could neither be dropped any more nor become valid.
create or replace function partitions.attach_index(p_parent regclass, p_index regclass)
  returns void
  language plpgsql
  volatile
as $$
begin
  if not (select x.indisvalid from pg_index as x where x.indexrelid = p_index) then
    perform private.raise_error('CONFLICT', format('%s is not valid: its build has failed.', p_index),
      'Ask for the statements again: it is built anew.');
  end if;
  perform partitions.execute_patiently(format('alter index %s attach partition %s', p_parent, p_index));
end
$$;

grant execute on function partitions.build_index(regclass, text, text, boolean) to flowgres_dba;
--! EndIncluded 10_partitions/build_index.sql
--! Included 10_partitions/checks.sql
-- kind: code
-- The doctor's checks. All look at the partitions as one query has found them.

create or replace function partitions.examine(p_parent regclass)
  returns partitions.leaf[]
  language sql
  volatile
as $$
  select array_agg(
    (o.name, o.partition, o.lower, o.upper, o.detaching, c.relrowsecurity,
      case when c.relacl is not null or c.oid in (select a.attrelid from pg_attribute as a where a.attacl is not null)
        then partitions.grantees(c.oid)
      end,
      pg_total_relation_size(o.partition), age(c.relfrozenxid), partitions.estimated_rows(c))::partitions.leaf
    order by o.lower, o.upper
  )
  from partitions.of(p_parent) as o
  join pg_class as c on c.oid = o.partition
$$;

-- Is there a partition for every time that needs one?
create or replace function partitions.check_coverage(p_policy partitions.policies, p_leaves partitions.leaf[])
  returns setof partitions.finding
  language sql
  volatile
as $$
  with ahead as (
    select case when covered @> now then coalesce(
      (select upper(span) from unnest(covered) as span where span @> now),
      'infinity'
    ) end as until, now
    from engine.now() as now
    cross join (
      select coalesce(range_agg(tstzrange(l.lower, l.upper)), '{}') from unnest(p_leaves) as l
    ) as ranges (covered)
  ), neighbours as (
    select o.name, o.lower, lag(o.name) over w as previous_name, lag(o.upper) over w as previous_upper
    from unnest(p_leaves) as o
    window w as (order by o.lower, o.upper)
  )
  select p_policy.parent, 'forward buffer', 'critical', 'There is no partition for the current time: inserts fail.',
    format('select * from partitions.maintain(%L)', p_policy.parent)
  from ahead
  where ahead.until is null
  union all
  select p_policy.parent, 'forward buffer', 'warning',
    format('Partitions end on %s; %s whole periods ahead are wanted.',
      to_char(ahead.until at time zone 'UTC', 'YYYY-MM-DD'), p_policy.premake),
    format('select * from partitions.maintain(%L)', p_policy.parent)
  from ahead
  where ahead.until < upper(partitions.wanted(p_policy))
  union all
  select p_policy.parent, 'hole', case when n.lower > ahead.now then 'warning' else 'info' end,
    format('There is no partition from %s to %s.', n.previous_upper, n.lower),
    format('select partitions.create(%L, %L)', p_policy.parent, n.previous_upper)
  from neighbours as n
  cross join ahead
  where n.previous_upper < n.lower
  union all
  select p_policy.parent, 'overlap', 'critical', format('%s and %s overlap.', n.previous_name, n.name), null
  from neighbours as n
  where n.previous_upper > n.lower
$$;

-- Does maintenance do its work?
create or replace function partitions.check_care(p_policy partitions.policies, p_leaves partitions.leaf[])
  returns setof partitions.finding
  language sql
  volatile
as $$
  select p_policy.parent, 'maintenance', case when m.failures >= 3 then 'critical' else 'warning' end,
    format('Maintenance has failed %s times, last at %s: %s', m.failures, m.failed_at, m.error),
    format('select * from partitions.maintain(%L)', p_policy.parent)
  from partitions.maintenance as m
  where m.parent = p_policy.parent
    and m.failures > 0
  union all
  select p_policy.parent, 'detach', 'warning', format('The detach of %s was interrupted.', o.name),
    format('select * from partitions.maintain(%L)', p_policy.parent)
  from unnest(p_leaves) as o
  where o.detaching
    and not exists (select from partitions.departures as d where d.partition = o.partition)
  union all
  select p_policy.parent, 'detach', 'warning', format('%s has been on its way out since %s.', d.name, d.since),
    format('select * from partitions.retire(%L)', p_policy.parent)
  from partitions.departures as d
  where d.parent = p_policy.parent
    and d.since < engine.now() - interval '1 hour'
  union all
  -- Retirement may run but daily.
  select p_policy.parent, 'retention', 'warning',
    format('%s should have left: %s', l.partition, coalesce(l.detail, 'retire() has not run.')),
    case when l.detail is null then 'select * from partitions.retire()' end
  from (
    select engine.now() - p_policy.retention - interval '2 days'
  ) as due (at)
  cross join lateral partitions.leaving(p_policy, '-infinity', due.at) as l
  where exists (select from unnest(p_leaves) as o where o.upper <= due.at)
  union all
  select p_policy.parent, 'statistics', 'info',
    format('%s was not analyzed for three months, and autovacuum does not do it.', p_policy.parent),
    format('analyze %s', p_policy.parent)
  where exists (select from unnest(p_leaves) as o where o.rows > 10000)
    and coalesce(pg_stat_get_last_analyze_time(p_policy.parent), '-infinity') < engine.now() - interval '100 days'
$$;

-- Is each partition as it should be?
create or replace function partitions.check_each(p_policy partitions.policies, p_leaves partitions.leaf[])
  returns setof partitions.finding
  language sql
  volatile
as $$
  select p_policy.parent, 'row-level security', 'critical', 'It has policies, and they are switched off.',
    format('alter table %s enable row level security', p_policy.parent)
  from pg_class as c
  where c.oid = p_policy.parent
    and not c.relrowsecurity
    and exists (select from pg_policy as p where p.polrelid = c.oid)
  union all
  select p_policy.parent, 'row-level security', 'critical', format('%s has no row-level security.', l.name),
    format('alter table %s enable row level security', l.partition)
  from unnest(p_leaves) as l
  where not l.is_secured
  union all
  select p_policy.parent, 'grants', 'critical', format('%s is open to %s.', l.name, array_to_string(l.grantees, ', ')),
    format('revoke all on %s from %s', l.partition, array_to_string(l.grantees, ', '))
  from unnest(p_leaves) as l
  where l.grantees is not null
  union all
  select p_policy.parent, 'size', case when l.bytes >= p_policy.critical_bytes then 'critical' else 'warning' end,
    format('%s has %s.', l.name, pg_size_pretty(l.bytes)),
    case when fitting <> p_policy.granularity then
      format('update partitions.policies set granularity = %L where parent = %L::regclass', fitting, p_policy.parent)
    end
  from unnest(p_leaves) as l
  cross join lateral partitions.fitting_granularity(p_policy) as fitting
  where l.bytes >= p_policy.warn_bytes
  union all
  -- Autovacuum should have frozen it at autovacuum_freeze_max_age; at 2 billion the server stops.
  select p_policy.parent, 'freeze', case when l.frozen_age > 1000000000 then 'critical' else 'warning' end,
    format('%s was last frozen %s transactions ago.', l.name, l.frozen_age),
    format('vacuum (freeze) %s', l.partition)
  from unnest(p_leaves) as l
  where l.frozen_age > 1.25 * current_setting('autovacuum_freeze_max_age')::bigint
$$;

-- Is there something half done?
create or replace function partitions.check_conversions(p_parent regclass)
  returns setof partitions.finding
  language sql
  volatile
as $$
  select c.parent, 'conversion',
    case when c.changed_at < engine.now() - interval '1 day' then 'warning' else 'info' end,
    format('Its conversion stands at %s since %s.', c.state, c.changed_at),
    case
      when c.historic is null then format('call partitions.convert(%L, %L, %L)', c.parent, c.key, c.granularity)
      else format('call partitions.split(%L)', c.parent)
    end
  from partitions.conversions as c
  where c.state <> 'done'
    and (p_parent is null or c.parent = p_parent)
$$;
--! EndIncluded 10_partitions/checks.sql
--! Included 10_partitions/doctor.sql
-- kind: code
-- What is wrong with managed tables, and the SQL that puts it right.

create or replace function partitions.doctor(parent regclass default null)
  returns setof partitions.finding
  language plpgsql
  volatile
  security definer -- definer because DBAs and monitors examine tables without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy partitions.policies;
  v_leaves partitions.leaf[];
begin
  if doctor.parent is not null then
    perform partitions.require_policy(doctor.parent);
  end if;
  for v_policy in
    select p.*
    from partitions.policies as p
    where doctor.parent is null or p.parent = doctor.parent
    order by p.parent::text
  loop
    begin
      perform partitions.require_manageable(v_policy.parent);
    exception
      when others then
        return next (v_policy.parent, 'table', 'critical', sqlerrm,
          format('delete from partitions.policies where parent = %L', v_policy.parent))::partitions.finding;
        continue;
    end;
    v_leaves := partitions.examine(v_policy.parent);
    return query select f.* from partitions.check_coverage(v_policy, v_leaves) as f;
    return query select f.* from partitions.check_care(v_policy, v_leaves) as f;
    return query select f.* from partitions.check_each(v_policy, v_leaves) as f;
    return query select f.* from partitions.check_archives(v_policy) as f;
  end loop;
  return query select f.* from partitions.check_conversions(doctor.parent) as f;
end
$$;
comment on function partitions.doctor(regclass) is
  'What is wrong with the managed tables, or the given one: no row when all is well. Checks: table, forward buffer, hole, overlap, size, detach, maintenance, retention, archive, row-level security, grants, statistics, freeze, conversion. `fix` is SQL to run as flowgres_owner, where there is any. Error: NOT_FOUND (no managed table). Example: select * from partitions.doctor()';

grant execute on function partitions.doctor(regclass) to flowgres_dba, flowgres_monitor;
--! EndIncluded 10_partitions/doctor.sql
--! Included 10_partitions/policies.sql
-- kind: code
-- A DBA reads and tunes the policies; what is managed, and by which key, is for partitions.manage().

drop policy if exists policies_dba on partitions.policies;
create policy policies_dba on partitions.policies to flowgres_dba using (true);
drop policy if exists maintenance_dba on partitions.maintenance;
create policy maintenance_dba on partitions.maintenance for select to flowgres_dba using (true);

drop policy if exists departures_dba on partitions.departures;
create policy departures_dba on partitions.departures for select to flowgres_dba using (true);

drop policy if exists conversions_dba on partitions.conversions;
create policy conversions_dba on partitions.conversions for select to flowgres_dba using (true);

drop policy if exists care_dba on partitions.care;
create policy care_dba on partitions.care for select to flowgres_dba using (true);

drop policy if exists archives_dba on partitions.archives;
create policy archives_dba on partitions.archives for select to flowgres_dba using (true);

grant select, delete,
  update (granularity, premake, behind, retention, on_retire, storage, adaptive, warn_bytes, critical_bytes)
  on partitions.policies to flowgres_dba;
grant select on
  partitions.maintenance, partitions.departures, partitions.archives, partitions.conversions, partitions.care
  to flowgres_dba;
grant usage on type partitions.action, partitions.finding to flowgres_dba, flowgres_monitor;
--! EndIncluded 10_partitions/policies.sql
--! EndIncluded 10_partitions/index.sql
--! Included 15_audit/index.sql
-- Audit: the log of changes to configuration, its seals, and the log of API requests. Who a request is, the next layer
-- knows: its trigger writes here.

--! Included 15_audit/tables.sql
-- kind: state
-- What was changed by whom, and the seals that show whether somebody has changed that afterwards.

create table public.audit_log (
  id uuid not null,
  organization_id uuid,
  at timestamptz not null,
  table_name text not null,
  operation text not null,
  row_key jsonb,
  before jsonb,
  after jsonb,
  user_id uuid,
  token_id uuid,
  session_id uuid,
  database_role text not null,
  client_address text,
  request_id text,
  constraint audit_log_pkey primary key (id),
  constraint audit_log_operation_check check (operation in ('insert', 'update', 'delete', 'truncate'))
) partition by range (id);
create index audit_log_organization_id_id_idx on public.audit_log (organization_id, id);
alter table public.audit_log enable row level security;

comment on table public.audit_log is
  'Every change of configuration: who, when, what, before and after. Append-only, partitioned by month of the time in its UUIDv7 id. Owners and admins read their organization''s rows. Example: select at, table_name, operation, before, after from audit_log order by id desc limit 20;';
comment on column public.audit_log.id is 'UUIDv7; its time is that of the change.';
comment on column public.audit_log.organization_id is 'The organization that the row belongs to; null for what belongs to none, such as users and plans.';
comment on column public.audit_log.at is 'When the statement ran.';
comment on column public.audit_log.table_name is 'The table with its schema, for example public.workflows.';
comment on column public.audit_log.operation is 'insert, update, delete or truncate.';
comment on column public.audit_log.row_key is 'The primary key of the row: {"id": "0190…"}; null for truncate.';
comment on column public.audit_log.before is
  'The row before: all columns of a deleted one, the changed ones of an update. Secrets are "***", large documents {"sha256", "bytes"}.';
comment on column public.audit_log.after is 'The row after: all columns of a new one, the changed ones of an update.';
comment on column public.audit_log.user_id is 'The user of the request; null for an organization''s own token, and in psql without a context.';
comment on column public.audit_log.token_id is 'The API token of the request.';
comment on column public.audit_log.session_id is 'The session of the request: a person who logged in, or a DBA after set_context.';
comment on column public.audit_log.database_role is 'The role that logged in to the database: flowgres_api for GraphQL, a person''s own for psql.';
comment on column public.audit_log.client_address is
  'The address of the client as the server told it (flowgres.client_address), else of the database''s own client.';
comment on column public.audit_log.request_id is 'The id of the HTTP request, as in the access log.';

-- What is not sealed yet, with the hash that each row had when it was written. Sealing empties this queue, so it needs
-- no watermark: rows of a transaction that commits late are in it when they become visible, whatever was sealed before.
create table private.audit_unsealed (
  id uuid not null,
  organization_id uuid not null,
  hash bytea not null,
  constraint audit_unsealed_pkey primary key (id)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table private.audit_unsealed enable row level security;
comment on table private.audit_unsealed is 'Rows of the audit log that no seal covers yet. The nil UUID stands for no organization.';

create table private.audit_seals (
  organization_id uuid not null,
  number bigint not null,
  sealed_at timestamptz not null,
  ids uuid[] not null,
  hashes bytea[] not null,
  previous bytea not null,
  hash bytea not null,
  constraint audit_seals_pkey primary key (organization_id, number, sealed_at),
  constraint audit_seals_hashes_check check (cardinality(ids) = cardinality(hashes))
) partition by range (sealed_at);
alter table private.audit_seals enable row level security;
comment on table private.audit_seals is
  'One chain per organization: each seal names its rows with their hashes, and its own hash covers them and the seal before.';

create table private.audit_heads (
  organization_id uuid not null,
  number bigint not null,
  hash bytea not null,
  constraint audit_heads_pkey primary key (organization_id)
);
alter table private.audit_heads enable row level security;
comment on table private.audit_heads is 'The newest seal of each organization: where its chain goes on, also when all seals have left with their months.';

create table public.api_access_log (
  id uuid not null,
  organization_id uuid,
  at timestamptz not null,
  token_id uuid,
  user_id uuid,
  operation text,
  status int not null,
  error_code text,
  ms int not null,
  request_id text,
  constraint api_access_log_pkey primary key (id)
) partition by range (id);
create index api_access_log_organization_id_id_idx on public.api_access_log (organization_id, id);
alter table public.api_access_log enable row level security;

comment on table public.api_access_log is
  'GraphQL requests: all that failed and a sample of the others. Partitioned by week, kept 30 days. Owners and admins read their organization''s rows. Example: select at, operation, status, error_code, ms from api_access_log order by id desc limit 20;';
comment on column public.api_access_log.id is 'UUIDv7; its time is that of the request''s end, to a second.';
comment on column public.api_access_log.organization_id is 'The organization of the token; null for a request without a valid one.';
comment on column public.api_access_log.at is 'When the answer was ready.';
comment on column public.api_access_log.token_id is 'The API token; null for a session and an anonymous request.';
comment on column public.api_access_log.user_id is 'The user that the token or session stands for.';
comment on column public.api_access_log.operation is 'The name of the operation in the document; null when it has none.';
comment on column public.api_access_log.status is 'The HTTP status.';
comment on column public.api_access_log.error_code is 'extensions.code of the first error; null without one.';
comment on column public.api_access_log.ms is 'How long it took, in milliseconds.';
comment on column public.api_access_log.request_id is 'The id of the HTTP request, as in the audit log.';
--! EndIncluded 15_audit/tables.sql
--! Included 15_audit/append_only.sql
-- kind: code
-- Nobody has the right to change the audit log; these triggers also stop its owner's, and a superuser's, slips.

create or replace function private.refuse_change()
  returns trigger
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'FORBIDDEN',
    format('%s of %s: the audit log is append-only.', lower(TG_OP), TG_TABLE_NAME),
    'Old months leave by partitions.retire().'
  );
  return null;
end
$$;

-- By row, because that is what partitions inherit: a statement that names a partition is stopped too.
create or replace trigger _100_append_only
  before update or delete on public.audit_log
  for each row execute function private.refuse_change();

create or replace trigger _100_append_only_truncate
  before truncate on public.audit_log
  for each statement execute function private.refuse_change();
--! EndIncluded 15_audit/append_only.sql
--! Included 15_audit/differences.sql
-- kind: code
-- What of a row goes into the log: the columns that differ, without secrets and without large documents.

create or replace function private.audit_digest(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'sha256', encode(sha256(convert_to(p_value::text, 'UTF8')), 'hex'),
    'bytes', octet_length(p_value::text)
  )
$$;

-- The columns of p_row that p_other, if it is given, has otherwise. Null when there are none.
create or replace function private.audit_columns(
  p_row jsonb,
  p_other jsonb,
  p_masked text[],
  p_digested text[],
  p_ignored text[]
)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_object_agg(
    c.key,
    case
      when c.value = 'null' then c.value
      when c.key = any (p_masked) then '"***"'
      when c.key = any (p_digested) then private.audit_digest(c.value)
      else c.value
    end
  )
  from jsonb_each(p_row) as c
  where c.key <> all (p_ignored)
    and (p_other is null or c.value is distinct from p_other -> c.key)
$$;
comment on function private.audit_columns(jsonb, jsonb, text[], text[], text[]) is
  'A changed secret is "***" before and after: that it was changed is seen, and nothing else.';
--! EndIncluded 15_audit/differences.sql
--! Included 15_audit/write.sql
-- kind: code
-- Writes one row of the audit log, in the transaction of the change: there is no change without its row.

-- A list, not the row itself: a column that is added later must not change the hashes of old rows.
create or replace function private.audit_hash(p_entry public.audit_log)
  returns bytea
  language sql
  immutable
  parallel safe
as $$
  select sha256(convert_to(
    jsonb_build_array(
      p_entry.id, p_entry.organization_id, extract(epoch from p_entry.at), p_entry.table_name, p_entry.operation,
      p_entry.row_key, p_entry.before, p_entry.after, p_entry.user_id, p_entry.token_id, p_entry.session_id,
      p_entry.database_role, p_entry.client_address, p_entry.request_id
    )::text,
    'UTF8'
  ))
$$;

create or replace function private.write_audit(p_entry public.audit_log)
  returns void
  language plpgsql
  volatile
as $$
begin
  -- When maintenance has stood still for months, that is no reason to refuse the change. What it knows is asked first:
  -- looking for the partition in the catalog costs more than the row.
  if exists (
    select
    from partitions.policies as p
    left join partitions.maintenance as m on m.parent = p.parent
    where p.parent = 'public.audit_log'::regclass and (m.fingerprint is not null and m.idle @> p_entry.at) is not true
  ) then
    perform partitions.create('public.audit_log', p_entry.at);
  end if;
  insert into public.audit_log select p_entry.*;
  insert into private.audit_unsealed (id, organization_id, hash)
  values (
    p_entry.id, coalesce(p_entry.organization_id, '00000000-0000-0000-0000-000000000000'), private.audit_hash(p_entry)
  );
end
$$;
--! EndIncluded 15_audit/write.sql
--! Included 15_audit/seal.sql
-- kind: code
-- Every minute: what is new in the audit log goes under a seal, one chain per organization. A chain that each statement
-- went on writing would let the changes of an organization wait for each other.

create or replace function private.seal_hash(p_seal private.audit_seals)
  returns bytea
  language sql
  immutable
  parallel safe
as $$
  select sha256(
    p_seal.previous || uuid_send(p_seal.organization_id) || int8send(p_seal.number)
    || convert_to(extract(epoch from p_seal.sealed_at)::text, 'UTF8')
    || string_agg(uuid_send(entry.id) || entry.hash, ''::bytea order by entry.place)
  )
  from unnest(p_seal.ids, p_seal.hashes) with ordinality as entry (id, hash, place)
$$;

create or replace function private.add_seal(p_seal private.audit_seals)
  returns private.audit_seals
  language plpgsql
  volatile
as $$
declare
  v_seal private.audit_seals := p_seal;
  v_head private.audit_heads;
begin
  select h.* into v_head from private.audit_heads as h where h.organization_id = p_seal.organization_id;
  v_seal.number := coalesce(v_head.number, 0) + 1;
  v_seal.previous := coalesce(v_head.hash, '');
  v_seal.hash := private.seal_hash(v_seal);
  insert into private.audit_seals select v_seal.*;
  insert into private.audit_heads (organization_id, number, hash)
  values (v_seal.organization_id, v_seal.number, v_seal.hash)
  on conflict (organization_id) do update set number = excluded.number, hash = excluded.hash;
  return v_seal;
end
$$;

create or replace function engine.seal_audit()
  returns table (organization_id uuid, number bigint, entries int)
  language plpgsql
  volatile
  security definer -- definer because nobody writes the audit log
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_seal private.audit_seals;
begin
  -- Two at once would both go on from the same seal.
  if not pg_try_advisory_xact_lock(hashtextextended('flowgres seal_audit', 0)) then
    return;
  end if;
  perform partitions.create('private.audit_seals', engine.now());
  for v_seal in
    with taken as (
      delete from private.audit_unsealed as u returning u.organization_id, u.id, u.hash
    ), numbered as (
      select t.*, row_number() over (partition by t.organization_id order by t.id) - 1 as place from taken as t
    )
    select
      n.organization_id, null, engine.now(), array_agg(n.id order by n.id), array_agg(n.hash order by n.id), null, null
    from numbered as n
    -- One statement of a DBA may change a million rows.
    group by n.organization_id, n.place / 1000
    order by n.organization_id, n.place / 1000
  loop
    v_seal := private.add_seal(v_seal);
    organization_id := v_seal.organization_id;
    number := v_seal.number;
    entries := cardinality(v_seal.ids);
    return next;
  end loop;
end
$$;
comment on function engine.seal_audit() is
  'Seals the rows of the audit log that were committed since the last time: one row per seal, at most 1,000 entries each. Runs every minute. Example: select * from engine.seal_audit();';

create or replace function monitor.audit_heads()
  returns table (organization_id uuid, number bigint, hash text, unsealed bigint)
  language sql
  stable
  security definer -- definer because it reads the seals of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(h.organization_id, u.organization_id), h.number, encode(h.hash, 'hex'), coalesce(u.unsealed, 0)
  from private.audit_heads as h
  full join (
    select q.organization_id, count(*) as unsealed from private.audit_unsealed as q group by q.organization_id
  ) as u on u.organization_id = h.organization_id
$$;
comment on function monitor.audit_heads() is
  'The newest seal of each organization (the nil UUID: of rows that belong to none), and how many rows wait for the next. Who keeps a hash elsewhere can prove later that nothing before it was replaced. Example: select * from monitor.audit_heads();';

grant execute on function engine.seal_audit() to flowgres_maintenance, flowgres_dba;
grant execute on function monitor.audit_heads() to flowgres_dba, flowgres_monitor;
--! EndIncluded 15_audit/seal.sql
--! Included 15_audit/verify.sql
-- kind: code
-- Compares the audit log with its seals, and the seals with each other.

-- Before this time rows and seals have left with their months; what is left of either proves nothing.
create or replace function private.audit_boundary()
  returns timestamptz
  language sql
  stable
as $$
  select min(o.lower) from partitions.of('private.audit_seals') as o
$$;

create or replace function private.verify_entries(p_organization uuid)
  returns table (organization_id uuid, seal bigint, entry uuid, problem text)
  language sql
  stable
as $$
  with known as (
    select s.organization_id, s.number, sealed.id, sealed.hash
    from private.audit_seals as s
    cross join unnest(s.ids, s.hashes) as sealed (id, hash)
    where p_organization is null or s.organization_id = p_organization
    union all
    select u.organization_id, null, u.id, u.hash
    from private.audit_unsealed as u
    where p_organization is null or u.organization_id = p_organization
  ), written as (
    select a.id, a.organization_id, private.audit_hash(a) as hash
    from public.audit_log as a
    where p_organization is null
      or a.organization_id = p_organization
      or (a.organization_id is null and p_organization = '00000000-0000-0000-0000-000000000000')
  )
  select
    coalesce(k.organization_id, w.organization_id), k.number, coalesce(k.id, w.id),
    case
      when w.id is null then 'the row is missing'
      when k.id is null then 'the row was inserted without a trace'
      else 'the row was changed'
    end
  from known as k
  full join written as w on w.id = k.id
  where k.hash is distinct from w.hash
    and coalesce(k.id, w.id) >= engine.uuid_floor(private.audit_boundary())
$$;

create or replace function private.verify_seals(p_organization uuid)
  returns table (organization_id uuid, seal bigint, entry uuid, problem text)
  language sql
  stable
as $$
  with seals as (
    select
      s.organization_id, s.number, s.previous, s.hash, private.seal_hash(s) as computed,
      lag(s.number) over chain as number_before, lag(s.hash) over chain as hash_before,
      row_number() over (partition by s.organization_id order by s.number desc) = 1 as is_newest
    from private.audit_seals as s
    where p_organization is null or s.organization_id = p_organization
    window chain as (partition by s.organization_id order by s.number)
  ), judged as (
    select
      s.organization_id, s.number,
      case
        when s.hash is distinct from s.computed then 'the seal was changed'
        when s.number <> s.number_before + 1 then 'seals before it are missing'
        when s.previous <> coalesce(s.hash_before, case when s.number = 1 then '' else s.previous end)
          then 'the seal before it was exchanged'
      end as problem
    from seals as s
    union all
    -- Without any seal, all have left with their months, or somebody took them: then their rows are found.
    select h.organization_id, h.number, 'the newest seal is missing or was exchanged'
    from private.audit_heads as h
    join seals as s on s.organization_id = h.organization_id and s.is_newest
    where (s.number, s.hash) is distinct from (h.number, h.hash)
  )
  select j.organization_id, j.number, null::uuid, j.problem from judged as j where j.problem is not null
$$;

create or replace function monitor.verify_audit(organization uuid default null)
  returns table (organization_id uuid, seal bigint, entry uuid, problem text)
  language sql
  stable
  security definer -- definer because it reads the log and the seals of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select e.* from private.verify_entries(organization) as e
  union all
  select s.* from private.verify_seals(organization) as s
$$;
comment on function monitor.verify_audit(uuid) is
  'Compares every row of the audit log with its seal: one row per entry that was changed, is missing or was inserted, and per broken seal; none when the log is whole. Of one organization, or of all; the nil UUID stands for what belongs to none. Reads the whole log: about 10 s per million rows. Example: select * from monitor.verify_audit();';

grant execute on function monitor.verify_audit(uuid) to flowgres_dba, flowgres_monitor;
--! EndIncluded 15_audit/verify.sql
--! Included 15_audit/partitioning.sql
-- kind: state
-- How the logs are cut. Seals leave with the rows that they seal, after a year; requests after 30 days.

select from partitions.manage('public.audit_log', 'month', premake => 3, retention => '12 months');
select from partitions.manage('private.audit_seals', 'month', premake => 3, retire_with => 'public.audit_log');
select from partitions.manage('public.api_access_log', 'week', premake => 4, behind => 1, retention => '30 days');

do $$
declare
  v_failure text;
begin
  select format('%s: %s', m.partition, m.detail) into v_failure from partitions.maintain() as m where not m.done;
  if found then
    perform private.raise_error('CONFLICT', format('Not all partitions could be made: %s', v_failure));
  end if;
end
$$;
--! EndIncluded 15_audit/partitioning.sql
--! EndIncluded 15_audit/index.sql
--! Included 20_tenancy/index.sql
-- Tenancy: who there is, which organization a request acts for, and what it may see.

--! Included 20_tenancy/secrets.sql
-- kind: code
-- Secrets come from gen_random_uuid(), which draws from the operating system: two of them carry 244 random bits, and
-- SHA-256 spreads those over every bit that is taken.

create or replace function private.random_secret(p_bytes int)
  returns text
  language sql
  volatile
as $$
  select rtrim(
    translate(
      encode(
        substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) from 1 for p_bytes),
        'base64'
      ),
      '+/', '-_'
    ),
    '='
  )
$$;
comment on function private.random_secret(int) is
  'Random url-safe text of at most 32 bytes: 16 bytes are 22 characters, 32 bytes are 43.';

create or replace function private.hash_secret(p_secret text)
  returns bytea
  language sql
  immutable
  strict
  parallel safe
as $$
  select sha256(convert_to(p_secret, 'UTF8'))
$$;
comment on function private.hash_secret(text) is
  'How sessions and API tokens are stored. SHA-256 is enough for random secrets; passwords take scrypt.';

-- The last six characters are a checksum of the others: a secret that was cut or mistyped is refused without a query,
-- and scanners of leaked secrets know it from other text.
create or replace function private.new_secret(p_prefix text)
  returns text
  language sql
  volatile
as $$
  select s.secret || left(translate(encode(private.hash_secret(s.secret), 'base64'), '+/', '-_'), 6)
  from (select p_prefix || private.random_secret(32)) as s (secret)
$$;
comment on function private.new_secret(text) is
  'The secret of a session (prefix fs_) or an API token (fg_): the prefix, 43 random characters, 6 of checksum.';
--! EndIncluded 20_tenancy/secrets.sql
--! Included 20_tenancy/tables.sql
-- kind: state
-- Users belong to organizations; every other tenant table carries organization_id.

create table public.users (
  id uuid not null default engine.uuid_v7(),
  name text not null,
  email text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  email_verified_at timestamptz,
  global_role text not null default 'user',
  deleted_at timestamptz,
  constraint users_pkey primary key (id),
  constraint users_global_role_check check (global_role in ('user', 'super_admin')),
  constraint users_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint users_email_check check (email ~ '^[^@\s]+@[^@\s]+$' and length(email) <= 254)
);
-- Among the verified only: whoever writes down somebody else's address must not keep him out, nor learn of him.
create unique index users_email_key on public.users (lower(email)) where email_verified_at is not null;
alter table public.users enable row level security;

comment on table public.users is 'A person. Visible to the members of the same organization.';
comment on column public.users.id is 'UUIDv7.';
comment on column public.users.name is 'Shown to other members, at most 200 characters.';
comment on column public.users.email is 'Once verified, unique whatever its case.';
comment on column public.users.created_at is 'When the account was created.';
comment on column public.users.updated_at is 'When name or email last changed.';
comment on column public.users.email_verified_at is 'When the address was proved to be theirs; null until then.';
comment on column public.users.global_role is 'user, or super_admin: runs the installation, sees no tenant''s work.';
comment on column public.users.deleted_at is 'When the account was deleted; the row stays, without name and address, for what refers to it.';

create table public.organizations (
  id uuid not null default engine.uuid_v7(),
  name text not null,
  slug text not null,
  webhook_key text not null default private.random_secret(16),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  description text,
  deleted_at timestamptz,
  constraint organizations_pkey primary key (id),
  constraint organizations_slug_key unique (slug),
  constraint organizations_webhook_key_key unique (webhook_key),
  constraint organizations_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint organizations_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$' and length(slug) <= 63),
  constraint organizations_slug_reserved_check check (
    slug <> all (array[
      'about', 'admin', 'api', 'app', 'assets', 'auth', 'billing', 'docs', 'flowgres', 'graphql', 'health', 'healthz',
      'help', 'hooks', 'login', 'logout', 'metrics', 'new', 'null', 'register', 'root', 'settings', 'static', 'status',
      'support', 'system', 'test', 'undefined', 'users', 'webhooks', 'www'
    ])
  ),
  constraint organizations_description_check check (length(description) <= 5000),
  constraint organizations_webhook_key_check check (webhook_key ~ '^[A-Za-z0-9_-]{22}$')
);
create index organizations_deleted_at_idx on public.organizations (deleted_at) where deleted_at is not null;
alter table public.organizations enable row level security;

comment on table public.organizations is 'A tenant: whatever belongs to an organization is invisible to every other one.';
comment on column public.organizations.id is 'UUIDv7.';
comment on column public.organizations.name is 'At most 200 characters.';
comment on column public.organizations.slug is
  'Unique short name: 2 to 63 lower-case letters and digits with single hyphens between them, for example acme-eu.';
comment on column public.organizations.webhook_key is
  'The unguessable part of its webhook addresses: /hooks/<webhook key>/<path>.';
comment on column public.organizations.created_at is 'When it was created.';
comment on column public.organizations.updated_at is 'When it last changed.';
comment on column public.organizations.description is 'Free text, at most 5,000 characters.';
comment on column public.organizations.deleted_at is 'When it was deleted; an owner can restore it for 30 days.';

create table public.organization_users (
  organization_id uuid not null,
  user_id uuid not null,
  role text not null default 'member',
  created_at timestamptz not null default now(),
  invited_by uuid,
  constraint organization_users_pkey primary key (organization_id, user_id),
  constraint organization_users_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint organization_users_user_id_fkey
    -- A deleted row must not leave an organization without an owner: delete_user takes care, and keeps the row.
    foreign key (user_id) references public.users (id) on delete restrict,
  constraint organization_users_invited_by_fkey
    foreign key (invited_by) references public.users (id) on delete set null,
  constraint organization_users_role_check check (role in ('owner', 'admin', 'member'))
);
create index organization_users_user_id_idx on public.organization_users (user_id);
create index organization_users_invited_by_idx on public.organization_users (invited_by);
alter table public.organization_users enable row level security;

comment on table public.organization_users is 'Membership: who belongs to which organization, in which role.';
comment on column public.organization_users.organization_id is 'The organization.';
comment on column public.organization_users.user_id is 'The member.';
comment on column public.organization_users.role is 'owner, admin or member.';
comment on column public.organization_users.created_at is 'When the user joined.';
comment on column public.organization_users.invited_by is 'Who invited them; null for the founder.';
--! EndIncluded 20_tenancy/tables.sql
--! Included 20_tenancy/team_tables.sql
-- kind: state
-- Teams are parts of an organization, invitations the way into one. Who leaves the organization leaves its teams: the
-- foreign keys see to it.

create table public.teams (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  name text not null,
  slug text not null,
  description text,
  color text not null default '#3b82f6',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint teams_pkey primary key (id),
  constraint teams_organization_id_id_key unique (organization_id, id),
  constraint teams_organization_id_slug_key unique (organization_id, slug),
  constraint teams_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint teams_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint teams_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$' and length(slug) <= 63),
  constraint teams_description_check check (length(description) <= 5000),
  constraint teams_color_check check (color ~ '^#[0-9a-f]{6}$')
);
alter table public.teams enable row level security;

comment on table public.teams is 'A part of an organization, such as a department. Visible to all of its members.';
comment on column public.teams.id is 'UUIDv7.';
comment on column public.teams.organization_id is 'The organization that it is part of.';
comment on column public.teams.name is 'At most 200 characters.';
comment on column public.teams.slug is 'Short name, unique in the organization: lower-case letters and digits with single hyphens between them.';
comment on column public.teams.description is 'Free text, at most 5,000 characters.';
comment on column public.teams.color is 'As #rrggbb in lower case, for editors.';
comment on column public.teams.created_at is 'When it was created.';
comment on column public.teams.updated_at is 'When it last changed.';

create table public.team_users (
  organization_id uuid not null,
  team_id uuid not null,
  user_id uuid not null,
  role text not null default 'member',
  added_by uuid,
  created_at timestamptz not null default now(),
  constraint team_users_pkey primary key (organization_id, team_id, user_id),
  constraint team_users_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete cascade,
  constraint team_users_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete cascade,
  constraint team_users_added_by_fkey
    foreign key (added_by) references public.users (id) on delete set null,
  constraint team_users_role_check check (role in ('admin', 'member'))
);
create index team_users_member_idx on public.team_users (organization_id, user_id);
create index team_users_added_by_idx on public.team_users (added_by);
alter table public.team_users enable row level security;

comment on table public.team_users is 'Who is in which team.';
comment on column public.team_users.organization_id is 'The organization of the team.';
comment on column public.team_users.team_id is 'The team.';
comment on column public.team_users.user_id is 'A member of the organization.';
comment on column public.team_users.role is 'admin (changes the team and who is in it) or member.';
comment on column public.team_users.added_by is 'Who added them.';
comment on column public.team_users.created_at is 'When they were added.';

create table public.invitations (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  email text not null,
  role text not null default 'member',
  invited_by uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz,
  constraint invitations_pkey primary key (id),
  constraint invitations_organization_id_id_key unique (organization_id, id),
  constraint invitations_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint invitations_invited_by_fkey
    foreign key (invited_by) references public.users (id) on delete set null,
  constraint invitations_email_check check (email ~ '^[^@\s]+@[^@\s]+$' and length(email) <= 254),
  constraint invitations_role_check check (role in ('owner', 'admin', 'member')),
  constraint invitations_one_end_check check (accepted_at is null or revoked_at is null)
);
create unique index invitations_open_key on public.invitations (organization_id, lower(email))
  where accepted_at is null and revoked_at is null;
create index invitations_invited_by_idx on public.invitations (invited_by);
alter table public.invitations enable row level security;

comment on table public.invitations is
  'Who was asked to join, as what, and what became of it. One address has one open invitation per organization.';
comment on column public.invitations.id is 'UUIDv7.';
comment on column public.invitations.organization_id is 'The organization to join.';
comment on column public.invitations.email is 'The address that the code was sent to; only its owner can accept.';
comment on column public.invitations.role is 'The role that they get: owner, admin or member.';
comment on column public.invitations.invited_by is 'Who invited them.';
comment on column public.invitations.created_at is 'When it was sent.';
comment on column public.invitations.expires_at is 'When its code ends: after 7 days.';
comment on column public.invitations.accepted_at is 'When it was accepted.';
comment on column public.invitations.revoked_at is 'When it was revoked, or replaced by a newer one.';

create table private.invitation_codes (
  organization_id uuid not null,
  invitation_id uuid not null,
  code_hash bytea not null,
  constraint invitation_codes_pkey primary key (organization_id, invitation_id),
  constraint invitation_codes_code_hash_key unique (code_hash),
  constraint invitation_codes_invitation_fkey
    foreign key (organization_id, invitation_id) references public.invitations (organization_id, id) on delete cascade,
  constraint invitation_codes_code_hash_check check (length(code_hash) = 32)
);
alter table private.invitation_codes enable row level security;
comment on table private.invitation_codes is 'The SHA-256 of the codes of invitations.';
--! EndIncluded 20_tenancy/team_tables.sql
--! Included 20_tenancy/secret_tables.sql
-- kind: state
-- How people and programs prove who they are. Of every secret there is only a hash, and of every address that is
-- counted too.

create table private.passwords (
  user_id uuid not null,
  hash text not null,
  changed_at timestamptz not null,
  constraint passwords_pkey primary key (user_id),
  constraint passwords_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade,
  constraint passwords_hash_check
    check (hash ~ '^\$scrypt\$ln=\d{1,2},r=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$')
);
alter table private.passwords enable row level security;
comment on table private.passwords is
  'The SHA-256 of what scrypt makes of a password, with scrypt''s parameters and salt: neither this table nor the API''s role is enough to log in.';

create table private.identities (
  issuer text not null,
  subject text not null,
  user_id uuid not null,
  created_at timestamptz not null,
  constraint identities_pkey primary key (issuer, subject),
  constraint identities_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade
);
create index identities_user_id_idx on private.identities (user_id);
alter table private.identities enable row level security;
comment on table private.identities is 'Which user the subject of an external identity provider is.';

create table private.email_codes (
  id uuid not null default engine.uuid_v7(),
  purpose text not null,
  email text not null,
  user_id uuid,
  name text,
  password_hash text,
  code_hash bytea not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  constraint email_codes_pkey primary key (id),
  constraint email_codes_code_hash_key unique (code_hash),
  constraint email_codes_user_id_fkey foreign key (user_id) references public.users (id) on delete cascade,
  constraint email_codes_purpose_check check (purpose in ('register', 'change', 'reset', 'none')),
  constraint email_codes_code_hash_check check (length(code_hash) = 32)
);
create index email_codes_user_id_idx on private.email_codes (user_id);
create index email_codes_email_idx on private.email_codes (lower(email), created_at);
create index email_codes_expires_at_idx on private.email_codes (expires_at);
alter table private.email_codes enable row level security;
comment on table private.email_codes is
  'Codes sent by e-mail. A registration waits here, with name and password, until its address is verified: only then there is a user. Purpose none stands for a mail that could not be sent, so that both take the same time.';

create table private.throttles (
  key bytea not null,
  used int not null,
  resets_at timestamptz not null,
  constraint throttles_pkey primary key (key)
);
create index throttles_resets_at_idx on private.throttles (resets_at);
alter table private.throttles enable row level security;
comment on table private.throttles is 'Attempts in a stretch of time, by the SHA-256 of what is counted: an address, a network, both.';

create table private.outbox (
  id uuid not null default engine.uuid_v7(),
  recipient text not null,
  subject text not null,
  body text,
  created_at timestamptz not null,
  run_at timestamptz not null,
  attempts int not null default 0,
  error text,
  sent_at timestamptz,
  constraint outbox_pkey primary key (id),
  -- The body has a code in it: it goes with the mail.
  constraint outbox_body_matches_sent_at_check check (body is null or sent_at is null)
);
create index outbox_unsent_idx on private.outbox (run_at) where sent_at is null;
create index outbox_created_at_idx on private.outbox (created_at);
alter table private.outbox enable row level security;
comment on table private.outbox is 'E-mails, written in the transaction that they are about and delivered by the worker.';

create table private.sessions (
  id uuid not null default engine.uuid_v7(),
  token_hash bytea not null,
  user_id uuid,
  organization_id uuid,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  kind text not null default 'context',
  last_seen_at timestamptz,
  user_agent text,
  ip_prefix cidr,
  constraint sessions_pkey primary key (id),
  constraint sessions_token_hash_key unique (token_hash),
  constraint sessions_user_id_fkey
    foreign key (user_id) references public.users (id) on delete cascade,
  constraint sessions_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- Who leaves an organization stays logged in, outside of it.
  constraint sessions_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete set null (organization_id),
  constraint sessions_kind_check check (kind in ('login', 'identity', 'context')),
  constraint sessions_subject_check check (user_id is not null or organization_id is not null),
  constraint sessions_user_agent_check check (length(user_agent) <= 200),
  constraint sessions_token_hash_check check (length(token_hash) = 32)
);
create index sessions_user_id_idx on private.sessions (user_id);
create index sessions_organization_id_user_id_idx on private.sessions (organization_id, user_id);
create index sessions_expires_at_idx on private.sessions (expires_at);
alter table private.sessions enable row level security;

comment on table private.sessions is
  'A person who logged in, by password or by an identity provider, or a DBA''s psql session after set_context (then user_id may be null). May do all its user may.';
comment on column private.sessions.organization_id is 'The active organization; null until one is chosen.';

create table private.api_tokens (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  user_id uuid,
  name text not null,
  prefix text not null,
  token_hash bytea not null,
  scopes text[] not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  suspended_at timestamptz,
  constraint api_tokens_pkey primary key (id),
  constraint api_tokens_token_hash_key unique (token_hash),
  constraint api_tokens_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  -- A token dies with the membership of the user who made it.
  constraint api_tokens_member_fkey
    foreign key (organization_id, user_id) references public.organization_users (organization_id, user_id)
    on delete cascade,
  constraint api_tokens_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint api_tokens_scopes_check check (cardinality(scopes) > 0),
  constraint api_tokens_token_hash_check check (length(token_hash) = 32)
);
create index api_tokens_organization_id_user_id_idx on private.api_tokens (organization_id, user_id);
alter table private.api_tokens enable row level security;

comment on table private.api_tokens is 'Secrets for programs, of one organization, limited to scopes; a null user_id is the organization''s own token.';
comment on column private.api_tokens.prefix is 'The first characters of the secret, to recognize it by.';
comment on column private.api_tokens.suspended_at is 'Set while its organization is deleted: a join in each request would cost more.';
--! EndIncluded 20_tenancy/secret_tables.sql
--! Included 20_tenancy/types.sql
-- kind: state
-- What a request is, and what the functions about secrets answer with.

-- Who a request is: either session_id or scopes is null.
create type private.context as (
  organization_id uuid,
  user_id uuid,
  scopes text[],
  session_id uuid,
  token_id uuid
);

create type public.api_token as (
  id uuid,
  name text,
  prefix text,
  scopes text[],
  user_id uuid,
  created_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
comment on type public.api_token is 'An API token without its secret.';
comment on column public.api_token.id is 'UUIDv7.';
comment on column public.api_token.name is 'What it is for.';
comment on column public.api_token.prefix is 'The first characters of the secret, to recognize it by.';
comment on column public.api_token.scopes is 'What it may do.';
comment on column public.api_token.user_id is 'The user it acts as; null for the organization''s own token.';
comment on column public.api_token.created_at is 'When it was created.';
comment on column public.api_token.expires_at is 'When it ends by itself; null when it does not.';
comment on column public.api_token.revoked_at is 'When it was revoked.';
comment on column public.api_token.last_used_at is 'When a request last came with it, to the minute.';

create type public.new_api_token as (
  secret text,
  token public.api_token
);
comment on type public.new_api_token is 'A new API token with its secret.';
comment on column public.new_api_token.secret is 'To be sent as "Authorization: Bearer <secret>". It is never shown again.';
comment on column public.new_api_token.token is 'The token.';

create type public.session as (
  id uuid,
  kind text,
  is_current boolean,
  created_at timestamptz,
  expires_at timestamptz,
  last_seen_at timestamptz,
  user_agent text,
  ip_prefix text
);
comment on type public.session is 'Where somebody is logged in.';
comment on column public.session.id is 'UUIDv7.';
comment on column public.session.kind is 'login (a password), identity (an identity provider) or context (a DBA, in psql).';
comment on column public.session.is_current is 'Whether it is the one that asks.';
comment on column public.session.created_at is 'When it began.';
comment on column public.session.expires_at is 'When it ends by itself.';
comment on column public.session.last_seen_at is 'When a request last came with it, to the minute.';
comment on column public.session.user_agent is 'What the client said it is, at most 200 characters.';
comment on column public.session.ip_prefix is 'The network that it began in: 24 bits of an IPv4 address, 48 of an IPv6 one.';

create type public.new_session as (
  secret text,
  expires_at timestamptz,
  user_id uuid,
  organization_id uuid
);
comment on type public.new_session is 'A session that has just begun, with its secret.';
comment on column public.new_session.secret is 'To be sent as "Authorization: Bearer <secret>". It is never shown again.';
comment on column public.new_session.expires_at is 'When the session ends by itself.';
comment on column public.new_session.user_id is 'Who logged in.';
comment on column public.new_session.organization_id is 'The active organization: the one that was active last, else the one joined first; null without any.';

create type public.new_invitation as (
  code text,
  invitation public.invitations
);
comment on type public.new_invitation is 'A new invitation with its code.';
comment on column public.new_invitation.code is 'For accept_invitation. It was sent to the address, and is never shown again.';
comment on column public.new_invitation.invitation is 'The invitation.';

grant usage on type
  public.api_token, public.new_api_token, public.session, public.new_session, public.new_invitation
  to flowgres_user, flowgres_dba, flowgres_api;
--! EndIncluded 20_tenancy/types.sql
--! Included 20_tenancy/context.sql
-- kind: code
-- The request context. A request carries one secret: the setting flowgres.session is the hex SHA-256 of a session's or
-- an API token's secret. A setting that names an organization is never believed: any role can set any setting.

-- Policies call this for every query, so every microsecond counts: two lookups in PL/pgSQL take a third of the time
-- that one union in SQL took, and a regular expression on the setting would double it.
create or replace function private.context()
  returns private.context
  language plpgsql
  stable
as $$
declare
  v_setting constant text := current_setting('flowgres.session', true);
  v_hash bytea;
  v_context private.context;
begin
  if v_setting is null or length(v_setting) <> 64 then
    return null;
  end if;
  v_hash := decode(v_setting, 'hex');

  select t.organization_id, t.user_id, t.scopes, null, t.id
  into v_context
  from private.api_tokens as t
  where t.token_hash = v_hash
    and t.revoked_at is null
    and t.suspended_at is null
    and (t.expires_at is null or t.expires_at > engine.now());
  if found then
    return v_context;
  end if;

  select s.organization_id, s.user_id, null, s.id, null
  into v_context
  from private.sessions as s
  where s.token_hash = v_hash and s.revoked_at is null and s.expires_at > engine.now();
  if found then
    return v_context;
  end if;
  return null;
end
$$;
comment on function private.context() is
  'What the request''s secret stands for; null when it is unknown, expired or revoked, or of a deleted organization.';

create or replace function public.current_organization_id()
  returns uuid
  language plpgsql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  return (private.context()).organization_id;
end
$$;
comment on function public.current_organization_id() is
  'The organization that the request acts for; null without a valid token. Policies compare with it.';

create or replace function public.current_user_id()
  returns uuid
  language plpgsql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  return (private.context()).user_id;
end
$$;
comment on function public.current_user_id() is
  'The user of the request; null without a valid token, and for a token that belongs to the organization itself.';

create or replace function private.is_dba()
  returns boolean
  language sql
  stable
as $$
  select
    coalesce(current_setting('flowgres.session', true), '') = ''
    and pg_has_role(session_user, 'flowgres_dba', 'member')
$$;
comment on function private.is_dba() is 'Whether a DBA calls without a context: session_user is a member of flowgres_dba.';

create or replace function private.acting_organization(p_organization uuid default null)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := public.current_organization_id();
begin
  if v_organization_id is not null then
    if p_organization <> v_organization_id then
      perform private.raise_error('NOT_FOUND', 'There is no such object in this organization.');
    end if;
    return v_organization_id;
  end if;
  if p_organization is null or not private.is_dba() then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'This needs an organization to act for.',
      'Send a valid API token as "Authorization: Bearer …"; in psql: select set_context(organization, user).'
    );
  end if;
  return p_organization;
end
$$;
comment on function private.acting_organization(uuid) is
  'The organization that a command acts for: the context''s; a DBA without a context names it. Raises UNAUTHENTICATED, NOT_FOUND.';

create or replace function private.has_scope(p_scope text)
  returns boolean
  language plpgsql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.context();
begin
  if v_context.session_id is not null then
    return true;
  elsif v_context.scopes is null then
    return private.is_dba();
  end if;
  return p_scope = any (v_context.scopes) or regexp_replace(p_scope, ':read$', ':write') = any (v_context.scopes);
end
$$;
comment on function private.has_scope(text) is
  'Whether the request may: sessions and DBAs may all, a token what its scopes say; a :write scope includes its :read.';

create or replace function private.require_scope(p_scope text)
  returns void
  language plpgsql
  stable
as $$
begin
  if not private.has_scope(p_scope) then
    perform private.raise_error(
      'FORBIDDEN',
      format('The token lacks the scope %s.', p_scope),
      'Create a token with this scope: create_api_token(name, scopes, expires_at).',
      jsonb_build_object('scope', p_scope)
    );
  end if;
end
$$;
comment on function private.require_scope(text) is 'Raises FORBIDDEN when the request''s token lacks the scope.';

create or replace function public.set_context(organization uuid, "user" uuid default null)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because it opens a row in private.sessions
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_hash constant bytea := private.hash_secret(private.random_secret(32));
begin
  if organization is null and "user" is null then
    perform private.raise_error(
      'NOT_FOUND', 'There is no such organization.', 'To end the context of this session: reset flowgres.session'
    );
  end if;
  insert into private.sessions (token_hash, user_id, organization_id, expires_at)
  values (v_hash, "user", organization, engine.now() + interval '8 hours');
  perform set_config('flowgres.session', encode(v_hash, 'hex'), false);
  return organization;
exception
  when foreign_key_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such organization, or the user is not a member of it.');
    return null;
end
$$;
comment on function public.set_context(uuid, uuid) is
  'For DBAs: makes this psql session act for an organization, and as a user, for 8 hours; reset flowgres.session ends that. Raises NOT_FOUND. Example: select set_context(id) from organizations where slug = ''demo'';';

grant execute on function public.current_organization_id(), public.current_user_id()
  to flowgres_user, flowgres_anonymous, flowgres_dba, flowgres_api;
grant execute on function private.has_scope(text) to flowgres_user;
grant execute on function public.set_context(uuid, uuid) to flowgres_dba;
--! EndIncluded 20_tenancy/context.sql
--! Included 20_tenancy/roles.sql
-- kind: code
-- Who may do what: roles of members, people and tokens, and the lock that commands on members take.

create or replace function private.acting_person()
  returns private.context
  language plpgsql
  stable
as $$
declare
  v_context constant private.context := private.context();
begin
  if v_context.token_id is not null then
    perform private.raise_error('FORBIDDEN', 'Only a person who is logged in can do this, not a token.', 'Log in.');
  elsif v_context.user_id is null then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'Only a person who is logged in can do this.',
      'Log in; in psql: select set_context(null, user).'
    );
  end if;
  return v_context;
end
$$;
comment on function private.acting_person() is
  'The context of a person who is logged in. Raises UNAUTHENTICATED, and FORBIDDEN for a token.';

create or replace function private.require_role(p_role text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_roles constant text[] := '{member,admin,owner}';
  v_context constant private.context := private.context();
  v_role text;
begin
  if v_context.user_id is null and (v_context.token_id is null or p_role <> 'owner') then
    return; -- an organization's own token is bound by its scopes and owns nothing, a DBA is bound by nothing
  end if;
  select m.role into v_role
  from public.organization_users as m
  where m.organization_id = v_context.organization_id and m.user_id = v_context.user_id;
  if v_role is null or array_position(v_roles, v_role) < array_position(v_roles, p_role) then
    perform private.raise_error(
      'FORBIDDEN',
      format('This needs the role %s in the organization.', p_role),
      'Ask an owner or admin of the organization.',
      jsonb_build_object('role', p_role)
    );
  end if;
end
$$;
comment on function private.require_role(text) is
  'Raises FORBIDDEN when the request''s user ranks below the role (member, admin, owner). Call it after acting_organization.';

create or replace function private.require_power_over(p_role text)
  returns void
  language plpgsql
  stable
as $$
begin
  perform private.require_role(case p_role when 'owner' then 'owner' else 'admin' end);
end
$$;
comment on function private.require_power_over(text) is
  'Who may give or take a role: admins, but owner only owners. Raises FORBIDDEN.';

create or replace function private.check_role(p_role text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_role is null or p_role not in ('owner', 'admin', 'member') then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such role.', 'Roles: owner, admin, member.', '{"field": "role"}'
    );
  end if;
end
$$;

-- Of two commands on one organization's members the second sees what the first did: two owners who leave at once do not
-- both see the other one stay. Starting a run does not wait for it.
create or replace function private.lock_organization(p_id uuid)
  returns public.organizations
  language plpgsql
  volatile
as $$
declare
  v_organization public.organizations;
begin
  select o.* into v_organization
  from public.organizations as o
  where o.id = p_id and o.deleted_at is null
  for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  return v_organization;
end
$$;
comment on function private.lock_organization(uuid) is
  'The organization, locked against other changes of it and its members. Raises NOT_FOUND.';

create or replace function private.purge_grace()
  returns interval
  language sql
  immutable
  parallel safe
as $$
  select interval '30 days'
$$;
comment on function private.purge_grace() is 'For how long a deleted organization can be restored.';

create or replace function private.require_owner(p_organization_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  if not exists (
    select from public.organization_users as m
    where m.organization_id = p_organization_id and m.role = 'owner'
  ) then
    perform private.raise_error(
      'CONFLICT',
      'The organization would be left without an owner.',
      'Make somebody else an owner first: transfer_ownership(to_user), or delete the organization.',
      '{"reason": "last owner"}'
    );
  end if;
end
$$;
comment on function private.require_owner(uuid) is
  'What must hold at the end of each change of members, under lock_organization. Raises CONFLICT.';

create or replace function private.is_super_admin()
  returns boolean
  language sql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select
    from private.context() as c
    join public.users as u on u.id = c.user_id
    where c.session_id is not null and u.global_role = 'super_admin'
  )
$$;
comment on function private.is_super_admin() is 'Whether a super admin asks, logged in: a token never has that power.';

create or replace function private.visible_organization_ids()
  returns uuid[]
  language sql
  stable
  security definer -- definer because it looks past the policy of organization_users, and policies call it
  set search_path = pg_catalog, pg_temp
as $$
  select
    case
      when c.session_id is not null and c.user_id is not null
        then array(
          select m.organization_id
          from public.organization_users as m
          join public.organizations as o on o.id = m.organization_id
          where m.user_id = c.user_id and (o.deleted_at is null or m.role = 'owner')
        )
      else array[c.organization_id]
    end
  from private.context() as c
$$;
comment on function private.visible_organization_ids() is
  'A logged-in person sees the organizations to switch between, an owner also those to restore; a token sees its own one only.';

grant execute on function private.visible_organization_ids(), private.is_super_admin() to flowgres_user;
--! EndIncluded 20_tenancy/roles.sql
--! Included 20_tenancy/organizations.sql
-- kind: code
-- A new organization, and who a request is.

create or replace function private.raise_slug_taken(p_slug text)
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'CONFLICT', format('The slug %s is taken.', p_slug), 'Choose another one.', '{"field": "slug"}'
  );
end
$$;

create or replace function private.raise_bad_organization()
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'VALIDATION_FAILED',
    'An organization needs a name of 1 to 200 characters and a slug that is not reserved.',
    'A slug has 2 to 63 lower-case letters and digits, with single hyphens between them.'
  );
end
$$;

create or replace function public.create_organization(name text, slug text)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_organization public.organizations;
begin
  begin
    insert into public.organizations (name, slug)
    values (create_organization.name, create_organization.slug)
    returning * into v_organization;
  exception
    when unique_violation then
      perform private.raise_slug_taken(create_organization.slug);
    when check_violation or not_null_violation then
      perform private.raise_bad_organization();
  end;

  insert into public.organization_users (organization_id, user_id, role)
  values (v_organization.id, v_context.user_id, 'owner');

  update private.sessions as s
  set organization_id = v_organization.id
  where s.id = v_context.session_id and s.organization_id is null;

  return v_organization;
end
$$;
comment on function public.create_organization(text, text) is
  'Creates an organization with the caller as its owner; it becomes the active one of a session that has none. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), CONFLICT (the slug is taken), VALIDATION_FAILED. Example: select * from create_organization(''Acme'', ''acme'');';

create or replace function public.current_organization()
  returns public.organizations
  language sql
  stable
  security definer -- definer because an anonymous request may ask too, and gets null
  set search_path = pg_catalog, pg_temp
as $$
  select o.* from public.organizations as o where o.id = public.current_organization_id()
$$;
comment on function public.current_organization() is
  'The organization that the request acts for; null without a valid token. Example: select slug from current_organization();';

-- A keyword without its schema: call it as public.current_user().
create or replace function public.current_user()
  returns public.users
  language sql
  stable
  security definer -- definer because an anonymous request may ask too, and gets null
  set search_path = pg_catalog, pg_temp
as $$
  select u.* from public.users as u where u.id = public.current_user_id()
$$;
comment on function public.current_user() is
  'The user of the request; null for an anonymous one or an organization''s own token. Example: select name from public.current_user();';

grant execute on function public.create_organization(text, text) to flowgres_user, flowgres_dba;
grant execute on function public.current_organization(), public.current_user()
  to flowgres_user, flowgres_anonymous, flowgres_dba;
--! EndIncluded 20_tenancy/organizations.sql
--! Included 20_tenancy/tokens.sql
-- kind: code
-- API tokens: the secret is shown once, by create_api_token; afterwards only its hash exists.

create or replace function private.scopes()
  returns table (scope text, allows text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('workflows:read',     'read workflows and their versions'),
    ('workflows:write',    'create, change, publish and archive workflows'),
    ('runs:read',          'read runs, their events and logs'),
    ('runs:write',         'start and cancel runs'),
    ('organization:read',  'read the organization, its members and tokens'),
    ('organization:write', 'change the organization, its members and tokens')
$$;

create or replace function private.api_token(p_token private.api_tokens)
  returns public.api_token
  language sql
  immutable
as $$
  select
    p_token.id, p_token.name, p_token.prefix, p_token.scopes, p_token.user_id,
    p_token.created_at, p_token.expires_at, p_token.revoked_at, p_token.last_used_at
$$;

create or replace function public.create_api_token(
  name text,
  scopes text[],
  expires_at timestamptz default null
)
  returns public.new_api_token
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_secret constant text := private.new_secret('fg_');
  -- Nor does what a token makes outlive it.
  v_end constant timestamptz := least(
    create_api_token.expires_at,
    (select t.expires_at from private.api_tokens as t where t.id = (private.context()).token_id)
  );
  v_scope text;
  v_token private.api_tokens;
begin
  perform private.require_scope('organization:write');
  foreach v_scope in array coalesce(scopes, '{}') loop
    if v_scope is null or v_scope not in (select s.scope from private.scopes() as s) then
      perform private.raise_error(
        'VALIDATION_FAILED',
        format('There is no scope %s.', coalesce(v_scope, 'null')),
        'Scopes: ' || (select string_agg(s.scope, ', ') from private.scopes() as s) || '.'
      );
    end if;
    -- A token cannot make a mightier one.
    perform private.require_scope(v_scope);
  end loop;
  if v_end <= engine.now() then
    perform private.raise_error(
      'VALIDATION_FAILED', 'The token would have expired already.', 'Give a later expires_at, or none.'
    );
  end if;

  -- Not while the organization is being deleted: its tokens are suspended, and this one would not be.
  perform from public.organizations as o where o.id = v_organization_id and o.deleted_at is null for share;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  insert into private.api_tokens (organization_id, user_id, name, prefix, token_hash, scopes, expires_at)
  values (
    v_organization_id, public.current_user_id(), create_api_token.name, left(v_secret, 9),
    private.hash_secret(v_secret), create_api_token.scopes, v_end
  )
  returning * into v_token;
  return row(v_secret, private.api_token(v_token));
exception
  when check_violation or not_null_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A token needs a name of 1 to 200 characters and at least one scope.'
    );
    return null;
end
$$;
comment on function public.create_api_token(text, text[], timestamptz) is
  'Creates an API token of the current organization and user, and returns its secret, once. Scopes: workflows:read, workflows:write, runs:read, runs:write, organization:read, organization:write; without expires_at it lasts until revoked, or as long as the token that makes it. It never may more than its maker, now or later: roles are asked at each request, and it ends with the membership. Errors: UNAUTHENTICATED, FORBIDDEN (a scope that the caller lacks), VALIDATION_FAILED. Example: select (create_api_token(''CI'', ''{runs:write}'')).secret;';

create or replace function public.revoke_api_token(id uuid)
  returns public.api_token
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_token private.api_tokens;
begin
  perform private.require_scope('organization:write');
  update private.api_tokens as t
  set revoked_at = coalesce(t.revoked_at, engine.now())
  where t.id = revoke_api_token.id and t.organization_id = v_organization_id
  returning * into v_token;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such token in this organization.');
  end if;
  if v_token.user_id is distinct from public.current_user_id() then
    perform private.require_role('admin');
  end if;
  return private.api_token(v_token);
end
$$;
comment on function public.revoke_api_token(uuid) is
  'Ends a token, one''s own or, as an admin, anyone''s; requests with it are refused within 5 seconds. Repeating it changes nothing. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from revoke_api_token(''0190…'');';

create or replace function public.api_tokens()
  returns setof public.api_token
  language sql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 10
as $$
  select token.*
  from private.api_tokens as t
  cross join lateral private.api_token(t) as token
  cross join private.context() as c
  left join public.organization_users as m on m.organization_id = c.organization_id and m.user_id = c.user_id
  where t.organization_id = c.organization_id
    and private.has_scope('organization:read')
    -- Admins see all, members their own.
    and (c.user_id is null or t.user_id = c.user_id or m.role in ('owner', 'admin'))
  order by t.created_at desc, t.id desc
$$;
comment on function public.api_tokens() is
  'The tokens of the current organization, newest first, without their secrets: all of them for owners and admins, their own for members. Example: select name, prefix, expires_at from api_tokens();';

grant execute on function
  public.create_api_token(text, text[], timestamptz),
  public.revoke_api_token(uuid),
  public.api_tokens()
  to flowgres_user, flowgres_dba;
--! EndIncluded 20_tenancy/tokens.sql
--! Included 20_tenancy/throttle.sql
-- kind: code
-- Counts attempts, exactly, also of clients who try at once. Who calls it commits before the attempt is judged, so that
-- no rollback takes the count back.

create or replace function private.client_prefix()
  returns cidr
  language plpgsql
  stable
as $$
declare
  v_ip inet;
begin
  v_ip := nullif(current_setting('flowgres.client_ip', true), '')::inet;
  return network(set_masklen(v_ip, case family(v_ip) when 4 then 24 else 48 end));
exception
  when invalid_text_representation then
    return null;
end
$$;
comment on function private.client_prefix() is
  'The network of the client, from the setting flowgres.client_ip that the HTTP server makes; null in psql.';

create or replace function private.throttle_key(p_thing text)
  returns bytea
  language sql
  immutable
  parallel safe
as $$
  select private.hash_secret(lower(p_thing))
$$;

create or replace function private.throttle(p_thing text, p_limit int, p_window interval)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_throttle private.throttles;
begin
  insert into private.throttles as t (key, used, resets_at)
  values (private.throttle_key(p_thing), 1, v_now + p_window)
  on conflict (key) do update
  set
    used = case when t.resets_at > v_now then t.used + 1 else 1 end,
    resets_at = case when t.resets_at > v_now then t.resets_at else v_now + p_window end
  returning t.* into v_throttle;
  if v_throttle.used > p_limit then
    perform private.raise_error(
      'RATE_LIMITED',
      'Too many attempts.',
      'Try again later.',
      jsonb_build_object('retryAfterMs', ceil(extract(epoch from v_throttle.resets_at - v_now) * 1000)::bigint)
    );
  end if;
end
$$;
comment on function private.throttle(text, int, interval) is
  'Counts one attempt; the p_limit + 1st within p_window of the first raises RATE_LIMITED.';

create or replace function private.forgive(p_thing text)
  returns void
  language sql
  volatile
as $$
  update private.throttles as t set used = greatest(t.used - 1, 0) where t.key = private.throttle_key(p_thing)
$$;
comment on function private.forgive(text) is 'Takes back one attempt, which was no attack.';
--! EndIncluded 20_tenancy/throttle.sql
--! Included 20_tenancy/outbox.sql
-- kind: code
-- E-mails: written in the transaction that they are about, delivered by the worker, at least once.

create or replace function private.send_mail(p_recipient text, p_subject text, p_body text)
  returns void
  language sql
  volatile
as $$
  insert into private.outbox (recipient, subject, body, created_at, run_at, sent_at)
  select
    coalesce(p_recipient, ''), p_subject, case when p_recipient is not null then p_body end,
    n, n, case when p_recipient is null then n end
  from engine.now() as n
$$;
comment on function private.send_mail(text, text, text) is
  'Puts a mail into the outbox. Without a recipient it is written and never sent: an answer takes as long either way.';

create or replace function engine.take_mails(p_limit int default 20)
  returns table (
    id uuid,
    recipient text,
    subject text,
    body text
  )
  language sql
  volatile
  security definer -- definer because the outbox is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with due as materialized (
    select o.id
    from private.outbox as o
    where o.sent_at is null and o.run_at <= engine.now()
    order by o.run_at
    limit p_limit
    for update skip locked
  )
  update private.outbox as o
  set
    attempts = o.attempts + 1,
    -- Also what happens when this worker dies now: half a minute later another one tries.
    run_at = engine.now() + least(interval '30 seconds' * (2 ^ least(o.attempts, 10)), interval '1 hour')
  from due
  where o.id = due.id
  returning o.id, o.recipient, o.subject, o.body
$$;
comment on function engine.take_mails(int) is
  'Mails that are due, for a worker to deliver: taken for 30 seconds, after each failure for twice as long, at most an hour. Example: select recipient, subject from engine.take_mails();';

create or replace function engine.finish_mail(p_id uuid, p_error text default null)
  returns boolean
  language sql
  volatile
  security definer -- definer because the outbox is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with finished as (
    update private.outbox as o
    set
      sent_at = case when p_error is null then engine.now() end,
      body = case when p_error is not null then o.body end,
      error = left(p_error, 1000)
    where o.id = p_id and o.sent_at is null
    returning 1
  )
  select exists (select from finished)
$$;
comment on function engine.finish_mail(uuid, text) is
  'Records that a mail was delivered, and forgets its text, or why it was not. Example: select engine.finish_mail(''0190…'', ''connection refused'');';

create or replace function engine.unsent_mails()
  returns table (
    id uuid,
    recipient text,
    subject text,
    body text,
    created_at timestamptz,
    attempts int,
    error text
  )
  language sql
  stable
  security definer -- definer because the outbox is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select o.id, o.recipient, o.subject, o.body, o.created_at, o.attempts, o.error
  from private.outbox as o
  where o.sent_at is null
  order by o.created_at desc, o.id desc
$$;
comment on function engine.unsent_mails() is
  'For DBAs: mails that wait, newest first, with the codes in them. All of them wait where FLOWGRES_SMTP_URL is not set. Example: select recipient, body from engine.unsent_mails() limit 1;';

grant execute on function engine.take_mails(int), engine.finish_mail(uuid, text) to flowgres_worker;
grant execute on function engine.unsent_mails() to flowgres_dba;
--! EndIncluded 20_tenancy/outbox.sql
--! Included 20_tenancy/email_codes.sql
-- kind: code
-- Codes that prove an address: whoever sends one back has read the mail.

create or replace function private.send_code(
  p_purpose text,
  p_email text,
  p_user_id uuid,
  p_subject text,
  p_text text, -- with %s where the code stands
  p_name text default null,
  p_password_hash text default null
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_code constant text := private.random_secret(16);
  v_sent bigint;
  v_purpose text := p_purpose;
begin
  -- Nobody's mailbox is flooded by us: the sixth mail to an address within an hour is not sent, and nobody is told.
  select count(*) into v_sent
  from private.email_codes as c
  where lower(c.email) = lower(p_email) and c.created_at > v_now - interval '1 hour';
  if v_sent >= 5 then
    v_purpose := 'none';
  end if;
  insert into private.email_codes (
    purpose, email, user_id, name, password_hash, code_hash, created_at, expires_at
  )
  values (
    v_purpose, p_email, p_user_id, p_name, case when v_purpose = 'register' then p_password_hash end,
    private.hash_secret(v_code), v_now,
    v_now + case v_purpose when 'reset' then interval '1 hour' else interval '1 day' end
  );
  perform private.send_mail(
    case when v_purpose <> 'none' or (p_purpose = 'none' and v_sent < 5 and p_text is not null) then p_email end,
    p_subject, format(p_text, v_code)
  );
end
$$;
comment on function private.send_code(text, text, uuid, text, text, text, text) is
  'Mails a code for register, change or reset; for none a text without one. Without a text nothing is sent, which takes as long.';

create or replace function private.take_code(p_code text, p_purposes text[])
  returns private.email_codes
  language plpgsql
  volatile
as $$
declare
  v_code private.email_codes;
begin
  select c.* into v_code
  from private.email_codes as c
  where c.code_hash = private.hash_secret(p_code) and c.purpose = any (p_purposes)
  for update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such code.', 'Copy it as it stands in the mail.');
  elsif v_code.used_at is not null then
    perform private.raise_error(
      'ALREADY_USED', 'The code has been used.', null, jsonb_build_object('usedAt', v_code.used_at)
    );
  elsif v_code.expires_at <= engine.now() then
    perform private.raise_error('EXPIRED', 'The code has expired.', 'Ask for a new one.');
  end if;
  update private.email_codes as c
  set used_at = engine.now(), password_hash = null
  where c.id = v_code.id;
  return v_code;
end
$$;
comment on function private.take_code(text, text[]) is
  'What a code is for; from now on it is used. Raises NOT_FOUND, ALREADY_USED, EXPIRED.';

create or replace function private.check_person(p_name text, p_email text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if btrim(p_name) = '' or length(p_name) > 200 then
    perform private.raise_error('VALIDATION_FAILED', 'A name has 1 to 200 characters.', null, '{"field": "name"}');
  elsif p_email !~ '^[^@\s]+@[^@\s]+$' or length(p_email) > 254 then
    perform private.raise_error('VALIDATION_FAILED', 'This is no e-mail address.', null, '{"field": "email"}');
  end if;
end
$$;
comment on function private.check_person(text, text) is 'Raises VALIDATION_FAILED; nulls pass.';
--! EndIncluded 20_tenancy/email_codes.sql
--! Included 20_tenancy/sessions.sql
-- kind: code
-- Sessions: where somebody is logged in. One that ends sees nothing from that moment on, and is answered 401 within
-- five seconds.

create or replace function private.open_session(
  p_user_id uuid,
  p_kind text,
  p_token_hash bytea,
  p_expires_at timestamptz
)
  returns private.sessions
  language sql
  volatile
as $$
  insert into private.sessions (
    token_hash, user_id, organization_id, kind, created_at, expires_at, last_seen_at, user_agent, ip_prefix
  )
  select
    p_token_hash, p_user_id,
    coalesce(
      (
        select s.organization_id
        from private.sessions as s
        join public.organizations as o on o.id = s.organization_id and o.deleted_at is null
        where s.user_id = p_user_id
        order by s.created_at desc, s.id desc
        limit 1
      ),
      (
        select m.organization_id
        from public.organization_users as m
        join public.organizations as o on o.id = m.organization_id and o.deleted_at is null
        where m.user_id = p_user_id
        order by m.created_at, m.organization_id
        limit 1
      )
    ),
    p_kind, n, p_expires_at, n,
    nullif(left(current_setting('flowgres.user_agent', true), 200), ''), private.client_prefix()
  from engine.now() as n
  returning *
$$;
comment on function private.open_session(uuid, text, bytea, timestamptz) is
  'A new session, in the organization that was active last, else the one joined first.';

create or replace function private.session(p_session private.sessions)
  returns public.session
  language sql
  stable
as $$
  select
    p_session.id, p_session.kind,
    -- Also when it has just been revoked, and the context is gone.
    encode(p_session.token_hash, 'hex') = coalesce(current_setting('flowgres.session', true), ''),
    p_session.created_at, p_session.expires_at, p_session.last_seen_at, p_session.user_agent, p_session.ip_prefix::text
$$;

create or replace function private.end_sessions(p_user_id uuid, p_except uuid default null)
  returns int
  language sql
  volatile
as $$
  with ended as (
    update private.sessions as s
    set revoked_at = engine.now()
    where s.user_id = p_user_id
      and s.id is distinct from p_except
      and s.revoked_at is null
      and s.expires_at > engine.now()
    returning 1
  )
  select count(*)::int from ended
$$;
comment on function private.end_sessions(uuid, uuid) is 'Ends a user''s sessions but one, and returns how many.';

create or replace function public.sessions()
  returns setof public.session
  language sql
  stable
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 10
as $$
  select session.*
  from private.sessions as s
  cross join lateral private.session(s) as session
  where s.user_id = (private.context()).user_id
    and (private.context()).session_id is not null
    and s.revoked_at is null
    and s.expires_at > engine.now()
  order by s.created_at desc, s.id desc
$$;
comment on function public.sessions() is
  'Where the current user is logged in, newest first. A token sees none. Example: select kind, last_seen_at, user_agent from sessions();';

create or replace function public.revoke_session(id uuid)
  returns public.session
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_session private.sessions;
begin
  update private.sessions as s
  set revoked_at = coalesce(s.revoked_at, engine.now())
  where s.id = revoke_session.id and s.user_id = v_context.user_id
  returning * into v_session;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such session of yours.');
  end if;
  return private.session(v_session);
end
$$;
comment on function public.revoke_session(uuid) is
  'Logs out somewhere else. Repeating it changes nothing. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), NOT_FOUND. Example: select revoke_session(id) from sessions() where not is_current;';

create or replace function public.revoke_other_sessions()
  returns int
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
begin
  return private.end_sessions(v_context.user_id, v_context.session_id);
end
$$;
comment on function public.revoke_other_sessions() is
  'Logs out everywhere else, and returns how many sessions that ended. Errors: UNAUTHENTICATED, FORBIDDEN (an API token). Example: select revoke_other_sessions();';

create or replace function public.logout()
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
begin
  update private.sessions as s set revoked_at = engine.now() where s.id = v_context.session_id;
  return true;
end
$$;
comment on function public.logout() is
  'Ends the session that asks. Errors: UNAUTHENTICATED, FORBIDDEN (an API token: see revoke_api_token). Example: select logout();';

grant execute on function
  public.sessions(),
  public.revoke_session(uuid),
  public.revoke_other_sessions(),
  public.logout()
  to flowgres_user, flowgres_dba;
--! EndIncluded 20_tenancy/sessions.sql
--! Included 20_tenancy/last_used.sql
-- kind: code
-- When a secret was last used. Requests do not write it: the server gathers the hashes it has seen and hands them over
-- now and then, so a request that only reads stays one, and is none the slower.

create or replace function engine.record_use(p_hashes text[])
  returns int
  language sql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with seen as materialized (
    select distinct decode(h, 'hex') as token_hash from unnest(p_hashes) as h
  ),
  -- Of two servers that saw the same one, one writes.
  tokens as materialized (
    select t.id
    from private.api_tokens as t
    where t.token_hash in (select s.token_hash from seen as s)
      and (t.last_used_at is null or t.last_used_at <= engine.now() - interval '1 minute')
    for no key update skip locked
  ),
  sessions as materialized (
    select e.id
    from private.sessions as e
    where e.token_hash in (select s.token_hash from seen as s)
      and (e.last_seen_at is null or e.last_seen_at <= engine.now() - interval '1 minute')
    for no key update skip locked
  ),
  used_tokens as (
    update private.api_tokens as t set last_used_at = engine.now()
    from tokens
    where t.id = tokens.id
    returning 1
  ),
  used_sessions as (
    update private.sessions as e set last_seen_at = engine.now()
    from sessions
    where e.id = sessions.id
    returning 1
  )
  select ((select count(*) from used_tokens) + (select count(*) from used_sessions))::int
$$;
comment on function engine.record_use(text[]) is
  'Notes that tokens and sessions, by their hashes in hex, were used now; a row at most once a minute. Returns how many rows it wrote. Example: select engine.record_use(array[current_setting(''flowgres.session'')]);';

grant execute on function engine.record_use(text[]) to flowgres_api;
--! EndIncluded 20_tenancy/last_used.sql
--! Included 20_tenancy/policies.sql
-- kind: code
-- Who sees which row. Every qual is an equality with, or a membership in, something computed once per query.

drop policy if exists users_flowgres_user_select on public.users;
create policy users_flowgres_user_select on public.users
  for select to flowgres_user
  using (
    id = (select public.current_user_id())
    or id = any (array(
      select m.user_id
      from public.organization_users as m
      where m.organization_id = (select public.current_organization_id())
    ))
    or (select private.is_super_admin())
  );

drop policy if exists organizations_flowgres_user_select on public.organizations;
create policy organizations_flowgres_user_select on public.organizations
  for select to flowgres_user
  using (
    id = any ((select private.visible_organization_ids())::uuid[])
    or (select private.is_super_admin())
  );

-- DBAs have to find the organization and the person that they act for; what is inside needs set_context().
drop policy if exists users_flowgres_dba_select on public.users;
create policy users_flowgres_dba_select on public.users for select to flowgres_dba using (true);

drop policy if exists organizations_flowgres_dba_select on public.organizations;
create policy organizations_flowgres_dba_select on public.organizations for select to flowgres_dba using (true);

drop policy if exists organization_users_flowgres_user_select on public.organization_users;
create policy organization_users_flowgres_user_select on public.organization_users
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

drop policy if exists teams_flowgres_user_select on public.teams;
create policy teams_flowgres_user_select on public.teams
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

drop policy if exists team_users_flowgres_user_select on public.team_users;
create policy team_users_flowgres_user_select on public.team_users
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

drop policy if exists invitations_flowgres_user_select on public.invitations;
create policy invitations_flowgres_user_select on public.invitations
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

grant select on
  public.users,
  public.organizations,
  public.organization_users,
  public.teams,
  public.team_users,
  public.invitations
  to flowgres_user, flowgres_dba;
--! EndIncluded 20_tenancy/policies.sql
--! Included 20_tenancy/audit.sql
-- kind: code
-- Who changed what: the one trigger of all tables of configuration. 95_api/audit.sql lists them.

create or replace function private.audit()
  returns trigger
  language plpgsql
  volatile
  security definer -- definer because nobody writes the audit log
  set search_path = pg_catalog, pg_temp
  set timezone = 'UTC'
as $$
declare
  v_old constant jsonb := to_jsonb(OLD);
  v_new constant jsonb := to_jsonb(NEW);
  v_row constant jsonb := coalesce(v_new, v_old);
  v_masked constant text[] := TG_ARGV[1];
  v_digested constant text[] := TG_ARGV[2];
  v_ignored constant text[] := TG_ARGV[3];
  v_context constant private.context := private.context();
  v_entry public.audit_log;
begin
  v_entry.before := private.audit_columns(v_old, v_new, v_masked, v_digested, v_ignored);
  v_entry.after := private.audit_columns(v_new, v_old, v_masked, v_digested, v_ignored);
  if TG_OP = 'UPDATE' and v_entry.after is null then
    return null;
  end if;
  v_entry.at := engine.now();
  v_entry.id := engine.uuid_v7(v_entry.at);
  v_entry.table_name := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
  v_entry.operation := lower(TG_OP);
  v_entry.organization_id := v_row ->> case when TG_RELID = 'public.organizations'::regclass then 'id'
    else 'organization_id' end;
  v_entry.row_key := (
    select jsonb_object_agg(k, v_row -> k) from unnest(TG_ARGV[0]::text[]) as k where v_row is not null
  );
  v_entry.user_id := v_context.user_id;
  v_entry.token_id := v_context.token_id;
  v_entry.session_id := v_context.session_id;
  v_entry.database_role := session_user;
  v_entry.client_address := coalesce(
    left(nullif(current_setting('flowgres.client_address', true), ''), 100), host(inet_client_addr())
  );
  v_entry.request_id := left(nullif(current_setting('flowgres.request_id', true), ''), 100);
  perform private.write_audit(v_entry);
  return null;
end
$$;

create or replace function private.audit_table(
  p_table regclass,
  p_masked text[] default '{}',
  p_digested text[] default '{}',
  p_ignored text[] default '{updated_at}'
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_name record;
  v_key constant text[] := array(
    select a.attname::text
    from pg_index as i
    join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
    where i.indrelid = p_table and i.indisprimary
    order by array_position(i.indkey::int2[], a.attnum)
  );
begin
  select n.nspname as schema, c.relname as name into v_name
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.oid = p_table;
  execute format(
    'create or replace trigger _900_audit after insert or update or delete on %I.%I '
    'for each row execute function private.audit(%L, %L, %L, %L)',
    v_name.schema, v_name.name, v_key, p_masked, p_digested, p_ignored
  );
  execute format(
    'create or replace trigger _900_audit_truncate after truncate on %I.%I '
    'for each statement execute function private.audit(%L, %L, %L, %L)',
    v_name.schema, v_name.name, v_key, p_masked, p_digested, p_ignored
  );
end
$$;
comment on function private.audit_table(regclass, text[], text[], text[]) is
  'Puts a table under audit: values of p_masked are secrets, of p_digested large documents, of which hash and size are kept; an update of p_ignored alone is no change.';

create or replace function private.reads_audit()
  returns boolean
  language sql
  stable
  security definer -- definer because policies call it and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select private.has_scope('organization:read') and (
    c.user_id is null
    or exists (
      select
      from public.organization_users as m
      where m.organization_id = c.organization_id and m.user_id = c.user_id and m.role in ('owner', 'admin')
    )
  )
  from private.context() as c
$$;
comment on function private.reads_audit() is
  'Whether the request may read the logs of its organization: an owner or admin, or the organization''s own token, with the scope organization:read.';

drop policy if exists audit_log_flowgres_user_select on public.audit_log;
create policy audit_log_flowgres_user_select on public.audit_log
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()) and (select private.reads_audit()));
drop policy if exists audit_log_flowgres_dba_select on public.audit_log;
create policy audit_log_flowgres_dba_select on public.audit_log
  for select to flowgres_dba
  using (true);

drop policy if exists api_access_log_flowgres_user_select on public.api_access_log;
create policy api_access_log_flowgres_user_select on public.api_access_log
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()) and (select private.reads_audit()));
drop policy if exists api_access_log_flowgres_dba_select on public.api_access_log;
create policy api_access_log_flowgres_dba_select on public.api_access_log
  for select to flowgres_dba
  using (true);

grant select on public.audit_log, public.api_access_log to flowgres_user, flowgres_dba;
grant execute on function private.reads_audit() to flowgres_user;
--! EndIncluded 20_tenancy/audit.sql
--! Included 20_tenancy/access_log.sql
-- kind: code
-- The server hands over what it served, a batch at a time and after the answers.

create or replace function engine.log_api_requests(p_requests jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because nobody writes the access log, and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_count int;
begin
  insert into public.api_access_log
    (id, organization_id, at, token_id, user_id, operation, status, error_code, ms, request_id)
  select
    -- Of now: the partition of a time that a server with a wrong clock reports may not be there.
    engine.uuid_v7(engine.now()), coalesce(t.organization_id, s.organization_id), r.at, t.id,
    coalesce(t.user_id, s.user_id), left(r.operation, 200), r.status, left(r.error, 100), r.ms, left(r.request_id, 100)
  from jsonb_to_recordset(p_requests)
    as r (session text, at timestamptz, operation text, status int, error text, ms int, request_id text)
  left join private.api_tokens as t on t.token_hash = decode(r.session, 'hex')
  left join private.sessions as s on s.token_hash = decode(r.session, 'hex');
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function engine.log_api_requests(jsonb) is
  'Writes a batch of served requests to api_access_log and returns how many: an array of {"session", "at", "operation", "status", "error", "ms", "request_id"}; session is the hash that the request had, from which token and user are found.';

grant execute on function engine.log_api_requests(jsonb) to flowgres_api;
--! EndIncluded 20_tenancy/access_log.sql
--! Included 20_tenancy/rate_buckets.sql
-- kind: state
-- How many requests each caller may still make. Not logged: after a crash everybody's bucket is full again, and no
-- request waits for a disk.

create unlogged table private.rate_buckets (
  key text not null,
  tokens double precision not null,
  granted int not null,
  filled_at timestamptz not null,
  constraint rate_buckets_pkey primary key (key)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table private.rate_buckets enable row level security;

comment on table private.rate_buckets is
  'A token bucket per API token, or per address of anonymous requests; granted is what the last call got.';
--! EndIncluded 20_tenancy/rate_buckets.sql
--! Included 20_tenancy/rate_limit.sql
-- kind: code
-- The rate limit of requests: a token bucket per caller, for all server processes together.

create or replace function engine.take_tokens(
  p_key text,
  p_wanted int,
  p_per_second double precision,
  p_burst double precision,
  out granted int,
  out retry_after_ms int
)
  language plpgsql
  volatile
  security definer -- definer because the buckets are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_tokens double precision;
begin
  insert into private.rate_buckets as b (key, tokens, granted, filled_at)
  values (p_key, p_burst - least(p_wanted, floor(p_burst)), least(p_wanted, floor(p_burst)), v_now)
  on conflict (key) do update
  set (tokens, granted, filled_at) = (
    select f.tokens - least(p_wanted, floor(f.tokens)), least(p_wanted, floor(f.tokens)), greatest(b.filled_at, v_now)
    from (
      select least(
        p_burst, b.tokens + p_per_second * greatest(0, extract(epoch from v_now - b.filled_at)::double precision)
      ) as tokens
    ) as f
  )
  returning b.granted, b.tokens into granted, v_tokens;
  retry_after_ms := case when granted = 0 then ceil((1 - v_tokens) / p_per_second * 1000) end;
end
$$;
comment on function engine.take_tokens(text, int, double precision, double precision) is
  'Takes up to p_wanted tokens of a bucket that holds p_burst and gains p_per_second: how many there were and, when none, in how many milliseconds there is one. Example: select * from engine.take_tokens(''ip:192.0.2.1'', 1, 10, 100);';

grant execute on function engine.take_tokens(text, int, double precision, double precision) to flowgres_api;
--! EndIncluded 20_tenancy/rate_limit.sql
--! EndIncluded 20_tenancy/index.sql
--! Included 25_plans/index.sql
-- Plans: what an organization may use, what it has used, and the one place where it is refused more.

--! Included 25_plans/tables.sql
-- kind: state
-- Plans with their limits, which organization is on which, and how much it has used.

create table public.plans (
  id uuid not null default engine.uuid_v7(),
  slug text not null,
  name text not null,
  description text,
  price_cents bigint,
  currency text not null default 'EUR',
  billing_interval text not null default 'month',
  interval_count int not null default 1,
  trial_days int not null default 0,
  features jsonb not null default '{}',
  is_public boolean not null default true,
  is_default boolean not null default false,
  sort_order int not null default 0,
  created_at timestamptz not null default now(),
  constraint plans_pkey primary key (id),
  constraint plans_slug_key unique (slug),
  constraint plans_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$'),
  constraint plans_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint plans_price_cents_check check (price_cents >= 0),
  constraint plans_currency_check check (currency ~ '^[A-Z]{3}$'),
  constraint plans_billing_interval_check check (billing_interval in ('day', 'week', 'month', 'year')),
  constraint plans_interval_count_check check (interval_count > 0),
  constraint plans_trial_days_check check (trial_days between 0 and 365),
  constraint plans_features_check check (jsonb_typeof(features) = 'object')
);
create unique index plans_is_default_key on public.plans (is_default) where is_default;
alter table public.plans enable row level security;

comment on table public.plans is
  'What can be subscribed to. A price never changes: a new price is a new plan, so that who has the old one keeps it. Example: select slug, name, price_cents, currency from plans order by sort_order;';
comment on column public.plans.id is 'UUIDv7.';
comment on column public.plans.slug is 'Its short name, for example pro.';
comment on column public.plans.name is 'At most 200 characters.';
comment on column public.plans.description is 'Whom it is for.';
comment on column public.plans.price_cents is 'Price of one billing interval, in hundredths of the currency; null: by agreement.';
comment on column public.plans.currency is 'ISO 4217, for example EUR.';
comment on column public.plans.billing_interval is 'day, week, month or year.';
comment on column public.plans.interval_count is 'How many of them one price pays for.';
comment on column public.plans.trial_days is 'How many days it can be tried without paying; 0: not.';
comment on column public.plans.features is 'What else it has, for pricing pages: nothing here is enforced.';
comment on column public.plans.is_public is 'Whether customers see it and may choose it.';
comment on column public.plans.is_default is 'The one plan of organizations that have no subscription.';
comment on column public.plans.sort_order is 'Lower stands first on a pricing page.';
comment on column public.plans.created_at is 'When it was created.';

create table public.plan_limits (
  plan_id uuid not null,
  metric text not null,
  value bigint,
  constraint plan_limits_pkey primary key (plan_id, metric),
  constraint plan_limits_plan_id_fkey foreign key (plan_id) references public.plans (id) on delete cascade,
  constraint plan_limits_metric_check check (
    metric in ('workflows', 'executions_per_month', 'team_members', 'credentials', 'storage_gb', 'api_calls_per_hour')
  ),
  constraint plan_limits_value_check check (value >= 0)
);
alter table public.plan_limits enable row level security;

comment on table public.plan_limits is 'How much of each metric a plan allows.';
comment on column public.plan_limits.plan_id is 'The plan.';
comment on column public.plan_limits.metric is
  'workflows, executions_per_month, team_members, credentials, storage_gb or api_calls_per_hour.';
comment on column public.plan_limits.value is 'The most of it; null, or no row: unlimited.';

create table public.organization_limits (
  organization_id uuid not null,
  metric text not null,
  value bigint not null,
  constraint organization_limits_pkey primary key (organization_id, metric),
  constraint organization_limits_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint organization_limits_metric_check check (
    metric in ('workflows', 'executions_per_month', 'team_members', 'credentials', 'storage_gb', 'api_calls_per_hour')
  ),
  constraint organization_limits_value_check check (value >= 0)
);
alter table public.organization_limits enable row level security;

comment on table public.organization_limits is 'Limits that an organization has set for itself; the lower one of these and the plan''s counts.';
comment on column public.organization_limits.organization_id is 'The organization.';
comment on column public.organization_limits.metric is 'As in plan_limits.';
comment on column public.organization_limits.value is 'The most of it.';

create table public.team_limits (
  organization_id uuid not null,
  team_id uuid not null,
  metric text not null,
  value bigint not null,
  constraint team_limits_pkey primary key (organization_id, team_id, metric),
  constraint team_limits_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete cascade,
  constraint team_limits_metric_check check (metric in ('workflows', 'executions_per_month', 'team_members')),
  constraint team_limits_value_check check (value >= 0)
);
alter table public.team_limits enable row level security;

comment on table public.team_limits is
  'How much of what the organization may use one of its teams may use; the organization''s limits count as well. Example: select metric, value from team_limits where team_id = ''0190…'';';
comment on column public.team_limits.organization_id is 'The organization of the team.';
comment on column public.team_limits.team_id is 'The team.';
comment on column public.team_limits.metric is
  'workflows (that the team looks after), executions_per_month (of these) or team_members (of the team).';
comment on column public.team_limits.value is 'The most of it.';

create table public.subscriptions (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  plan_id uuid not null,
  status text not null,
  provider text not null default 'manual',
  provider_id text,
  started_at timestamptz not null,
  trial_ends_at timestamptz,
  grace_ends_at timestamptz,
  ended_at timestamptz,
  constraint subscriptions_pkey primary key (id),
  constraint subscriptions_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint subscriptions_plan_id_fkey foreign key (plan_id) references public.plans (id) on delete restrict,
  constraint subscriptions_status_check check (status in ('trialing', 'active', 'past_due', 'canceled', 'expired')),
  constraint subscriptions_ended_at_matches_status_check
    check ((ended_at is not null) = (status in ('canceled', 'expired'))),
  constraint subscriptions_trial_ends_at_check check (status <> 'trialing' or trial_ends_at is not null),
  constraint subscriptions_grace_ends_at_check check ((status = 'past_due') = (grace_ends_at is not null))
);
create unique index subscriptions_current_key on public.subscriptions (organization_id) where ended_at is null;
create index subscriptions_organization_id_idx on public.subscriptions (organization_id, id);
create index subscriptions_plan_id_idx on public.subscriptions (plan_id);
alter table public.subscriptions enable row level security;

comment on table public.subscriptions is
  'Which plan an organization is or was on; at most one has not ended. Without any it has the default plan. Example: select status, trial_ends_at from subscriptions where ended_at is null;';
comment on column public.subscriptions.id is 'UUIDv7.';
comment on column public.subscriptions.organization_id is 'The organization.';
comment on column public.subscriptions.plan_id is 'The plan.';
comment on column public.subscriptions.status is 'trialing, active, past_due; or ended: canceled, expired.';
comment on column public.subscriptions.provider is 'Who collects the money: manual, or a provider''s name.';
comment on column public.subscriptions.provider_id is 'The provider''s id of it.';
comment on column public.subscriptions.started_at is 'When it began.';
comment on column public.subscriptions.trial_ends_at is 'When its trial ends, or ended.';
comment on column public.subscriptions.grace_ends_at is 'Past due: until when everything stays as it was.';
comment on column public.subscriptions.ended_at is 'When it ended; null: it is the current one.';

-- Small and updated all the time: room for new versions of a row on its own page.
create table private.usage_counters (
  organization_id uuid not null,
  metric text not null,
  period_start timestamptz not null,
  used bigint not null,
  owner_id uuid not null,
  team_id uuid generated always as (nullif(owner_id, organization_id)) stored,
  constraint usage_counters_pkey primary key (organization_id, owner_id, metric, period_start),
  constraint usage_counters_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint usage_counters_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete cascade
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index usage_counters_period_start_idx on private.usage_counters (period_start);
create index usage_counters_team_idx on private.usage_counters (organization_id, team_id) where team_id is not null;
alter table private.usage_counters enable row level security;
comment on table private.usage_counters is
  'Where limits are enforced: what was used of a metric in a period, of organizations and teams that have a limit; owner_id is the one or the other. A row with the period -infinity, as levels such as workflows have, is only a lock.';

-- How much of what was asked for may be used.
create type private.admission as (
  organization_id uuid,
  metric text,
  "limit" bigint,
  used bigint,
  period_start timestamptz,
  admitted bigint,
  team_id uuid -- whose limit it is; null: the organization's
);
--! EndIncluded 25_plans/tables.sql
--! Included 25_plans/metrics.sql
-- kind: code
-- What can be limited. Two kinds: levels, such as workflows, are counted when one is to be added, so that their number
-- cannot drift from what is there; flows, such as executions of a month, have a counter for each period, which begins
-- with what was counted when the organization got a limit. Who has none costs nothing.

create or replace function private.metrics()
  returns table (metric text, label text, period text, counter text, is_by_team boolean)
  language sql
  immutable
  parallel safe
as $$
  -- A counter is the name of a function (organization uuid, span tstzrange, team uuid) returning bigint, of whichever
  -- layer knows the things; a level has no use for the span. Without a team it counts the organization's.
  values
    ('workflows', 'workflows', null, 'private.count_workflows', true),
    ('executions_per_month', 'executions a month', 'month', 'engine.count_executions', true),
    ('team_members', 'members', null, 'private.count_members', true),
    ('credentials', 'credentials', null, 'private.count_credentials', false),
    ('storage_gb', 'GB of storage', null, 'private.count_storage_gb', false),
    ('api_calls_per_hour', 'API calls an hour', 'hour', null, false)
$$;

-- The calendar of UTC, whatever the session's time zone; a level has no period.
create or replace function private.metric_period(p_period text, p_at timestamptz)
  returns tstzrange
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_period is null then tstzrange('-infinity', null)
    else tstzrange(
      date_trunc(p_period, p_at, 'UTC'),
      (date_trunc(p_period, p_at at time zone 'UTC') + ('1 ' || p_period)::interval) at time zone 'UTC'
    )
  end
$$;

-- Null where nothing counts such things.
create or replace function private.count_used(
  p_counter text,
  p_organization_id uuid,
  p_span tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language plpgsql
  stable
as $$
declare
  v_counter constant regprocedure := to_regprocedure(p_counter || '(uuid, tstzrange, uuid)');
  v_name record;
  v_count bigint;
begin
  if v_counter is null then
    return null;
  end if;
  select n.nspname as schema, p.proname as name into v_name
  from pg_proc as p
  join pg_namespace as n on n.oid = p.pronamespace
  where p.oid = v_counter;
  execute format('select %I.%I($1, $2, $3)', v_name.schema, v_name.name)
  into v_count
  using p_organization_id, p_span, p_team_id;
  return v_count;
end
$$;
--! EndIncluded 25_plans/metrics.sql
--! Included 25_plans/limits.sql
-- kind: code
-- Which limit applies: that of the current subscription's plan, or of the default plan, or a lower one of its own. What
-- a team does is under its own limit and under the organization's.

create or replace function private.limit_of(p_organization_id uuid, p_metric text, p_team_id uuid default null)
  returns bigint
  language plpgsql
  stable
as $$
begin
  if p_team_id is not null then
    return (
      select l.value
      from public.team_limits as l
      where l.organization_id = p_organization_id and l.team_id = p_team_id and l.metric = p_metric
    );
  end if;
  -- Every start of a run asks this. In PL/pgSQL, and as one query, it takes a quarter of the time.
  return least( -- of those that are not null
    (
      select l.value
      from public.plan_limits as l
      where l.metric = p_metric
        and l.plan_id = coalesce(
          (
            select s.plan_id
            from public.subscriptions as s
            where s.organization_id = p_organization_id and s.ended_at is null
          ),
          (select p.id from public.plans as p where p.is_default)
        )
    ),
    (
      select l.value
      from public.organization_limits as l
      where l.organization_id = p_organization_id and l.metric = p_metric
    )
  );
end
$$;
comment on function private.limit_of(uuid, text, uuid) is
  'The limit that applies to an organization now, or the own one of a team; null: unlimited.';

create or replace function private.limit_error(p_admission private.admission)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'code', 'LIMIT_REACHED',
    'message', format(
      'The %s may have %s %s.',
      case when p_admission.team_id is null then 'organization' else 'team' end, p_admission.limit, m.label
    ),
    'hint', case
      when p_admission.team_id is not null then 'Admins of the organization change it with set_team_limit.'
      when m.period is null then 'Delete or archive what is not needed, or change to a larger plan.'
      else 'Wait until resetAt, or change to a larger plan.'
    end,
    'details', jsonb_build_object(
      'metric', p_admission.metric,
      'limit', p_admission.limit,
      'used', p_admission.used,
      'resetAt', upper(private.metric_period(m.period, p_admission.period_start))
    ) || case
      when p_admission.team_id is null then '{}' else jsonb_build_object('team', p_admission.team_id)
    end
  )
  from private.metrics() as m
  where m.metric = p_admission.metric
$$;
comment on function private.limit_error(private.admission) is
  'How a refusal is told: {"code", "message", "hint", "details"}.';

-- The counter where a limit is enforced, else what there is.
create or replace function private.used_of(
  p_organization_id uuid,
  p_metric text,
  p_span tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select coalesce(
    (
      select c.used
      from private.usage_counters as c
      where c.organization_id = p_organization_id
        and c.owner_id = coalesce(p_team_id, p_organization_id)
        and c.metric = p_metric
        and m.period is not null
        and c.period_start = lower(p_span)
        and (m.counter is null or private.limit_of(p_organization_id, p_metric, p_team_id) is not null)
    ),
    private.count_used(m.counter, p_organization_id, p_span, p_team_id)
  )
  from private.metrics() as m
  where m.metric = p_metric
$$;
--! EndIncluded 25_plans/limits.sql
--! Included 25_plans/admit.sql
-- kind: code
-- Admission: counts and compares in one statement, so that any number of clients at once stay within the limit.
-- Lock order: a counter's row stands for its organization, so it is locked before workflows and runs. A team's comes
-- after the organization's.

create or replace function private.admit_flow(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_start timestamptz,
  p_team_id uuid default null
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_owner_id constant uuid := coalesce(p_team_id, p_organization_id);
  v_admission private.admission := (
    p_organization_id, p_metric, private.limit_of(p_organization_id, p_metric, p_team_id), null, p_start, p_amount,
    p_team_id
  );
begin
  if v_admission.limit is null then
    return v_admission;
  elsif p_team_id is not null then
    -- A batch meets teams in any order: who has the organization's lock never waits for one who waits for it.
    perform private.lock_counter(p_organization_id, p_organization_id, p_metric);
  end if;
  update private.usage_counters as c
  set used = c.used + p_amount
  where c.organization_id = p_organization_id and c.owner_id = v_owner_id and c.metric = p_metric
    and c.period_start = p_start and c.used + p_amount <= v_admission.limit;
  if found then
    return v_admission;
  end if;

  -- It is the first of the period, or there is not room for all: then for as many as there is.
  perform private.begin_counter(p_organization_id, p_metric, p_start, p_team_id);
  select c.used into v_admission.used
  from private.usage_counters as c
  where c.organization_id = p_organization_id and c.owner_id = v_owner_id and c.metric = p_metric
    and c.period_start = p_start
  for no key update;
  v_admission.admitted := least(greatest(v_admission.limit - v_admission.used, 0), p_amount);
  if v_admission.admitted > 0 then
    v_admission.used := v_admission.used + v_admission.admitted;
    update private.usage_counters as c
    set used = c.used + v_admission.admitted
    where c.organization_id = p_organization_id and c.owner_id = v_owner_id and c.metric = p_metric
      and c.period_start = p_start;
  end if;
  return v_admission;
end
$$;

create or replace function private.begin_counter(
  p_organization_id uuid,
  p_metric text,
  p_start timestamptz,
  p_team_id uuid
)
  returns void
  language sql
  volatile
as $$
  insert into private.usage_counters (organization_id, owner_id, metric, period_start, used)
  select
    p_organization_id, coalesce(p_team_id, p_organization_id), p_metric, p_start,
    coalesce(private.count_used(m.counter, p_organization_id, private.metric_period(m.period, p_start), p_team_id), 0)
  from private.metrics() as m
  where m.metric = p_metric
    and not exists (
      select
      from private.usage_counters as c
      where c.organization_id = p_organization_id
        and c.owner_id = coalesce(p_team_id, p_organization_id)
        and c.metric = p_metric
        and c.period_start = p_start
    )
  on conflict on constraint usage_counters_pkey do nothing
$$;

create or replace function private.lock_counter(p_organization_id uuid, p_owner_id uuid, p_metric text)
  returns void
  language sql
  volatile
as $$
  insert into private.usage_counters as c (organization_id, owner_id, metric, period_start, used)
  values (p_organization_id, p_owner_id, p_metric, '-infinity', 0)
  on conflict on constraint usage_counters_pkey do update set used = c.used
$$;

-- The things of the owner are counted under the lock; the number in its row is for nobody.
create or replace function private.admit_level(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_counter text,
  p_team_id uuid default null
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_admission private.admission := (
    p_organization_id, p_metric, private.limit_of(p_organization_id, p_metric, p_team_id), null, null, p_amount,
    p_team_id
  );
begin
  if v_admission.limit is null then
    return v_admission;
  end if;
  perform private.lock_counter(p_organization_id, coalesce(p_team_id, p_organization_id), p_metric);
  -- A statement of its own: it sees what was committed while this one waited.
  v_admission.used := private.count_used(p_counter, p_organization_id, null, p_team_id);
  v_admission.admitted := least(greatest(v_admission.limit - coalesce(v_admission.used, 0), 0), p_amount);
  return v_admission;
end
$$;

create or replace function private.admit_some(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_at timestamptz default engine.now(),
  p_team_id uuid default null
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_metric record;
begin
  select m.* into strict v_metric from private.metrics() as m where m.metric = p_metric;
  if v_metric.period is null then
    return private.admit_level(p_organization_id, p_metric, p_amount, v_metric.counter, p_team_id);
  end if;
  return private.admit_flow(
    p_organization_id, p_metric, p_amount, lower(private.metric_period(v_metric.period, p_at)), p_team_id
  );
end
$$;
comment on function private.admit_some(uuid, text, bigint, timestamptz, uuid) is
  'Admits as many as the limit has room for, and says how many (admitted); counts them. For batches that refuse one by one.';

create or replace function private.admit(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint default 1,
  p_team_id uuid default null
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_admission constant private.admission := private.admit_some(
    p_organization_id, p_metric, p_amount, p_team_id => p_team_id
  );
  v_error jsonb;
begin
  if v_admission.admitted < p_amount then
    v_error := private.limit_error(v_admission);
    perform private.raise_error(
      v_error ->> 'code', v_error ->> 'message', v_error ->> 'hint', v_error -> 'details'
    );
  end if;
end
$$;
comment on function private.admit(uuid, text, bigint, uuid) is
  'Counts, or raises LIMIT_REACHED with details {"metric", "limit", "used", "resetAt"}, of a team also {"team"}. Call it before adding what is counted, in the same transaction: workflows and members are counted under the lock that it takes.';

create or replace function private.release(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_at timestamptz default engine.now(),
  p_team_id uuid default null
)
  returns void
  language sql
  volatile
as $$
  update private.usage_counters as c
  set used = c.used - p_amount
  from private.metrics() as m
  where m.metric = p_metric
    and m.period is not null
    and c.organization_id = p_organization_id
    and c.owner_id = coalesce(p_team_id, p_organization_id)
    and c.metric = p_metric
    and c.period_start = lower(private.metric_period(m.period, p_at))
$$;
comment on function private.release(uuid, text, bigint, timestamptz, uuid) is
  'Gives back what was admitted and not used, in the period of p_at. A level needs none: it is counted anew each time.';

-- After a change of limits: what was used without one was not counted.
create or replace function private.recount(p_organization_id uuid, p_team_id uuid default null)
  returns void
  language sql
  volatile
as $$
  delete from private.usage_counters as c
  using private.metrics() as m
  where c.organization_id = p_organization_id
    and c.owner_id = coalesce(p_team_id, p_organization_id)
    and m.metric = c.metric
    and m.period is not null
    and m.counter is not null
$$;
--! EndIncluded 25_plans/admit.sql
--! Included 25_plans/team_members.sql
-- kind: code
-- The members of an organization or a team, as limits count them. Commands that add one ask private.admit first.

create or replace function private.count_members(
  p_organization_id uuid,
  p_span tstzrange default null,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select case
    when p_team_id is null then (
      select count(*) from public.organization_users as m where m.organization_id = p_organization_id
    )
    else (
      select count(*)
      from public.team_users as m
      where m.organization_id = p_organization_id and m.team_id = p_team_id
    )
  end
$$;
--! EndIncluded 25_plans/team_members.sql
--! Included 25_plans/subscriptions.sql
-- kind: code
-- A subscription moves from state to state as this table allows, whoever moves it: people, the clock, a provider.

create or replace function private.subscription_transitions()
  returns table ("from" text, "to" text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('trialing', 'active'),
    ('trialing', 'canceled'),
    ('trialing', 'expired'),
    ('active', 'past_due'),
    ('active', 'canceled'),
    ('past_due', 'active'),
    ('past_due', 'canceled'),
    ('past_due', 'expired')
$$;
comment on function private.subscription_transitions() is
  'canceled and expired are ends: who comes back gets a new subscription.';

create or replace function private.move_subscription(p_id uuid, p_status text)
  returns public.subscriptions
  language plpgsql
  volatile
as $$
declare
  -- How long everything stays as it was when a payment is missing.
  v_grace constant interval := '14 days';
  v_now constant timestamptz := engine.now();
  v_subscription public.subscriptions;
begin
  select s.* into v_subscription from public.subscriptions as s where s.id = p_id for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such subscription.');
  elsif v_subscription.status = p_status then
    return v_subscription;
  elsif not exists (
    select from private.subscription_transitions() as t where t.from = v_subscription.status and t.to = p_status
  ) then
    perform private.raise_error(
      'CONFLICT',
      format('A subscription that is %s cannot become %s.', v_subscription.status, p_status),
      'private.subscription_transitions() lists what can follow.',
      jsonb_build_object('status', v_subscription.status)
    );
  end if;
  update public.subscriptions as s
  set
    status = p_status,
    ended_at = case when p_status in ('canceled', 'expired') then v_now end,
    grace_ends_at = case when p_status = 'past_due' then v_now + v_grace end
  where s.id = p_id
  returning * into v_subscription;
  return v_subscription;
end
$$;
comment on function private.move_subscription(uuid, text) is
  'Moves a subscription on; to the state that it is in, nothing happens. Raises NOT_FOUND, CONFLICT.';

create or replace function public.set_subscription_status(organization uuid, status text)
  returns public.subscriptions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
begin
  return private.move_subscription(
    (select s.id from public.subscriptions as s where s.organization_id = organization and s.ended_at is null),
    set_subscription_status.status
  );
end
$$;
comment on function public.set_subscription_status(uuid, text) is
  'For DBAs: moves the current subscription to active (paid), past_due (a payment is missing: 14 days of grace), canceled or expired. Errors: NOT_FOUND, CONFLICT (not from its state). Example: select * from set_subscription_status(''0190…'', ''past_due'');';

create or replace function engine.advance_subscriptions()
  returns table (organization_id uuid, status text)
  language sql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
  select moved.organization_id, moved.status
  from public.subscriptions as s
  cross join lateral private.move_subscription(s.id, 'expired') as moved
  where s.ended_at is null
    and (
      (s.status = 'trialing' and s.trial_ends_at <= engine.now())
      or (s.status = 'past_due' and s.grace_ends_at <= engine.now())
    )
$$;
comment on function engine.advance_subscriptions() is
  'Ends trials and days of grace that are over; such an organization has the default plan again. Runs every hour. Example: select * from engine.advance_subscriptions();';

grant execute on function public.set_subscription_status(uuid, text) to flowgres_dba;
grant execute on function engine.advance_subscriptions() to flowgres_maintenance, flowgres_dba;
--! EndIncluded 25_plans/subscriptions.sql
--! Included 25_plans/entitlements.sql
-- kind: code
-- What applies to an organization now, and how much of it is used.

create or replace function private.plan_of(p_organization_id uuid)
  returns uuid
  language sql
  stable
as $$
  select coalesce(
    (
      select s.plan_id
      from public.subscriptions as s
      where s.organization_id = p_organization_id and s.ended_at is null
    ),
    (select p.id from public.plans as p where p.is_default)
  )
$$;

create or replace function private.entitlements(p_organization_id uuid)
  returns table (
    metric text,
    plan_limit bigint,
    own_limit bigint,
    "limit" bigint,
    used bigint,
    period_start timestamptz,
    resets_at timestamptz
  )
  language sql
  stable
as $$
  select
    m.metric,
    p.value,
    o.value,
    least(p.value, o.value),
    private.used_of(p_organization_id, m.metric, span),
    case when m.period is not null then lower(span) end,
    upper(span)
  from private.metrics() as m
  cross join lateral private.metric_period(m.period, engine.now()) as span
  left join public.plan_limits as p on p.plan_id = private.plan_of(p_organization_id) and p.metric = m.metric
  left join public.organization_limits as o on o.organization_id = p_organization_id and o.metric = m.metric
  where p_organization_id is not null
$$;

create or replace function private.current_entitlements()
  returns table (
    metric text,
    plan_limit bigint,
    own_limit bigint,
    "limit" bigint,
    used bigint,
    period_start timestamptz,
    resets_at timestamptz
  )
  language sql
  stable
  security definer -- definer because counters are closed to everybody; it asks for the request's organization only
  set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from private.entitlements(public.current_organization_id()) as e
  where private.has_scope('organization:read')
$$;

create or replace view public.entitlements with (security_invoker = true) as
select
  e.metric, e.plan_limit, e.own_limit, e.limit, e.used, coalesce(e.used > e.limit, false) as is_over,
  e.period_start, e.resets_at
from private.current_entitlements() as e;

comment on view public.entitlements is
  'What the current organization may use, one row per metric, and how much of it is used. Example: select metric, used, "limit", resets_at from entitlements;';
comment on column public.entitlements.metric is 'As in plan_limits.';
comment on column public.entitlements.plan_limit is 'What its plan allows; null: unlimited.';
comment on column public.entitlements.own_limit is 'What it has limited itself to; null: it has not.';
comment on column public.entitlements."limit" is 'What applies: the lower one; null: unlimited.';
comment on column public.entitlements.used is 'How much is used, of this period if there is one; null where it is not counted.';
comment on column public.entitlements.is_over is 'Whether more is used than the limit, as after a change to a smaller plan: then nothing can be added.';
comment on column public.entitlements.period_start is 'When the current period began (UTC); null for what has none.';
comment on column public.entitlements.resets_at is 'When the next one begins.';

create or replace function public.usage(
  organization uuid default null,
  period date default null,
  team uuid default null
)
  returns table (
    metric text,
    used bigint,
    "limit" bigint,
    period_start timestamptz,
    resets_at timestamptz
  )
  language plpgsql
  stable
  security definer -- definer because counters are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 6
as $$
declare
  v_organization_id constant uuid := private.acting_organization(organization);
  v_at constant timestamptz := usage.period::timestamp at time zone 'UTC';
begin
  perform private.require_scope('organization:read');
  if team is not null and not exists (
    select from public.teams as t where t.organization_id = v_organization_id and t.id = team
  ) then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  elsif v_at is not null then
    return query
      select
        m.metric, private.count_used(m.counter, v_organization_id, month, team), null::bigint,
        lower(month), upper(month)
      from private.metrics() as m
      cross join lateral private.metric_period(m.period, v_at) as month
      where m.period = 'month';
  elsif team is not null then
    return query
      select
        m.metric, private.used_of(v_organization_id, m.metric, span, team),
        private.limit_of(v_organization_id, m.metric, team),
        case when m.period is not null then lower(span) end, upper(span)
      from private.metrics() as m
      cross join lateral private.metric_period(m.period, engine.now()) as span
      where m.is_by_team;
  else
    return query
      select e.metric, e.used, e.limit, e.period_start, e.resets_at from private.entitlements(v_organization_id) as e;
  end if;
end
$$;
comment on function public.usage(uuid, date, uuid) is
  'What the organization (by default the current one) has used: now, with its limits; or, with a day, in that day''s month (UTC), of what is counted by the month, as long as its runs are kept. With a team: of this team, with its own limits. Scope: organization:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select metric, used, "limit", resets_at from usage();';

grant select on public.entitlements to flowgres_user;
grant execute on function private.current_entitlements() to flowgres_user;
grant execute on function public.usage(uuid, date, uuid) to flowgres_user, flowgres_dba;
--! EndIncluded 25_plans/entitlements.sql
--! Included 25_plans/change_plan.sql
-- kind: code
-- Changing the plan, and limits of one's own. Nothing is deleted by it: what is over the new limit can only be read.

-- A customer chooses what costs nothing, or tries what can be tried, once. What has to be paid for is changed by who
-- sees the payment: a DBA, or the billing.
create or replace function private.require_choosable(p_plan public.plans, p_organization_id uuid)
  returns void
  language plpgsql
  stable
as $$
begin
  if private.is_dba() then
    return;
  end if;
  perform private.require_role('owner');
  if p_plan.is_default or (p_plan.is_public and p_plan.price_cents = 0) then
    return;
  elsif not p_plan.is_public or p_plan.trial_days = 0 or exists (
    select from public.subscriptions as s
    where s.organization_id = p_organization_id and s.trial_ends_at is not null
  ) then
    perform private.raise_error(
      'FORBIDDEN', format('The plan %s begins with a payment.', p_plan.slug), 'Ask the operator of this installation.'
    );
  end if;
end
$$;

create or replace function private.save_subscription(p_organization_id uuid, p_plan public.plans, p_is_trial boolean)
  returns public.subscriptions
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_subscription public.subscriptions;
begin
  select s.* into v_subscription
  from public.subscriptions as s
  where s.organization_id = p_organization_id and s.ended_at is null
  for no key update;
  if p_plan.is_default then
    return case when found then private.move_subscription(v_subscription.id, 'canceled') end;
  elsif v_subscription.id is null then
    insert into public.subscriptions (organization_id, plan_id, status, started_at, trial_ends_at)
    values (
      p_organization_id, p_plan.id, case when p_is_trial then 'trialing' else 'active' end, v_now,
      case when p_is_trial then v_now + make_interval(days => p_plan.trial_days) end
    )
    returning * into v_subscription;
    return v_subscription;
  end if;
  update public.subscriptions as s
  set plan_id = p_plan.id
  where s.id = v_subscription.id
  returning * into v_subscription;
  if v_subscription.status <> 'active' and not p_is_trial then
    v_subscription := private.move_subscription(v_subscription.id, 'active');
  end if;
  return v_subscription;
end
$$;

create or replace function public.change_plan(plan text, organization uuid default null)
  returns public.subscriptions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization(organization);
  v_plan public.plans;
begin
  perform private.require_scope('organization:write');
  select p.* into v_plan from public.plans as p where p.slug = change_plan.plan;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such plan.', 'plans lists those that can be chosen.');
  end if;
  -- One change at a time; runs can still be inserted.
  perform from public.organizations as o where o.id = v_organization_id for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  perform private.require_choosable(v_plan, v_organization_id);
  perform private.recount(v_organization_id);
  return private.save_subscription(
    v_organization_id, v_plan, not private.is_dba() and v_plan.price_cents is distinct from 0
  );
end
$$;
comment on function public.change_plan(text, uuid) is
  'Puts the organization on a plan, at once: counters go on, limits are the new plan''s, what is over them stays and can only be read. The default plan ends the subscription. An owner may choose what is free, and try, once, what has trial_days; a DBA may choose any plan, which is then active. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from change_plan(''pro'');';

create or replace function private.check_limit(p_metric text, p_value bigint, p_metrics text[])
  returns void
  language plpgsql
  stable
as $$
begin
  if p_metric is null or p_metric <> all (p_metrics) then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'There is no such metric.', 'Metrics: ' || array_to_string(p_metrics, ', ') || '.'
    );
  elsif p_value < 0 then
    perform private.raise_error('INVALID_ARGUMENT', 'A limit is 0 or more; null takes it away.');
  end if;
end
$$;

create or replace function public.set_organization_limit(metric text, value bigint default null)
  returns public.organization_limits
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_limit public.organization_limits;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('owner');
  perform private.check_limit(
    set_organization_limit.metric, value, array(select m.metric from private.metrics() as m)
  );
  perform private.recount(v_organization_id);
  if value is null then
    delete from public.organization_limits as l
    where l.organization_id = v_organization_id and l.metric = set_organization_limit.metric
    returning * into v_limit;
    return v_limit;
  end if;
  insert into public.organization_limits as l (organization_id, metric, value)
  values (v_organization_id, set_organization_limit.metric, set_organization_limit.value)
  on conflict on constraint organization_limits_pkey do update set value = excluded.value
  returning * into v_limit;
  return v_limit;
end
$$;
comment on function public.set_organization_limit(text, bigint) is
  'Limits the organization to less than its plan allows; null takes that away. A higher one changes nothing. For owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT. Example: select * from set_organization_limit(''executions_per_month'', 500);';

grant execute on function public.change_plan(text, uuid), public.set_organization_limit(text, bigint)
  to flowgres_user, flowgres_dba;
--! EndIncluded 25_plans/change_plan.sql
--! Included 25_plans/team_limits.sql
-- kind: code
-- Limits of a team, below the organization's.

create or replace function public.set_team_limit(team uuid, metric text, value bigint default null)
  returns public.team_limits
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_limit public.team_limits;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('admin');
  perform private.check_limit(
    set_team_limit.metric, value, array(select m.metric from private.metrics() as m where m.is_by_team)
  );
  perform from public.teams as t where t.organization_id = v_organization_id and t.id = team for key share;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  end if;
  perform private.recount(v_organization_id, team);
  if value is null then
    delete from public.team_limits as l
    where l.organization_id = v_organization_id and l.team_id = team and l.metric = set_team_limit.metric
    returning * into v_limit;
    return v_limit;
  end if;
  insert into public.team_limits as l (organization_id, team_id, metric, value)
  values (v_organization_id, team, set_team_limit.metric, set_team_limit.value)
  on conflict on constraint team_limits_pkey do update set value = excluded.value
  returning * into v_limit;
  return v_limit;
end
$$;
comment on function public.set_team_limit(uuid, text, bigint) is
  'Limits a team: how many workflows it looks after (workflows), how many runs of these start in a month (executions_per_month), how many members it has (team_members). null takes a limit away. The organization''s limits count as well: a higher one changes nothing. What a team has beyond it stays. Admins of the organization. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID_ARGUMENT. Example: select * from set_team_limit(''0190…'', ''executions_per_month'', 500);';

grant execute on function public.set_team_limit(uuid, text, bigint) to flowgres_user, flowgres_dba;
--! EndIncluded 25_plans/team_limits.sql
--! Included 25_plans/api_calls.sql
-- kind: code
-- The server counts API calls itself and tells once a second, of all its organizations at once.

create or replace function engine.count_api_calls(p_calls jsonb)
  returns table (session text, organization_id uuid, used bigint, "limit" bigint, resets_at timestamptz)
  language plpgsql
  volatile
  security definer -- definer because counters and the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
  -- Losing the last second of counts in a crash is no harm.
  set synchronous_commit = off
as $$
declare
  v_period constant tstzrange := private.metric_period('hour', engine.now());
begin
  insert into private.usage_counters as c (organization_id, owner_id, metric, period_start, used)
  select s.organization_id, s.organization_id, 'api_calls_per_hour', lower(v_period), sum(s.count)
  from private.api_call_sessions(p_calls) as s
  where s.count > 0
  group by s.organization_id
  order by s.organization_id
  on conflict on constraint usage_counters_pkey do update set used = c.used + excluded.used;
  return query
    select
      s.session, s.organization_id,
      coalesce(private.used_of(s.organization_id, 'api_calls_per_hour', v_period), 0),
      private.limit_of(s.organization_id, 'api_calls_per_hour'), upper(v_period)
    from private.api_call_sessions(p_calls) as s;
end
$$;
comment on function engine.count_api_calls(jsonb) is
  'Adds to the API calls of this hour, [{"session", "count"}], and answers what each session''s organization has used and may use. A session without an organization is left out.';

create or replace function private.api_call_sessions(p_calls jsonb)
  returns table (session text, organization_id uuid, count bigint)
  language sql
  stable
as $$
  select r.session, coalesce(t.organization_id, s.organization_id), r.count
  from jsonb_to_recordset(p_calls) as r (session text, count bigint)
  left join private.api_tokens as t on t.token_hash = decode(r.session, 'hex')
  left join private.sessions as s on s.token_hash = decode(r.session, 'hex')
  where coalesce(t.organization_id, s.organization_id) is not null
$$;

grant execute on function engine.count_api_calls(jsonb) to flowgres_api;
--! EndIncluded 25_plans/api_calls.sql
--! Included 25_plans/seeds.sql
-- kind: code
-- The plans of a new installation; what somebody has changed of them stays. Who runs Flowgres for themselves is limited
-- by nothing: the default plan is self-hosted. A service for customers makes another one the default.

insert into public.plans
  (slug, name, description, price_cents, trial_days, is_public, is_default, sort_order)
values
  ('self-hosted', 'Self-hosted', 'Your own installation, without limits.', 0, 0, false, true, 0),
  ('free', 'Free', 'To try things out.', 0, 0, true, false, 10),
  ('pro', 'Pro', 'For teams.', 4900, 14, true, false, 20),
  ('enterprise', 'Enterprise', 'Without limits, by agreement.', null, 0, true, false, 30)
on conflict do nothing;

insert into public.plan_limits (plan_id, metric, value)
select p.id, l.metric, l.value
from (
  values
    ('free', 'workflows', 5),
    ('free', 'executions_per_month', 1000),
    ('free', 'team_members', 2),
    ('free', 'credentials', 5),
    ('free', 'storage_gb', 1),
    ('free', 'api_calls_per_hour', 100),
    ('pro', 'workflows', 100),
    ('pro', 'executions_per_month', 10000),
    ('pro', 'team_members', 10),
    ('pro', 'credentials', 50),
    ('pro', 'storage_gb', 5),
    ('pro', 'api_calls_per_hour', 1000)
) as l (slug, metric, value)
join public.plans as p on p.slug = l.slug
on conflict do nothing;
--! EndIncluded 25_plans/seeds.sql
--! Included 25_plans/policies.sql
-- kind: code
-- Everybody sees what is on offer, an organization its own subscriptions and limits. DBAs keep the plans; a price has
-- no grant, because it never changes.

drop policy if exists plans_flowgres_anonymous_select on public.plans;
create policy plans_flowgres_anonymous_select on public.plans
  for select to flowgres_anonymous
  using (is_public);
drop policy if exists plans_flowgres_user_select on public.plans;
create policy plans_flowgres_user_select on public.plans
  for select to flowgres_user
  using (
    is_public
    or id = any (array(
      select s.plan_id
      from public.subscriptions as s
      where s.organization_id = (select public.current_organization_id())
    ))
  );
drop policy if exists plans_flowgres_dba on public.plans;
create policy plans_flowgres_dba on public.plans to flowgres_dba using (true);

drop policy if exists plan_limits_select on public.plan_limits;
create policy plan_limits_select on public.plan_limits
  for select to flowgres_user, flowgres_anonymous
  using (plan_id = any (array(select p.id from public.plans as p)));
drop policy if exists plan_limits_flowgres_dba on public.plan_limits;
create policy plan_limits_flowgres_dba on public.plan_limits to flowgres_dba using (true);

drop policy if exists organization_limits_flowgres_user_select on public.organization_limits;
create policy organization_limits_flowgres_user_select on public.organization_limits
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (select private.has_scope('organization:read'))
  );
drop policy if exists organization_limits_flowgres_dba on public.organization_limits;
create policy organization_limits_flowgres_dba on public.organization_limits to flowgres_dba using (true);

drop policy if exists team_limits_flowgres_user_select on public.team_limits;
create policy team_limits_flowgres_user_select on public.team_limits
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (select private.has_scope('organization:read'))
  );
drop policy if exists team_limits_flowgres_dba on public.team_limits;
create policy team_limits_flowgres_dba on public.team_limits to flowgres_dba using (true);

drop policy if exists subscriptions_flowgres_user_select on public.subscriptions;
create policy subscriptions_flowgres_user_select on public.subscriptions
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (select private.has_scope('organization:read'))
  );
drop policy if exists subscriptions_flowgres_dba on public.subscriptions;
create policy subscriptions_flowgres_dba on public.subscriptions for select to flowgres_dba using (true);

grant select on public.plans, public.plan_limits to flowgres_user, flowgres_anonymous, flowgres_dba;
grant select on public.organization_limits, public.team_limits, public.subscriptions to flowgres_user, flowgres_dba;
grant
  insert, delete, update (name, description, trial_days, features, is_public, is_default, sort_order)
  on public.plans to flowgres_dba;
grant insert, update, delete on public.plan_limits, public.organization_limits, public.team_limits to flowgres_dba;
--! EndIncluded 25_plans/policies.sql
--! EndIncluded 25_plans/index.sql
--! Included 30_workflows/index.sql
-- Workflows: drafts, published versions, node types, expressions, validation, and the plan that the engine runs.

--! Included 30_workflows/tables.sql
-- kind: state
-- Workflows: a draft that people edit, and immutable published versions, each with the plan that the engine runs.

-- Tags with their organization in front: one index serves every tenant, and a look-up reads the rows of one only. No
-- operator of arrays is leakproof, so under row-level security none reaches an index; search_workflows does it instead.
create function private.tag_keys(p_organization_id uuid, p_tags text[])
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array(select p_organization_id::text || ' ' || t.tag from unnest(p_tags) as t (tag))
$$;

create function private.are_tags(p_tags text[])
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select cardinality(p_tags) <= 20 and coalesce(bool_and(t.tag is not null and length(t.tag) between 1 and 50), true)
  from unnest(p_tags) as t (tag)
$$;

create table public.workflows (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  name text not null,
  description text,
  definition jsonb not null,
  revision int not null default 1,
  published_version int,
  archived_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  tags text[] not null default '{}',
  template text,
  team_id uuid,
  constraint workflows_pkey primary key (id),
  constraint workflows_organization_id_id_key unique (organization_id, id),
  constraint workflows_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint workflows_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete set null (team_id),
  constraint workflows_created_by_fkey
    foreign key (created_by) references public.users (id) on delete set null,
  constraint workflows_name_check check (btrim(name) <> '' and length(name) <= 200),
  constraint workflows_description_check check (length(description) <= 5000),
  constraint workflows_definition_check check (jsonb_typeof(definition) = 'object'),
  constraint workflows_revision_check check (revision > 0),
  constraint workflows_tags_check check (private.are_tags(tags)),
  constraint workflows_template_check check (template in ('organization', 'public'))
);
-- For the orders that lists are read in; backward too.
create index workflows_created_at_idx on public.workflows (organization_id, created_at, id);
create index workflows_name_idx on public.workflows (organization_id, name, id);
create index workflows_team_idx on public.workflows (organization_id, team_id, id);
create index workflows_created_by_idx on public.workflows (created_by);
create index workflows_tags_idx on public.workflows
  using gin (private.tag_keys(organization_id, tags)) with (fastupdate = off);
create index workflows_template_idx on public.workflows (template, organization_id) where template is not null;

comment on table public.workflows is 'A workflow and its draft. What runs is its published version.';
comment on column public.workflows.id is 'UUIDv7.';
comment on column public.workflows.organization_id is 'The organization that owns it.';
comment on column public.workflows.name is 'At most 200 characters.';
comment on column public.workflows.description is 'Free text, at most 5,000 characters.';
comment on column public.workflows.definition is 'The draft: {"nodes", "connections", "settings"}. See docs/nodes.md.';
comment on column public.workflows.revision is 'Counts saves of the draft; pass it to save_workflow so that nobody overwrites another''s change.';
comment on column public.workflows.published_version is 'The version that new runs use; null when not published.';
comment on column public.workflows.archived_at is 'When it was archived; an archived workflow starts no run.';
comment on column public.workflows.created_by is 'The user who created it.';
comment on column public.workflows.created_at is 'When it was created.';
comment on column public.workflows.updated_at is 'When the draft or the publication last changed.';
comment on column public.workflows.tags is 'Sorted, at most 20 of at most 50 characters; search_workflows finds by them.';
comment on column public.workflows.template is
  'Who may copy it: organization (its own members) or public (everybody); null when it is no template.';
comment on column public.workflows.team_id is 'The team that looks after it.';

create table public.workflow_versions (
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  definition jsonb not null,
  message text,
  published_by uuid,
  published_at timestamptz not null default now(),
  constraint workflow_versions_pkey primary key (organization_id, workflow_id, version),
  constraint workflow_versions_workflow_fkey
    foreign key (organization_id, workflow_id) references public.workflows (organization_id, id) on delete cascade,
  constraint workflow_versions_published_by_fkey
    foreign key (published_by) references public.users (id) on delete set null,
  constraint workflow_versions_version_check check (version > 0),
  constraint workflow_versions_message_check check (length(message) <= 5000)
);
create index workflow_versions_published_by_idx on public.workflow_versions (published_by);

alter table public.workflows
  add constraint workflows_published_version_fkey
    foreign key (organization_id, id, published_version)
    references public.workflow_versions (organization_id, workflow_id, version)
    deferrable initially deferred;

comment on table public.workflow_versions is 'Published definitions; a row never changes. Runs stay on the version they started with.';
comment on column public.workflow_versions.organization_id is 'The organization that owns the workflow.';
comment on column public.workflow_versions.workflow_id is 'The workflow.';
comment on column public.workflow_versions.version is '1, 2, 3 … in the order of publication.';
comment on column public.workflow_versions.definition is 'The definition as published.';
comment on column public.workflow_versions.message is 'What changed, in the words of the publisher.';
comment on column public.workflow_versions.published_by is 'The user who published it.';
comment on column public.workflow_versions.published_at is 'When it was published.';

-- Node types ---------------------------------------------------------------------------------------------------------

create table engine.node_types (
  name text not null,
  version int not null default 1,
  kind text not null,
  description text not null,
  ports text[] not null default '{main}',
  inputs text[] not null default '{main}',
  properties jsonb not null default '{"type": "object"}',
  function text, -- such as custom.double(jsonb,jsonb,jsonb): a regprocedure is in the way of pg_upgrade
  constraint node_types_pkey primary key (name, version),
  constraint node_types_kind_check check (kind in ('trigger', 'pure', 'local', 'wait', 'effect')),
  constraint node_types_name_check check (name ~ '^[a-z][A-Za-z0-9]{0,63}$'),
  constraint node_types_ports_check check (cardinality(ports) > 0),
  constraint node_types_properties_check check (jsonb_typeof(properties) = 'object')
);
alter table engine.node_types enable row level security;
comment on table engine.node_types is
  'The kinds of node that a definition may use, with the JSON schema of their properties. Registered functions are run by the engine.';

-- The compiled plan --------------------------------------------------------------------------------------------------

-- A piece of a property: a literal text, or a path into what a node can see. A path with one source starts at that
-- source (`$.total` of `prev`); with several, each is a jsonpath variable (`$"prev".total > $"nodes.order".limit`).
create type engine.expression_part as (
  literal text,
  sources text[],    -- input, prev, inputs, run, vars, item, index, nodes.<id>
  source_nodes int[], -- for nodes.<id> its place in the plan, else 0
  path jsonpath,
  many boolean,      -- the result is an array even when one item is found
  filters jsonb,     -- [{"name": "pad", "arguments": [8]}, …], null when none
  argument_paths jsonpath[], -- of filters, whose arguments then are {"value"} or {"path": its number, "many"}
  max_input int,     -- bytes that the sources may have together
  position int       -- the 1-based character of the property at which it stands
);

create type engine.expression as (
  place text[],      -- where in the properties the result goes
  kind text,         -- value: keeps its type; text: parts are joined; predicate: true or false; each: see filter
  parts engine.expression_part[], -- null when the expression is plain: a path from one source to one item, no filters
  source text,       -- of a plain one, as most are, so they are kept flat: input, prev, nodes, …
  source_node int,
  path jsonpath,
  max_input int,
  position int
);

-- One node, ready to run. Nodes stand in topological order, so one pass from first to last settles all that can be.
create type engine.plan_node as (
  id text,
  type text,         -- with its version, such as set@1
  kind text,         -- trigger, pure, local, wait, effect
  function text,     -- of a registered node: the SQL function to call; null for built-in ones
  properties jsonb,
  expressions engine.expression[],
  ports text[],      -- the first is the default
  sources int[],     -- incoming connections in the definition's order: the place of the source node in the plan …
  source_ports text[], -- … its port …
  target_inputs text[], -- … and the input of this node that it feeds
  inputs text[],     -- the inputs that the node has, the first is the main one
  on_error text,     -- stop, continue or errorOutput
  max_attempts int,
  retry_initial_ms int,
  retry_max_ms int,
  timeout_ms int,
  disabled boolean,
  is_strict boolean, -- an unknown predicate is an error
  uses_inputs boolean, -- an expression or the node itself reads `inputs`
  uses_run boolean,  -- an expression reads `run`
  credentials jsonb, -- {"auth": "crm"}
  pin jsonb,         -- the output to take in a test run
  retry_jitter boolean, -- false: the delays between attempts are not random
  success jsonb,     -- of a trigger or pure node: its step.succeeded, lacking only the output
  deferred engine.expression[] -- of a node with child runs: expressions that are evaluated for each of them
);

create function engine.plan_ids(p_nodes engine.plan_node[])
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg((p_nodes[place]).id order by place) from generate_subscripts(p_nodes, 1) as place
$$;

create table engine.plans (
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  nodes engine.plan_node[] not null,
  ids text[] not null generated always as (engine.plan_ids(nodes)) stored,
  vars text[] not null default '{}', -- names of the variables that expressions read
  settings jsonb not null,
  resume_key bytea not null default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
  constraint plans_pkey primary key (organization_id, workflow_id, version),
  constraint plans_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version) on delete cascade
);
alter table engine.plans enable row level security;
comment on table engine.plans is 'What publishing compiles a version to; read once per batch by the engine.';
comment on column engine.plans.resume_key is 'The secret that the tokens of resume addresses are made with.';

-- What a pure or local node answers.
create type engine.outcome as (
  port text,
  output jsonb
);
--! EndIncluded 30_workflows/tables.sql
--! Included 30_workflows/problems.sql
-- kind: state
-- What is wrong with a definition.

create type public.workflow_problem as (
  pointer text,
  code text,
  message text
);
comment on type public.workflow_problem is 'Something that keeps a workflow definition from being published.';
comment on column public.workflow_problem.pointer is 'JSON pointer to the place in the definition, such as /nodes/2/properties/url.';
comment on column public.workflow_problem.code is 'What kind of problem it is, such as UNKNOWN_TYPE. docs/nodes.md lists them.';
comment on column public.workflow_problem.message is 'What is wrong and what would be right.';
grant usage on type public.workflow_problem to flowgres_user, flowgres_dba;
--! EndIncluded 30_workflows/problems.sql
--! Included 30_workflows/schema_problems.sql
-- kind: code
-- What a JSON schema has against a value. The part of JSON Schema that it knows: type, enum, const, required,
-- properties, additionalProperties, items, minItems, maxItems, minimum, maximum, minLength, maxLength, pattern,
-- anyOf. `format` says how expressions are read (see node_types.sql).

create or replace function engine.json_pointer(p_place text[])
  returns text
  language sql
  immutable
  parallel safe
as $$
  select coalesce(string_agg('/' || replace(replace(p.key, '~', '~0'), '/', '~1'), '' order by p.place), '')
  from unnest(p_place) with ordinality as p (key, place)
$$;

create or replace function engine.problem(p_place text[], p_code text, p_message text)
  returns public.workflow_problem
  language sql
  immutable
as $$
  select row(engine.json_pointer(p_place), p_code, p_message)::public.workflow_problem
$$;

create or replace function engine.child_schema(p_schema jsonb, p_key text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    p_schema -> 'properties' -> p_key,
    p_schema -> 'items',
    case when jsonb_typeof(p_schema -> 'additionalProperties') = 'object' then p_schema -> 'additionalProperties' end,
    '{}'
  )
$$;

-- Whether a text may stand for any value, because an expression in it gives the value when the node runs.
create or replace function engine.is_expression(p_value jsonb, p_schema jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select jsonb_typeof(p_value) = 'string'
    and strpos(p_value #>> '{}', '{{') > 0
    and p_schema ->> 'format' is null
$$;

create or replace function engine.type_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  if not p_schema ? 'type'
    or p_schema -> 'type' ? jsonb_typeof(p_value)
    or (p_schema -> 'type' ? 'integer' and jsonb_typeof(p_value) = 'number' and p_value::text ~ '^-?\d+$')
  then
    return null;
  end if;
  return format(
    'must be %s, not %s',
    array_to_string(array(select jsonb_path_query(p_schema, 'lax $.type[*]') #>> '{}'), ' or '),
    jsonb_typeof(p_value)
  );
end
$$;

create or replace function engine.choice_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_schema ? 'enum' and not p_schema -> 'enum' @> jsonb_build_array(p_value) then
      format('must be one of %s', (
        select string_agg(e.choice #>> '{}', ', ' order by e.place)
        from jsonb_array_elements(p_schema -> 'enum') with ordinality as e (choice, place)
      ))
    when p_schema ? 'const' and p_schema -> 'const' <> p_value then format('must be %s', p_schema -> 'const')
  end;
end
$$;

-- The limits of a number, a text or a list.
create or replace function engine.limit_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  return case jsonb_typeof(p_value)
    when 'number' then case
      when p_value < p_schema -> 'minimum' then format('must be at least %s', p_schema -> 'minimum')
      when p_value > p_schema -> 'maximum' then format('must be at most %s', p_schema -> 'maximum')
    end
    when 'string' then case
      when length(p_value #>> '{}') < (p_schema ->> 'minLength')::int
        then format('must have at least %s characters', p_schema ->> 'minLength')
      when length(p_value #>> '{}') > (p_schema ->> 'maxLength')::int
        then format('must have at most %s characters', p_schema ->> 'maxLength')
      when p_value #>> '{}' !~ (p_schema ->> 'pattern') then format('must match %s', p_schema ->> 'pattern')
    end
    when 'array' then case
      when jsonb_array_length(p_value) < (p_schema ->> 'minItems')::int
        then format('must have at least %s items', p_schema ->> 'minItems')
      when jsonb_array_length(p_value) > (p_schema ->> 'maxItems')::int
        then format('must have at most %s items', p_schema ->> 'maxItems')
    end
  end;
end
$$;

-- p_expressions: a text with an expression counts as any value.
create or replace function engine.schema_problems(
  p_value jsonb,
  p_schema jsonb,
  p_place text[] default '{}',
  p_expressions boolean default false,
  p_code text default 'INVALID_DEFINITION'
)
  returns setof public.workflow_problem
  language plpgsql
  immutable
as $$
declare
  v_problem text;
  v_child record;
begin
  if p_schema = '{}' or (p_expressions and engine.is_expression(p_value, p_schema)) then
    return;
  end if;

  v_problem := coalesce(
    engine.type_problem(p_value, p_schema),
    case when p_schema ?| '{enum,const}' then engine.choice_problem(p_value, p_schema) end,
    engine.limit_problem(p_value, p_schema)
  );
  if v_problem is not null then
    return next engine.problem(p_place, p_code, v_problem);
    return;
  end if;

  if jsonb_typeof(p_value) = 'object' then
    for v_child in
      select k.key from jsonb_array_elements_text(p_schema -> 'required') as k (key) where not p_value ? k.key
    loop
      return next engine.problem(p_place, p_code, format('%s is missing', v_child.key));
    end loop;
    for v_child in
      select e.key, e.value, engine.child_schema(p_schema, e.key) as schema
      from jsonb_each(p_value) as e
      where p_schema -> 'additionalProperties' = 'false' or engine.child_schema(p_schema, e.key) <> '{}'
    loop
      if p_schema -> 'additionalProperties' = 'false'
        and not coalesce(p_schema -> 'properties' ? v_child.key, false)
      then
        return next engine.problem(p_place || v_child.key, p_code, format(
          'is not known here; there are %s',
          coalesce(array_to_string(array(select jsonb_object_keys(p_schema -> 'properties')), ', '), 'none')
        ));
      else
        return query select * from engine.schema_problems(
          v_child.value, v_child.schema, p_place || v_child.key, p_expressions, p_code
        );
      end if;
    end loop;
  elsif jsonb_typeof(p_value) = 'array' and p_schema ? 'items' then
    for v_child in select (e.place - 1)::text as key, e.value
      from jsonb_array_elements(p_value) with ordinality as e (value, place)
    loop
      return query select * from engine.schema_problems(
        v_child.value, p_schema -> 'items', p_place || v_child.key, p_expressions, p_code
      );
    end loop;
  end if;

  if p_schema ? 'anyOf' then
    v_problem := engine.form_problem(p_value, p_schema -> 'anyOf', p_expressions);
    if v_problem is not null then
      return next engine.problem(p_place, p_code, v_problem);
    end if;
  end if;
end
$$;

-- What each of several forms has against a value; null when one has nothing.
create or replace function engine.form_problem(p_value jsonb, p_forms jsonb, p_expressions boolean)
  returns text
  language sql
  immutable
as $$
  select case when count(p.message) = count(*) then string_agg(distinct p.message, '; or ') end
  from jsonb_array_elements(p_forms) as f (form)
  left join lateral (
    select o.message from engine.schema_problems(p_value, f.form, '{}', p_expressions) as o limit 1
  ) as p on true
$$;
--! EndIncluded 30_workflows/schema_problems.sql
--! Included 30_workflows/filters_text.sql
-- kind: code
-- Filters that give or take texts. Every filter is a function of a value and its arguments; SQL null means that it
-- does not apply to this value, and fails the expression.

-- The text that a filter works on: texts, numbers and booleans have one.
create or replace function engine.scalar_text(p_value jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case when jsonb_typeof(p_value) in ('string', 'number', 'boolean') then p_value #>> '{}' end
$$;

-- A value inside a text: texts as they are, null as nothing, arrays and objects as JSON.
create or replace function engine.text_of(p_value jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select coalesce(p_value #>> '{}', '')
$$;

-- What filters of lists work on; one item that a path found alone is a list too.
create or replace function engine.list_of(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when jsonb_typeof(p_value) = 'array' then p_value else jsonb_build_array(p_value) end
$$;

-- Null also when the result would be larger than 1 MiB: it is not built.
create or replace function engine.filter_replace(p_value jsonb, p_old text, p_new text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_old = '' then to_jsonb(engine.scalar_text(p_value))
    when (length(t.value) - length(replace(t.value, p_old, '')))::bigint / length(p_old)
      * octet_length(p_new) <= 1048576
      then to_jsonb(replace(t.value, p_old, p_new))
  end
  from (values (engine.scalar_text(p_value))) as t (value)
$$;

create or replace function engine.filter_split(p_value jsonb, p_separator text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(string_to_array(engine.scalar_text(p_value), nullif(p_separator, '')))
$$;

create or replace function engine.filter_join(p_value jsonb, p_separator text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_array_length(l.items)::bigint * octet_length(p_separator) <= 1048576
      then to_jsonb(coalesce((
        select string_agg(engine.text_of(i.item), p_separator order by i.place)
        from jsonb_array_elements(l.items) with ordinality as i (item, place)
      ), ''))
  end
  from (values (engine.list_of(p_value))) as l (items)
$$;

-- From the 0-based place p_from up to, not including, p_to; negative places count from the end. For texts and lists.
create or replace function engine.filter_slice(p_value jsonb, p_from int, p_to int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) = 'array' then coalesce((
      select jsonb_agg(i.item order by i.place)
      from jsonb_array_elements(p_value) with ordinality as i (item, place)
      where i.place > b.first_place and i.place <= b.last_place
    ), '[]')
    else to_jsonb(substr(engine.scalar_text(p_value), b.first_place + 1, greatest(b.last_place - b.first_place, 0)))
  end
  from (
    values (case
      when jsonb_typeof(p_value) = 'array' then jsonb_array_length(p_value)
      else length(engine.scalar_text(p_value))
    end)
  ) as s (size),
  lateral (
    values (
      least(greatest(case when p_from < 0 then s.size + p_from else p_from end, 0), s.size),
      least(greatest(case when p_to < 0 then s.size + p_to else coalesce(p_to, s.size) end, 0), s.size)
    )
  ) as b (first_place, last_place)
$$;

create or replace function engine.filter_pad(p_value jsonb, p_length int, p_fill text, p_side text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_length not between 0 and 10000 or p_side not in ('left', 'right') then null
    when p_length <= length(t.value) then to_jsonb(t.value)
    when p_side = 'left' then to_jsonb(lpad(t.value, p_length, p_fill))
    else to_jsonb(rpad(t.value, p_length, p_fill))
  end
  from (values (engine.scalar_text(p_value))) as t (value)
$$;

-- Percent-encoding of everything but the unreserved characters of RFC 3986.
create or replace function engine.filter_urlencode(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case when engine.scalar_text(p_value) is not null then coalesce((
    select string_agg(
      case
        when c.letter ~ '^[A-Za-z0-9._~-]$' then c.letter
        else regexp_replace(upper(encode(convert_to(c.letter, 'UTF8'), 'hex')), '(..)', '%\1', 'g')
      end,
      '' order by c.place
    )
    from regexp_split_to_table(engine.scalar_text(p_value), '') with ordinality as c (letter, place)
  ), '') end)
$$;

create or replace function engine.filter_base64(p_value jsonb, p_mode text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  case p_mode
    when 'encode' then
      return to_jsonb(translate(encode(convert_to(engine.scalar_text(p_value), 'UTF8'), 'base64'), e'\n', ''));
    when 'decode' then
      return to_jsonb(convert_from(decode(engine.scalar_text(p_value), 'base64'), 'UTF8'));
    else
      return null;
  end case;
exception
  when data_exception or untranslatable_character then
    return null;
end
$$;

create or replace function engine.filter_hash(p_value jsonb, p_algorithm text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case p_algorithm
    when 'md5' then md5(b.bytes)
    when 'sha224' then encode(sha224(b.bytes), 'hex')
    when 'sha256' then encode(sha256(b.bytes), 'hex')
    when 'sha384' then encode(sha384(b.bytes), 'hex')
    when 'sha512' then encode(sha512(b.bytes), 'hex')
  end)
  from (values (convert_to(engine.scalar_text(p_value), 'UTF8'))) as b (bytes)
$$;
--! EndIncluded 30_workflows/filters_text.sql
--! Included 30_workflows/filters_values.sql
-- kind: code
-- Filters on numbers, dates and lists. SQL null means that a filter does not apply to this value.

create or replace function engine.filter_number(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) = 'number' then p_value
    when jsonb_typeof(p_value) = 'boolean' then to_jsonb((p_value #>> '{}')::boolean::int)
    when t.value ~ '^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$' and length(t.value) <= 300
      then to_jsonb(t.value::numeric)
  end
  from (values (btrim(engine.scalar_text(p_value), e' \t\r\n'))) as t (value)
$$;

create or replace function engine.filter_round(p_value jsonb, p_digits int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_digits between -300 and 300 then to_jsonb(round((engine.filter_number(p_value) #>> '{}')::numeric, p_digits))
  end
$$;

-- Numbers, or else texts, in order; p_last: the greatest instead of the least. Null of an empty list is JSON's.
create or replace function engine.filter_extreme(p_value jsonb, p_last boolean)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when count(*) = 0 then 'null'
    when count(i.number) = count(*) then to_jsonb(case when p_last then max(i.number) else min(i.number) end)
    when count(i.text) = count(*) then to_jsonb(case when p_last then max(i.text) else min(i.text) end)
  end
  from (
    select
      case when jsonb_typeof(e.item) = 'number' then (e.item #>> '{}')::numeric end as number,
      case when jsonb_typeof(e.item) = 'string' then (e.item #>> '{}') collate "C" end as text
    from jsonb_array_elements(engine.list_of(p_value)) as e (item)
  ) as i
$$;

create or replace function engine.filter_sum(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when coalesce(bool_and(jsonb_typeof(i.item) = 'number'), true)
      then to_jsonb(coalesce(sum(case when jsonb_typeof(i.item) = 'number' then (i.item #>> '{}')::numeric end), 0))
  end
  from jsonb_array_elements(engine.list_of(p_value)) as i (item)
$$;

create or replace function engine.filter_length(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case jsonb_typeof(p_value)
    when 'null' then 0
    when 'array' then jsonb_array_length(p_value)
    when 'object' then (select count(*)::int from jsonb_object_keys(p_value))
    when 'string' then length(p_value #>> '{}')
  end)
$$;

create or replace function engine.filter_keys(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when jsonb_typeof(p_value) = 'object' then
    (select coalesce(jsonb_agg(k.key), '[]') from jsonb_object_keys(p_value) as k (key))
  end
$$;

-- Each value once, at its first place.
create or replace function engine.filter_unique(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(u.item order by u.place), '[]')
  from (
    select i.item, min(i.place) as place
    from jsonb_array_elements(engine.list_of(p_value)) with ordinality as i (item, place)
    group by i.item
  ) as u
$$;

-- By the items themselves, or by one key of them; p_direction is asc or desc. Equal items keep their order.
create or replace function engine.filter_sort(p_value jsonb, p_key text, p_direction text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_direction in ('asc', 'desc') then coalesce(jsonb_agg(s.item order by s.rank), '[]') end
  from (
    select i.item, row_number() over (
      order by
        case when p_direction = 'asc' then k.key end,
        case when p_direction = 'desc' then k.key end desc nulls last,
        i.place
    ) as rank
    from jsonb_array_elements(engine.list_of(p_value)) with ordinality as i (item, place)
    cross join lateral (values (case when p_key is null then i.item else i.item -> p_key end)) as k (key)
  ) as s
$$;

create or replace function engine.filter_flatten(p_value jsonb, p_depth int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value jsonb := engine.list_of(p_value);
begin
  if p_depth not between 1 and 64 then
    return null;
  end if;
  for v_level in 1 .. p_depth loop
    exit when not jsonb_path_exists(v_value, 'strict $[*] ? (@.type() == "array")');
    v_value := jsonb_path_query_array(v_value, 'lax $[*][*]'); -- lax: what is no array is taken as it is
  end loop;
  return v_value;
end
$$;
--! EndIncluded 30_workflows/filters_values.sql
--! Included 30_workflows/filters_dates.sql
-- kind: code
-- Filters on dates. A date is an ISO 8601 text or a Unix time in seconds; the zone is always said, as a name of
-- the IANA database, so that the result does not depend on the server. SQL null means that a filter does not
-- apply.

-- Names only: PostgreSQL would also take +02:00, but means two hours west of Greenwich by it.
create or replace function engine.is_time_zone(p_name text)
  returns boolean
  language plpgsql
  immutable
as $$
begin
  if p_name !~ '^[A-Za-z_]+(/[A-Za-z0-9_+-]+)*$' then
    return false;
  end if;
  perform timestamp '2026-01-01 00:00' at time zone p_name;
  return true;
exception
  when data_exception then
    return false;
end
$$;

-- The instant; a text without an offset is a local time of the zone.
create or replace function engine.parse_instant(p_value jsonb, p_zone text)
  returns timestamptz
  language plpgsql
  immutable
as $$
declare
  v_text constant text := upper(btrim(engine.scalar_text(p_value)));
  v_instant timestamptz;
begin
  if not engine.is_time_zone(p_zone) then
    return null;
  end if;
  case
    when jsonb_typeof(p_value) = 'number' then
      v_instant := to_timestamp(v_text::numeric);
    when v_text ~ '^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?$' then
      v_instant := replace(replace(v_text, 'T', ' '), ',', '.')::timestamp at time zone p_zone;
    when v_text ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$' then
      v_instant := replace(replace(v_text, 'T', ' '), ',', '.')::timestamptz;
    else
      return null;
  end case;
  if v_instant >= '0001-01-02 00:00+00' and v_instant < '9999-12-31 00:00+00' then
    return v_instant;
  end if;
  return null;
exception
  when data_exception then
    return null;
end
$$;

-- ISO 8601 with the offset of the zone, such as 2026-11-21T10:30:00.000+01:00.
create or replace function engine.instant_text(p_instant timestamptz, p_zone text)
  returns text
  language sql
  immutable
as $$
  select to_char(l.local_time, 'YYYY-MM-DD"T"HH24:MI:SS.MS') || case
    when l.minutes = 0 then 'Z'
    else case when l.minutes < 0 then '-' else '+' end
      || to_char(abs(l.minutes) / 60, 'FM00') || ':' || to_char(abs(l.minutes) % 60, 'FM00')
  end
  from (
    select
      p_instant at time zone p_zone as local_time,
      (extract(epoch from (p_instant at time zone p_zone) - (p_instant at time zone 'UTC')) / 60)::int as minutes
  ) as l
$$;

-- The date in a zone, as ISO 8601 or by a template of to_char.
create or replace function engine.filter_date(p_value jsonb, p_zone text, p_template text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_instant constant timestamptz := engine.parse_instant(p_value, p_zone);
begin
  if p_template is null then
    return to_jsonb(engine.instant_text(v_instant, p_zone));
  elsif length(p_template) > 200 or p_template ~ 'TM' then -- TM depends on the server's language
    return null;
  end if;
  return to_jsonb(to_char(v_instant at time zone p_zone, p_template));
end
$$;

-- Days and longer are those of the calendar in the zone; a day may have 23 or 25 hours.
create or replace function engine.filter_add(p_value jsonb, p_amount int, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_instant timestamptz := engine.parse_instant(p_value, p_zone);
  v_step constant interval := case p_unit
    when 'milliseconds' then interval '1 millisecond'
    when 'seconds' then interval '1 second'
    when 'minutes' then interval '1 minute'
    when 'hours' then interval '1 hour'
    when 'days' then interval '1 day'
    when 'weeks' then interval '1 week'
    when 'months' then interval '1 month'
    when 'years' then interval '1 year'
  end;
begin
  if p_unit in ('milliseconds', 'seconds', 'minutes', 'hours') then
    v_instant := v_instant + p_amount * v_step;
  else
    v_instant := ((v_instant at time zone p_zone) + p_amount * v_step) at time zone p_zone;
  end if;
  if v_instant >= '0001-01-02 00:00+00' and v_instant < '9999-12-31 00:00+00' then
    return to_jsonb(engine.instant_text(v_instant, p_zone));
  end if;
  return null;
exception
  when data_exception then
    return null;
end
$$;

-- Whole units from p_other to the value; negative when the value is earlier.
create or replace function engine.filter_diff(p_value jsonb, p_other jsonb, p_unit text, p_zone text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value constant timestamptz := engine.parse_instant(p_value, p_zone);
  v_other constant timestamptz := engine.parse_instant(p_other, p_zone);
  v_exact constant numeric := extract(epoch from v_value - v_other);
  v_local constant numeric := extract(epoch from (v_value at time zone p_zone) - (v_other at time zone p_zone));
  v_age constant interval := age(v_value at time zone p_zone, v_other at time zone p_zone);
begin
  return to_jsonb(trunc(case p_unit
    when 'milliseconds' then v_exact * 1000
    when 'seconds' then v_exact
    when 'minutes' then v_exact / 60
    when 'hours' then v_exact / 3600
    when 'days' then v_local / 86400
    when 'weeks' then v_local / 604800
    when 'months' then extract(year from v_age) * 12 + extract(month from v_age)
    when 'years' then extract(year from v_age)
  end));
end
$$;
--! EndIncluded 30_workflows/filters_dates.sql
--! Included 30_workflows/filters.sql
-- kind: code
-- The filters by name: what they take, and the one place that calls them.

create or replace function engine.filter_parameters()
  returns table (name text, parameters text[], required int)
  language sql
  immutable
  parallel safe
as $$
  values
    ('upper', '{}'::text[], 0), ('lower', '{}', 0), ('trim', '{}', 0), ('replace', '{text,text}', 2),
    ('split', '{text}', 1), ('join', '{text}', 0), ('slice', '{integer,integer}', 1), ('pad', '{integer,text,text}', 1),
    ('urlencode', '{}', 0), ('base64', '{text}', 0), ('hash', '{text}', 0),
    ('number', '{}', 0), ('round', '{integer}', 0), ('min', '{}', 0), ('max', '{}', 0), ('sum', '{}', 0),
    ('date', '{zone,text}', 1), ('add', '{integer,unit,zone}', 3), ('diff', '{any,unit,zone}', 3),
    ('default', '{any}', 1), ('json', '{}', 0), ('length', '{}', 0), ('keys', '{}', 0), ('first', '{}', 0),
    ('last', '{}', 0), ('unique', '{}', 0), ('sort', '{text,text}', 0), ('flatten', '{integer}', 0), ('type', '{}', 0)
$$;

-- What is wrong with a literal argument; those that are paths are known at run time only.
create or replace function engine.argument_problem(p_value jsonb, p_parameter text)
  returns text
  language sql
  stable
as $$
  select case
    when p_value is null or p_parameter = 'any' then null
    when p_parameter = 'integer' then
      case
        when jsonb_typeof(p_value) <> 'number' or p_value #>> '{}' !~ '^-?\d{1,9}$' then 'a whole number is needed'
      end
    when jsonb_typeof(p_value) <> 'string' then
      case when p_parameter <> 'text' or p_value <> 'null' then 'a text in quotes is needed' end
    when p_parameter = 'zone' and not engine.is_time_zone(p_value #>> '{}')
      then format('there is no time zone %s; write one such as Europe/Berlin or UTC', p_value)
    when p_parameter = 'unit' and p_value #>> '{}' not in (
      'milliseconds', 'seconds', 'minutes', 'hours', 'days', 'weeks', 'months', 'years'
    ) then 'a unit is milliseconds, seconds, minutes, hours, days, weeks, months or years'
  end
$$;

create or replace function engine.filter_problem(p_name text, p_arguments jsonb)
  returns text
  language sql
  stable
as $$
  select case
    when f.name is null then format(
      'there is no filter %s; there are %s',
      p_name,
      (select string_agg(k.name, ', ') from engine.filter_parameters() as k)
    )
    when jsonb_array_length(p_arguments) not between f.required and cardinality(f.parameters) then format(
      '%s is written %1$s%s', p_name,
      (
        select format('(%s)', string_agg(
          p.parameter || case when p.place > f.required then '?' else '' end, ', ' order by p.place
        ))
        from unnest(f.parameters) with ordinality as p (parameter, place)
      )
    )
    else (
      select min(format('%s: %s', p_name, engine.argument_problem(a.argument -> 'value', f.parameters[a.place])))
        filter (where engine.argument_problem(a.argument -> 'value', f.parameters[a.place]) is not null)
      from jsonb_array_elements(p_arguments) with ordinality as a (argument, place)
    )
  end
  from (values (p_name)) as wanted (name)
  left join engine.filter_parameters() as f on f.name = wanted.name
$$;

-- A whole number of an argument; null when it is none.
create or replace function engine.argument_int(p_arguments jsonb, p_place int)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select case when p_arguments ->> p_place ~ '^-?\d{1,9}$' then (p_arguments ->> p_place)::int end
$$;

-- Small filters are done in place: a SQL function that PostgreSQL cannot inline costs six times as much.
-- Null passes through all but the last four. SQL null: the filter does not apply to the value.
create or replace function engine.apply_filter(p_name text, p_value jsonb, p_arguments jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_value = 'null' and p_name not in ('default', 'json', 'length', 'type') then
    return p_value;
  end if;
  return case p_name
    when 'default' then case when p_value = 'null' then p_arguments -> 0 else p_value end
    when 'upper' then to_jsonb(upper(engine.scalar_text(p_value)))
    when 'lower' then to_jsonb(lower(engine.scalar_text(p_value)))
    when 'trim' then to_jsonb(btrim(engine.scalar_text(p_value), e' \t\r\n\f\v'))
    when 'replace' then engine.filter_replace(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'split' then engine.filter_split(p_value, p_arguments ->> 0)
    when 'join' then engine.filter_join(p_value, coalesce(p_arguments ->> 0, ','))
    when 'slice' then engine.filter_slice(
      p_value, engine.argument_int(p_arguments, 0), engine.argument_int(p_arguments, 1))
    when 'pad' then engine.filter_pad(
      p_value, engine.argument_int(p_arguments, 0),
      coalesce(p_arguments ->> 1, ' '), coalesce(p_arguments ->> 2, 'left'))
    when 'urlencode' then engine.filter_urlencode(p_value)
    when 'base64' then engine.filter_base64(p_value, coalesce(p_arguments ->> 0, 'encode'))
    when 'hash' then engine.filter_hash(p_value, coalesce(p_arguments ->> 0, 'sha256'))
    when 'number' then engine.filter_number(p_value)
    when 'round' then engine.filter_round(p_value, coalesce(engine.argument_int(p_arguments, 0), 0))
    when 'min' then engine.filter_extreme(p_value, false)
    when 'max' then engine.filter_extreme(p_value, true)
    when 'sum' then engine.filter_sum(p_value)
    when 'date' then engine.filter_date(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'add' then engine.filter_add(
      p_value, engine.argument_int(p_arguments, 0), p_arguments ->> 1, p_arguments ->> 2)
    when 'diff' then engine.filter_diff(p_value, p_arguments -> 0, p_arguments ->> 1, p_arguments ->> 2)
    when 'json' then to_jsonb(p_value::text)
    when 'length' then engine.filter_length(p_value)
    when 'keys' then engine.filter_keys(p_value)
    when 'first' then coalesce(engine.list_of(p_value) -> 0, 'null')
    when 'last' then coalesce(engine.list_of(p_value) -> -1, 'null')
    when 'unique' then engine.filter_unique(p_value)
    when 'sort' then engine.filter_sort(p_value, p_arguments ->> 0, coalesce(p_arguments ->> 1, 'asc'))
    when 'flatten' then engine.filter_flatten(p_value, coalesce(engine.argument_int(p_arguments, 0), 1))
    when 'type' then to_jsonb(jsonb_typeof(p_value))
  end;
end
$$;

-- One result, or an array when there are several or the path asks for many; nothing is null.
create or replace function engine.result_value(p_found jsonb, p_many boolean)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_many or jsonb_array_length(p_found) > 1 then p_found else coalesce(p_found -> 0, 'null') end
$$;

-- The arguments of a filter whose expression has paths among them: {"value": …} or {"path": its number, "many": …}.
create or replace function engine.filter_arguments(p_arguments jsonb, p_paths jsonpath[], p_variables jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(
    case
      when a.argument ? 'value' then a.argument -> 'value'
      else engine.result_value(
        jsonb_path_query_array('null', p_paths[(a.argument ->> 'path')::int], p_variables, true),
        (a.argument ->> 'many')::boolean
      )
    end order by a.place
  ), '[]')
  from jsonb_array_elements(p_arguments) with ordinality as a (argument, place)
$$;

-- The filters of an expression, one after the other. p_variables hold the sources when an argument is a path.
create or replace function engine.apply_filters(
  p_value jsonb,
  p_part engine.expression_part,
  p_variables jsonb,
  p_place text[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value jsonb := p_value;
  v_filtered jsonb;
  v_arguments jsonb;
begin
  for v_step in 0 .. jsonb_array_length(p_part.filters) - 1 loop
    v_arguments := p_part.filters -> v_step -> 'arguments';
    if p_part.argument_paths is not null then
      v_arguments := engine.filter_arguments(v_arguments, p_part.argument_paths, p_variables);
    end if;
    v_filtered := engine.apply_filter(p_part.filters -> v_step ->> 'name', v_value, v_arguments);
    if v_filtered is null then
      return engine.expression_failed(
        'EXPRESSION_FILTER',
        format('%s(%s) cannot be applied to %s', p_part.filters -> v_step ->> 'name',
          left(trim(both '[]' from v_arguments::text), 100), left(v_value::text, 100)),
        p_place,
        p_part.position
      );
    elsif pg_column_size(v_filtered) > 1048576 then
      return engine.expression_failed('EXPRESSION_TOO_LARGE', 'a result has at most 1 MiB', p_place, p_part.position);
    end if;
    v_value := v_filtered;
  end loop;
  return v_value;
end
$$;
--! EndIncluded 30_workflows/filters.sql
--! Included 30_workflows/tokenizer.sql
-- kind: code
-- Cuts texts with expressions into pieces, and expressions into tokens. Used when a workflow is validated or
-- compiled, never when it runs.

-- The tokens of an expression, white space included, so that joined together they are the expression again.
create or replace function engine.tokenize(p_text text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select coalesce(array_agg(m.match[1] order by m.place), '{}')
  from regexp_matches(
    p_text,
    '("(?:[^"\\]|\\.)*"'
    || '|''(?:[^''\\]|\\.)*'''
    || '|\s+'
    || '|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?'
    || '|\*\*|==|!=|<>|<=|>=|&&|\|\|'
    || '|[^][?%$.{}()|&!=<>@#,*:+/\\"''\s-]+'
    || '|.)',
    'g'
  ) with ordinality as m (match, place)
$$;

-- The pieces of a text: literal ones, and what stands between {{ and }}. `\{{` is a literal {{. An expression ends at
-- the first }} outside of its string literals. start_at is the 1-based character after {{.
create or replace function engine.split_template(p_text text)
  returns table (literal text, expression text, start_at int, error text)
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_rest text := p_text;
  v_literal text := '';
  v_at int;
  v_body text;
begin
  start_at := 1;
  if (length(p_text) - length(replace(p_text, '{{', ''))) / 2 > 1000 then
    error := 'a text holds at most 1,000 expressions';
    return next;
    return;
  end if;
  loop
    v_at := strpos(v_rest, '{{');
    if v_at > 1 and substr(v_rest, v_at - 1, 1) = chr(92) then
      v_literal := v_literal || left(v_rest, v_at - 2) || '{{';
      v_rest := substr(v_rest, v_at + 2);
      start_at := start_at + v_at + 1;
      continue;
    end if;

    literal := v_literal || case v_at when 0 then v_rest else left(v_rest, v_at - 1) end;
    v_literal := '';
    if literal <> '' then
      return next;
    end if;
    exit when v_at = 0;

    literal := null;
    start_at := start_at + v_at + 1;
    v_rest := substr(v_rest, v_at + 2);
    v_body := substring(
      left(v_rest, 4200) from '^((?:[^"''}]|"(?:[^"\\]|\\.)*"|''(?:[^''\\]|\\.)*''|\}(?!\}))*)\}\}'
    );
    if v_body is null then
      error := case
        when length(v_rest) > 4200 then 'an expression has at most 4,096 characters; or }} is missing'
        else '}} is missing, or the quote of a text; a literal {{ is written \{{'
      end;
      return next;
      return;
    end if;
    expression := v_body;
    return next;
    expression := null;
    start_at := start_at + length(v_body) + 2;
    v_rest := substr(v_rest, length(v_body) + 3);
  end loop;
end
$$;
--! EndIncluded 30_workflows/tokenizer.sql
--! Included 30_workflows/path_tokens.sql
-- kind: code
-- What may stand in a path. The grammar is that of PostgreSQL 15 on every version, so what newer ones added is
-- refused here; PostgreSQL itself has the last word on the rest (see expressions.sql).

-- A text token as a jsonpath string: '…' may be written instead of "…", because definitions are JSON.
create or replace function engine.double_quoted(p_token text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when left(p_token, 1) <> '''' or length(p_token) < 2 then p_token
    else '"' || regexp_replace(
      replace(substr(p_token, 2, length(p_token) - 2), chr(92) || '''', ''''), '((?:[^"\\]|\\.)*)"', '\1\\"', 'g'
    ) || '"'
  end
$$;

-- The tokens without white space, where each begins (1-based), and the space before it.
create or replace function engine.significant_tokens(
  p_text text,
  out tokens text[],
  out starts int[],
  out gaps text[]
)
  language sql
  immutable
  parallel safe
as $$
  with token as (
    select t.token, t.place, 1 + coalesce(sum(length(t.token)) over (
      order by t.place rows between unbounded preceding and 1 preceding
    ), 0)::int as start
    from unnest(engine.tokenize(p_text)) with ordinality as t (token, place)
  ),
  significant as (
    select t.token, t.place, t.start, lag(t.place, 1, 0::bigint) over (order by t.place) as place_before
    from token as t
    where t.token !~ '^\s'
  )
  select
    coalesce(array_agg(engine.double_quoted(s.token) order by s.place), '{}'),
    coalesce(array_agg(s.start order by s.place), '{}'),
    coalesce(array_agg(case when s.place - s.place_before > 1 then ' ' else '' end order by s.place), '{}')
  from significant as s
$$;

-- The text in a text token; null when it is not a valid one.
create or replace function engine.token_text(p_token text)
  returns text
  language plpgsql
  immutable
as $$
begin
  return p_token::jsonb #>> '{}';
exception
  when data_exception then
    return null;
end
$$;

-- What is wrong with `like_regex "pattern" flag "flags"`.
create or replace function engine.regex_problem(p_pattern text, p_flags text)
  returns text
  language sql
  immutable
as $$
  select case
    when left(p_pattern, 1) is distinct from '"' then 'like_regex is followed by a pattern in quotes'
    when engine.token_text(p_pattern) is null then 'the pattern is not a valid text'
    when coalesce(p_flags, '') ~ 'x' then 'like_regex knows the flags i, s, m and q'
    when coalesce(p_flags, '') !~ 'q' and replace(engine.token_text(p_pattern), '\\', '') ~ '\\[1-9]'
      then 'a pattern cannot refer back to its groups'
    when length(p_pattern) > 1000 then 'a pattern has at most 1,000 characters'
  end
$$;

-- What is wrong with `.name` or `.name(…)`; p_next are the tokens after the name.
create or replace function engine.accessor_problem(p_name text, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_name ~ '^\d' then format('write the key %s in double quotes', p_name)
    when p_next[1] is distinct from '(' then null
    when p_name in ('type', 'size', 'double', 'ceiling', 'floor', 'abs', 'keyvalue') then
      case when p_next[2] is distinct from ')' then format('%s() takes no argument', p_name) end
    when p_name <> 'datetime' then
      format('there is no method %s(): paths have type, size, double, ceiling, floor, abs, datetime and keyvalue; '
        'filters are written after |', p_name)
    when p_next[2] = ')' then null
    when left(p_next[2], 1) is distinct from '"' or p_next[3] is distinct from ')'
      then 'datetime() takes one template in quotes'
    when p_next[2] ~* 'TZ(?![HM])|OF' then 'a datetime template writes a time zone as TZH:TZM'
  end;
end
$$;

-- What is wrong with a word that is no accessor; p_next are the tokens after it.
create or replace function engine.word_problem(p_word text, p_first boolean, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_word in ('strict', 'lax') then
      case when not p_first then format('%s stands at the beginning', p_word) end
    when p_word = 'like_regex' then
      engine.regex_problem(p_next[1], case when p_next[2] = 'flag' then p_next[3] end)
    when p_word in ('true', 'false', 'null', 'exists', 'is', 'unknown', 'flag', 'starts', 'with', 'to', 'last')
      then null
    when p_word in ('input', 'prev', 'inputs', 'nodes', 'run', 'vars', 'item', 'index')
      then format('write $.%s', p_word)
    else format('%s is not known here: a text is written in quotes, a value as $.prev.%1$s', p_word)
  end;
end
$$;

-- What is wrong with a token of a path. PL/pgSQL, because it is called for each token and PostgreSQL cannot inline
-- it.
create or replace function engine.token_problem(p_token text, p_before text, p_first boolean, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_token = '/' and left(p_next[1], 1) = '*' then 'comments are not allowed'
    when p_token ~ '^[][?%$.{}()&!<>@*,:+/-]|^\|\||^==' then null
    when p_token ~ '^"' then case
      when length(p_token) < 2 then 'a quote is not closed'
      when engine.token_text(p_token) is null then 'not a valid text'
    end
    when p_token = '''' then 'a quote is not closed'
    when p_token = chr(92) then 'a backslash stands only in quotes'
    when p_token = '=' then 'write == to compare'
    when p_token = '|' then 'filters stand at the end, outside of parentheses'
    when p_token ~ '^\d+(\.\d+)?([eE][+-]?\d+)?$' then
      case
        when p_before = '.' then format('write the key %s in double quotes, or 0.%1$s', p_token)
        when p_token ~ '[eE][+-]?0*\d{4}' or length(p_token) > 300 then 'the number is too large'
        when p_token::numeric > 1e308 then 'the number is too large'
      end
    when p_before = '.' then engine.accessor_problem(p_token, p_next)
    when p_token ~ '^\d' then format('%s is not a number', p_token)
    when p_token = '#' then '# has no meaning here'
    else engine.word_problem(p_token, p_first, p_next)
  end;
end
$$;
--! EndIncluded 30_workflows/path_tokens.sql
--! Included 30_workflows/paths.sql
-- kind: code
-- Reads one SQL/JSON path and rewrites its roots: `$.prev.total` becomes `$.total` of `prev`.

-- The root that begins with the `$` at the head of the tokens: its source, how many tokens name it, and the
-- variable or input that it reads.
create or replace function engine.path_root(
  p_tokens text[],
  out source text,
  out taken int,
  out variable text,
  out input text,
  out problem text
)
  language plpgsql
  immutable
as $$
declare
  v_name constant text := trim(both '"' from p_tokens[3]);
  v_next constant text := case when p_tokens[4] = '.' then trim(both '"' from p_tokens[5]) end;
begin
  taken := 3;
  source := v_name;
  if p_tokens[2] is distinct from '.' or coalesce(v_name, '') !~ '^[A-Za-z_]\w*$' then
    problem := 'a path begins with $.input, $.prev, $.inputs, $.nodes, $.run, $.vars, $.item or $.index';
  elsif v_name = 'nodes' then
    source := 'nodes.' || v_next;
    taken := 5;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a node: $.nodes.<id>';
    end if;
  elsif v_name = 'vars' then
    variable := v_next;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a variable: $.vars.<name>';
    end if;
  elsif v_name = 'inputs' then
    input := v_next;
    if coalesce(v_next, '') !~ '^[A-Za-z_]\w*$' then
      problem := 'name an input: $.inputs.<name>';
    end if;
  elsif v_name not in ('input', 'prev', 'run', 'item', 'index') then
    problem := format(
      '$.%s is not known: a path begins with $.input, $.prev, $.inputs, $.nodes, $.run, $.vars, $.item or $.index',
      v_name
    );
  end if;
end
$$;

-- How many brackets around each token hide it from the result: those of a filter, of exists and of subscripts. An
-- open bracket counts as inside of itself. Or the problem, and the token at which it is.
create or replace function engine.bracket_depths(
  p_tokens text[],
  out depths int[],
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_open text[] := '{}'; -- ? and e are the parentheses of a filter and of exists
  v_depth int := 0;
  v_token text;
  v_before text;
begin
  depths := '{}';
  for v_place in 1 .. cardinality(p_tokens) loop
    v_token := p_tokens[v_place];
    problem_at := v_place;
    if v_token in ('(', '[', '{') then
      v_open := v_open || case
        when v_token = '(' and v_before = '?' then '?'
        when v_token = '(' and v_before = 'exists' then 'e'
        else v_token
      end;
      v_depth := v_depth + (v_open[cardinality(v_open)] in ('?', 'e', '['))::int;
    elsif v_token in (')', ']', '}') then
      if cardinality(v_open) = 0 or translate(v_open[cardinality(v_open)], '?e([{', ')))]}') <> v_token then
        problem := format('%s closes nothing', v_token);
        return;
      end if;
      v_depth := v_depth - (v_open[cardinality(v_open)] in ('?', 'e', '['))::int;
      v_open := trim_array(v_open, 1);
    end if;
    if cardinality(v_open) > 32 then
      problem := 'brackets are nested more than 32 deep';
      return;
    end if;
    depths[v_place] := v_depth;
    v_before := v_token;
  end loop;
  if cardinality(v_open) > 0 then
    problem := format('%s is not closed', translate(v_open[cardinality(v_open)], '?e', '(('));
  end if;
end
$$;

-- What a token says about the whole path: many items are asked for; it is a condition; it matches a regular
-- expression.
create or replace function engine.path_traits(p_tokens text[], p_depths int[], out many boolean, out regex boolean)
  language sql
  immutable
  parallel safe
as $$
  select
    coalesce(
      bool_or(
        (t.depth = 0 and (t.token = '?' or (t.token in ('*', '**') and t.before = '.')))
        or (t.depth = 1 and t.token = '[' and t.after = '*')
      )
      and not bool_or(t.depth = 0 and (
        t.token in ('==', '!=', '<>', '<', '<=', '>', '>=', '&&', '||', '!')
        or (t.token in ('like_regex', 'starts', 'exists', 'is') and t.before is distinct from '.')
      )),
      false
    ),
    coalesce(bool_or(t.token = 'like_regex' and t.before is distinct from '.'), false)
  from (
    select p_tokens[n] as token, p_tokens[n - 1] as before, p_tokens[n + 1] as after, p_depths[n] as depth
    from generate_subscripts(p_tokens, 1) as n
  ) as t
$$;

-- One path, rewritten: its pieces, where what follows a \x01 is a source and the root; what it reads; or the
-- problem and the token at which it is.
create or replace function engine.rewrite_path(
  p_tokens text[],
  p_gaps text[],
  out pieces text[],
  out sources text[],
  out variables text[],
  out inputs text[],
  out many boolean,
  out regex boolean,
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
as $$
declare
  v_count constant int := cardinality(p_tokens);
  v_root record;
  v_brackets record;
  v_before text;
  v_place int := 1;
begin
  pieces := '{}'; sources := '{}'; variables := '{}'; inputs := '{}';
  while v_place <= v_count loop
    problem_at := v_place;
    if p_tokens[v_place] = '$' then
      v_root := engine.path_root(p_tokens[v_place : v_count]);
      problem := v_root.problem;
      pieces := pieces || (p_gaps[v_place] || e'\x01' || v_root.source);
      sources := sources || v_root.source;
      variables := variables || v_root.variable;
      inputs := inputs || v_root.input;
      v_place := v_place + v_root.taken;
      v_before := v_root.source;
    else
      problem := engine.token_problem(p_tokens[v_place], v_before, v_place = 1, p_tokens[v_place + 1 : v_place + 4]);
      pieces := pieces || (p_gaps[v_place] || p_tokens[v_place]);
      v_before := p_tokens[v_place];
      v_place := v_place + 1;
    end if;
    if problem is not null then
      return;
    end if;
  end loop;
  if v_count = 0 then
    problem := 'a path is missing';
    problem_at := 1;
    return;
  end if;

  v_brackets := engine.bracket_depths(p_tokens);
  problem := v_brackets.problem;
  problem_at := v_brackets.problem_at;
  select t.many, t.regex into many, regex from engine.path_traits(p_tokens, v_brackets.depths) as t;
end
$$;

-- The rewritten path as text: with one source, roots are `$`; with variables, `$"prev"`.
create or replace function engine.path_text(p_pieces text[], p_variables boolean)
  returns text
  language sql
  immutable
as $$
  select ltrim(string_agg(
    case when p_variables
      then regexp_replace(p.piece, e'\x01(.*)$', '$"\1"')
      else regexp_replace(p.piece, e'\x01.*$', '$')
    end,
    '' order by p.place
  ))
  from unnest(p_pieces) with ordinality as p (piece, place)
$$;
--! EndIncluded 30_workflows/paths.sql
--! Included 30_workflows/parse_filters.sql
-- kind: code
-- Reads the filters of an expression: `| name(argument, …)`. An argument is a literal or a path.

-- The places of the `|` outside of brackets.
create or replace function engine.pipe_places(p_tokens text[])
  returns int[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_depth int := 0;
  v_places int[] := '{}';
begin
  for v_place in 1 .. cardinality(p_tokens) loop
    case
      when p_tokens[v_place] in ('(', '[', '{') then v_depth := v_depth + 1;
      when p_tokens[v_place] in (')', ']', '}') then v_depth := v_depth - 1;
      when p_tokens[v_place] = '|' and v_depth = 0 then v_places := v_places || v_place;
      else null;
    end case;
  end loop;
  return v_places;
end
$$;

-- One argument of a filter: a literal, or a path; p_paths is how many paths the arguments before had.
create or replace function engine.parse_argument(
  p_tokens text[],
  p_gaps text[],
  p_paths int,
  out argument jsonb,
  out path_pieces text[],
  out sources text[],
  out variables text[],
  out inputs text[],
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
as $$
declare
  v_text constant text := array_to_string(p_tokens, '');
  v_path record;
begin
  problem_at := 1;
  case
    when v_text ~ '^-?\d+(\.\d+)?([eE][+-]?\d{1,2})?$' and length(v_text) <= 300 then
      argument := jsonb_build_object('value', v_text::numeric);
    when v_text in ('true', 'false', 'null') then
      argument := jsonb_build_object('value', v_text::jsonb);
    when left(v_text, 1) = '"' and cardinality(p_tokens) = 1 then
      argument := jsonb_build_object('value', engine.token_text(v_text));
      if length(v_text) < 2 or engine.token_text(v_text) is null then
        problem := 'not a valid text';
      end if;
    when p_tokens[1] = '$' then
      v_path := engine.rewrite_path(p_tokens, p_gaps);
      problem := v_path.problem;
      problem_at := v_path.problem_at;
      argument := jsonb_build_object('path', p_paths + 1, 'many', v_path.many);
      path_pieces := v_path.pieces;
      sources := v_path.sources;
      variables := v_path.variables;
      inputs := v_path.inputs;
    else
      problem := 'an argument is a number, a text in quotes, true, false, null, or a path that begins with $';
  end case;
end
$$;

-- The arguments of one filter, cut at its commas.
create or replace function engine.argument_bounds(p_tokens text[])
  returns table (first_place int, last_place int)
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_depth int := 0;
begin
  first_place := 1;
  for v_place in 1 .. cardinality(p_tokens) loop
    if p_tokens[v_place] = ',' and v_depth = 0 then
      last_place := v_place - 1;
      return next;
      first_place := v_place + 1;
    elsif p_tokens[v_place] in ('(', '[', '{') then
      v_depth := v_depth + 1;
    elsif p_tokens[v_place] in (')', ']', '}') then
      v_depth := v_depth - 1;
    end if;
  end loop;
  if cardinality(p_tokens) > 0 then
    last_place := cardinality(p_tokens);
    return next;
  end if;
end
$$;

-- One filter: its name and arguments; p_tokens are those between two pipes.
create or replace function engine.parse_filter(
  p_tokens text[],
  p_gaps text[],
  p_paths int,
  out filter jsonb,
  out paths jsonb,
  out sources text[],
  out variables text[],
  out inputs text[],
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
as $$
declare
  v_count constant int := cardinality(p_tokens);
  v_arguments jsonb := '[]';
  v_bound record;
  v_argument record;
begin
  problem_at := 1;
  paths := '[]';
  if v_count = 0 then
    problem := 'the name of a filter is missing after |';
  elsif v_count > 1 and (p_tokens[2] <> '(' or p_tokens[v_count] <> ')') then
    problem := 'a filter is written name or name(argument, …)';
    problem_at := 2;
  end if;
  if problem is not null then
    return;
  end if;

  for v_bound in select * from engine.argument_bounds(p_tokens[3 : v_count - 1]) loop
    v_argument := engine.parse_argument(
      p_tokens[v_bound.first_place + 2 : v_bound.last_place + 2],
      p_gaps[v_bound.first_place + 2 : v_bound.last_place + 2],
      p_paths + jsonb_array_length(paths)
    );
    if v_argument.problem is not null then
      problem := v_argument.problem;
      problem_at := v_bound.first_place + 1 + v_argument.problem_at;
      return;
    end if;
    v_arguments := v_arguments || v_argument.argument;
    if v_argument.path_pieces is not null then
      paths := paths || to_jsonb(array[engine.path_text(v_argument.path_pieces, true)]);
    end if;
    sources := sources || v_argument.sources;
    variables := variables || v_argument.variables;
    inputs := inputs || v_argument.inputs;
  end loop;
  filter := jsonb_build_object('name', p_tokens[1], 'arguments', v_arguments);
  problem := engine.filter_problem(p_tokens[1], v_arguments);
end
$$;
--! EndIncluded 30_workflows/parse_filters.sql
--! Included 30_workflows/expressions.sql
-- kind: code
-- Reads a whole expression: `path | filter(argument, …) | …`. Used when a workflow is validated or compiled.

-- What PostgreSQL says against a path; null when it takes it.
create or replace function engine.jsonpath_problem(p_path text)
  returns text
  language plpgsql
  immutable
as $$
begin
  perform p_path::jsonpath;
  return null;
exception
  when syntax_error or data_exception or program_limit_exceeded or feature_not_supported then
    return regexp_replace(sqlerrm, ' of jsonpath input', '');
end
$$;

-- The filters after a path: what p_pipes separate.
create or replace function engine.parse_filters(
  p_tokens text[],
  p_gaps text[],
  p_pipes int[],
  out filters jsonb,
  out argument_paths text[],
  out sources text[],
  out variables text[],
  out inputs text[],
  out problem text,
  out problem_at int
)
  language plpgsql
  stable
as $$
declare
  v_filter record;
  v_first int;
  v_last int;
begin
  for v_pipe in 1 .. cardinality(p_pipes) loop
    v_first := p_pipes[v_pipe] + 1;
    v_last := coalesce(p_pipes[v_pipe + 1] - 1, cardinality(p_tokens));
    v_filter := engine.parse_filter(
      p_tokens[v_first : v_last], p_gaps[v_first : v_last], coalesce(cardinality(argument_paths), 0)
    );
    problem := v_filter.problem;
    problem_at := least(v_first + v_filter.problem_at - 1, cardinality(p_tokens));
    exit when problem is not null;
    filters := coalesce(filters, '[]') || v_filter.filter;
    argument_paths := nullif(argument_paths || array(select jsonb_array_elements_text(v_filter.paths)), '{}');
    sources := sources || v_filter.sources;
    variables := variables || v_filter.variables;
    inputs := inputs || v_filter.inputs;
  end loop;
end
$$;

-- A whole expression. When `problem` says what is wrong, `problem_at` is the 1-based character at which it is.
create or replace function engine.parse_expression(
  p_text text,
  out path text,
  out sources text[],
  out variables text[],
  out inputs text[],
  out many boolean,
  out regex boolean,
  out filters jsonb,
  out argument_paths text[],
  out problem text,
  out problem_at int
)
  language plpgsql
  stable
as $$
declare
  v_tokens record;
  v_pipes int[];
  v_last int;
  v_main record;
  v_filters record;
begin
  problem_at := 1;
  problem := case
    when length(p_text) > 4096 then 'an expression has at most 4,096 characters'
    when p_text ~ e'[\\x01-\\x08\\x0e-\\x1f]' then 'an expression has no control characters'
  end;
  if problem is not null then
    return;
  end if;

  v_tokens := engine.significant_tokens(p_text);
  if cardinality(v_tokens.tokens) > 1000 then
    problem := 'an expression has at most 1,000 parts';
    return;
  end if;
  v_pipes := engine.pipe_places(v_tokens.tokens);
  v_last := coalesce(v_pipes[1] - 1, cardinality(v_tokens.tokens));
  v_main := engine.rewrite_path(v_tokens.tokens[1 : v_last], v_tokens.gaps[1 : v_last]);
  v_filters := engine.parse_filters(v_tokens.tokens, v_tokens.gaps, v_pipes);
  problem := coalesce(v_main.problem, v_filters.problem);
  if problem is not null then
    problem_at := coalesce(
      v_tokens.starts[case when v_main.problem is null then v_filters.problem_at else v_main.problem_at end], 1
    );
    return;
  end if;

  many := v_main.many;
  regex := v_main.regex;
  filters := v_filters.filters;
  argument_paths := v_filters.argument_paths;
  sources := array(select distinct s from unnest(v_main.sources || v_filters.sources) as s order by s);
  variables := array(
    select distinct v from unnest(v_main.variables || v_filters.variables) as v where v is not null order by v
  );
  inputs := array(select distinct i from unnest(v_main.inputs || v_filters.inputs) as i where i is not null order by i);
  path := engine.path_text(v_main.pieces, cardinality(sources) > 1 or argument_paths is not null);
  problem := coalesce(
    engine.jsonpath_problem(path), (select min(engine.jsonpath_problem(a)) from unnest(argument_paths) as a)
  );
end
$$;
--! EndIncluded 30_workflows/expressions.sql
--! Included 30_workflows/properties.sql
-- kind: code
-- Finds the expressions in the properties of a node, with the schema of its type at hand.

-- The properties that a type gives itself when a node leaves them out.
create or replace function engine.default_properties(p_schema jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_object_agg(p.key, p.value -> 'default') filter (where p.value ? 'default'), '{}')
  from jsonb_each(coalesce(p_schema -> 'properties', '{}')) as p
$$;

-- Every text in a value that may hold an expression: where it is, and the format that the schema gives it.
create or replace function engine.texts_in(p_value jsonb, p_schema jsonb)
  returns table (place text[], content text, format text)
  language sql
  immutable
  parallel safe
as $$
  with recursive walk as (
    select '{}'::text[] as place, p_value as value, p_schema as schema
    union all
    select w.place || c.key, c.value, engine.child_schema(w.schema, c.key)
    from walk as w
    cross join lateral (
      select e.key, e.value
      from jsonb_each(case when jsonb_typeof(w.value) = 'object' then w.value else '{}' end) as e
      union all
      select (e.place - 1)::text, e.value
      from jsonb_array_elements(case when jsonb_typeof(w.value) = 'array' then w.value else '[]' end)
        with ordinality as e (value, place)
    ) as c
  )
  select w.place, w.value #>> '{}', w.schema ->> 'format'
  from walk as w
  where jsonb_typeof(w.value) = 'string'
    and (w.schema ? 'format' or strpos(w.value #>> '{}', '{{') > 0)
$$;

-- The parts of a text of that format: none when it holds no expression.
create or replace function engine.text_parts(p_content text, p_format text)
  returns table (kind text, literal text, expression text, start_at int, error text)
  language plpgsql
  immutable
as $$
begin
  if p_format in ('predicate', 'each', 'path') then
    return query select
      case p_format when 'path' then 'value' else p_format end,
      null::text,
      p_content,
      1,
      case when strpos(p_content, '{{') > 0 then 'write the path without {{ and }}' end;
  elsif p_format is distinct from 'static' and strpos(p_content, '{{') > 0 then
    return query
      select
        case
          when count(*) over () = 1 and t.expression is not null then 'value'
          when count(t.expression) over () = 0 and count(t.error) over () = 0 then 'literal'
          else 'text'
        end,
        t.literal, t.expression, t.start_at, t.error
      from engine.split_template(p_content) as t;
  end if;
end
$$;

-- Every expression of a node, part by part. A text of kind `literal` only holds escaped braces.
create or replace function engine.parse_properties(p_properties jsonb, p_schema jsonb)
  returns table (
    place text[],
    kind text,
    part int,
    literal text,
    start_at int,
    path text,
    sources text[],
    variables text[],
    inputs text[],
    many boolean,
    regex boolean,
    filters jsonb,
    argument_paths text[],
    problem text
  )
  language sql
  immutable
as $$
  select
    t.place, p.kind, p.part::int, p.literal,
    p.start_at + coalesce(e.problem_at, 1) - 1,
    e.path, e.sources, e.variables, e.inputs, e.many, e.regex, e.filters, e.argument_paths,
    coalesce(p.error, e.problem)
  from engine.texts_in(p_properties, p_schema) as t
  cross join lateral engine.text_parts(t.content, t.format) with ordinality as p (
    kind, literal, expression, start_at, error, part
  )
  left join lateral engine.parse_expression(p.expression) as e on p.expression is not null and p.error is null
$$;
--! EndIncluded 30_workflows/properties.sql
--! Included 30_workflows/evaluate.sql
-- kind: code
-- Expressions that are not plain: several sources, filters, texts with expressions in them, conditions for each item,
-- and everything on strict nodes. Like resolve.sql: no queries, nothing but the arguments.

-- On a strict node, what a path cannot do (divide by zero, read a text as a number) fails the node; on others
-- nothing is found there.
create or replace function engine.query_strictly(
  p_target jsonb,
  p_path jsonpath,
  p_variables jsonb,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return jsonb_path_query_array(p_target, p_path, p_variables, false);
exception
  when data_exception then
    return engine.expression_failed('EXPRESSION_FAILED', sqlerrm, p_place, p_position);
end
$$;

-- Every source of a part as a jsonpath variable.
create or replace function engine.source_variables(
  p_part engine.expression_part,
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_outputs jsonb[],
  p_run jsonb,
  p_vars jsonb,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_variables jsonb := '{}';
begin
  for v_place in 1 .. cardinality(p_part.sources) loop
    v_variables := v_variables || jsonb_build_object(p_part.sources[v_place], engine.source_value(
      split_part(p_part.sources[v_place], '.', 1), p_part.source_nodes[v_place],
      p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, p_item, p_index
    ));
  end loop;
  return v_variables;
end
$$;

-- The value of one part of an expression.
create or replace function engine.part_value(
  p_part engine.expression_part,
  p_place text[],
  p_strict boolean,
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_outputs jsonb[],
  p_run jsonb,
  p_vars jsonb,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_variables jsonb := '{}';
  v_target jsonb := 'null';
  v_value jsonb;
begin
  if cardinality(p_part.sources) = 1 and p_part.argument_paths is null then
    v_target := engine.source_value(
      split_part(p_part.sources[1], '.', 1), p_part.source_nodes[1],
      p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, p_item, p_index
    );
  else
    v_variables := engine.source_variables(
      p_part, p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, p_item, p_index
    );
  end if;
  if pg_column_size(v_target) + pg_column_size(v_variables) > p_part.max_input then
    perform engine.input_too_large(p_part.max_input, p_place, p_part.position);
  end if;

  if p_strict then
    v_value := engine.query_strictly(v_target, p_part.path, v_variables, p_place, p_part.position);
  else
    v_value := jsonb_path_query_array(v_target, p_part.path, v_variables, true);
  end if;
  v_value := engine.result_value(v_value, p_part.many);
  if p_part.filters is not null then
    v_value := engine.apply_filters(v_value, p_part, v_variables, p_place);
  end if;
  if pg_column_size(v_value) > 1048576 then
    perform engine.expression_failed('EXPRESSION_TOO_LARGE', 'a result has at most 1 MiB', p_place, p_part.position);
  end if;
  return v_value;
end
$$;

-- A condition for each item of the property `items` beside it: an array of true and false.
create or replace function engine.evaluate_each(
  p_expression engine.expression,
  p_properties jsonb,
  p_strict boolean,
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_outputs jsonb[],
  p_run jsonb,
  p_vars jsonb
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_items constant jsonb := p_properties #> (trim_array(p_expression.place, 1) || '{items}'::text[]);
  v_part constant engine.expression_part := p_expression.parts[1];
  v_item_only constant boolean := v_part.sources = '{item}';
  v_variables constant jsonb := engine.source_variables(
    v_part, p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, null, null
  );
  v_found jsonb;
  v_truths text[] := '{}';
begin
  if jsonb_typeof(v_items) <> 'array' then
    return '[]'; -- the node will say what is wrong with it
  end if;
  for v_index in 0 .. jsonb_array_length(v_items) - 1 loop
    if v_part.filters is not null or p_strict then
      v_found := jsonb_build_array(engine.part_value(
        v_part, p_expression.place, p_strict,
        p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, v_items -> v_index, v_index
      ));
    elsif pg_column_size(v_items -> v_index) + pg_column_size(v_variables) > v_part.max_input then
      perform engine.input_too_large(v_part.max_input, p_expression.place, v_part.position);
    elsif v_item_only then
      v_found := jsonb_path_query_array(v_items -> v_index, v_part.path, '{}', true);
    else
      v_found := jsonb_path_query_array(
        'null', v_part.path, v_variables || jsonb_build_object('item', v_items -> v_index, 'index', v_index), true
      );
    end if;
    v_truths[v_index + 1] := case v_found
      when '[true]' then 'true'
      when '[false]' then 'false'
      else engine.truth(v_found, p_strict, p_expression.place, v_part.position)::text
    end;
  end loop;
  return ('[' || array_to_string(v_truths, ',') || ']')::jsonb;
end
$$;

create or replace function engine.evaluate_expression(
  p_expression engine.expression,
  p_properties jsonb,
  p_strict boolean,
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_outputs jsonb[],
  p_run jsonb,
  p_vars jsonb,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_part engine.expression_part;
  v_text text := '';
  v_value jsonb;
begin
  if p_expression.kind = 'each' then
    return engine.evaluate_each(
      p_expression, p_properties, p_strict, p_input, p_prev, p_inputs, p_outputs, p_run, p_vars
    );
  end if;

  foreach v_part in array p_expression.parts loop
    if v_part.literal is not null then
      v_text := v_text || v_part.literal;
      continue;
    end if;
    v_value := engine.part_value(
      v_part, p_expression.place, p_strict,
      p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, p_item, p_index
    );
    if p_expression.kind = 'value' then
      return v_value;
    elsif p_expression.kind = 'predicate' then
      return engine.truth(jsonb_build_array(v_value), p_strict, p_expression.place, v_part.position);
    end if;
    v_text := v_text || engine.text_of(v_value);
    if octet_length(v_text) > 1048576 then
      perform engine.expression_failed(
        'EXPRESSION_TOO_LARGE', 'a text has at most 1 MiB', p_expression.place, v_part.position
      );
    end if;
  end loop;
  return to_jsonb(v_text);
end
$$;
--! EndIncluded 30_workflows/evaluate.sql
--! Included 30_workflows/resolve.sql
-- kind: code
-- Puts results in the place of expressions when a node runs: the innermost loop of the engine. No function here
-- runs a query, so that every statement stays a "simple expression" of PL/pgSQL (0.1 to 0.6 µs instead of 10), and
-- each is a function of its arguments alone, so that a replay gives the same. Plain expressions are done in place;
-- evaluate.sql does the others.

-- What a path starts at. The planner inlines it into the statement that calls it.
create or replace function engine.source_value(
  p_source text,
  p_node int,
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_outputs jsonb[],
  p_run jsonb,
  p_vars jsonb,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    case p_source
      when 'prev' then p_prev
      when 'nodes' then p_outputs[p_node]
      when 'input' then p_input
      when 'vars' then p_vars
      when 'item' then p_item
      when 'inputs' then p_inputs
      when 'run' then p_run
      when 'index' then p_index::text::jsonb
    end,
    'null'
  )
$$;

-- Fails the node; the engine adds its name.
create or replace function engine.expression_failed(
  p_code text,
  p_message text,
  p_place text[],
  p_position int
)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'NODE_FAILED',
    format('%s (property %s, position %s)', p_message, engine.json_pointer(p_place), p_position),
    null,
    jsonb_build_object('code', p_code, 'property', engine.json_pointer(p_place), 'position', p_position)
  );
  return null;
end
$$;

create or replace function engine.input_too_large(p_max_input int, p_place text[], p_position int)
  returns jsonb
  language sql
  immutable
as $$
  select engine.expression_failed(
    'EXPRESSION_TOO_LARGE', format('an expression reads at most %s kB here', p_max_input / 1024), p_place, p_position
  )
$$;

-- What a predicate found, as true or false. Unknown (a text compared with a number, a missing value) is false, or an
-- error on a strict node.
create or replace function engine.truth(p_found jsonb, p_strict boolean, p_place text[], p_position int)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_found in ('[true]', '[false]') then
    return p_found -> 0;
  elsif p_found not in ('[null]', '[]') then
    return engine.expression_failed(
      'EXPRESSION_NOT_BOOLEAN',
      format('a condition must be true or false, not %s', left(p_found::text, 100)),
      p_place,
      p_position
    );
  elsif p_strict then
    return engine.expression_failed(
      'EXPRESSION_UNKNOWN', 'the condition is neither true nor false', p_place, p_position
    );
  end if;
  return 'false';
end
$$;

create or replace function engine.resolve(
  p_properties jsonb,
  p_expressions engine.expression[],
  p_strict boolean,
  p_input jsonb,
  p_prev jsonb,
  p_inputs jsonb,
  p_outputs jsonb[],
  p_run jsonb,
  p_vars jsonb,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_properties jsonb := p_properties;
  v_expression engine.expression;
  v_found jsonb;
begin
  if p_expressions is null then
    return p_properties;
  end if;

  foreach v_expression in array p_expressions loop
    if v_expression.source is null then
      v_properties := jsonb_set(v_properties, v_expression.place, engine.evaluate_expression(
        v_expression, v_properties, p_strict,
        p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, p_item, p_index
      ));
      continue;
    end if;

    v_found := engine.source_value(
      v_expression.source, v_expression.source_node,
      p_input, p_prev, p_inputs, p_outputs, p_run, p_vars, p_item, p_index
    );
    if pg_column_size(v_found) > v_expression.max_input then
      perform engine.input_too_large(v_expression.max_input, v_expression.place, v_expression.position);
    end if;

    v_found := jsonb_path_query_array(v_found, v_expression.path, '{}', true);
    v_properties := jsonb_set(
      v_properties,
      v_expression.place,
      case
        when v_expression.kind = 'predicate' and v_found not in ('[true]', '[false]')
          then engine.truth(v_found, false, v_expression.place, v_expression.position)
        when jsonb_array_length(v_found) > 1 then v_found
        else coalesce(v_found -> 0, 'null')
      end
    );
  end loop;
  return v_properties;
end
$$;
comment on function engine.resolve(
  jsonb, engine.expression[], boolean, jsonb, jsonb, jsonb, jsonb[], jsonb, jsonb, jsonb, int
) is
  'The properties of a node with the result of each expression in its place. Fails with NODE_FAILED; the detail has the code, the property and the position.';
--! EndIncluded 30_workflows/resolve.sql
--! Included 30_workflows/node_types.sql
-- kind: code
-- The built-in node types. The properties of a type are a JSON schema (see schema_problems.sql for what it may
-- say); its formats say how a text is read:
--   predicate  a bare path that is true or false
--   each       such a path for each item of the property `items` beside it
--   path       a bare path that gives a value
--   static     itself never an expression; what is in a list or an object may be
-- Everywhere else a text may hold expressions between {{ and }}, except in triggers, which have nothing to read.

insert into engine.node_types (name, version, kind, description, ports, inputs, properties)
values
  ('manualTrigger', 1, 'trigger', 'Starts a run by hand.', '{main}', '{}',
    '{"type": "object", "additionalProperties": false}'),

  ('apiTrigger', 1, 'trigger', 'Starts a run by a call of the API.', '{main}', '{}',
    '{"type": "object", "additionalProperties": false}'),

  ('subworkflowTrigger', 1, 'trigger', 'Starts a run for another workflow''s executeWorkflow, forEach or repeat.',
    '{main}', '{}', '{
    "type": "object", "additionalProperties": false,
    "properties": {"input": {"type": "object"}}
  }'),

  ('webhookTrigger', 1, 'trigger', 'Starts a run by an HTTP request.', '{main}', '{}', '{
    "type": "object", "additionalProperties": false, "required": ["path"],
    "properties": {
      "path": {"type": "string", "maxLength": 512},
      "method": {
        "anyOf": [
          {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
          {"type": "array", "minItems": 1, "items": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]}}
        ]
      },
      "authentication": {"enum": ["none"]},
      "respond": {"enum": ["immediately", "lastNode", "respondNode"]},
      "responseTimeoutMs": {"type": "integer", "minimum": 1, "maximum": 120000},
      "dedupeHeader": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}
    }
  }'),

  ('set', 1, 'pure', 'Assigns, renames, picks and omits the keys of an object.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "pick": {"type": "array", "format": "static", "items": {"type": "string", "format": "static"}},
      "omit": {"type": "array", "format": "static", "items": {"type": "string", "format": "static"}},
      "rename": {
        "type": "object", "format": "static", "additionalProperties": {"type": "string", "format": "static"}
      },
      "assign": {"type": "object", "format": "static"},
      "types": {
        "type": "object", "format": "static",
        "additionalProperties": {"enum": ["text", "number", "integer", "boolean", "json"], "format": "static"}
      }
    }
  }'),

  ('if', 1, 'pure', 'Goes one way or the other.', '{true,false}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["when"],
    "properties": {"when": {"type": ["string", "boolean"], "format": "predicate"}}
  }'),

  ('switch', 1, 'pure', 'Goes the way of the first rule that holds.', '{fallback}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["rules"],
    "properties": {
      "value": {},
      "rules": {
        "type": "array", "format": "static", "minItems": 1, "maxItems": 100,
        "items": {
          "type": "object", "format": "static", "additionalProperties": false,
          "properties": {
            "when": {"type": ["string", "boolean"], "format": "predicate"},
            "equals": {},
            "port": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_ -]{0,63}$", "format": "static"}
          },
          "anyOf": [{"required": ["when"]}, {"required": ["equals"]}]
        }
      },
      "fallback": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_ -]{0,63}$", "format": "static"}
    }
  }'),

  ('filter', 1, 'pure', 'Keeps the items of a list for which a condition holds.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["when"],
    "properties": {
      "items": {"type": ["array", "null"], "default": "{{ $.prev }}"},
      "when": {"type": ["string", "boolean"], "format": "each"}
    }
  }'),

  ('merge', 1, 'pure', 'Brings branches together.', '{main}', '{main,second}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "mode": {"enum": ["choose", "append", "position", "fields"], "format": "static"},
      "by": {"type": "string", "minLength": 1, "format": "static"},
      "bySecond": {"type": "string", "minLength": 1, "format": "static"},
      "join": {"enum": ["inner", "left", "outer"], "format": "static"},
      "choose": {"enum": ["first", "last"], "format": "static"}
    }
  }'),

  ('transform', 1, 'pure', 'Builds a value from a template or takes one by a path.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "template": {},
      "path": {"type": "string", "format": "path"}
    },
    "anyOf": [{"required": ["template"]}, {"required": ["path"]}]
  }'),

  ('noOp', 1, 'pure', 'Passes its input on.', '{main}', '{main}', '{"type": "object", "additionalProperties": false}'),

  ('stopAndError', 1, 'pure', 'Ends the run with an error.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["message"],
    "properties": {
      "message": {"type": "string", "minLength": 1},
      "code": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]{0,63}$"}
    }
  }'),

  ('respondToWebhook', 1, 'pure', 'Answers the request that started the run; the run goes on.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "status": {"type": "integer", "minimum": 200, "maximum": 599},
      "headers": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
      "body": {}
    }
  }'),

  ('wait', 1, 'wait', 'Waits for a time, a signal, a request or an approval.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "seconds": {"type": "number", "minimum": 0, "maximum": 157680000},
      "until": {"type": ["string", "number"]},
      "timezone": {"type": "string", "maxLength": 64},
      "signal": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,200}$"},
      "webhook": {
        "type": "object", "format": "static", "additionalProperties": false,
        "properties": {
          "method": {
            "anyOf": [
              {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"], "format": "static"},
              {
                "type": "array", "minItems": 1, "format": "static",
                "items": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"], "format": "static"}
              }
            ]
          }
        }
      },
      "approval": {
        "type": "object", "format": "static", "additionalProperties": false,
        "properties": {
          "role": {"enum": ["owner", "admin", "member"]},
          "users": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "minLength": 1}}
        }
      },
      "timeoutSeconds": {"type": "number", "minimum": 0, "maximum": 157680000}
    },
    "anyOf": [
      {"required": ["seconds"]}, {"required": ["until"]}, {"required": ["signal"]}, {"required": ["webhook"]},
      {"required": ["approval"]}
    ]
  }'),

  ('executeWorkflow', 1, 'wait', 'Runs another workflow and waits for its result.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["workflow"],
    "properties": {
      "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
      "input": {"default": "{{ $.prev }}"},
      "wait": {"type": "boolean"}
    }
  }'),

  ('forEach', 1, 'wait', 'Runs another workflow for each item of a list.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["workflow"],
    "properties": {
      "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
      "items": {"type": "array", "default": "{{ $.prev }}"},
      "input": {"deferred": true},
      "concurrency": {"type": "integer", "minimum": 1, "maximum": 100, "format": "static"},
      "continue": {"type": "boolean", "format": "static"},
      "maxItems": {"type": "integer", "minimum": 1, "maximum": 10000, "format": "static"}
    }
  }'),

  ('repeat', 1, 'wait', 'Runs another workflow again and again, until a condition holds.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["workflow", "until"],
    "properties": {
      "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
      "input": {"default": "{{ $.prev }}"},
      "until": {"type": ["string", "boolean"], "format": "predicate", "deferred": true},
      "maxIterations": {"type": "integer", "minimum": 1, "maximum": 10000, "format": "static"}
    }
  }'),

  ('random', 1, 'local', 'Draws a UUID, a token or a number.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false,
    "properties": {
      "kind": {"enum": ["uuid", "token", "number"], "format": "static"},
      "bytes": {"type": "integer", "minimum": 16, "maximum": 32, "format": "static"},
      "min": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
      "max": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991}
    }
  }'),

  ('httpRequest', 1, 'effect', 'Makes an HTTP request.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["url"],
    "properties": {
      "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]},
      "url": {"type": "string", "minLength": 1, "maxLength": 8192},
      "query": {"type": "object"},
      "headers": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
      "body": {},
      "bodyType": {"enum": ["json", "form", "raw"]},
      "responseType": {"enum": ["auto", "json", "text", "base64"]},
      "followRedirects": {"type": "boolean"}
    }
  }'),

  ('log', 1, 'effect', 'Writes a line to the log of the run and passes its input on.', '{main}', '{main}', '{
    "type": "object", "additionalProperties": false, "required": ["message"],
    "properties": {
      "level": {"enum": ["debug", "info", "warning", "error"]},
      "message": {},
      "context": {"type": "object"}
    }
  }')
on conflict (name, version) do update
set
  kind = excluded.kind,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;
--! EndIncluded 30_workflows/node_types.sql
--! Included 30_workflows/ports.sql
-- kind: code
-- The ports that a node has, which may depend on its properties.

-- A switch has one per rule, named or numbered from 0, and the fallback.
create or replace function engine.switch_ports(p_properties jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg(p.port order by p.place)
  from (
    select r.port, min(r.place) as place
    from (
      select coalesce(r.rule ->> 'port', (r.place - 1)::text), r.place
      from jsonb_array_elements(
        case when jsonb_typeof(p_properties -> 'rules') = 'array' then p_properties -> 'rules' else '[]' end
      ) with ordinality as r (rule, place)
      union all
      select coalesce(p_properties ->> 'fallback', 'fallback'), 1000
    ) as r (port, place)
    group by r.port
  ) as p
$$;

-- What can come of a wait, and what becomes of it when nothing comes.
create or replace function engine.wait_ports(p_properties jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_properties ? 'approval' then '{approved,rejected,timeout}'::text[]
    when p_properties ?| '{signal,webhook}' then '{main,timeout}'::text[]
    else '{main}'::text[]
  end
$$;

create or replace function engine.node_ports(p_type engine.node_types, p_properties jsonb, p_on_error text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select case p_type.name
      when 'switch' then engine.switch_ports(p_properties)
      when 'wait' then engine.wait_ports(p_properties)
      else p_type.ports
    end
    || case when p_on_error = 'errorOutput' and p_type.kind <> 'trigger' then '{error}'::text[] else '{}' end
$$;

-- The type that a definition means: `set` the newest, `set@1` that version. Null when there is none.
create or replace function engine.node_type(p_name text)
  returns engine.node_types
  language sql
  stable
as $$
  select t
  from engine.node_types as t
  where t.name = split_part(p_name, '@', 1)
    and (strpos(p_name, '@') = 0 or p_name = t.name || '@' || t.version)
  order by t.version desc
  limit 1
$$;
--! EndIncluded 30_workflows/ports.sql
--! Included 30_workflows/pure_nodes.sql
-- kind: code
-- What the built-in pure nodes do with their resolved properties. Each is a function of its arguments; an error
-- raised here is a failure of the node.

-- Null when the text is no JSON.
create or replace function engine.parse_json(p_text text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return p_text::jsonb;
exception
  when data_exception or program_limit_exceeded then
    return null;
end
$$;

-- A value in the type that `set` was told; SQL null when it cannot be had.
create or replace function engine.convert(p_value jsonb, p_type text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_value = 'null' then
    return p_value;
  end if;
  return case p_type
    when 'text' then to_jsonb(engine.text_of(p_value))
    when 'number' then engine.filter_number(p_value)
    when 'integer' then case
      when engine.filter_number(p_value) #>> '{}' ~ '^-?\d+(\.0*)?$' then engine.filter_round(p_value, 0)
    end
    when 'boolean' then case
      when jsonb_typeof(p_value) = 'boolean' then p_value
      when lower(p_value #>> '{}') in ('true', 'yes', 'on', '1') then 'true'
      when lower(p_value #>> '{}') in ('false', 'no', 'off', '0') then 'false'
    end
    when 'json' then case
      when jsonb_typeof(p_value) = 'string' then engine.parse_json(p_value #>> '{}')
      else p_value
    end
  end;
end
$$;

create or replace function engine.node_failed(p_code text, p_message text)
  returns void
  language sql
  immutable
as $$
  select private.raise_error('NODE_FAILED', p_message, null, jsonb_build_object('code', p_code))
$$;

-- Pick and omit, then rename, then assign, then types. What is no object counts as an empty one.
create or replace function engine.run_set(p_properties jsonb, p_prev jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_object jsonb := case when jsonb_typeof(p_prev) = 'object' then p_prev else '{}' end;
  v_key text;
  v_value jsonb;
begin
  if p_properties ? 'pick' then
    v_object := coalesce((
      select jsonb_object_agg(k.key, v_object -> k.key)
      from jsonb_array_elements_text(p_properties -> 'pick') as k (key)
      where v_object ? k.key
    ), '{}');
  end if;
  if p_properties ? 'omit' then
    v_object := v_object - array(select jsonb_array_elements_text(p_properties -> 'omit'));
  end if;
  if p_properties ? 'rename' then
    v_object := coalesce((
      select jsonb_object_agg(coalesce(p_properties -> 'rename' ->> o.key, o.key), o.value)
      from jsonb_each(v_object) as o
    ), '{}');
  end if;
  v_object := v_object || coalesce(p_properties -> 'assign', '{}');
  for v_key in select jsonb_object_keys(p_properties -> 'types') loop
    if v_object ? v_key then
      v_value := engine.convert(v_object -> v_key, p_properties -> 'types' ->> v_key);
      if v_value is null then
        perform engine.node_failed('CONVERSION_FAILED', format(
          '%s is not a %s: %s', v_key, p_properties -> 'types' ->> v_key, left((v_object -> v_key)::text, 100)
        ));
      end if;
      v_object := jsonb_set(v_object, array[v_key], v_value);
    end if;
  end loop;
  return v_object;
end
$$;

-- The port of the first rule that holds: `when` is true, or `equals` is the value.
create or replace function engine.switch_port(p_properties jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_rule jsonb;
begin
  for v_place in 0 .. jsonb_array_length(p_properties -> 'rules') - 1 loop
    v_rule := p_properties -> 'rules' -> v_place;
    if coalesce(v_rule -> 'when', 'true') = 'true'
      and (not v_rule ? 'equals' or v_rule -> 'equals' = coalesce(p_properties -> 'value', 'null'))
    then
      return coalesce(v_rule ->> 'port', v_place::text);
    end if;
  end loop;
  return coalesce(p_properties ->> 'fallback', 'fallback');
end
$$;

-- `when` holds one true or false per item by now.
create or replace function engine.run_filter(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_properties -> 'items' = 'null' then
    return '[]';
  elsif jsonb_typeof(p_properties -> 'items') <> 'array' then
    perform engine.node_failed('NOT_A_LIST', format(
      'items is not a list: %s', left((p_properties -> 'items')::text, 100)
    ));
  end if;
  return (
    select coalesce(jsonb_agg(i.item order by i.place), '[]')
    from jsonb_array_elements(p_properties -> 'items') with ordinality as i (item, place)
    where case jsonb_typeof(p_properties -> 'when')
      when 'array' then p_properties -> 'when' -> (i.place - 1)::int = 'true'
      else p_properties -> 'when' = 'true'
    end
  );
end
$$;

-- The engine takes the answer from the properties; here it is made sure that it is one.
create or replace function engine.run_respond(p_properties jsonb, p_prev jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_properties ? 'status' and coalesce(p_properties ->> 'status', '') !~ '^[2-5]\d\d$' then
    perform engine.node_failed('INVALID_RESPONSE', format(
      'status is not a number from 200 to 599: %s', left((p_properties -> 'status')::text, 100)
    ));
  elsif p_properties ? 'headers' and (
    jsonb_typeof(p_properties -> 'headers') <> 'object'
    or jsonb_path_exists(p_properties, '$.headers.* ? (@.type() == "object" || @.type() == "array")')
    or jsonb_path_exists(p_properties, '$.headers.* ? (@ like_regex "[\\x00-\\x08\\x0a-\\x1f\\x7f]")')
    or exists (
      select from jsonb_object_keys(p_properties -> 'headers') as k (key)
      where k.key !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$'
    )
  ) then
    perform engine.node_failed('INVALID_RESPONSE', 'headers are texts, without line breaks, by name');
  end if;
  return p_prev;
end
$$;

create or replace function engine.run_stop_and_error(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'NODE_FAILED',
    coalesce(nullif(left(p_properties ->> 'message', 10000), ''), 'The workflow was stopped.'),
    null,
    jsonb_build_object('code', coalesce(p_properties ->> 'code', 'STOPPED'))
  );
  return null;
end
$$;
--! EndIncluded 30_workflows/pure_nodes.sql
--! Included 30_workflows/merge.sql
-- kind: code
-- The merge node: `main` and `second` are its inputs, and each may have several live values.

-- All values of an input as one list: lists are spread, anything else is an item.
create or replace function engine.input_items(p_inputs jsonb, p_input text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_path_query_array(p_inputs -> p_input, 'lax $[*][*]'), '[]')
$$;

create or replace function engine.merge_by_position(p_left jsonb, p_right jsonb, p_join text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(coalesce(p_left -> n, '{}') || coalesce(p_right -> n, '{}') order by n), '[]')
  from generate_series(0, case p_join
    when 'inner' then least(jsonb_array_length(p_left), jsonb_array_length(p_right))
    when 'left' then jsonb_array_length(p_left)
    else greatest(jsonb_array_length(p_left), jsonb_array_length(p_right))
  end - 1) as n
$$;

-- Like a join in SQL: a key that occurs several times pairs with each. Items without the key match nothing.
create or replace function engine.merge_by_fields(
  p_left jsonb,
  p_right jsonb,
  p_left_key text,
  p_right_key text,
  p_join text
)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    jsonb_agg(coalesce(l.item, '{}') || coalesce(r.item, '{}') order by l.place nulls last, r.place), '[]'
  )
  from jsonb_array_elements(p_left) with ordinality as l (item, place)
  full join jsonb_array_elements(p_right) with ordinality as r (item, place)
    on l.item -> p_left_key = r.item -> p_right_key
  where case p_join
    when 'outer' then true
    when 'left' then l.place is not null
    else l.place is not null and r.place is not null
  end
$$;

create or replace function engine.run_merge(p_properties jsonb, p_inputs jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_mode constant text := coalesce(p_properties ->> 'mode', 'choose');
  v_values constant jsonb := coalesce(p_inputs -> 'main', '[]') || coalesce(p_inputs -> 'second', '[]');
  v_left jsonb;
  v_right jsonb;
begin
  if v_mode = 'choose' then
    return coalesce(v_values -> case p_properties ->> 'choose' when 'last' then -1 else 0 end, 'null');
  end if;
  v_left := engine.input_items(p_inputs, 'main');
  v_right := engine.input_items(p_inputs, 'second');
  if v_mode = 'append' then
    return v_left || v_right;
  elsif jsonb_path_exists(v_left || v_right, 'strict $[*] ? (@.type() != "object")') then
    perform engine.node_failed('NOT_OBJECTS', format('merging by %s needs objects in the lists', v_mode));
  elsif v_mode = 'position' then
    return engine.merge_by_position(v_left, v_right, coalesce(p_properties ->> 'join', 'outer'));
  end if;
  if jsonb_array_length(v_left)::bigint * jsonb_array_length(v_right) > 10000000 then
    perform engine.node_failed('TOO_LARGE', 'the lists are too long to be merged by fields');
  end if;
  return engine.merge_by_fields(
    v_left,
    v_right,
    p_properties ->> 'by',
    coalesce(p_properties ->> 'bySecond', p_properties ->> 'by'),
    coalesce(p_properties ->> 'join', 'inner')
  );
end
$$;
--! EndIncluded 30_workflows/merge.sql
--! Included 30_workflows/register_node.sql
-- kind: code
-- Node types that a DBA adds: one SQL function each, owned by flowgres_sql and running as that role, so that it
-- can do no more than flowgres_sql may. It takes (properties jsonb, prev jsonb, inputs jsonb) and returns jsonb,
-- the output at port main, or has the out parameters (port text, output jsonb).

-- Why a function cannot be a node; null when it can.
create or replace function engine.registration_problem(p_function regprocedure, p_kind text)
  returns text
  language sql
  stable
as $$
  select case
    when p_kind is null or p_kind not in ('pure', 'local') then 'A registered node is pure or local.'
    when f.prokind <> 'f' or f.proretset or oidvectortypes(f.proargtypes) <> 'jsonb, jsonb, jsonb'
      then 'The function takes (properties jsonb, prev jsonb, inputs jsonb).'
    when f.prorettype <> 'jsonb'::regtype
      and (f.prorettype <> 'record'::regtype or f.proargnames[4:] <> '{port,output}')
      then 'The function returns jsonb, or has the out parameters (port text, output jsonb).'
    when pg_get_userbyid(f.proowner) <> 'flowgres_sql' or not f.prosecdef
      then 'The function belongs to flowgres_sql and is security definer.'
    when not exists (select from unnest(f.proconfig) as c where starts_with(c, 'search_path='))
      then 'The function sets search_path.'
    when p_kind = 'pure' and f.provolatile <> 'i' then 'The function of a pure node is immutable.'
  end
  from pg_catalog.pg_proc as f
  where f.oid = p_function
$$;

create or replace function engine.register_node(
  name text,
  function regprocedure,
  kind text default 'pure',
  description text default '',
  properties jsonb default '{"type": "object"}',
  ports text[] default '{main}',
  inputs text[] default '{main}',
  version int default 1
)
  returns engine.node_types
  language plpgsql
  volatile
  security definer -- definer because node types are not written by anybody else
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_problem text := engine.registration_problem(register_node.function, register_node.kind);
  v_type engine.node_types;
begin
  if exists (select from engine.node_types as t where t.name = register_node.name and t.function is null) then
    v_problem := format('%s is a built-in node type.', register_node.name);
  elsif register_node.function is null then
    v_problem := 'A function is needed.';
  elsif register_node.kind = 'local' and register_node.inputs <> '{main}' then
    v_problem := 'A local node has the input main only.';
  end if;
  if v_problem is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT', v_problem, 'docs/nodes.md shows how a node is registered.',
      jsonb_build_object('function', register_node.function)
    );
  end if;

  insert into engine.node_types (name, version, kind, description, ports, inputs, properties, function)
  values (
    register_node.name, register_node.version, register_node.kind, register_node.description, register_node.ports,
    register_node.inputs, register_node.properties, register_node.function::text
  )
  on conflict on constraint node_types_pkey do update
  set
    kind = excluded.kind,
    description = excluded.description,
    ports = excluded.ports,
    inputs = excluded.inputs,
    properties = excluded.properties,
    function = excluded.function
  returning * into v_type;
  return v_type;
end
$$;
comment on function engine.register_node(text, regprocedure, text, text, jsonb, text[], text[], int) is
  'Makes a function a node type; repeated for the same version, it replaces it. properties is a JSON schema. Errors: INVALID_ARGUMENT. Example: select engine.register_node(''double'', ''custom.double(jsonb, jsonb, jsonb)''::regprocedure);';
grant execute on function engine.register_node(text, regprocedure, text, text, jsonb, text[], text[], int)
  to flowgres_dba;

-- p_function is what register_node wrote down, such as custom.double(jsonb,jsonb,jsonb).
create or replace function engine.registered_function(p_type text, p_function text)
  returns regprocedure
  language plpgsql
  stable
as $$
declare
  v_function constant regprocedure := to_regprocedure(p_function);
begin
  if v_function is null then
    perform private.raise_error(
      'NODE_FAILED', format('There is no node %s any more.', p_type), null, '{"code": "UNKNOWN_TYPE"}'
    );
  end if;
  return v_function;
end
$$;

create or replace function engine.run_registered(
  p_type text,
  p_function text,
  p_properties jsonb,
  p_prev jsonb,
  p_inputs jsonb
)
  returns engine.outcome
  language plpgsql
  immutable
as $$
begin
  return engine.call_registered(
    engine.registered_function(p_type, p_function), p_properties, p_prev, p_inputs
  );
end
$$;

create or replace function engine.call_registered(
  p_function regprocedure,
  p_properties jsonb,
  p_prev jsonb,
  p_inputs jsonb
)
  returns engine.outcome
  language plpgsql
  volatile
as $$
declare
  v_outcome engine.outcome;
  v_schema text;
  v_name text;
  v_returns oid;
begin
  select n.nspname, f.proname, f.prorettype
  into v_schema, v_name, v_returns
  from pg_catalog.pg_proc as f
  join pg_catalog.pg_namespace as n on n.oid = f.pronamespace
  where f.oid = p_function;
  if v_returns = 'jsonb'::regtype then
    execute format('select ''main'', %I.%I($1, $2, $3)', v_schema, v_name)
    into v_outcome
    using p_properties, p_prev, p_inputs;
  else
    execute format('select o.port, o.output from %I.%I($1, $2, $3) as o', v_schema, v_name)
    into v_outcome
    using p_properties, p_prev, p_inputs;
  end if;
  return v_outcome;
end
$$;
--! EndIncluded 30_workflows/register_node.sql
--! Included 30_workflows/run_pure.sql
-- kind: code
-- Runs a pure node. Part of the engine's innermost loop: one simple expression, in which the common nodes are done in
-- place, without a further call or a query. Building the outcome field by field would take half a microsecond more.

create or replace function engine.run_pure(
  p_type text,
  p_function text,
  p_properties jsonb,
  p_prev jsonb,
  p_inputs jsonb
)
  returns engine.outcome
  language plpgsql
  immutable
as $$
begin
  return case p_type
    when 'set@1' then row('main', case
      when p_properties ?| '{pick,omit,rename,types}' or jsonb_typeof(p_prev) is distinct from 'object'
        then engine.run_set(p_properties, p_prev)
      else p_prev || coalesce(p_properties -> 'assign', '{}')
    end)::engine.outcome
    when 'if@1' then
      row(case when p_properties -> 'when' = 'true' then 'true' else 'false' end, p_prev)::engine.outcome
    when 'noOp@1' then row('main', p_prev)::engine.outcome
    when 'respondToWebhook@1' then row('main', engine.run_respond(p_properties, p_prev))::engine.outcome
    when 'transform@1' then
      row('main', coalesce(p_properties -> 'template', p_properties -> 'path'))::engine.outcome
    when 'switch@1' then row(engine.switch_port(p_properties), p_prev)::engine.outcome
    when 'filter@1' then row('main', engine.run_filter(p_properties))::engine.outcome
    when 'merge@1' then row('main', engine.run_merge(p_properties, p_inputs))::engine.outcome
    when 'stopAndError@1' then row(null, engine.run_stop_and_error(p_properties))::engine.outcome
    else engine.run_registered(p_type, p_function, p_properties, p_prev, p_inputs)
  end;
end
$$;
comment on function engine.run_pure(text, text, jsonb, jsonb, jsonb) is
  'The outcome of a pure node, by its resolved properties. inputs: {"<input>": [live values]}. An error raised is a failure of the node.';
--! EndIncluded 30_workflows/run_pure.sql
--! Included 30_workflows/graph.sql
-- kind: code
-- The graph of a definition as arrays of places: edge n goes from node sources[n] to node targets[n].

-- In topological order, ties by place. Nodes in or behind a cycle are missing.
create or replace function engine.sort_graph(p_count int, p_sources int[], p_targets int[])
  returns int[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_waiting int[] := array_fill(0, array[p_count]); -- how many sources of a node are not in the order yet
  v_order int[] := '{}';
  v_target int;
  v_next int;
  v_edge int;
begin
  foreach v_target in array p_targets loop
    v_waiting[v_target] := v_waiting[v_target] + 1;
  end loop;
  loop
    v_next := array_position(v_waiting, 0);
    exit when v_next is null;
    v_order := v_order || v_next;
    v_waiting[v_next] := -1;
    foreach v_edge in array array_positions(p_sources, v_next) loop
      v_waiting[p_targets[v_edge]] := v_waiting[p_targets[v_edge]] - 1;
    end loop;
  end loop;
  return v_order;
end
$$;

-- For each node one bit per node: those from which it is reached. p_order is what sort_graph gave.
create or replace function engine.upstream_of(p_order int[], p_sources int[], p_targets int[], p_count int)
  returns varbit[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_upstream varbit[] := array_fill(repeat('0', p_count)::varbit, array[p_count]);
  v_node int;
  v_edge int;
begin
  foreach v_node in array p_order loop
    foreach v_edge in array array_positions(p_targets, v_node) loop
      v_upstream[v_node] := set_bit(
        (v_upstream[v_node] | v_upstream[p_sources[v_edge]])::bit varying, p_sources[v_edge] - 1, 1
      );
    end loop;
  end loop;
  return v_upstream;
end
$$;

-- The ends of the connections as places in `nodes`; null where no node has that id.
create or replace function engine.graph_edges(
  p_definition jsonb,
  out sources int[],
  out targets int[]
)
  language sql
  immutable
  parallel safe
as $$
  with ids as (
    select array(
      select n.node ->> 'id'
      from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
      order by n.place
    ) as ids
  )
  select
    coalesce(array_agg(array_position(i.ids, c.connection ->> 'source') order by c.place), '{}'),
    coalesce(array_agg(array_position(i.ids, c.connection ->> 'target') order by c.place), '{}')
  from ids as i
  cross join jsonb_array_elements(coalesce(p_definition -> 'connections', '[]'))
    with ordinality as c (connection, place)
$$;
--! EndIncluded 30_workflows/graph.sql
--! Included 30_workflows/compile_expressions.sql
-- kind: code
-- Compiles the expressions of a node to what the engine evaluates.

-- Filters with their literal arguments as they are passed on, so that nothing is left to do for them at run time.
create or replace function engine.plain_filters(p_filters jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_agg(
    jsonb_build_object(
      'name', f.filter -> 'name', 'arguments', jsonb_path_query_array(f.filter -> 'arguments', '$[*].value')
    ) order by f.place
  )
  from jsonb_array_elements(p_filters) with ordinality as f (filter, place)
$$;

-- One expression part; p_ids are the nodes in the order of the plan.
create or replace function engine.compile_part(
  p_literal text,
  p_path text,
  p_sources text[],
  p_many boolean,
  p_regex boolean,
  p_filters jsonb,
  p_argument_paths text[],
  p_start_at int,
  p_ids text[]
)
  returns engine.expression_part
  language sql
  immutable
as $$
  select row(
    p_literal,
    p_sources,
    array(
      select coalesce(array_position(p_ids, substr(s.source, 7)), 0)
      from unnest(p_sources) with ordinality as s (source, place)
      order by s.place
    ),
    p_path::jsonpath,
    p_many,
    case when p_argument_paths is null then engine.plain_filters(p_filters) else p_filters end,
    p_argument_paths::jsonpath[],
    case when p_regex then 65536 else 262144 end,
    p_start_at
  )::engine.expression_part
$$;

-- The expression of one place. What is plain becomes flat, because the engine does that without a call.
create or replace function engine.compile_expression(
  p_place text[],
  p_kind text,
  p_parts engine.expression_part[],
  p_strict boolean
)
  returns engine.expression
  language plpgsql
  immutable
as $$
declare
  v_part constant engine.expression_part := p_parts[1];
  v_expression engine.expression;
begin
  v_expression.place := p_place;
  v_expression.kind := p_kind;
  if p_kind in ('value', 'predicate')
    and not p_strict and not v_part.many and v_part.filters is null and cardinality(v_part.sources) = 1
  then
    v_expression.source := split_part(v_part.sources[1], '.', 1);
    v_expression.source_node := v_part.source_nodes[1];
    v_expression.path := v_part.path;
    v_expression.max_input := v_part.max_input;
    v_expression.position := v_part.position;
  else
    v_expression.parts := p_parts;
  end if;
  return v_expression;
end
$$;

-- The properties with literal texts unescaped, their expressions, and what these read.
create or replace function engine.compile_properties(
  p_properties jsonb,
  p_schema jsonb,
  p_strict boolean,
  p_ids text[],
  out properties jsonb,
  out expressions engine.expression[],
  out variables text[],
  out sources text[]
)
  language plpgsql
  immutable
as $$
declare
  v_text record;
begin
  properties := p_properties;
  for v_text in
    select
      p.place, p.kind, string_agg(p.literal, '' order by p.part) as literal,
      array_agg(
        engine.compile_part(
          p.literal, p.path, p.sources, p.many, p.regex, p.filters, p.argument_paths, p.start_at, p_ids
        ) order by p.part
      ) as parts,
      string_agg(array_to_string(p.sources, ' '), ' ') as reads,
      string_agg(array_to_string(p.variables, ' '), ' ') as variables
    from engine.parse_properties(p_properties, p_schema) as p
    group by p.place, p.kind
    order by p.kind = 'each', p.place -- conditions for each item come after the items
  loop
    if v_text.kind = 'literal' then
      properties := jsonb_set(properties, v_text.place, to_jsonb(v_text.literal));
      continue;
    end if;
    expressions := expressions || engine.compile_expression(v_text.place, v_text.kind, v_text.parts, p_strict);
    variables := variables || string_to_array(v_text.variables, ' ');
    sources := sources || string_to_array(v_text.reads, ' ');
  end loop;
end
$$;
--! EndIncluded 30_workflows/compile_expressions.sql
--! Included 30_workflows/flow_settings.sql
-- kind: code
-- The limits in the settings of a workflow: concurrency, rateLimit and debounce, each with a key that says what counts
-- together.

create or replace function engine.flow_schemas()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "concurrency": {
      "type": ["object", "null"], "required": ["limit"], "additionalProperties": false,
      "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
        "key": {"type": "string", "minLength": 1}
      }
    },
    "rateLimit": {
      "type": ["object", "null"], "required": ["limit", "perMs"], "additionalProperties": false,
      "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
        "perMs": {"type": "integer", "minimum": 1, "maximum": 2678400000},
        "key": {"type": "string", "minLength": 1}
      }
    },
    "debounce": {
      "type": ["object", "null"], "required": ["ms"], "additionalProperties": false,
      "properties": {
        "ms": {"type": "integer", "minimum": 1, "maximum": 2678400000},
        "key": {"type": "string", "minLength": 1}
      }
    }
  }'::jsonb
$$;

create or replace function engine.flow_problems(p_settings jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_rule text;
  v_key record;
begin
  foreach v_rule in array array['concurrency', 'rateLimit', 'debounce'] loop
    continue when jsonb_typeof(p_settings -> v_rule -> 'key') is distinct from 'string';
    v_key := engine.parse_expression(p_settings -> v_rule ->> 'key');
    if v_key.problem is not null then
      return next engine.problem(
        array['settings', v_rule, 'key'], 'INVALID_EXPRESSION',
        format('%s (at character %s)', v_key.problem, v_key.problem_at)
      );
    elsif v_key.sources <> '{input}' or v_key.filters is not null then
      return next engine.problem(
        array['settings', v_rule, 'key'], 'INVALID_EXPRESSION',
        'a key is a path into the input, such as $.input.customer, without filters'
      );
    end if;
  end loop;
end
$$;

-- The limits of valid settings with their keys as paths that start at the input; null when there are none.
create or replace function engine.compile_flow(p_settings jsonb)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_object_agg(
    s.rule,
    s.value || case when s.value ? 'key'
      then jsonb_build_object('path', (engine.parse_expression(s.value ->> 'key')).path)
      else '{}'
    end
  )
  from jsonb_each(p_settings) as s (rule, value)
  where s.rule in ('concurrency', 'rateLimit', 'debounce')
    and s.value <> 'null'
$$;
--! EndIncluded 30_workflows/flow_settings.sql
--! Included 30_workflows/compile.sql
-- kind: code
-- Compiles a valid definition to the plan that the engine runs.

create or replace function engine.settings_of(p_definition jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'errorHandling', 'stop', 'maxRetries', 3, 'timeout', 30000, 'errorWorkflow', null, 'timezone', 'UTC',
    'concurrency', null, 'priority', 0, 'deadlineMs', null
  ) || coalesce(p_definition -> 'settings', '{}')
$$;

-- How often a node is tried, and what happens when that was not enough.
create or replace function engine.compile_attempts(
  p_node jsonb,
  p_settings jsonb,
  p_plan engine.plan_node,
  p_fed boolean
)
  returns engine.plan_node
  language plpgsql
  immutable
as $$
declare
  v_plan engine.plan_node := p_plan;
  v_retry constant jsonb := coalesce(p_node -> 'retry', '{}');
begin
  v_plan.max_attempts := 1;
  if v_plan.kind = 'effect' then
    v_plan.max_attempts := coalesce((v_retry ->> 'maxAttempts')::int, (p_settings ->> 'maxRetries')::int + 1);
  end if;
  v_plan.retry_initial_ms := coalesce((v_retry ->> 'initialMs')::int, 1000);
  v_plan.retry_max_ms := case v_retry ->> 'backoff'
    when 'fixed' then v_plan.retry_initial_ms
    else coalesce((v_retry ->> 'maxMs')::int, 300000)
  end;
  v_plan.retry_jitter := coalesce((v_retry ->> 'jitter')::boolean, true);
  v_plan.timeout_ms := coalesce((p_node ->> 'timeoutMs')::int, (p_settings ->> 'timeout')::int);
  -- Inherited from the settings, errorOutput counts for the nodes that have a connection there.
  v_plan.on_error := coalesce(
    p_node ->> 'onError',
    case when p_settings ->> 'errorHandling' <> 'errorOutput' or p_fed then p_settings ->> 'errorHandling' end,
    'stop'
  );
  return v_plan;
end
$$;

-- Sets those expressions apart that are evaluated for each child run, with $.item and $.index.
create or replace function engine.defer_expressions(p_plan engine.plan_node, p_schema jsonb)
  returns engine.plan_node
  language plpgsql
  immutable
as $$
declare
  v_plan engine.plan_node := p_plan;
  v_expression engine.expression;
begin
  v_plan.expressions := null;
  foreach v_expression in array coalesce(p_plan.expressions, '{}') loop
    if p_schema #> array['properties', v_expression.place[1], 'deferred'] = 'true' then
      v_plan.deferred := v_plan.deferred || v_expression;
    else
      v_plan.expressions := v_plan.expressions || v_expression;
    end if;
  end loop;
  return v_plan;
end
$$;

-- One node of the plan; p_ids are all of them in the order of the plan.
create or replace function engine.compile_node(
  p_definition jsonb,
  p_node jsonb,
  p_settings jsonb,
  p_ids text[],
  out node engine.plan_node,
  out variables text[]
)
  language plpgsql
  stable
as $$
declare
  v_type constant engine.node_types := engine.node_type(p_node ->> 'type');
  v_sources text[];
  v_fed constant text[] := array(
    select c.connection ->> 'sourceOutput'
    from jsonb_array_elements(p_definition -> 'connections') as c (connection)
    where c.connection -> 'source' = p_node -> 'id'
  );
begin
  node.id := p_node ->> 'id';
  node.type := v_type.name || '@' || v_type.version;
  node.kind := v_type.kind;
  node.function := v_type.function;
  node.inputs := v_type.inputs;
  node.disabled := coalesce((p_node ->> 'disabled')::boolean, false);
  node.is_strict := coalesce((p_node ->> 'strict')::boolean, false);
  node.credentials := p_node -> 'credentials';
  node.pin := p_node -> 'pin';
  node := engine.compile_attempts(p_node, p_settings, node, coalesce('error' = any (v_fed), false));
  node.ports := engine.node_ports(v_type, p_node -> 'properties', node.on_error);
  if v_type.name = 'wait' and coalesce('timeout' = any (v_fed), false) is false then
    node.ports := array_remove(node.ports, 'timeout'); -- it leads nowhere: what comes too late is a failure
  end if;

  node.properties := engine.default_properties(v_type.properties) || coalesce(p_node -> 'properties', '{}');
  if v_type.name = 'wait' then
    node.properties := jsonb_build_object('timezone', p_settings -> 'timezone') || node.properties;
  end if;
  if v_type.kind <> 'trigger' then
    select c.properties, c.expressions, c.variables, c.sources
    into node.properties, node.expressions, variables, v_sources
    from engine.compile_properties(node.properties, v_type.properties, node.is_strict, p_ids) as c;
    node := engine.defer_expressions(node, v_type.properties);
  end if;
  node.uses_inputs := cardinality(v_type.inputs) > 1 or v_type.function is not null
    or coalesce('inputs' = any (v_sources), false);
  node.uses_run := coalesce('run' = any (v_sources), false);

  select
    array_agg(array_position(p_ids, c.connection ->> 'source') order by c.place),
    array_agg(coalesce(c.connection ->> 'sourceOutput', 'main') order by c.place),
    array_agg(coalesce(c.connection ->> 'targetInput', 'main') order by c.place)
  into node.sources, node.source_ports, node.target_inputs
  from jsonb_array_elements(p_definition -> 'connections') with ordinality as c (connection, place)
  where c.connection ->> 'target' = node.id;
  node.sources := coalesce(node.sources, '{}');
  node.source_ports := coalesce(node.source_ports, '{}');
  node.target_inputs := coalesce(node.target_inputs, '{}');

  if v_type.kind in ('trigger', 'pure') then
    node.success := jsonb_build_object(
      'node', node.id, 'attempt', 1, 'port', node.ports[1], 'output', null, 'ms', 0
    );
  end if;
end
$$;

create or replace function engine.compile_plan(
  p_definition jsonb,
  out nodes engine.plan_node[],
  out vars text[],
  out settings jsonb
)
  language plpgsql
  stable
as $$
declare
  -- Built anew, for a stored definition is compressed, and every look at it would decompress it again.
  v_definition constant jsonb := p_definition || '{}';
  v_count constant int := jsonb_array_length(v_definition -> 'nodes');
  v_edges record := engine.graph_edges(v_definition);
  v_order constant int[] := engine.sort_graph(v_count, v_edges.sources, v_edges.targets);
  v_ids constant text[] := array(
    select v_definition -> 'nodes' -> (o.node - 1) ->> 'id'
    from unnest(v_order) with ordinality as o (node, place)
    order by o.place
  );
  v_compiled record;
  v_variables text[];
begin
  settings := engine.settings_of(v_definition);
  settings := settings || jsonb_strip_nulls(jsonb_build_object('flow', engine.compile_flow(settings)));
  for v_place in 1 .. v_count loop
    v_compiled := engine.compile_node(
      v_definition, v_definition -> 'nodes' -> (v_order[v_place] - 1), settings, v_ids
    );
    nodes := nodes || v_compiled.node;
    v_variables := v_variables || v_compiled.variables;
  end loop;
  vars := array(select distinct v from unnest(v_variables) as v where v <> '' order by v);
end
$$;
comment on function engine.compile_plan(jsonb) is
  'The plan of a definition that validate_workflow found nothing wrong with: nodes in topological order, the variables they read, all settings.';
--! EndIncluded 30_workflows/compile.sql
--! Included 30_workflows/definition_schema.sql
-- kind: code
-- The shape of a definition, as a JSON schema. What it cannot say is in the other validate files.

create or replace function engine.node_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "type": "object", "required": ["id", "type"], "additionalProperties": false,
    "properties": {
      "id": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
      "type": {"type": "string", "maxLength": 80},
      "name": {"type": "string", "maxLength": 200},
      "notes": {"type": "string", "maxLength": 5000},
      "position": {
        "type": "object", "required": ["x", "y"], "additionalProperties": false,
        "properties": {"x": {"type": "number"}, "y": {"type": "number"}}
      },
      "properties": {"type": "object"},
      "credentials": {"type": "object", "additionalProperties": false},
      "disabled": {"type": "boolean"},
      "strict": {"type": "boolean"},
      "onError": {"enum": ["stop", "continue", "errorOutput"]},
      "timeoutMs": {"type": "integer", "minimum": 1, "maximum": 3600000},
      "retry": {
        "type": "object", "additionalProperties": false,
        "properties": {
          "maxAttempts": {"type": "integer", "minimum": 1, "maximum": 100},
          "backoff": {"enum": ["exponential", "fixed"]},
          "initialMs": {"type": "integer", "minimum": 0, "maximum": 3600000},
          "maxMs": {"type": "integer", "minimum": 0, "maximum": 3600000},
          "jitter": {"type": "boolean"}
        }
      },
      "pin": {}
    }
  }'::jsonb
$$;

create or replace function engine.settings_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'type', 'object',
    'additionalProperties', false,
    'properties', engine.flow_schemas() || '{
      "errorHandling": {"enum": ["stop", "continue", "errorOutput"]},
      "maxRetries": {"type": "integer", "minimum": 0, "maximum": 99},
      "timeout": {"type": "integer", "minimum": 1, "maximum": 3600000},
      "deadlineMs": {"type": ["integer", "null"], "minimum": 1, "maximum": 157680000000},
      "errorWorkflow": {
        "type": ["string", "null"],
        "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
      },
      "timezone": {"type": "string", "maxLength": 64},
      "priority": {"type": "integer", "minimum": -1000, "maximum": 1000}
    }'
  )
$$;

create or replace function engine.definition_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'type', 'object',
    'required', '["nodes"]'::jsonb,
    'additionalProperties', false,
    'properties', jsonb_build_object(
      'nodes', jsonb_build_object('type', 'array', 'maxItems', 500, 'items', engine.node_schema()),
      'connections', '{
        "type": "array", "maxItems": 2000,
        "items": {
          "type": "object", "required": ["source", "target"], "additionalProperties": false,
          "properties": {
            "source": {"type": "string", "maxLength": 64},
            "target": {"type": "string", "maxLength": 64},
            "sourceOutput": {"type": "string", "maxLength": 64},
            "targetInput": {"type": "string", "maxLength": 64}
          }
        }
      }'::jsonb,
      'settings', engine.settings_schema()
    )
  )
$$;

-- The least that is needed to look further than the shape, so that one wrong setting does not hide a cycle.
create or replace function engine.readable_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "type": "object", "required": ["nodes"],
    "properties": {
      "nodes": {
        "type": "array", "maxItems": 500,
        "items": {
          "type": "object", "required": ["id", "type"],
          "properties": {"id": {"type": "string"}, "type": {"type": "string"}, "properties": {"type": "object"}}
        }
      },
      "connections": {
        "type": "array", "maxItems": 2000,
        "items": {
          "type": "object", "required": ["source", "target"],
          "properties": {
            "source": {"type": "string"}, "target": {"type": "string"},
            "sourceOutput": {"type": "string"}, "targetInput": {"type": "string"}
          }
        }
      },
      "settings": {"type": "object"}
    }
  }'::jsonb
$$;
--! EndIncluded 30_workflows/definition_schema.sql
--! Included 30_workflows/schedule_problem.sql
-- kind: code
-- The rules of schedules.
create or replace function engine.schedule_problem(p_properties jsonb)
  returns text
  language sql
  stable
as $$
  select case
    when p_properties ? 'cron' and p_properties ? 'every' then 'cron and every exclude each other'
    when p_properties ? 'timezone' and not exists (
      select from pg_timezone_names as z where z.name = p_properties ->> 'timezone'
    ) then format('%L is not a time zone; Europe/Berlin and UTC are', p_properties ->> 'timezone')
    when p_properties ? 'cron' then engine.strict_cron_problem(p_properties ->> 'cron')
  end
$$;
--! EndIncluded 30_workflows/schedule_problem.sql
--! Included 30_workflows/validate_nodes.sql
-- kind: code
-- What is wrong with single nodes. p_index is the 0-based place in `nodes`.

-- What JavaScript would misread, wherever it is. Walking is slow, so it is first made sure that there is something
-- to find.
create or replace function engine.key_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  immutable
as $$
begin
  if p_definition::text !~ '"(__proto__|constructor|prototype)": '
    and not jsonb_path_exists(p_definition, '$.** ? (@ > 1e308 || @ < -1e308)', '{}', true)
  then
    return;
  end if;
  return query
    with recursive walk as (
      select '{}'::text[] as place, p_definition as value
      union all
      select w.place || c.key, c.value
      from walk as w
      cross join lateral (
        select e.key, e.value
        from jsonb_each(case when jsonb_typeof(w.value) = 'object' then w.value else '{}' end) as e
        union all
        select (e.place - 1)::text, e.value
        from jsonb_array_elements(case when jsonb_typeof(w.value) = 'array' then w.value else '[]' end)
          with ordinality as e (value, place)
      ) as c
    )
    select p.*
    from walk as w
    cross join lateral (
      values
        ('RESERVED_KEY', 'this key has a meaning in JavaScript and cannot be used',
          w.place[cardinality(w.place)] in ('__proto__', 'constructor', 'prototype')),
        ('NUMBER_OUT_OF_RANGE', 'a number lies between -1e308 and 1e308',
          jsonb_typeof(w.value) = 'number' and abs((w.value #>> '{}')::numeric) > 1e308)
    ) as found (code, message, is_so)
    cross join lateral engine.problem(w.place, found.code, found.message) as p
    where found.is_so
    limit 100;
end
$$;

-- The second and later nodes of one id; Order and order are one id.
create or replace function engine.id_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  immutable
as $$
  select p.*
  from (
    select
      n.node ->> 'id' as id, n.place,
      row_number() over (partition by lower(n.node ->> 'id') order by n.place) as number
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  ) as n
  cross join lateral engine.problem(
    array['nodes', (n.place - 1)::text, 'id'], 'DUPLICATE_ID', format('%s is the id of another node already', n.id)
  ) as p
  where n.number > 1
$$;

-- What an expression reads must be there: nodes upstream, inputs that the node has.
create or replace function engine.reference_problem(
  p_sources text[],
  p_inputs text[],
  p_type engine.node_types,
  p_ids text[],
  p_upstream varbit
)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_name text;
  v_node int;
begin
  foreach v_name in array coalesce(p_sources, '{}') loop
    continue when not starts_with(v_name, 'nodes.');
    v_node := array_position(p_ids, substr(v_name, 7));
    if v_node is null then
      return format('there is no node %s', substr(v_name, 7));
    elsif get_bit(p_upstream, v_node - 1) = 0 then
      return format('node %s does not run before this one', substr(v_name, 7));
    end if;
  end loop;
  foreach v_name in array coalesce(p_inputs, '{}') loop
    if v_name <> all (p_type.inputs) then
      return format('the node has no input %s; it has %s', v_name, array_to_string(p_type.inputs, ', '));
    end if;
  end loop;
  return null;
end
$$;

create or replace function engine.expression_problems(
  p_properties jsonb,
  p_type engine.node_types,
  p_place text[],
  p_ids text[],
  p_upstream varbit
)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_part record;
  v_problem text;
begin
  for v_part in select * from engine.parse_properties(p_properties, p_type.properties) loop
    if v_part.problem is not null then
      return next engine.problem(
        p_place || v_part.place, 'INVALID_EXPRESSION', format('%s (at character %s)', v_part.problem, v_part.start_at)
      );
      continue;
    end if;
    v_problem := engine.reference_problem(v_part.sources, v_part.inputs, p_type, p_ids, p_upstream);
    if v_problem is not null then
      return next engine.problem(
        p_place || v_part.place, 'UNKNOWN_REFERENCE', format('%s (at character %s)', v_problem, v_part.start_at)
      );
    end if;
  end loop;
end
$$;

-- The rules of the addresses of webhooks.
create or replace function engine.path_problem(p_path text)
  returns text
  language sql
  immutable
as $$
  select case
    when cardinality(s.segments) > 16 then 'a path has at most 16 segments'
    when cardinality(s.segments) = 0 or exists (
      select from unnest(s.segments) as t (segment)
      where t.segment !~ '^(:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z0-9._~-]+)$' or t.segment in ('.', '..')
    ) then format(
      'the path %s is not one that a webhook can have: '
      'its segments are letters, digits, ".", "_", "~" and "-", or :names, such as /orders/:id',
      p_path
    )
    when cardinality(s.segments) <> (
      select count(*) filter (where not starts_with(t.segment, ':'))
        + count(distinct t.segment) filter (where starts_with(t.segment, ':'))
      from unnest(s.segments) as t (segment)
    ) then 'a path has each :name once'
  end
  from (
    select string_to_array(btrim(regexp_replace(p_path, '/+', '/', 'g'), '/'), '/') as segments
  ) as s
$$;

-- What a schema cannot say about the properties of a built-in type.
create or replace function engine.combination_problem(p_type text, p_properties jsonb)
  returns text
  language sql
  stable
as $$
  select case p_type
    when 'merge' then case
      when p_properties ->> 'mode' = 'fields' and not p_properties ? 'by' then 'mode fields needs by, the key to match'
    end
    when 'switch' then case
      when jsonb_path_exists(p_properties, '$.rules[*] ? (exists(@.equals))') and not p_properties ? 'value'
        then 'rules with equals need value, which they are compared with'
      when not jsonb_path_exists(p_properties, '$.rules[*] ? (exists(@.equals))') and p_properties ? 'value'
        then 'value is compared with nothing: no rule has equals'
    end
    when 'transform' then case
      when p_properties ? 'template' and p_properties ? 'path' then 'template and path exclude each other'
    end
    when 'wait' then case
      when (
        select count(*) from jsonb_object_keys(p_properties) as k (key)
        where k.key in ('seconds', 'until', 'signal', 'webhook', 'approval')
      ) > 1 then 'seconds, until, signal, webhook and approval exclude each other'
      when p_properties ? 'timezone' and not p_properties ? 'until' then 'timezone is of until, which is missing'
      when p_properties ? 'timeoutSeconds' and p_properties ?| '{seconds,until}'
        then 'a wait for a time has no timeoutSeconds'
    end
    when 'scheduleTrigger' then engine.schedule_problem(p_properties)
  end
$$;

create or replace function engine.node_problems(
  p_definition jsonb,
  p_index int,
  p_ids text[],
  p_upstream varbit
)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_node constant jsonb := p_definition -> 'nodes' -> p_index;
  v_type constant engine.node_types := engine.node_type(v_node ->> 'type');
  v_properties constant jsonb := coalesce(v_node -> 'properties', '{}');
  v_place constant text[] := array['nodes', p_index::text];
  v_problem text;
begin
  if v_type.name is null then
    return next engine.problem(v_place || '{type}'::text[], 'UNKNOWN_TYPE', format(
      'there is no node type %s; there are %s', v_node ->> 'type',
      (select string_agg(distinct t.name, ', ') from engine.node_types as t)
    ));
    return;
  end if;

  return query select * from engine.schema_problems(
    v_properties, v_type.properties, v_place || '{properties}'::text[], v_type.kind <> 'trigger', 'INVALID_PROPERTY'
  );
  if not found then
    v_problem := engine.combination_problem(v_type.name, v_properties);
    if v_problem is not null then
      return next engine.problem(v_place || '{properties}'::text[], 'INVALID_PROPERTY', v_problem);
    end if;
    v_problem := engine.path_problem(v_properties ->> 'path');
    if v_type.name = 'webhookTrigger' and v_problem is not null then
      return next engine.problem(v_place || '{properties,path}'::text[], 'INVALID_PROPERTY', v_problem);
    end if;
  end if;
  if v_type.kind <> 'trigger' then
    return query select * from engine.expression_problems(
      v_properties, v_type, v_place || '{properties}'::text[], p_ids, p_upstream
    );
  end if;

  if v_node ->> 'onError' = 'errorOutput' and not jsonb_path_exists(
    p_definition, '$.connections[*] ? (@.source == $id && @.sourceOutput == "error")',
    jsonb_build_object('id', v_node -> 'id')
  ) then
    return next engine.problem(
      v_place || '{onError}'::text[], 'ERROR_OUTPUT_UNCONNECTED', 'errorOutput needs a connection at the port error'
    );
  end if;
end
$$;
--! EndIncluded 30_workflows/validate_nodes.sql
--! Included 30_workflows/validate_graph.sql
-- kind: code
-- What is wrong with the graph of a definition whose shape is right.

-- Connections that lead from or to nothing, or twice the same way.
create or replace function engine.connection_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  with plug as (
    select distinct on (n.node ->> 'id')
      n.node ->> 'id' as id,
      t.kind,
      t.inputs,
      case when t.name is not null then engine.node_ports(
        t,
        coalesce(n.node -> 'properties', '{}'),
        coalesce(n.node ->> 'onError', p_definition -> 'settings' ->> 'errorHandling')
      ) end as ports
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
    cross join lateral engine.node_type(n.node ->> 'type') as t
    order by n.node ->> 'id', n.place
  ),
  connection as (
    select
      array['connections', (c.place - 1)::text] as place,
      c.connection ->> 'source' as source,
      c.connection ->> 'target' as target,
      coalesce(c.connection ->> 'sourceOutput', 'main') as output,
      coalesce(c.connection ->> 'targetInput', 'main') as input,
      row_number() over (
        partition by c.connection ->> 'source', c.connection ->> 'target',
          coalesce(c.connection ->> 'sourceOutput', 'main'), coalesce(c.connection ->> 'targetInput', 'main')
        order by c.place
      ) as number
    from jsonb_array_elements(p_definition -> 'connections') with ordinality as c (connection, place)
  )
  select p.*
  from connection as c
  left join plug as s on s.id = c.source
  left join plug as t on t.id = c.target
  cross join lateral (
    values
      (s.id is null, 'source', 'UNKNOWN_NODE', format('there is no node %s', c.source)),
      (t.id is null, 'target', 'UNKNOWN_NODE', format('there is no node %s', c.target)),
      (c.output <> all (s.ports), 'sourceOutput', 'UNKNOWN_PORT',
        format('%s has no port %s; it has %s', c.source, c.output, array_to_string(s.ports, ', '))),
      (t.kind = 'trigger', 'target', 'UNKNOWN_INPUT', format('%s is a trigger, nothing leads to it', c.target)),
      (t.kind <> 'trigger' and c.input <> all (t.inputs), 'targetInput', 'UNKNOWN_INPUT',
        format('%s has no input %s; it has %s', c.target, c.input, array_to_string(t.inputs, ', '))),
      (c.number > 1, null, 'DUPLICATE_CONNECTION', 'the same connection is there already')
  ) as found (is_so, key, code, message)
  cross join lateral engine.problem(
    c.place || case when found.key is not null then array[found.key] else '{}' end, found.code, found.message
  ) as p
  where found.is_so
$$;

-- No trigger, or two that nothing tells apart.
create or replace function engine.trigger_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  with found as (
    select (n.place - 1)::text as place, t.name, n.node -> 'properties' as properties, n.place as number
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
    cross join lateral engine.node_type(n.node ->> 'type') as t
    where t.kind = 'trigger'
  ),
  address as (
    select f.place, f.number, f.name, null as path, m.method
    from found as f
    cross join (values ('*')) as m (method)
    where f.name <> 'webhookTrigger'
    union
    select
      f.place, f.number, f.name,
      -- :names are equal whatever they are
      regexp_replace('/' || btrim(regexp_replace(f.properties ->> 'path', '/+', '/', 'g'), '/'), '/:[^/]*', '/:', 'g'),
      m.method #>> '{}'
    from found as f
    cross join lateral jsonb_path_query(coalesce(f.properties -> 'method', '"POST"'), 'lax $[*]') as m (method)
    where f.name = 'webhookTrigger' and f.properties ? 'path'
  )
  select p.*
  from (select min(f.number) as first_trigger from found as f) as f
  cross join lateral engine.problem(
    '{nodes}', 'NO_TRIGGER', 'a trigger is missing, such as manualTrigger or webhookTrigger'
  ) as p
  where f.first_trigger is null
  union all
  select p.*
  from (
    select distinct on (a.place) a.*
    from (
      select a.*, row_number() over (partition by a.name, a.path, a.method order by a.number) as rank from address as a
    ) as a
    where a.rank > 1
    order by a.place
  ) as a
  cross join lateral engine.problem(
    array['nodes', a.place], 'DUPLICATE_TRIGGER',
    case when a.path is null then format('there is another %s already', a.name)
      else format('another webhookTrigger has %s %s already', a.method, a.path) end
  ) as p
$$;

-- Cycles, and nodes that no trigger leads to. The edges are those between known nodes; p_order is what sort_graph
-- gave.
create or replace function engine.order_problems(
  p_definition jsonb,
  p_ids text[],
  p_sources int[],
  p_targets int[],
  p_order int[],
  p_upstream varbit[]
)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_count constant int := cardinality(p_ids);
  v_back constant int[] := engine.sort_graph(v_count, p_targets, p_sources);
  v_cycle constant int[] := array(
    select n from generate_series(1, v_count) as n where n <> all (p_order) and n <> all (v_back)
  );
  v_triggers varbit := repeat('0', v_count)::varbit;
  v_type engine.node_types;
begin
  if cardinality(v_cycle) > 0 then
    return next engine.problem('{connections}', 'CYCLE', format(
      'the nodes %s form a cycle, but a node runs once; repeat and forEach are loops',
      (select string_agg(p_ids[n], ', ' order by n) from unnest(v_cycle[1 : 20]) as n)
    ));
    return; -- what is behind a cycle cannot be judged
  end if;

  for v_node in 1 .. v_count loop
    v_type := engine.node_type(p_definition -> 'nodes' -> (v_node - 1) ->> 'type');
    if v_type.kind = 'trigger' then
      v_triggers := set_bit(v_triggers, v_node - 1, 1);
    end if;
  end loop;
  for v_node in 1 .. v_count loop
    if get_bit(v_triggers, v_node - 1) = 0 and (v_triggers & p_upstream[v_node]) = repeat('0', v_count)::varbit then
      return next engine.problem(
        array['nodes', (v_node - 1)::text], 'UNREACHABLE', format('no trigger leads to %s', p_ids[v_node])
      );
    end if;
  end loop;
end
$$;
--! EndIncluded 30_workflows/validate_graph.sql
--! Included 30_workflows/validate_settings.sql
-- kind: code
-- What is wrong with the settings of a definition, beyond their shape. What has the wrong type is no matter here.

create or replace function engine.settings_problems(p_settings jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := public.current_organization_id();
begin
  if jsonb_typeof(p_settings -> 'timezone') = 'string' and not engine.is_time_zone(p_settings ->> 'timezone') then
    return next engine.problem(
      '{settings,timezone}', 'UNKNOWN_TIME_ZONE', 'must be a time zone such as Europe/Berlin or UTC'
    );
  end if;
  return query select * from engine.flow_problems(p_settings);
  -- A DBA without a context validates for nobody in particular.
  if p_settings ->> 'errorWorkflow' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' and not exists (
    select
    from public.workflows as w
    where w.id = (p_settings ->> 'errorWorkflow')::uuid
      and w.organization_id = coalesce(v_organization_id, w.organization_id)
  ) then
    return next engine.problem('{settings,errorWorkflow}', 'UNKNOWN_WORKFLOW', 'there is no such workflow');
  end if;
end
$$;
--! EndIncluded 30_workflows/validate_settings.sql
--! Included 30_workflows/validate.sql
-- kind: code
-- Validation: every problem of a definition, each with its place. What it finds nothing wrong with can be published.

-- Limits that must hold before anything else looks at the definition.
create or replace function engine.size_problem(p_definition jsonb)
  returns public.workflow_problem
  language sql
  immutable
as $$
  select case
    when octet_length(p_definition::text) > 1048576
      then engine.problem('{}', 'TOO_LARGE', 'a definition has at most 1 MiB')
    when (octet_length(p_definition::text) - octet_length(replace(p_definition::text, '{{', ''))) / 2 > 5000
      then engine.problem('{}', 'TOO_LARGE', 'a definition has at most 5,000 expressions')
    when jsonb_path_exists(p_definition, 'strict $.**{65}')
      then engine.problem('{}', 'TOO_DEEP', 'a definition is at most 64 levels deep')
  end
$$;

-- What goes beyond the shape, of a definition that can be read.
create or replace function engine.content_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_ids constant text[] := array(
    select n.node ->> 'id'
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
    order by n.place
  );
  v_edges record := engine.graph_edges(p_definition);
  v_count constant int := cardinality(v_ids);
  v_sources int[];
  v_targets int[];
  v_order int[];
  v_upstream varbit[];
begin
  select coalesce(array_agg(e.source), '{}'), coalesce(array_agg(e.target), '{}')
  into v_sources, v_targets
  from unnest(v_edges.sources, v_edges.targets) as e (source, target)
  where e.source is not null and e.target is not null;
  v_order := engine.sort_graph(v_count, v_sources, v_targets);
  v_upstream := engine.upstream_of(v_order, v_sources, v_targets, v_count);
  for v_node in 1 .. v_count loop
    if v_node <> all (v_order) then
      v_upstream[v_node] := repeat('1', v_count)::varbit; -- behind a cycle, nobody knows
    end if;
  end loop;

  return query select * from engine.id_problems(p_definition);
  for v_node in 1 .. v_count loop
    return query select * from engine.node_problems(p_definition, v_node - 1, v_ids, v_upstream[v_node]);
  end loop;
  return query select * from engine.connection_problems(p_definition);
  return query select * from engine.trigger_problems(p_definition);
  return query select * from engine.order_problems(p_definition, v_ids, v_sources, v_targets, v_order, v_upstream);
  return query select * from engine.settings_problems(coalesce(p_definition -> 'settings', '{}'));
end
$$;

create or replace function public.validate_workflow(definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
  security definer -- definer because node types are read, which nobody sees
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- Built anew, for a stored definition is compressed, and every look at it would decompress it again.
  v_definition constant jsonb := jsonb_build_array(definition) -> 0;
  v_size constant public.workflow_problem := engine.size_problem(v_definition);
begin
  if v_size.code is not null then
    return next v_size;
    return;
  end if;
  return query select * from engine.schema_problems(v_definition, engine.definition_schema());
  return query select * from engine.key_problems(v_definition);
  if not exists (select from engine.schema_problems(v_definition, engine.readable_schema())) then
    return query select * from engine.content_problems(v_definition);
  end if;
end
$$;
comment on function public.validate_workflow(jsonb) is
  'Every problem that keeps a definition from being published, each with the JSON pointer to its place; no row when there is none. The codes are in docs/nodes.md. Example: select pointer, message from validate_workflow(''{"nodes": []}'');';

grant execute on function public.validate_workflow(jsonb) to flowgres_user, flowgres_dba;
--! EndIncluded 30_workflows/validate.sql
--! Included 30_workflows/over_limit.sql
-- kind: code
-- Workflows beyond what the plan allows, as after a change to a smaller one: the oldest stay as they are, the others
-- are read-only until the plan has room. What they have published keeps running.

create or replace function private.count_workflows(
  p_organization_id uuid,
  p_span tstzrange default null,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select count(*)
  from public.workflows as w
  where w.organization_id = p_organization_id
    and w.archived_at is null
    and (p_team_id is null or w.team_id = p_team_id)
$$;

create or replace function private.is_over_limit(p_workflow public.workflows)
  returns boolean
  language plpgsql
  stable
as $$
declare
  v_limit constant bigint := private.limit_of(p_workflow.organization_id, 'workflows');
begin
  if v_limit is null or p_workflow.archived_at is not null then
    return false;
  end if;
  return v_limit <= (
    select count(*)
    from (
      select
      from public.workflows as w
      where w.organization_id = p_workflow.organization_id
        and (w.created_at, w.id) < (p_workflow.created_at, p_workflow.id)
        and w.archived_at is null
      limit v_limit
    ) as older
  );
end
$$;

create or replace function private.require_within_limit(p_workflow public.workflows)
  returns void
  language plpgsql
  stable
as $$
declare
  v_limit constant bigint := private.limit_of(p_workflow.organization_id, 'workflows');
begin
  if private.is_over_limit(p_workflow) then
    perform private.raise_error(
      'LIMIT_REACHED',
      format('The workflow is beyond the %s that the organization may have; it is read-only.', v_limit),
      'Archive others, or change to a larger plan.',
      jsonb_build_object('metric', 'workflows', 'limit', v_limit, 'resetAt', null)
    );
  end if;
end
$$;

create or replace function public.workflows_is_over_limit(workflow public.workflows)
  returns boolean
  language sql
  stable
  security definer -- definer because plans are closed; it compares within the request's organization
  set search_path = pg_catalog, pg_temp
as $$
  select workflow.organization_id = public.current_organization_id() and private.is_over_limit(workflow)
$$;
comment on function public.workflows_is_over_limit(public.workflows) is
  'Whether the plan has no room for it: then it is read-only, and what it has published keeps running. Example: select w.name from workflows as w where workflows_is_over_limit(w);';

grant execute on function public.workflows_is_over_limit(public.workflows) to flowgres_user, flowgres_dba;
--! EndIncluded 30_workflows/over_limit.sql
--! Included 30_workflows/policies.sql
-- kind: code
-- Who sees what: members of an organization see its workflows. Writing is for functions.

alter table public.workflows enable row level security;
drop policy if exists workflows_user_select on public.workflows;
create policy workflows_user_select on public.workflows
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.workflows to flowgres_user;

alter table public.workflow_versions enable row level security;
drop policy if exists workflow_versions_user_select on public.workflow_versions;
create policy workflow_versions_user_select on public.workflow_versions
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.workflow_versions to flowgres_user;
--! EndIncluded 30_workflows/policies.sql
--! EndIncluded 30_workflows/index.sql
--! Included 35_credentials/index.sql
-- Credentials, variables, data tables: what workflows use and do not contain.

--! Included 35_credentials/variables.sql
-- kind: state
-- Variables of an organization: values that its workflows share, read by expressions as $.vars.<name>. Not for secrets.

create table public.variables (
  organization_id uuid not null,
  name text not null,
  value jsonb not null,
  updated_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint variables_pkey primary key (organization_id, name),
  constraint variables_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint variables_updated_by_fkey
    foreign key (updated_by) references public.users (id) on delete set null,
  constraint variables_name_check check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$')
);
create index variables_updated_by_idx on public.variables (updated_by);
alter table public.variables enable row level security;

comment on table public.variables is
  'Values that the workflows of an organization share: {{ $.vars.<name> }}. A run keeps those that it had at its start. Not for secrets.';
comment on column public.variables.organization_id is 'The organization that owns it.';
comment on column public.variables.name is 'A letter or underscore, then letters, digits and underscores; at most 64 characters.';
comment on column public.variables.value is 'Any JSON, at most 64 KiB.';
comment on column public.variables.updated_by is 'The user who set it last.';
comment on column public.variables.created_at is 'When it was created.';
comment on column public.variables.updated_at is 'When it was set last.';
--! EndIncluded 35_credentials/variables.sql
--! Included 35_credentials/variables_of.sql
-- kind: code
-- What a run gets of the variables when it starts.

create or replace function engine.variables_of(p_organization_id uuid, p_names text[])
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return coalesce(
    (
      select jsonb_object_agg(v.name, v.value)
      from public.variables as v
      where v.organization_id = p_organization_id
        and v.name = any (p_names)
    ),
    '{}'
  );
end
$$;
--! EndIncluded 35_credentials/variables_of.sql
--! Included 35_credentials/policies.sql
-- kind: code
-- Who sees what: members of an organization see its variables. Writing is for functions.

drop policy if exists variables_user_select on public.variables;
create policy variables_user_select on public.variables
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));
grant select on public.variables to flowgres_user;
--! EndIncluded 35_credentials/policies.sql
--! EndIncluded 35_credentials/index.sql
--! Included 40_runs/index.sql
-- Runs, their events and logs: the tables, how they are cut by time, and the event functions that people call.

--! Included 40_runs/tables.sql
-- kind: state
-- Runs and their log. The log (workflow_events) is the truth; workflow_runs holds the one projection of it, written
-- when a run changes state, and engine.open_steps the working set of steps that are not finished.

create table public.workflow_runs (
  id uuid not null,
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  mode text not null,
  status text not null,
  parent_run_id uuid,
  parent_node text,
  parent_index int,
  retry_of uuid,
  started_by uuid,
  priority smallint not null default 0,
  deadline_at timestamptz,
  started_at timestamptz not null,
  finished_at timestamptz,
  error jsonb,
  metadata jsonb,
  retried_by uuid,
  concurrency_key text,
  constraint workflow_runs_pkey primary key (id),
  constraint workflow_runs_organization_id_id_key unique (organization_id, id),
  constraint workflow_runs_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version)
    on delete restrict,
  constraint workflow_runs_mode_check
    check (mode in ('manual', 'webhook', 'api', 'schedule', 'retry', 'fork', 'error', 'child')),
  constraint workflow_runs_status_check
    check (status in ('waiting', 'running', 'paused', 'success', 'error', 'canceled')),
  constraint workflow_runs_finished_at_matches_status_check
    check ((finished_at is not null) = (status in ('success', 'error', 'canceled'))),
  constraint workflow_runs_error_matches_status_check
    check (error is null or status = 'error'),
  constraint workflow_runs_metadata_check
    check (jsonb_typeof(metadata) = 'object')
) partition by range (id);

create index workflow_runs_workflow_idx on public.workflow_runs (organization_id, workflow_id, id);
-- The children of a step, found by what became of them.
create index workflow_runs_children_idx on public.workflow_runs (parent_run_id, parent_node, status)
  where parent_run_id is not null;
create index workflow_runs_unfinished_idx on public.workflow_runs (organization_id, status, id)
  where status in ('waiting', 'running', 'paused');
-- The dead letters.
create index workflow_runs_failed_idx on public.workflow_runs (organization_id, id)
  where status = 'error' and retried_by is null;
create index workflow_runs_deadline_idx on public.workflow_runs (deadline_at)
  where deadline_at is not null and finished_at is null;

comment on table public.workflow_runs is
  'One row per run of a workflow. Partitioned by month of the time in its UUIDv7 id; everything else about a run is in its events.';
comment on column public.workflow_runs.id is 'UUIDv7; its time is the time of the run''s first event.';
comment on column public.workflow_runs.organization_id is 'The organization that the run belongs to.';
comment on column public.workflow_runs.workflow_id is 'The workflow that ran.';
comment on column public.workflow_runs.version is 'The published version that the run stays on.';
comment on column public.workflow_runs.mode is 'What started it: manual, webhook, api, schedule, retry, fork, error or child.';
comment on column public.workflow_runs.status is 'running, waiting, paused; or final: success, error, canceled.';
comment on column public.workflow_runs.parent_run_id is 'The run whose step started this one, if any.';
comment on column public.workflow_runs.parent_node is 'The node of the parent run that started this one.';
comment on column public.workflow_runs.parent_index is
  'The position of this run among the children of its parent''s step, from 0; null when the parent does not wait for it.';
comment on column public.workflow_runs.retry_of is 'The run that this one retries.';
comment on column public.workflow_runs.started_by is 'The user who started it; null for webhooks and schedules.';
comment on column public.workflow_runs.priority is 'Lower runs earlier, as in graphile-worker; 0 by default.';
comment on column public.workflow_runs.deadline_at is 'When an unfinished run ends with the error DEADLINE.';
comment on column public.workflow_runs.started_at is 'When the run was created.';
comment on column public.workflow_runs.finished_at is 'When it reached its final status.';
comment on column public.workflow_runs.error is 'Why it failed: {"code", "message", "node"}.';
comment on column public.workflow_runs.metadata is 'Free facts given at the start, such as the request id.';
comment on column public.workflow_runs.retried_by is 'The run that retries this one, if any.';
comment on column public.workflow_runs.concurrency_key is
  'What the run counts under for settings.concurrency: the value of its key, empty for the whole workflow; null without such a limit.';

create table public.workflow_events (
  id bigserial not null,
  organization_id uuid not null,
  run_id uuid not null,
  seq int not null,
  ts timestamptz not null default now(),
  type text not null,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  constraint workflow_events_pkey primary key (id, ts),
  constraint workflow_events_run_fkey
    foreign key (organization_id, run_id)
    references public.workflow_runs (organization_id, id)
    on delete cascade,
  constraint workflow_events_seq_check check (seq > 0),
  constraint workflow_events_payload_check check (jsonb_typeof(payload) = 'object')
) partition by range (ts);

create index workflow_events_run_id_idx on public.workflow_events (run_id);
create index workflow_events_run_ts_idx on public.workflow_events (run_id, ts);
create index workflow_events_type_idx on public.workflow_events (type);

comment on table public.workflow_events is
  'The append-only log of every run, partitioned by month of ts. A run''s state is the fold of its events in the order of seq.';
comment on column public.workflow_events.id is 'Increases with seq within a run; across runs it is not the order of commit.';
comment on column public.workflow_events.organization_id is 'The organization that the run belongs to.';
comment on column public.workflow_events.run_id is 'The run.';
comment on column public.workflow_events.seq is '1, 2, 3 … within the run, without a gap: the cursor of a run''s live events.';
comment on column public.workflow_events.ts is 'When it happened; strictly increasing within a run.';
comment on column public.workflow_events.type is 'For example run.created, step.succeeded, run.failed: see docs/concepts.md.';
comment on column public.workflow_events.payload is 'The facts of the event, an object; its keys depend on the type.';
comment on column public.workflow_events.created_at is 'When the row was written: the start of its transaction.';

create table public.workflow_run_logs (
  id bigserial not null,
  organization_id uuid not null,
  run_id uuid not null,
  node text,
  level text not null default 'info',
  message text not null,
  context jsonb,
  ts timestamptz not null default now(),
  constraint workflow_run_logs_pkey primary key (id, ts),
  constraint workflow_run_logs_level_check check (level in ('debug', 'info', 'warning', 'error')),
  constraint workflow_run_logs_message_check check (length(message) <= 65536)
) partition by range (ts);

create index workflow_run_logs_run_idx on public.workflow_run_logs (organization_id, run_id, ts);

comment on table public.workflow_run_logs is 'What log nodes and workers wrote about a run. Partitioned by week, kept 30 days.';
comment on column public.workflow_run_logs.id is 'Increasing number.';
comment on column public.workflow_run_logs.organization_id is 'The organization that the run belongs to.';
comment on column public.workflow_run_logs.run_id is 'The run; not a foreign key, logs leave earlier than runs.';
comment on column public.workflow_run_logs.node is 'The node that wrote it.';
comment on column public.workflow_run_logs.level is 'debug, info, warning or error.';
comment on column public.workflow_run_logs.message is 'The text, at most 64 kB.';
comment on column public.workflow_run_logs.context is 'Structured facts beside the text.';
comment on column public.workflow_run_logs.ts is 'When it was written.';

create table engine.open_steps (
  organization_id uuid not null,
  run_id uuid not null,
  node text not null,
  state text not null,
  attempt int not null default 0,
  failures int not null default 0,
  deaths int not null default 0,
  worker_id uuid,
  lease_until timestamptz,
  run_at timestamptz,
  next_index int,
  error jsonb,
  wake_at timestamptz,
  constraint open_steps_pkey primary key (run_id, node),
  constraint open_steps_run_fkey
    foreign key (organization_id, run_id)
    references public.workflow_runs (organization_id, id)
    on delete cascade,
  constraint open_steps_state_check check (state in ('queued', 'running', 'waiting')),
  constraint open_steps_lease_matches_state_check
    check ((state = 'running') = (lease_until is not null and worker_id is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table engine.open_steps enable row level security;

create index open_steps_running_idx on engine.open_steps (organization_id, lease_until) where state = 'running';
create index open_steps_parked_idx on engine.open_steps (organization_id, run_id)
  where run_at = 'infinity' and state = 'queued';
create index open_steps_wake_at_idx on engine.open_steps (wake_at) where wake_at is not null;

comment on table engine.open_steps is
  'The working set: one row per step that is queued, running or waiting; deleted when the step ends. attempt is the fencing token.';
comment on column engine.open_steps.run_at is
  'When it may go on without being asked; null for one that waits for something else than a time.';
comment on column engine.open_steps.next_index is
  'Of a step with child runs: how many it has started; null before the first one.';
comment on column engine.open_steps.error is
  'Why a step with child runs starts no further one; it fails when those that run have ended.';
comment on column engine.open_steps.wake_at is
  'When it gets a job, if it has none yet, or another one, in case that one was lost; null while it needs none.';

create table engine.start_keys (
  organization_id uuid not null,
  workflow_id uuid not null,
  key text not null,
  run_id uuid not null,
  request_hash bytea not null,
  expires_at timestamptz not null,
  constraint start_keys_pkey primary key (organization_id, workflow_id, key),
  constraint start_keys_key_check check (length(key) between 1 and 256)
);
alter table engine.start_keys enable row level security;
create index start_keys_expires_at_idx on engine.start_keys (expires_at);

comment on table engine.start_keys is
  'Idempotency keys of starts: the same key and input returns the same run, other input is a conflict. Kept for 7 days.';
--! EndIncluded 40_runs/tables.sql
--! Included 40_runs/run_operations.sql
-- kind: state
-- Commands on many runs at once, with their progress. Workers work them off.

create table public.run_operations (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  command text not null,
  filter jsonb not null,
  total int not null,
  done int not null default 0,
  failed int not null default 0,
  last_run_id uuid,
  started_by uuid,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  finished_at timestamptz,
  constraint run_operations_pkey primary key (id),
  constraint run_operations_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint run_operations_command_check check (command in ('cancel', 'retry')),
  constraint run_operations_filter_check check (jsonb_typeof(filter) = 'object')
);
create index run_operations_organization_id_idx on public.run_operations (organization_id, created_at, id);
create index run_operations_unfinished_idx on public.run_operations (updated_at) where finished_at is null;

comment on table public.run_operations is
  'Commands on many runs, made by cancel_runs and retry_runs: how far each one is.';
comment on column public.run_operations.id is 'UUIDv7.';
comment on column public.run_operations.organization_id is 'The organization whose runs it is about.';
comment on column public.run_operations.command is 'cancel or retry.';
comment on column public.run_operations.filter is 'Which runs: see docs/runs.md.';
comment on column public.run_operations.total is 'How many runs there were when it began.';
comment on column public.run_operations.done is 'How many runs it has been through; those that ended by themselves meanwhile are not among them.';
comment on column public.run_operations.failed is 'How many it could not retry; the log of each says why.';
comment on column public.run_operations.last_run_id is 'The last run it has been through; it goes from the oldest to the newest.';
comment on column public.run_operations.started_by is 'The user who gave the command.';
comment on column public.run_operations.created_at is 'When it was given; runs that began later are not touched.';
comment on column public.run_operations.updated_at is 'When it last made progress.';
comment on column public.run_operations.finished_at is 'When it was through; null while it is not.';
--! EndIncluded 40_runs/run_operations.sql
--! Included 40_runs/flow.sql
-- kind: state
-- Flow control: which runs of workflows with limits hold a slot, which wait for one, and when runs were let in.
-- Workflows without limits leave no trace here.

create table engine.flow_runs (
  run_id uuid not null,
  organization_id uuid not null,
  workflow_id uuid not null,
  version int not null,
  priority smallint not null,
  is_held boolean not null,
  held_until timestamptz,
  concurrency_key text,
  rate_key text,
  debounce_key text,
  place bigserial not null,
  constraint flow_runs_pkey primary key (run_id)
);
alter table engine.flow_runs enable row level security;

create index flow_runs_concurrency_idx
  on engine.flow_runs (workflow_id, concurrency_key, is_held, priority, place)
  where concurrency_key is not null;
create index flow_runs_rate_idx on engine.flow_runs (workflow_id, rate_key, priority, place)
  where is_held and rate_key is not null;
create index flow_runs_debounce_idx on engine.flow_runs (workflow_id, debounce_key, place)
  where is_held and debounce_key is not null;

comment on table engine.flow_runs is
  'Runs of workflows with limits that are held, or that hold a slot of a concurrency limit. held_until: a debounce ends; place: who came first.';

create table engine.flow_starts (
  workflow_id uuid not null,
  rate_key text not null,
  at timestamptz not null,
  run_id uuid not null,
  constraint flow_starts_pkey primary key (workflow_id, rate_key, at, run_id)
);
alter table engine.flow_starts enable row level security;

comment on table engine.flow_starts is
  'When runs were let in under a rate limit; kept for as long as they count.';
--! EndIncluded 40_runs/flow.sql
--! Included 40_runs/unfinished.sql
-- kind: code
-- What keeps a month of runs and events from leaving: the log of an unfinished run is still needed to finish it.

create or replace function engine.unfinished_runs(p_from timestamptz, p_to timestamptz)
  returns text
  language sql
  stable
as $$
  select format('%s unfinished runs have events in it: %s%s', max(held.total),
    string_agg(held.id::text, ', ' order by held.id), case when max(held.total) > 10 then ', …' end)
  from (
    select r.id, count(*) over () as total
    from public.workflow_runs as r
    where r.status in ('waiting', 'running', 'paused')
      and r.id < engine.uuid_floor(p_to)
      and (
        r.id >= engine.uuid_floor(p_from)
        or exists (
          select from public.workflow_events as e where e.run_id = r.id and e.ts >= p_from and e.ts < p_to
        )
      )
    order by r.id
    limit 10
  ) as held
  having count(*) > 0
$$;
comment on function engine.unfinished_runs(timestamptz, timestamptz) is
  'The guard of runs and events: which unfinished runs began or have events in the time (end excluded); null when none.';
--! EndIncluded 40_runs/unfinished.sql
--! Included 40_runs/partitioning.sql
-- kind: state
-- How the tables of runs are cut. Runs and their events live and leave together, after a year; logs after 30 days.

select from partitions.manage(
  'public.workflow_runs', 'month', premake => 3, behind => 2,
  retention => '12 months',
  guard => 'engine.unfinished_runs',
  storage => '{"autovacuum_vacuum_scale_factor": 0.05, "autovacuum_analyze_scale_factor": 0.05}'
);

-- The log only grows: what keeps its index-only scans and freezing cheap is vacuum after inserts.
select from partitions.manage(
  'public.workflow_events', 'month', premake => 3, behind => 2,
  retention => '12 months', retire_with => 'public.workflow_runs', retire_key => 'run_id',
  guard => 'engine.unfinished_runs',
  storage => '{"autovacuum_vacuum_insert_scale_factor": 0.05, "autovacuum_analyze_scale_factor": 0.05}'
);

select from partitions.manage(
  'public.workflow_run_logs', 'week', premake => 4, behind => 1,
  retention => '30 days', retire_with => 'public.workflow_runs', retire_key => 'run_id',
  storage => '{"autovacuum_vacuum_insert_scale_factor": 0.05, "autovacuum_analyze_scale_factor": 0.05}'
);

do $$
declare
  v_failure text;
begin
  select format('%s: %s', m.partition, m.detail) into v_failure from partitions.maintain() as m where not m.done;
  if found then
    perform private.raise_error('CONFLICT', format('Not all partitions could be made: %s', v_failure));
  end if;
end
$$;
--! EndIncluded 40_runs/partitioning.sql
--! Included 40_runs/event_partitions.sql
-- kind: code
-- The partitions of the log, under the names of docs/event-partitioning.md; schema partitions does the work.

create or replace function public.create_workflow_events_partition(at timestamptz)
  returns text
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.create('public.workflow_events', at)
$$;
comment on function public.create_workflow_events_partition(timestamptz) is
  'Makes the partition of workflow_events for the UTC month of a moment and returns its name, also when it existed. Errors: INVALID_ARGUMENT (null, infinity, year 9999), CONFLICT (another table has the name, or locks were not to be had). Example: select create_workflow_events_partition(now() + interval ''1 month'')';

create or replace function public.create_workflow_events_partition(month timestamp)
  returns text
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.create('public.workflow_events', month at time zone 'UTC')
$$;
comment on function public.create_workflow_events_partition(timestamp) is
  'The same for a time without a zone, which is taken as UTC. Example: select create_workflow_events_partition(current_date + interval ''1 month'')';

create or replace function public.create_workflow_events_partition(month date)
  returns text
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select partitions.create('public.workflow_events', month::timestamp at time zone 'UTC')
$$;
comment on function public.create_workflow_events_partition(date) is
  'The same for a day of the UTC calendar. Example: select create_workflow_events_partition(''2025-06-01''::date)';

-- Runs and logs are kept ahead as well, because no event can be written without its run.
create or replace function public.maintain_workflow_events_partitions()
  returns int
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_action partitions.action;
  v_created int := 0;
begin
  for v_action in
    select m.*
    from unnest('{public.workflow_runs, public.workflow_events, public.workflow_run_logs}'::regclass[]) as parent
    cross join lateral partitions.maintain(parent) as m
  loop
    if not v_action.done and v_action.action <> 'skip' then
      raise warning 'Partition %: %', coalesce(v_action.partition, v_action.parent::text), v_action.detail;
    elsif v_action.action = 'create' and v_action.parent = 'public.workflow_events'::regclass then
      v_created := v_created + 1;
    end if;
  end loop;
  return v_created;
end
$$;
comment on function public.maintain_workflow_events_partitions() is
  'Makes the missing partitions of workflow_events from two months back to three ahead, and those of runs and logs; returns how many of workflow_events it made. What fails is a warning and tried again next time. Example: select maintain_workflow_events_partitions()';

create or replace function public.drop_old_workflow_events_partitions(retention_months int default 12)
  returns int
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_action partitions.action;
  v_dropped int := 0;
begin
  for v_action in
    select r.*
    from coalesce(make_interval(months => retention_months), interval '0') as age
    cross join lateral partitions.retire('public.workflow_events', age) as r
  loop
    if v_action.done then
      v_dropped := v_dropped + 1;
    else
      raise warning 'Partition % stays: %', coalesce(v_action.partition, v_action.parent::text), v_action.detail;
    end if;
  end loop;
  return v_dropped;
end
$$;
comment on function public.drop_old_workflow_events_partitions(int) is
  'Drops the partitions of workflow_events whose last moment is more than so many months ago and returns how many; their runs stay, without events. A partition with events of an unfinished run stays, with a warning, and so does the last one. Error: INVALID_ARGUMENT (null, zero, negative). Example: select drop_old_workflow_events_partitions(6)';

create or replace function public.get_workflow_events_partition_stats()
  returns table (
    partition_name text,
    start_date date,
    end_date date,
    row_count bigint,
    size_bytes bigint,
    size_pretty text
  )
  language sql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
  select s.partition, (s.lower at time zone 'UTC')::date, (s.upper at time zone 'UTC')::date,
    s.row_count, s.size_bytes, s.size_pretty
  from partitions.statistics('public.workflow_events', exact => true) as s
$$;
comment on function public.get_workflow_events_partition_stats() is
  'The partitions of workflow_events: UTC days from start_date to end_date (excluded), rows counted one by one, size in bytes with indexes. Example: select * from get_workflow_events_partition_stats()';

create or replace view public.workflow_events_partition_info with (security_invoker = true) as
select
  c.relname::text as partition_name,
  pg_size_pretty(pg_total_relation_size(c.oid)) as size,
  case when c.reltuples >= 0 then c.reltuples::bigint else pg_stat_get_live_tuples(c.oid) end as row_count_estimate
from pg_inherits as i
join pg_class as c on c.oid = i.inhrelid
where i.inhparent = 'public.workflow_events'::regclass
order by c.relname;
comment on view public.workflow_events_partition_info is
  'The partitions of workflow_events, their size with indexes and about how many rows they have. Example: select * from workflow_events_partition_info';
comment on column public.workflow_events_partition_info.partition_name is 'For example workflow_events_y2026m11.';
comment on column public.workflow_events_partition_info.size is 'With indexes, such as 24 MB.';
comment on column public.workflow_events_partition_info.row_count_estimate is 'Rows by the server''s statistics.';

grant execute on function
  public.create_workflow_events_partition(timestamptz),
  public.create_workflow_events_partition(timestamp),
  public.create_workflow_events_partition(date),
  public.maintain_workflow_events_partitions(),
  public.drop_old_workflow_events_partitions(int),
  public.get_workflow_events_partition_stats()
  to flowgres_dba;
grant select on public.workflow_events_partition_info to flowgres_dba, flowgres_monitor;
--! EndIncluded 40_runs/event_partitions.sql
--! Included 40_runs/run_events.sql
-- kind: code
-- The log of one run, read from the few partitions that can hold it.

-- Nothing of a run happened before the time in its id or after its end; a day of margin forgives a clock. The bounds
-- are variables and the plan is made for their values, so it locks one or two partitions of 120, not all. Most runs end
-- within a day: then their last event says so, and the run is not looked up.
create or replace function public.get_workflow_run_events(
  run_id uuid,
  start_time timestamptz default null,
  end_time timestamptz default null
)
  returns setof public.workflow_events
  language plpgsql
  stable
  rows 20
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_run constant uuid := get_workflow_run_events.run_id;
  v_start constant timestamptz := engine.uuid_time(v_run);
  -- A day given as the end is meant as a whole; any other moment is included.
  v_end constant timestamptz := end_time + case
    when end_time = date_trunc('day', end_time, 'UTC') then interval '1 day'
    else interval '1 microsecond'
  end;
  v_from timestamptz := greatest(v_start - interval '1 day', start_time);
  v_to timestamptz := least(v_start + interval '1 day', v_end);
  v_event public.workflow_events;
begin
  for v_event in
    select e.*
    from public.workflow_events as e
    where e.run_id = v_run and e.ts >= v_from and e.ts < v_to
    order by e.ts
  loop
    return next v_event;
  end loop;
  if v_event.type in ('run.succeeded', 'run.failed', 'run.canceled') or v_end <= v_to then
    return;
  end if;

  v_from := greatest(v_start + interval '1 day', start_time);
  select coalesce(r.finished_at + interval '1 day', 'infinity')
  into v_to
  from public.workflow_runs as r
  where r.id = v_run;
  v_to := least(v_to, v_end);
  if v_to > v_from then
    return query
      select e.*
      from public.workflow_events as e
      where e.run_id = v_run and e.ts >= v_from and e.ts < v_to
      order by e.ts;
  end if;
end
$$;
comment on function public.get_workflow_run_events(uuid, timestamptz, timestamptz) is
  'The events of a run in their order, optionally from start_time to end_time, both included; an end at midnight UTC stands for that whole day. Reads only the partitions between the run''s start and end. Empty for an unknown run or another organization''s. Example: select seq, ts, type from get_workflow_run_events(''0190…'', ''2026-01-01'', ''2026-01-31'')';

grant execute on function public.get_workflow_run_events(uuid, timestamptz, timestamptz) to flowgres_user, flowgres_dba;
--! EndIncluded 40_runs/run_events.sql
--! Included 40_runs/policies.sql
-- kind: code
-- Who sees which run. Partitions have row-level security without a policy: they are reached through these tables only.

alter table public.workflow_runs enable row level security;
drop policy if exists workflow_runs_flowgres_user_select on public.workflow_runs;
create policy workflow_runs_flowgres_user_select on public.workflow_runs
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

alter table public.workflow_events enable row level security;
drop policy if exists workflow_events_flowgres_user_select on public.workflow_events;
create policy workflow_events_flowgres_user_select on public.workflow_events
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

alter table public.workflow_run_logs enable row level security;
drop policy if exists workflow_run_logs_flowgres_user_select on public.workflow_run_logs;
create policy workflow_run_logs_flowgres_user_select on public.workflow_run_logs
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

alter table public.run_operations enable row level security;
drop policy if exists run_operations_flowgres_user_select on public.run_operations;
create policy run_operations_flowgres_user_select on public.run_operations
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

grant select on public.run_operations to flowgres_user;
grant select on public.workflow_runs, public.workflow_events, public.workflow_run_logs to flowgres_user;

-- Reading a run's events takes the time out of its id.
grant usage on schema engine to flowgres_user;
--! EndIncluded 40_runs/policies.sql
--! EndIncluded 40_runs/index.sql
--! Included 50_engine/index.sql
-- The engine: starts runs, moves them on, and finds those that nothing would move.

--! Included 50_engine/tables.sql
-- kind: state
-- Who works and who listens, and the types in which the engine's functions hand runs to each other.

create table engine.workers (
  id uuid not null,
  pool_id text,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  capacity int,
  share int,
  constraint workers_pkey primary key (id)
);
alter table engine.workers enable row level security;
comment on table engine.workers is
  'Worker processes and their heartbeats; pool_id is the name under which graphile-worker locks jobs for them, capacity how many steps they run at once; share is how many steps of one organization all workers may run at once.';

create table engine.listeners (
  id uuid not null,
  seen_at timestamptz not null,
  constraint listeners_pkey primary key (id)
);
alter table engine.listeners enable row level security;
comment on table engine.listeners is
  'Processes that wait for news of runs; NOTIFY is sent only while one of them was seen in the last 15 seconds.';

-- An event without the identity of its run: what advance reads and what it answers.
create type engine.log_entry as (
  seq int,
  ts timestamptz,
  type text,
  payload jsonb
);

-- What the log of a run adds up to. Of each node, by its place in the plan: 1 succeeded, 2 skipped, 3 waiting, 4 failed
-- for good; null is not settled.
create type engine.folded as (
  created jsonb,          -- the payload of run.created
  created_at timestamptz,
  at timestamptz,         -- when the outside last had its say: what a timer counts from
  responded boolean,
  finished boolean,
  seq int,                -- of the last event …
  ts timestamptz,         -- … and its time
  states int[],
  ports text[],
  outputs jsonb[],
  errors jsonb[],
  held boolean            -- created, but not let in yet
);

-- A step that advance has reached and cannot take itself.
create type engine.opened_step as (
  node text,
  state text,       -- queued: a worker takes it; waiting: something outside must happen
  place int,        -- of the node in the plan
  properties jsonb, -- with the results of its expressions; null: the budget ran out here, go on in another transaction
  prev jsonb,
  run_at timestamptz, -- of one that waits: when it goes on without being asked
  inputs jsonb,       -- where expressions are left for child runs: what else they can see
  outputs jsonb[]
);

create type engine.advanced as (
  entries engine.log_entry[],
  opened engine.opened_step[]
);

-- A run under lock: its row, its log, its open steps.
create type engine.loaded_run as (
  run public.workflow_runs,
  log engine.log_entry[],
  steps engine.open_steps[]
);

-- One step of a run from state to state, as it will be written. A batch is an array of them.
create type engine.move as (
  run public.workflow_runs,    -- as the move leaves it
  is_changed boolean,          -- whether its row has to be written
  entries engine.log_entry[],  -- the events to append
  steps engine.open_steps[],   -- opened, begun or queued again
  closed text[],               -- nodes whose step has ended
  task jsonb                   -- what the caller does now
);
--! EndIncluded 50_engine/tables.sql
--! Included 50_engine/plan.sql
-- kind: code
-- Small questions about a plan, and what the outside is shown of it.

-- The trigger that a start fires when it names none: the first of its own kind, else the first.
create or replace function engine.trigger_for(p_nodes engine.plan_node[], p_mode text)
  returns text
  language plpgsql
  immutable
as $$
declare
  c_wanted constant text := case p_mode
    when 'retry' then 'manual'
    when 'child' then 'subworkflow'
    else p_mode
  end || 'Trigger@';
  v_node engine.plan_node;
  v_first text;
begin
  foreach v_node in array coalesce(p_nodes, '{}') loop
    if v_node.kind = 'trigger' then
      if starts_with(v_node.type, c_wanted) then
        return v_node.id;
      end if;
      v_first := coalesce(v_first, v_node.id);
    end if;
  end loop;
  return v_first;
end
$$;

create or replace function engine.response_of(p_node text, p_properties jsonb, p_prev jsonb)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'node', p_node,
    'status', coalesce(p_properties -> 'status', '200'),
    'headers', coalesce(p_properties -> 'headers', '{}'),
    'body', case when p_properties ? 'body' then p_properties -> 'body' else coalesce(p_prev, 'null') end
  )
$$;

-- The run that the Idempotency-Key of a node names. In a retried run it is the original one until the node has had a
-- recorded success, so that the peer can tell a crashed request from a new one.
create or replace function engine.key_run(p_run public.workflow_runs, p_node text)
  returns uuid
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan -- prunes
as $$
declare
  v_from timestamptz;
  v_run_id uuid := p_run.id;
  v_retry_of uuid := p_run.retry_of;
begin
  while v_retry_of is not null loop
    v_from := engine.uuid_time(v_retry_of) - interval '1 day';
    exit when exists (
      select
      from public.workflow_events as e
      where e.run_id = v_retry_of
        and e.ts >= v_from
        and e.type in ('step.succeeded', 'step.reused')
        and e.payload ->> 'node' = p_node
    );
    v_run_id := v_retry_of;
    v_retry_of := (select r.retry_of from public.workflow_runs as r where r.id = v_run_id);
  end loop;
  return v_run_id;
end
$$;

-- What a worker gets to do a step.
create or replace function engine.task(
  p_run public.workflow_runs,
  p_node engine.plan_node,
  p_step engine.opened_step,
  p_attempt int
)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_run.organization_id,
    'workflowId', p_run.workflow_id,
    'version', p_run.version,
    'runId', p_run.id,
    'node', p_node.id,
    'type', p_node.type,
    'kind', p_node.kind,
    'attempt', p_attempt,
    'properties', p_step.properties,
    'credentials', p_node.credentials,
    'timeoutMs', p_node.timeout_ms,
    'idempotencyKey', case when p_run.retry_of is null then p_run.id else engine.key_run(p_run, p_node.id) end
      || '/' || p_node.id,
    'input', p_step.prev
  )
$$;

-- A time as JSON has it, whatever the session's time zone.
create or replace function engine.iso_time(p_at timestamptz)
  returns text
  language sql
  stable
  parallel safe
as $$
  select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- What expressions see as $.run.
create or replace function engine.run_context(
  p_run_id uuid,
  p_created jsonb,
  p_created_at timestamptz,
  p_nodes engine.plan_node[],
  p_resume_key bytea
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node engine.plan_node;
  v_resume jsonb := '{}';
begin
  foreach v_node in array p_nodes loop
    if v_node.kind = 'wait' and v_node.properties ? 'webhook' then
      v_resume := v_resume || jsonb_build_object(
        v_node.id, '/resume/' || engine.resume_token(p_resume_key, p_run_id, v_node.id)
      );
    end if;
  end loop;
  return jsonb_build_object(
    'id', p_run_id,
    'mode', p_created -> 'mode',
    'startedAt', engine.iso_time(p_created_at),
    'workflow', p_created -> 'workflowId',
    'resume', v_resume
  );
end
$$;

-- What is known to whoever was told: 24 bytes of a MAC over run and node, behind the id of the run. The key is hashed
-- around a hash, so that no token can be lengthened to another.
create or replace function engine.resume_token(p_key bytea, p_run_id uuid, p_node text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select rtrim(translate(encode(
    uuid_send(p_run_id) || substring(sha256(
      p_key || sha256(p_key || uuid_send(p_run_id) || convert_to(p_node, 'UTF8'))
    ) for 24),
    'base64'
  ), '+/', '-_'), '=')
$$;

-- The row of a run as its last event leaves it. p_waiting: every open step waits for something outside.
create or replace function engine.run_after(
  p_run public.workflow_runs,
  p_last engine.log_entry,
  p_waiting boolean
)
  returns public.workflow_runs
  language plpgsql
  immutable
as $$
begin
  case p_last.type
    when 'run.succeeded' then
      p_run.status := 'success';
      p_run.finished_at := p_last.ts;
    when 'run.failed' then
      p_run.status := 'error';
      p_run.finished_at := p_last.ts;
      p_run.error := p_last.payload -> 'error';
      if p_last.payload ? 'node' then
        p_run.error := jsonb_set(p_run.error, '{node}', p_last.payload -> 'node');
      end if;
    when 'run.canceled' then
      p_run.status := 'canceled';
      p_run.finished_at := p_last.ts;
    when 'run.paused' then
      p_run.status := 'paused';
    else
      p_run.status := case when p_waiting then 'waiting' else 'running' end;
  end case;
  return p_run;
end
$$;

-- A step that has just been reached.
create or replace function engine.new_step(
  p_run public.workflow_runs,
  p_opened engine.opened_step,
  p_now timestamptz
)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  v_step.organization_id := p_run.organization_id;
  v_step.run_id := p_run.id;
  v_step.node := p_opened.node;
  v_step.state := p_opened.state;
  v_step.attempt := 0;
  v_step.failures := 0;
  v_step.deaths := 0;
  v_step.run_at := case p_opened.state when 'queued' then p_now else p_opened.run_at end;
  return v_step;
end
$$;
--! EndIncluded 50_engine/plan.sql
--! Included 50_engine/fold.sql
-- kind: code
-- The state of a run is the fold of its log.

create or replace function engine.fold(
  p_nodes engine.plan_node[],
  p_ids text[],
  p_log engine.log_entry[]
)
  returns engine.folded
  language plpgsql
  immutable
as $$
declare
  c_count constant int := cardinality(p_nodes);
  v_states int[] := array_fill(null::int, array[c_count]);
  v_ports text[] := array_fill(null::text, array[c_count]);
  v_outputs jsonb[] := array_fill(null::jsonb, array[c_count]);
  v_errors jsonb[];
  v_entry engine.log_entry;
  v_place int;
  v_folded engine.folded;
begin
  foreach v_entry in array p_log loop
    case v_entry.type
      when 'run.created' then
        v_folded.created_at := v_entry.ts;
        v_folded.created := v_entry.payload;
        v_folded.at := v_entry.ts;
        v_folded.held := v_entry.payload ? 'held';
      when 'run.released' then
        v_folded.at := v_entry.ts;
        v_folded.held := false;
      when 'step.succeeded', 'step.reused' then
        v_place := array_position(p_ids, v_entry.payload ->> 'node');
        v_states[v_place] := 1;
        v_ports[v_place] := v_entry.payload ->> 'port';
        v_outputs[v_place] := coalesce(v_entry.payload -> 'output', 'null');
        if (p_nodes[v_place]).kind not in ('pure', 'trigger') then
          v_folded.at := v_entry.ts;
        end if;
      when 'step.failed' then
        if not v_entry.payload ? 'retryAt' then
          v_place := array_position(p_ids, v_entry.payload ->> 'node');
          v_states[v_place] := 4;
          v_errors[v_place] := v_entry.payload -> 'error';
          -- Only a worker measures a failure; without `ms` the engine itself noticed it.
          if v_entry.payload ? 'ms' then
            v_folded.at := v_entry.ts;
          end if;
        end if;
      when 'step.waiting' then
        v_states[array_position(p_ids, v_entry.payload ->> 'node')] := 3;
      when 'run.responded' then
        v_folded.responded := true;
      when 'run.signaled', 'run.resumed' then
        v_folded.at := v_entry.ts;
      when 'run.succeeded', 'run.failed', 'run.canceled' then
        v_folded.finished := true;
      else
        null; -- step.started, run.paused: nothing in the graph moves
    end case;
  end loop;
  v_folded.seq := v_entry.seq;
  v_folded.ts := v_entry.ts;
  v_folded.states := v_states;
  v_folded.ports := v_ports;
  v_folded.outputs := v_outputs;
  v_folded.errors := v_errors;
  return v_folded;
end
$$;

-- The output of the one leaf that ran, or an object with those of several. A leaf has no live outgoing connection.
-- p_fed: the nodes that are known to have one; the nodes settled before, by p_before, have not been looked at.
create or replace function engine.output_of_run(
  p_nodes engine.plan_node[],
  p_before int[],
  p_states int[],
  p_ports text[],
  p_outputs jsonb[],
  p_fed boolean[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_node engine.plan_node;
  v_source int;
  v_count int := 0;
  v_single jsonb;
  v_several jsonb := '{}';
begin
  for v_place in 1 .. cardinality(p_nodes) loop
    if p_before[v_place] in (1, 2) then
      v_node := p_nodes[v_place];
      for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
        v_source := v_node.sources[v_edge];
        if p_states[v_source] = 1 and p_ports[v_source] = v_node.source_ports[v_edge] then
          p_fed[v_source] := true;
        end if;
      end loop;
    end if;
  end loop;

  for v_place in 1 .. cardinality(p_nodes) loop
    if p_states[v_place] = 1 and p_fed[v_place] is null then
      v_count := v_count + 1;
      v_single := p_outputs[v_place];
      v_several := v_several || jsonb_build_object((p_nodes[v_place]).id, v_single);
    end if;
  end loop;
  return case when v_count > 1 then v_several else v_single end;
end
$$;
--! EndIncluded 50_engine/fold.sql
--! Included 50_engine/outcomes.sql
-- kind: code
-- What a node receives and what it leaves behind, in the cases that are rare enough for a function of their own.

-- An exception as the error of a step: ours carry a code and facts about it, PostgreSQL's are told by their SQLSTATE.
create or replace function engine.error_of(p_sqlstate text, p_message text, p_detail text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_details jsonb := jsonb_build_object('sqlstate', p_sqlstate);
  v_code text := 'NODE_FAILED';
begin
  if p_sqlstate like 'WF%' then
    v_code := p_detail::jsonb ->> 'code';
    v_details := p_detail::jsonb - 'code';
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'code', v_code,
    'message', p_message,
    'retryable', false,
    'details', nullif(v_details, '{}')
  ));
end
$$;

-- The live values at each input of a node: {"main": [value, …]}.
create or replace function engine.inputs_of(
  p_node engine.plan_node,
  p_states int[],
  p_ports text[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_inputs jsonb := '{}';
  v_input text;
  v_source int;
begin
  for v_edge in 1 .. cardinality(p_node.sources) loop
    v_source := p_node.sources[v_edge];
    v_input := p_node.target_inputs[v_edge];
    if p_states[v_source] = 1 and p_ports[v_source] = p_node.source_ports[v_edge] then
      v_inputs := v_inputs || jsonb_build_object(
        v_input, coalesce(v_inputs -> v_input, '[]') || jsonb_build_array(p_outputs[v_source])
      );
    end if;
  end loop;
  return v_inputs;
end
$$;

-- What a node leaves behind that failed for good, by its onError; no port: the run stops.
create or replace function engine.outcome_of_failure(p_node engine.plan_node, p_error jsonb, p_prev jsonb)
  returns engine.outcome
  language plpgsql
  immutable
as $$
declare
  v_outcome engine.outcome;
begin
  if p_node.type not like 'stopAndError@%' and p_node.on_error = 'continue' then
    v_outcome.port := 'main';
    v_outcome.output := jsonb_build_object('error', p_error);
  elsif p_node.type not like 'stopAndError@%' and p_node.on_error = 'errorOutput' then
    v_outcome.port := 'error';
    v_outcome.output := jsonb_build_object('error', p_error, 'input', p_prev);
  end if;
  return v_outcome;
end
$$;
--! EndIncluded 50_engine/outcomes.sql
--! Included 50_engine/waiting.sql
-- kind: code
-- What a node waits for: the event that says so, from its properties and the log alone.

-- How a step waits: for a time, a signal, a webhook or an approval; for child runs: run, forEach or repeat.
create or replace function engine.wait_kind(p_node engine.plan_node, p_properties jsonb)
  returns text
  language sql
  immutable
as $$
  select case split_part(p_node.type, '@', 1)
    when 'executeWorkflow' then 'run'
    when 'forEach' then 'forEach'
    when 'repeat' then 'repeat'
    else case
      when p_properties ? 'signal' then 'signal'
      when p_properties ? 'webhook' then 'webhook'
      when p_properties ? 'approval' then 'approval'
      else 'time'
    end
  end
$$;

-- When the waiting ends by itself: at the time `until`, after `seconds`, or after `timeoutSeconds`. An address that
-- can be called from anywhere is open for a week if nothing else is said.
create or replace function engine.wait_until(p_kind text, p_properties jsonb, p_at timestamptz)
  returns timestamptz
  language plpgsql
  stable
as $$
declare
  v_until timestamptz;
begin
  if p_kind = 'time' and p_properties ? 'until' then
    v_until := engine.parse_instant(p_properties -> 'until', coalesce(p_properties ->> 'timezone', 'UTC'));
  else
    begin
      v_until := p_at + make_interval(secs => coalesce(
        p_properties ->> case p_kind when 'time' then 'seconds' else 'timeoutSeconds' end,
        case p_kind when 'webhook' then '604800' end
      )::double precision);
    exception
      when data_exception then
        v_until := null;
    end;
    if v_until is null and p_kind <> 'time' and coalesce(p_properties -> 'timeoutSeconds', 'null') = 'null' then
      return null;
    end if;
  end if;
  if v_until is null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      'A wait needs a time such as 2026-11-21T12:00:00Z, with a time zone that exists, or a number of seconds.'
    );
  elsif v_until > p_at + interval '5 years' then
    perform private.raise_error('INVALID_ARGUMENT', 'A wait ends within the next five years.');
  end if;
  return v_until;
end
$$;

-- How many items a forEach goes through.
create or replace function engine.item_count(p_properties jsonb)
  returns int
  language plpgsql
  stable
as $$
declare
  v_most constant int := coalesce((p_properties ->> 'maxItems')::int, 1000);
  v_count int;
begin
  if jsonb_typeof(p_properties -> 'items') is distinct from 'array' then
    perform engine.node_failed('NOT_A_LIST', format(
      'items is not a list: %s', left((p_properties -> 'items')::text, 100)
    ));
  end if;
  v_count := jsonb_array_length(p_properties -> 'items');
  if v_count > v_most then
    perform engine.node_failed('TOO_MANY_ITEMS', format('There are %s items, but at most %s.', v_count, v_most));
  end if;
  return v_count;
end
$$;

-- The payload of step.waiting.
create or replace function engine.waiting_payload(
  p_node engine.plan_node,
  p_properties jsonb,
  p_at timestamptz
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_kind constant text := engine.wait_kind(p_node, p_properties);
  v_payload jsonb := jsonb_build_object('node', p_node.id, 'kind', v_kind);
  v_name text;
  v_until timestamptz;
begin
  if v_kind in ('run', 'forEach', 'repeat', 'signal') then
    v_name := p_properties ->> case v_kind when 'signal' then 'signal' else 'workflow' end;
    if v_name is null or v_name = '' or (v_kind = 'signal' and v_name !~ engine.signal_pattern()) then
      perform private.raise_error('INVALID_ARGUMENT', case v_kind
        when 'signal' then 'The name of a signal has 1 to 200 letters, digits, "_", "." and "-".'
        else 'workflow is the name or the id of a workflow.'
      end);
    end if;
    v_payload := v_payload || jsonb_build_object('name', v_name);
  end if;
  if v_kind = 'forEach' then
    v_payload := v_payload || jsonb_build_object('count', engine.item_count(p_properties));
  elsif v_kind in ('time', 'signal', 'webhook', 'approval') then
    v_until := engine.wait_until(v_kind, p_properties, p_at);
    if v_until is not null then
      v_payload := v_payload || jsonb_build_object('until', engine.iso_time(v_until));
    end if;
  end if;
  return v_payload;
end
$$;

-- When a waiting step goes on without being asked: one with child runs starts them at once.
create or replace function engine.wait_run_at(p_payload jsonb, p_at timestamptz)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when p_payload ->> 'kind' in ('run', 'forEach', 'repeat') then p_at
    else (p_payload ->> 'until')::timestamptz
  end
$$;

-- Names with a colon are the engine's own: the call of a resume address is a signal, too.
create or replace function engine.signal_pattern()
  returns text
  language sql
  immutable
  parallel safe
as $$
  select '^[A-Za-z0-9_.-]{1,200}$'
$$;

create or replace function engine.resume_signal(p_node text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select 'resume:' || p_node
$$;

-- The place of a node in the plan and, by place, whether it is that node or one before it.
create or replace function engine.nodes_before(p_nodes engine.plan_node[], p_place int)
  returns boolean[]
  language plpgsql
  immutable
as $$
declare
  v_needed boolean[] := array_fill(false, array[cardinality(p_nodes)]);
  v_source int;
begin
  v_needed[p_place] := true;
  for v_place in reverse p_place .. 1 loop
    if v_needed[v_place] then
      foreach v_source in array (p_nodes[v_place]).sources loop
        v_needed[v_source] := true;
      end loop;
    end if;
  end loop;
  return v_needed;
end
$$;

-- A waiting step as it was when it was reached. What it received is not kept anywhere: all of it had settled, so the
-- log gives the same again.
create or replace function engine.reached(
  p_plan engine.plans,
  p_run_id uuid,
  p_log engine.log_entry[],
  p_node text
)
  returns engine.opened_step
  language plpgsql
  stable
as $$
declare
  v_needed constant boolean[] := engine.nodes_before(p_plan.nodes, array_position(p_plan.ids, p_node));
  v_others text[] := '{}';
  v_log engine.log_entry[] := '{}';
  v_entry engine.log_entry;
  v_advanced engine.advanced;
begin
  for v_place in 1 .. cardinality(p_plan.ids) loop
    if not v_needed[v_place] then
      v_others := v_others || p_plan.ids[v_place];
    end if;
  end loop;
  foreach v_entry in array p_log loop
    if v_entry.type <> 'step.waiting' or v_entry.payload ->> 'node' <> p_node then
      v_log := v_log || v_entry;
    end if;
  end loop;
  v_advanced := engine.advance(p_plan.nodes, p_plan.ids, p_run_id, v_log, v_others, null, p_plan.resume_key);
  return v_advanced.opened[1];
end
$$;
--! EndIncluded 50_engine/waiting.sql
--! Included 50_engine/advance.sql
-- kind: code
-- The heart of the engine. From a plan and the log of a run it computes the events that come next. It reads no table
-- and writes none, so replaying a log gives the same events again; its only look at the clock is to stop in time.

-- long because handing the arrays of a run, or the row of a node, to another function for each node makes a node cost
-- half as much again.
-- p_open: steps that are open already; p_resume_key: what the tokens of resume addresses are made with.
create or replace function engine.advance(
  p_nodes engine.plan_node[],
  p_ids text[],
  p_run_id uuid,
  p_log engine.log_entry[],
  p_open text[] default '{}',
  p_budget int default 200,
  p_resume_key bytea default null
)
  returns engine.advanced
  language plpgsql
  stable
as $$
declare
  v_fold constant engine.folded := engine.fold(p_nodes, p_ids, p_log);
  v_states int[] := v_fold.states;
  v_ports text[] := v_fold.ports;
  v_outputs jsonb[] := v_fold.outputs;
  v_errors jsonb[] := v_fold.errors;
  v_fed boolean[] := array_fill(null::boolean, array[cardinality(p_nodes)]); -- has a live outgoing connection
  v_created constant jsonb := v_fold.created;
  v_input constant jsonb := v_created -> 'input';
  v_vars constant jsonb := v_created -> 'vars';
  v_trigger constant text := v_created ->> 'trigger';
  v_run jsonb;
  v_responded boolean := v_fold.responded;
  -- A child run sees what it was started with as $.item, and its place as $.index.
  v_index constant int := (v_created #>> '{parent,index}')::int;
  v_item constant jsonb := case when v_index is not null then v_input end;
  v_seq int := v_fold.seq;
  v_ts timestamptz := v_fold.ts;
  -- Without a budget, as in a replay, there is no hurry either.
  v_stop_at constant timestamptz :=
    case when p_budget is null then 'infinity' else clock_timestamp() + interval '50 ms' end;
  v_taken int := 0;
  v_place int := 1;
  v_node engine.plan_node;
  v_source int;
  v_live boolean;
  v_settled boolean;
  v_prev jsonb;
  v_inputs jsonb;
  v_properties jsonb;
  v_outcome engine.outcome;
  v_payload jsonb;
  v_run_at timestamptz;
  v_started timestamptz;
  v_open boolean := false;
  v_detail text;
  v_entries engine.log_entry[];
  v_opened engine.opened_step[];
  v_result engine.advanced;
begin
  if v_fold.finished or v_fold.held then
    return v_result;
  end if;

  -- One pass in topological order. A node that fails raises; the failure is noted and the pass goes on from that node.
  loop
    begin
      while v_place <= cardinality(p_nodes) loop
        if v_states[v_place] in (1, 2) then
          v_place := v_place + 1;
          continue;
        end if;
        v_node := p_nodes[v_place];
        v_live := v_node.id = v_trigger;
        v_settled := true;
        v_prev := null;
        for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
          v_source := v_node.sources[v_edge];
          if v_states[v_source] = 1 then
            if v_ports[v_source] = v_node.source_ports[v_edge] then
              v_live := true;
              v_fed[v_source] := true;
              if v_prev is null and v_node.target_inputs[v_edge] = v_node.inputs[1] then
                v_prev := v_outputs[v_source];
              end if;
            end if;
          elsif v_states[v_source] is distinct from 2 then
            v_settled := false;
          end if;
        end loop;

        v_outcome := null;
        if not v_settled or v_node.id = any (p_open)
          or v_states[v_place] = 3
        then
          v_open := true;

        elsif not v_live then
          v_states[v_place] := 2;

        elsif v_states[v_place] = 4 then
          v_outcome := engine.outcome_of_failure(v_node, v_errors[v_place], v_prev);
          if v_outcome.port is null then
            v_result.entries := v_entries || row(
              v_seq + 1, v_ts + interval '1 microsecond', 'run.failed',
              jsonb_build_object('error', v_errors[v_place], 'node', v_node.id)
            )::engine.log_entry;
            return v_result;
          end if;

        else
          v_started := clock_timestamp();
          if v_taken >= p_budget or v_started > v_stop_at then
            v_result.entries := v_entries;
            v_result.opened := v_opened
              || row(v_node.id, 'queued', v_place, null, null, null, null, null)::engine.opened_step;
            return v_result;
          end if;
          v_taken := v_taken + 1;

          v_properties := v_node.properties;
          v_inputs := null;
          if cardinality(v_node.sources) > 1 or v_node.uses_inputs then
            v_inputs := engine.inputs_of(v_node, v_states, v_ports, v_outputs);
          end if;
          if v_node.expressions is not null and not v_node.disabled then
            if v_node.uses_run and v_run is null then
              v_run := engine.run_context(p_run_id, v_created, v_fold.created_at, p_nodes, p_resume_key);
            end if;
            v_properties := engine.resolve(
              v_properties, v_node.expressions, v_node.is_strict, v_input, v_prev, v_inputs, v_outputs, v_run, v_vars,
              v_item, v_index
            );
          end if;

          case
            when v_node.disabled then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_prev;
            when v_node.pin is not null and v_created ->> 'mode' = 'manual' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_node.pin;
            when v_node.kind = 'pure' then
              v_outcome := engine.run_pure(v_node.type, v_node.function, v_properties, v_prev, v_inputs);
            when v_node.kind = 'trigger' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := case
                when starts_with(v_node.type, 'webhookTrigger@') then v_input -> 'body'
                else v_input
              end;
            else
              null; -- a worker takes it, or time
          end case;
          v_seq := v_seq + 1;
          v_ts := v_ts + interval '1 microsecond';
          if v_outcome.port is not null then
            v_outcome.output := coalesce(v_outcome.output, 'null');
            if pg_column_size(v_outcome.output) > 1048576 then
              perform private.raise_error('TOO_LARGE', format('The output of %s is larger than 1 MiB.', v_node.id));
            end if;
            -- Building the payload anew would cost three times as much.
            v_payload := jsonb_set(v_node.success, '{output}', v_outcome.output);
            if v_outcome.port <> v_node.ports[1] then
              v_payload := jsonb_set(v_payload, '{port}', to_jsonb(v_outcome.port));
            end if;
            if clock_timestamp() > v_started + interval '1 ms' then
              v_payload := jsonb_set(
                v_payload, '{ms}', to_jsonb((date_part('epoch', clock_timestamp() - v_started) * 1000)::int)
              );
            end if;
            v_entries := v_entries || row(v_seq, v_ts, 'step.succeeded', v_payload)::engine.log_entry;
            if v_responded is null and starts_with(v_node.type, 'respondToWebhook@') and not v_node.disabled then
              v_responded := true;
              v_seq := v_seq + 1;
              v_ts := v_ts + interval '1 microsecond';
              v_entries := v_entries || row(
                v_seq, v_ts, 'run.responded', engine.response_of(v_node.id, v_properties, v_prev)
              )::engine.log_entry;
            end if;
          else
            v_open := true;
            v_run_at := null;
            if v_node.kind = 'wait' then
              v_payload := engine.waiting_payload(v_node, v_properties, v_fold.at);
              v_run_at := engine.wait_run_at(v_payload, v_fold.at);
              v_entries := v_entries || row(v_seq, v_ts, 'step.waiting', v_payload)::engine.log_entry;
            elsif pg_column_size(v_properties) > 1048576 then
              perform private.raise_error('TOO_LARGE', format('The input of %s is larger than 1 MiB.', v_node.id));
            else
              v_seq := v_seq - 1; -- a queued step has no event until a worker begins it
              v_ts := v_ts - interval '1 microsecond';
            end if;
            v_opened := v_opened || row(
              v_node.id, case v_node.kind when 'wait' then 'waiting' else 'queued' end, v_place, v_properties,
              v_prev, v_run_at,
              case when v_node.deferred is not null then v_inputs end,
              case when v_node.deferred is not null then v_outputs end
            )::engine.opened_step;
          end if;
        end if;

        if v_outcome.port is not null then
          v_states[v_place] := 1;
          v_ports[v_place] := v_outcome.port;
          v_outputs[v_place] := v_outcome.output;
        end if;
        v_place := v_place + 1;
      end loop;
      exit;
    exception
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        v_states[v_place] := 4;
        v_errors[v_place] := engine.error_of(sqlstate, sqlerrm, v_detail);
        v_seq := coalesce(v_entries[cardinality(v_entries)].seq, v_fold.seq) + 1;
        v_ts := coalesce(v_entries[cardinality(v_entries)].ts, v_fold.ts) + interval '1 microsecond';
        v_entries := v_entries || row(
          v_seq, v_ts, 'step.failed',
          jsonb_build_object('node', v_node.id, 'attempt', 1, 'error', v_errors[v_place])
        )::engine.log_entry;
    end;
  end loop;

  if not v_open then
    v_entries := v_entries || row(
      v_seq + 1, v_ts + interval '1 microsecond', 'run.succeeded',
      jsonb_build_object('output', engine.output_of_run(p_nodes, v_fold.states, v_states, v_ports, v_outputs, v_fed))
    )::engine.log_entry;
  end if;
  v_result.entries := v_entries;
  v_result.opened := v_opened;
  return v_result;
end
$$;
--! EndIncluded 50_engine/advance.sql
--! Included 50_engine/bounds.sql
-- kind: code
-- How queries on runs and events keep to the one or two partitions that they need. Either the range of the runs is
-- computed first and the query is planned for it, each time anew; or, while there are few partitions, one plan for all
-- of them is kept, which skips the others when it starts: that saves a tenth of a millisecond a query, and costs a lock
-- on each partition.

create or replace function engine.plan_mode()
  returns text
  language sql
  stable
as $$
  select case when count(*) <= 16 then 'force_generic_plan' else 'force_custom_plan' end
  from pg_catalog.pg_inherits as i
  where i.inhparent = 'public.workflow_runs'::regclass
$$;

create or replace function engine.earliest(p_ids uuid[])
  returns uuid
  language plpgsql
  immutable
as $$
declare
  v_id uuid;
  v_earliest uuid;
begin
  foreach v_id in array p_ids loop
    v_earliest := least(v_earliest, v_id);
  end loop;
  return v_earliest;
end
$$;

create or replace function engine.latest(p_ids uuid[])
  returns uuid
  language plpgsql
  immutable
as $$
declare
  v_id uuid;
  v_latest uuid;
begin
  foreach v_id in array p_ids loop
    v_latest := greatest(v_latest, v_id);
  end loop;
  return v_latest;
end
$$;
--! EndIncluded 50_engine/bounds.sql
--! Included 50_engine/fair.sql
-- kind: code
-- Fairness between organizations. However much one of them starts, it runs at most three quarters of the steps that the
-- workers can run at once, so that a slot is free when another one comes. What is beyond that is parked: queued without
-- a job, run_at infinity, so that the queue stays short. Each step of the organization that ends lets the next one in.

-- How many steps of one organization may run at once; null: as many as there are slots. Where there is one organization
-- only, nobody has to be left room.
create or replace function engine.organization_slots()
  returns int
  language sql
  stable
as $$
  select ceil(sum(w.capacity) * 0.75)::int
  from engine.workers as w
  where w.seen_at > engine.now() - interval '15 seconds'
    and (select count(*) from (select from public.organizations limit 2) as o) = 2
$$;

-- How many more steps of an organization may begin; null: any number.
create or replace function engine.free_slots(p_organization_id uuid, p_slots int)
  returns int
  language plpgsql
  stable
  set enable_seqscan = off -- by the index of running steps, however many are queued
as $$
declare
  v_running int;
begin
  if p_slots is null then
    return null;
  end if;
  v_running := (
    select count(*)
    from (
      select
      from engine.open_steps as s
      where s.organization_id = p_organization_id and s.state = 'running'
      limit p_slots
    ) as running
  );
  return p_slots - v_running;
end
$$;

create or replace function engine.is_any_parked()
  returns boolean
  language plpgsql
  stable
  set enable_seqscan = off
as $$
begin
  return exists (select from engine.open_steps as s where s.run_at = 'infinity' and s.state = 'queued');
end
$$;

create or replace function engine.parked_step(p_step engine.open_steps)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.run_at := 'infinity';
  return p_step;
end
$$;

-- Which organizations have so much to do that what these moves queue is parked, and how much of it is not: nothing
-- while older steps are parked already.
create or replace function engine.crowded(p_moves engine.move[])
  returns table (
    organization_id uuid,
    room int
  )
  language sql
  stable
as $$
  select o.id, case when o.has_parked then 0 else o.slots end
  from (
    select
      m.id,
      exists (
        select
        from engine.open_steps as s
        where s.organization_id = m.id and s.run_at = 'infinity' and s.state = 'queued'
      ) as has_parked,
      engine.organization_slots() as slots,
      m.opened
    from (
      select (m.run).organization_id as id, sum(cardinality(m.steps)) as opened
      from unnest(p_moves) as m
      group by (m.run).organization_id
    ) as m
  ) as o
  where o.has_parked
    or o.opened > o.slots
$$;

create or replace function engine.park_steps(
  p_moves engine.move[],
  p_organization_id uuid,
  p_room int,
  p_now timestamptz
)
  returns engine.move[]
  language plpgsql
  stable
as $$
declare
  v_step engine.open_steps;
begin
  for v_move in 1 .. cardinality(p_moves) loop
    continue when (p_moves[v_move].run).organization_id <> p_organization_id;
    for v_place in 1 .. coalesce(cardinality(p_moves[v_move].steps), 0) loop
      v_step := p_moves[v_move].steps[v_place];
      continue when v_step.state <> 'queued' or v_step.run_at > p_now;
      p_room := p_room - 1;
      if p_room < 0 then
        p_moves[v_move].steps[v_place] := engine.parked_step(v_step);
      end if;
    end loop;
  end loop;
  return p_moves;
end
$$;

-- Queues the oldest parked steps of an organization, so many.
create or replace function engine.unpark_steps(p_organization_id uuid, p_count int)
  returns void
  language plpgsql
  volatile
  set enable_seqscan = off
as $$
declare
  v_steps engine.open_steps[];
begin
  with parked as (
    select s.run_id, s.node
    from engine.open_steps as s
    where s.organization_id = p_organization_id
      and s.run_at = 'infinity'
      and s.state = 'queued'
    order by s.run_id
    limit greatest(p_count, 0)
    for update skip locked
  ),
  unparked as (
    update engine.open_steps as s
    set run_at = engine.now(), wake_at = engine.now() + interval '1 minute'
    from parked as p
    where s.run_id = p.run_id
      and s.node = p.node
    returning s.*
  )
  select array_agg(u) into v_steps from unparked as u;
  perform engine.add_jobs(array(
    select engine.job(s, (select r.priority from public.workflow_runs as r where r.id = s.run_id))
    from unnest(v_steps) as s
  ));
end
$$;

-- p_left: the organization of each step that has left its slot. What others left beside it is not filled here: they
-- do so themselves.
create or replace function engine.fill_slots(p_left uuid[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_left record;
begin
  for v_left in
    select l.id, count(*)::int as count
    from unnest(p_left) as l (id)
    where exists (
      select
      from engine.open_steps as s
      where s.organization_id = l.id and s.run_at = 'infinity' and s.state = 'queued'
    )
    group by l.id
    order by l.id
  loop
    perform engine.unpark_steps(
      v_left.id, least(v_left.count, engine.free_slots(v_left.id, engine.organization_slots()))
    );
  end loop;
end
$$;

-- For the reconciler: slots that were left in another way than by a result, as by a canceled run.
create or replace function engine.unpark_overdue_steps()
  returns void
  language plpgsql
  volatile
as $$
declare
  c_slots constant int := engine.organization_slots();
  v_organization_id uuid;
begin
  for v_organization_id in
    select distinct s.organization_id
    from engine.open_steps as s
    where s.run_at = 'infinity' and s.state = 'queued'
  loop
    perform engine.unpark_steps(
      v_organization_id, coalesce(engine.free_slots(v_organization_id, c_slots), 1000)
    );
  end loop;
end
$$;
--! EndIncluded 50_engine/fair.sql
--! Included 50_engine/jobs.sql
-- kind: code
-- Jobs in the queue of the workers.

-- A job is a wake-up and nothing else: losing or doubling one does no harm.
create or replace function engine.job(p_step engine.open_steps, p_priority int default 0, p_key text default null)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select row(
    'run_step',
    json_build_object('runId', p_step.run_id, 'node', p_step.node),
    null,
    null,
    null,
    p_key || p_step.run_id || '/' || p_step.node,
    p_priority::smallint,
    null
  )::graphile_worker.job_spec
$$;

-- Wakes the parents of runs that have ended, each once however many of its children end, and ends the children of
-- those that will not wait for them any more.
create or replace function engine.family_jobs(p_moves engine.move[], p_parents uuid[])
  returns graphile_worker.job_spec[]
  language sql
  stable
as $$
  select array(
    select row(
      'run_step',
      json_build_object('runId', (m.run).parent_run_id, 'node', (m.run).parent_node),
      null, null, null,
      'child:' || (m.run).parent_run_id || '/' || (m.run).parent_node,
      min((m.run).priority),
      null
    )::graphile_worker.job_spec
    from unnest(p_moves) as m
    where m.is_changed
      and (m.run).finished_at is not null
      and (m.run).parent_index is not null
    group by (m.run).parent_run_id, (m.run).parent_node
    order by (m.run).parent_run_id, (m.run).parent_node -- so that batches never wait in a circle
  ) || array(
    select row(
      'end_children', json_build_object('runId', p.id), null, null, null, 'children:' || p.id, 0::smallint, null
    )::graphile_worker.job_spec
    from unnest(p_parents) as p (id)
    order by p.id
  )
$$;

create or replace function engine.add_jobs(p_jobs graphile_worker.job_spec[])
  returns void
  language plpgsql
  volatile
  -- Jobs are looked up by key, never by reading all of them, as a plan may do that was made when there were none.
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  if cardinality(p_jobs) > 0 then
    perform graphile_worker.add_jobs(p_jobs);
  end if;
end
$$;
--! EndIncluded 50_engine/jobs.sql
--! Included 50_engine/write.sql
-- kind: code
-- The only writers of runs, events and open steps: a batch of moves is written table by table, not run by run.
--
-- Statements that take arrays are planned anew in every call if PostgreSQL has its way, as it then knows how long the
-- array is. That costs more than they do: the functions that begin a batch set plan_cache_mode for all below them.

create or replace function engine.insert_events(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
  -- Here above all, because foreign-key checks follow it too: 5 to 10 µs a row with a generic plan, 80 µs without.
  set plan_cache_mode = force_generic_plan
as $$
begin
  insert into public.workflow_events (organization_id, run_id, seq, ts, type, payload)
  select (m.run).organization_id, (m.run).id, e.seq, e.ts, e.type, e.payload
  from unnest(p_moves) as m
  cross join unnest(m.entries) as e;
end
$$;

-- Answers with the runs that ended while child runs of theirs may still go on.
create or replace function engine.close_steps(p_moves engine.move[])
  returns uuid[]
  language plpgsql
  volatile
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_parents uuid[];
begin
  with closed as (
    delete from engine.open_steps as s
    using unnest(p_moves) as m
    where s.run_id = (m.run).id
      and (s.node = any (m.closed) or (m.run).finished_at is not null)
    returning s.run_id, s.next_index, s.node = any (m.closed) as is_done
  )
  select array_agg(distinct c.run_id) into v_parents
  from closed as c
  where c.next_index is not null
    and c.is_done is not true;
  return v_parents;
end
$$;

-- When a step gets another job, or its first one. What must happen later has none until then, so that those that
-- sleep are in nobody's way; what must happen now has one, and gets another after a minute, in case that was lost.
create or replace function engine.wake_at(p_step engine.open_steps, p_now timestamptz)
  returns timestamptz
  language sql
  immutable
as $$
  select case
    when p_step.state = 'running' then null
    when p_step.run_at > p_now then p_step.run_at
    when p_step.run_at is not null then p_now + interval '1 minute'
    when p_step.next_index is not null then p_now + interval '1 hour'
  end
$$;

create or replace function engine.open_steps(p_moves engine.move[], p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_crowded record;
begin
  -- Few steps crowd nobody.
  if cardinality(p_moves) > 8 or engine.is_any_parked() then
    for v_crowded in select * from engine.crowded(p_moves) loop
      p_moves := engine.park_steps(p_moves, v_crowded.organization_id, v_crowded.room, p_now);
    end loop;
  end if;
  insert into engine.open_steps (
    organization_id, run_id, node, state, attempt, failures, deaths, worker_id, lease_until, run_at, next_index, error,
    wake_at
  )
  select
    s.organization_id, s.run_id, s.node, s.state, s.attempt, s.failures, s.deaths, s.worker_id, s.lease_until, s.run_at,
    s.next_index, s.error, engine.wake_at(s, p_now)
  from unnest(p_moves) as m
  cross join unnest(m.steps) as s
  where (m.run).finished_at is null
  on conflict (run_id, node) do update set
    state = excluded.state,
    attempt = excluded.attempt,
    failures = excluded.failures,
    worker_id = excluded.worker_id,
    lease_until = excluded.lease_until,
    run_at = excluded.run_at,
    next_index = excluded.next_index,
    error = excluded.error,
    wake_at = excluded.wake_at;
  perform engine.add_jobs(array(
    select engine.job(s, (m.run).priority)
    from unnest(p_moves) as m
    cross join unnest(m.steps) as s
    where s.state <> 'running'
      and s.run_at <= p_now
      and (m.run).finished_at is null
  ));
end
$$;

-- The bounds say which partitions the rows are in.
create or replace function engine.update_runs(p_runs public.workflow_runs[], p_first uuid, p_last uuid)
  returns void
  language plpgsql
  volatile
  set plan_cache_mode = auto -- see below
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
begin
  perform set_config('plan_cache_mode', engine.plan_mode(), true);
  update public.workflow_runs as r
  set status = changed.status,
    finished_at = changed.finished_at,
    error = changed.error
  from unnest(p_runs) as changed
  where r.id = changed.id
    and r.id between p_first and p_last;
end
$$;

create or replace function engine.write_moves(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_move engine.move;
  v_is_closing boolean := false;
  v_is_opening boolean := false;
  v_is_child boolean := false;
  v_parents uuid[];
  v_ids uuid[];
  v_changed public.workflow_runs[];
  v_failed public.workflow_runs[];
  v_left public.workflow_runs[];
begin
  foreach v_move in array coalesce(p_moves, '{}') loop
    -- A run that ends in its first move never had a step to close.
    v_is_closing := v_is_closing or v_move.closed is not null
      or (v_move.is_changed and (v_move.run).finished_at is not null);
    v_is_opening := v_is_opening or v_move.steps is not null;
    v_is_child := v_is_child or (v_move.run).parent_index is not null;
    if v_ids[cardinality(v_ids)] is distinct from (v_move.run).id then
      v_ids := v_ids || (v_move.run).id;
    end if;
    -- The moves of a run stand together, in the order in which they were made.
    if v_changed[cardinality(v_changed)].id = (v_move.run).id then
      v_changed[cardinality(v_changed)] := v_move.run;
    elsif v_move.is_changed then
      v_changed := v_changed || v_move.run;
    end if;
    if (v_move.run).status = 'error' then
      v_failed := v_failed || v_move.run;
    end if;
    if (v_move.run).concurrency_key is not null and (v_move.run).finished_at is not null then
      v_left := v_left || v_move.run;
    end if;
  end loop;
  if v_ids is null then
    return;
  end if;

  perform engine.insert_events(p_moves);
  if v_is_opening then
    perform engine.open_steps(p_moves, v_now);
  end if;
  if v_is_closing then
    v_parents := engine.close_steps(p_moves);
  end if;
  if v_is_child or v_parents is not null then
    perform engine.add_jobs(engine.family_jobs(p_moves, v_parents));
  end if;
  if v_changed is not null then
    perform engine.update_runs(v_changed, engine.earliest(v_ids), engine.latest(v_ids));
  end if;
  perform engine.notify(v_ids);
  if v_failed is not null then
    perform engine.start_error_runs(v_failed);
  end if;
  if v_left is not null then
    perform engine.leave_flow(v_left, v_move.is_changed is null);
  end if;
end
$$;
--! EndIncluded 50_engine/write.sql
--! Included 50_engine/requests.sql
-- kind: code
-- What is asked of start_runs: read, checked, and refused one by one.

create type engine.start_request as (
  index int,
  organization_id uuid,
  workflow_id uuid,
  version int,
  mode text,
  trigger text,
  input jsonb,
  key text,
  fingerprint text, -- what must be equal for the same key to be the same request; the whole input when null
  started_by uuid,
  metadata jsonb,
  run_id uuid,
  duplicate_of uuid,
  error jsonb,
  priority int,
  origin jsonb,              -- what run.created says beside all this: retryOf, forkOf
  reused engine.log_entry[], -- steps that a retry or fork takes over
  retry_of uuid,
  concurrency_key text,
  parent_run_id uuid,
  parent_node text,
  parent_index int -- null when the parent does not wait
);

create or replace function engine.request_error(p_code text, p_message text)
  returns jsonb
  language sql
  stable
  parallel safe
as $$
  select jsonb_build_object('code', p_code, 'message', p_message)
$$;

-- A request that is not a start at all is answered with an error, not an exception: the others of its batch go on.
create or replace function engine.parse_start(p_request jsonb, p_index int, p_now timestamptz)
  returns engine.start_request
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
begin
  v_request.index := p_index;
  begin
    v_request.organization_id := p_request ->> 'organizationId';
    v_request.workflow_id := p_request ->> 'workflowId';
    v_request.version := p_request ->> 'version';
    v_request.priority := p_request ->> 'priority';
    v_request.started_by := p_request ->> 'startedBy';
    v_request.parent_run_id := p_request #>> '{parent,run}';
    v_request.parent_index := p_request #>> '{parent,index}';
  exception
    when data_exception then
      v_request.error := engine.request_error('INVALID_ARGUMENT', sqlerrm);
      return v_request;
  end;
  v_request.mode := coalesce(p_request ->> 'mode', 'api');
  v_request.parent_node := p_request #>> '{parent,node}';
  v_request.trigger := p_request ->> 'trigger';
  v_request.input := coalesce(p_request -> 'input', '{}');
  v_request.key := p_request ->> 'key';
  v_request.fingerprint := p_request ->> 'fingerprint';
  v_request.metadata := nullif(p_request -> 'metadata', 'null');
  v_request.run_id := engine.uuid_v7(p_now);
  v_request.error := case
    when v_request.organization_id is null or v_request.workflow_id is null
      then engine.request_error('INVALID_ARGUMENT', 'A start names its organizationId and its workflowId.')
    when v_request.mode not in ('manual', 'webhook', 'api', 'schedule', 'error')
      and (v_request.mode <> 'child' or v_request.parent_run_id is null)
      then engine.request_error('INVALID_ARGUMENT', 'The mode of a start is manual, webhook, api, schedule or error.')
    when v_request.priority not between -1000 and 1000
      then engine.request_error('INVALID_ARGUMENT', 'The priority of a run is a number from -1000 to 1000.')
    when length(v_request.key) not between 1 and 256
      then engine.request_error('INVALID_ARGUMENT', 'An idempotency key has 1 to 256 characters.')
    when jsonb_typeof(v_request.metadata) <> 'object'
      then engine.request_error('INVALID_ARGUMENT', 'The metadata of a run is an object.')
    when pg_column_size(v_request.input) > 1048576
      then engine.request_error('TOO_LARGE', 'The input of a run is at most 1 MiB.')
  end;
  return v_request;
end
$$;

-- Marks the requests whose key was used before: the same input is answered with the same run, another is a conflict.
create or replace function engine.claim_keys(p_requests engine.start_request[], p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
  v_hash bytea;
  v_holder engine.start_keys;
begin
  for v_place in 1 .. cardinality(p_requests) loop
    v_request := p_requests[v_place];
    if v_request.key is not null and v_request.error is null then
      v_hash := sha256(convert_to(coalesce(v_request.fingerprint, v_request.input::text), 'UTF8'));
      insert into engine.start_keys as k (organization_id, workflow_id, key, run_id, request_hash, expires_at)
      values (
        v_request.organization_id, v_request.workflow_id, v_request.key, v_request.run_id, v_hash,
        p_now + interval '7 days'
      )
      on conflict (organization_id, workflow_id, key) do update set
        run_id = case when k.expires_at < p_now then excluded.run_id else k.run_id end,
        request_hash = case when k.expires_at < p_now then excluded.request_hash else k.request_hash end,
        expires_at = case when k.expires_at < p_now then excluded.expires_at else k.expires_at end
      returning * into v_holder;
      if v_holder.run_id <> v_request.run_id then
        if v_holder.request_hash = v_hash then
          v_request.duplicate_of := v_holder.run_id;
        else
          v_request.error := engine.request_error(
            'CONFLICT', 'This idempotency key was used with another input.'
          );
        end if;
        p_requests[v_place] := v_request;
      end if;
    end if;
  end loop;
  return p_requests;
end
$$;

-- A start that was refused may be tried again with the same key. Returns the run that holds it no more.
create or replace function engine.release_key(p_request engine.start_request)
  returns uuid
  language plpgsql
  volatile
as $$
begin
  if p_request.key is not null then
    delete from engine.start_keys as k
    where k.organization_id = p_request.organization_id
      and k.workflow_id = p_request.workflow_id
      and k.key = p_request.key
      and k.run_id = p_request.run_id;
  end if;
  return coalesce(p_request.duplicate_of, p_request.run_id);
end
$$;

-- The requests of a batch, in the one order in which everybody takes locks, so that batches never wait in a circle.
create or replace function engine.read_starts(p_requests jsonb, p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_requests engine.start_request[] := array(
    select engine.parse_start(r.request, (r.place - 1)::int, p_now)
    from jsonb_array_elements(p_requests) with ordinality as r (request, place)
    order by r.request ->> 'organizationId', r.request ->> 'workflowId', r.request ->> 'key', r.place
  );
begin
  if p_requests @? '$[*].key' then
    v_requests := engine.claim_keys(v_requests, p_now);
  end if;
  return v_requests;
end
$$;

-- Its settings say also which team looks after the workflow, if any does: that costs nobody a look-up.
create or replace function engine.plan_to_start(p_request engine.start_request)
  returns engine.plans
  language plpgsql
  stable
as $$
declare
  v_plan engine.plans;
begin
  select
    p.organization_id, p.workflow_id, p.version, p.nodes, p.ids, p.vars,
    case when w.team_id is null then p.settings else p.settings || jsonb_build_object('team', w.team_id) end,
    p.resume_key
  into v_plan
  from public.workflows as w
  join engine.plans as p
    on p.organization_id = w.organization_id
    and p.workflow_id = w.id
    and p.version = coalesce(p_request.version, w.published_version)
  where w.organization_id = p_request.organization_id
    and w.id = p_request.workflow_id
    and w.archived_at is null;
  return v_plan;
end
$$;

-- Why a request starts nothing; null when it does. p_version: of the plan that was found, p_kind: of the trigger node.
create or replace function engine.start_refusal(p_request engine.start_request, p_version int, p_kind text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_workflow public.workflows;
begin
  if p_version is not null and p_kind = 'trigger' then
    return null;
  end if;
  select w.* into v_workflow
  from public.workflows as w
  where w.organization_id = p_request.organization_id
    and w.id = p_request.workflow_id;
  return case
    when v_workflow.id is null
      then engine.request_error('NOT_FOUND', 'There is no such workflow.')
    when v_workflow.archived_at is not null
      then engine.request_error('NOT_PUBLISHED', 'The workflow is archived; it starts no runs.')
    when p_version is not null
      then engine.request_error('NOT_FOUND', format('The workflow has no trigger %L.', p_request.trigger))
    when p_request.version is not null
      then engine.request_error('NOT_FOUND', format('The workflow has no version %s.', p_request.version))
    else engine.request_error(
      'NOT_PUBLISHED', 'The workflow has no published version; call publish_workflow first.'
    )
  end;
end
$$;
--! EndIncluded 50_engine/requests.sql
--! Included 50_engine/admit.sql
-- kind: code
-- Executions are counted once per batch and organization, when the first of its requests is about to start, and per
-- team that has a limit: as many as the batch may start. What it does not, goes back in the same transaction.

-- For the starts of one workflow.
create type engine.room as (
  workflow_id uuid,
  admitted int, -- by organization and team, when they were asked
  "left" int,
  for_organization private.admission,
  for_team private.admission
);

create or replace function engine.give_back(p_admission private.admission, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_admission.admitted > 0 and p_admission.limit is not null then
    perform private.release(
      p_admission.organization_id, p_admission.metric, p_admission.admitted, p_now, p_admission.team_id
    );
  end if;
end
$$;

-- p_before: of the workflow that came before this one; what both have in common is kept. Without a plan it gives back.
create or replace function engine.admit_starts(
  p_before engine.room,
  p_plan engine.plans,
  p_wanted int,
  p_now timestamptz
)
  returns engine.room
  language plpgsql
  volatile
as $$
declare
  c_metric constant text := 'executions_per_month';
  v_start constant timestamptz := date_trunc('month', p_now, 'UTC');
  v_team_id constant uuid := p_plan.settings ->> 'team';
  v_used constant int := p_before.admitted - p_before.left;
  v_organization private.admission := p_before.for_organization;
  v_team private.admission := p_before.for_team;
begin
  v_organization.admitted := v_organization.admitted - v_used;
  v_team.admitted := v_team.admitted - v_used;
  if v_organization.organization_id is distinct from p_plan.organization_id then
    perform engine.give_back(v_organization, p_now);
    v_organization := null;
    if p_plan.organization_id is not null then
      v_organization := private.admit_flow(p_plan.organization_id, c_metric, p_wanted, v_start);
    end if;
  end if;
  if v_team.team_id is distinct from v_team_id then
    perform engine.give_back(v_team, p_now);
    v_team := null;
    if v_team_id is not null then
      v_team := private.admit_flow(p_plan.organization_id, c_metric, p_wanted, v_start, v_team_id);
    end if;
  end if;
  p_before.workflow_id := p_plan.workflow_id;
  p_before.for_organization := v_organization;
  p_before.for_team := v_team;
  p_before.admitted := least(v_organization.admitted, v_team.admitted);
  p_before.left := p_before.admitted;
  return p_before;
end
$$;

-- Null while there is one left.
create or replace function engine.admission_error(p_room engine.room)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return case
    when p_room.left > 0 then null
    when (p_room.for_team).admitted < (p_room.for_organization).admitted then private.limit_error(p_room.for_team)
    else private.limit_error(p_room.for_organization)
  end;
end
$$;

create or replace function engine.count_executions(
  p_organization_id uuid,
  p_span tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select count(*)
  from public.workflow_runs as r
  where r.organization_id = p_organization_id
    and r.id >= engine.uuid_floor(lower(p_span))
    and r.id < engine.uuid_floor(upper(p_span))
    and (
      p_team_id is null
      or r.workflow_id = any (array(
        select w.id from public.workflows as w where w.organization_id = p_organization_id and w.team_id = p_team_id
      ))
    )
$$;
comment on function engine.count_executions(uuid, tstzrange, uuid) is
  'How many runs of an organization, or of the workflows that a team looks after now, began in a span of time: what executions_per_month counts.';
--! EndIncluded 50_engine/admit.sql
--! Included 50_engine/flow.sql
-- kind: code
-- Flow control: what the limits of a workflow say about one run. Whoever asks, to let it in, holds the lock of the
-- workflow's flow. That lock is the last one that a start takes and the first one of a release, and nobody else waits
-- for it: so it never closes a circle of waits.

create or replace function engine.lock_flow(p_workflow_id uuid)
  returns void
  language sql
  volatile
as $$
  select pg_advisory_xact_lock(hashtextextended('flowgres.flow ' || p_workflow_id, 0))
$$;

create or replace function engine.try_lock_flow(p_workflow_id uuid)
  returns boolean
  language sql
  volatile
as $$
  select pg_try_advisory_xact_lock(hashtextextended('flowgres.flow ' || p_workflow_id, 0))
$$;

-- What a run counts under; null without such a rule, empty when the rule has no key.
create or replace function engine.flow_key(p_rule jsonb, p_input jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_key text;
begin
  if p_rule is null or not p_rule ? 'path' then
    return case when p_rule is not null then '' end;
  end if;
  v_key := coalesce(
    jsonb_path_query_first(p_input, (p_rule ->> 'path')::jsonpath, '{}', true) #>> '{}', 'null'
  );
  return case when length(v_key) <= 200 then v_key else encode(sha256(convert_to(v_key, 'UTF8')), 'hex') end;
end
$$;

-- Why a run cannot be let in now, and when to look again, if a time will tell. No reason: it can be.
create or replace function engine.flow_block(
  p_row engine.flow_runs,
  p_flow jsonb,
  p_now timestamptz,
  out reason text,
  out until timestamptz
)
  language plpgsql
  stable
as $$
begin
  if p_row.held_until > p_now then
    reason := 'debounce';
    until := p_row.held_until;
    return;
  end if;
  if p_row.concurrency_key is not null then
    perform
    from engine.flow_runs as f
    where f.workflow_id = p_row.workflow_id
      and f.concurrency_key = p_row.concurrency_key
      and not f.is_held
    offset (p_flow -> 'concurrency' -> 'limit')::int - 1
    limit 1;
    if found then
      reason := 'concurrency';
      return;
    end if;
  end if;
  if p_row.rate_key is not null then
    -- The start that must be out of the window before another one fits into it.
    select s.at + make_interval(secs => (p_flow -> 'rateLimit' -> 'perMs')::double precision / 1000) into until
    from engine.flow_starts as s
    where s.workflow_id = p_row.workflow_id
      and s.rate_key = p_row.rate_key
    order by s.at desc
    offset (p_flow -> 'rateLimit' -> 'limit')::int - 1
    limit 1;
    if until > p_now then
      reason := 'rate';
    end if;
  end if;
end
$$;

-- Counts a run that is let in.
create or replace function engine.count_start(p_row engine.flow_runs, p_flow jsonb, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_row.rate_key is not null then
    delete from engine.flow_starts as s
    where s.workflow_id = p_row.workflow_id
      and s.rate_key = p_row.rate_key
      and s.at <= p_now - make_interval(secs => (p_flow -> 'rateLimit' -> 'perMs')::double precision / 1000);
    insert into engine.flow_starts (workflow_id, rate_key, at, run_id)
    values (p_row.workflow_id, p_row.rate_key, p_now, p_row.run_id);
  end if;
end
$$;

-- A wake-up for held runs: all that have the concurrency key, all that have the rate key, or one run.
create or replace function engine.release_job(
  p_workflow_id uuid,
  p_by text,
  p_key text,
  p_at timestamptz,
  p_job_key text default null
)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select row(
    'release_runs', json_build_object('workflowId', p_workflow_id, 'by', p_by, 'key', p_key), null, p_at, null,
    p_job_key, -1000, null -- before all steps
  )::graphile_worker.job_spec
$$;

-- One wake-up for a rate key at a time: whoever adds it holds the lock of the flow.
create or replace function engine.rate_job(p_row engine.flow_runs, p_at timestamptz)
  returns graphile_worker.job_spec
  language sql
  stable
as $$
  select engine.release_job(
    p_row.workflow_id, 'rate', p_row.rate_key, p_at, 'rate:' || p_row.workflow_id || '/' || p_row.rate_key
  )
$$;
--! EndIncluded 50_engine/flow.sql
--! Included 50_engine/hold.sql
-- kind: code
-- Lets starts in, or holds them. The runs of a held start are created and durable like any other: they wait.

create or replace function engine.insert_flow_run(p_row engine.flow_runs)
  returns void
  language sql
  volatile
as $$
  insert into engine.flow_runs (
    run_id, organization_id, workflow_id, version, priority, is_held, held_until,
    concurrency_key, rate_key, debounce_key
  )
  values (
    p_row.run_id, p_row.organization_id, p_row.workflow_id, p_row.version, p_row.priority, p_row.is_held,
    p_row.held_until, p_row.concurrency_key, p_row.rate_key, p_row.debounce_key
  )
$$;

-- What this start finds free, others may have been waiting for: they are let in first.
create or replace function engine.admit_start(p_request engine.start_request, p_plan engine.plans)
  returns engine.start_request
  language plpgsql
  volatile
as $$
declare
  v_flow constant jsonb := p_plan.settings -> 'flow';
  v_row engine.flow_runs;
  v_reason text;
  v_until timestamptz;
  v_now timestamptz := engine.now();
begin
  v_row.run_id := p_request.run_id;
  v_row.organization_id := p_request.organization_id;
  v_row.workflow_id := p_request.workflow_id;
  v_row.version := p_plan.version;
  v_row.priority := coalesce(p_request.priority, (p_plan.settings -> 'priority')::int, 0);
  v_row.concurrency_key := engine.flow_key(v_flow -> 'concurrency', p_request.input);
  v_row.rate_key := engine.flow_key(v_flow -> 'rateLimit', p_request.input);
  v_row.debounce_key := engine.flow_key(v_flow -> 'debounce', p_request.input);
  v_row.held_until := v_now + make_interval(secs => (v_flow -> 'debounce' -> 'ms')::double precision / 1000);

  if p_request.mode in ('manual', 'webhook', 'api') then
    perform engine.lock_flow(v_row.workflow_id);
    v_now := engine.now(); -- starts are counted in the order in which they had the lock
    if v_row.concurrency_key is not null then
      perform engine.let_in(v_row.workflow_id, 'concurrency', v_row.concurrency_key, v_now);
    else
      perform engine.let_in(v_row.workflow_id, 'rate', v_row.rate_key, v_now);
    end if;
    select b.reason, b.until into v_reason, v_until from engine.flow_block(v_row, v_flow, v_now) as b;
  else
    -- Other locks are held by now, so this one is not waited for: a job decides, in a transaction of its own.
    v_reason := case
      when v_flow ? 'debounce' then 'debounce' when v_flow ? 'concurrency' then 'concurrency' else 'rate'
    end;
    v_until := coalesce(v_row.held_until, v_now);
  end if;

  v_row.is_held := v_reason is not null;
  p_request.concurrency_key := v_row.concurrency_key;
  if v_row.is_held then
    p_request.origin := coalesce(p_request.origin, '{}') || jsonb_build_object('held', jsonb_build_object(
      'reason', v_reason,
      'key', case v_reason
        when 'debounce' then v_row.debounce_key when 'rate' then v_row.rate_key else v_row.concurrency_key
      end
    ));
    perform engine.insert_flow_run(v_row);
    if v_reason = 'rate' and v_until > v_now then
      perform engine.add_jobs(array[engine.rate_job(v_row, v_until)]);
    elsif v_until is not null then
      perform engine.add_jobs(array[
        engine.release_job(v_row.workflow_id, 'run', v_row.run_id::text, v_until)
      ]);
    end if;
  else
    perform engine.count_start(v_row, v_flow, v_now);
    if v_row.concurrency_key is not null then
      perform engine.insert_flow_run(v_row);
    end if;
  end if;
  return p_request;
end
$$;
--! EndIncluded 50_engine/hold.sql
--! Included 50_engine/release.sql
-- kind: code
-- Lets held runs in when a slot is free, the window of a rate moves on, or a debounce is over: lower priorities first,
-- older runs first.

-- The held runs that a wake-up is about. p_by: run (p_key is its id), concurrency or rate (p_key is what they count
-- under).
create or replace function engine.held_rows(p_workflow_id uuid, p_by text, p_key text, p_now timestamptz)
  returns setof engine.flow_runs
  language plpgsql
  stable
as $$
begin
  case p_by
    when 'run' then
      return query
        select f.* from engine.flow_runs as f
        where f.run_id = p_key::uuid and f.is_held and f.workflow_id = p_workflow_id;
    when 'concurrency' then
      return query
        select f.* from engine.flow_runs as f
        where f.workflow_id = p_workflow_id
          and f.concurrency_key = p_key
          and f.is_held
          and (f.held_until <= p_now or f.held_until is null)
        order by f.priority, f.place
        limit 1000;
    else
      return query
        select f.* from engine.flow_runs as f
        where f.workflow_id = p_workflow_id
          and f.rate_key = p_key
          and f.is_held
          and (f.held_until <= p_now or f.held_until is null)
        order by f.priority, f.place
        limit 1000;
  end case;
end
$$;

-- Whether a start with the same key came while this run was still to be debounced.
create or replace function engine.is_replaced(p_row engine.flow_runs)
  returns boolean
  language sql
  stable
as $$
  select p_row.debounce_key is not null and exists (
    select
    from engine.flow_runs as f
    where f.workflow_id = p_row.workflow_id
      and f.debounce_key = p_row.debounce_key
      and f.is_held
      and f.place > p_row.place
      and (select r.finished_at is null from public.workflow_runs as r where r.id = f.run_id)
  )
$$;

-- What becomes of a held run whose turn it may be: in, replaced (a debounce has a newer one), gone (it has ended
-- meanwhile), busy (somebody has it locked), or why it has to wait on.
create or replace function engine.judge_held(
  p_row engine.flow_runs,
  p_now timestamptz,
  out verdict text,
  out at timestamptz
)
  language plpgsql
  volatile
as $$
declare
  v_status text;
  v_flow jsonb;
begin
  select p.settings -> 'flow' into v_flow
  from engine.plans as p
  where p.organization_id = p_row.organization_id
    and p.workflow_id = p_row.workflow_id
    and p.version = p_row.version;
  select b.reason, b.until into verdict, at from engine.flow_block(p_row, v_flow, p_now) as b;
  if verdict is not null then
    return;
  end if;
  select r.status into v_status
  from public.workflow_runs as r
  where r.id = p_row.run_id
  for no key update skip locked;
  verdict := case
    when v_status in ('waiting', 'paused') then case
      when engine.is_replaced(p_row) then 'replaced'
      when v_status = 'paused' then 'paused'
      else 'in'
    end
    when v_status is null and exists (select from public.workflow_runs as r where r.id = p_row.run_id) then 'busy'
    else 'gone'
  end;
  if verdict = 'in' then
    perform engine.count_start(p_row, v_flow, p_now);
  end if;
end
$$;

-- The run begins with its trigger, in another transaction: what its nodes cost is not paid under the lock of the flow.
create or replace function engine.released_move(p_loaded engine.loaded_run, p_now timestamptz)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_created constant jsonb := p_loaded.log[1].payload;
  v_trigger engine.opened_step;
  v_released constant engine.log_entry := engine.next_entry(
    p_loaded.log[cardinality(p_loaded.log)], p_now, 'run.released',
    jsonb_build_object('reason', v_created -> 'held' -> 'reason')
  );
  v_move engine.move;
begin
  v_trigger.node := v_created ->> 'trigger';
  v_trigger.state := 'queued';
  v_move.entries := array[v_released];
  v_move.steps := array[engine.new_step(p_loaded.run, v_trigger, p_now)];
  v_move.run := engine.run_after(p_loaded.run, v_released, false);
  v_move.is_changed := true;
  return v_move;
end
$$;

-- No later start replaces a run whose debounce is over and that waits for another limit.
create or replace function engine.end_debounce(p_row engine.flow_runs)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_row.held_until is not null then
    update engine.flow_runs as f set held_until = null, debounce_key = null where f.run_id = p_row.run_id;
  end if;
end
$$;

-- Lets in what fits, at most 100 runs; answers how many. The caller holds the lock of the flow.
create or replace function engine.let_in(p_workflow_id uuid, p_by text, p_key text, p_now timestamptz)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_row engine.flow_runs;
  v_held record;
  v_in uuid[] := '{}';
  v_replaced uuid[] := '{}';
  v_rates text[] := '{}';
  v_missed int := 0;
  v_jobs graphile_worker.job_spec[];
begin
  for v_row in select * from engine.held_rows(p_workflow_id, p_by, p_key, p_now) where p_key is not null loop
    v_held := engine.judge_held(v_row, p_now);
    case v_held.verdict
      when 'in' then
        v_in := v_in || v_row.run_id;
        update engine.flow_runs as f
        set is_held = false, held_until = null, debounce_key = null, rate_key = null
        where f.run_id = v_row.run_id;
      when 'gone' then
        delete from engine.flow_runs as f where f.run_id = v_row.run_id;
      when 'replaced' then
        v_replaced := v_replaced || v_row.run_id;
        delete from engine.flow_runs as f where f.run_id = v_row.run_id;
      when 'busy' then
        v_jobs := v_jobs || engine.release_job(
          p_workflow_id, 'run', v_row.run_id::text, p_now + interval '1 second'
        );
      when 'rate' then
        if v_row.rate_key <> all (v_rates) then
          v_jobs := v_jobs || engine.rate_job(v_row, v_held.at);
          v_rates := v_rates || v_row.rate_key;
        end if;
        perform engine.end_debounce(v_row);
      when 'concurrency' then
        perform engine.end_debounce(v_row);
      else
        null; -- paused: resuming asks again; debounce: its own wake-up is still to come
    end case;
    v_missed := v_missed + (v_held.verdict <> 'in')::int;
    -- What is behind so many that wait for something else is left to their wake-ups, and to the reconciler.
    exit when v_held.verdict = p_by or cardinality(v_in) >= 100 or v_missed >= 100;
  end loop;

  delete from engine.flow_runs as f
  where f.run_id = any (v_in)
    and f.concurrency_key is null;
  perform engine.write_moves(array(
    select engine.released_move(l, p_now) from engine.load_runs(v_in, p_now) as l
  ));
  perform from engine.end_runs(
    v_replaced, 'run.canceled', engine.given_by(null, 'A newer start with the same key has replaced it.')
  );
  perform engine.add_jobs(v_jobs);
  return cardinality(v_in);
end
$$;

create or replace function engine.release_runs(p_workflow_id uuid, p_by text, p_key text)
  returns int
  language plpgsql
  volatile
  security definer -- definer because runs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_count int;
begin
  perform engine.lock_flow(p_workflow_id);
  v_count := engine.let_in(p_workflow_id, p_by, p_key, engine.now());
  if v_count >= 100 then
    perform engine.add_jobs(array[engine.release_job(p_workflow_id, p_by, p_key, null)]);
  end if;
  return v_count;
end
$$;
comment on function engine.release_runs(uuid, text, text) is
  'For workers: lets held runs of a workflow in, as far as its limits allow, and answers how many; by run, concurrency or rate, with the run''s id or the key that they count under. Example: select engine.release_runs(''0190…'', ''concurrency'', ''customer-1'');';

grant execute on function engine.release_runs(uuid, text, text) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/release.sql
--! Included 50_engine/leave.sql
-- kind: code
-- Wakes held runs: when others end, when they are resumed, and when their wake-up was lost.

-- Runs that have ended give their slots back. By a job, even if nobody seems to wait: a start that has counted them,
-- and is held for that, may not be committed yet, and the job waits for it. Runs that began in this transaction were
-- counted by nobody.
create or replace function engine.leave_flow(p_runs public.workflow_runs[], p_are_new boolean)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_jobs graphile_worker.job_spec[];
begin
  with gone as (
    delete from engine.flow_runs as f
    using unnest(p_runs) as r
    where f.run_id = r.id
    returning f.workflow_id, f.concurrency_key
  )
  select array_agg(engine.release_job(g.workflow_id, 'concurrency', g.concurrency_key, null)) into v_jobs
  from (select distinct * from gone) as g;
  if not p_are_new then
    perform engine.add_jobs(v_jobs);
  end if;
end
$$;

create or replace function engine.wake_held(p_run_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  perform engine.add_jobs(array(
    select engine.release_job(f.workflow_id, 'run', f.run_id::text, null)
    from engine.flow_runs as f
    where f.run_id = p_run_id and f.is_held
  ));
end
$$;

-- For the reconciler: held runs whose wake-up was lost. It waits for no lock.
create or replace function engine.let_overdue_in(p_now timestamptz)
  returns table (run_id uuid)
  language plpgsql
  volatile
as $$
declare
  v_row engine.flow_runs;
begin
  for v_row in
    select distinct on (f.workflow_id, f.concurrency_key, f.rate_key) f.*
    from engine.flow_runs as f
    where f.is_held
      and (f.held_until is null or f.held_until < p_now - interval '10 seconds')
    order by f.workflow_id, f.concurrency_key, f.rate_key, f.priority, f.place
    limit 1000
  loop
    if engine.try_lock_flow(v_row.workflow_id)
      and engine.let_in(v_row.workflow_id, 'run', v_row.run_id::text, p_now) > 0
    then
      -- Those behind it, if there is room for more.
      perform engine.add_jobs(array(
        select engine.release_job(v_row.workflow_id, k.by, k.key, null)
        from (values ('concurrency', v_row.concurrency_key), ('rate', v_row.rate_key)) as k (by, key)
        where k.key is not null
      ));
      run_id := v_row.run_id;
      return next;
    end if;
  end loop;
end
$$;
--! EndIncluded 50_engine/leave.sql
--! Included 50_engine/first_move.sql
-- kind: code
-- The beginning of a run: its row, its first event, and what follows from that at once.

-- The row of a run that is about to begin.
create or replace function engine.new_run(
  p_request engine.start_request,
  p_version int,
  p_settings jsonb,
  p_now timestamptz
)
  returns public.workflow_runs
  language plpgsql
  immutable
as $$
declare
  v_run public.workflow_runs;
begin
  v_run.id := p_request.run_id;
  v_run.organization_id := p_request.organization_id;
  v_run.workflow_id := p_request.workflow_id;
  v_run.version := p_version;
  v_run.mode := p_request.mode;
  v_run.parent_run_id := p_request.parent_run_id;
  v_run.parent_node := p_request.parent_node;
  v_run.parent_index := p_request.parent_index;
  v_run.started_by := p_request.started_by;
  v_run.priority := coalesce(p_request.priority, (p_settings -> 'priority')::smallint, 0);
  v_run.started_at := p_now;
  v_run.deadline_at := p_now + make_interval(secs => (p_settings ->> 'deadlineMs')::double precision / 1000);
  v_run.metadata := p_request.metadata;
  v_run.retry_of := p_request.retry_of;
  v_run.concurrency_key := p_request.concurrency_key;
  return v_run;
end
$$;

-- A run from its first event to where it needs somebody else, or its end.
create or replace function engine.first_move(
  p_request engine.start_request,
  p_plan engine.plans,
  p_nodes engine.plan_node[],
  p_trigger text,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_created engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_waiting boolean := true;
  v_error jsonb;
  v_move engine.move;
begin
  if p_plan.settings ? 'flow' then
    p_request := engine.admit_start(p_request, p_plan);
  end if;
  v_run := engine.new_run(p_request, p_plan.version, p_plan.settings, p_now);

  v_created.seq := 1;
  v_created.ts := p_now;
  v_created.type := 'run.created';
  v_created.payload := jsonb_build_object(
    'workflowId', v_run.workflow_id,
    'version', v_run.version,
    'mode', v_run.mode,
    'trigger', p_trigger,
    'input', p_request.input,
    'vars', case
      when cardinality(p_plan.vars) > 0 then engine.variables_of(v_run.organization_id, p_plan.vars) else '{}'
    end
  );
  if v_run.parent_run_id is not null then
    v_created.payload := v_created.payload || engine.parent_of(v_run);
  end if;
  if p_request.origin is not null then
    v_created.payload := v_created.payload || p_request.origin;
  end if;
  v_move.entries := v_created || p_request.reused;
  if p_request.mode = 'child' then
    v_error := engine.input_error(p_nodes[array_position(p_plan.ids, p_trigger)], p_request.input);
  end if;
  if v_error is null then
    v_advanced := engine.advance(
      p_nodes, p_plan.ids, v_run.id, v_move.entries, p_resume_key => p_plan.resume_key
    );
  else
    v_advanced.entries := array[engine.next_entry(
      v_created, p_now, 'run.failed', jsonb_build_object('error', v_error)
    )];
  end if;
  v_move.entries := v_move.entries || v_advanced.entries;

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_move.steps := v_move.steps || engine.new_step(v_run, v_opened, p_now);
    v_waiting := v_waiting and v_opened.state = 'waiting';
  end loop;
  v_move.run := engine.run_after(v_run, v_move.entries[cardinality(v_move.entries)], v_waiting);
  return v_move;
end
$$;

-- What run.created says of a child's parent.
create or replace function engine.parent_of(p_run public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('parent', jsonb_strip_nulls(jsonb_build_object(
    'run', p_run.parent_run_id, 'node', p_run.parent_node, 'index', p_run.parent_index
  )))
$$;
--! EndIncluded 50_engine/first_move.sql
--! Included 50_engine/start.sql
-- kind: code
-- Starts runs, a batch at a time. Pure nodes are evaluated here and now: a run of nothing else is finished when the
-- transaction commits, and costs no worker a round trip.

-- The response that a webhook waits for, if it was given already.
create or replace function engine.response_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_entries loop
    if v_entry.type = 'run.responded' then
      return v_entry.payload - 'node';
    end if;
  end loop;
  return null;
end
$$;

-- The output of a run that has succeeded already.
create or replace function engine.output_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_last constant engine.log_entry := p_entries[cardinality(p_entries)];
begin
  return case when v_last.type = 'run.succeeded' then v_last.payload -> 'output' end;
end
$$;

-- Of a run that was there before, or that this batch starts.
create or replace function engine.status_of(p_run_id uuid, p_moves engine.move[])
  returns text
  language sql
  stable
as $$
  select coalesce(
    (select r.status from public.workflow_runs as r where r.id = p_run_id),
    (select (m.run).status from unnest(p_moves) as m where (m.run).id = p_run_id)
  )
$$;

create or replace function engine.write_starts(p_moves engine.move[])
  returns void
  language plpgsql
  volatile
as $$
begin
  insert into public.workflow_runs select (m.run).* from unnest(p_moves) as m;
  perform engine.write_moves(p_moves);
end
$$;

create or replace function engine.start_runs(p_requests jsonb)
  returns table (
    index int,
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb,
    duplicate boolean
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_requests constant engine.start_request[] := engine.read_starts(p_requests, v_now);
  v_request engine.start_request;
  v_plan engine.plans;
  v_nodes engine.plan_node[];
  v_asked int;
  v_trigger text;
  v_room engine.room;
  v_refused uuid;
  v_move engine.move;
  v_moves engine.move[];
begin
  foreach v_request in array v_requests loop
    index := v_request.index;
    run_id := v_request.duplicate_of;
    duplicate := run_id is not null;
    status := case when duplicate then engine.status_of(run_id, v_moves) end;
    output := null;
    response := null;
    -- The request before this one may have held the key and been refused: then this one is, too.
    error := case when run_id = v_refused then error else v_request.error end;

    if not duplicate and error is null then
      -- Requests come sorted by workflow: its plan is read once.
      if (v_plan.organization_id, v_plan.workflow_id, v_asked) is distinct from
        (v_request.organization_id, v_request.workflow_id, coalesce(v_request.version, 0))
      then
        v_plan := engine.plan_to_start(v_request);
        v_nodes := v_plan.nodes;
        v_asked := coalesce(v_request.version, 0);
      end if;
      v_trigger := coalesce(v_request.trigger, engine.trigger_for(v_nodes, v_request.mode));
      error := engine.start_refusal(v_request, v_plan.version, (v_nodes[array_position(v_plan.ids, v_trigger)]).kind);
      if error is null and v_room.workflow_id is distinct from v_request.workflow_id then
        v_room := engine.admit_starts(v_room, v_plan, cardinality(v_requests), v_now);
      end if;
      error := coalesce(error, engine.admission_error(v_room));
      v_room.left := v_room.left - (error is null)::int;
    end if;

    if error is not null then
      v_refused := engine.release_key(v_request);
      run_id := null;
      duplicate := false;
    elsif not duplicate then
      v_move := engine.first_move(v_request, v_plan, v_nodes, v_trigger, v_now);
      v_moves := v_moves || v_move;
      run_id := (v_move.run).id;
      status := (v_move.run).status;
      error := (v_move.run).error;
      response := engine.response_in(v_move.entries);
      output := engine.output_in(v_move.entries);
    end if;
    return next;
  end loop;
  perform engine.admit_starts(v_room, null, 0, v_now);
  perform engine.write_starts(v_moves);
end
$$;

comment on function engine.start_runs(jsonb) is
  'Starts a batch of runs, in one transaction; pure nodes are evaluated in it. Takes an array of {"organizationId", "workflowId", "mode"?, "input"?, "trigger"?, "key"?, "fingerprint"?, "startedBy"?, "priority"?, "metadata"?, "version"?}; answers with one row per request, by its index from 0. What is wrong with a request is in its row''s error, {"code", "message"}; the others go on. Example: select run_id, status, output from engine.start_runs(''[{"organizationId": "0190…", "workflowId": "0190…", "input": {"total": 120}}]'');';

grant execute on function engine.start_runs(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/start.sql
--! Included 50_engine/load.sql
-- kind: code
-- Takes a batch of runs under lock, with what is needed to move them on.

-- In the one order in which everybody locks: organization, workflow, run.
create or replace function engine.lock_runs(p_ids uuid[], p_first uuid, p_last uuid)
  returns setof public.workflow_runs
  language plpgsql
  volatile
as $$
begin
  return query
  select r.*
  from public.workflow_runs as r
  where r.id = any (p_ids)
    and r.id between p_first and p_last
  order by r.organization_id, r.workflow_id, r.id
  for no key update;
end
$$;

-- Locks first and reads then: what is read is what the last holder of the lock has committed. The settings make it a
-- plan of index look-ups by construction, whatever the statistics of a table say that was empty a minute ago.
create or replace function engine.load_runs(p_ids uuid[], p_now timestamptz)
  returns setof engine.loaded_run
  language plpgsql
  volatile
  set plan_cache_mode = auto -- see below
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_first constant uuid := engine.earliest(p_ids);
  v_from constant timestamptz := engine.uuid_time(v_first);
  v_to constant timestamptz := greatest(p_now, clock_timestamp()) + interval '1 day';
  v_runs public.workflow_runs[];
begin
  perform set_config('plan_cache_mode', engine.plan_mode(), true);
  v_runs := array(select r from engine.lock_runs(p_ids, v_first, engine.latest(p_ids)) as r);
  return query
  select
    r.run,
    array(
      select row(e.seq, e.ts, e.type, case when e.type <> 'step.started' then e.payload end)::engine.log_entry
      from public.workflow_events as e
      where e.run_id = (r.run).id
        and e.ts >= v_from
        and e.ts < v_to
      order by e.seq
    ),
    array(select s from engine.open_steps as s where s.run_id = (r.run).id)
  from (select v_runs[place] as run from generate_subscripts(v_runs, 1) as place) as r;
end
$$;

create or replace function engine.plan_of(p_run public.workflow_runs)
  returns engine.plans
  language plpgsql
  stable
as $$
declare
  v_plan engine.plans;
begin
  select p.* into v_plan
  from engine.plans as p
  where p.organization_id = p_run.organization_id
    and p.workflow_id = p_run.workflow_id
    and p.version = p_run.version;
  return v_plan;
end
$$;

create or replace function engine.step_of(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  foreach v_step in array coalesce(p_steps, '{}') loop
    if v_step.node = p_node then
      return v_step;
    end if;
  end loop;
  return null;
end
$$;

create or replace function engine.without_step(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps[]
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
  v_steps engine.open_steps[] := '{}';
begin
  foreach v_step in array coalesce(p_steps, '{}') loop
    if v_step.node <> p_node then
      v_steps := v_steps || v_step;
    end if;
  end loop;
  return v_steps;
end
$$;

-- A run as a move leaves it, for the next request of the same batch that is about it.
create or replace function engine.after_move(p_loaded engine.loaded_run, p_move engine.move)
  returns engine.loaded_run
  language plpgsql
  immutable
as $$
declare
  v_node text;
  v_step engine.open_steps;
begin
  p_loaded.run := p_move.run;
  p_loaded.log := p_loaded.log || p_move.entries;
  foreach v_node in array coalesce(p_move.closed, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_node);
  end loop;
  foreach v_step in array coalesce(p_move.steps, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_step.node) || v_step;
  end loop;
  return p_loaded;
end
$$;
--! EndIncluded 50_engine/load.sql
--! Included 50_engine/signals.sql
-- kind: code
-- Signals: news that somebody sends to a run, by name. One that comes before its wait is kept for it.

create type engine.signal as (
  node text,    -- the wait that it is for; null while there is none
  name text,
  payload jsonb
);

-- The signals of a log that no wait has taken yet, in the order of their coming, and for each name in turn the oldest
-- wait that takes one now.
create or replace function engine.kept_signals(p_log engine.log_entry[])
  returns engine.signal[]
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
  v_nodes text[] := '{}'; -- that wait …
  v_names text[] := '{}'; -- … for these
  v_place int;
  v_signal engine.signal;
  v_kept engine.signal[] := '{}';
begin
  foreach v_entry in array p_log loop
    v_place := array_position(v_nodes, v_entry.payload ->> 'node');
    if v_entry.type = 'run.signaled' then
      v_kept := v_kept || row(null, v_entry.payload ->> 'name', v_entry.payload -> 'payload')::engine.signal;
    elsif v_entry.type = 'step.waiting' and v_entry.payload ->> 'kind' in ('signal', 'webhook') then
      v_nodes := v_nodes || (v_entry.payload ->> 'node');
      v_names := v_names || coalesce(v_entry.payload ->> 'name', engine.resume_signal(v_entry.payload ->> 'node'));
    elsif v_place is not null then
      -- A wait that timed out has taken none.
      if v_entry.type = 'step.succeeded' and v_entry.payload ->> 'port' <> 'timeout' then
        v_kept := engine.without_signal(v_kept, v_names[v_place]);
      end if;
      v_nodes := v_nodes[: v_place - 1] || v_nodes[v_place + 1 :];
      v_names := v_names[: v_place - 1] || v_names[v_place + 1 :];
    end if;
  end loop;

  for v_index in 1 .. cardinality(v_kept) loop
    v_signal := v_kept[v_index];
    v_place := array_position(v_names, v_signal.name);
    if v_place is not null then
      v_signal.node := v_nodes[v_place];
      v_kept[v_index] := v_signal;
      v_names[v_place] := null;
    end if;
  end loop;
  return v_kept;
end
$$;

-- Without the oldest of that name.
create or replace function engine.without_signal(p_signals engine.signal[], p_name text)
  returns engine.signal[]
  language plpgsql
  immutable
as $$
begin
  for v_index in 1 .. cardinality(p_signals) loop
    if (p_signals[v_index]).name = p_name then
      return p_signals[: v_index - 1] || p_signals[v_index + 1 :];
    end if;
  end loop;
  return p_signals;
end
$$;

-- The oldest kept signal that a step is waiting for; its node is null when there is none.
create or replace function engine.next_signal(p_log engine.log_entry[])
  returns engine.signal
  language plpgsql
  immutable
as $$
declare
  v_signal engine.signal;
begin
  foreach v_signal in array engine.kept_signals(p_log) loop
    if v_signal.node is not null then
      return v_signal;
    end if;
  end loop;
  return null;
end
$$;

-- Records a signal in the log of a loaded run, which moves on if a step was waiting for it.
create or replace function engine.take_signal(
  p_loaded engine.loaded_run,
  p_name text,
  p_payload jsonb,
  p_by uuid,
  p_now timestamptz
)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_entry constant engine.log_entry := engine.next_entry(
    p_loaded.log[cardinality(p_loaded.log)], p_now, 'run.signaled',
    jsonb_build_object('name', p_name, 'payload', coalesce(p_payload, 'null'), 'by', p_by)
  );
  v_move engine.move;
begin
  p_loaded.log := p_loaded.log || v_entry;
  v_move.run := p_loaded.run;
  if (p_loaded.run).status <> 'paused' then
    v_move := engine.move_on(p_loaded, engine.plan_of(p_loaded.run), null, p_now);
  end if;
  v_move.entries := v_entry || v_move.entries;
  perform engine.write_moves(array[v_move]);
  return v_move.run;
end
$$;

create or replace function engine.signal_run(p_run_id uuid, p_name text, p_payload jsonb, p_by uuid default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
begin
  if p_name is null or p_name !~ engine.signal_pattern() then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'The name of a signal has 1 to 200 letters, digits, "_", "." and "-".'
    );
  elsif pg_column_size(p_payload) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'The payload of a signal is at most 1 MiB.');
  end if;
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  perform engine.refuse_finished(v_loaded.run);
  if cardinality(engine.kept_signals(v_loaded.log)) >= 100 then
    perform private.raise_error(
      'LIMIT_REACHED', 'The run keeps 100 signals that it has not waited for yet.', null, '{"limit": 100}'
    );
  end if;
  return engine.take_signal(v_loaded, p_name, p_payload, p_by, v_now);
end
$$;

create or replace function engine.refuse_finished(p_run public.workflow_runs)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_run.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such run.');
  elsif p_run.finished_at is not null then
    perform private.raise_error(
      'RUN_FINISHED', 'The run has ended.', null, jsonb_build_object('status', p_run.status)
    );
  end if;
end
$$;
--! EndIncluded 50_engine/signals.sql
--! Included 50_engine/move.sql
-- kind: code
-- Moves a run on: what beginning and completing a step have in common.

create or replace function engine.begun_step(p_step engine.open_steps, p_worker uuid, p_now timestamptz)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.state := 'running';
  p_step.attempt := p_step.attempt + 1;
  p_step.worker_id := p_worker;
  p_step.lease_until := p_now + interval '15 seconds';
  p_step.run_at := p_now;
  return p_step;
end
$$;

create or replace function engine.next_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_type text,
  p_payload jsonb
)
  returns engine.log_entry
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  v_entry.seq := p_last.seq + 1;
  v_entry.ts := greatest(p_now, p_last.ts + interval '1 microsecond');
  v_entry.type := p_type;
  v_entry.payload := p_payload;
  return v_entry;
end
$$;

-- The end of the wait that a signal is for.
create or replace function engine.signal_entry(
  p_signal engine.signal,
  p_node engine.plan_node,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.log_entry
  language sql
  stable
as $$
  select engine.next_entry(p_last, p_now, 'step.succeeded', jsonb_build_object(
    'node', p_node.id, 'attempt', 1, 'port', p_node.ports[1], 'output', p_signal.payload, 'ms', 0
  ))
$$;

create or replace function engine.ended_by_signal(p_move engine.move, p_node text, p_entry engine.log_entry)
  returns engine.move
  language plpgsql
  immutable
as $$
begin
  p_move.entries := p_move.entries || p_entry;
  p_move.closed := p_move.closed || p_node;
  p_move.steps := engine.without_step(p_move.steps, p_node);
  return p_move;
end
$$;

-- A step that advance has reached: as it was if it is open already, else new.
create or replace function engine.step_for(
  p_loaded engine.loaded_run,
  p_opened engine.opened_step,
  p_now timestamptz
)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step constant engine.open_steps := engine.step_of(p_loaded.steps, p_opened.node);
begin
  if v_step.node is null then
    return engine.new_step(p_loaded.run, p_opened, p_now);
  end if;
  return v_step;
end
$$;

-- Advances a run whose log has just grown. One step that has become ready, p_prefer if given, is begun for the calling
-- worker right away, which saves its branch a job and a transaction; every other one is queued.
create or replace function engine.move_on(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_worker uuid,
  p_now timestamptz,
  p_prefer text default null
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_nodes constant engine.plan_node[] := p_plan.nodes;
  v_run constant public.workflow_runs := p_loaded.run;
  v_last engine.log_entry := p_loaded.log[cardinality(p_loaded.log)];
  v_open text[] := '{}';
  v_all_wait boolean := true;
  v_some_wait boolean := false;
  v_step engine.open_steps;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_signal engine.signal;
  v_move engine.move;
begin
  if v_last.seq > 9500 then
    return engine.too_many_events(v_run, v_last, p_now);
  end if;
  foreach v_step in array p_loaded.steps loop
    if v_step.node is distinct from p_prefer then
      v_open := v_open || v_step.node;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
    end if;
  end loop;

  -- Once, and again for each signal that a step turns out to have been waiting for.
  loop
    v_advanced := engine.advance(
      v_nodes, p_plan.ids, v_run.id, p_loaded.log || v_move.entries, v_open, p_resume_key => p_plan.resume_key
    );
    v_move.entries := v_move.entries || v_advanced.entries;
    v_last := coalesce(v_move.entries[cardinality(v_move.entries)], v_last);

    foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
      v_step := engine.step_for(p_loaded, v_opened, p_now);
      if v_move.task is null and v_opened.state = 'queued' and v_opened.properties is not null
        and p_worker is not null and (p_prefer is null or v_opened.node = p_prefer)
      then
        v_step := engine.begun_step(v_step, p_worker, p_now);
        v_move.task := engine.task(v_run, v_nodes[v_opened.place], v_opened, v_step.attempt);
        v_last := engine.next_entry(v_last, p_now, 'step.started', jsonb_build_object(
          'node', v_opened.node, 'attempt', v_step.attempt, 'input', v_opened.properties
        ));
        v_move.entries := v_move.entries || v_last;
      end if;
      v_open := v_open || v_opened.node;
      v_all_wait := v_all_wait and v_step.state = 'waiting';
      v_some_wait := v_some_wait or v_step.state = 'waiting';
      v_move.steps := v_move.steps || v_step;
    end loop;

    v_signal := case when v_some_wait then engine.next_signal(p_loaded.log || v_move.entries) end;
    exit when v_signal.node is null;
    v_last := engine.signal_entry(v_signal, v_nodes[array_position(p_plan.ids, v_signal.node)], v_last, p_now);
    v_move := engine.ended_by_signal(v_move, v_signal.node, v_last);
  end loop;

  v_move.run := engine.run_after(v_run, v_last, v_all_wait);
  v_move.is_changed := (v_move.run).status <> v_run.status;
  return v_move;
end
$$;

-- A log that has no end is ended, before its 10,000th event.
create or replace function engine.too_many_events(
  p_run public.workflow_runs,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  stable
as $$
declare
  v_move engine.move;
begin
  p_last := engine.next_entry(p_last, p_now, 'run.failed', jsonb_build_object('error', jsonb_build_object(
    'code', 'TOO_MANY_EVENTS', 'message', 'A run has at most 10,000 events.', 'retryable', false
  )));
  v_move.entries := array[p_last];
  v_move.run := engine.run_after(p_run, p_last, false);
  v_move.is_changed := true;
  return v_move;
end
$$;
--! EndIncluded 50_engine/move.sql
--! Included 50_engine/begin.sql
-- kind: code
-- Begins steps: a worker has taken their jobs. What it gets back is what it has to do; the attempt number in it is the
-- fencing token, and the lease is what its heartbeats extend.

create or replace function engine.is_due(p_run public.workflow_runs, p_step engine.open_steps, p_now timestamptz)
  returns boolean
  language sql
  immutable
as $$
  select p_run.finished_at is null
    and p_run.status <> 'paused'
    and p_step.state in ('queued', 'waiting')
    -- One with child runs is woken when they end.
    and (p_step.run_at <= p_now or p_step.next_index is not null)
$$;

-- What comes of the job of a step that is due: it is begun, its wait ends, or the engine goes on where it had paused.
create or replace function engine.take_job(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_move engine.move;
begin
  if p_step.state = 'waiting' then
    return engine.take_wait(p_loaded, p_plan, p_step, p_worker, p_now);
  end if;
  v_move := engine.move_on(p_loaded, p_plan, p_worker, p_now, p_step.node);
  if (engine.step_of(v_move.steps, p_step.node)).node is null then
    v_move.closed := array[p_step.node];
  end if;
  return v_move;
end
$$;

create or replace function engine.begin_steps(p_requests jsonb, p_worker uuid)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    task jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[] := array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_requests) as r);
  v_nodes constant text[] := array(select r ->> 'node' from jsonb_array_elements(p_requests) as r);
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_places int[];
  v_place int;
  v_step engine.open_steps;
  v_move engine.move;
  v_moves engine.move[];
  v_slots constant int := (select w.share from engine.workers as w where w.id = p_worker);
  v_organization_id uuid;
  v_free int; -- slots that the organization still has
begin
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    if v_plan.workflow_id is distinct from (v_loaded.run).workflow_id or v_plan.version <> (v_loaded.run).version then
      v_plan := engine.plan_of(v_loaded.run);
    end if;
    if v_slots is not null and v_organization_id is distinct from (v_loaded.run).organization_id then
      v_organization_id := (v_loaded.run).organization_id;
      v_free := engine.free_slots(v_organization_id, v_slots);
    end if;
    v_places := array_positions(v_ids, run_id);
    foreach v_place in array v_places loop
      index := v_place - 1;
      task := null;
      v_step := engine.step_of(v_loaded.steps, v_nodes[v_place]);
      outcome := case when v_step.node is null then 'stale' else 'done' end;
      if engine.is_due(v_loaded.run, v_step, v_now) then
        if v_free <= 0 and v_step.state = 'queued' then
          v_move := null;
          v_move.run := v_loaded.run;
          v_move.steps := array[engine.parked_step(v_step)];
        else
          v_move := engine.take_job(v_loaded, v_plan, v_step, p_worker, v_now);
        end if;
        v_moves := v_moves || v_move;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_move(v_loaded, v_move);
        end if;
        task := v_move.task;
        if task is not null then
          outcome := 'begun';
          v_free := v_free - 1;
        end if;
      end if;
      return next;
    end loop;
    v_ids := array_replace(v_ids, run_id, null);
  end loop;
  perform engine.write_moves(v_moves);

  -- Runs that are gone.
  return query
  select (i.place - 1)::int, 'stale', i.id, null::jsonb
  from unnest(v_ids) with ordinality as i (id, place)
  where i.id is not null;
end
$$;

comment on function engine.begin_steps(jsonb, uuid) is
  'For workers: begins the steps of a batch of jobs, [{"runId", "node"}]. outcome is begun, with the task to do; done when there is nothing to do now; stale when the step is gone. Example: select * from engine.begin_steps(''[{"runId": "0190…", "node": "notify"}]'', gen_random_uuid());';

grant execute on function engine.begin_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/begin.sql
--! Included 50_engine/complete.sql
-- kind: code
-- Records the results of steps, each exactly once: a result of an older attempt, or of a run that has ended, is
-- answered `stale` and changes nothing. The run moves on in the same transaction, and the branch's next step is handed
-- back.

-- The event of a result; what is invalid about a result makes it a failure.
create or replace function engine.outcome_entry(
  p_result jsonb,
  p_node engine.plan_node,
  p_step engine.open_steps,
  p_last engine.log_entry,
  p_now timestamptz
)
  returns engine.log_entry
  language plpgsql
  volatile
as $$
declare
  v_port constant text := coalesce(p_result ->> 'port', p_node.ports[1]);
  v_payload jsonb := jsonb_build_object(
    'node', p_node.id, 'attempt', p_step.attempt, 'ms', coalesce(p_result -> 'ms', '0')
  );
  v_error jsonb;
begin
  v_error := case
    when p_result -> 'ok' is distinct from 'true' then coalesce(p_result -> 'error', '{}')
    when pg_column_size(p_result -> 'output') > 1048576
      then engine.request_error('TOO_LARGE', 'The output of a step is at most 1 MiB.')
    when v_port <> all (p_node.ports)
      then engine.request_error('UNKNOWN_PORT', format('The node has no port %L.', v_port))
  end;
  if v_error is null then
    return engine.next_entry(p_last, p_now, 'step.succeeded', v_payload || jsonb_build_object(
      'port', v_port, 'output', coalesce(p_result -> 'output', 'null')
    ));
  end if;

  v_error := jsonb_build_object('code', 'NODE_FAILED', 'message', 'The step failed.', 'retryable', false) || v_error;
  v_payload := v_payload || jsonb_build_object('error', v_error - 'retryAfterMs');
  if v_error -> 'retryable' = 'true' and p_step.failures + 1 < p_node.max_attempts then
    v_payload := v_payload || jsonb_build_object(
      'retryAt', engine.iso_time(p_now + engine.retry_delay(p_node, p_step.failures + 1, v_error))
    );
  end if;
  return engine.next_entry(p_last, p_now, 'step.failed', v_payload);
end
$$;

-- min(maxMs, initialMs · 2^(k−1)), with jitter times random(0.5..1), or what the peer asked for if that is longer, an
-- hour at most.
create or replace function engine.retry_delay(p_node engine.plan_node, p_failures int, p_error jsonb)
  returns interval
  language sql
  volatile
as $$
  select make_interval(secs => least(
    3600,
    greatest(
      least(p_node.retry_max_ms, p_node.retry_initial_ms * power(2, least(p_failures - 1, 30)))
        * case when p_node.retry_jitter then 0.5 + random() / 2 else 1 end,
      coalesce((p_error ->> 'retryAfterMs')::double precision, 0)
    ) / 1000
  ))
$$;

-- What comes of a result: the step is queued again, or it has ended and the run moves on.
create or replace function engine.take_result(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_result jsonb,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_entry constant engine.log_entry := engine.outcome_entry(
    p_result, p_plan.nodes[array_position(p_plan.ids, p_step.node)], p_step, p_loaded.log[cardinality(p_loaded.log)],
    p_now
  );
  v_move engine.move;
begin
  p_loaded.log := p_loaded.log || v_entry;
  if v_entry.payload ? 'retryAt' then
    p_step.state := 'queued';
    p_step.failures := p_step.failures + 1;
    p_step.worker_id := null;
    p_step.lease_until := null;
    p_step.run_at := v_entry.payload ->> 'retryAt';
    v_move.run := p_loaded.run;
    v_move.steps := array[p_step];
  else
    p_loaded.steps := engine.without_step(p_loaded.steps, p_step.node);
    if (p_loaded.run).status = 'paused' then
      v_move.run := p_loaded.run;
    else
      v_move := engine.move_on(p_loaded, p_plan, p_worker, p_now);
    end if;
    v_move.closed := array[p_step.node];
  end if;
  v_move.entries := v_entry || v_move.entries;
  return v_move;
end
$$;

create or replace function engine.complete_steps(p_results jsonb, p_worker uuid)
  returns table (
    index int,
    outcome text,
    run_id uuid,
    status text,
    next jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_results constant jsonb[] := array(select r from jsonb_array_elements(p_results) as r);
  v_ids uuid[] := array(select (r ->> 'runId')::uuid from jsonb_array_elements(p_results) as r);
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_places int[];
  v_place int;
  v_step engine.open_steps;
  v_move engine.move;
  v_moves engine.move[];
  v_left uuid[];
begin
  for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
    run_id := (v_loaded.run).id;
    if v_plan.workflow_id is distinct from (v_loaded.run).workflow_id or v_plan.version <> (v_loaded.run).version then
      v_plan := engine.plan_of(v_loaded.run);
    end if;
    v_places := array_positions(v_ids, run_id);
    foreach v_place in array v_places loop
      index := v_place - 1;
      outcome := 'stale';
      status := (v_loaded.run).status;
      next := null;
      v_step := engine.step_of(v_loaded.steps, v_results[v_place] ->> 'node');
      if v_step.state = 'running' and v_step.attempt = (v_results[v_place] -> 'attempt')::int
        and (v_loaded.run).finished_at is null
      then
        outcome := 'recorded';
        v_move := engine.take_result(v_loaded, v_plan, v_step, v_results[v_place], p_worker, v_now);
        v_moves := v_moves || v_move;
        next := v_move.task;
        if next is null then
          v_left := v_left || (v_loaded.run).organization_id;
        end if;
        status := (v_move.run).status;
        if v_place < v_places[cardinality(v_places)] then
          v_loaded := engine.after_move(v_loaded, v_move);
        end if;
      end if;
      return next;
    end loop;
    v_ids := array_replace(v_ids, run_id, null);
  end loop;
  perform engine.write_moves(v_moves);
  if v_left is not null and engine.is_any_parked() then
    perform engine.fill_slots(v_left);
  end if;

  -- Runs that are gone.
  return query
  select (i.place - 1)::int, 'stale', i.id, null::text, null::jsonb
  from unnest(v_ids) with ordinality as i (id, place)
  where i.id is not null;
end
$$;

comment on function engine.complete_steps(jsonb, uuid) is
  'For workers: records the results of a batch, [{"runId", "node", "attempt", "ok", "port"?, "output"?, "error"?, "ms"}], each once, and moves the runs on. outcome is recorded, or stale for a result of an older attempt or an ended run, which changes nothing; next is the step to go on with. Example: select * from engine.complete_steps(''[{"runId": "0190…", "node": "notify", "attempt": 1, "ok": true, "output": {}}]'', gen_random_uuid());';

grant execute on function engine.complete_steps(jsonb, uuid) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/complete.sql
--! Included 50_engine/wait.sql
-- kind: code
-- Ends waits: their time has come, or somebody has decided.

-- How a wait that nobody answered ends: at its port `timeout` if that leads anywhere, else it has failed.
create or replace function engine.timeout_result(p_node engine.plan_node, p_prev jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when 'timeout' = any (p_node.ports) then jsonb_build_object('ok', true, 'port', 'timeout', 'output', p_prev)
    else jsonb_build_object('ok', false, 'error', jsonb_build_object(
      'code', 'WAIT_TIMEOUT', 'message', 'Nothing came before the time was up.', 'retryable', false
    ))
  end
$$;

-- What comes of the job of a step that waits.
create or replace function engine.take_wait(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_reached constant engine.opened_step := engine.reached(p_plan, p_step.run_id, p_loaded.log, p_step.node);
  v_node constant engine.plan_node := p_plan.nodes[v_reached.place];
  v_kind constant text := engine.wait_kind(v_node, v_reached.properties);
begin
  p_step.attempt := 1;
  if v_kind in ('run', 'forEach', 'repeat') then
    return engine.take_children(p_loaded, p_plan, p_step, v_reached, p_worker, p_now);
  end if;
  return engine.take_result(
    p_loaded, p_plan, p_step,
    case v_kind
      when 'time' then jsonb_build_object('ok', true, 'output', v_reached.prev)
      else engine.timeout_result(v_node, v_reached.prev)
    end,
    p_worker, p_now
  );
end
$$;

-- How a step ended, for whoever comes too late; null while it has not.
create or replace function engine.first_outcome(p_log engine.log_entry[], p_node text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_log loop
    if v_entry.type in ('step.succeeded', 'step.failed') and v_entry.payload ->> 'node' = p_node then
      return v_entry.payload - 'ms' || jsonb_build_object('at', engine.iso_time(v_entry.ts));
    end if;
  end loop;
  return null;
end
$$;

-- Refuses what comes after a wait has ended. p_outcome: how it ended, null when it has not.
create or replace function engine.refuse_late(p_outcome jsonb)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_outcome ->> 'port' = 'timeout' or p_outcome #>> '{error,code}' = 'WAIT_TIMEOUT' then
    perform private.raise_error('EXPIRED', 'The time for this is up.', null, jsonb_build_object('first', p_outcome));
  elsif p_outcome is not null then
    perform private.raise_error(
      'ALREADY_USED', 'This was done before; the details say how.', null, jsonb_build_object('first', p_outcome)
    );
  end if;
end
$$;
--! EndIncluded 50_engine/wait.sql
--! Included 50_engine/approve.sql
-- kind: code
-- Approvals: a person decides which way a run goes on, once.

-- Whether a user may decide: as a member of that role or a higher one, or by name. With names alone nobody else may;
-- with neither, admins and owners may.
create or replace function engine.may_approve(p_organization_id uuid, p_user_id uuid, p_approval jsonb)
  returns boolean
  language sql
  stable
as $$
  select exists (
    select
    from public.organization_users as m
    join public.users as u on u.id = m.user_id
    where m.organization_id = p_organization_id
      and m.user_id = p_user_id
      and (
        array_position('{member,admin,owner}', m.role) >= array_position(
          '{member,admin,owner}',
          coalesce(p_approval ->> 'role', case when not p_approval ? 'users' then 'admin' end)
        )
        or exists (
          select
          from jsonb_path_query(p_approval, 'lax $.users[*]') as n (name)
          where lower(n.name #>> '{}') in (lower(u.email), u.id::text)
        )
      )
  )
$$;

-- p_by: the user who decides; null for a DBA, who may.
create or replace function engine.approve_step(
  p_run_id uuid,
  p_node text,
  p_approved boolean,
  p_comment text,
  p_by uuid
)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_step engine.open_steps;
  v_reached engine.opened_step;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  v_plan := engine.plan_of(v_loaded.run);
  if not coalesce(
    (v_plan.nodes[array_position(v_plan.ids, p_node)]).properties ? 'approval'
      and (v_plan.nodes[array_position(v_plan.ids, p_node)]).type like 'wait@%',
    false
  ) then
    perform private.raise_error('NOT_FOUND', format('The run has no approval %L.', p_node));
  end if;
  perform engine.refuse_late(engine.first_outcome(v_loaded.log, p_node));
  perform engine.refuse_finished(v_loaded.run);
  v_step := engine.step_of(v_loaded.steps, p_node);
  if v_step.node is null then
    perform private.raise_error('CONFLICT', 'The run has not come to this approval.');
  elsif v_step.run_at <= v_now then
    perform private.raise_error('EXPIRED', 'The time for this is up.');
  end if;
  v_reached := engine.reached(v_plan, p_run_id, v_loaded.log, p_node);
  if p_by is not null
    and not engine.may_approve((v_loaded.run).organization_id, p_by, v_reached.properties -> 'approval')
  then
    perform private.raise_error('FORBIDDEN', 'This approval is not yours to give.', null, jsonb_build_object(
      'approval', v_reached.properties -> 'approval'
    ));
  end if;

  v_step.attempt := 1;
  v_move := engine.take_result(v_loaded, v_plan, v_step, jsonb_build_object(
    'ok', true,
    'port', case when p_approved then 'approved' else 'rejected' end,
    'output', jsonb_build_object(
      'approved', p_approved, 'by', p_by, 'comment', left(p_comment, 10000), 'at', engine.iso_time(v_now)
    )
  ), null, v_now);
  perform engine.write_moves(array[v_move]);
  return v_move.run;
end
$$;
--! EndIncluded 50_engine/approve.sql
--! Included 50_engine/resume.sql
-- kind: code
-- Resume addresses: whoever was told one may call it once, and a run that waits for that goes on with the request. A
-- token is not stored: it is made anew from the key of the version.

-- The run that a token is of; null when it cannot be one.
create or replace function engine.run_of_token(p_token text)
  returns uuid
  language plpgsql
  immutable
as $$
begin
  if p_token !~ '^[A-Za-z0-9_-]{54}$' then
    return null;
  end if;
  return encode(substring(decode(translate(p_token, '-_', '+/') || '==', 'base64') for 16), 'hex')::uuid;
end
$$;

-- The node of the plan that a token is for.
create or replace function engine.node_of_token(p_plan engine.plans, p_run_id uuid, p_token text)
  returns engine.plan_node
  language plpgsql
  immutable
as $$
declare
  v_node engine.plan_node;
begin
  foreach v_node in array coalesce(p_plan.nodes, '{}') loop
    if v_node.kind = 'wait' and v_node.properties ? 'webhook'
      and engine.resume_token(p_plan.resume_key, p_run_id, v_node.id) = p_token
    then
      return v_node;
    end if;
  end loop;
  return null;
end
$$;

-- A call that comes before the run waits for it is kept. p_request: {"method", "query", "headers", "body"}.
create or replace function engine.resume_run(p_token text, p_request jsonb)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because the intake reads no table
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_run_id constant uuid := engine.run_of_token(p_token);
  v_run public.workflow_runs;
  v_loaded engine.loaded_run;
  v_node engine.plan_node;
  v_methods jsonb;
  v_used jsonb;
begin
  if v_run_id is not null then
    select r.* into v_run from public.workflow_runs as r where r.id = v_run_id;
    v_node := engine.node_of_token(engine.plan_of(v_run), v_run_id, p_token);
  end if;
  if v_node.id is null then
    perform private.raise_error('NOT_FOUND', 'There is nothing to resume here.');
  end if;
  v_methods := jsonb_path_query_array(coalesce(v_node.properties #> '{webhook,method}', '"POST"'), 'lax $[*]');
  if not v_methods ? (p_request ->> 'method') then
    perform private.raise_error('INVALID_ARGUMENT', format('This address takes %s.', array_to_string(
      array(select jsonb_array_elements_text(v_methods)), ', '
    )), null, jsonb_build_object('methods', v_methods));
  elsif pg_column_size(p_request) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'The request is larger than 1 MiB.');
  end if;

  select l.* into v_loaded from engine.load_runs(array[v_run_id], v_now) as l;
  select jsonb_build_object('at', engine.iso_time(l.ts)) into v_used
  from unnest(v_loaded.log) as l
  where l.type = 'run.signaled'
    and l.payload ->> 'name' = engine.resume_signal(v_node.id);
  perform engine.refuse_late(coalesce(v_used, engine.first_outcome(v_loaded.log, v_node.id)));
  if (v_loaded.run).finished_at is not null
    or (engine.step_of(v_loaded.steps, v_node.id)).run_at <= v_now
  then
    perform private.raise_error('EXPIRED', 'The time for this is up.');
  end if;
  perform engine.take_signal(v_loaded, engine.resume_signal(v_node.id), p_request, null, v_now);
  return v_run_id;
end
$$;

comment on function engine.resume_run(text, jsonb) is
  'For the intake: a request to /resume/<token>, once; the run that waits for it goes on with {"method", "query", "headers", "body"}. Answers with the run. Errors: NOT_FOUND, INVALID_ARGUMENT (another method), TOO_LARGE, ALREADY_USED (details.first says when), EXPIRED. Example: select engine.resume_run(''AZ…'', ''{"method": "POST", "body": {}}'');';

grant execute on function engine.resume_run(text, jsonb) to flowgres_intake;
--! EndIncluded 50_engine/resume.sql
--! Included 50_engine/family.sql
-- kind: code
-- What became of the child runs of a step, read from their rows and logs without a lock.

create type engine.family as (
  unfinished int,
  is_failed boolean
);

-- How the children of a step that were started so far stand. p_run_id bounds the partitions: children are younger.
create or replace function engine.family_of(p_run_id uuid, p_node text)
  returns engine.family
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
  v_family engine.family;
begin
  select
    count(*) filter (where r.finished_at is null),
    coalesce(bool_or(r.finished_at is not null), false)
  into v_family
  from public.workflow_runs as r
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.parent_index is not null
    and r.status = any ('{waiting,running,paused,error,canceled}')
    and r.id between v_first and v_last;
  return v_family;
end
$$;

-- What children that have ended leave to their parent, by their place: {"output"} or {"error"}.
create or replace function engine.child_results(p_run_id uuid, p_node text, p_index int default null)
  returns table (index int, result jsonb)
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_first constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
begin
  return query
  select
    r.parent_index,
    case r.status
      when 'success' then jsonb_build_object('output', e.payload -> 'output')
      else jsonb_build_object('error', engine.child_error(r))
    end
  from public.workflow_runs as r
  left join public.workflow_events as e
    on e.run_id = r.id
    and e.ts = r.finished_at
    and e.type = 'run.succeeded'
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.parent_index is not null
    and (p_index is null or r.parent_index = p_index)
    and r.finished_at is not null
    and r.id between v_first and v_last;
end
$$;

-- The error of a child as that of its parent's step.
create or replace function engine.child_error(p_child public.workflow_runs)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'code', coalesce(p_child.error -> 'code', '"CANCELED"'),
    'message', coalesce(p_child.error -> 'message', '"The child run was canceled."'),
    'retryable', false,
    'details', jsonb_strip_nulls(jsonb_build_object('run', p_child.id, 'node', p_child.error -> 'node'))
  )
$$;
--! EndIncluded 50_engine/family.sql
--! Included 50_engine/children.sql
-- kind: code
-- Child runs: a step starts runs of another workflow and goes on when they have ended. Parent and child are in one
-- transaction only when the child starts. Its end is news for the parent, which comes as a job: that locks the parent
-- alone, counts what became of the children, and hands out more or ends the step.

-- What one turn of a step with children came to.
create type engine.turn as (
  result jsonb,   -- of the step, as a worker would report it; null: it goes on
  next_index int,
  error jsonb,    -- why no further child is started
  again boolean   -- more can be handed out at once, in another transaction
);

-- The workflow that a node names, by its id or its name; null when there is none.
create or replace function engine.workflow_named(p_organization_id uuid, p_name text)
  returns uuid
  language sql
  stable
as $$
  select w.id
  from public.workflows as w
  where w.organization_id = p_organization_id
    and p_name in (w.id::text, w.name)
  order by w.id::text = p_name desc, w.archived_at is null desc, w.published_version is not null desc, w.id
  limit 1
$$;

-- How many runs stand above one.
create or replace function engine.depth_of(p_run public.workflow_runs)
  returns int
  language plpgsql
  stable
as $$
declare
  v_parent_id uuid := p_run.parent_run_id;
  v_depth int := 0;
begin
  while v_parent_id is not null and v_depth < 10 loop
    v_depth := v_depth + 1;
    select r.parent_run_id into v_parent_id from public.workflow_runs as r where r.id = v_parent_id;
  end loop;
  return v_depth;
end
$$;

-- The properties of a node with the results of those expressions that are left for its child runs.
create or replace function engine.resolve_for_child(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_reached engine.opened_step,
  p_item jsonb,
  p_index int
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node constant engine.plan_node := p_plan.nodes[p_reached.place];
  v_created constant engine.log_entry := p_loaded.log[1];
begin
  return engine.resolve(
    p_reached.properties - 'items', v_node.deferred, v_node.is_strict, v_created.payload -> 'input', p_reached.prev,
    p_reached.inputs, p_reached.outputs,
    engine.run_context((p_loaded.run).id, v_created.payload, v_created.ts, p_plan.nodes, p_plan.resume_key),
    v_created.payload -> 'vars', p_item, p_index
  );
end
$$;

-- What the schema of a trigger has against the input of a child; null when it has nothing.
create or replace function engine.input_error(p_trigger engine.plan_node, p_input jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'code', 'VALIDATION_FAILED',
    'message', format('The input%s %s.', ' ' || nullif(p.pointer, ''), p.message),
    'retryable', false
  )
  from engine.schema_problems(p_input, coalesce(p_trigger.properties -> 'input', '{}')) as p
  limit 1
$$;

-- Starts the children from p_from on, one for each input. p_waits: whether the parent waits for them. An answer with
-- an error and no run is a refusal: no such workflow, none published, a limit.
create or replace function engine.start_children(
  p_run public.workflow_runs,
  p_reached engine.opened_step,
  p_inputs jsonb[],
  p_from int,
  p_waits boolean default true
)
  returns table (
    run_id uuid,
    status text,
    output jsonb,
    error jsonb
  )
  language plpgsql
  volatile
as $$
declare
  v_workflow_id constant uuid := engine.workflow_named(
    p_run.organization_id, p_reached.properties ->> 'workflow'
  );
begin
  if v_workflow_id is null then
    error := engine.request_error('NOT_FOUND', format(
      'There is no workflow %s.', p_reached.properties ->> 'workflow'
    ));
  elsif p_from = 0 and engine.depth_of(p_run) >= 10 then
    error := engine.request_error('TOO_DEEP', 'Child runs are at most 10 levels deep.');
  end if;
  if error is not null then
    return next;
    return;
  end if;
  return query
  select s.run_id, s.status, s.output, s.error
  from engine.start_runs((
    select jsonb_agg(jsonb_build_object(
      'organizationId', p_run.organization_id,
      'workflowId', v_workflow_id,
      'mode', 'child',
      'input', i.input,
      'startedBy', p_run.started_by,
      'parent', jsonb_build_object(
        'run', p_run.id, 'node', p_reached.node,
        'index', case when p_waits then p_from + i.place - 1 end
      )
    ) order by i.place)
    from unnest(p_inputs) with ordinality as i (input, place)
  )) as s
  order by s.index;
end
$$;

-- What comes of the job of a step with child runs: its first one, or one that the end of a child has sent.
create or replace function engine.take_children(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_reached engine.opened_step,
  p_worker uuid,
  p_now timestamptz
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_type constant text := (p_plan.nodes[p_reached.place]).type;
  v_turn engine.turn;
  v_move engine.move;
begin
  case
    when v_type like 'repeat@%' then
      v_turn := engine.take_repeat(p_loaded, p_plan, p_step, p_reached);
    when p_reached.properties -> 'wait' = 'false' then
      v_turn := engine.take_independent(p_loaded.run, p_reached);
    else
      v_turn := engine.take_for_each(p_loaded, p_plan, p_step, p_reached);
  end case;
  if v_turn.result is not null then
    return engine.take_result(p_loaded, p_plan, p_step, v_turn.result, p_worker, p_now);
  end if;
  p_step.next_index := v_turn.next_index;
  p_step.error := v_turn.error;
  p_step.run_at := case when v_turn.again then p_now end;
  v_move.run := p_loaded.run;
  v_move.steps := array[p_step];
  return v_move;
end
$$;
--! EndIncluded 50_engine/children.sql
--! Included 50_engine/for_each.sql
-- kind: code
-- executeWorkflow and forEach: one child run, or one for each item, so many at a time.

-- What the children from p_from on get: the result of the property `input`, whose expressions see $.item and $.index,
-- else the item.
create or replace function engine.child_inputs(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_reached engine.opened_step,
  p_from int,
  p_count int
)
  returns jsonb[]
  language plpgsql
  stable
as $$
declare
  v_is_deferred constant boolean := (p_plan.nodes[p_reached.place]).deferred is not null;
  v_item jsonb;
  v_inputs jsonb[];
begin
  for v_index in p_from .. p_from + p_count - 1 loop
    v_item := p_reached.properties -> 'items' -> v_index;
    v_inputs := v_inputs || case
      when v_is_deferred
        then engine.resolve_for_child(p_loaded, p_plan, p_reached, v_item, v_index) -> 'input'
      else coalesce(p_reached.properties -> 'input', v_item)
    end;
  end loop;
  return v_inputs;
end
$$;

-- One turn: hands out what may run now, at most 100 children in a transaction.
create or replace function engine.take_for_each(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_reached engine.opened_step
)
  returns engine.turn
  language plpgsql
  volatile
as $$
declare
  v_items constant jsonb := p_reached.properties -> 'items';
  v_count constant int := case when v_items is null then 1 else jsonb_array_length(v_items) end;
  v_width constant int := coalesce((p_reached.properties ->> 'concurrency')::int, 10);
  v_goes_on constant boolean := coalesce(p_reached.properties -> 'continue' = 'true', false);
  v_family engine.family := row(0, false);
  v_left int := 100;
  v_number int;
  v_inputs jsonb[];
  v_detail text;
  v_child record;
  v_turn engine.turn;
begin
  v_turn.next_index := coalesce(p_step.next_index, 0);
  v_turn.error := p_step.error;
  if v_turn.next_index > 0 then
    v_family := engine.family_of(p_step.run_id, p_step.node);
  end if;

  while v_turn.error is null and v_turn.next_index < v_count and v_family.unfinished < v_width
    and (v_goes_on or not v_family.is_failed)
  loop
    v_number := least(v_width - v_family.unfinished, v_count - v_turn.next_index, v_left);
    if v_number = 0 then
      v_turn.again := true;
      return v_turn;
    end if;
    begin
      v_inputs := engine.child_inputs(p_loaded, p_plan, p_reached, v_turn.next_index, v_number);
    exception
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        v_turn.error := engine.error_of(sqlstate, sqlerrm, v_detail);
        exit;
    end;
    for v_child in
      select c.* from engine.start_children(p_loaded.run, p_reached, v_inputs, v_turn.next_index) as c
    loop
      if v_child.run_id is null then
        v_turn.error := v_child.error;
      elsif v_child.status in ('error', 'canceled') then
        v_family.is_failed := true;
      elsif v_child.status <> 'success' then
        v_family.unfinished := v_family.unfinished + 1;
      end if;
    end loop;
    v_turn.next_index := v_turn.next_index + v_number;
    v_left := v_left - v_number;
  end loop;

  -- Those that run may end, whatever became of the others.
  if v_family.unfinished = 0 then
    v_turn.result := engine.family_result(p_step, v_turn.error, v_items is not null, v_goes_on);
  end if;
  return v_turn;
end
$$;

-- What a step leaves behind whose children have ended: their outputs in the order of the items.
create or replace function engine.family_result(
  p_step engine.open_steps,
  p_error jsonb,
  p_is_list boolean,
  p_goes_on boolean
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_error jsonb := p_error;
  v_outputs jsonb;
begin
  if v_error is null then
    select
      coalesce(jsonb_agg(coalesce(c.result -> 'output', c.result) order by c.index), '[]'),
      (array_agg(c.result -> 'error' order by c.index) filter (where c.result ? 'error' and not p_goes_on))[1]
    into v_outputs, v_error
    from engine.child_results(p_step.run_id, p_step.node) as c;
  end if;
  if v_error is not null then
    return jsonb_build_object('ok', false, 'error', v_error || '{"retryable": false}');
  end if;
  return jsonb_build_object('ok', true, 'output', case when p_is_list then v_outputs else v_outputs -> 0 end);
end
$$;

-- A child that nobody waits for: the step has ended when it has started.
create or replace function engine.take_independent(p_run public.workflow_runs, p_reached engine.opened_step)
  returns engine.turn
  language plpgsql
  volatile
as $$
declare
  v_child record;
  v_turn engine.turn;
begin
  select c.* into v_child
  from engine.start_children(p_run, p_reached, array[p_reached.properties -> 'input'], 0, false) as c;
  v_turn.result := case
    when v_child.run_id is null
      then jsonb_build_object('ok', false, 'error', v_child.error || '{"retryable": false}')
    else jsonb_build_object('ok', true, 'output', jsonb_build_object('runId', v_child.run_id))
  end;
  return v_turn;
end
$$;
--! EndIncluded 50_engine/for_each.sql
--! Included 50_engine/repeat.sql
-- kind: code
-- repeat: child runs one after the other. Each gets what the one before it gave, until a condition holds.

-- Whether the last child was the last one.
create or replace function engine.is_repeated_enough(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_reached engine.opened_step,
  p_output jsonb,
  p_index int
)
  returns boolean
  language plpgsql
  stable
as $$
begin
  return engine.resolve_for_child(p_loaded, p_plan, p_reached, p_output, p_index) -> 'until' = 'true';
end
$$;

-- One turn: at most 100 children in a transaction.
create or replace function engine.take_repeat(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_reached engine.opened_step
)
  returns engine.turn
  language plpgsql
  volatile
as $$
declare
  v_most constant int := coalesce((p_reached.properties ->> 'maxIterations')::int, 100);
  v_first constant int := coalesce(p_step.next_index, 0);
  v_input jsonb := p_reached.properties -> 'input';
  v_last jsonb;
  v_error jsonb;
  v_detail text;
  v_child record;
  v_turn engine.turn;
begin
  v_turn.next_index := v_first;
  loop
    if v_turn.next_index > 0 then
      select c.result into v_last
      from engine.child_results(p_step.run_id, p_step.node, v_turn.next_index - 1) as c;
      exit when not found; -- it still runs
      v_input := v_last -> 'output';
      v_error := v_last -> 'error';
      exit when v_error is not null;
      begin
        if engine.is_repeated_enough(p_loaded, p_plan, p_reached, v_input, v_turn.next_index - 1) then
          v_turn.result := jsonb_build_object('ok', true, 'output', v_input);
          exit;
        end if;
      exception
        when others then
          get stacked diagnostics v_detail = pg_exception_detail;
          v_error := engine.error_of(sqlstate, sqlerrm, v_detail);
      end;
      exit when v_error is not null;
    end if;
    if v_turn.next_index = v_most then
      v_error := engine.request_error('TOO_MANY_ITERATIONS', format('%s runs were not enough.', v_most));
      exit;
    elsif v_turn.next_index = v_first + 100 then
      v_turn.again := true;
      exit;
    end if;
    select c.* into v_child
    from engine.start_children(p_loaded.run, p_reached, array[v_input], v_turn.next_index) as c;
    v_error := case when v_child.run_id is null then v_child.error end;
    exit when v_error is not null;
    v_turn.next_index := v_turn.next_index + 1;
  end loop;
  if v_error is not null then
    v_turn.result := jsonb_build_object('ok', false, 'error', v_error || '{"retryable": false}');
  end if;
  return v_turn;
end
$$;
--! EndIncluded 50_engine/repeat.sql
--! Included 50_engine/local.sql
-- kind: code
-- Local nodes: SQL that reads, writes or is random. A worker runs it once, in a transaction of its own under the
-- step's time limit, and reports what it gave like any other result; a replay takes that from the log.

create or replace function engine.run_random(p_properties jsonb)
  returns jsonb
  language plpgsql
  volatile
as $$
declare
  v_low constant numeric := coalesce((p_properties ->> 'min')::numeric, 0);
  v_high constant numeric := coalesce((p_properties ->> 'max')::numeric, 2147483647);
begin
  if v_low > v_high then
    perform engine.node_failed('INVALID_ARGUMENT', 'min is greater than max');
  end if;
  return jsonb_build_object('value', case coalesce(p_properties ->> 'kind', 'uuid')
    when 'token' then to_jsonb(private.random_secret(coalesce((p_properties ->> 'bytes')::int, 32)))
    when 'number' then to_jsonb(engine.random_integer(v_low::bigint, v_high::bigint))
    else to_jsonb(gen_random_uuid())
  end);
end
$$;

-- From the operating system's source, each number as likely as any other.
create or replace function engine.random_integer(p_low bigint, p_high bigint)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  c_range constant numeric := 72057594037927936; -- 2^56
  v_size constant numeric := p_high::numeric - p_low + 1;
  v_drawn numeric;
begin
  loop
    v_drawn := ('x0' || encode(substring(uuid_send(gen_random_uuid()) from 10 for 7), 'hex'))::varbit::bit(60)::bigint;
    exit when v_drawn < c_range - mod(c_range, v_size);
  end loop;
  return p_low + mod(v_drawn, v_size);
end
$$;

-- p_task: as begin_steps gave it. What a function raises is the step's failure, and what it wrote is undone; the time
-- limit of the statement is not caught here.
create or replace function engine.run_local(p_task jsonb)
  returns jsonb
  language plpgsql
  volatile
  security definer -- definer because functions of nodes may be called by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_type constant engine.node_types := engine.node_type(p_task ->> 'type');
  v_prev constant jsonb := coalesce(p_task -> 'input', 'null');
  v_outcome engine.outcome;
  v_detail text;
begin
  if v_type.kind is distinct from 'local' then
    perform private.raise_error('INVALID_ARGUMENT', format('%s is no local node.', p_task ->> 'type'));
  end if;
  begin
    if v_type.function is null then
      v_outcome.output := case v_type.name when 'random' then engine.run_random(p_task -> 'properties') end;
    else
      v_outcome := engine.call_registered(
        engine.registered_function(v_type.name, v_type.function),
        p_task -> 'properties', v_prev, jsonb_build_object('main', jsonb_build_array(v_prev))
      );
    end if;
  exception
    when others then
      get stacked diagnostics v_detail = pg_exception_detail;
      return jsonb_build_object('error', engine.error_of(sqlstate, sqlerrm, v_detail));
  end;
  return jsonb_strip_nulls(jsonb_build_object('port', v_outcome.port))
    || jsonb_build_object('output', coalesce(v_outcome.output, 'null'));
end
$$;

comment on function engine.run_local(jsonb) is
  'For workers: runs the SQL of a local step, {"type", "properties", "input"}, in the caller''s transaction; answers with {"port"?, "output"} or {"error"}. Example: select engine.run_local(''{"type": "random@1", "properties": {"kind": "number", "min": 1, "max": 6}}'');';

grant execute on function engine.run_local(jsonb) to flowgres_worker;
--! EndIncluded 50_engine/local.sql
--! Included 50_engine/end.sql
-- kind: code
-- Ends a run from outside: canceled by somebody, or failed because it cannot go on.

-- Each unfinished one of a batch gets the event; answers with those that had not ended before.
create or replace function engine.end_runs(p_ids uuid[], p_type text, p_payload jsonb)
  returns setof public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_move engine.move;
  v_moves engine.move[];
begin
  for v_loaded in select l.* from engine.load_runs(p_ids, v_now) as l loop
    continue when (v_loaded.run).finished_at is not null;
    v_last := engine.next_entry(v_loaded.log[cardinality(v_loaded.log)], v_now, p_type, p_payload);
    v_move.entries := array[v_last];
    v_move.run := engine.run_after(v_loaded.run, v_last, false);
    v_move.is_changed := true;
    v_moves := v_moves || v_move;
    return next v_move.run;
  end loop;
  perform engine.write_moves(v_moves);
end
$$;

create or replace function engine.end_run(p_run_id uuid, p_type text, p_payload jsonb)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
begin
  select r.* into v_run from engine.end_runs(array[p_run_id], p_type, p_payload) as r;
  if v_run.id is null then
    select r.* into v_run from public.workflow_runs as r where r.id = p_run_id;
  end if;
  return v_run;
end
$$;

-- Who did something, and why: the payload of an event that somebody caused.
create or replace function engine.given_by(p_by uuid, p_reason text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object('by', p_by, 'reason', left(p_reason, 1000)))
$$;

-- Repeated, or on a run that has ended, it changes nothing. Running effects learn of it by their heartbeat.
create or replace function engine.cancel_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language sql
  volatile
as $$
  select engine.end_run(p_run_id, 'run.canceled', engine.given_by(p_by, p_reason))
$$;

create or replace function engine.blameless_error(p_code text, p_message text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object('error', jsonb_build_object('code', p_code, 'message', p_message, 'retryable', false))
$$;

create or replace function engine.fail_run(p_run_id uuid, p_code text, p_message text)
  returns public.workflow_runs
  language sql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
  select engine.end_run(p_run_id, 'run.failed', engine.blameless_error(p_code, p_message))
$$;

comment on function engine.fail_run(uuid, text, text) is
  'Ends an unfinished run with an error that no node is to blame for. Changes nothing about a finished one. Example: select status from engine.fail_run(''0190…'', ''DEADLINE'', ''too late'');';

grant execute on function engine.fail_run(uuid, text, text) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/end.sql
--! Included 50_engine/orphans.sql
-- kind: code
-- Children of runs that have ended: nobody waits for them any more, so they are canceled, and so are theirs.

-- One step of it: at most 100 children, in a transaction that does not touch their parent. Those of them with children
-- of their own get a job like the one that this was called by.
create or replace function engine.end_children(p_run_id uuid)
  returns int
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_first constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
  v_ids uuid[];
begin
  if not exists (select from public.workflow_runs as r where r.id = p_run_id and r.finished_at is not null) then
    return 0;
  end if;
  v_ids := array(
    select r.id
    from public.workflow_runs as r
    where r.parent_run_id = p_run_id
      and r.parent_index is not null
      and r.finished_at is null
      and r.id between v_first and v_last
    limit 100
  );
  perform engine.end_runs(v_ids, 'run.canceled', '{"reason": "The run that waited for it has ended."}');
  if cardinality(v_ids) = 100 then
    perform engine.add_jobs(engine.family_jobs('{}', array[p_run_id]));
  end if;
  return cardinality(v_ids);
end
$$;

comment on function engine.end_children(uuid) is
  'For workers: cancels at most 100 children of a run that has ended, and sees to the rest; answers how many. Children that the run did not wait for go on. Example: select engine.end_children(''0190…'');';

grant execute on function engine.end_children(uuid) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/orphans.sql
--! Included 50_engine/error_runs.sql
-- kind: code
-- Error workflows: a workflow names another one, settings.errorWorkflow, that is started when a run of it fails.

insert into engine.node_types (name, version, kind, description, ports, inputs, properties)
values (
  'errorTrigger', 1, 'trigger', 'Starts a run because one of another workflow has failed.', '{main}', '{}',
  '{"type": "object", "additionalProperties": false}'
)
on conflict (name, version) do update
set
  kind = excluded.kind,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;

-- Whether a run belongs to an error that was told already: then its own failure starts nothing, or two workflows could
-- go on starting each other for ever.
create or replace function engine.is_about_error(p_run public.workflow_runs)
  returns boolean
  language plpgsql
  stable
as $$
declare
  v_run public.workflow_runs := p_run;
  v_origin uuid;
begin
  while v_run.id is not null loop
    if v_run.mode = 'error' then
      return true;
    end if;
    v_origin := coalesce(v_run.parent_run_id, v_run.retry_of);
    if v_run.mode = 'fork' then
      select (e.payload ->> 'forkOf')::uuid into v_origin
      from public.get_workflow_run_events(v_run.id) as e
      where e.seq = 1;
    end if;
    select r.* into v_run from public.workflow_runs as r where r.id = v_origin;
  end loop;
  return false;
end
$$;

create or replace function engine.error_request(p_run public.workflow_runs, p_error_workflow uuid)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_run.organization_id,
    'workflowId', p_error_workflow,
    'mode', 'error',
    'input', jsonb_build_object(
      'error', p_run.error,
      'run', jsonb_build_object(
        'id', p_run.id,
        'mode', p_run.mode,
        'startedAt', engine.iso_time(p_run.started_at),
        'metadata', p_run.metadata
      ),
      'workflow', jsonb_build_object('id', w.id, 'name', w.name, 'version', p_run.version)
    )
  )
  from public.workflows as w
  where w.id = p_run.workflow_id
$$;

-- In the transaction in which the runs have failed, so that none is forgotten. What keeps an error workflow from being
-- started must not keep the failure from being recorded: it is written to the log of the run.
create or replace function engine.start_error_runs(p_runs public.workflow_runs[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_workflow uuid;
  v_error jsonb;
begin
  foreach v_run in array p_runs loop
    select (p.settings ->> 'errorWorkflow')::uuid into v_workflow
    from engine.plans as p
    where p.organization_id = v_run.organization_id
      and p.workflow_id = v_run.workflow_id
      and p.version = v_run.version;
    continue when v_workflow is null or engine.is_about_error(v_run);
    begin
      select s.error into v_error
      from engine.start_runs(jsonb_build_array(engine.error_request(v_run, v_workflow))) as s
      where s.run_id is null;
    exception
      when others then
        v_error := jsonb_build_object('message', sqlerrm);
    end;
    if v_error is not null then
      insert into public.workflow_run_logs (organization_id, run_id, level, message, context, ts)
      values (
        v_run.organization_id, v_run.id, 'warning', 'The error workflow was not started.', v_error, engine.now()
      );
    end if;
  end loop;
end
$$;
--! EndIncluded 50_engine/error_runs.sql
--! Included 50_engine/pause.sql
-- kind: code
-- Pauses runs and lets them go on. A paused run begins nothing new; what runs already finishes and is recorded, but the
-- graph moves on only when the run is resumed.

create or replace function engine.pause_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_last engine.log_entry;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).finished_at is not null or (v_loaded.run).status = 'paused' then
    return v_loaded.run;
  end if;
  v_last := engine.next_entry(
    v_loaded.log[cardinality(v_loaded.log)], v_now, 'run.paused', engine.given_by(p_by, p_reason)
  );
  v_move.entries := array[v_last];
  v_move.run := engine.run_after(v_loaded.run, v_last, false);
  v_move.is_changed := true;
  perform engine.write_moves(array[v_move]);
  update engine.open_steps as s set wake_at = null where s.run_id = p_run_id;
  return v_move.run;
end
$$;

create or replace function engine.resume_run(p_run_id uuid, p_by uuid default null, p_reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_resumed engine.log_entry;
  v_step engine.open_steps;
  v_move engine.move;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  if (v_loaded.run).id is null or (v_loaded.run).status <> 'paused' then
    return v_loaded.run;
  end if;
  v_resumed := engine.next_entry(
    v_loaded.log[cardinality(v_loaded.log)], v_now, 'run.resumed', engine.given_by(p_by, p_reason)
  );
  v_loaded.log := v_loaded.log || v_resumed;
  -- No worker: nobody waits here for a step to do, so each one that is ready gets a job.
  v_move := engine.move_on(v_loaded, engine.plan_of(v_loaded.run), null, v_now);
  v_move.entries := v_resumed || v_move.entries;
  -- Whose time came in the pause has lost its job to it; the others are woken at their time again.
  foreach v_step in array v_loaded.steps loop
    if v_step.state <> 'running' and v_step.node <> all (coalesce(v_move.closed, '{}')) then
      v_move.steps := v_move.steps || v_step;
    end if;
  end loop;
  v_move.is_changed := true;
  perform engine.write_moves(array[v_move]);
  perform engine.wake_held(p_run_id);
  return v_move.run;
end
$$;
--! EndIncluded 50_engine/pause.sql
--! Included 50_engine/reuse.sql
-- kind: code
-- Which finished steps of a run another run may take over, so that a retry or a fork does not do them again.

-- All that decides what a node does, in a form that can be compared between two versions: nodes by id, not by place.
create or replace function engine.configuration(p_plan engine.plans, p_node engine.plan_node)
  returns jsonb
  language sql
  stable
as $$
  select to_jsonb(p_node) || jsonb_build_object(
    'sources', array(
      select p_plan.ids[s.place] from unnest(p_node.sources) with ordinality as s (place, number) order by s.number
    ),
    'expressions', array(
      select to_jsonb(e) || jsonb_build_object(
        'source_node', p_plan.ids[e.source_node],
        'parts', array(select to_jsonb(p) - 'source_nodes' from unnest(e.parts) as p)
      )
      from unnest(p_node.expressions) as e
    )
  )
$$;

-- A node that is taken over succeeded in p_log, is the same in both plans, and comes after nothing that runs again:
-- p_from, what failed, what was never finished, what is new or has changed.
create or replace function engine.reusable_nodes(
  p_old engine.plans,
  p_new engine.plans,
  p_folded engine.folded,
  p_from text
)
  returns text[]
  language plpgsql
  stable
as $$
declare
  c_nodes constant engine.plan_node[] := p_new.nodes;
  c_trigger constant text := p_folded.created ->> 'trigger';
  v_old_nodes constant engine.plan_node[] := p_old.nodes;
  v_node engine.plan_node;
  v_source text;
  v_old int;
  v_is_dead boolean;
  v_is_again boolean;
  v_dead text[] := '{}';
  v_again text[] := '{}';
  v_reused text[] := '{}';
begin
  foreach v_node in array c_nodes loop
    v_old := array_position(p_old.ids, v_node.id);
    v_is_dead := v_node.id <> c_trigger;
    v_is_again := v_node.id = p_from;
    for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
      v_source := p_new.ids[v_node.sources[v_edge]];
      v_is_again := v_is_again or v_source = any (v_again);
      v_is_dead := v_is_dead and (
        v_source = any (v_dead)
        or p_folded.ports[array_position(p_old.ids, v_source)] <> v_node.source_ports[v_edge]
      );
    end loop;
    if v_is_dead and v_is_again is not true then
      v_dead := v_dead || v_node.id;
    elsif v_is_again is not true
      and p_folded.states[v_old] = 1
      and (
        p_new.version = p_old.version
        or engine.configuration(p_new, v_node) = engine.configuration(p_old, v_old_nodes[v_old])
      )
    then
      v_reused := v_reused || v_node.id;
    else
      v_again := v_again || v_node.id;
    end if;
  end loop;
  return v_reused;
end
$$;

-- The events by which a run takes steps over. Copied, not referred to: the old run may be archived before the new one.
create or replace function engine.reused_entries(
  p_run_id uuid,
  p_ids text[],
  p_folded engine.folded,
  p_nodes text[],
  p_now timestamptz
)
  returns engine.log_entry[]
  language sql
  immutable
as $$
  select array(
    select row(
      n.number + 1,
      p_now + n.number * interval '1 microsecond',
      'step.reused',
      jsonb_build_object(
        'node', n.node,
        'port', p_folded.ports[array_position(p_ids, n.node)],
        'output', p_folded.outputs[array_position(p_ids, n.node)],
        'fromRun', p_run_id
      )
    )::engine.log_entry
    from unnest(p_nodes) with ordinality as n (node, number)
    order by n.number
  )
$$;
--! EndIncluded 50_engine/reuse.sql
--! Included 50_engine/rerun.sql
-- kind: code
-- Runs that begin where another one was: a retry does again what failed, a fork what is to come out differently.

-- p_old: locked, with its log. Its finished steps count, but for p_from and what comes after it.
create or replace function engine.rerun(
  p_old engine.loaded_run,
  p_request engine.start_request,
  p_from text,
  p_keep_input boolean
)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_old_plan constant engine.plans := engine.plan_of(p_old.run);
  v_plan constant engine.plans := engine.plan_to_start(p_request);
  v_nodes constant engine.plan_node[] := v_plan.nodes;
  v_folded engine.folded;
  v_reused text[];
  v_move engine.move;
begin
  if cardinality(p_old.log) = 0 then
    perform private.raise_error('EXPIRED', 'The log of the run has expired; nothing is known of its steps.');
  end if;
  v_folded := engine.fold(v_old_plan.nodes, v_old_plan.ids, p_old.log);
  p_request.trigger := v_folded.created ->> 'trigger';
  p_request.error := engine.start_refusal(
    p_request, v_plan.version, (v_nodes[array_position(v_plan.ids, p_request.trigger)]).kind
  );
  if p_request.error is null and p_from <> all (v_plan.ids) then
    p_request.error := engine.request_error('NOT_FOUND', format('The workflow has no node %L.', p_from));
  elsif p_request.error is null and pg_column_size(p_request.input) > 1048576 then
    p_request.error := engine.request_error('TOO_LARGE', 'The input of a run is at most 1 MiB.');
  end if;
  p_request.error := coalesce(
    p_request.error, engine.admission_error(engine.admit_starts(null, v_plan, 1, v_now))
  );
  if p_request.error is not null then
    perform private.raise_error(
      p_request.error ->> 'code', p_request.error ->> 'message', p_request.error ->> 'hint',
      coalesce(p_request.error -> 'details', '{}')
    );
  end if;

  v_reused := engine.reusable_nodes(v_old_plan, v_plan, v_folded, p_from);
  if p_keep_input then
    p_request.input := v_folded.created -> 'input';
  else
    v_reused := array_remove(v_reused, p_request.trigger); -- whose output is the input
  end if;
  p_request.run_id := engine.uuid_v7(v_now);
  p_request.reused := engine.reused_entries((p_old.run).id, v_old_plan.ids, v_folded, v_reused, v_now);
  v_move := engine.first_move(p_request, v_plan, v_nodes, p_request.trigger, v_now);
  perform engine.write_starts(array[v_move]);
  return v_move.run;
end
$$;

-- What a retry and a fork of a run have in common.
create or replace function engine.rerun_request(p_run public.workflow_runs, p_mode text, p_by uuid)
  returns engine.start_request
  language plpgsql
  immutable
as $$
declare
  v_request engine.start_request;
begin
  v_request.organization_id := p_run.organization_id;
  v_request.workflow_id := p_run.workflow_id;
  v_request.version := p_run.version;
  v_request.mode := p_mode;
  v_request.priority := p_run.priority;
  v_request.metadata := p_run.metadata;
  v_request.started_by := p_by;
  v_request.origin := jsonb_build_object(p_mode || 'Of', p_run.id);
  return v_request;
end
$$;

create or replace function engine.retry_run(p_run_id uuid, p_from_node text default null, p_by uuid default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_old engine.loaded_run;
  v_run public.workflow_runs;
  v_request engine.start_request;
begin
  select l.* into v_old from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_run := v_old.run;
  if v_run.id is null then
    return null;
  elsif v_run.retried_by is not null then
    select r.* into v_run from public.workflow_runs as r where r.id = v_run.retried_by;
    return v_run;
  elsif v_run.status not in ('error', 'canceled') then
    perform private.raise_error(
      'CONFLICT', format('The run is %s; what has failed or was canceled can be retried.', v_run.status),
      'fork_run begins at any node of any run.', jsonb_build_object('status', v_run.status)
    );
  elsif v_run.parent_index is not null then
    perform private.raise_error(
      'CONFLICT', 'Another run has started this one and knows how it ended.', 'Retry that one.',
      jsonb_build_object('parentRunId', v_run.parent_run_id)
    );
  end if;
  v_request := engine.rerun_request(v_run, 'retry', p_by);
  v_request.retry_of := v_run.id;
  v_run := engine.rerun(v_old, v_request, p_from_node, true);
  update public.workflow_runs as r set retried_by = v_run.id where r.id = p_run_id;
  return v_run;
end
$$;

create or replace function engine.fork_run(
  p_run_id uuid,
  p_from_node text default null,
  p_input jsonb default null,
  p_version int default null,
  p_by uuid default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_old engine.loaded_run;
  v_request engine.start_request;
begin
  select l.* into v_old from engine.load_runs(array[p_run_id], engine.now()) as l;
  if (v_old.run).id is null then
    return null;
  end if;
  v_request := engine.rerun_request(v_old.run, 'fork', p_by);
  v_request.version := coalesce(p_version, v_request.version);
  v_request.input := p_input;
  -- Another input is news for every node, unless somebody says from which one on.
  if p_from_node is null and p_input is not null then
    p_from_node := v_old.log[1].payload ->> 'trigger';
  end if;
  return engine.rerun(v_old, v_request, p_from_node, p_input is null);
end
$$;
--! EndIncluded 50_engine/rerun.sql
--! Included 50_engine/operations.sql
-- kind: code
-- Commands on many runs. An operation is a row; workers work it off, some runs in each transaction, and it counts.

-- The runs that an operation still has to see, oldest first. Runs that began after it are none of its business.
create or replace function engine.operation_runs(p_operation public.run_operations, p_limit int)
  returns setof uuid
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_filter constant jsonb := p_operation.filter;
  v_statuses constant text[] := case
    when v_filter ? 'status' then array[v_filter ->> 'status']
    when p_operation.command = 'retry' then '{error}'
    else '{waiting,running,paused}'
  end;
  v_first constant uuid := greatest(
    p_operation.last_run_id, engine.uuid_floor(coalesce((v_filter ->> 'startedAfter')::timestamptz, 'epoch'))
  );
  -- A run that began in the same millisecond counts as earlier, but not one that this operation has made.
  v_end constant uuid := engine.uuid_floor(least(
    p_operation.created_at + case p_operation.command when 'cancel' then interval '1 ms' else interval '0' end,
    (v_filter ->> 'startedBefore')::timestamptz
  ));
begin
  return query
  select r.id
  from public.workflow_runs as r
  where r.organization_id = p_operation.organization_id
    and r.status = any (v_statuses)
    and r.id > v_first
    and r.id < v_end
    and (r.workflow_id = (v_filter ->> 'workflowId')::uuid or not v_filter ? 'workflowId')
    and (r.mode = v_filter ->> 'mode' or not v_filter ? 'mode')
    and (r.error ->> 'code' = v_filter ->> 'errorCode' or not v_filter ? 'errorCode')
    and (r.metadata @> (v_filter -> 'metadata') or not v_filter ? 'metadata')
    -- What retry_run would refuse, or has done.
    and (p_operation.command <> 'retry' or (r.retried_by is null and r.parent_index is null))
  order by r.id
  limit p_limit;
end
$$;

-- Retries runs one by one; answers how many could not be.
create or replace function engine.retry_runs(p_ids uuid[], p_by uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_run public.workflow_runs;
  v_failed int := 0;
begin
  for v_run in select r.* from engine.lock_runs(p_ids, engine.earliest(p_ids), engine.latest(p_ids)) as r loop
    begin
      perform engine.retry_run(v_run.id, null, p_by);
    exception
      when others then
        v_failed := v_failed + 1;
        insert into public.workflow_run_logs (organization_id, run_id, level, message, context, ts)
        values (
          v_run.organization_id, v_run.id, 'warning', 'The run was not retried.',
          jsonb_build_object('message', sqlerrm), engine.now()
        );
    end;
  end loop;
  return v_failed;
end
$$;

-- Works off a part of an operation, and orders the next part. False: nothing is left, or somebody else is at it.
create or replace function engine.work_operation(p_operation_id uuid, p_limit int default 100)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because runs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_operation public.run_operations;
  v_ids uuid[];
  v_failed int := 0;
begin
  select o.* into v_operation
  from public.run_operations as o
  where o.id = p_operation_id and o.finished_at is null
  for no key update skip locked;
  if not found then
    return false;
  end if;
  v_ids := array(select engine.operation_runs(v_operation, p_limit));
  if cardinality(v_ids) > 0 and v_operation.command = 'cancel' then
    perform from engine.end_runs(
      v_ids, 'run.canceled', engine.given_by(v_operation.started_by, v_operation.filter ->> 'reason')
    );
  elsif cardinality(v_ids) > 0 then
    v_failed := engine.retry_runs(v_ids, v_operation.started_by);
  end if;
  update public.run_operations as o
  set
    done = o.done + cardinality(v_ids) - v_failed,
    failed = o.failed + v_failed,
    last_run_id = coalesce(v_ids[cardinality(v_ids)], o.last_run_id),
    updated_at = engine.now(),
    finished_at = case when cardinality(v_ids) < p_limit then engine.now() end
  where o.id = p_operation_id;
  if cardinality(v_ids) = p_limit then
    perform engine.operation_job(p_operation_id);
    return true;
  end if;
  return false;
end
$$;
comment on function engine.work_operation(uuid, int) is
  'For workers: works off the next runs of an operation, in one transaction; true when there may be more. Example: select engine.work_operation(''0190…'', 100);';

create or replace function engine.operation_job(p_operation_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  perform engine.add_jobs(array[row(
    'work_operation', json_build_object('id', p_operation_id), null, null, null, 'operation:' || p_operation_id, 0, null
  )::graphile_worker.job_spec]);
end
$$;

create or replace function engine.start_operation(
  p_organization_id uuid,
  p_command text,
  p_filter jsonb,
  p_by uuid
)
  returns public.run_operations
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_operation public.run_operations;
begin
  v_operation.organization_id := p_organization_id;
  v_operation.command := p_command;
  v_operation.filter := p_filter;
  v_operation.created_at := v_now;
  insert into public.run_operations (organization_id, command, filter, total, started_by, created_at, updated_at)
  select
    p_organization_id, p_command, p_filter, (select count(*) from engine.operation_runs(v_operation, null)), p_by,
    v_now, v_now
  returning * into v_operation;
  perform engine.operation_job(v_operation.id);
  return v_operation;
end
$$;

grant execute on function engine.work_operation(uuid, int) to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/operations.sql
--! Included 50_engine/heartbeat.sql
-- kind: code
-- What a worker tells: that it lives, and at its end what it leaves.

-- Extends the leases of the attempts that a worker is running, and answers with those it should abort: their run has
-- ended, or another attempt has taken over.
create or replace function engine.heartbeat(
  p_worker uuid,
  p_running jsonb,
  p_pool_id text default null,
  p_capacity int default null
)
  returns table (
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and engine.workers are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
begin
  insert into engine.workers as w (id, pool_id, started_at, seen_at, capacity)
  values (p_worker, p_pool_id, v_now, v_now, p_capacity)
  on conflict (id) do update set
    seen_at = excluded.seen_at,
    capacity = coalesce(excluded.capacity, w.capacity),
    pool_id = coalesce(excluded.pool_id, w.pool_id);

  update engine.workers as w
  set share = engine.organization_slots()
  where w.id = p_worker
    and w.share is distinct from engine.organization_slots();

  return query
  with running as (
    select (r ->> 'runId')::uuid as run_id, r ->> 'node' as node, (r ->> 'attempt')::int as attempt
    from jsonb_array_elements(p_running) as r
  ),
  held as (
    select s.run_id, s.node
    from engine.open_steps as s
    join running as r on r.run_id = s.run_id and r.node = s.node and r.attempt = s.attempt
    where s.state = 'running'
    -- A step that is locked is being completed: there is no lease to extend, and waiting could become a deadlock.
    for update of s skip locked
  ),
  extended as (
    update engine.open_steps as s
    set lease_until = v_now + interval '15 seconds'
    from held as h
    where s.run_id = h.run_id
      and s.node = h.node
  )
  select r.run_id, r.node
  from running as r
  where not exists (
    select
    from engine.open_steps as s
    where s.run_id = r.run_id
      and s.node = r.node
      and s.attempt = r.attempt
      and s.state = 'running'
  );
end
$$;

-- Hands running attempts back to the queue, as a worker does that shuts down. It costs the step none of its attempts.
create or replace function engine.release_steps(p_worker uuid, p_steps jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps is closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_released engine.open_steps[];
begin
  with wanted as (
    select (r ->> 'runId')::uuid as run_id, r ->> 'node' as node, (r ->> 'attempt')::int as attempt
    from jsonb_array_elements(p_steps) as r
  ),
  held as (
    select s.run_id, s.node
    from engine.open_steps as s
    join wanted as w on w.run_id = s.run_id and w.node = s.node and w.attempt = s.attempt
    where s.state = 'running'
      and s.worker_id = p_worker
    for update of s skip locked
  ),
  released as (
    update engine.open_steps as s
    set
      state = 'queued', worker_id = null, lease_until = null, run_at = v_now,
      wake_at = v_now + interval '1 minute'
    from held as h
    where s.run_id = h.run_id
      and s.node = h.node
    returning s.*
  )
  select array_agg(r) into v_released from released as r;
  perform engine.add_jobs(array(select engine.job(s) from unnest(v_released) as s));
  return coalesce(cardinality(v_released), 0);
end
$$;

comment on function engine.heartbeat(uuid, jsonb, text, int) is
  'For workers, every 2.5 seconds: extends the leases of the running attempts, [{"runId", "node", "attempt"}], by 15 seconds; answers with those to abort, because their run has ended or another attempt has taken over. p_capacity: how many steps the worker runs at once. Example: select * from engine.heartbeat(''0190…'', ''[]'');';
comment on function engine.release_steps(uuid, jsonb) is
  'For workers that stop: gives running attempts back to the queue, at the cost of no attempt; answers how many. Example: select engine.release_steps(''0190…'', ''[{"runId": "0190…", "node": "notify", "attempt": 1}]'');';

grant execute on function
  engine.heartbeat(uuid, jsonb, text, int),
  engine.release_steps(uuid, jsonb)
  to flowgres_worker;
--! EndIncluded 50_engine/heartbeat.sql
--! Included 50_engine/reconcile.sql
-- kind: code
-- The reconciler: hands on what nobody holds any more, so that an unfinished run always has something that moves it.

-- One pass: at most 1,000 steps of each kind, so that recovery never stalls what works. Safe to run from any number of
-- processes at once: what one has locked the others skip.
create or replace function engine.reconcile()
  returns table (
    action text,
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and the queue are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_dead text[];
begin
  -- graphile-worker itself would keep the jobs of a dead worker locked for four hours.
  with dead as (
    delete from engine.workers as w
    where w.seen_at < v_now - interval '15 seconds'
    returning w.pool_id
  )
  select array_agg(d.pool_id) into v_dead from dead as d where d.pool_id is not null;
  if v_dead is not null then
    perform graphile_worker.force_unlock_workers(v_dead);
  end if;

  return query select 'deadline', e.run_id, null::text from engine.end_overdue_runs(v_now) as e (run_id);
  return query select 'poison', p.run_id, p.node from engine.fail_poisonous_steps(v_now) as p;
  return query select 'requeue', r.run_id, r.node from engine.requeue_expired_steps(v_now) as r;
  perform engine.unpark_overdue_steps();
  return query select 'wake', w.run_id, w.node from engine.wake_steps() as w;
  return query select 'release', l.run_id, null::text from engine.let_overdue_in(v_now) as l;
  return query select 'operation', null::uuid, o.id::text from engine.wake_operations(v_now) as o (id);
end
$$;

-- Steps whose worker died: back to the queue. It is not their failure, so it costs none of their attempts.
create or replace function engine.requeue_expired_steps(p_now timestamptz)
  returns setof engine.open_steps
  language plpgsql
  volatile
as $$
declare
  v_steps engine.open_steps[];
begin
  with requeued as (
    update engine.open_steps as s
    set
      state = 'queued', deaths = s.deaths + 1, worker_id = null, lease_until = null, run_at = p_now,
      wake_at = p_now + interval '1 minute'
    where s.ctid = any (array(
      select e.ctid
      from engine.open_steps as e
      where e.state = 'running'
        and e.lease_until < p_now
        and e.deaths < 4
      order by e.lease_until
      limit 1000
      for update skip locked
    ))
    returning s.*
  )
  select array_agg(r) into v_steps from requeued as r;
  perform engine.add_jobs(array(select engine.job(s) from unnest(v_steps) as s));
  return query select s.* from unnest(v_steps) as s;
end
$$;

-- A step whose worker died five times is what kills them. A run that is locked is being moved on by somebody: the next
-- pass looks at it again, and this one waits for nobody while it holds locks.
create or replace function engine.fail_poisonous_steps(p_now timestamptz)
  returns setof engine.open_steps
  language plpgsql
  volatile
as $$
declare
  v_steps engine.open_steps[];
  v_results jsonb;
begin
  v_steps := array(
    select s
    from engine.open_steps as s
    join public.workflow_runs as r on r.id = s.run_id
    where s.state = 'running'
      and s.lease_until < p_now
      and s.deaths >= 4
    limit 1000
    for no key update of r skip locked
  );
  select jsonb_agg(jsonb_build_object(
    'runId', s.run_id, 'node', s.node, 'attempt', s.attempt, 'ok', false,
    'error', jsonb_build_object(
      'code', 'POISON', 'message', 'Five workers died while they ran this step.', 'retryable', false
    )
  ))
  into v_results
  from unnest(v_steps) as s;
  return query
    select (v_steps[c.index + 1]).*
    from engine.complete_steps(v_results, null) as c
    where c.outcome = 'recorded';
end
$$;

-- Gives a job to the steps whose time has come, and another one to those that nothing has taken for a minute: their
-- job was lost, or the queue is long; another wake-up does no harm. Steps that sleep are not looked at.
create or replace function engine.wake_steps()
  returns table (
    run_id uuid,
    node text
  )
  language plpgsql
  volatile
  security definer -- definer because engine.open_steps and the queue are closed to everybody
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for look-ups by key, however many steps sleep
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  v_steps engine.open_steps[];
begin
  with woken as (
    update engine.open_steps as s
    set wake_at = v_now + case when s.run_at is null then interval '1 hour' else interval '1 minute' end
    -- By their place in the table: whatever the planner believes, it reads no other row.
    where s.ctid = any (array(
      select d.ctid
      from engine.open_steps as d
      where d.wake_at <= v_now
      order by d.wake_at
      limit 1000
      for update skip locked
    ))
    returning s.*
  )
  select array_agg(w) into v_steps from woken as w;
  -- With a key: while such a wake-up waits in the queue, another one replaces it.
  perform engine.add_jobs(array(select engine.job(s, 0, 'due:') from unnest(v_steps) as s));
  return query select s.run_id, s.node from unnest(v_steps) as s;
end
$$;

create or replace function engine.end_overdue_runs(p_now timestamptz)
  returns setof uuid
  language plpgsql
  volatile
as $$
declare
  v_ids uuid[] := array(
    select r.id
    from public.workflow_runs as r
    where r.finished_at is null
      and r.deadline_at < p_now
    limit 1000
    for no key update skip locked
  );
begin
  if cardinality(v_ids) > 0 then
    return query
      select r.id
      from engine.end_runs(v_ids, 'run.failed', engine.blameless_error(
        'DEADLINE', 'The run did not finish before its deadline.'
      )) as r;
  end if;
end
$$;

-- Operations that no worker has gone on with for a minute.
create or replace function engine.wake_operations(p_now timestamptz)
  returns setof uuid
  language plpgsql
  volatile
as $$
declare
  v_operation public.run_operations;
begin
  for v_operation in
    select o.*
    from public.run_operations as o
    where o.finished_at is null
      and o.updated_at < p_now - interval '60 seconds'
    order by o.id
    limit 1000
    for no key update skip locked
  loop
    perform engine.operation_job(v_operation.id);
    update public.run_operations as o set updated_at = p_now where o.id = v_operation.id;
    return next v_operation.id;
  end loop;
end
$$;

comment on function engine.wake_steps() is
  'For workers, every second: gives a job to each step whose time has come, at most 1,000; any number of workers may call it at once. Example: select * from engine.wake_steps();';
comment on function engine.reconcile() is
  'Moves on what nobody holds any more: jobs and steps of dead workers, runs past their deadline, steps that nothing has taken for a minute. Workers call it every 10 seconds; any number may at once. One row per action. Example: select * from engine.reconcile();';

grant execute on function engine.reconcile(), engine.wake_steps() to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/reconcile.sql
--! Included 50_engine/repair.sql
-- kind: code
-- Repairs what cannot happen: runs that nothing would move, because a row was lost. monitor.stuck_runs() names them.

-- The number of a node's last attempt, so that a late result of it is told apart from that of the next one.
create or replace function engine.last_attempt(p_run_id uuid, p_node text)
  returns int
  language sql
  stable
as $$
  select coalesce(max((e.payload ->> 'attempt')::int), 0)
  from public.get_workflow_run_events(p_run_id) as e
  where e.type = 'step.started'
    and e.payload ->> 'node' = p_node
$$;

-- How many children a step has started already; null: none.
create or replace function engine.started_children(p_run_id uuid, p_node text)
  returns int
  language sql
  stable
as $$
  select max(r.parent_index) + 1
  from public.workflow_runs as r
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.id >= engine.uuid_floor(engine.uuid_time(p_run_id))
$$;

-- Opens again what the log says should be open: first what waits, for to the engine a wait that is not open is over.
create or replace function engine.repaired_move(p_loaded engine.loaded_run, p_now timestamptz)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_plan constant engine.plans := engine.plan_of(p_loaded.run);
  v_folded constant engine.folded := engine.fold(v_plan.nodes, v_plan.ids, p_loaded.log);
  v_opened engine.opened_step;
  v_waiting engine.log_entry;
  v_step engine.open_steps;
  v_move engine.move;
begin
  foreach v_waiting in array p_loaded.log loop
    continue when v_waiting.type <> 'step.waiting'
      or v_folded.states[array_position(v_plan.ids, v_waiting.payload ->> 'node')] <> 3;
    v_opened.node := v_waiting.payload ->> 'node';
    v_opened.state := 'waiting';
    v_opened.run_at := engine.wait_run_at(v_waiting.payload, p_now);
    v_step := engine.new_step(p_loaded.run, v_opened, p_now);
    v_step.next_index := engine.started_children((p_loaded.run).id, v_opened.node);
    p_loaded.steps := p_loaded.steps || v_step;
  end loop;
  v_move := engine.move_on(p_loaded, v_plan, null, p_now);
  for v_place in 1 .. coalesce(cardinality(v_move.steps), 0) loop
    v_move.steps[v_place].attempt := engine.last_attempt((p_loaded.run).id, v_move.steps[v_place].node);
  end loop;
  v_move.steps := v_move.steps || p_loaded.steps;
  v_move.is_changed := true;
  return v_move;
end
$$;

-- Puts a held run back into the queue of its workflow, as one that has just come.
create or replace function engine.hold_again(p_loaded engine.loaded_run, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_run constant public.workflow_runs := p_loaded.run;
  v_flow constant jsonb := (engine.plan_of(v_run)).settings -> 'flow';
  v_row engine.flow_runs;
begin
  v_row.run_id := v_run.id;
  v_row.organization_id := v_run.organization_id;
  v_row.workflow_id := v_run.workflow_id;
  v_row.version := v_run.version;
  v_row.priority := v_run.priority;
  v_row.is_held := true;
  v_row.concurrency_key := v_run.concurrency_key;
  v_row.rate_key := engine.flow_key(v_flow -> 'rateLimit', p_loaded.log[1].payload -> 'input');
  perform engine.insert_flow_run(v_row);
  perform engine.wake_held(v_run.id);
end
$$;

create or replace function engine.repair_runs()
  returns table (
    action text,
    run_id uuid
  )
  language plpgsql
  volatile
  security definer -- definer because runs and steps are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[] := array(
    select r.id
    from public.workflow_runs as r
    where r.status in ('running', 'waiting')
      and not exists (select from engine.open_steps as s where s.run_id = r.id)
      and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
    limit 100
    for no key update skip locked
  );
  v_loaded engine.loaded_run;
  v_moves engine.move[];
begin
  if cardinality(v_ids) > 0 then
    -- What is locked now may have moved on since it was looked for.
    v_ids := array(
      select i from unnest(v_ids) as i
      where not exists (select from engine.open_steps as s where s.run_id = i)
        and exists (select from public.workflow_runs as r where r.id = i and r.finished_at is null)
    );
    for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
      run_id := (v_loaded.run).id;
      action := 'open';
      if v_loaded.log[1].payload ? 'held' and not exists (
        select from unnest(v_loaded.log) as e where e.type = 'run.released'
      ) then
        action := 'hold';
        perform engine.hold_again(v_loaded, v_now);
      else
        v_moves := v_moves || engine.repaired_move(v_loaded, v_now);
      end if;
      return next;
    end loop;
    perform engine.write_moves(v_moves);
  end if;

  return query
    with lost as (
      delete from engine.flow_runs as f
      where not f.is_held
        and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
      returning f.run_id
    )
    select 'slot', l.run_id from lost as l;
end
$$;
comment on function engine.repair_runs() is
  'Repairs unfinished runs that nothing would move, at most 100, and slots that nobody holds; workers call it every minute. A row for each says what was done; no row is health. Example: select * from engine.repair_runs();';

grant execute on function engine.repair_runs() to flowgres_worker, flowgres_dba;
--! EndIncluded 50_engine/repair.sql
--! Included 50_engine/live.sql
-- kind: code
-- News of runs for those who wait: subscriptions and webhooks that answer with a result. NOTIFY carries ids only, since
-- any role may listen; whoever hears one reads again under its own rights.

create or replace function engine.listen(p_listener uuid)
  returns void
  language sql
  volatile
  security definer -- definer because engine.listeners is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  insert into engine.listeners (id, seen_at)
  values (p_listener, clock_timestamp())
  on conflict (id) do update set seen_at = excluded.seen_at;
$$;

create or replace function engine.unlisten(p_listener uuid)
  returns void
  language sql
  volatile
  security definer -- definer because engine.listeners is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  delete from engine.listeners as l
  where l.id = p_listener
    or l.seen_at < clock_timestamp() - interval '1 hour'
$$;

-- A transaction that notifies holds one lock of the whole server until it has committed: nobody listening means none.
create or replace function engine.notify(p_run_ids uuid[])
  returns void
  language plpgsql
  volatile
as $$
begin
  if exists (select from engine.listeners as l where l.seen_at > clock_timestamp() - interval '15 seconds') then
    perform pg_notify(
      'flowgres_runs',
      case when cardinality(p_run_ids) <= 100 then to_json(p_run_ids)::text else '"many"' end
    );
  end if;
end
$$;

-- What a webhook answers with, for many that wait at once.
create or replace function engine.run_answers(p_ids uuid[])
  returns table (
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb
  )
  language plpgsql
  stable
  security definer -- definer because the intake reads no table
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_from constant timestamptz := engine.uuid_time((select min(i::text)::uuid from unnest(p_ids) as i));
  -- Both bounds: planning for the partitions made ahead would take as long as all the rest.
  v_to constant timestamptz := clock_timestamp() + interval '1 day';
begin
  return query
  select
    r.id,
    r.status,
    (array_agg(e.payload -> 'output') filter (where e.type = 'run.succeeded'))[1],
    (array_agg(e.payload - 'node') filter (where e.type = 'run.responded'))[1],
    r.error
  from public.workflow_runs as r
  left join public.workflow_events as e
    on e.run_id = r.id
    and e.ts >= v_from
    and e.ts < v_to
    and e.type in ('run.succeeded', 'run.responded')
  where r.id = any (p_ids)
  group by r.id, r.status, r.error;
end
$$;

create or replace function engine.append_logs(p_logs jsonb)
  returns int
  language sql
  volatile
  security definer -- definer because logs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
  with written as (
    insert into public.workflow_run_logs (organization_id, run_id, node, level, message, context, ts)
    select
      (l ->> 'organizationId')::uuid,
      (l ->> 'runId')::uuid,
      l ->> 'node',
      coalesce(l ->> 'level', 'info'),
      left(coalesce(l ->> 'message', ''), 65536),
      l -> 'context',
      engine.now()
    from jsonb_array_elements(p_logs) as l
    returning 1
  )
  select count(*)::int from written
$$;

comment on function engine.listen(uuid) is
  'Says that a process listens on channel flowgres_runs for the next 15 seconds. Example: select engine.listen(gen_random_uuid());';
comment on function engine.unlisten(uuid) is
  'Says that it listens no more. Example: select engine.unlisten(''0190…'');';
comment on function engine.run_answers(uuid[]) is
  'For the intake: status, output, response and error of runs that webhooks wait for. Example: select * from engine.run_answers(array[''0190…'']::uuid[]);';
comment on function engine.append_logs(jsonb) is
  'For workers: writes lines to the logs of runs, [{"organizationId", "runId", "node", "level", "message", "context"}]; answers how many. Example: select engine.append_logs(''[]'');';

grant execute on function engine.listen(uuid), engine.unlisten(uuid) to flowgres_api, flowgres_intake;
grant execute on function engine.run_answers(uuid[]) to flowgres_intake, flowgres_dba;
grant execute on function engine.append_logs(jsonb) to flowgres_worker;
--! EndIncluded 50_engine/live.sql
--! Included 50_engine/verify.sql
-- kind: code
-- Replays the log of a run: what came from outside is fed to the engine again, and it must compute every other event
-- anew.

-- Whether an event came from outside. p_open: the steps that were open when it was written.
create or replace function engine.is_fed(p_entry engine.log_entry, p_open text[])
  returns boolean
  language sql
  immutable
as $$
  select case
    when p_entry.type in ('step.succeeded', 'step.failed') then p_entry.payload ->> 'node' = any (p_open)
    -- Without a node it was ended from outside: DEADLINE, POISON.
    when p_entry.type = 'run.failed' then not p_entry.payload ? 'node'
    else p_entry.type not in ('step.waiting', 'run.responded', 'run.succeeded')
  end
$$;

-- A replay: what was fed so far, what the engine says comes next, and which steps it has opened.
create type engine.replay as (
  log engine.log_entry[],
  expected engine.log_entry[],
  open text[],
  paused boolean
);

-- p_is_prelude: a step that the run has taken over comes next, before the graph moves at all.
create or replace function engine.feed(
  p_replay engine.replay,
  p_entry engine.log_entry,
  p_is_prelude boolean,
  p_plan engine.plans,
  p_run_id uuid
)
  returns engine.replay
  language plpgsql
  stable
as $$
declare
  v_node constant text := p_entry.payload ->> 'node';
  v_advanced engine.advanced;
  v_opened engine.opened_step;
begin
  p_replay.log := p_replay.log || p_entry;
  if p_entry.type in ('run.paused', 'run.resumed') then
    p_replay.paused := p_entry.type = 'run.paused';
    p_replay.expected := null;
  end if;
  -- A step that has begun, or is to be tried again, stays open, and nothing in the graph moves.
  if p_entry.type = 'step.started' or p_entry.payload ? 'retryAt' then
    return p_replay;
  end if;
  p_replay.open := array_remove(p_replay.open, v_node);
  if p_replay.paused is not true and not p_is_prelude then
    v_advanced := engine.advance(
      p_plan.nodes, p_plan.ids, p_run_id, p_replay.log, p_replay.open, null, p_plan.resume_key
    );
    p_replay.expected := v_advanced.entries;
    foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
      p_replay.open := p_replay.open || v_opened.node;
    end loop;
  end if;
  return p_replay;
end
$$;

-- The problem with an event that the engine should have computed; null when there is none.
create or replace function engine.difference(p_expected engine.log_entry, p_entry engine.log_entry)
  returns text
  language sql
  immutable
as $$
  select case
    when p_expected.type is null then 'replay does not give this event'
    when p_expected.type <> p_entry.type or p_expected.payload - 'ms' <> p_entry.payload - 'ms'
      then 'replay gives another event'
  end
$$;

create or replace function engine.verify_run(p_run_id uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_loaded engine.loaded_run;
  v_plan engine.plans;
  v_entry engine.log_entry;
  v_replay engine.replay := row('{}', null, '{}', false);
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_plan := engine.plan_of(v_loaded.run);
  if v_plan.version is null then
    problem := 'there is no such run, or its version was never compiled';
    return next;
    return;
  end if;
  foreach v_entry in array coalesce(v_loaded.log, '{}') loop
    seq := v_entry.seq;
    recorded := jsonb_build_object('type', v_entry.type, 'payload', v_entry.payload);
    computed := to_jsonb(v_replay.expected[1]) - 'seq' - 'ts';
    problem := case when v_entry.seq <> cardinality(v_replay.log) + 1 then 'the sequence has a gap' end;
    if engine.is_fed(v_entry, v_replay.open) then
      v_replay := engine.feed(
        v_replay, v_entry, coalesce(v_loaded.log[v_entry.seq + 1].type = 'step.reused', false), v_plan, p_run_id
      );
    else
      problem := coalesce(problem, engine.difference(v_replay.expected[1], v_entry));
      v_replay.expected := v_replay.expected[2:];
      v_replay.log := v_replay.log || v_entry;
    end if;
    if problem is not null then
      return next;
    end if;
  end loop;
  -- What a queued step of the engine's own will write is only put off.
  if cardinality(v_replay.expected) > 0
    and (engine.step_of(v_loaded.steps, v_replay.expected[1].payload ->> 'node')).state is distinct from 'queued'
  then
    seq := cardinality(v_replay.log) + 1;
    problem := 'a computed event was never recorded';
    recorded := null;
    computed := to_jsonb(v_replay.expected[1]) - 'seq' - 'ts';
    return next;
  end if;
end
$$;

comment on function engine.verify_run(uuid) is
  'Replays the log of a run. Each row is an event that the engine would not have written like that; no row means that it would. Example: select * from engine.verify_run(''0190…'');';

grant execute on function engine.verify_run(uuid) to flowgres_dba;
--! EndIncluded 50_engine/verify.sql
--! EndIncluded 50_engine/index.sql
--! Included 60_triggers/index.sql
-- Triggers: what starts runs from outside.

--! Included 60_triggers/tables.sql
-- kind: state
-- The addresses under which published workflows are called. Publishing writes them; nobody else does.

create table public.webhooks (
  organization_id uuid not null,
  workflow_id uuid not null,
  node text not null,
  version int not null,
  methods text[] not null,
  path text not null,
  segments text[] not null,
  properties jsonb not null,
  created_at timestamptz not null default now(),
  constraint webhooks_pkey primary key (organization_id, workflow_id, node),
  constraint webhooks_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version) on delete cascade,
  constraint webhooks_methods_check check (
    cardinality(methods) > 0
    and methods <@ array['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']
  ),
  constraint webhooks_path_check check (length(path) <= 512 and cardinality(segments) between 1 and 16),
  constraint webhooks_properties_check check (jsonb_typeof(properties) = 'object')
);
-- For the foreign key, and for the one query that every request makes: the organization's paths of that many segments.
create index webhooks_version_idx on public.webhooks (organization_id, workflow_id, version);
create index webhooks_segments_idx on public.webhooks (organization_id, cardinality(segments));
alter table public.webhooks enable row level security;

comment on table public.webhooks is
  'The webhook addresses of published workflows: /hooks/<webhook key of the organization><path>.';
comment on column public.webhooks.organization_id is 'The organization that owns the workflow.';
comment on column public.webhooks.workflow_id is 'The workflow that a request starts.';
comment on column public.webhooks.node is 'The webhookTrigger node.';
comment on column public.webhooks.version is 'The published version that the address belongs to.';
comment on column public.webhooks.methods is 'HTTP methods that it answers to, for example {POST}.';
comment on column public.webhooks.path is 'With :params, for example /orders/:id.';
comment on column public.webhooks.segments is 'The path cut at its slashes, a parameter as ":" alone: {orders,:}.';
comment on column public.webhooks.properties is 'The trigger''s properties: how it authenticates and answers.';
comment on column public.webhooks.created_at is 'When this version took the address.';
--! EndIncluded 60_triggers/tables.sql
--! Included 60_triggers/register_webhooks.sql
-- kind: code
-- Publishing takes the addresses of a workflow's webhook triggers, unpublishing gives them up.

-- The path in one form: no slash at the end, one slash between segments.
create or replace function engine.webhook_path(p_path text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select '/' || btrim(regexp_replace(p_path, '/+', '/', 'g'), '/')
$$;

-- What distinguishes addresses: parameters are equal whatever their names.
create or replace function engine.webhook_segments(p_path text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array_agg(case when s.segment like ':%' then ':' else s.segment end order by s.place)
  from unnest(string_to_array(ltrim(engine.webhook_path(p_path), '/'), '/')) with ordinality as s (segment, place)
$$;

create or replace function engine.check_webhook_path(p_node text, p_path text)
  returns void
  language plpgsql
  immutable
as $$
declare
  v_names text[];
begin
  v_names := array(
    select s.segment
    from unnest(string_to_array(ltrim(engine.webhook_path(p_path), '/'), '/')) as s (segment)
    where s.segment like ':%'
  );
  if p_path is null
    or length(p_path) > 512
    or cardinality(engine.webhook_segments(p_path)) > 16
    -- Unreserved characters only: nothing that a client or proxy might encode in another way.
    or engine.webhook_path(p_path) !~ '^(/(:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z0-9._~-]+))+$'
    or engine.webhook_path(p_path) ~ '/[.]{1,2}(/|$)'
    or cardinality(v_names) <> (select count(distinct n) from unnest(v_names) as n)
  then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format('Node %s: the path %L is not one that a webhook can have.', p_node, p_path),
      'Use up to 16 segments of letters, digits, ".", "_", "~" and "-", or :names, each name once: /orders/:id.',
      jsonb_build_object('node', p_node, 'path', p_path)
    );
  end if;
end
$$;

-- The methods of a trigger: its property `method`, one or several; POST when not given.
create or replace function engine.webhook_methods(p_properties jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    array_agg(distinct upper(m.method) order by upper(m.method)),
    '{POST}'
  )
  from jsonb_array_elements_text(
    case jsonb_typeof(p_properties -> 'method')
      when 'array' then p_properties -> 'method'
      when 'string' then jsonb_build_array(p_properties -> 'method')
      else '[]'
    end
  ) as m (method)
$$;

create or replace function engine.webhook_triggers(p_organization uuid, p_workflow uuid, p_version int)
  returns table (id text, properties jsonb)
  language sql
  stable
as $$
  select n.id, n.properties
  from engine.plans as p
  cross join unnest(p.nodes) as n
  where p.organization_id = p_organization
    and p.workflow_id = p_workflow
    and p.version = p_version
    and n.type like 'webhookTrigger@%'
    and not n.disabled
$$;

create or replace function engine.register_webhooks(p_organization uuid, p_workflow uuid, p_version int)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_taken record;
  v_count int;
begin
  -- One publication of an organization after the other, so that two that want the same address see each other. Not the
  -- organization's row: the workflow is locked already, and an organization comes before its workflows.
  perform pg_advisory_xact_lock(hashtextextended('flowgres.webhooks ' || p_organization, 0));
  perform engine.unregister_webhooks(p_organization, p_workflow);

  perform engine.check_webhook_path(n.id, n.properties ->> 'path')
  from engine.webhook_triggers(p_organization, p_workflow, p_version) as n;

  insert into public.webhooks (organization_id, workflow_id, node, version, methods, path, segments, properties)
  select
    p_organization,
    p_workflow,
    n.id,
    p_version,
    engine.webhook_methods(n.properties),
    engine.webhook_path(n.properties ->> 'path'),
    engine.webhook_segments(n.properties ->> 'path'),
    n.properties
  from engine.webhook_triggers(p_organization, p_workflow, p_version) as n;
  get diagnostics v_count = row_count;

  select mine.node, mine.path, other.node as other_node, w.id as other_workflow, w.name into v_taken
  from public.webhooks as mine
  join public.webhooks as other
    on other.organization_id = mine.organization_id
    and other.segments = mine.segments
    and other.methods && mine.methods
    and (other.workflow_id, other.node) <> (mine.workflow_id, mine.node)
  join public.workflows as w
    on w.organization_id = other.organization_id
    and w.id = other.workflow_id
  where mine.organization_id = p_organization
    and mine.workflow_id = p_workflow
  order by mine.node, other.node
  limit 1;
  if found then
    perform private.raise_error(
      'CONFLICT',
      format('The webhook path %s of node %s is taken by node %s of workflow %L.',
        v_taken.path, v_taken.node, v_taken.other_node, v_taken.name),
      'Choose another path or method, or unpublish the other workflow.',
      jsonb_build_object('node', v_taken.node, 'path', v_taken.path, 'workflowId', v_taken.other_workflow)
    );
  end if;
  return v_count;
end
$$;

create or replace function engine.unregister_webhooks(p_organization uuid, p_workflow uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_count int;
begin
  delete from public.webhooks as h
  where h.organization_id = p_organization
    and h.workflow_id = p_workflow;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
--! EndIncluded 60_triggers/register_webhooks.sql
--! Included 60_triggers/find_webhook.sql
-- kind: code
-- Which workflow a request is for.

create or replace function engine.find_webhook(p_organization_key text, p_method text, p_path text)
  returns jsonb
  language sql
  stable
  security definer -- definer because the intake reads no table
  set search_path = pg_catalog, pg_temp
as $$
  with request as materialized (
    select
      o.id as organization_id,
      string_to_array(btrim(p_path, '/'), '/') as segments
    from public.organizations as o
    where o.webhook_key = p_organization_key and o.deleted_at is null
  ),
  fitting as materialized (
    select h.*, r.segments as requested
    from request as r
    join public.webhooks as h
      on h.organization_id = r.organization_id
      and cardinality(h.segments) = cardinality(r.segments)
    where not exists (
      select
      from unnest(h.segments, r.segments) as s (wanted, given)
      where s.wanted <> s.given
        and s.wanted <> ':'
    )
      and '' <> all (r.segments)
  ),
  best as (
    select f.*
    from fitting as f
    where p_method = any (f.methods)
    -- A fixed segment comes before a parameter, the first difference decides.
    order by array(
      select s.segment = ':' from unnest(f.segments) with ordinality as s (segment, place) order by s.place
    )
    limit 1
  )
  select jsonb_build_object(
    'organizationId', b.organization_id,
    'workflowId', b.workflow_id,
    'version', b.version,
    'node', b.node,
    'path', b.path,
    'params', coalesce(
      (
        select jsonb_object_agg(substr(s.name, 2), s.given)
        from unnest(string_to_array(ltrim(b.path, '/'), '/'), b.requested) as s (name, given)
        where s.name like ':%'
      ),
      '{}'
    ),
    'properties', b.properties,
    'methods', to_jsonb(b.methods)
  )
  from best as b
  union all
  select jsonb_build_object(
    'methods', (select jsonb_agg(distinct m order by m) from fitting as f, unnest(f.methods) as m)
  )
  where exists (select from fitting)
    and not exists (select from best)
$$;
comment on function engine.find_webhook(text, text, text) is
  'The webhook that a request below /hooks/ is for, with the values of its :params; only {"methods"} when the path exists for other methods, null when it does not exist. Example: select engine.find_webhook(''3q2-7wAAAAAAAAAAAAAAAA'', ''POST'', ''/orders/42'');';

grant execute on function engine.find_webhook(text, text, text) to flowgres_intake;
--! EndIncluded 60_triggers/find_webhook.sql
--! Included 60_triggers/policies.sql
-- kind: code
-- Members see the addresses of their organization.

drop policy if exists webhooks_flowgres_user_select on public.webhooks;
create policy webhooks_flowgres_user_select on public.webhooks
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

grant select on public.webhooks to flowgres_user, flowgres_dba;
--! EndIncluded 60_triggers/policies.sql
--! Included 60_triggers/schedules.sql
-- kind: state
-- The schedules of published workflows. Publishing writes them, firing moves them on; nobody else does.

create table public.schedules (
  organization_id uuid not null,
  workflow_id uuid not null,
  node text not null,
  version int not null,
  properties jsonb not null,
  next_run_at timestamptz not null,
  fires_at timestamptz not null,
  last_run_at timestamptz,
  last_error jsonb,
  created_at timestamptz not null default now(),
  constraint schedules_pkey primary key (organization_id, workflow_id, node),
  constraint schedules_version_fkey
    foreign key (organization_id, workflow_id, version)
    references public.workflow_versions (organization_id, workflow_id, version) on delete cascade,
  constraint schedules_fires_at_check check (fires_at >= next_run_at),
  constraint schedules_properties_check check (jsonb_typeof(properties) = 'object')
);
create index schedules_version_idx on public.schedules (organization_id, workflow_id, version);
-- For the one query that the scheduler makes each second.
create index schedules_fires_at_idx on public.schedules (fires_at);
alter table public.schedules enable row level security;

comment on table public.schedules is 'When the scheduleTrigger nodes of published workflows fire.';
comment on column public.schedules.organization_id is 'The organization that owns the workflow.';
comment on column public.schedules.workflow_id is 'The workflow that is started.';
comment on column public.schedules.node is 'The scheduleTrigger node.';
comment on column public.schedules.version is 'The published version that the schedule belongs to.';
comment on column public.schedules.properties is
  'The trigger''s properties: cron or every, timezone (UTC when not given), catchUp (none when not given), jitterSeconds.';
comment on column public.schedules.next_run_at is 'The next time that the schedule names: scheduledAt of that run''s input.';
comment on column public.schedules.fires_at is 'When that run starts: next_run_at, later by a part of jitterSeconds.';
comment on column public.schedules.last_run_at is 'The last time that started a run; null before the first.';
comment on column public.schedules.last_error is 'Why the latest time started no run: {"code", "message"}; null when it did.';
comment on column public.schedules.created_at is 'When this version was published.';
--! EndIncluded 60_triggers/schedules.sql
--! Included 60_triggers/schedule_times.sql
-- kind: code
-- When a scheduleTrigger fires: by a cron expression, or every so many units.

insert into engine.node_types (name, version, kind, description, ports, inputs, properties)
values
  ('scheduleTrigger', 1, 'trigger', 'Starts a run by the clock.', '{main}', '{}', '{
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
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;

-- The first moment after a time that is a multiple of so many units, counted from 1970 (weeks from a Monday), so that
-- publishing again shifts nothing. Days, weeks and months begin at midnight on the wall.
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
      (v_first + make_interval(months => (v_months / p_n + 1) * p_n - 1970 * 12)) at time zone p_timezone
    else (v_first + ((v_today - v_first) / v_length + 1) * v_length)::timestamp at time zone p_timezone
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
  'The next times of a schedule, 5 when not said, at most 100. cron: five fields, @daily and its relatives, or "30 seconds"; timezone: the calendar that it is read in, for example Europe/Berlin. Errors: VALIDATION_FAILED (not a schedule, a day that never comes, an unknown time zone), INVALID_ARGUMENT. Example: select preview_schedule(''0 9 * * mon-fri'', ''Europe/Berlin'', 3);';

grant execute on function public.preview_schedule(text, text, int) to flowgres_user, flowgres_dba;
--! EndIncluded 60_triggers/schedule_times.sql
--! Included 60_triggers/register_schedules.sql
-- kind: code
-- Publishing sets the schedules of a workflow, unpublishing takes them away.

create or replace function engine.schedule_triggers(p_organization uuid, p_workflow uuid, p_version int)
  returns table (id text, properties jsonb)
  language sql
  stable
as $$
  select n.id, n.properties
  from engine.plans as p
  cross join unnest(p.nodes) as n
  where p.organization_id = p_organization
    and p.workflow_id = p_workflow
    and p.version = p_version
    and n.type like 'scheduleTrigger@%'
    and not n.disabled
$$;

-- The same for a tick whenever it is asked, so that a tick looked at twice starts at one time.
create or replace function engine.jitter(p_properties jsonb, p_workflow uuid, p_node text, p_tick timestamptz)
  returns interval
  language sql
  immutable
  parallel safe
as $$
  select make_interval(
    secs => (hashtextextended(format('%s %s %s', p_workflow, p_node, extract(epoch from p_tick)), 0) & 65535)
      / 65536.0 * coalesce((p_properties ->> 'jitterSeconds')::int, 0)
  )
$$;

create or replace function engine.register_schedules(p_organization uuid, p_workflow uuid, p_version int)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_limit constant int := 1000;
  v_count int;
begin
  -- One publication of an organization after the other, so that two together do not pass the limit.
  perform pg_advisory_xact_lock(hashtextextended('flowgres.schedules ' || p_organization, 0));
  perform engine.unregister_schedules(p_organization, p_workflow);

  insert into public.schedules (organization_id, workflow_id, node, version, properties, next_run_at, fires_at)
  select
    p_organization, p_workflow, n.id, p_version, n.properties, t.tick,
    t.tick + engine.jitter(n.properties, p_workflow, n.id, t.tick)
  from engine.schedule_triggers(p_organization, p_workflow, p_version) as n
  cross join lateral engine.next_tick(n.properties, engine.now()) as t (tick);
  get diagnostics v_count = row_count;

  if v_count > 0
    and (select count(*) from public.schedules as s where s.organization_id = p_organization) > v_limit
  then
    perform private.raise_error(
      'LIMIT_REACHED',
      format('An organization has at most %s schedules.', v_limit),
      'Unpublish workflows that need not run, or let one schedule start several things.',
      jsonb_build_object('limit', v_limit)
    );
  end if;
  return v_count;
end
$$;
comment on function engine.register_schedules(uuid, uuid, int) is
  'Replaces the schedules of a workflow by those of a version. Errors: LIMIT_REACHED (1,000 of an organization).';

create or replace function engine.unregister_schedules(p_organization uuid, p_workflow uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_count int;
begin
  delete from public.schedules as s
  where s.organization_id = p_organization
    and s.workflow_id = p_workflow;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;

drop policy if exists schedules_flowgres_user_select on public.schedules;
create policy schedules_flowgres_user_select on public.schedules
  for select to flowgres_user
  using (organization_id = (select public.current_organization_id()));

grant select on public.schedules to flowgres_user, flowgres_dba;
--! EndIncluded 60_triggers/register_schedules.sql
--! Included 60_triggers/fire_schedules.sql
-- kind: code
-- Starts the runs of schedules that are due. The run and the schedule's next time are one transaction, and the tick is
-- the run's idempotency key: whoever calls this, at once or after a crash, a tick starts one run.

-- What becomes of a tick. One that is a minute late has been missed; then catchUp says whether it still runs, and from
-- when on the schedule goes on: from the tick itself, or past all that were missed with it.
create or replace function engine.judge_tick(
  p_schedule public.schedules,
  p_now timestamptz,
  out is_run boolean,
  out go_on_after timestamptz
)
  language plpgsql
  immutable
as $$
declare
  v_patience constant interval := '1 minute';
  v_catch_up constant text := coalesce(p_schedule.properties ->> 'catchUp', 'none');
begin
  is_run := true;
  go_on_after := p_schedule.next_run_at;
  if p_schedule.fires_at < p_now - v_patience then
    is_run := v_catch_up <> 'none';
    -- As old as an idempotency key may get; a schedule that was away for longer does not run for hours.
    go_on_after := greatest(
      go_on_after, p_now - case v_catch_up when 'all' then interval '7 days' else v_patience end
    );
  end if;
end
$$;

create or replace function engine.tick_request(p_schedule public.schedules, p_now timestamptz)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_schedule.organization_id,
    'workflowId', p_schedule.workflow_id,
    'version', p_schedule.version,
    'mode', 'schedule',
    'trigger', p_schedule.node,
    'key', format('schedule %s %s', tick, p_schedule.node),
    -- firedAt differs when a tick is tried again, the tick does not.
    'fingerprint', tick,
    'input', jsonb_build_object(
      'scheduledAt', tick,
      'firedAt', engine.iso_time(p_now),
      'timezone', coalesce(p_schedule.properties ->> 'timezone', 'UTC')
    )
  )
  from engine.iso_time(p_schedule.next_run_at) as tick
$$;

-- Starts one run; an error that start_runs did not foresee is the tick's own, the others go on.
create or replace function engine.start_tick(p_schedule public.schedules, p_now timestamptz)
  returns jsonb
  language plpgsql
  volatile
as $$
declare
  v_answer record;
begin
  select * into v_answer
  from engine.start_runs(jsonb_build_array(engine.tick_request(p_schedule, p_now)));
  return case when v_answer.run_id is null then v_answer.error end;
exception
  when others then
    return jsonb_build_object('code', 'INTERNAL', 'message', sqlerrm);
end
$$;

create or replace function engine.fire_schedules(p_limit int default 100)
  returns int
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_schedule public.schedules;
  v_verdict record;
  v_tick timestamptz;
  v_error jsonb;
  v_count int := 0;
begin
  for v_schedule in
    select s.*
    from public.schedules as s
    where s.fires_at <= v_now
      -- Those of a deleted organization wait for its return, or go with it.
      and exists (
        select from public.organizations as o where o.id = s.organization_id and o.deleted_at is null
      )
    order by s.fires_at
    limit p_limit
    for no key update skip locked
  loop
    select * into v_verdict from engine.judge_tick(v_schedule, v_now);
    v_error := case when v_verdict.is_run then engine.start_tick(v_schedule, v_now) else v_schedule.last_error end;
    v_tick := engine.next_tick(v_schedule.properties, v_verdict.go_on_after);
    update public.schedules as s
    set
      next_run_at = v_tick,
      fires_at = v_tick + engine.jitter(s.properties, s.workflow_id, s.node, v_tick),
      last_run_at = case when v_verdict.is_run and v_error is null then v_schedule.next_run_at else s.last_run_at end,
      last_error = v_error
    where s.organization_id = v_schedule.organization_id
      and s.workflow_id = v_schedule.workflow_id
      and s.node = v_schedule.node;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function engine.fire_schedules(int) is
  'Starts the runs of schedules that are due, one tick of each and at most p_limit, and returns how many it looked at: call it again while that is p_limit, or more than none and schedules catch up. Safe to call from many sessions at once.';

grant execute on function engine.fire_schedules(int) to flowgres_worker, flowgres_dba;
--! EndIncluded 60_triggers/fire_schedules.sql
--! EndIncluded 60_triggers/index.sql
--! Included 70_cron/index.sql
-- The scheduler of SQL commands, with pg_cron's interface, and the jobs that keep Flowgres in order.
-- Where the extension pg_cron is, schema cron is its own and only the list of jobs is ours. A migration that changes
-- one of the conditional files repeats the condition around its include.

--! Included 70_cron/expired.sql
-- kind: code
-- What has served its time, a batch at a time: keys of starts, sessions, tokens, codes, mails, counters.

create or replace function private.delete_expired_secrets(p_limit int)
  returns table (thing text, deleted bigint)
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  -- So long one still sees that a token has expired, and which.
  v_grace constant interval := '30 days';
begin
  delete from private.sessions as s
  where s.id in (
    select e.id from private.sessions as e where e.expires_at < v_now order by e.expires_at limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'sessions';
  return next;

  delete from private.api_tokens as t
  where t.id in (
    select e.id from private.api_tokens as e where least(e.expires_at, e.revoked_at) < v_now - v_grace limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'API tokens';
  return next;

  delete from private.email_codes as c
  where c.id in (
    select e.id
    from private.email_codes as e
    where e.expires_at < v_now - interval '1 day'
    order by e.expires_at
    limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'e-mail codes';
  return next;

  delete from private.outbox as o
  where o.id in (
    select e.id
    from private.outbox as e
    where e.created_at < v_now - interval '7 days'
    order by e.created_at
    limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'mails';
  return next;

  delete from private.throttles as t
  where t.key in (
    select e.key from private.throttles as e where e.resets_at < v_now order by e.resets_at limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'throttles';
  return next;

  -- Full again by now: a new one would be the same.
  delete from private.rate_buckets as b where b.filled_at < v_now - interval '1 hour';
  get diagnostics deleted = row_count;
  thing := 'rate buckets';
  return next;
end
$$;

create or replace function engine.delete_expired(p_limit int default 10000)
  returns table (thing text, deleted bigint)
  language plpgsql
  volatile
  security definer -- definer because sessions, tokens and keys are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
begin
  delete from engine.start_keys as k
  where (k.organization_id, k.workflow_id, k.key) in (
    select e.organization_id, e.workflow_id, e.key
    from engine.start_keys as e
    where e.expires_at < v_now
    order by e.expires_at
    limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'start keys';
  return next;

  delete from private.usage_counters as c
  where (c.organization_id, c.owner_id, c.metric, c.period_start) in (
    select e.organization_id, e.owner_id, e.metric, e.period_start
    from private.usage_counters as e
    where e.period_start > '-infinity' and e.period_start < v_now - interval '2 months'
    limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'usage counters';
  return next;

  return query select * from private.delete_expired_secrets(p_limit);
end
$$;
comment on function engine.delete_expired(int) is
  'Deletes expired idempotency keys and sessions, API tokens that expired or were revoked 30 days ago, e-mail codes, mails of last week, rate buckets that are full again, and counters of attempts and of periods 2 months ago; at most p_limit of each (10,000), the rest in the next hour. Example: select * from engine.delete_expired();';

grant execute on function engine.delete_expired(int) to flowgres_maintenance, flowgres_dba;
--! EndIncluded 70_cron/expired.sql
--! Included 70_cron/maintenance.sql
-- kind: code
-- The jobs that keep Flowgres in order. `flowgres migrate` schedules them, by pg_cron or by our own scheduler, as
-- flowgres_maintenance; docs/scheduling.md has what to do when one of them fails.

create or replace function engine.maintenance_jobs()
  returns table (jobname text, schedule text, command text)
  language sql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
  values
    ('flowgres-partitions', '0 2 * * *', 'select * from partitions.maintain()'),
    ('flowgres-retention', '20 2 * * *', 'select * from partitions.retire()'),
    ('flowgres-statistics', '40 2 * * *', 'select partitions.analyze()'),
    ('flowgres-split', '30 * * * *', 'call partitions.split()'),
    ('flowgres-archives', '30 2 * * *', 'select * from partitions.seal_archives()'),
    ('flowgres-audit-seals', '* * * * *', 'select * from engine.seal_audit()'),
    ('flowgres-subscriptions', '5 * * * *', 'select * from engine.advance_subscriptions()'),
    ('flowgres-expired', '10 * * * *', 'select * from engine.delete_expired()'),
    ('flowgres-purge', '30 3 * * *', 'call engine.purge_organizations()'),
    (
      'flowgres-cron-history',
      '0 3 * * *',
      $command$delete from cron.job_run_details where end_time < now() - interval '7 days'$command$
    )
$$;
comment on function engine.maintenance_jobs() is
  'The jobs of Flowgres itself as they are scheduled when they are missing; cron.job has them as they are. Times are in cron.timezone.';

grant usage on schema engine, partitions to flowgres_maintenance;
grant execute on function
  engine.maintenance_jobs(),
  partitions.maintain(regclass, boolean),
  partitions.retire(regclass, interval, boolean),
  partitions.seal_archives()
  to flowgres_maintenance, flowgres_dba;
--! EndIncluded 70_cron/maintenance.sql

do $condition$
begin
  if not exists (select from pg_extension where extname = 'pg_cron') then
    execute $files$
--! Included 70_cron/tables.sql
-- kind: state
-- The tables of pg_cron, column for column, and beside them what the runner has to remember.

create schema cron;
comment on schema cron is 'A scheduler with pg_cron''s interface. Not created where the real pg_cron is.';

create sequence cron.jobid_seq;
create sequence cron.runid_seq;

create table cron.job (
  jobid bigint not null default nextval('cron.jobid_seq'),
  schedule text not null,
  command text not null,
  nodename text not null default 'localhost',
  nodeport int not null default inet_server_port(),
  database text not null default current_database(),
  username text not null default current_user,
  active boolean not null default true,
  jobname text,
  constraint job_pkey primary key (jobid),
  constraint jobname_username_uniq unique (jobname, username)
);
alter table cron.job enable row level security;
comment on table cron.job is 'The jobs. Changed by cron.schedule, cron.alter_job and cron.unschedule.';

create table cron.job_run_details (
  jobid bigint,
  runid bigint not null default nextval('cron.runid_seq'),
  job_pid int,
  database text,
  username text,
  command text,
  status text,
  return_message text,
  start_time timestamptz,
  end_time timestamptz,
  constraint job_run_details_pkey primary key (runid)
);
alter table cron.job_run_details enable row level security;
comment on table cron.job_run_details is
  'What became of each run: starting, running, succeeded or failed. The newest 100,000 are kept, or cron.history_rows.';

-- No foreign key: who truncates cron.job, as pg_cron allows, must not need to know this table.
create table cron.job_state (
  jobid bigint not null,
  schedule text not null,
  spec engine.cron_spec,
  timezone text not null,
  next_run_at timestamptz,
  queued int not null default 0,
  queued_at timestamptz,
  runid bigint,
  constraint job_state_pkey primary key (jobid),
  constraint job_state_queued_check check (queued >= 0 and (queued = 0 or queued_at is not null))
);
create index job_state_next_run_at_idx on cron.job_state (next_run_at);
create index job_state_queued_at_idx on cron.job_state (queued_at) where queued > 0;
create index job_state_runid_idx on cron.job_state (runid) where runid is not null;
alter table cron.job_state enable row level security;
comment on table cron.job_state is
  'Where the runner is with each active job: when it is due next, how many runs of it wait, and the one that runs.';

create table cron.runner (
  only_row boolean not null default true,
  server_started_at timestamptz not null,
  constraint runner_pkey primary key (only_row),
  constraint runner_only_row_check check (only_row)
);
alter table cron.runner enable row level security;
comment on table cron.runner is 'The start of the server that @reboot jobs have run for.';

create type cron.task as (
  action text, -- run or cancel
  runid bigint,
  command text,
  database text,
  username text
);
--! EndIncluded 70_cron/tables.sql
--! Included 70_cron/checks.sql
-- kind: code
-- What pg_cron refuses, in its words and with its SQLSTATEs.

create or replace function cron.raise_error(
  p_message text,
  p_sqlstate text default 'XX000',
  p_hint text default null,
  p_detail text default null
)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_hint is not null then
    raise exception using errcode = p_sqlstate, message = p_message, hint = p_hint;
  elsif p_detail is not null then
    raise exception using errcode = p_sqlstate, message = p_message, detail = p_detail;
  end if;
  raise exception using errcode = p_sqlstate, message = p_message;
end
$$;

-- A setting of pg_cron: from postgresql.conf, or `alter database … set cron.timezone = 'Europe/Berlin'`.
create or replace function cron.setting(p_name text, p_default text)
  returns text
  language plpgsql
  stable
as $$
begin
  return coalesce(nullif(current_setting('cron.' || p_name, true), ''), p_default);
exception
  -- Where the library of pg_cron is loaded but not the extension created, its settings are the superuser's.
  when insufficient_privilege then
    return p_default;
end
$$;

-- Who asks. current_user is the owner in a definer function; the role that was set is not, and cannot be made up.
create or replace function cron.caller()
  returns text
  language sql
  stable
as $$
  select coalesce(nullif(current_setting('role'), 'none'), session_user)
$$;

create or replace function cron.is_superuser(p_name text)
  returns boolean
  language sql
  stable
as $$
  select exists (select from pg_roles as r where r.rolname = p_name and r.rolsuper)
$$;

create or replace function cron.check_schedule(p_schedule text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if engine.parse_cron(p_schedule) is null then
    perform cron.raise_error(
      format('invalid schedule: %s', p_schedule),
      '22023',
      'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds'''
    );
  end if;
end
$$;

create or replace function cron.check_given(p_name text, p_is_given boolean)
  returns void
  language plpgsql
  immutable
as $$
begin
  if not p_is_given then
    perform cron.raise_error(format('%s can not be NULL', p_name));
  end if;
end
$$;

create or replace function cron.check_role(p_name text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_can_log_in constant boolean := (select r.rolcanlogin from pg_roles as r where r.rolname = p_name);
begin
  if v_can_log_in is null then
    perform cron.raise_error(format('role "%s" does not exist', p_name));
  elsif not v_can_log_in then
    perform cron.raise_error(
      format('role "%s" can not log in', p_name),
      p_detail => 'Jobs may only be run by roles that have the LOGIN attribute.'
    );
  end if;
end
$$;

-- Whether jobs of that role may run in that database.
create or replace function cron.check_target(p_database text, p_username text)
  returns void
  language plpgsql
  stable
as $$
begin
  if not exists (select from pg_database as d where d.datname = p_database) then
    perform cron.raise_error(format('database "%s" does not exist', p_database), '3D000');
  elsif not has_database_privilege(p_username, p_database, 'connect') then
    perform cron.raise_error(format('User %s does not have CONNECT privilege on %s', p_username, p_database));
  elsif cron.is_superuser(p_username) and not cron.setting('enable_superuser_jobs', 'on')::boolean then
    perform cron.raise_error(
      'cannot schedule jobs as superuser',
      '42501',
      p_detail => 'Scheduling jobs as superuser is disallowed when cron.enable_superuser_jobs is set to off.'
    );
  end if;
end
$$;
--! EndIncluded 70_cron/checks.sql
--! Included 70_cron/jobs.sql
-- kind: code
-- Scheduling and unscheduling, as pg_cron has it.

create or replace function cron.save_job(
  p_name text,
  p_schedule text,
  p_command text,
  p_database text,
  p_username text,
  p_active boolean
)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_id bigint;
begin
  perform cron.check_schedule(p_schedule);
  perform cron.check_target(p_database, p_username);
  insert into cron.job as j (schedule, command, nodeport, database, username, active, jobname)
  values (
    p_schedule, p_command, coalesce(inet_server_port(), current_setting('port')::int), p_database, p_username, p_active,
    p_name
  )
  on conflict on constraint jobname_username_uniq do update
  set schedule = excluded.schedule, command = excluded.command, database = excluded.database
  returning j.jobid into v_id;
  return v_id;
end
$$;

create or replace function cron.schedule(schedule text, command text)
  returns bigint
  language plpgsql
  volatile
  strict
  security definer -- definer because everybody may schedule, and nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  return cron.save_job(null, schedule, command, current_database(), cron.caller(), true);
end
$$;
comment on function cron.schedule(text, text) is 'schedule a pg_cron job';

create or replace function cron.schedule(job_name text, schedule text, command text)
  returns bigint
  language plpgsql
  volatile
  security definer -- definer because everybody may schedule, and nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform cron.check_given('job_name', job_name is not null);
  perform cron.check_given('schedule', schedule is not null);
  perform cron.check_given('command', command is not null);
  return cron.save_job(job_name, schedule, command, current_database(), cron.caller(), true);
end
$$;
comment on function cron.schedule(text, text, text) is 'schedule a pg_cron job';

create or replace function cron.schedule_in_database(
  job_name text,
  schedule text,
  command text,
  database text,
  username text default null,
  active boolean default true
)
  returns bigint
  language plpgsql
  volatile
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform cron.check_given('job_name', job_name is not null);
  perform cron.check_given('schedule', schedule is not null);
  perform cron.check_given('command', command is not null);
  perform cron.check_given('database', database is not null);
  perform cron.check_given('active', active is not null);
  perform cron.check_schedule(schedule);
  if username is not null then
    if not cron.is_superuser(cron.caller()) then
      perform cron.raise_error('must be superuser to create a job for another role');
    end if;
    perform cron.check_role(username);
  end if;
  return cron.save_job(job_name, schedule, command, database, coalesce(username, cron.caller()), active);
end
$$;
comment on function cron.schedule_in_database(text, text, text, text, text, boolean) is 'schedule a pg_cron job';

create or replace function cron.unschedule(job_id bigint)
  returns boolean
  language plpgsql
  volatile
  strict
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_username constant text := (select j.username from cron.job as j where j.jobid = job_id);
begin
  if v_username is null then
    perform cron.raise_error(format('could not find valid entry for job %s', job_id));
  elsif v_username <> cron.caller() and not has_table_privilege(cron.caller(), 'cron.job', 'delete') then
    perform cron.raise_error('permission denied for table job', '42501');
  end if;
  delete from cron.job as j where j.jobid = job_id;
  return true;
end
$$;
comment on function cron.unschedule(bigint) is 'unschedule a pg_cron job';

create or replace function cron.unschedule(job_name text)
  returns boolean
  language plpgsql
  volatile
  strict
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  delete from cron.job as j where j.jobname = job_name and j.username = cron.caller();
  if not found then
    perform cron.raise_error(format('could not find valid entry for job ''%s''', job_name));
  end if;
  return true;
end
$$;
comment on function cron.unschedule(text) is 'unschedule a pg_cron job';
--! EndIncluded 70_cron/jobs.sql
--! Included 70_cron/alter_job.sql
-- kind: code
-- Changing a job, and telling the runner of every change.

create or replace function cron.alter_job(
  job_id bigint,
  schedule text default null,
  command text default null,
  database text default null,
  username text default null,
  active boolean default null
)
  returns void
  language plpgsql
  volatile
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_caller constant text := cron.caller();
begin
  perform cron.check_given('job_id', job_id is not null);
  if schedule is not null then
    perform cron.check_schedule(schedule);
  end if;
  if username is not null then
    if not cron.is_superuser(v_caller) then
      perform cron.raise_error('must be superuser to alter username');
    end if;
    perform cron.check_role(username);
  end if;
  if coalesce(database, username) is not null then
    perform cron.check_target(coalesce(database, current_database()), coalesce(username, v_caller));
  end if;
  if coalesce(schedule, command, database, username, active::text) is null then
    perform cron.raise_error(
      'no updates specified',
      p_hint => 'You must specify at least one job attribute to change when calling alter_job'
    );
  end if;

  update cron.job as j
  set
    schedule = coalesce(alter_job.schedule, j.schedule),
    command = coalesce(alter_job.command, j.command),
    database = coalesce(alter_job.database, j.database),
    username = coalesce(alter_job.username, j.username),
    active = coalesce(alter_job.active, j.active)
  where j.jobid = job_id
    and (j.username = v_caller or cron.is_superuser(v_caller));
  if not found then
    perform cron.raise_error(format('Job %s does not exist or you don''t own it', job_id));
  end if;
end
$$;
comment on function cron.alter_job(bigint, text, text, text, text, boolean) is
  'Alter the job identified by job_id. Any option left as NULL will not be modified.';

create or replace function cron.job_cache_invalidate()
  returns trigger
  language plpgsql
  volatile
as $$
begin
  -- However many statements a transaction has, the runner hears of it once, when it is committed.
  perform pg_notify('flowgres_cron', '');
  return null;
end
$$;
comment on function cron.job_cache_invalidate() is 'invalidate job cache';

create or replace trigger cron_job_cache_invalidate
  after insert or update or delete or truncate on cron.job
  for each statement execute function cron.job_cache_invalidate();
--! EndIncluded 70_cron/alter_job.sql
--! Included 70_cron/calendar.sql
-- kind: code
-- Questions about schedules; pg_cron has no answers to them.

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
--! EndIncluded 70_cron/calendar.sql
--! Included 70_cron/queue.sql
-- kind: code
-- What is due, and how much of it after a pause. Late by up to five minutes, every run that was missed is made up for,
-- as it is after a change of the leader; up to three hours, those at a fixed time are, and the others run once; after
-- that none is.

create or replace function cron.due_runs(
  p_state cron.job_state,
  p_now timestamptz,
  out runs int,
  out next_run_at timestamptz
)
  language plpgsql
  stable
as $$
declare
  v_late constant interval := p_now - p_state.next_run_at;
  v_seconds constant int := (p_state.spec).seconds;
begin
  runs := 0;
  next_run_at := p_state.next_run_at;
  if v_seconds is not null then
    -- A job of every few seconds that falls behind itself, or sleeps through more than a change of the leader, runs
    -- once.
    runs := floor(extract(epoch from v_late) / v_seconds) + 1;
    next_run_at := next_run_at + make_interval(secs => runs * v_seconds);
    runs := case when p_state.runid is not null or v_late > interval '5 seconds' then 1 else runs end;
    return;
  elsif v_late > interval '3 hours' then
    next_run_at := engine.next_cron_run(p_state.spec, p_now - interval '1 minute', p_state.timezone);
  elsif v_late > interval '5 minutes' and (p_state.spec).is_wild then
    runs := 1;
    next_run_at := engine.next_cron_run(p_state.spec, p_now, p_state.timezone);
  end if;
  while next_run_at <= p_now loop
    runs := runs + 1;
    next_run_at := engine.next_cron_run(p_state.spec, next_run_at, p_state.timezone);
  end loop;
end
$$;

create or replace function cron.queue_due(p_now timestamptz)
  returns void
  language sql
  volatile
as $$
  update cron.job_state as s
  set
    -- Runs at a fixed time wait for each other; of those every few seconds one waits at most.
    queued = case when (s.spec).seconds is not null and s.runid is not null then 1 else s.queued + d.runs end,
    queued_at = case when s.queued > 0 then s.queued_at else s.next_run_at end,
    next_run_at = d.next_run_at
  from cron.job_state as due
  cross join lateral cron.due_runs(due, p_now) as d
  where due.next_run_at <= p_now
    and s.jobid = due.jobid
$$;

-- Makes the runner's view of the jobs that of cron.job. A job that is new or changed is due from now on.
create or replace function cron.sync_jobs(p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_timezone constant text := cron.setting('timezone', 'GMT');
begin
  delete from cron.job_state as s
  where s.runid is null
    and not exists (select from cron.job as j where j.jobid = s.jobid and j.active);
  update cron.job_state as s
  set queued = 0, next_run_at = null, schedule = ''
  where s.runid is not null
    and not exists (select from cron.job as j where j.jobid = s.jobid and j.active);

  insert into cron.job_state as s (jobid, schedule, spec, timezone, next_run_at)
  select j.jobid, j.schedule, c.spec, v_timezone, engine.next_cron_run(c.spec, p_now, v_timezone)
  from cron.job as j
  left join cron.job_state as known using (jobid)
  cross join lateral (select engine.parse_cron(j.schedule) as spec offset 0) as c
  where j.active
    and cron.setting('launch_active_jobs', 'on')::boolean
    and (known.schedule, known.timezone) is distinct from (j.schedule, v_timezone)
  on conflict (jobid) do update
  set schedule = excluded.schedule, spec = excluded.spec, timezone = excluded.timezone,
    next_run_at = excluded.next_run_at;
end
$$;

-- The clock was put back. By less than three hours, what runs at a fixed time has run; else everything starts anew.
create or replace function cron.follow_clock_back(p_now timestamptz, p_last timestamptz)
  returns void
  language sql
  volatile
as $$
  update cron.job_state as s
  set next_run_at = engine.next_cron_run(s.spec, p_now, s.timezone)
  where s.next_run_at > p_now
    and ((s.spec).is_wild or (s.spec).seconds is not null or p_last - p_now >= interval '3 hours')
$$;
--! EndIncluded 70_cron/queue.sql
--! Included 70_cron/runs.sql
-- kind: code
-- The life of a run: starting (taken from the queue), running (its command is sent), succeeded or failed.

-- Takes runs from the queue, the longest waiting first, no two of one job and at most cron.max_running_jobs at a time.
create or replace function cron.start_queued()
  returns setof cron.task
  language sql
  volatile
as $$
  with room as (
    select greatest(cron.setting('max_running_jobs', '32')::int, 1) - count(*) as runs
    from cron.job_state as s
    where s.runid is not null
  ),
  taken as (
    update cron.job_state as s
    set queued = s.queued - 1, runid = nextval('cron.runid_seq')
    where s.jobid in (
      select q.jobid
      from cron.job_state as q
      where q.queued > 0 and q.runid is null
      order by q.queued_at
      limit (select greatest(r.runs, 0) from room as r)
    )
    returning s.jobid, s.runid
  ),
  started as (
    insert into cron.job_run_details (jobid, runid, database, username, command, status)
    select j.jobid, t.runid, j.database, j.username, j.command, 'starting'
    from taken as t
    join cron.job as j using (jobid)
    returning *
  )
  select 'run', s.runid, s.command, s.database, s.username
  from started as s
  order by s.runid
$$;

create or replace function cron.begin_run(p_runid bigint, p_pid int)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
begin
  update cron.job_run_details as d
  set status = 'running', job_pid = p_pid, start_time = clock_timestamp()
  where d.runid = p_runid and d.status = 'starting';
  return found;
end
$$;
comment on function cron.begin_run(bigint, int) is
  'Called right before the command is sent; false when the run is no longer this runner''s.';

create or replace function cron.end_run(p_runid bigint, p_status text, p_message text)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- In the order in which everybody takes the tables: the state of jobs, then their runs.
  update cron.job_state as s set runid = null where s.runid = p_runid;
  update cron.job_run_details as d
  set
    status = p_status,
    return_message = p_message,
    -- What never began has no end, in pg_cron.
    end_time = case when d.start_time is not null then clock_timestamp() end
  where d.runid = p_runid and d.status in ('starting', 'running');
  -- One comes, one goes: the history never grows beyond its cap.
  delete from cron.job_run_details as d
  where d.runid <= p_runid - cron.setting('history_rows', '100000')::bigint
    and d.status in ('succeeded', 'failed');
end
$$;
comment on function cron.end_run(bigint, text, text) is 'Records what a run came to: succeeded or failed, and what the server said.';

-- Runs of a leader that is gone. One whose command was not sent goes back to the queue; one whose session still works
-- is left to it; of any other nobody knows the end.
create or replace function cron.settle_orphans(p_running bigint[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_run cron.job_run_details;
begin
  for v_run in
    select d.*
    from cron.job_state as s
    join cron.job_run_details as d on d.runid = s.runid
    where s.runid is not null
      and s.runid <> all (p_running)
  loop
    if v_run.status = 'starting' then
      delete from cron.job_run_details as d where d.runid = v_run.runid;
      update cron.job_state as s
      set runid = null, queued = s.queued + 1, queued_at = coalesce(s.queued_at, clock_timestamp())
      where s.runid = v_run.runid;
    elsif not exists (
      select from pg_stat_activity as a
      where a.pid = v_run.job_pid and a.datname = v_run.database and a.usename = v_run.username
    ) then
      perform cron.end_run(v_run.runid, 'failed', 'connection lost');
    end if;
  end loop;
end
$$;
--! EndIncluded 70_cron/runs.sql
--! Included 70_cron/tick.sql
-- kind: code
-- What the leader calls: once when it begins to lead, then every second and whenever something may have changed.

-- After a restart of the server nothing runs any more, and @reboot is due.
create or replace function cron.lead()
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform cron.sync_jobs(engine.now());
  insert into cron.runner as r (server_started_at) values (pg_postmaster_start_time())
  on conflict on constraint runner_pkey do update set server_started_at = excluded.server_started_at
  where r.server_started_at <> excluded.server_started_at;
  if not found then
    return false;
  end if;
  update cron.job_run_details as d
  set status = 'failed', return_message = 'server restarted'
  where d.runid in (select s.runid from cron.job_state as s where s.runid is not null)
    and d.status in ('starting', 'running');
  update cron.job_state as s set runid = null where s.runid is not null;
  update cron.job_state as s set queued = 1, queued_at = clock_timestamp() where (s.spec).at_start;
  return true;
end
$$;
comment on function cron.lead() is 'Called by a runner that has become the leader; true after a restart of the server.';

create or replace function cron.tick(p_running bigint[], p_changed boolean)
  returns setof cron.task
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
  -- Of thousands of jobs few are due or running, whatever the statistics of last night say.
  set enable_seqscan = off
  set enable_hashjoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  -- The leader's session remembers it; nobody else needs to.
  v_last constant timestamptz := nullif(current_setting('cron.last_tick', true), '');
begin
  if p_changed then
    perform cron.sync_jobs(v_now);
  end if;
  if v_now < v_last then
    perform cron.follow_clock_back(v_now, v_last);
  end if;
  perform set_config('cron.last_tick', v_now::text, false);
  perform cron.settle_orphans(p_running);
  perform cron.queue_due(v_now);
  return query
    select 'cancel', s.runid, null::text, null::text, null::text
    from cron.job_state as s
    where s.runid is not null
      and not exists (select from cron.job as j where j.jobid = s.jobid and j.active);
  return query select * from cron.start_queued();
end
$$;
comment on function cron.tick(bigint[], boolean) is
  'What the leader has to do now: commands to run, and runs to cancel because their job is gone or inactive. p_running: the runs that it has in hand; p_changed: whether cron.job may have changed since the last tick.';
--! EndIncluded 70_cron/tick.sql
--! Included 70_cron/policies.sql
-- kind: code
-- The grants of pg_cron, which are to everybody: the key is USAGE of the schema, which nobody has who is not given it.

drop policy if exists cron_job_policy on cron.job;
create policy cron_job_policy on cron.job
  using (username = current_user);

drop policy if exists cron_job_run_details_policy on cron.job_run_details;
create policy cron_job_run_details_policy on cron.job_run_details
  using (username = current_user);

grant select on cron.job to public;
grant select, delete on cron.job_run_details to public;
grant select on sequence cron.jobid_seq, cron.runid_seq to public;
grant execute on function
  cron.schedule(text, text),
  cron.schedule(text, text, text),
  cron.unschedule(bigint),
  cron.unschedule(text)
  to public;
grant execute on function
  cron.schedule_in_database(text, text, text, text, text, boolean),
  cron.alter_job(bigint, text, text, text, text, boolean),
  cron.next_run(text, timestamptz, text),
  cron.matches(text, timestamptz, text)
  to flowgres_dba, flowgres_maintenance;

grant usage on schema cron to flowgres_dba, flowgres_maintenance, flowgres_worker;
grant execute on function
  cron.lead(),
  cron.tick(bigint[], boolean),
  cron.begin_run(bigint, int),
  cron.end_run(bigint, text, text)
  to flowgres_worker;
--! EndIncluded 70_cron/policies.sql
    $files$;
  end if;
end
$condition$;
--! EndIncluded 70_cron/index.sql
--! Included 90_monitor/index.sql
-- Monitoring: what must always hold, and what is going on.

--! Included 90_monitor/invariants.sql
-- kind: code
-- What must hold at every moment, as queries that find the runs for which it does not. Zero rows is health.

create or replace function monitor.broken_logs()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  with log as (
    select
      e.run_id,
      count(*) as events,
      min(e.seq) as first,
      max(e.seq) as last,
      count(*) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ends,
      max(e.seq) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ended_at
    from public.workflow_events as e
    group by e.run_id
  )
  select 'the events of a run are numbered 1, 2, 3 … without a gap', l.run_id, to_jsonb(l)
  from log as l
  where l.first <> 1 or l.last <> l.events
  union all
  select 'a run has at most one terminal event, and it is the last one', l.run_id, to_jsonb(l)
  from log as l
  where l.ends > 1 or l.ended_at < l.last
  union all
  select 'the time of events increases with their number', n.run_id, jsonb_build_object('seq', n.seq)
  from (
    select e.run_id, e.seq, e.ts, lag(e.ts) over (partition by e.run_id order by e.seq) as previous
    from public.workflow_events as e
  ) as n
  where n.ts <= n.previous
  union all
  select 'a step succeeds at most once', e.run_id, jsonb_build_object('node', e.payload -> 'node')
  from public.workflow_events as e
  where e.type in ('step.succeeded', 'step.reused')
  group by e.run_id, e.payload -> 'node'
  having count(*) > 1
  union all
  select 'a result carries the attempt that was begun last', e.run_id, e.payload - 'output'
  from public.workflow_events as e
  where e.type in ('step.succeeded', 'step.failed')
    and (e.payload -> 'attempt')::int < (
      select max((s.payload -> 'attempt')::int)
      from public.workflow_events as s
      where s.run_id = e.run_id
        and s.type = 'step.started'
        and s.payload -> 'node' = e.payload -> 'node'
        and s.seq < e.seq
    )
$$;
comment on function monitor.broken_logs() is
  'Runs whose log breaks a rule that always holds. Reads every event: minutes on a large database. Example: select * from monitor.broken_logs()';

create or replace function monitor.stuck_runs()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select 'an unfinished run has something that moves it on', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and not exists (select from engine.open_steps as s where s.run_id = r.id)
    and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
  union all
  select 'a slot of a concurrency limit is held by an unfinished run', f.run_id, to_jsonb(f)
  from engine.flow_runs as f
  where not f.is_held
    and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
  union all
  select 'the status of an unfinished run follows from its open steps', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and r.status <> (
      select case when bool_and(s.state = 'waiting') then 'waiting' else 'running' end
      from engine.open_steps as s
      where s.run_id = r.id
      having count(*) > 0
    )
  union all
  select 'a finished run has no open step', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  join public.workflow_runs as r on r.id = s.run_id
  where r.finished_at is not null
  union all
  select 'a child ends soon after the parent that waits for it', c.id, jsonb_build_object('parent', p.id)
  from public.workflow_runs as c
  join public.workflow_runs as p on p.id = c.parent_run_id
  where c.finished_at is null
    and c.parent_index is not null
    and p.finished_at < engine.now() - interval '2 minutes'
  union all
  select 'nothing waits for longer than two minutes after its time', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where coalesce(s.lease_until, s.run_at) < engine.now() - interval '2 minutes'
    and exists (select from public.workflow_runs as r where r.id = s.run_id and r.status <> 'paused')
$$;
comment on function monitor.stuck_runs() is
  'Unfinished runs that nothing would move. Cheap: it reads unfinished runs only. Example: select * from monitor.stuck_runs()';

create or replace function monitor.wrong_projections()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select 'the row of a run agrees with its log', r.id, jsonb_build_object('status', r.status, 'last', e.type)
  from public.workflow_runs as r
  cross join lateral (
    select l.type, l.ts
    from public.workflow_events as l
    where l.run_id = r.id
    order by l.seq desc
    limit 1
  ) as e
  where (r.status, r.finished_at) is distinct from (
    case e.type
      when 'run.succeeded' then 'success'
      when 'run.failed' then 'error'
      when 'run.canceled' then 'canceled'
      else case when r.finished_at is null then r.status end
    end,
    case when e.type in ('run.succeeded', 'run.failed', 'run.canceled') then e.ts end
  )
  union all
  select 'a run has events', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where not exists (select from public.workflow_events as e where e.run_id = r.id)
$$;
comment on function monitor.wrong_projections() is
  'Runs whose row disagrees with their log. Example: select * from monitor.wrong_projections()';

create or replace function monitor.invariants()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select * from monitor.broken_logs()
  union all
  select * from monitor.stuck_runs()
  union all
  select * from monitor.wrong_projections()
$$;
comment on function monitor.invariants() is
  'Everything that must always hold, and where it does not: the rule, the run, the facts. No row is health. Example: select * from monitor.invariants()';

grant execute on function monitor.broken_logs(), monitor.stuck_runs(), monitor.wrong_projections(), monitor.invariants()
  to flowgres_dba, flowgres_monitor;
--! EndIncluded 90_monitor/invariants.sql
--! Included 90_monitor/queue.sql
-- kind: code
-- What health checks and metrics ask every few seconds: cheap at any size.

create or replace function monitor.queue()
  returns table (
    workers int,
    ready_jobs int,
    running_steps int
  )
  language sql
  stable
  security definer -- definer because it counts across organizations
  set search_path = pg_catalog, pg_temp
as $$
  select
    (select count(*)::int from engine.workers as w where w.seen_at > engine.now() - interval '15 seconds'),
    (
      select count(*)::int
      from (
        select from graphile_worker._private_jobs as j where j.is_available and j.run_at <= now() limit 10000
      ) as ready
    ),
    (select count(*)::int from (select from engine.open_steps as s where s.state = 'running' limit 10000) as running)
$$;
comment on function monitor.queue() is
  'How many workers live, how many jobs wait for one, and how many steps run; counts stop at 10,000. Example: select * from monitor.queue();';

grant execute on function monitor.queue() to flowgres_monitor, flowgres_dba;
--! EndIncluded 90_monitor/queue.sql
--! EndIncluded 90_monitor/index.sql
--! Included 95_api/index.sql
-- The API: commands that join layers, and what GraphQL shows of runs beside their columns.

--! Included 95_api/types.sql
-- kind: state
-- What commands of this layer answer with that is no row of a table.

create type public.workflow_difference as (
  pointer text,
  kind text,
  before jsonb,
  after jsonb
);
comment on type public.workflow_difference is 'A place at which two definitions of a workflow differ.';
comment on column public.workflow_difference.pointer is
  'The place: nodes by their id, connections by what they connect, such as /nodes/price/properties/assign/net or /connections/a.true -> b.main.';
comment on column public.workflow_difference.kind is 'added, removed or changed.';
comment on column public.workflow_difference.before is 'What was there; null when it was added.';
comment on column public.workflow_difference.after is 'What is there now; null when it was removed.';

create type public.workflow_template as (
  id uuid,
  name text,
  description text,
  tags text[],
  definition jsonb,
  own boolean
);
comment on type public.workflow_template is 'A workflow that may be copied: copy_template(id).';
comment on column public.workflow_template.id is 'The workflow that it is.';
comment on column public.workflow_template.name is 'Its name.';
comment on column public.workflow_template.description is 'Its description.';
comment on column public.workflow_template.tags is 'Its tags.';
comment on column public.workflow_template.definition is 'What a copy begins with: the published version, without credentials and pinned outputs.';
comment on column public.workflow_template.own is 'Whether it belongs to the organization of the request.';

create type public.workflow_import as (
  workflow_id uuid,
  problems jsonb
);
comment on type public.workflow_import is 'A workflow made of a document of another product.';
comment on column public.workflow_import.workflow_id is 'The new draft.';
comment on column public.workflow_import.problems is
  'What could not be taken over, a list of {"pointer": into the document, "message"}; the parts concerned are there as disabled noOp nodes or as the text they were.';

create type public.workflow_test_event as (
  seq int,
  type text,
  payload jsonb
);
comment on type public.workflow_test_event is 'An event that a run would have, in a test that nothing is stored of.';
comment on column public.workflow_test_event.seq is '1, 2, 3 … in the order in which they would happen.';
comment on column public.workflow_test_event.type is 'As in the log of a run, for example step.succeeded.';
comment on column public.workflow_test_event.payload is 'The facts of the event; its keys depend on the type.';

grant usage on type
  public.workflow_difference, public.workflow_template, public.workflow_import, public.workflow_test_event
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/types.sql
--! Included 95_api/access.sql
-- kind: code
-- The question that every command asks first.

create or replace function private.require_access(p_organization uuid, p_scope text, p_thing text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_acting constant uuid := public.current_organization_id();
begin
  -- A DBA without a context acts for whichever organization owns the thing.
  if v_acting is null and not private.is_dba() then
    perform private.acting_organization();
  end if;
  perform private.require_scope(p_scope);
  if p_organization is null or p_organization <> v_acting then
    perform private.raise_error('NOT_FOUND', format('There is no such %s in this organization.', p_thing));
  end if;
end
$$;
comment on function private.require_access(uuid, text, text) is
  'Whether the request may touch something of that organization (null: it was not found). Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';
--! EndIncluded 95_api/access.sql
--! Included 95_api/sign_in.sql
-- kind: code
-- Registration and login. Passwords never come here: TypeScript makes a key of them with scrypt, and the database holds
-- the key's SHA-256. Nothing here tells whether somebody has an account.

create or replace function private.check_password_hash(p_hash text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_hash !~ '^\$scrypt\$ln=\d{1,2},r=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$' then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is no hash of a password.', 'Make one: flowgres hash', '{"field": "password"}'
    );
  end if;
end
$$;

create or replace function public.register_user(name text, email text, password_hash text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_prefix constant cidr := private.client_prefix();
begin
  perform private.check_person(coalesce(name, ''), coalesce(email, ''));
  perform private.check_password_hash(coalesce(password_hash, ''));
  if v_prefix is not null then
    perform private.throttle(format('register from %s', v_prefix), 50, interval '1 hour');
  end if;
  if exists (
    select from public.users as u
    where lower(u.email) = lower(register_user.email) and u.email_verified_at is not null
  ) then
    perform private.send_code(
      'none', register_user.email, null, 'You have an account already',
      'Somebody, perhaps you, tried to register with this address, which has an account already. If you forgot the '
      'password, reset it; if it was not you, nothing has to be done.'
    );
  else
    perform private.send_code(
      'register', register_user.email, null, 'Verify your e-mail address',
      'Somebody, we hope you, registered with this address. The code is %s and works for a day: '
      'verify_email(code). If it was not you, nothing has to be done.',
      register_user.name, password_hash
    );
  end if;
  return true;
end
$$;
comment on function public.register_user(text, text, text) is
  'Mails a code that makes the account: verify_email. The answer is the same for an address that has one, whose owner is told so. For flowgres_api, which hashes passwords, and DBAs: `flowgres hash` makes the hash. Errors: VALIDATION_FAILED, RATE_LIMITED. Example: select register_user(''Ada'', ''ada@example.com'', ''$scrypt$ln=15,r=8,p=3$…'');';

create or replace function public.verify_email(code text)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_code constant private.email_codes := private.take_code(verify_email.code, '{register,change}');
  v_user_id uuid := v_code.user_id;
begin
  if v_code.purpose = 'change' then
    update public.users as u
    set email = v_code.email, email_verified_at = engine.now(), updated_at = engine.now()
    where u.id = v_user_id;
  else
    insert into public.users (name, email, email_verified_at)
    values (v_code.name, v_code.email, engine.now())
    returning users.id into v_user_id;
    insert into private.passwords (user_id, hash, changed_at)
    values (v_user_id, v_code.password_hash, engine.now());
  end if;
  return v_user_id;
exception
  when unique_violation then
    perform private.raise_error(
      'CONFLICT', 'The address belongs to an account by now.', 'Log in, or reset its password.', '{"field": "email"}'
    );
    return null;
end
$$;
comment on function public.verify_email(text) is
  'Proves an address by the code that was mailed to it, and returns the user''s id. After register_user this makes the account; after change_email it takes the new address. Errors: NOT_FOUND, ALREADY_USED, EXPIRED, CONFLICT. Example: select verify_email(''3q2-7wAAAAAAAAAAAAAAAA'');';

create or replace function private.login_counters(p_email text)
  returns table (thing text, most int, span interval, is_own boolean)
  language sql
  stable
as $$
  -- One who guesses from one network stops early, without locking the owner out elsewhere; one who has many networks
  -- or tries many addresses stops later.
  select format('login %s from %s', lower(p_email), private.client_prefix()), 10, interval '15 minutes', true
  union all
  select format('login %s', lower(p_email)), 100, interval '1 hour', true
  union all
  select format('login from %s', private.client_prefix()), 200, interval '15 minutes', false
  where private.client_prefix() is not null
$$;

create or replace function public.begin_login(email text default null)
  returns text
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_email text := begin_login.email;
  v_context private.context;
begin
  if v_email is null then
    v_context := private.acting_person();
    v_email := (select u.email from public.users as u where u.id = v_context.user_id);
  end if;
  perform private.throttle(c.thing, c.most, c.span) from private.login_counters(v_email) as c;
  return (
    select regexp_replace(p.hash, '\$[^$]*$', '')
    from private.passwords as p
    join public.users as u on u.id = p.user_id
    where lower(u.email) = lower(v_email) and u.email_verified_at is not null
  );
end
$$;
comment on function public.begin_login(text) is
  'Counts an attempt, before it is known how it ends, and returns the parameters and salt of the account''s password: null when there is none, which the API keeps to itself. Without an address: of the current user. To be committed before login. Errors: RATE_LIMITED (details.retryAfterMs), UNAUTHENTICATED. Example: select begin_login(''ada@example.com'');';

create or replace function public.login(email text, password_key bytea)
  returns public.new_session
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_secret constant text := private.new_secret('fs_');
  v_user_id uuid;
  v_session private.sessions;
begin
  select u.id into v_user_id
  from public.users as u
  join private.passwords as p on p.user_id = u.id
  where lower(u.email) = lower(login.email)
    and u.email_verified_at is not null
    and split_part(p.hash, '$', 5) = rtrim(encode(sha256(password_key), 'base64'), '=');
  if v_user_id is null then
    perform private.raise_error(
      'UNAUTHENTICATED',
      'The address or the password is wrong.',
      'An account begins when its address is verified: see the mail. A password can be reset.'
    );
  end if;
  perform private.forgive(c.thing) from private.login_counters(login.email) as c;
  v_session := private.open_session(
    v_user_id, 'login', private.hash_secret(v_secret), engine.now() + interval '30 days'
  );
  return row(v_secret, v_session.expires_at, v_user_id, v_session.organization_id);
end
$$;
comment on function public.login(text, bytea) is
  'Begins a session of 30 days. The key is what scrypt makes of the password with the parameters of begin_login, 32 bytes; for flowgres_api, which does both, and DBAs. Errors: UNAUTHENTICATED. Example: select secret from login(''ada@example.com'', ''\x…'');';

grant execute on function
  public.register_user(text, text, text),
  public.begin_login(text),
  public.login(text, bytea)
  to flowgres_api, flowgres_dba;
grant execute on function public.verify_email(text)
  to flowgres_anonymous, flowgres_user, flowgres_api, flowgres_dba;
--! EndIncluded 95_api/sign_in.sql
--! Included 95_api/passwords.sql
-- kind: code
-- New passwords, by a code from a mail or by the old password.

create or replace function public.request_password_reset(email text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_prefix constant cidr := private.client_prefix();
  v_user public.users;
begin
  perform private.check_person(null, coalesce(email, ''));
  if v_prefix is not null then
    perform private.throttle(format('reset from %s', v_prefix), 50, interval '1 hour');
  end if;
  select u.* into v_user
  from public.users as u
  where lower(u.email) = lower(request_password_reset.email) and u.email_verified_at is not null;
  perform private.send_code(
    case when v_user.id is null then 'none' else 'reset' end,
    coalesce(v_user.email, request_password_reset.email), v_user.id, 'Reset your password',
    case
      when v_user.id is not null then
        'Somebody, we hope you, wants a new password for this address. The code is %s and works for an hour: '
        'reset_password. If it was not you, nothing has to be done.'
    end
  );
  return true;
end
$$;
comment on function public.request_password_reset(text) is
  'Mails a code for reset_password. The answer is the same for an address without an account, which gets no mail. Errors: RATE_LIMITED. Example: select request_password_reset(''ada@example.com'');';

create or replace function public.reset_password(code text, password_hash text)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_code private.email_codes;
begin
  perform private.check_password_hash(coalesce(password_hash, ''));
  v_code := private.take_code(reset_password.code, '{reset}');
  insert into private.passwords (user_id, hash, changed_at)
  values (v_code.user_id, password_hash, engine.now())
  on conflict (user_id) do update set hash = excluded.hash, changed_at = excluded.changed_at;
  -- Other codes that lie in the same mailbox, and whoever is logged in, end with the old password.
  update private.email_codes as c
  set used_at = engine.now()
  where c.user_id = v_code.user_id and c.used_at is null;
  perform private.end_sessions(v_code.user_id);
  delete from private.throttles as t
  using private.login_counters(v_code.email) as c
  where c.is_own and t.key = private.throttle_key(c.thing);
  return v_code.user_id;
end
$$;
comment on function public.reset_password(text, text) is
  'Sets a new password by the code of request_password_reset, ends all sessions, and returns the user''s id. For flowgres_api, which hashes passwords, and DBAs. Errors: NOT_FOUND, ALREADY_USED, EXPIRED, VALIDATION_FAILED. Example: select reset_password(''3q2-7wAAAAAAAAAAAAAAAA'', ''$scrypt$ln=15,r=8,p=3$…'');';

create or replace function private.replace_password(p_user_id uuid, p_key bytea, p_hash text)
  returns boolean
  language sql
  volatile
as $$
  with replaced as (
    update private.passwords as p
    set hash = p_hash, changed_at = engine.now()
    where p.user_id = p_user_id
      and split_part(p.hash, '$', 5) = rtrim(encode(sha256(p_key), 'base64'), '=')
    returning 1
  )
  select exists (select from replaced)
$$;

create or replace function public.change_password(current_key bytea, password_hash text)
  returns int
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_email constant text := (select u.email from public.users as u where u.id = v_context.user_id);
begin
  perform private.check_password_hash(coalesce(password_hash, ''));
  if not private.replace_password(v_context.user_id, current_key, password_hash) then
    perform private.raise_error(
      'FORBIDDEN', 'The current password is wrong.', 'It can be reset.', '{"field": "currentPassword"}'
    );
  end if;
  perform private.forgive(c.thing) from private.login_counters(v_email) as c;
  return private.end_sessions(v_context.user_id, v_context.session_id);
end
$$;
comment on function public.change_password(bytea, text) is
  'Sets a new password by the key of the old one, logs out everywhere else, and returns how many sessions that ended. For flowgres_api, which makes both, and DBAs. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED. Example: select change_password(''\x…'', ''$scrypt$ln=15,r=8,p=3$…'');';

-- Of the same password with newer parameters, so nothing ends.
create or replace function public.rehash_password(email text, password_key bytea, password_hash text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.check_password_hash(coalesce(password_hash, ''));
  return private.replace_password(
    (
      select u.id from public.users as u
      where lower(u.email) = lower(rehash_password.email) and u.email_verified_at is not null
    ),
    password_key, password_hash
  );
end
$$;
comment on function public.rehash_password(text, bytea, text) is
  'Stores the same password under newer parameters of scrypt, after a login with the old ones; whether the key was right. For flowgres_api and DBAs. Example: select rehash_password(''ada@example.com'', ''\x…'', ''$scrypt$ln=15,r=8,p=3$…'');';

grant execute on function public.request_password_reset(text)
  to flowgres_anonymous, flowgres_user, flowgres_api, flowgres_dba;
grant execute on function
  public.reset_password(text, text),
  public.change_password(bytea, text),
  public.rehash_password(text, bytea, text)
  to flowgres_api, flowgres_dba;
--! EndIncluded 95_api/passwords.sql
--! Included 95_api/identities.sql
-- kind: code
-- People whom an external identity provider vouches for. TypeScript verifies the provider's token; here its subject
-- becomes a user, and the token itself the secret of a short session, so that nothing else has to know of it.

create or replace function private.identity_user(
  p_issuer text,
  p_subject text,
  p_email text,
  p_is_verified boolean,
  p_name text
)
  returns uuid
  language plpgsql
  volatile
as $$
declare
  v_user_id uuid := (
    select i.user_id from private.identities as i where i.issuer = p_issuer and i.subject = p_subject
  );
begin
  if v_user_id is not null then
    return v_user_id;
  end if;
  -- Two first requests at once: one of them makes the user.
  perform pg_advisory_xact_lock(hashtextextended(format('flowgres identity %L %L', p_issuer, p_subject), 0));
  select i.user_id into v_user_id
  from private.identities as i
  where i.issuer = p_issuer and i.subject = p_subject;
  if v_user_id is null then
    -- An address that belongs to an account already does not open it: a DBA may link the two.
    insert into public.users (name, email, email_verified_at)
    select
      coalesce(nullif(btrim(left(p_name, 200)), ''), 'Unnamed'),
      coalesce(p_email, encode(private.hash_secret(p_issuer || ' ' || p_subject), 'hex') || '@identity.invalid'),
      case
        when p_is_verified and not exists (
          select from public.users as u where lower(u.email) = lower(p_email) and u.email_verified_at is not null
        ) then engine.now()
      end
    returning id into v_user_id;
    insert into private.identities (issuer, subject, user_id, created_at)
    values (p_issuer, p_subject, v_user_id, engine.now());
  end if;
  return v_user_id;
end
$$;
comment on function private.identity_user(text, text, text, boolean, text) is
  'The user of an identity, made when it is new.';

create or replace function public.open_identity_session(
  issuer text,
  subject text,
  token_hash bytea,
  expires_at timestamptz,
  email text default null,
  email_verified boolean default false,
  name text default null
)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- A token that lives for long is asked for again, so that the provider's keys still count.
  v_end constant timestamptz := least(expires_at, engine.now() + interval '1 hour');
  v_session private.sessions;
begin
  select s.* into v_session
  from private.sessions as s
  where s.token_hash = open_identity_session.token_hash;
  if not found then
    perform private.open_session(
      private.identity_user(issuer, subject, email, coalesce(email_verified, false), name),
      'identity', token_hash, v_end
    );
    return true;
  end if;
  update private.sessions as s
  set expires_at = v_end
  where s.id = v_session.id and s.revoked_at is null and s.expires_at < v_end;
  return v_session.revoked_at is null and v_end > engine.now();
exception
  -- Of two first requests at once, the other one has opened it.
  when unique_violation then
    return true;
end
$$;
comment on function public.open_identity_session(text, text, bytea, timestamptz, text, boolean, text) is
  'Makes the SHA-256 of a verified token of an identity provider a session, until it expires and for an hour at most; false when that session was revoked. For flowgres_api, which verifies the token, and DBAs. Example: select open_identity_session(''https://id.example.com'', ''4711'', sha256(''eyJ…''), ''2026-12-01 12:00+00'');';

create or replace function public.link_identity(issuer text, subject text, "user" uuid)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_user public.users;
begin
  select u.* into v_user from public.users as u where u.id = "user" and u.deleted_at is null;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such user.');
  end if;
  insert into private.identities as i (issuer, subject, user_id, created_at)
  values (link_identity.issuer, link_identity.subject, v_user.id, engine.now())
  on conflict on constraint identities_pkey do update set user_id = excluded.user_id;
  return v_user;
exception
  when not_null_violation then
    perform private.raise_error('VALIDATION_FAILED', 'An identity has an issuer and a subject.');
    return null;
end
$$;
comment on function public.link_identity(text, text, uuid) is
  'For DBAs: from now on the subject of an identity provider is this user. Errors: NOT_FOUND, VALIDATION_FAILED. Example: select link_identity(''https://id.example.com'', ''4711'', id) from users where email = ''ada@example.com'';';

grant execute on function
  public.open_identity_session(text, text, bytea, timestamptz, text, boolean, text)
  to flowgres_api, flowgres_dba;
grant execute on function public.link_identity(text, text, uuid) to flowgres_dba;
--! EndIncluded 95_api/identities.sql
--! Included 95_api/people.sql
-- kind: code
-- People: their own profile, and the end of an account. What somebody made for an organization is the organization's:
-- the row of a deleted user stays, without a name, for all that refers to it.

create or replace function public.update_profile(name text)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_user public.users;
begin
  perform private.check_person(coalesce(name, ''), null);
  update public.users as u
  set name = update_profile.name, updated_at = engine.now()
  where u.id = v_context.user_id
  returning u.* into v_user;
  return v_user;
end
$$;
comment on function public.update_profile(text) is
  'Changes the name of the current user. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), VALIDATION_FAILED. Example: select update_profile(''Ada Lovelace'');';

create or replace function public.change_email(email text)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
begin
  perform private.check_person(null, coalesce(email, ''));
  perform private.send_code(
    'change', change_email.email, v_context.user_id, 'Verify your e-mail address',
    'Somebody, we hope you, wants to use this address. The code is %s and works for a day: verify_email(code). '
    'If it was not you, nothing has to be done.'
  );
  return true;
end
$$;
comment on function public.change_email(text) is
  'Mails a code to a new address; verify_email takes it over. Until then the old one counts. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), VALIDATION_FAILED. Example: select change_email(''ada@example.org'');';

create or replace function private.end_memberships(p_user_id uuid)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_organizations constant uuid[] := array(
    select o.id
    from public.organizations as o
    join public.organization_users as m on m.organization_id = o.id
    where m.user_id = p_user_id
    order by o.id
    for no key update of o
  );
begin
  delete from public.organization_users as m where m.user_id = p_user_id;
  perform private.require_owner(o.id)
  from public.organizations as o
  where o.id = any (v_organizations) and o.deleted_at is null;
end
$$;
comment on function private.end_memberships(uuid) is
  'Leaves every organization. Raises CONFLICT when one would have no owner left.';

create or replace function public.delete_user(id uuid, confirm_email text)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context private.context;
  v_user public.users;
begin
  if not private.is_dba() and not private.is_super_admin() then
    v_context := private.acting_person();
    if id is distinct from v_context.user_id then
      perform private.raise_error('NOT_FOUND', 'There is no such user that you could delete.');
    end if;
  end if;
  select u.* into v_user from public.users as u where u.id = delete_user.id and u.deleted_at is null;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such user.');
  elsif lower(v_user.email) is distinct from lower(confirm_email) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is not the address of the user.', null, '{"field": "confirmEmail"}'
    );
  end if;
  perform private.end_memberships(v_user.id);
  delete from private.sessions as s where s.user_id = v_user.id;
  delete from private.identities as i where i.user_id = v_user.id;
  delete from private.passwords as p where p.user_id = v_user.id;
  delete from private.email_codes as c where c.user_id = v_user.id or lower(c.email) = lower(v_user.email);
  update public.users as u
  set
    name = 'Deleted user',
    email = format('%s@deleted.invalid', u.id),
    email_verified_at = null,
    global_role = 'user',
    deleted_at = engine.now(),
    updated_at = engine.now()
  where u.id = v_user.id
  returning u.* into v_user;
  return v_user;
end
$$;
comment on function public.delete_user(uuid, text) is
  'Deletes an account: name, address, password, sessions, tokens and memberships go; workflows and runs stay with their organizations. The address confirms who is meant. Oneself, super admins, DBAs. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), NOT_FOUND, VALIDATION_FAILED, CONFLICT (the last owner of an organization). Example: select delete_user(u.id, u.email) from public.current_user() as u;';

create or replace function public.set_global_role("user" uuid, role text)
  returns public.users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_user public.users;
begin
  if not private.is_dba() and not private.is_super_admin() then
    perform private.raise_error('FORBIDDEN', 'Only a super admin or a DBA can do this.');
  end if;
  update public.users as u
  set global_role = role, updated_at = engine.now()
  where u.id = "user" and u.deleted_at is null
  returning u.* into v_user;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such user.');
  end if;
  return v_user;
exception
  when check_violation or not_null_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such role.', 'Roles: user, super_admin.', '{"field": "role"}'
    );
    return null;
end
$$;
comment on function public.set_global_role(uuid, text) is
  'Makes somebody a super_admin, who sees all organizations and people, deletes and restores them, and sees nobody''s workflows and runs; or a user again. DBAs and super admins. Errors: FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select set_global_role(id, ''super_admin'') from users where email = ''ada@example.com'';';

grant execute on function
  public.update_profile(text),
  public.change_email(text),
  public.delete_user(uuid, text),
  public.set_global_role(uuid, text)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/people.sql
--! Included 95_api/organizations.sql
-- kind: code
-- Changing, leaving to another and deleting an organization. A deleted one answers nobody; for 30 days its owners can
-- have it back, then purge.sql takes it.

create or replace function public.update_organization(
  name text default null,
  slug text default null,
  description text default null
)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.acting_organization();
  perform private.require_scope('organization:write');
  v_organization := private.lock_organization(public.current_organization_id());
  perform private.require_role('admin');
  update public.organizations as o
  set
    name = coalesce(update_organization.name, o.name),
    slug = coalesce(update_organization.slug, o.slug),
    description = coalesce(update_organization.description, o.description),
    updated_at = engine.now()
  where o.id = v_organization.id
  returning o.* into v_organization;
  return v_organization;
exception
  when unique_violation then
    perform private.raise_slug_taken(slug);
    return null;
  when check_violation then
    perform private.raise_bad_organization();
    return null;
end
$$;
comment on function public.update_organization(text, text, text) is
  'Changes name, slug or description of the current organization; null leaves one as it is. Admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, CONFLICT (the slug is taken), VALIDATION_FAILED. Example: select * from update_organization(slug => ''acme-eu'');';

-- An owner of it, whatever organization the session is in; a super admin; a DBA.
create or replace function private.require_ownership(p_organization_id uuid)
  returns void
  language plpgsql
  stable
as $$
declare
  v_context private.context;
  v_role text;
begin
  if private.is_dba() then
    return;
  end if;
  v_context := private.acting_person();
  select m.role into v_role
  from public.organization_users as m
  where m.organization_id = p_organization_id and m.user_id = v_context.user_id;
  if v_role = 'owner' or private.is_super_admin() then
    return;
  elsif v_role is null then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  perform private.raise_error(
    'FORBIDDEN', 'This needs the role owner in the organization.', 'Ask an owner.', '{"role": "owner"}'
  );
end
$$;
comment on function private.require_ownership(uuid) is 'Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.delete_organization(id uuid, confirm_slug text)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.require_ownership(id);
  v_organization := private.lock_organization(id);
  perform private.require_ownership(id);
  if v_organization.slug is distinct from confirm_slug then
    perform private.raise_error(
      'VALIDATION_FAILED', 'This is not the slug of the organization.', null, '{"field": "confirmSlug"}'
    );
  end if;
  update public.organizations as o
  set deleted_at = engine.now(), updated_at = engine.now()
  where o.id = v_organization.id
  returning o.* into v_organization;
  update private.sessions as s
  set organization_id = null
  where s.organization_id = v_organization.id and s.user_id is not null;
  update private.api_tokens as t set suspended_at = engine.now() where t.organization_id = v_organization.id;
  return v_organization;
end
$$;
comment on function public.delete_organization(uuid, text) is
  'Deletes an organization: at once it has no webhooks, schedules, tokens and members at work; runs that are under way may end. For 30 days restore_organization brings it back, then everything of it goes for good. Owners who are logged in, super admins, DBAs. The slug confirms which one is meant. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select delete_organization(id, ''acme'') from organizations where slug = ''acme'';';

create or replace function public.restore_organization(id uuid)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization public.organizations;
begin
  perform private.require_ownership(id);
  update public.organizations as o
  set deleted_at = null, updated_at = engine.now()
  where o.id = restore_organization.id and o.deleted_at > engine.now() - private.purge_grace()
  returning o.* into v_organization;
  if found then
    update private.api_tokens as t set suspended_at = null where t.organization_id = v_organization.id;
    return v_organization;
  end if;
  select o.* into v_organization
  from public.organizations as o
  where o.id = restore_organization.id;
  if v_organization.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  elsif v_organization.deleted_at is not null then
    perform private.raise_error('EXPIRED', 'The organization was deleted too long ago.');
  end if;
  return v_organization;
end
$$;
comment on function public.restore_organization(id uuid) is
  'Brings a deleted organization back, with everything in it. One that is not deleted stays as it is. Owners who are logged in, super admins, DBAs. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, EXPIRED (after 30 days). Example: select restore_organization(''0190…'');';

create or replace function public.switch_organization(id uuid)
  returns public.organizations
  language plpgsql
  volatile
  security definer -- definer because the secrets' tables are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_organization public.organizations;
begin
  select o.* into v_organization
  from public.organizations as o
  join public.organization_users as m on m.organization_id = o.id and m.user_id = v_context.user_id
  where o.id = switch_organization.id and o.deleted_at is null
  -- Not while it is deleted, or its member leaves.
  for share of o, m;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization of yours.');
  end if;
  update private.sessions as s
  set organization_id = v_organization.id
  where s.id = v_context.session_id;
  return v_organization;
end
$$;
comment on function public.switch_organization(uuid) is
  'Makes another organization the active one of this session; the next login begins in it. A token is of one organization for good. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), NOT_FOUND. Example: select slug from switch_organization(''0190…'');';

grant execute on function
  public.update_organization(text, text, text),
  public.delete_organization(uuid, text),
  public.restore_organization(uuid),
  public.switch_organization(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/organizations.sql
--! Included 95_api/members.sql
-- kind: code
-- Members and their roles. Each command locks the organization first, and at its end there is an owner.

create or replace function private.lock_member(p_user_id uuid)
  returns public.organization_users
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_member public.organization_users;
begin
  perform private.require_scope('organization:write');
  perform private.lock_organization(v_organization_id);
  select m.* into v_member
  from public.organization_users as m
  where m.organization_id = v_organization_id and m.user_id = p_user_id;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such member in this organization.');
  end if;
  return v_member;
end
$$;
comment on function private.lock_member(uuid) is
  'A member of the current organization, under its lock. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.set_member_role("user" uuid, role text)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_member public.organization_users := private.lock_member("user");
begin
  perform private.check_role(role);
  perform private.require_power_over(v_member.role);
  perform private.require_power_over(role);
  update public.organization_users as m
  set role = set_member_role.role
  where m.organization_id = v_member.organization_id and m.user_id = v_member.user_id
  returning m.* into v_member;
  perform private.require_owner(v_member.organization_id);
  return v_member;
end
$$;
comment on function public.set_member_role(uuid, text) is
  'Makes a member owner, admin or member, at once also for tokens. Admins; only owners make and unmake owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (the last owner). Example: select set_member_role(''0190…'', ''admin'');';

create or replace function private.end_membership(p_member public.organization_users)
  returns void
  language plpgsql
  volatile
as $$
begin
  -- Teams and tokens go with it, sessions are left without an organization: the foreign keys see to it.
  delete from public.organization_users as m
  where m.organization_id = p_member.organization_id and m.user_id = p_member.user_id;
  perform private.require_owner(p_member.organization_id);
end
$$;

create or replace function public.remove_member("user" uuid)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_member constant public.organization_users := private.lock_member("user");
begin
  perform private.require_power_over(v_member.role);
  perform private.end_membership(v_member);
  return v_member;
end
$$;
comment on function public.remove_member(uuid) is
  'Removes somebody from the organization, its teams and its active sessions, and revokes his tokens; what he made stays. Admins; only owners remove owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (the last owner). Example: select remove_member(''0190…'');';

create or replace function public.leave_organization()
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_member constant public.organization_users := private.lock_member(v_context.user_id);
begin
  perform private.end_membership(v_member);
  return v_member;
end
$$;
comment on function public.leave_organization() is
  'Leaves the active organization. The last owner cannot. Errors: UNAUTHENTICATED, FORBIDDEN (an API token), CONFLICT. Example: select leave_organization();';

create or replace function public.transfer_ownership(to_user uuid)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_member public.organization_users := private.lock_member(to_user);
begin
  perform private.require_role('owner');
  update public.organization_users as m
  set role = 'admin'
  where m.organization_id = v_member.organization_id and m.user_id = v_context.user_id;
  update public.organization_users as m
  set role = 'owner'
  where m.organization_id = v_member.organization_id and m.user_id = to_user
  returning m.* into v_member;
  return v_member;
end
$$;
comment on function public.transfer_ownership(uuid) is
  'Makes a member an owner in the place of the caller, who stays as an admin. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select transfer_ownership(''0190…'');';

grant execute on function
  public.set_member_role(uuid, text),
  public.remove_member(uuid),
  public.leave_organization(),
  public.transfer_ownership(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/members.sql
--! Included 95_api/invitations.sql
-- kind: code
-- The way into an organization: a code that is shown once, ends after a week, works once, and only for whoever owns the
-- address that it was sent to.

create or replace function public.invite_member(email text, role text default 'member')
  returns public.new_invitation
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_code constant text := private.random_secret(16);
  v_now constant timestamptz := engine.now();
  v_organization public.organizations;
  v_invitation public.invitations;
begin
  perform private.require_scope('organization:write');
  perform private.check_role(role);
  perform private.check_person(null, coalesce(email, ''));
  v_organization := private.lock_organization(v_organization_id);
  perform private.require_power_over(role);
  -- Our mails go to people who did not ask for them.
  perform private.throttle(format('invite to %s', v_organization_id), 200, interval '1 hour');
  if exists (
    select
    from public.organization_users as m
    join public.users as u on u.id = m.user_id
    where m.organization_id = v_organization_id and lower(u.email) = lower(invite_member.email)
  ) then
    perform private.raise_error('CONFLICT', 'This person is a member already.', null, '{"field": "email"}');
  end if;
  update public.invitations as i
  set revoked_at = v_now
  where i.organization_id = v_organization_id
    and lower(i.email) = lower(invite_member.email)
    and i.accepted_at is null
    and i.revoked_at is null;
  insert into public.invitations (organization_id, email, role, invited_by, created_at, expires_at)
  values (
    v_organization_id, invite_member.email, invite_member.role, public.current_user_id(), v_now,
    v_now + interval '7 days'
  )
  returning * into v_invitation;
  insert into private.invitation_codes (organization_id, invitation_id, code_hash)
  values (v_organization_id, v_invitation.id, private.hash_secret(v_code));
  perform private.send_mail(
    email,
    format('You are invited to %s', v_organization.name),
    format(
      'You are invited to join %s as %s. Log in with this address, or register it, and accept: '
      'accept_invitation(code). The code is %s and works for a week.',
      v_organization.name, role, v_code
    )
  );
  return row(v_code, v_invitation);
end
$$;
comment on function public.invite_member(text, text) is
  'Invites somebody by e-mail to become owner, admin or member (by default), and returns the code, once; it is mailed as well. An open invitation of the same address is replaced. Admins; only owners invite owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, CONFLICT (a member already), RATE_LIMITED (more than 200 an hour). Example: select code from invite_member(''bo@example.com'', ''admin'');';

create or replace function public.revoke_invitation(id uuid)
  returns public.invitations
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_invitation public.invitations;
begin
  perform private.require_scope('organization:write');
  perform private.lock_organization(v_organization_id);
  perform private.require_role('admin');
  update public.invitations as i
  set revoked_at = coalesce(i.revoked_at, engine.now())
  where i.id = revoke_invitation.id and i.organization_id = v_organization_id and i.accepted_at is null
  returning * into v_invitation;
  if not found then
    if exists (
      select from public.invitations as i
      where i.id = revoke_invitation.id and i.organization_id = v_organization_id
    ) then
      perform private.raise_error('ALREADY_USED', 'The invitation was accepted.', 'Remove the member: remove_member.');
    end if;
    perform private.raise_error('NOT_FOUND', 'There is no such invitation in this organization.');
  end if;
  return v_invitation;
end
$$;
comment on function public.revoke_invitation(uuid) is
  'Takes an invitation back. Repeating it changes nothing. Admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, ALREADY_USED (it was accepted). Example: select revoke_invitation(''0190…'');';

-- Locks the organization, then reads: of two who accept at once the second sees that it has been used.
create or replace function private.lock_invitation(p_code text)
  returns public.invitations
  language plpgsql
  volatile
as $$
declare
  v_invitation public.invitations;
begin
  perform private.lock_organization(c.organization_id)
  from private.invitation_codes as c
  where c.code_hash = private.hash_secret(p_code);
  select i.* into v_invitation
  from private.invitation_codes as c
  join public.invitations as i on i.organization_id = c.organization_id and i.id = c.invitation_id
  where c.code_hash = private.hash_secret(p_code);
  if v_invitation.id is null or v_invitation.revoked_at is not null then
    perform private.raise_error('NOT_FOUND', 'There is no such invitation.', 'Ask for a new one.');
  elsif v_invitation.accepted_at is not null then
    perform private.raise_error(
      'ALREADY_USED', 'The invitation was accepted.', null,
      jsonb_build_object('acceptedAt', v_invitation.accepted_at)
    );
  elsif v_invitation.expires_at <= engine.now() then
    perform private.raise_error('EXPIRED', 'The invitation has expired.', 'Ask for a new one.');
  end if;
  return v_invitation;
end
$$;
comment on function private.lock_invitation(text) is 'Raises NOT_FOUND, ALREADY_USED, EXPIRED.';

create or replace function public.accept_invitation(code text)
  returns public.organization_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_context constant private.context := private.acting_person();
  v_invitation constant public.invitations := private.lock_invitation(code);
  v_member public.organization_users;
begin
  if not exists (
    select from public.users as u
    where u.id = v_context.user_id
      and lower(u.email) = lower(v_invitation.email)
      and u.email_verified_at is not null
  ) then
    perform private.raise_error(
      'FORBIDDEN',
      'The invitation is for another address, or yours is not verified.',
      'Log in with the address that it was sent to.'
    );
  end if;
  if not exists (
    select from public.organization_users as m
    where m.organization_id = v_invitation.organization_id
      and m.user_id = v_context.user_id
  ) then
    perform private.admit(v_invitation.organization_id, 'team_members');
  end if;
  insert into public.organization_users (organization_id, user_id, role, invited_by)
  values (v_invitation.organization_id, v_context.user_id, v_invitation.role, v_invitation.invited_by)
  on conflict (organization_id, user_id) do update set role = organization_users.role
  returning * into v_member;
  update public.invitations as i
  set accepted_at = engine.now()
  where i.id = v_invitation.id;
  update private.sessions as s
  set organization_id = v_member.organization_id
  where s.id = v_context.session_id and s.organization_id is null;
  return v_member;
end
$$;
comment on function public.accept_invitation(text) is
  'Joins the organization that invited the verified address of the caller; it becomes the active one of a session that has none. Errors: UNAUTHENTICATED, FORBIDDEN (another address, or an API token), NOT_FOUND, ALREADY_USED, EXPIRED, LIMIT_REACHED (the plan has no room for another member; the invitation stays). Example: select role from accept_invitation(''3q2-7wAAAAAAAAAAAAAAAA'');';

grant execute on function
  public.invite_member(text, text),
  public.revoke_invitation(uuid),
  public.accept_invitation(text)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/invitations.sql
--! Included 95_api/teams.sql
-- kind: code
-- Teams: made by admins of the organization, changed by them and by the team's own admins.

create or replace function private.raise_bad_team(p_sqlstate text, p_slug text)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_sqlstate = '23505' then
    perform private.raise_slug_taken(p_slug);
  end if;
  perform private.raise_error(
    'VALIDATION_FAILED',
    'A team needs a name of 1 to 200 characters, a slug of 2 to 63 lower-case letters, digits and single hyphens, '
    'and a color such as #3b82f6.'
  );
end
$$;

create or replace function public.create_team(
  name text,
  slug text,
  description text default null,
  color text default '#3b82f6'
)
  returns public.teams
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_team public.teams;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('admin');
  insert into public.teams (organization_id, name, slug, description, color)
  values (
    v_organization_id, create_team.name, create_team.slug, create_team.description, lower(create_team.color)
  )
  returning * into v_team;
  return v_team;
exception
  when unique_violation or check_violation or not_null_violation then
    perform private.raise_bad_team(sqlstate, slug);
    return null;
end
$$;
comment on function public.create_team(text, text, text, text) is
  'Creates a team in the current organization. Admins. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, CONFLICT (the slug is taken). Example: select id from create_team(''Sales'', ''sales'');';

create or replace function private.lock_team(p_id uuid, p_self uuid default null)
  returns public.teams
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_user_id constant uuid := public.current_user_id();
  v_team public.teams;
begin
  perform private.require_scope('organization:write');
  select t.* into v_team
  from public.teams as t
  where t.id = p_id and t.organization_id = v_organization_id
  for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  end if;
  if p_self is distinct from v_user_id and not exists (
    select from public.team_users as m
    where m.organization_id = v_organization_id
      and m.team_id = p_id
      and m.user_id = v_user_id
      and m.role = 'admin'
  ) then
    perform private.require_role('admin');
  end if;
  return v_team;
end
$$;
comment on function private.lock_team(uuid, uuid) is
  'A team that the request may change, locked; p_self may always take himself out. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.update_team(
  id uuid,
  name text default null,
  slug text default null,
  description text default null,
  color text default null
)
  returns public.teams
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team public.teams := private.lock_team(id);
begin
  update public.teams as t
  set
    name = coalesce(update_team.name, t.name),
    slug = coalesce(update_team.slug, t.slug),
    description = coalesce(update_team.description, t.description),
    color = coalesce(lower(update_team.color), t.color),
    updated_at = engine.now()
  where t.id = v_team.id
  returning t.* into v_team;
  return v_team;
exception
  when unique_violation or check_violation then
    perform private.raise_bad_team(sqlstate, slug);
    return null;
end
$$;
comment on function public.update_team(uuid, text, text, text, text) is
  'Changes a team; null leaves a thing as it is. Admins of the organization or the team. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (the slug is taken). Example: select update_team(''0190…'', color => ''#ff8800'');';

create or replace function public.delete_team(id uuid)
  returns public.teams
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team constant public.teams := private.lock_team(id);
begin
  perform private.require_role('admin');
  delete from public.teams as t where t.id = v_team.id;
  return v_team;
end
$$;
comment on function public.delete_team(uuid) is
  'Deletes a team; its members and what they made stay in the organization. Admins of the organization. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select delete_team(''0190…'');';

create or replace function public.add_team_member(team uuid, "user" uuid, role text default 'member')
  returns public.team_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team constant public.teams := private.lock_team(team);
  v_member public.team_users;
begin
  if not exists (
    select from public.team_users as m
    where m.organization_id = v_team.organization_id and m.team_id = v_team.id and m.user_id = "user"
  ) then
    perform private.admit(v_team.organization_id, 'team_members', p_team_id => v_team.id);
  end if;
  insert into public.team_users (organization_id, team_id, user_id, role, added_by)
  values (v_team.organization_id, v_team.id, "user", add_team_member.role, public.current_user_id())
  on conflict (organization_id, team_id, user_id) do update set role = excluded.role
  returning * into v_member;
  return v_member;
exception
  when foreign_key_violation or not_null_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such member in this organization.', 'Invite them first.');
    return null;
  when check_violation then
    perform private.raise_error(
      'VALIDATION_FAILED', 'There is no such role.', 'Roles in a team: admin, member.', '{"field": "role"}'
    );
    return null;
end
$$;
comment on function public.add_team_member(uuid, uuid, text) is
  'Adds a member of the organization to a team, as admin or member (by default); again with another role changes it. Admins of the organization or the team. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, LIMIT_REACHED (the team''s members). Example: select add_team_member(team => ''0190…'', "user" => ''0190…'');';

create or replace function public.remove_team_member(team uuid, "user" uuid)
  returns public.team_users
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_team constant public.teams := private.lock_team(team, "user");
  v_member public.team_users;
begin
  delete from public.team_users as m
  where m.organization_id = v_team.organization_id and m.team_id = v_team.id and m.user_id = "user"
  returning * into v_member;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such member in this team.');
  end if;
  return v_member;
end
$$;
comment on function public.remove_team_member(uuid, uuid) is
  'Takes somebody out of a team. Admins of the organization or the team, and everybody himself. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select remove_team_member(team => ''0190…'', "user" => ''0190…'');';

grant execute on function
  public.create_team(text, text, text, text),
  public.update_team(uuid, text, text, text, text),
  public.delete_team(uuid),
  public.add_team_member(uuid, uuid, text),
  public.remove_team_member(uuid, uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/teams.sql
--! Included 95_api/purge.sql
-- kind: code
-- What remains of organizations that were deleted 30 days ago leaves in batches, a transaction each: a tenant with a
-- million runs makes no long transaction and no burst that others feel.

-- One batch of one partition's runs, events first: from their own partitions, by the index on the run, so that the
-- foreign key of a run finds nothing more to delete.
create or replace function private.purge_runs(p_organization_id uuid, p_limit int)
  returns bigint
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan -- the foreign key's checks take half the time
as $$
declare
  v_runs uuid[];
  v_leaf record;
begin
  v_runs := array(
    select r.id from public.workflow_runs as r where r.organization_id = p_organization_id order by r.id limit p_limit
  );
  if v_runs = '{}' then
    return 0;
  end if;
  for v_leaf in
    select n.nspname as schema, o.name
    from partitions.of('public.workflow_events') as o
    join pg_class as c on c.oid = 'public.workflow_events'::regclass
    join pg_namespace as n on n.oid = c.relnamespace
    -- A run's first event carries the time in its id.
    where o.upper > engine.uuid_time(v_runs[1]) - interval '1 day'
  loop
    execute format('delete from %I.%I where run_id = any ($1)', v_leaf.schema, v_leaf.name) using v_runs;
  end loop;
  delete from public.workflow_run_logs as l
  where l.organization_id = p_organization_id and l.run_id = any (v_runs);
  delete from public.workflow_runs as r
  where r.id = any (v_runs);
  return cardinality(v_runs);
end
$$;
comment on function private.purge_runs(uuid, int) is 'Deletes the oldest runs of an organization, with events, logs and steps.';

create or replace function engine.purge_some(p_limit int default 1000)
  returns table (
    organization_id uuid,
    thing text,
    deleted bigint
  )
  language plpgsql
  volatile
  security definer -- definer because it deletes rows of every tenant's tables
  set search_path = pg_catalog, pg_temp
as $$
begin
  select o.id into organization_id
  from public.organizations as o
  where o.deleted_at <= engine.now() - private.purge_grace()
  order by o.deleted_at
  limit 1
  for no key update skip locked;
  if not found then
    return;
  end if;
  thing := 'runs';
  deleted := private.purge_runs(organization_id, p_limit);
  if deleted = 0 then
    thing := 'start keys';
    delete from engine.start_keys as k
    where (k.organization_id, k.workflow_id, k.key) in (
      select e.organization_id, e.workflow_id, e.key
      from engine.start_keys as e
      where e.organization_id = purge_some.organization_id
      limit p_limit
    );
    get diagnostics deleted = row_count;
  end if;
  if deleted = 0 then
    thing := 'workflows';
    delete from public.workflows as w
    where w.id in (
      select e.id from public.workflows as e where e.organization_id = purge_some.organization_id limit 100
    );
    get diagnostics deleted = row_count;
  end if;
  if deleted = 0 then
    thing := 'organization';
    delete from public.organizations as o where o.id = purge_some.organization_id;
    get diagnostics deleted = row_count;
  end if;
  return next;
end
$$;
comment on function engine.purge_some(int) is
  'Deletes one batch of an organization that was deleted 30 days ago, in the end itself, and says what; no row when none is left. Example: select * from engine.purge_some();';

create or replace procedure engine.purge_organizations()
  language plpgsql
as $$
begin
  while exists (select from engine.purge_some()) loop
    commit;
  end loop;
end
$$;
comment on procedure engine.purge_organizations() is
  'Deletes for good what was deleted 30 days ago, in a transaction for each 1,000 runs; so it cannot be called within one. Example: call engine.purge_organizations();';

grant execute on function engine.purge_some(int) to flowgres_maintenance, flowgres_dba;
grant execute on procedure engine.purge_organizations() to flowgres_maintenance, flowgres_dba;
--! EndIncluded 95_api/purge.sql
--! Included 95_api/workflows.sql
-- kind: code
-- Drafts. Every change locks the workflow first; publishing is in publish.sql.

create or replace function private.lock_workflow(p_id uuid)
  returns public.workflows
  language plpgsql
  volatile
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows as w where w.id = p_id;
  perform private.require_access(v_workflow.organization_id, 'workflows:write', 'workflow');
  select w.* into strict v_workflow from public.workflows as w where w.id = p_id for no key update;
  return v_workflow;
end
$$;
comment on function private.lock_workflow(uuid) is
  'The workflow that a command changes, locked. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function private.check_draft(p_name text, p_description text, p_definition jsonb)
  returns void
  language plpgsql
  immutable
as $$
begin
  if btrim(p_name) = '' or length(p_name) > 200 then
    perform private.raise_error('VALIDATION_FAILED', 'A name has 1 to 200 characters.', null, '{"field": "name"}');
  elsif length(p_description) > 5000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A description has at most 5,000 characters.', null, '{"field": "description"}'
    );
  elsif jsonb_typeof(p_definition) <> 'object' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A definition is an object: {"nodes": [], "connections": []}.',
      null,
      '{"field": "definition"}'
    );
  elsif octet_length(p_definition::text) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'A definition is at most 1 MiB.');
  end if;
end
$$;
comment on function private.check_draft(text, text, jsonb) is
  'What even a draft must keep to; nulls pass. Raises VALIDATION_FAILED, TOO_LARGE.';

-- Each tag once, in order, without the space around it.
create or replace function private.clean_tags(p_tags text[])
  returns text[]
  language plpgsql
  immutable
as $$
declare
  v_tags constant text[] := array(select distinct btrim(t.tag) from unnest(p_tags) as t (tag) order by 1);
begin
  if not private.are_tags(v_tags) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A workflow has at most 20 tags, each of 1 to 50 characters.', null, '{"field": "tags"}'
    );
  end if;
  return v_tags;
end
$$;

create or replace function public.create_workflow(
  name text,
  definition jsonb,
  description text default null,
  tags text[] default null
)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_workflow public.workflows;
begin
  perform private.require_scope('workflows:write');
  perform private.check_draft(coalesce(name, ''), description, coalesce(definition, 'null'));
  perform private.admit(v_organization_id, 'workflows');
  insert into public.workflows (organization_id, name, description, definition, created_by, tags)
  values (
    v_organization_id, create_workflow.name, create_workflow.description, create_workflow.definition,
    public.current_user_id(), private.clean_tags(create_workflow.tags)
  )
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.create_workflow(text, jsonb, text, text[]) is
  'Creates a workflow with a draft, which may still be invalid: publish_workflow checks it. tags: at most 20 of at most 50 characters. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (a definition above 1 MiB), LIMIT_REACHED (workflows). Example: select id from create_workflow(''Orders'', ''{"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}'');';

create or replace function public.save_workflow(
  id uuid,
  definition jsonb,
  expected_revision int,
  name text default null,
  description text default null,
  tags text[] default null
)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  perform private.check_draft(name, description, coalesce(definition, 'null'));
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  elsif v_workflow.revision is distinct from expected_revision then
    perform private.raise_error(
      'CONFLICT',
      format('The draft is at revision %s.', v_workflow.revision),
      'Somebody else saved it: read it again, merge and save with its revision.',
      jsonb_build_object('revision', v_workflow.revision)
    );
  end if;
  update public.workflows as w
  set
    definition = save_workflow.definition,
    name = coalesce(save_workflow.name, w.name),
    description = coalesce(save_workflow.description, w.description),
    tags = case when save_workflow.tags is null then w.tags else private.clean_tags(save_workflow.tags) end,
    revision = w.revision + 1,
    updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.save_workflow(uuid, jsonb, int, text, text, text[]) is
  'Replaces the draft; name, description and tags stay when not given. expected_revision is the revision that the change is based on. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (another revision, with the current one in details; or archived), VALIDATION_FAILED, TOO_LARGE, LIMIT_REACHED (beyond the plan: read-only). Example: select revision from save_workflow(''0190…'', ''{"nodes": [], "connections": []}'', 3);';

create or replace function public.archive_workflow(id uuid)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.archived_at is null then
    perform engine.unregister_webhooks(v_workflow.organization_id, v_workflow.id);
    perform engine.unregister_schedules(v_workflow.organization_id, v_workflow.id);
    update public.workflows as w
    set archived_at = engine.now(), published_version = null, updated_at = now()
    where w.id = v_workflow.id
    returning * into v_workflow;
  end if;
  return v_workflow;
end
$$;
comment on function public.archive_workflow(uuid) is
  'Unpublishes a workflow for good; its versions and runs stay readable, unfinished runs go on. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select archived_at from archive_workflow(''0190…'');';

create or replace function public.assign_workflow(id uuid, team uuid)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.team_id is distinct from team and team is not null and v_workflow.archived_at is null then
    perform private.admit(v_workflow.organization_id, 'workflows', p_team_id => team);
  end if;
  update public.workflows as w
  set team_id = assign_workflow.team, updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
exception
  when foreign_key_violation then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
    return null;
end
$$;
comment on function public.assign_workflow(uuid, uuid) is
  'Says which team looks after a workflow; null: none. Every member of the organization still sees it. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or the team), LIMIT_REACHED (the team''s workflows). Example: select team_id from assign_workflow(''0190…'', ''0191…'');';

grant execute on function
  public.assign_workflow(uuid, uuid),
  public.create_workflow(text, jsonb, text, text[]),
  public.save_workflow(uuid, jsonb, int, text, text, text[]),
  public.archive_workflow(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/workflows.sql
--! Included 95_api/publish.sql
-- kind: code
-- Publishing makes a draft the version that new runs use: validated, compiled to a plan, reachable by its webhooks.

create or replace function private.require_valid(p_definition jsonb)
  returns void
  language plpgsql
  stable
as $$
declare
  v_problems constant jsonb := (select jsonb_agg(to_jsonb(p)) from public.validate_workflow(p_definition) as p);
begin
  if v_problems is not null then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format(
        'The definition has %s problem(s), the first one: %s',
        jsonb_array_length(v_problems), v_problems -> 0 ->> 'message'
      ),
      'validate_workflow(definition) lists all of them, each with the place.',
      jsonb_build_object('problems', v_problems)
    );
  end if;
end
$$;
comment on function private.require_valid(jsonb) is 'Raises VALIDATION_FAILED with every problem of a definition.';

create or replace function public.publish_workflow(id uuid, message text default null)
  returns public.workflow_versions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow constant public.workflows := private.lock_workflow(id);
  v_version public.workflow_versions;
begin
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  elsif length(message) > 5000 then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A message has at most 5,000 characters.', null, '{"field": "message"}'
    );
  end if;

  perform private.require_valid(v_workflow.definition);
  insert into public.workflow_versions (organization_id, workflow_id, version, definition, message, published_by)
  select
    v_workflow.organization_id, v_workflow.id, coalesce(max(v.version), 0) + 1, v_workflow.definition,
    publish_workflow.message, public.current_user_id()
  from public.workflow_versions as v
  where v.organization_id = v_workflow.organization_id and v.workflow_id = v_workflow.id
  returning * into v_version;

  insert into engine.plans (organization_id, workflow_id, version, nodes, vars, settings)
  select v_version.organization_id, v_version.workflow_id, v_version.version, p.nodes, p.vars, p.settings
  from engine.compile_plan(v_version.definition) as p;

  update public.workflows as w
  set published_version = v_version.version, updated_at = now()
  where w.id = v_workflow.id;

  perform engine.register_webhooks(v_version.organization_id, v_version.workflow_id, v_version.version);
  perform engine.register_schedules(v_version.organization_id, v_version.workflow_id, v_version.version);
  return v_version;
end
$$;
comment on function public.publish_workflow(uuid, text) is
  'Publishes the draft as the next version, which new runs use from now on; running ones stay on theirs. message says what changed, at most 5,000 characters. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (archived, or a webhook path that another workflow serves), LIMIT_REACHED (1,000 schedules of an organization, or a workflow beyond the plan), VALIDATION_FAILED with all problems in details. Example: select version from publish_workflow(''0190…'', ''Larger orders'');';

create or replace function public.unpublish_workflow(id uuid)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if v_workflow.published_version is not null then
    perform engine.unregister_webhooks(v_workflow.organization_id, v_workflow.id);
    perform engine.unregister_schedules(v_workflow.organization_id, v_workflow.id);
    update public.workflows as w
    set published_version = null, updated_at = now()
    where w.id = v_workflow.id
    returning * into v_workflow;
  end if;
  return v_workflow;
end
$$;
comment on function public.unpublish_workflow(uuid) is
  'Starts no run any more, by webhook or otherwise, until it is published again; unfinished runs go on. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select name from unpublish_workflow(''0190…'');';

grant execute on function public.publish_workflow(uuid, text), public.unpublish_workflow(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/publish.sql
--! Included 95_api/versions.sql
-- kind: code
-- Between the versions of a workflow: back to an older one, and what differs.

create or replace function public.rollback_workflow(id uuid, version int)
  returns public.workflow_versions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow constant public.workflows := private.lock_workflow(id);
  v_version public.workflow_versions;
begin
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  end if;
  select v.* into v_version
  from public.workflow_versions as v
  where v.organization_id = v_workflow.organization_id
    and v.workflow_id = v_workflow.id
    and v.version = rollback_workflow.version;
  if v_version.version is null then
    perform private.raise_error('NOT_FOUND', 'The workflow has no such version.');
  end if;
  if v_workflow.published_version is distinct from v_version.version then
    update public.workflows as w
    set published_version = v_version.version, updated_at = now()
    where w.id = v_workflow.id;
    perform engine.register_webhooks(v_version.organization_id, v_version.workflow_id, v_version.version);
    perform engine.register_schedules(v_version.organization_id, v_version.workflow_id, v_version.version);
  end if;
  return v_version;
end
$$;
comment on function public.rollback_workflow(uuid, int) is
  'Makes a version that was published before the one that new runs use, with its webhooks and schedules; the draft stays, and so do running runs. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or the version), CONFLICT (archived, or a webhook path that another workflow serves by now), LIMIT_REACHED (beyond the plan: read-only). Example: select version from rollback_workflow(''0190…'', 2);';

-- A definition in which places have names: nodes by their id, connections by what they connect. What moved in a list
-- is no difference then, and what was inserted is one.
create or replace function private.named_places(p_definition jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select (p_definition - 'nodes' - 'connections')
    || jsonb_build_object(
      'nodes', (
        select jsonb_object_agg(coalesce(n.node ->> 'id', '#' || n.place), n.node - 'id')
        from jsonb_path_query(p_definition, 'lax $.nodes[*] ? (@.type() == "object")')
          with ordinality as n (node, place)
      ),
      'connections', (
        select jsonb_object_agg(
          format(
            '%s.%s -> %s.%s',
            c.connection ->> 'source', coalesce(c.connection ->> 'sourceOutput', 'main'),
            c.connection ->> 'target', coalesce(c.connection ->> 'targetInput', 'main')
          ),
          c.connection
        )
        from jsonb_path_query(p_definition, 'lax $.connections[*] ? (@.type() == "object")') as c (connection)
      )
    )
$$;

create or replace function private.members_of(p_value jsonb)
  returns table (key text, value jsonb)
  language sql
  immutable
as $$
  select m.key, m.value from jsonb_each(case jsonb_typeof(p_value) when 'object' then p_value end) as m
  union all
  select (m.place - 1)::text, m.value
  from jsonb_array_elements(case jsonb_typeof(p_value) when 'array' then p_value end)
    with ordinality as m (value, place)
$$;

-- Containers of the same kind are entered; what differs otherwise is a difference itself.
create or replace function private.differences(p_before jsonb, p_after jsonb)
  returns table (pointer text, before jsonb, after jsonb)
  language sql
  immutable
as $$
  with recursive pair as (
    select '' as pointer, p_before as before, p_after as after
    union all
    select p.pointer || '/' || replace(replace(m.key, '~', '~0'), '/', '~1'), m.before, m.after
    from pair as p
    cross join lateral (
      select coalesce(b.key, a.key) as key, b.value as before, a.value as after
      from private.members_of(p.before) as b
      full join private.members_of(p.after) as a on a.key = b.key
    ) as m
    where m.before is distinct from m.after
      and p.before <> p.after
      and jsonb_typeof(p.before) = jsonb_typeof(p.after)
  )
  select p.pointer, p.before, p.after
  from pair as p
  where p.before is distinct from p.after
    and not coalesce(
      jsonb_typeof(p.before) = jsonb_typeof(p.after) and jsonb_typeof(p.before) in ('object', 'array'), false
    )
$$;

create or replace function public.workflow_version_diff(workflow uuid, from_version int, to_version int default null)
  returns setof public.workflow_difference
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
  rows 20
as $$
declare
  v_workflow public.workflows;
  v_from jsonb;
  v_to jsonb;
begin
  select w.* into v_workflow from public.workflows as w where w.id = workflow_version_diff.workflow;
  perform private.require_access(v_workflow.organization_id, 'workflows:read', 'workflow');
  select v.definition into v_from
  from public.workflow_versions as v
  where (v.organization_id, v.workflow_id, v.version) = (v_workflow.organization_id, v_workflow.id, from_version);
  if to_version is null then
    v_to := v_workflow.definition;
  else
    select v.definition into v_to
    from public.workflow_versions as v
    where (v.organization_id, v.workflow_id, v.version) = (v_workflow.organization_id, v_workflow.id, to_version);
  end if;
  if v_from is null or v_to is null then
    perform private.raise_error('NOT_FOUND', 'The workflow has no such version.');
  end if;
  return query
  select
    d.pointer, case when d.before is null then 'added' when d.after is null then 'removed' else 'changed' end,
    d.before, d.after
  from private.differences(private.named_places(v_from), private.named_places(v_to)) as d
  order by d.pointer collate "C";
end
$$;
comment on function public.workflow_version_diff(uuid, int, int) is
  'What differs between two versions, or between a version and the draft when to_version is not given; no row when nothing does. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or a version). Example: select pointer, kind, before, after from workflow_version_diff(''0190…'', 1, 2);';

grant execute on function
  public.rollback_workflow(uuid, int),
  public.workflow_version_diff(uuid, int, int)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/versions.sql
--! Included 95_api/search.sql
-- kind: code
-- Finding workflows by words and tags. As user, no condition on a list or a text part reaches an index: their operators
-- are not leakproof, so row-level security has to come first. Here the organization is a condition like any other.

create or replace function public.search_workflows(
  query text default null,
  tags text[] default null,
  archived boolean default false
)
  returns setof public.workflows
  language plpgsql
  stable
  security definer -- definer because of what stands above; the organization is the request's own
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan -- a condition that was not given is none
  rows 50
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_tags constant text[] := private.tag_keys(v_organization_id, private.clean_tags(search_workflows.tags));
  v_pattern constant text := '%' || regexp_replace(btrim(query), '([\\%_])', '\\\1', 'g') || '%';
begin
  perform private.require_scope('workflows:read');
  if length(query) > 200 then
    perform private.raise_error('INVALID_ARGUMENT', 'A search has at most 200 characters.');
  end if;
  return query
  select w.*
  from public.workflows as w
  where w.organization_id = v_organization_id
    and (cardinality(v_tags) = 0 or private.tag_keys(w.organization_id, w.tags) @> v_tags)
    and (v_pattern is null or w.name ilike v_pattern or w.description ilike v_pattern)
    and (w.archived_at is not null) = coalesce(archived, false)
  order by w.created_at desc, w.id desc;
end
$$;
comment on function public.search_workflows(text, text[], boolean) is
  'The workflows of the organization whose name or description contains the text, in any case, and that have all of the tags; archived ones instead of the others if asked for. Newest first. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT (a text above 200 characters), VALIDATION_FAILED (impossible tags). Example: select name from search_workflows(''invoice'', ''{finance}'');';

grant execute on function public.search_workflows(text, text[], boolean) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/search.sql
--! Included 95_api/templates.sql
-- kind: code
-- Templates are workflows that may be copied: by their own organization, or by everybody. A copy is a new draft that
-- has nothing to do with its template any more.

-- What is copied: never what belongs to the organization, its credentials and the data that was pinned for tests.
create or replace function private.template_definition(p_workflow public.workflows)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_set(d.definition, '{nodes}', coalesce(
    (
      select jsonb_agg(
        case jsonb_typeof(n.node) when 'object' then n.node - 'credentials' - 'pin' else n.node end order by n.place
      )
      from jsonb_path_query(d.definition, 'lax $.nodes[*]') with ordinality as n (node, place)
    ),
    '[]'
  ))
  from (
    select coalesce(
      (
        select v.definition
        from public.workflow_versions as v
        where v.organization_id = p_workflow.organization_id
          and v.workflow_id = p_workflow.id
          and v.version = p_workflow.published_version
      ),
      p_workflow.definition
    ) as definition
  ) as d
$$;

create or replace function public.set_template(id uuid, template text)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows := private.lock_workflow(id);
begin
  if template not in ('organization', 'public') then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A template is for the organization, or public.', null, '{"field": "template"}'
    );
  elsif template = 'public' and not private.is_dba() then
    perform private.raise_error('FORBIDDEN', 'Only a DBA makes a template public.');
  end if;
  update public.workflows as w
  set template = set_template.template, updated_at = now()
  where w.id = v_workflow.id
  returning * into v_workflow;
  return v_workflow;
end
$$;
comment on function public.set_template(uuid, text) is
  'Makes a workflow a template: organization, for its members, or public, for everybody (a DBA without a context only); null makes it none again. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED. Example: select template from set_template(''0190…'', ''organization'');';

create or replace function public.workflow_templates()
  returns setof public.workflow_template
  language plpgsql
  stable
  security definer -- definer because public templates are other organizations' rows
  set search_path = pg_catalog, pg_temp
  rows 50
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('workflows:read');
  return query
  select
    w.id, w.name, w.description, w.tags, private.template_definition(w), w.organization_id = v_organization_id
  from public.workflows as w
  where (w.template = 'public' or w.template = 'organization' and w.organization_id = v_organization_id)
    and w.archived_at is null
  order by w.organization_id = v_organization_id desc, w.name, w.id;
end
$$;
comment on function public.workflow_templates() is
  'The templates that the organization may copy: its own ones first, then the public ones, by name. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN. Example: select id, name from workflow_templates() where ''finance'' = any (tags);';

create or replace function public.copy_template(id uuid, name text default null)
  returns public.workflows
  language plpgsql
  volatile
  security definer -- definer because a public template is another organization's row
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_template public.workflows;
begin
  perform private.require_scope('workflows:write');
  select w.* into v_template
  from public.workflows as w
  where w.id = copy_template.id
    and (w.template = 'public' or w.template = 'organization' and w.organization_id = v_organization_id)
    and w.archived_at is null;
  if v_template.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such template.', 'Query workflow_templates() lists them.');
  end if;
  return public.create_workflow(
    coalesce(copy_template.name, v_template.name),
    private.template_definition(v_template),
    v_template.description,
    v_template.tags
  );
end
$$;
comment on function public.copy_template(uuid, text) is
  'A new workflow of the organization with the template''s definition, description and tags; under another name if given. Credentials and pinned outputs are not copied. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, LIMIT_REACHED (workflows). Example: select id from copy_template(''0190…'', ''Our invoices'');';

create or replace function public.export_workflow(id uuid)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow public.workflows;
begin
  select w.* into v_workflow from public.workflows as w where w.id = export_workflow.id;
  perform private.require_access(v_workflow.organization_id, 'workflows:read', 'workflow');
  return jsonb_build_object(
    'name', v_workflow.name,
    'description', v_workflow.description,
    'tags', to_jsonb(v_workflow.tags),
    'definition', v_workflow.definition
  );
end
$$;
comment on function public.export_workflow(uuid) is
  'The draft as a document, {"name", "description", "tags", "definition"}: the arguments of create_workflow. Credentials are in it by name only. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select export_workflow(''0190…'');';

grant execute on function
  public.set_template(uuid, text),
  public.workflow_templates(),
  public.copy_template(uuid, text),
  public.export_workflow(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/templates.sql
--! Included 95_api/variables.sql
-- kind: code
-- Variables are set and deleted one by one; a run keeps those that it had at its start.

create or replace function public.set_variable(name text, value jsonb)
  returns public.variables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_variable public.variables;
begin
  perform private.require_scope('workflows:write');
  if coalesce(name, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'A name begins with a letter or an underscore and has up to 64 letters, digits and underscores.',
      null,
      '{"field": "name"}'
    );
  elsif octet_length(value::text) > 65536 then
    perform private.raise_error('TOO_LARGE', 'A variable is at most 64 KiB.', null, '{"limit": 65536}');
  end if;
  insert into public.variables as v (organization_id, name, value, updated_by)
  values (v_organization_id, set_variable.name, coalesce(set_variable.value, 'null'), public.current_user_id())
  on conflict on constraint variables_pkey do update
  set value = excluded.value, updated_by = excluded.updated_by, updated_at = now()
  returning * into v_variable;
  return v_variable;
end
$$;
comment on function public.set_variable(text, jsonb) is
  'Creates or replaces a variable, which expressions read as $.vars.<name>; runs that have started keep the value they had. Not for secrets: every member sees it. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED (the name), TOO_LARGE (above 64 KiB). Example: select value from set_variable(''tax_rate'', ''0.19'');';

create or replace function public.delete_variable(name text)
  returns public.variables
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_variable public.variables;
begin
  perform private.require_scope('workflows:write');
  delete from public.variables as v
  where v.organization_id = v_organization_id and v.name = delete_variable.name
  returning * into v_variable;
  if v_variable.name is null then
    perform private.raise_error('NOT_FOUND', 'There is no such variable in this organization.');
  end if;
  return v_variable;
end
$$;
comment on function public.delete_variable(text) is
  'Deletes a variable and returns it; expressions that read it give null from the next run on. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select name from delete_variable(''tax_rate'');';

grant execute on function public.set_variable(text, jsonb), public.delete_variable(text)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/variables.sql
--! Included 95_api/n8n_expressions.sql
-- kind: code
-- n8n's expressions are JavaScript; those that only take a value from somewhere become paths.
-- p_places: the path of each node by its name in n8n; p_prev: the path of $json.

-- `$json.order.total` as `$.prev.order.total`; null for what is more than a path.
create or replace function private.n8n_path(p_expression text, p_places jsonb, p_prev text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_expression constant text := btrim(p_expression);
  v_found text[];
  v_start text;
begin
  v_found := regexp_match(v_expression, '^\$node\["([^"]+)"\]\.json(.*)$');
  if v_found is null then
    v_found := regexp_match(v_expression, '^\$\([''"]([^''"]+)[''"]\)\.(?:item|first\(\)|last\(\))\.json(.*)$');
  end if;
  if v_found is not null then
    v_start := p_places ->> v_found[1];
  else
    v_found := regexp_match(v_expression, '^(\$json|\$vars|\$execution\.id|\$workflow\.id)(.*)$');
    v_start := case v_found[1]
      when '$json' then p_prev
      when '$vars' then '$.vars'
      when '$execution.id' then '$.run.id'
      when '$workflow.id' then '$.run.workflow'
    end;
  end if;
  if v_start is null or v_found[2] !~ '^(\.[A-Za-z_]\w*|\["[^"\\]+"\]|\[''[^''"\\]+''\]|\[\d+\])*$' then
    return null;
  end if;
  return v_start || regexp_replace(v_found[2], '\[[''"]([^''"]+)[''"]\]', '."\1"', 'g');
end
$$;

-- A text of n8n, an expression when it begins with `=`, as one of ours; null when it cannot be one.
create or replace function private.n8n_expression(p_text text, p_places jsonb, p_prev text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_part text;
  v_path text;
  v_result text := '';
begin
  if p_text !~ '^=' then
    return replace(p_text, '{{', '\{{');
  end if;
  for v_part in
    select p.part[1] from regexp_matches(substr(p_text, 2), '(\{\{.*?\}\}|(?:(?!\{\{).)+)', 'gs') as p (part)
  loop
    if v_part ~ '^\{\{' then
      v_path := private.n8n_path(substr(v_part, 3, length(v_part) - 4), p_places, p_prev);
      v_part := '{{ ' || v_path || ' }}';
    end if;
    v_result := v_result || v_part;
  end loop;
  return v_result;
end
$$;

-- The same for any value; what cannot be an expression stays the text it was.
create or replace function private.n8n_value(p_value jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select case jsonb_typeof(p_value)
    when 'string' then to_jsonb(
      coalesce(
        private.n8n_expression(p_value #>> '{}', p_places, p_prev), replace(p_value #>> '{}', '{{', '\{{')
      )
    )
    else p_value
  end
$$;

-- [{"name", "value"}, …], also as "key" or "displayName" have it, as an object.
create or replace function private.n8n_pairs(p_pairs jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_object_agg(p.pair ->> 'name', private.n8n_value(p.pair -> 'value', p_places, p_prev)), '{}')
  from jsonb_path_query(p_pairs, 'lax $[*] ? (@.name.type() == "string" && exists (@.value))') as p (pair)
$$;

-- One side of a condition: a path, or a literal.
create or replace function private.n8n_operand(p_value jsonb, p_type text, p_places jsonb, p_prev text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_value #>> '{}';
  v_inner constant text := (regexp_match(v_text, '^=\s*\{\{([^{}]*)\}\}\s*$'))[1];
begin
  return case
    when v_inner is not null then private.n8n_path(v_inner, p_places, p_prev)
    when v_text ~ '^=' then null
    when p_type in ('number', 'boolean') and v_text ~ '^(-?\d+(\.\d+)?|true|false)$' then v_text
    else p_value::text
  end;
end
$$;

create or replace function private.n8n_condition(p_left text, p_operation text, p_right text)
  returns text
  language sql
  immutable
as $$
  select case
    when p_operation in ('equals', 'equal') then format('%s == %s', p_left, p_right)
    when p_operation in ('notEquals', 'notEqual') then format('%s != %s', p_left, p_right)
    when p_operation in ('gt', 'larger', 'after') then format('%s > %s', p_left, p_right)
    when p_operation in ('lt', 'smaller', 'before') then format('%s < %s', p_left, p_right)
    when p_operation in ('gte', 'largerEqual') then format('%s >= %s', p_left, p_right)
    when p_operation in ('lte', 'smallerEqual') then format('%s <= %s', p_left, p_right)
    when p_operation = 'startsWith' and p_right ~ '^"' then format('%s starts with %s', p_left, p_right)
    when p_operation = 'contains' and p_right ~ '^"' then format('%s like_regex %s flag "q"', p_left, p_right)
    when p_operation = 'true' then format('%s == true', p_left)
    when p_operation = 'false' then format('%s == false', p_left)
    when p_operation in ('exists', 'notEmpty', 'isNotEmpty') then format('exists (%s ? (@ != null && @ != ""))', p_left)
    when p_operation in ('notExists', 'empty', 'isEmpty') then format('!exists (%s ? (@ != null && @ != ""))', p_left)
  end
$$;
--! EndIncluded 95_api/n8n_expressions.sql
--! Included 95_api/n8n_nodes.sql
-- kind: code
-- What becomes of n8n's nodes. Each function gives the properties of ours, or null when it cannot.

-- A list of conditions (since version 2 of n8n's `if`), or one by type (before).
create or replace function private.n8n_if(p_parameters jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_conditions constant jsonb := p_parameters -> 'conditions';
  v_any constant boolean :=
    coalesce(v_conditions ->> 'combinator', '') = 'or' or coalesce(p_parameters ->> 'combineOperation', '') = 'any';
  v_condition record;
  v_text text;
  v_texts text[];
begin
  for v_condition in
    select
      c.item -> 'leftValue' as before, c.item #>> '{operator,operation}' as operation,
      c.item -> 'rightValue' as after, c.item #>> '{operator,type}' as type
    from jsonb_path_query(v_conditions, 'lax $.conditions[*]') as c (item)
    union all
    select
      c.item -> 'value1',
      coalesce(c.item ->> 'operation', case t.key when 'number' then 'smaller' else 'equal' end),
      c.item -> 'value2', t.key
    from jsonb_each(case jsonb_typeof(v_conditions) when 'object' then v_conditions end) as t
    cross join jsonb_path_query(t.value, 'lax $[*]') as c (item)
    where t.key in ('string', 'number', 'boolean')
  loop
    v_text := private.n8n_condition(
      private.n8n_operand(v_condition.before, v_condition.type, p_places, p_prev),
      v_condition.operation,
      coalesce(private.n8n_operand(v_condition.after, v_condition.type, p_places, p_prev), 'null')
    );
    if v_text is null then
      return null;
    end if;
    v_texts := v_texts || v_text;
  end loop;
  return jsonb_build_object('when', array_to_string(v_texts, case when v_any then ' || ' else ' && ' end));
end
$$;

create or replace function private.n8n_set(p_parameters jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select
    case
      when coalesce((p_parameters -> 'includeOtherFields')::boolean, p_parameters ? 'values') then '{}'
      else '{"pick": []}'::jsonb
    end
    || jsonb_build_object('assign', case
      when p_parameters ? 'values' then (
        select coalesce(
          jsonb_object_agg(v.item ->> 'name', private.n8n_value(v.item -> 'value', p_places, p_prev)), '{}'
        )
        from jsonb_path_query(p_parameters, 'lax $.values.*[*] ? (@.name.type() == "string")') as v (item)
      )
      else private.n8n_pairs(p_parameters #> '{assignments,assignments}', p_places, p_prev)
    end)
  where coalesce(p_parameters ->> 'mode', 'manual') = 'manual'
$$;

create or replace function private.n8n_http_request(p_parameters jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'method', upper(coalesce(p_parameters ->> 'method', p_parameters ->> 'requestMethod', 'GET')),
    'url', private.n8n_value(p_parameters -> 'url', p_places, p_prev),
    'query', case when p_parameters ? 'queryParameters' then
      private.n8n_pairs(p_parameters #> '{queryParameters,parameters}', p_places, p_prev)
    end,
    'headers', case when p_parameters ? 'headerParameters' then
      private.n8n_pairs(p_parameters #> '{headerParameters,parameters}', p_places, p_prev)
    end,
    'body', case
      when p_parameters ->> 'specifyBody' = 'json' then private.n8n_value(p_parameters -> 'jsonBody', p_places, p_prev)
      when p_parameters ? 'bodyParameters' then
        private.n8n_pairs(p_parameters #> '{bodyParameters,parameters}', p_places, p_prev)
    end,
    'bodyType', case
      when p_parameters ->> 'specifyBody' = 'json' then 'raw'
      when p_parameters ->> 'contentType' = 'form-urlencoded' then 'form'
    end
  ))
  where p_parameters ? 'url'
$$;

create or replace function private.n8n_merge(p_parameters jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when coalesce(p_parameters ->> 'mode', 'append') = 'append' then '{"mode": "append"}'
    when p_parameters ->> 'mode' = 'chooseBranch' then '{"mode": "choose"}'
    when coalesce(p_parameters ->> 'combineBy', p_parameters ->> 'combinationMode')
      in ('combineByPosition', 'mergeByPosition')
      then '{"mode": "position"}'
    when p_parameters ->> 'fieldsToMatchString' ~ '^[^,]+$'
      then jsonb_build_object('mode', 'fields', 'by', p_parameters -> 'fieldsToMatchString')
  end::jsonb
$$;

-- The first interval of a schedule.
create or replace function private.n8n_schedule(p_parameters jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_interval constant jsonb := coalesce(p_parameters #> '{rule,interval,0}', '{}');
  v_minute constant text := coalesce(v_interval ->> 'triggerAtMinute', '0');
  v_hour constant text := coalesce(v_interval ->> 'triggerAtHour', '0');
  v_every text;
begin
  v_every := case coalesce(v_interval ->> 'field', 'days')
    when 'cronExpression' then v_interval ->> 'expression'
    when 'minutes' then format('*/%s * * * *', coalesce(v_interval ->> 'minutesInterval', '5'))
    when 'hours' then format('%s */%s * * *', v_minute, coalesce(v_interval ->> 'hoursInterval', '1'))
    when 'days' then format('%s %s */%s * *', v_minute, v_hour, coalesce(v_interval ->> 'daysInterval', '1'))
    when 'weeks' then format(
      '%s %s * * %s', v_minute, v_hour,
      coalesce(
        (
          select string_agg(d.day #>> '{}', ',')
          from jsonb_path_query(v_interval, 'lax $.triggerAtDay[*]') as d (day)
        ),
        '0'
      )
    )
  end;
  return case when v_every is not null then jsonb_build_object('cron', replace(v_every, '*/1 ', '* ')) end;
end
$$;

create or replace function private.n8n_node(
  p_type text,
  p_parameters jsonb,
  p_places jsonb,
  p_prev text,
  out type text,
  out properties jsonb
)
  language plpgsql
  immutable
as $$
begin
  type := case p_type
    when 'webhook' then 'webhookTrigger'
    when 'start' then 'manualTrigger'
    else p_type
  end;
  properties := case p_type
    when 'manualTrigger' then '{}'
    when 'start' then '{}'
    when 'noOp' then '{}'
    when 'webhook' then jsonb_build_object(
      'path', '/' || btrim(coalesce(p_parameters ->> 'path', ''), '/'),
      'method', upper(coalesce(p_parameters ->> 'httpMethod', 'GET')),
      'respond', case p_parameters ->> 'responseMode'
        when 'lastNode' then 'lastNode' when 'responseNode' then 'respondNode' else 'immediately'
      end
    )
    when 'scheduleTrigger' then private.n8n_schedule(p_parameters)
    when 'if' then private.n8n_if(p_parameters, p_places, p_prev)
    when 'set' then private.n8n_set(p_parameters, p_places, p_prev)
    when 'httpRequest' then private.n8n_http_request(p_parameters, p_places, p_prev)
    when 'merge' then private.n8n_merge(p_parameters)
    when 'respondToWebhook' then jsonb_strip_nulls(jsonb_build_object(
      'status', p_parameters #> '{options,responseCode}',
      'body', case when p_parameters ->> 'respondWith' in ('json', 'text') then
        private.n8n_value(p_parameters -> 'responseBody', p_places, p_prev)
      end
    ))
  end;
  if properties is null then
    type := null;
  end if;
end
$$;
--! EndIncluded 95_api/n8n_nodes.sql
--! Included 95_api/n8n_import.sql
-- kind: code
-- Takes over a workflow of n8n, as its editor exports it.

-- The nodes with the ids that they get here, and what $json is to each: the body of a webhook has its own path there.
create or replace function private.n8n_named(p_document jsonb)
  returns table (place int, node jsonb, id text, path text, prev text)
  language sql
  stable
as $$
  with named as (
    select
      (n.place - 1)::int as place,
      n.node,
      coalesce(nullif(left(
        regexp_replace(regexp_replace(n.node ->> 'name', '[^A-Za-z0-9_]+', '_', 'g'), '^(\d)|^_+', '_\1'), 56
      ), ''), 'node') as id,
      n.node ->> 'type' = 'n8n-nodes-base.webhook' as is_webhook
    from jsonb_path_query(p_document, 'lax $.nodes[*] ? (@.type.type() == "string")')
      with ordinality as n (node, place)
    where n.node ->> 'type' <> 'n8n-nodes-base.stickyNote'
  ),
  told_apart as (
    select
      n.*,
      case row_number() over (partition by lower(n.id) order by n.place)
        when 1 then n.id
        else n.id || '_' || n.place
      end as unique_id
    from named as n
  )
  select
    n.place, n.node, n.unique_id,
    case when n.is_webhook then '$.input' else '$.nodes.' || n.unique_id end,
    case
      when exists (
        select
        from told_apart as s
        where s.is_webhook
          and jsonb_path_exists(
            p_document -> 'connections' -> (s.node ->> 'name'), 'lax $.main[*][*] ? (@.node == $name)',
            jsonb_build_object('name', n.node -> 'name')
          )
      ) then '$.input'
      else '$.prev'
    end
  from told_apart as n
$$;

-- One node as ours; one that there is nothing like becomes a disabled noOp, so that the graph stays whole.
create or replace function private.n8n_definition_node(p_node jsonb, p_id text, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'id', p_id,
    'type', coalesce(m.type, 'noOp'),
    'name', left(p_node ->> 'name', 200),
    'position', case when jsonb_path_exists(p_node, 'lax $.position[1] ? (@.type() == "number")') then
      jsonb_build_object('x', p_node #> '{position,0}', 'y', p_node #> '{position,1}')
    end,
    'disabled', case when m.type is null or p_node -> 'disabled' = 'true' then true end,
    'onError', case
      when p_node ->> 'onError' = 'continueErrorOutput' then 'errorOutput'
      when p_node ->> 'onError' = 'continueRegularOutput' or p_node -> 'continueOnFail' = 'true' then 'continue'
    end,
    'retry', case when m.type = 'httpRequest' and p_node -> 'retryOnFail' = 'true' then
      jsonb_build_object('maxAttempts', coalesce(p_node -> 'maxTries', '3'))
    end
  )) || jsonb_build_object('properties', coalesce(m.properties, '{}'))
  from private.n8n_node(
    regexp_replace(p_node ->> 'type', '^n8n-nodes-base\.', ''), coalesce(p_node -> 'parameters', '{}'), p_places, p_prev
  ) as m
$$;

create or replace function private.n8n_connections(p_document jsonb, p_ids jsonb, p_types jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(distinct jsonb_build_object(
    'source', p_ids -> s.key,
    'sourceOutput', case
      when p_types ->> s.key = 'if' then case o.place when 1 then 'true' else 'false' end
      when o.place > 1 then 'error'
      else 'main'
    end,
    'target', p_ids -> (t.target ->> 'node'),
    'targetInput', case
      when p_types ->> (t.target ->> 'node') = 'merge' and t.target -> 'index' <> '0' then 'second'
      else 'main'
    end
  )), '[]')
  from jsonb_each(case jsonb_typeof(p_document -> 'connections') when 'object' then p_document -> 'connections' end)
    as s
  cross join jsonb_path_query(s.value, 'lax $.main[*]') with ordinality as o (targets, place)
  cross join jsonb_path_query(o.targets, 'lax $[*] ? (@.node.type() == "string")') as t (target)
  where p_ids ? s.key and p_ids ? (t.target ->> 'node')
$$;

-- What was lost on the way: unknown nodes, expressions that are programs, secrets.
create or replace function private.n8n_problems(p_place int, p_node jsonb, p_places jsonb, p_prev text)
  returns table (pointer text, message text)
  language plpgsql
  stable
as $$
begin
  pointer := format('/nodes/%s', p_place);
  if (private.n8n_node(
    regexp_replace(p_node ->> 'type', '^n8n-nodes-base\.', ''), coalesce(p_node -> 'parameters', '{}'), p_places, p_prev
  )).type is null then
    message := format(
      '%s is not known here, or not as it is used; a disabled noOp stands for it', p_node ->> 'type'
    );
    return next;
    return;
  end if;
  return query
  select
    format('/nodes/%s/parameters', p_place),
    format('%s is more than a path; write it anew', left(t.value #>> '{}', 200))
  from jsonb_path_query(p_node, 'strict $.parameters.** ? (@.type() == "string" && @ starts with "=")', '{}', true)
    as t (value)
  where private.n8n_expression(t.value #>> '{}', p_places, p_prev) is null;
  if p_node ? 'credentials' or p_node #>> '{parameters,authentication}' <> 'none' then
    pointer := format('/nodes/%s/credentials', p_place);
    message := 'credentials are not taken over; choose one here';
    return next;
  end if;
end
$$;

-- The definition, and what was lost.
create or replace function private.n8n_definition(p_document jsonb, out definition jsonb, out problems jsonb)
  language plpgsql
  stable
as $$
declare
  v_ids jsonb;
  v_places jsonb;
  v_types jsonb;
begin
  select
    coalesce(jsonb_object_agg(n.node ->> 'name', n.id), '{}'),
    coalesce(jsonb_object_agg(n.node ->> 'name', n.path), '{}'),
    coalesce(jsonb_object_agg(n.node ->> 'name', regexp_replace(n.node ->> 'type', '^n8n-nodes-base\.', '')), '{}')
  into v_ids, v_places, v_types
  from private.n8n_named(p_document) as n
  where n.node ->> 'name' is not null;

  select
    jsonb_build_object(
      'nodes', coalesce(
        jsonb_agg(private.n8n_definition_node(n.node, n.id, v_places, n.prev) order by n.place), '[]'
      ),
      'connections', private.n8n_connections(p_document, v_ids, v_types)
    ),
    coalesce(
      jsonb_path_query_array(jsonb_agg(p.problems order by n.place) filter (where p.problems is not null), '$[*][*]'),
      '[]'
    )
  into definition, problems
  from private.n8n_named(p_document) as n
  cross join lateral (
    select jsonb_agg(to_jsonb(q)) as problems
    from private.n8n_problems(n.place, n.node, v_places, n.prev) as q
  ) as p;
end
$$;

create or replace function public.import_n8n_workflow(doc jsonb, name text default null)
  returns public.workflow_import
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_result record;
  v_import public.workflow_import;
begin
  perform private.require_scope('workflows:write');
  if coalesce(jsonb_typeof(doc -> 'nodes'), '') <> 'array' or jsonb_array_length(doc -> 'nodes') > 500 then
    perform private.raise_error(
      'VALIDATION_FAILED',
      'This is no workflow of n8n with at most 500 nodes.',
      'Export it with "Download" in the editor.',
      '{"field": "doc"}'
    );
  elsif octet_length(doc::text) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'A document is at most 1 MiB.', null, '{"limit": 1048576}');
  end if;
  v_result := private.n8n_definition(doc);
  select w.id into v_import.workflow_id
  from public.create_workflow(
    left(coalesce(import_n8n_workflow.name, nullif(btrim(doc ->> 'name'), ''), 'n8n'), 200), v_result.definition
  ) as w;
  v_import.problems := v_result.problems;
  return v_import;
end
$$;
comment on function public.import_n8n_workflow(jsonb, text) is
  'Makes a draft of a workflow that n8n''s editor has exported. Taken over are manualTrigger, webhook, scheduleTrigger, if, set, httpRequest, merge, noOp and respondToWebhook, how they are connected, and expressions that take a value by a path; problems lists what is not. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, TOO_LARGE (above 1 MiB), LIMIT_REACHED (workflows). Example: select workflow_id, problems from import_n8n_workflow(''{"name": "Orders", "nodes": [], "connections": {}}'');';

grant execute on function public.import_n8n_workflow(jsonb, text) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/n8n_import.sql
--! Included 95_api/test_workflow.sql
-- kind: code
-- Trying a definition out: the engine moves a run that is never written.

create or replace function public.test_workflow(definition jsonb, input jsonb default '{}', "trigger" text default null)
  returns setof public.workflow_test_event
  language plpgsql
  stable
  security definer -- definer because the engine's functions are nobody else's
  set search_path = pg_catalog, pg_temp
  rows 20
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_request engine.start_request;
  v_plan engine.plans;
  v_compiled record;
  v_trigger text;
  v_move engine.move;
begin
  perform private.require_scope('workflows:write');
  perform private.require_valid(definition);
  if pg_column_size(input) > 1048576 then
    perform private.raise_error('TOO_LARGE', 'The input of a run is at most 1 MiB.');
  end if;
  select c.* into v_compiled from engine.compile_plan(definition) as c;
  v_plan.organization_id := v_organization_id;
  v_plan.version := 0;
  v_plan.nodes := v_compiled.nodes;
  v_plan.ids := engine.plan_ids(v_compiled.nodes);
  v_plan.vars := v_compiled.vars;
  v_plan.settings := v_compiled.settings;
  v_trigger := coalesce("trigger", engine.trigger_for(v_plan.nodes, 'manual'));
  if (v_plan.nodes[array_position(v_plan.ids, v_trigger)]).kind is distinct from 'trigger' then
    perform private.raise_error('NOT_FOUND', format('The definition has no trigger %L.', v_trigger));
  end if;

  v_request.organization_id := v_organization_id;
  v_request.mode := 'manual';
  v_request.input := coalesce(input, '{}');
  v_request.run_id := engine.uuid_v7(engine.now());
  v_move := engine.first_move(v_request, v_plan, v_plan.nodes, v_trigger, engine.now());
  return query select e.seq, e.type, e.payload from unnest(v_move.entries) as e order by e.seq;
end
$$;
comment on function public.test_workflow(jsonb, jsonb, text) is
  'The events that a run of this definition would have; nothing is stored and nothing outside is touched. Pinned nodes give their pin. A step that needs a worker, a signal or time, and everything after it, is left out. trigger: the node that starts it, by default a manualTrigger or the first. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED with all problems in details, NOT_FOUND (the trigger), TOO_LARGE (an input above 1 MiB). Example: select seq, type, payload from test_workflow(''{"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}'', ''{"total": 120}'');';

grant execute on function public.test_workflow(jsonb, jsonb, text) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/test_workflow.sql
--! Included 95_api/runs.sql
-- kind: code
-- Commands on runs. The engine does the work; here it is decided for which organization and with which right.

-- The organization of a run that a request may touch.
create or replace function private.require_run(p_run uuid, p_scope text)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_organization_id uuid;
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = p_run;
  perform private.require_access(v_organization_id, p_scope, 'run');
  return v_organization_id;
end
$$;
comment on function private.require_run(uuid, text) is
  'The organization of a run that the request may touch. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function public.start_workflow_run(
  workflow uuid,
  input jsonb default '{}',
  idempotency_key text default null,
  priority int default null,
  metadata jsonb default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid;
  v_answer record;
  v_run public.workflow_runs;
begin
  select w.organization_id into v_organization_id from public.workflows as w where w.id = start_workflow_run.workflow;
  perform private.require_access(v_organization_id, 'runs:write', 'workflow');
  select a.run_id, a.error into v_answer
  from engine.start_runs(jsonb_build_array(jsonb_build_object(
    'organizationId', v_organization_id,
    'workflowId', workflow,
    'mode', 'api',
    'input', coalesce(input, '{}'),
    'key', idempotency_key,
    'priority', priority,
    'metadata', metadata,
    'startedBy', public.current_user_id()
  ))) as a;
  if v_answer.run_id is null then
    perform private.raise_error(
      v_answer.error ->> 'code',
      v_answer.error ->> 'message',
      v_answer.error ->> 'hint',
      coalesce(v_answer.error -> 'details', '{}')
    );
  end if;
  select r.* into v_run from public.workflow_runs as r where r.id = v_answer.run_id;
  return v_run;
end
$$;
comment on function public.start_workflow_run(uuid, jsonb, text, int, jsonb) is
  'Starts a run of the published version. It is durable when this returns; a workflow of pure nodes is finished by then, with its result in output. The same idempotency_key (at most 256 characters, kept 7 days) with the same input returns the same run. priority, from -1000 to 1000, replaces that of the workflow: lower begins earlier. metadata: an object of free facts, to find the run by. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, NOT_PUBLISHED, CONFLICT (the key was used with another input), TOO_LARGE (an input above 1 MiB), INVALID_ARGUMENT. Example: select id, status from start_workflow_run(''0190…'', ''{"total": 120}'', ''order-17'', metadata => ''{"customer": 42}'');';

create or replace function public.cancel_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.cancel_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.cancel_run(uuid, text) is
  'Ends a run at once; a running effect is told within 5 seconds, and what it still answers is not recorded. A run that has ended stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from cancel_run(''0190…'', ''wrong customer'');';

create or replace function public.verify_run(run uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
  security definer -- definer because it replays with the engine's own functions
  set search_path = pg_catalog, pg_temp
  rows 1
as $$
begin
  perform private.require_run(run, 'runs:read');
  return query select v.seq, v.problem, v.recorded, v.computed from engine.verify_run(run) as v;
end
$$;
comment on function public.verify_run(uuid) is
  'Replays a run from its log and returns where the engine would decide differently today: no row when the log is whole. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select * from verify_run(''0190…'');';

grant execute on function
  public.start_workflow_run(uuid, jsonb, text, int, jsonb),
  public.cancel_run(uuid, text),
  public.verify_run(uuid)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/runs.sql
--! Included 95_api/run_commands.sql
-- kind: code
-- Pausing, resuming, retrying and forking runs.

create or replace function public.pause_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.pause_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.pause_run(uuid, text) is
  'Begins nothing new in a run until resume_run. Attempts that run finish and are recorded; timers and signals are kept; the deadline goes on. A run that is paused or has ended stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from pause_run(''0190…'', ''the peer is down'');';

create or replace function public.resume_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.resume_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.resume_run(uuid, text) is
  'Lets a paused run go on: with what has finished in the pause, and at once with timers whose time came in it. A run that is not paused stays as it is. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from resume_run(''0190…'');';

create or replace function public.retry_run(run uuid, from_node text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.retry_run(run, from_node, public.current_user_id());
end
$$;
comment on function public.retry_run(uuid, text) is
  'Starts a new run, which it returns, that does again what a failed or canceled run did not finish, or from_node and all that comes after it; steps that were finished are taken over, not executed. Version and input are the same, so are idempotency keys sent to peers of steps that never succeeded. A run is retried once: calling it again returns the same run; if that fails too, retry that. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (also: no such node), CONFLICT (the run is unfinished, was successful, or was started by a step of another run), EXPIRED (its log is gone), NOT_PUBLISHED (the workflow is archived). Example: select id, status from retry_run(''0190…'', from_node => ''charge'');';

create or replace function public.fork_run(
  run uuid,
  from_node text default null,
  input jsonb default null,
  version int default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.fork_run(run, from_node, input, version, public.current_user_id());
end
$$;
comment on function public.fork_run(uuid, text, jsonb, int) is
  'Starts a new run, which it returns, from any run, finished or not. It does again from_node and what comes after it, what had not succeeded, and what is different in another version; the other steps are taken over. Without an input it has that of the run; with another input, and no from_node, it does everything again. Without a version it stays on that of the run. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (also: no such node or version), EXPIRED (its log is gone), NOT_PUBLISHED (the workflow is archived), TOO_LARGE (an input above 1 MiB). Example: select id, status from fork_run(''0190…'', input => ''{"total": 90}'', version => 3);';

grant execute on function
  public.pause_run(uuid, text),
  public.resume_run(uuid, text),
  public.retry_run(uuid, text),
  public.fork_run(uuid, text, jsonb, int)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/run_commands.sql
--! Included 95_api/run_operations.sql
-- kind: code
-- Commands on many runs. They answer at once; workers do the work, and the operation shows how far they are.

create or replace function private.run_filter_schema(p_command text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'object',
    'additionalProperties', false,
    'properties', jsonb_build_object(
      'workflowId', '{"type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"}'::jsonb,
      'status', jsonb_build_object('enum', case p_command
        when 'cancel' then '["waiting", "running", "paused"]'::jsonb
        else '["error", "canceled"]'
      end),
      'mode', '{"enum": ["manual", "webhook", "api", "schedule", "retry", "fork", "error", "child"]}'::jsonb,
      'startedAfter', '{"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\d"}'::jsonb,
      'startedBefore', '{"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\d"}'::jsonb,
      'errorCode', '{"type": "string"}'::jsonb,
      'metadata', '{"type": "object"}'::jsonb
    )
  )
$$;
comment on function private.run_filter_schema(text) is 'What the filter of a command on many runs may say.';

create or replace function private.command_runs(p_command text, p_filter jsonb, p_reason text)
  returns public.run_operations
  language plpgsql
  volatile
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_problems jsonb;
begin
  perform private.require_scope('runs:write');
  select jsonb_agg(to_jsonb(p)) into v_problems
  from engine.schema_problems(coalesce(p_filter, 'null'), private.run_filter_schema(p_command)) as p;
  if v_problems is null then
    begin
      perform (p_filter ->> 'startedAfter')::timestamptz, (p_filter ->> 'startedBefore')::timestamptz;
    exception
      when data_exception then
        v_problems := jsonb_build_array(jsonb_build_object('message', sqlerrm));
    end;
  end if;
  if v_problems is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      format('The filter is not valid: %s %s', v_problems -> 0 ->> 'pointer', v_problems -> 0 ->> 'message'),
      'An empty object, {}, is every run that the command fits.',
      jsonb_build_object('problems', v_problems)
    );
  end if;
  return engine.start_operation(
    v_organization_id, p_command, p_filter || jsonb_strip_nulls(jsonb_build_object('reason', p_reason)),
    public.current_user_id()
  );
end
$$;
comment on function private.command_runs(text, jsonb, text) is
  'Begins a command on many runs. Raises UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT.';

create or replace function public.cancel_runs(filter jsonb, reason text default null)
  returns public.run_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs('cancel', filter, reason)
$$;
comment on function public.cancel_runs(jsonb, text) is
  'Cancels the unfinished runs that fit the filter: an object with any of workflowId, status (waiting, running or paused), mode, startedAfter, startedBefore, metadata (that they contain). Returns at once; the row in run_operations counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT. Example: select id, total from cancel_runs(''{"workflowId": "0190…", "status": "waiting"}'', ''wrong import'');';

create or replace function public.retry_runs(filter jsonb)
  returns public.run_operations
  language sql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
  select * from private.command_runs('retry', filter, null)
$$;
comment on function public.retry_runs(jsonb) is
  'Retries the failed runs that fit the filter and were not retried yet, as retry_run does: an object with any of workflowId, status (error, or canceled for those), mode, errorCode, startedAfter, startedBefore, metadata (that they contain). Returns at once; the row in run_operations counts up to total while workers go through the runs, oldest first. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT. Example: select id, total from retry_runs(''{"errorCode": "HTTP_STATUS", "startedAfter": "2026-11-21"}'');';

grant execute on function public.cancel_runs(jsonb, text), public.retry_runs(jsonb) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/run_operations.sql
--! Included 95_api/dead_letters.sql
-- kind: code
-- Failed runs that nobody has dealt with.

create or replace function public.dead_letters(workflow uuid default null)
  returns setof public.workflow_runs
  language sql
  stable
  rows 100
as $$
  select r.*
  from public.workflow_runs as r
  where r.status = 'error'
    and r.retried_by is null
    and r.parent_index is null
    and (workflow is null or r.workflow_id = workflow)
  order by r.id desc
$$;
comment on function public.dead_letters(uuid) is
  'Runs that have failed and were not retried, newest first; of one workflow, if it is given. Runs that another run started are not among them: their failure is its business. retry_run and retry_runs do them again. Example: select id, error ->> ''message'' from dead_letters();';

grant execute on function public.dead_letters(uuid) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/dead_letters.sql
--! Included 95_api/waits.sql
-- kind: code
-- Commands for runs that wait.

create or replace function public.signal_run(run uuid, name text, payload jsonb default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid;
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = signal_run.run;
  perform private.require_access(v_organization_id, 'runs:write', 'run');
  return engine.signal_run(run, name, payload, public.current_user_id());
end
$$;
comment on function public.signal_run(uuid, text, jsonb) is
  'Sends a signal to an unfinished run. The oldest wait for that name goes on with the payload as its output; when there is none, the signal is kept for the next one, first in, first out, 100 at most. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, RUN_FINISHED, LIMIT_REACHED, INVALID_ARGUMENT (the name), TOO_LARGE (a payload above 1 MiB). Example: select status from signal_run(''0190…'', ''paid'', ''{"amount": 120}'');';

create or replace function public.approve_step(
  run uuid,
  node text,
  approved boolean default true,
  comment text default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id uuid;
  v_user_id constant uuid := public.current_user_id();
begin
  select r.organization_id into v_organization_id from public.workflow_runs as r where r.id = approve_step.run;
  perform private.require_access(v_organization_id, 'runs:write', 'run');
  if v_user_id is null and not private.is_dba() then
    perform private.raise_error('FORBIDDEN', 'Only a person can approve.', 'Use the token or the session of a user.');
  end if;
  return engine.approve_step(run, node, coalesce(approved, false), comment, v_user_id);
end
$$;
comment on function public.approve_step(uuid, text, boolean, text) is
  'Decides a wait for an approval: the run goes on at the port approved, or with approved => false at rejected. Only those may whom the node names, and only once. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (not reached yet), ALREADY_USED (details.first is the first decision), EXPIRED, RUN_FINISHED. Example: select status from approve_step(''0190…'', ''check'', false, ''too expensive'');';

grant execute on function public.signal_run(uuid, text, jsonb), public.approve_step(uuid, text, boolean, text)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/waits.sql
--! Included 95_api/run_columns.sql
-- kind: code
-- What a run shows beside its columns, read from its log. Nothing of a run happened before the time in its id, so with
-- a day of margin only the partitions from there on are read. GraphQL shows workflow_runs_x(run) as field x of a run.

-- Inlined into the query that calls it: partitions are pruned at run time, and a list of runs reads the events of all
-- of them in one statement. Within a run ts is the order of seq, and there is an index for it.
create or replace function public.workflow_runs_events(run public.workflow_runs)
  returns setof public.workflow_events
  language sql
  stable
  rows 20
as $$
  select e.*
  from public.workflow_events as e
  where e.run_id = run.id
    and e.ts >= engine.uuid_time(run.id) - interval '1 day'
  order by e.ts
$$;
comment on function public.workflow_runs_events(public.workflow_runs) is
  'The log of the run, in the order of seq. Example: select e.seq, e.type from workflow_runs as r, workflow_runs_events(r) as e where r.id = ''0190…'';';

create or replace function public.workflow_runs_latest_events(run public.workflow_runs)
  returns setof public.workflow_events
  language sql
  stable
  rows 20
as $$
  select e.*
  from public.workflow_events as e
  where e.run_id = run.id
    and e.ts >= engine.uuid_time(run.id) - interval '1 day'
  order by e.ts desc
$$;
comment on function public.workflow_runs_latest_events(public.workflow_runs) is
  'The log of the run, the last event first: what it is about at the moment. Example: select e.seq, e.type from workflow_runs as r, workflow_runs_latest_events(r) as e where r.id = ''0190…'' limit 5;';

create or replace function public.workflow_runs_logs(run public.workflow_runs)
  returns setof public.workflow_run_logs
  language sql
  stable
  rows 20
as $$
  select l.*
  from public.workflow_run_logs as l
  where l.organization_id = run.organization_id
    and l.run_id = run.id
    and l.ts >= engine.uuid_time(run.id) - interval '1 day'
  order by l.ts, l.id
$$;
comment on function public.workflow_runs_logs(public.workflow_runs) is
  'What log nodes and workers wrote about the run, oldest first; kept 30 days. Example: select l.level, l.message from workflow_runs as r, workflow_runs_logs(r) as l where r.id = ''0190…'';';

-- A custom plan for each call: the bounds are known when it is planned, so it locks and plans one or two partitions.
create or replace function public.workflow_runs_input(run public.workflow_runs)
  returns jsonb
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := engine.uuid_time(run.id) - interval '1 day';
  v_to constant timestamptz := engine.uuid_time(run.id) + interval '1 day';
begin
  return (
    select e.payload -> 'input'
    from public.workflow_events as e
    where e.run_id = run.id and e.ts >= v_from and e.ts < v_to and e.seq = 1
  );
end
$$;
comment on function public.workflow_runs_input(public.workflow_runs) is
  'What the run was started with. Example: select workflow_runs_input(r) from workflow_runs as r where r.id = ''0190…'';';

create or replace function public.workflow_runs_output(run public.workflow_runs)
  returns jsonb
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := run.finished_at - interval '1 day';
  v_to constant timestamptz := run.finished_at + interval '1 day';
begin
  if run.status <> 'success' then
    return null;
  end if;
  return (
    select e.payload -> 'output'
    from public.workflow_events as e
    where e.run_id = run.id and e.ts >= v_from and e.ts < v_to and e.type = 'run.succeeded'
  );
end
$$;
comment on function public.workflow_runs_output(public.workflow_runs) is
  'The result of a successful run; null before, after a failure, and when its events have expired. Example: select workflow_runs_output(r) from workflow_runs as r where r.id = ''0190…'';';

create or replace function public.workflow_runs_events_expired(run public.workflow_runs)
  returns boolean
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := engine.uuid_time(run.id) - interval '1 day';
  v_to constant timestamptz := engine.uuid_time(run.id) + interval '1 day';
begin
  return not exists (
    select from public.workflow_events as e where e.run_id = run.id and e.ts >= v_from and e.ts < v_to and e.seq = 1
  );
end
$$;
comment on function public.workflow_runs_events_expired(public.workflow_runs) is
  'Whether the log of the run was dropped by retention; input, output and steps are gone with it. Example: select count(*) from workflow_runs as r where workflow_runs_events_expired(r);';

create or replace function public.workflow_runs_duration_ms(run public.workflow_runs)
  returns double precision
  language sql
  stable
as $$
  select extract(epoch from run.finished_at - run.started_at)::double precision * 1000
$$;
comment on function public.workflow_runs_duration_ms(public.workflow_runs) is
  'Milliseconds from the start to the end of the run, waits included; null before it ends. Example: select avg(workflow_runs_duration_ms(r)) from workflow_runs as r;';

grant execute on function
  public.workflow_runs_events(public.workflow_runs),
  public.workflow_runs_latest_events(public.workflow_runs),
  public.workflow_runs_logs(public.workflow_runs),
  public.workflow_runs_input(public.workflow_runs),
  public.workflow_runs_output(public.workflow_runs),
  public.workflow_runs_events_expired(public.workflow_runs),
  public.workflow_runs_duration_ms(public.workflow_runs)
  to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/run_columns.sql
--! Included 95_api/run_steps.sql
-- kind: code
-- The steps of a run, derived from its log. A node that was skipped or not reached yet has no event, hence no row.

drop view if exists public.workflow_run_steps cascade;
create view public.workflow_run_steps with (security_invoker = true) as
select
  r.id as run_id,
  s.node,
  case
    when s.last_type in ('step.succeeded', 'step.reused') then 'succeeded'
    when s.last_type = 'step.failed' and not s.last_payload ? 'retryAt' then 'failed'
    when r.finished_at is not null then 'canceled'
    when s.last_type = 'step.waiting' then 'waiting'
    when s.last_type = 'step.failed' then 'queued'
    else 'running'
  end as status,
  s.attempt,
  s.last_payload ->> 'port' as port,
  s.last_payload -> 'output' as output,
  s.last_payload -> 'error' as error,
  s.started_at,
  case
    when s.last_type in ('step.succeeded', 'step.reused')
      or s.last_type = 'step.failed' and not s.last_payload ? 'retryAt' then s.last_ts
    else r.finished_at
  end as finished_at
from public.workflow_runs as r
cross join lateral (
  select
    e.payload ->> 'node' as node,
    max((e.payload ->> 'attempt')::int) as attempt,
    min(e.ts) as started_at,
    max(e.ts) as last_ts,
    (array_agg(e.type order by e.seq desc))[1] as last_type,
    (array_agg(e.payload order by e.seq desc))[1] as last_payload
  from public.workflow_events as e
  where e.run_id = r.id
    -- the bound that prunes: see run_columns.sql
    and e.ts >= engine.uuid_time(r.id) - interval '1 day'
    and e.type in ('step.started', 'step.succeeded', 'step.failed', 'step.waiting', 'step.reused')
  group by e.payload ->> 'node'
) as s;

comment on view public.workflow_run_steps is
  'One row per node that a run has reached, from the run''s log. Always give the run: select node, status, output from workflow_run_steps where run_id = ''0190…'' order by started_at;';
comment on column public.workflow_run_steps.run_id is 'The run.';
comment on column public.workflow_run_steps.node is 'The id of the node in the definition.';
comment on column public.workflow_run_steps.status is
  'queued (between two attempts), running, waiting, succeeded, failed, or canceled (the run ended first).';
comment on column public.workflow_run_steps.attempt is 'The number of the last attempt; 1 for pure nodes.';
comment on column public.workflow_run_steps.port is 'The output that the node chose, for example true.';
comment on column public.workflow_run_steps.output is 'What it gave to the nodes after it.';
comment on column public.workflow_run_steps.error is 'Why the last attempt failed: {"code", "message", "retryable", "details"}.';
comment on column public.workflow_run_steps.started_at is 'When it was first heard of.';
comment on column public.workflow_run_steps.finished_at is 'When it ended; null while it has not.';

grant select on public.workflow_run_steps to flowgres_user, flowgres_dba;

create or replace function public.workflow_runs_steps(run public.workflow_runs)
  returns setof public.workflow_run_steps
  language sql
  stable
  rows 10
as $$
  select s.* from public.workflow_run_steps as s where s.run_id = run.id order by s.started_at, s.node
$$;
comment on function public.workflow_runs_steps(public.workflow_runs) is
  'The steps that the run has reached, in the order of their start. Example: select s.node, s.status from workflow_runs as r, workflow_runs_steps(r) as s where r.id = ''0190…'';';

grant execute on function public.workflow_runs_steps(public.workflow_runs) to flowgres_user, flowgres_dba;
--! EndIncluded 95_api/run_steps.sql
--! Included 95_api/scopes.sql
-- kind: code
-- A token reads only what its scopes name. Restrictive policies: they narrow those of the layers, each computed once
-- per query.

drop policy if exists workflows_scope on public.workflows;
create policy workflows_scope on public.workflows
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists workflow_versions_scope on public.workflow_versions;
create policy workflow_versions_scope on public.workflow_versions
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists variables_scope on public.variables;
create policy variables_scope on public.variables
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists webhooks_scope on public.webhooks;
create policy webhooks_scope on public.webhooks
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists schedules_scope on public.schedules;
create policy schedules_scope on public.schedules
  as restrictive for select to flowgres_user
  using ((select private.has_scope('workflows:read')));

drop policy if exists workflow_runs_scope on public.workflow_runs;
create policy workflow_runs_scope on public.workflow_runs
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists workflow_events_scope on public.workflow_events;
create policy workflow_events_scope on public.workflow_events
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists workflow_run_logs_scope on public.workflow_run_logs;
create policy workflow_run_logs_scope on public.workflow_run_logs
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists run_operations_scope on public.run_operations;
create policy run_operations_scope on public.run_operations
  as restrictive for select to flowgres_user
  using ((select private.has_scope('runs:read')));

drop policy if exists organization_users_scope on public.organization_users;
create policy organization_users_scope on public.organization_users
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists teams_scope on public.teams;
create policy teams_scope on public.teams
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists team_users_scope on public.team_users;
create policy team_users_scope on public.team_users
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));

drop policy if exists invitations_scope on public.invitations;
create policy invitations_scope on public.invitations
  as restrictive for select to flowgres_user
  using ((select private.has_scope('organization:read')));
--! EndIncluded 95_api/scopes.sql
--! Included 95_api/audit.sql
-- kind: code
-- The tables under audit: configuration, never runs. What follows from a publication (webhooks, schedules, plans of the
-- engine) is not here, its version is.

select private.audit_table('public.users');
select private.audit_table('public.organizations', p_masked => '{webhook_key}');
select private.audit_table('public.organization_users');
select private.audit_table('public.teams');
select private.audit_table('public.team_users');
select private.audit_table('public.invitations');
select private.audit_table('private.passwords', p_masked => '{hash}');
select private.audit_table('private.identities');
select private.audit_table('private.api_tokens', p_masked => '{token_hash}', p_ignored => '{updated_at,last_used_at}');
select private.audit_table('public.workflows', p_digested => '{definition}');
select private.audit_table('public.workflow_versions', p_digested => '{definition}');
select private.audit_table('public.variables', p_digested => '{value}');
select private.audit_table('public.plans');
select private.audit_table('public.plan_limits');
select private.audit_table('public.organization_limits');
select private.audit_table('public.team_limits');
select private.audit_table('public.subscriptions');
select private.audit_table('engine.node_types', p_digested => '{properties}');
select private.audit_table('partitions.policies');
--! EndIncluded 95_api/audit.sql
--! EndIncluded 95_api/index.sql

reset role;
--! EndIncluded index.sql
