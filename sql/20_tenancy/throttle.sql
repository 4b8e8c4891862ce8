-- kind: code
-- Counts attempts exactly, also of concurrent clients. The caller commits before it judges the
-- attempt, so that no rollback undoes the count. Writes private.throttles; locks the counter's row
-- until the transaction ends.

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
  'Returns the network of the client, 24 bits of an IPv4 address or 48 of an IPv6 one, from the setting flowgres.client_ip of the HTTP server; null in psql.';

-- Returns the key of a counter.
create or replace function private.throttle_key(p_parts text[])
  returns bytea
  language sql
  immutable
  parallel safe
as $$
  -- JSON keeps the parts apart, whatever text a caller chose for one. The kind of attempt is the
  -- first part.
  select private.hash_secret(to_jsonb(p_parts)::text)
$$;

create or replace function private.count_attempt(p_parts text[], p_window interval)
  returns private.throttles
  language sql
  volatile
as $$
  insert into private.throttles as t (key, used, resets_at)
  select private.throttle_key(p_parts), 1, n + p_window
  from engine.now() as n
  on conflict (key) do update
  set
    used = case when t.resets_at > engine.now() then t.used + 1 else 1 end,
    resets_at = case when t.resets_at > engine.now() then t.resets_at else engine.now() + p_window end
  returning t.*
$$;
comment on function private.count_attempt(text[], interval) is
  'Counts one attempt; returns how many there have been in the p_window that began with the first of them.';

create or replace function private.is_within(p_parts text[], p_limit int, p_window interval)
  returns boolean
  language sql
  volatile
as $$
  select (private.count_attempt(p_parts, p_window)).used <= p_limit
$$;
comment on function private.is_within(text[], int, interval) is
  'Counts one attempt, and says whether it is among the first p_limit; for actions that are left out without an error.';

create or replace function private.throttle(p_parts text[], p_limit int, p_window interval)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_throttle constant private.throttles := private.count_attempt(p_parts, p_window);
begin
  if v_throttle.used > p_limit then
    perform private.raise_error(
      'RATE_LIMITED',
      'Too many attempts.',
      'Try again later.',
      jsonb_build_object('retryAfterMs', ceil(extract(epoch from v_throttle.resets_at - engine.now()) * 1000)::bigint)
    );
  end if;
end
$$;
comment on function private.throttle(text[], int, interval) is
  'Counts one attempt. Raises RATE_LIMITED, with retryAfterMs (milliseconds), from the attempt after p_limit on, until p_window after the first has passed.';

create or replace function private.forgive(p_parts text[])
  returns void
  language sql
  volatile
as $$
  update private.throttles as t set used = greatest(t.used - 1, 0) where t.key = private.throttle_key(p_parts)
$$;
comment on function private.forgive(text[]) is
  'Subtracts one attempt that turned out to be legitimate.';
