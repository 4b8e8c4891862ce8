-- kind: code
-- Executions are counted once per batch and organization, when the first of its requests is about to start: for all of
-- them that may. What the others do not use goes back.

create or replace function engine.give_back(p_admission private.admission, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_admission.admitted > 0 then
    perform private.release(p_admission.organization_id, p_admission.metric, p_admission.admitted, p_now);
  end if;
end
$$;

-- p_before: of the organization that came before this one.
create or replace function engine.admit_starts(
  p_before private.admission,
  p_organization_id uuid,
  p_requests engine.start_request[],
  p_now timestamptz
)
  returns private.admission
  language plpgsql
  volatile
as $$
declare
  v_wanted int := 0;
  v_request engine.start_request;
begin
  perform engine.give_back(p_before, p_now);
  foreach v_request in array p_requests loop
    if v_request.organization_id = p_organization_id
      and v_request.error is null
      and v_request.duplicate_of is null
    then
      v_wanted := v_wanted + 1;
    end if;
  end loop;
  return private.admit_some(p_organization_id, 'executions_per_month', v_wanted, p_now);
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
