-- kind: code
-- Admission: counts and compares in one statement, so that concurrent clients stay within a limit.
-- Writes private.usage_counters and locks their rows until the transaction ends, a team's counter
-- after the organization's. A start locks counters before it writes runs; child runs, retries,
-- forks, error workflows and assign_workflow() while a run or a workflow is locked. Whoever holds a
-- counter waits for neither. Order: docs/reference/locks.md.

-- Admits part or all of p_amount of a metric that is counted by period, and counts it.
create or replace function private.admit_flow(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_start timestamptz,
  p_team_id uuid default null
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_owner_id constant uuid := coalesce(p_team_id, p_organization_id);
  v_admission private.admission := (
    p_organization_id, p_metric, private.limit_of(p_organization_id, p_metric, p_team_id), null, p_start, p_amount,
    p_team_id
  );
begin
  if v_admission.limit is null then
    return v_admission;
  elsif p_team_id is not null then
    -- A batch meets teams in any order. Locking the organization's counter first prevents deadlocks
    -- between teams.
    perform private.lock_counter(p_organization_id, p_organization_id, p_metric);
  end if;
  update private.usage_counters as c
  set used = c.used + p_amount
  where c.organization_id = p_organization_id and c.owner_id = v_owner_id and c.metric = p_metric
    and c.period_start = p_start and c.used + p_amount <= v_admission.limit;
  if found then
    return v_admission;
  end if;

  -- The counter does not exist yet, or the limit has not room for all: admit as many as it has room
  -- for.
  perform private.begin_counter(p_organization_id, p_metric, p_start, p_team_id);
  select c.used into v_admission.used
  from private.usage_counters as c
  where c.organization_id = p_organization_id and c.owner_id = v_owner_id and c.metric = p_metric
    and c.period_start = p_start
  for no key update;
  v_admission.admitted := least(greatest(v_admission.limit - v_admission.used, 0), p_amount);
  if v_admission.admitted > 0 then
    v_admission.used := v_admission.used + v_admission.admitted;
    update private.usage_counters as c
    set used = c.used + v_admission.admitted
    where c.organization_id = p_organization_id and c.owner_id = v_owner_id and c.metric = p_metric
      and c.period_start = p_start;
  end if;
  return v_admission;
end
$$;

-- Creates the counter of a period with what was used in it so far.
create or replace function private.begin_counter(
  p_organization_id uuid,
  p_metric text,
  p_start timestamptz,
  p_team_id uuid
)
  returns void
  language sql
  volatile
as $$
  insert into private.usage_counters (organization_id, owner_id, metric, period_start, used)
  select
    p_organization_id, coalesce(p_team_id, p_organization_id), p_metric, p_start,
    coalesce(private.count_used(m.counter, p_organization_id, private.metric_period(m.period, p_start), p_team_id), 0)
  from private.metrics() as m
  where m.metric = p_metric
    and not exists (
      select
      from private.usage_counters as c
      where c.organization_id = p_organization_id
        and c.owner_id = coalesce(p_team_id, p_organization_id)
        and c.metric = p_metric
        and c.period_start = p_start
    )
  on conflict on constraint usage_counters_pkey do nothing
$$;

-- Locks the counter row of an owner and a metric, and creates it if needed.
create or replace function private.lock_counter(p_organization_id uuid, p_owner_id uuid, p_metric text)
  returns void
  language sql
  volatile
as $$
  insert into private.usage_counters as c (organization_id, owner_id, metric, period_start, used)
  values (p_organization_id, p_owner_id, p_metric, '-infinity', 0)
  on conflict on constraint usage_counters_pkey do update set used = c.used
$$;

-- Admits part or all of p_amount of a metric that is a level. Counts the existing things under the
-- lock; the number in the counter's row is not used.
create or replace function private.admit_level(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_counter text,
  p_team_id uuid default null
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_admission private.admission := (
    p_organization_id, p_metric, private.limit_of(p_organization_id, p_metric, p_team_id), null, null, p_amount,
    p_team_id
  );
begin
  if v_admission.limit is null then
    return v_admission;
  end if;
  perform private.lock_counter(p_organization_id, coalesce(p_team_id, p_organization_id), p_metric);
  -- A separate statement sees what was committed while the lock was waited for.
  v_admission.used := private.count_used(p_counter, p_organization_id, null, p_team_id);
  v_admission.admitted := least(greatest(v_admission.limit - coalesce(v_admission.used, 0), 0), p_amount);
  return v_admission;
end
$$;

create or replace function private.admit_some(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_at timestamptz default engine.now(),
  p_team_id uuid default null
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_metric record;
begin
  select m.* into strict v_metric from private.metrics() as m where m.metric = p_metric;
  if v_metric.period is null then
    return private.admit_level(p_organization_id, p_metric, p_amount, v_metric.counter, p_team_id);
  end if;
  return private.admit_flow(
    p_organization_id, p_metric, p_amount, lower(private.metric_period(v_metric.period, p_at)), p_team_id
  );
end
$$;
comment on function private.admit_some(uuid, text, bigint, timestamptz, uuid) is
  'Admits as many as the limit has room for, counts them, and says how many (admitted). For batches whose items are refused one by one.';

create or replace function private.admit(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint default 1,
  p_team_id uuid default null
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_admission constant private.admission := private.admit_some(
    p_organization_id, p_metric, p_amount, p_team_id => p_team_id
  );
begin
  if v_admission.admitted < p_amount then
    perform private.raise_json_error(private.limit_error(v_admission));
  end if;
end
$$;
comment on function private.admit(uuid, text, bigint, uuid) is
  'Counts p_amount, or raises LIMIT_REACHED with details {"metric", "limit", "used", "resetAt"}, of a team also {"team"}. Call it before adding what is counted, in the same transaction: workflows and members are counted under the lock that it takes.';

create or replace function private.return_quota(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_at timestamptz default engine.now(),
  p_team_id uuid default null
)
  returns void
  language sql
  volatile
as $$
  update private.usage_counters as c
  set used = c.used - p_amount
  from private.metrics() as m
  where m.metric = p_metric
    and m.period is not null
    and c.organization_id = p_organization_id
    and c.owner_id = coalesce(p_team_id, p_organization_id)
    and c.metric = p_metric
    and c.period_start = lower(private.metric_period(m.period, p_at))
$$;
comment on function private.return_quota(uuid, text, bigint, timestamptz, uuid) is
  'Subtracts what was admitted and not used, in the period of p_at. Does nothing for a level: that is counted anew each time.';

-- Deletes counters after a change of limits, so that the next use counts anew: without a limit
-- nothing was counted.
create or replace function private.recount(p_organization_id uuid, p_team_id uuid default null)
  returns void
  language sql
  volatile
as $$
  delete from private.usage_counters as c
  using private.metrics() as m
  where c.organization_id = p_organization_id
    and c.owner_id = coalesce(p_team_id, p_organization_id)
    and m.metric = c.metric
    and m.period is not null
    and m.counter is not null
$$;
