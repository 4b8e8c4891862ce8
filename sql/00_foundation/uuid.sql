-- kind: code
-- Makes and reads UUIDv7 with the engine's clock. Tables of runs are partitioned by the time in the
-- id. Writes and locks nothing.

create or replace function engine.uuid_v7(p_at timestamptz default engine.now())
  returns uuid
  language sql
  volatile
  parallel safe
as $$
  -- 48 bits of milliseconds, 4 of the version, 12 for the part of the millisecond; the rest is
  -- random.
  select encode(
    int8send(
      (floor(extract(epoch from p_at) * 1000)::bigint << 16)
      | 28672 -- version 7
      | ((extract(microseconds from p_at)::bigint % 1000) * 4)
    ) || substring(uuid_send(gen_random_uuid()) from 9),
    'hex'
  )::uuid
$$;
comment on function engine.uuid_v7(timestamptz) is
  'Makes a UUIDv7 of the given time, by default the time of the engine''s clock. Ids of later microseconds sort later. Example: select engine.uuid_v7();';

create or replace function engine.uuid_floor(p_at timestamptz)
  returns uuid
  language sql
  immutable
  strict
  parallel safe
as $$
  select encode(
    int8send(floor(extract(epoch from p_at) * 1000)::bigint << 16) || E'\\x0000000000000000'::bytea,
    'hex'
  )::uuid
$$;
comment on function engine.uuid_floor(timestamptz) is
  'Returns the lowest UUIDv7 of a time: the bound of partitions cut by id. Example: engine.uuid_floor(''2026-11-01+00'')';

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
comment on function engine.uuid_time(uuid) is
  'Returns the time in a UUIDv7, in whole milliseconds. The result is meaningless for other versions.';

-- Defaults of columns run with the rights of the DBA who inserts.
grant execute on function engine.uuid_v7(timestamptz), engine.now() to flowgres_dba;
grant execute on function engine.uuid_time(uuid), engine.uuid_floor(timestamptz) to flowgres_user, flowgres_dba;
