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

  delete from engine.child_starts as c
  where (c.root_run_id, c.id) in (
    select e.root_run_id, e.id
    from engine.child_starts as e
    where e.at < v_now - interval '7 days'
    order by e.at
    limit p_limit
  );
  get diagnostics deleted = row_count;
  thing := 'child starts';
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

  delete from private.retired_webhook_keys as k where k.expires_at < v_now;
  get diagnostics deleted = row_count;
  thing := 'webhook keys';
  return next;

  return query select * from private.delete_expired_secrets(p_limit);
end
$$;
comment on function engine.delete_expired(int) is
  'Deletes expired idempotency keys and sessions, counts of child runs of last week, API tokens that expired or were revoked 30 days ago, e-mail codes, mails of last week, webhook keys whose grace period is over, rate buckets that are full again, and counters of attempts and of periods 2 months ago; at most p_limit of each (10,000), the rest in the next hour. Example: select * from engine.delete_expired();';

grant execute on function engine.delete_expired(int) to flowgres_maintenance, flowgres_dba;
