-- kind: state
-- The engine's clock: real time, unless a test has frozen it by a row in private.test_mode. No
-- migration and no function writes that table. Writes and locks nothing.

create table private.test_mode (
  only_row boolean not null default true,
  frozen_at timestamptz not null,
  constraint test_mode_pkey primary key (only_row),
  constraint test_mode_only_row_check check (only_row)
);
comment on table private.test_mode is
  'Is empty outside of tests. A test inserts its one row to freeze engine.now().';
alter table private.test_mode enable row level security;

-- PL/pgSQL keeps the query plan; every batch calls this, and SQL took five times as long.
create function engine.now()
  returns timestamptz
  language plpgsql
  volatile
  security definer -- definer because private.test_mode is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
begin
  return coalesce((select t.frozen_at from private.test_mode as t), clock_timestamp());
end
$$;
comment on function engine.now() is
  'Returns the time of the engine''s clock: the real time, or the frozen one in a test.';
