-- kind: code
-- Deletes expired rows, a batch at a time: keys of starts, sessions, tokens, codes, mails,
-- counters. Writes the tables that private.expiries() lists, and locks the rows that it deletes.

-- Keeps API tokens visible for 30 days after they have expired or were revoked. A rate bucket that
-- was not used for an hour is full, so a new one is the same.
create or replace function private.expiries()
  returns table (thing text, relation regclass, condition text)
  language sql
  stable
as $$
  values
    ('start keys', 'engine.start_keys'::regclass, 'expires_at < $1'),
    ('child starts', 'engine.child_starts', $condition$at < $1 - interval '7 days'$condition$),
    (
      'usage counters',
      'private.usage_counters',
      $condition$period_start > '-infinity' and period_start < $1 - interval '2 months'$condition$
    ),
    ('webhook deliveries', 'public.webhook_deliveries', $condition$received_at < $1 - interval '7 days'$condition$),
    ('webhook keys', 'private.retired_webhook_keys', 'expires_at < $1'),
    ('logins at providers', 'private.credential_authorizations', 'expires_at < $1'),
    ('sessions', 'private.sessions', 'expires_at < $1'),
    ('API tokens', 'private.api_tokens', $condition$least(expires_at, revoked_at) < $1 - interval '30 days'$condition$),
    ('e-mail codes', 'private.email_codes', $condition$expires_at < $1 - interval '1 day'$condition$),
    ('mails', 'private.outbox', $condition$created_at < $1 - interval '7 days'$condition$),
    ('throttles', 'private.throttles', 'resets_at < $1'),
    ('rate buckets', 'private.rate_buckets', $condition$filled_at < $1 - interval '1 hour'$condition$)
$$;
comment on function private.expiries() is
  'What expires: a name, the table, and the condition for a row that has expired at the moment $1. Example: select * from private.expiries();';

-- Leaves a row that another transaction has changed since it was found to the next batch.
create or replace function private.delete_expired_of(p_thing text, p_limit int)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_statement constant text := (
    select format('delete from %1$s where ctid = any (array(select ctid from %1$s where %2$s limit $2))',
      e.relation, e.condition)
    from private.expiries() as e
    where e.thing = p_thing
  );
  v_deleted bigint;
begin
  execute v_statement using engine.now(), p_limit;
  get diagnostics v_deleted = row_count;
  return v_deleted;
end
$$;
comment on function private.delete_expired_of(text, int) is
  'Deletes at most p_limit expired rows of one thing of private.expiries() and returns how many. Example: select private.delete_expired_of(''sessions'', 1000);';

create or replace function engine.delete_expired(p_limit int default 10000, p_thing text default null)
  returns table (thing text, deleted bigint)
  language sql
  volatile
  security definer -- definer because sessions, tokens and keys are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select e.thing, private.delete_expired_of(e.thing, p_limit)
  from private.expiries() as e
  where (p_thing is null or e.thing = p_thing)
    and (select engine.copy_problem()) is null
$$;
comment on function engine.delete_expired(int, text) is
  'Deletes expired idempotency keys, sessions and throttles, webhook keys whose grace period is over, logins at OAuth2 providers that were begun, counts of child runs, listed webhook deliveries and mails older than 7 days, API tokens that expired or were revoked 30 days ago, e-mail codes that expired 1 day ago, rate buckets that were not used for an hour, and usage counters of periods that began 2 months ago; at most p_limit (10,000) of each, or of p_thing alone. Returns how many of each; deletes nothing in a copy that was not adopted. The procedure delete_all_expired() goes on until nothing is left. Example: select * from engine.delete_expired();';

-- Finishes one table before the next, so that one without an index on its time is not read again
-- for each batch of another. Commits after each batch.
create or replace procedure engine.delete_all_expired(p_batch int default 2000)
  language plpgsql
as $$
declare
  v_batch constant int := greatest(coalesce(p_batch, 2000), 1);
  v_thing text;
  v_deleted bigint;
begin
  foreach v_thing in array engine.expiring_things() loop
    loop
      select d.deleted into v_deleted from engine.delete_expired(v_batch, v_thing) as d;
      commit;
      -- In a copy that was not adopted, delete_expired() deletes nothing and returns no row.
      exit when coalesce(v_deleted, 0) < v_batch;
    end loop;
  end loop;
end
$$;
comment on procedure engine.delete_all_expired(int) is
  'Deletes everything that engine.delete_expired() deletes, in one transaction for each p_batch (2,000) rows of one table, so that none takes long; it cannot be called within a transaction. Example: call engine.delete_all_expired();';

create or replace function engine.expiring_things()
  returns text[]
  language sql
  stable
  security definer -- definer because schema private is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select array_agg(e.thing) from private.expiries() as e
$$;
comment on function engine.expiring_things() is
  'The names of what engine.delete_expired() deletes, for its p_thing. Example: select engine.expiring_things();';

grant execute on function engine.delete_expired(int, text), engine.expiring_things()
  to flowgres_maintenance, flowgres_dba;
grant execute on procedure engine.delete_all_expired(int) to flowgres_maintenance, flowgres_dba;
