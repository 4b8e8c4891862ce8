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
