-- kind: code
-- Takes the locks of DDL on tables in use: waits at most 200 ms at a time and rolls back in
-- between, so that queries behind it in the lock queue go on. Locks tables, and a maintenance lock
-- (advisory) per managed table; the order is in docs/reference/locks.md. Writes
-- nothing.

-- Executes statements in up to ten attempts of 200 ms per lock; raises CONFLICT when all failed, or
-- at once when this transaction blocks writers already.
create or replace function partitions.execute_with_lock_timeout(p_statements text)
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
        if v_attempt = 10 or partitions.blocks_others() then
          perform private.raise_error('CONFLICT',
            format('Another transaction held a lock for too long (attempts of 200 ms: %s).', v_attempt),
            'Try again later; pg_stat_activity shows what has been running for long.',
            jsonb_build_object('statements', p_statements));
        end if;
    end;
    -- The failed attempt was rolled back, so nothing it locked stays locked during the pause.
    perform pg_sleep(least(0.05 * 2 ^ (v_attempt - 1), 1) * (0.5 + random() / 2));
  end loop;
end
$$;

-- Says whether this transaction holds a lock that blocks writers; then it must not wait long.
-- Tables that it has created itself do not count: nobody else sees them yet.
create or replace function partitions.blocks_others()
  returns boolean
  language sql
  volatile
as $$
  select exists (
    select
    from pg_locks as l
    join pg_class as c on c.oid = l.relation
    where l.pid = pg_backend_pid()
      and l.locktype = 'relation'
      and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      and (c.relkind = 'p' or age(c.xmin) > age(pg_current_xact_id()::xid))
  )
$$;

-- Lists the tables that foreign keys join to these, and these themselves if there are such keys, in
-- the order in which they are locked: managed tables first, since they are written all the time,
-- and among them what is referred to before what refers.
create or replace function partitions.related_tables(p_parents regclass[])
  returns table (
    relation regclass,
    is_referred_to boolean -- by one of p_parents, and is not one itself
  )
  language sql
  stable
as $$
  with recursive key as (
    select k.conrelid, k.confrelid
    from pg_constraint as k
    where k.contype = 'f'
      and k.conparentid = 0
      and k.conrelid <> k.confrelid
      and (k.conrelid = any (p_parents) or k.confrelid = any (p_parents))
  ),
  place as (
    select k.confrelid as relation, 0 as depth from key as k
    union
    select k.conrelid, p.depth + 1
    from place as p
    join key as k on k.confrelid = p.relation
    -- Foreign keys can form a cycle; the depth ends the recursion.
    where p.depth < 10
  )
  select p.relation::regclass, p.relation <> all (p_parents) and p.relation not in (select k.conrelid from key as k)
  from place as p
  group by p.relation
  order by
    not exists (select from partitions.managed_tables as o where o.parent = p.relation),
    max(p.depth),
    p.relation::regclass::text
$$;

-- Locks tables in order. Waits for the first one only, and not for that one either when this
-- transaction blocks writers; asks for the others with nowait, up to 20 times, 5 ms apart. So it
-- cannot deadlock, whatever others hold.
create or replace function partitions.lock_in_order(p_tables regclass[], p_modes text[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_lock text;
  v_try text;
begin
  for v_place in 1 .. coalesce(cardinality(p_tables), 0) loop
    v_lock := format('lock table only %s in %s mode', p_tables[v_place], p_modes[v_place]);
    v_try := v_lock || ' nowait';
    for v_attempt in 1 .. 20 loop
      begin
        execute v_try;
        exit;
      exception
        when lock_not_available then
          if v_attempt = 20 then
            raise;
          end if;
      end;
      if v_place = 1 and not partitions.blocks_others() then
        execute v_lock;
        exit;
      end if;
      perform pg_sleep(0.005);
    end loop;
  end loop;
end
$$;

-- Locks everything that PostgreSQL would lock one by one while it attaches a partition: the tables
-- that foreign keys join.
create or replace function partitions.lock_to_attach(p_parent regclass)
  returns void
  language sql
  volatile
as $$
  select partitions.lock_in_order(array_agg(k.relation), array_agg(text 'share row exclusive'))
  from partitions.related_tables(array[p_parent]) as k
$$;

-- Locks everything that detaching partitions needs: referred tables in share row exclusive mode,
-- the others in access exclusive mode.
create or replace function partitions.lock_to_detach(p_parents regclass[])
  returns void
  language sql
  volatile
as $$
  select partitions.lock_in_order(
    array_agg(k.relation),
    array_agg(case when k.is_referred_to then 'share row exclusive' else 'access exclusive' end)
  )
  from partitions.related_tables(p_parents) as k
$$;

-- Returns the key of a table's maintenance lock: one session at a time creates, maintains or
-- retires its partitions, until its transaction ends.
create or replace function partitions.lock_key(p_parent regclass)
  returns bigint
  language sql
  immutable
  parallel safe
as $$
  select hashtextextended('partitions of ' || p_parent::oid, 0)
$$;

-- Acquires the maintenance locks of tables without waiting; returns one action `skip` for each
-- table that another session holds.
create or replace function partitions.acquire_maintenance_lock(p_parents regclass[])
  returns setof partitions.action
  language sql
  volatile
as $$
  select (
    parent, null, 'skip', null, null, false, 'Another session holds the maintenance lock of this table.'
  )::partitions.action
  from unnest(p_parents) as parent
  where not pg_try_advisory_xact_lock(partitions.lock_key(parent))
$$;
