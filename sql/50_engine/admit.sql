-- kind: code
-- Executions are counted once per batch and organization, when the first of its requests is about to start: as many as
-- the batch may start. What it does not, goes back in the same transaction.

create or replace function engine.give_back(p_admission private.admission, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_admission.admitted > 0 and p_admission.limit is not null then
    perform private.release(p_admission.organization_id, p_admission.metric, p_admission.admitted, p_now);
  end if;
end
$$;

-- p_before: of the organization that came before this one.
create or replace function engine.admit_starts(
  p_before private.admission,
  p_organization_id uuid,
  p_wanted int,
  p_now timestamptz
)
  returns private.admission
  language plpgsql
  volatile
as $$
begin
  perform engine.give_back(p_before, p_now);
  return private.admit_flow(
    p_organization_id, 'executions_per_month', p_wanted, date_trunc('month', p_now, 'UTC')
  );
end
$$;

-- Null while there is one left.
create or replace function engine.admission_error(p_admission private.admission)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return case when p_admission.admitted <= 0 then private.limit_error(p_admission) end;
end
$$;

create or replace function engine.count_executions(p_organization_id uuid, p_span tstzrange)
  returns bigint
  language sql
  stable
as $$
  select count(*)
  from public.workflow_runs as r
  where r.organization_id = p_organization_id
    and r.id >= engine.uuid_floor(lower(p_span))
    and r.id < engine.uuid_floor(upper(p_span))
$$;
comment on function engine.count_executions(uuid, tstzrange) is
  'How many runs of an organization began in a span of time: what executions_per_month counts.';
