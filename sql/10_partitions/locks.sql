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
