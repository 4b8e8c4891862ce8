-- kind: state
-- The token buckets of the rate limit; written by engine.spend_rate_tokens(). Unlogged, so that no
-- request waits for a disk: after a crash every bucket is full again. Locks nothing.

create unlogged table private.rate_buckets (
  key text not null,
  tokens double precision not null,
  granted int not null,
  filled_at timestamptz not null,
  constraint rate_buckets_pkey primary key (key)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table private.rate_buckets enable row level security;

comment on table private.rate_buckets is
  'A token bucket per API token, or per address of anonymous requests; granted is how many tokens the last call got.';
