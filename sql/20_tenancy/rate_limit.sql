-- kind: code
-- The rate limit of requests: a token bucket per caller, shared by all server processes. Writes
-- private.rate_buckets; locks the bucket's row.

create or replace function engine.spend_rate_tokens(
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
comment on function engine.spend_rate_tokens(text, int, double precision, double precision) is
  'Spends up to p_wanted tokens of a bucket that holds p_burst and gains p_per_second. Returns how many it granted and, when none, after how many milliseconds there is one. Example: select * from engine.spend_rate_tokens(''ip:192.0.2.1'', 1, 10, 100);';

grant execute on function engine.spend_rate_tokens(text, int, double precision, double precision) to flowgres_api;
