-- kind: code
-- Admission: counts and compares in one statement, so that any number of clients at once stay within the limit.
-- Lock order: a counter's row stands for its organization, so it is locked before workflows and runs.

create or replace function private.used_elsewhere(p_counter private.usage_counters)
  returns bigint
  language sql
  stable
as $$
  select coalesce(sum(c.used), 0)::bigint
  from private.usage_counters as c
  where c.organization_id = p_counter.organization_id
    and c.metric = p_counter.metric
    and c.period_start = p_counter.period_start
    and c.slot <> p_counter.slot
$$;

create or replace function private.admit_flow(p_admission private.admission, p_amount bigint, p_start timestamptz)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_admission private.admission := p_admission;
begin
  v_admission.admitted := p_amount;
  if v_admission.limit is null then
    insert into private.usage_counters as c (organization_id, metric, period_start, slot, used)
    values (v_admission.organization_id, v_admission.metric, p_start, 1 + pg_backend_pid() % 8, p_amount)
    on conflict on constraint usage_counters_pkey do update set used = c.used + excluded.used;
    return v_admission;
  end if;

  update private.usage_counters as c
  set used = c.used + p_amount
  where c.organization_id = v_admission.organization_id
    and c.metric = v_admission.metric and c.period_start = p_start and c.slot = 0
    -- What other slots have is left from a time without a limit, earlier in the period.
    and c.used + p_amount + private.used_elsewhere(c) <= v_admission.limit;
  if found then
    return v_admission;
  end if;

  -- It is the first of the period, or there is not room for all: then for as many as there is.
  insert into private.usage_counters (organization_id, metric, period_start, slot, used)
  values (v_admission.organization_id, v_admission.metric, p_start, 0, 0)
  on conflict on constraint usage_counters_pkey do nothing;
  select c.used + private.used_elsewhere(c) into v_admission.used
  from private.usage_counters as c
  where c.organization_id = v_admission.organization_id
    and c.metric = v_admission.metric and c.period_start = p_start and c.slot = 0
  for no key update;
  v_admission.admitted := least(greatest(v_admission.limit - v_admission.used, 0), p_amount);
  if v_admission.admitted > 0 then
    update private.usage_counters as c
    set used = c.used + v_admission.admitted
    where c.organization_id = v_admission.organization_id
      and c.metric = v_admission.metric and c.period_start = p_start and c.slot = 0;
  end if;
  return v_admission;
end
$$;

-- The row is the lock under which the organization's things are counted; the number in it is for nobody.
create or replace function private.admit_level(p_admission private.admission, p_amount bigint, p_counter text)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_admission private.admission := p_admission;
begin
  v_admission.admitted := p_amount;
  if v_admission.limit is null then
    return v_admission;
  end if;
  insert into private.usage_counters as c (organization_id, metric, period_start, slot, used)
  values (v_admission.organization_id, v_admission.metric, '-infinity', 0, 0)
  on conflict on constraint usage_counters_pkey do update set used = c.used;
  -- A statement of its own: it sees what was committed while this one waited.
  v_admission.used := private.count_level(p_counter, v_admission.organization_id);
  v_admission.admitted := least(greatest(v_admission.limit - coalesce(v_admission.used, 0), 0), p_amount);
  return v_admission;
end
$$;

create or replace function private.admit_some(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_at timestamptz default engine.now()
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_metric record;
  v_period tstzrange;
  v_admission private.admission;
begin
  select m.* into strict v_metric from private.metrics() as m where m.metric = p_metric;
  v_period := private.metric_period(v_metric.period, p_at);
  v_admission.organization_id := p_organization_id;
  v_admission.metric := p_metric;
  v_admission.limit := private.limit_of(p_organization_id, p_metric);
  v_admission.resets_at := upper(v_period);
  if v_metric.period is null then
    return private.admit_level(v_admission, p_amount, v_metric.counter);
  end if;
  return private.admit_flow(v_admission, p_amount, lower(v_period));
end
$$;
comment on function private.admit_some(uuid, text, bigint, timestamptz) is
  'Admits as many as the limit has room for, and says how many (admitted); counts them. For batches that refuse one by one.';

create or replace function private.admit(p_organization_id uuid, p_metric text, p_amount bigint default 1)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_admission constant private.admission := private.admit_some(p_organization_id, p_metric, p_amount);
  v_error jsonb;
begin
  if v_admission.admitted < p_amount then
    v_error := private.limit_error(v_admission);
    perform private.raise_error(
      v_error ->> 'code', v_error ->> 'message', v_error ->> 'hint', v_error -> 'details'
    );
  end if;
end
$$;
comment on function private.admit(uuid, text, bigint) is
  'Counts, or raises LIMIT_REACHED with details {"metric", "limit", "used", "resetAt"}. Call it before adding what is counted, in the same transaction: workflows and members are counted under the lock that it takes.';

create or replace function private.release(
  p_organization_id uuid,
  p_metric text,
  p_amount bigint,
  p_at timestamptz default engine.now()
)
  returns void
  language sql
  volatile
as $$
  -- Into the slot that admission takes: the sum is what counts.
  insert into private.usage_counters as c (organization_id, metric, period_start, slot, used)
  select
    p_organization_id, p_metric, lower(private.metric_period(m.period, p_at)),
    case when private.limit_of(p_organization_id, p_metric) is null then 1 + pg_backend_pid() % 8 else 0 end, -p_amount
  from private.metrics() as m
  where m.metric = p_metric and m.period is not null
  on conflict on constraint usage_counters_pkey do update set used = c.used + excluded.used
$$;
comment on function private.release(uuid, text, bigint, timestamptz) is
  'Gives back what was admitted and not used, in the period of p_at. A level needs none: it is counted anew each time.';
