-- kind: code
-- Starts a run or holds it, as the limits of its workflow say. A held run exists and is durable
-- like any other one; it waits to be released. Writes engine.flow_runs, engine.flow_starts and
-- jobs. Locks the flow of the workflow for starts by a user, a webhook or the API, and releases
-- other held runs (release.sql); other starts hold locks already, so a job decides for them.

create or replace function engine.insert_flow_run(p_row engine.flow_runs)
  returns void
  language sql
  volatile
as $$
  insert into engine.flow_runs (
    run_id, organization_id, workflow_id, version, priority, is_held, held_until,
    concurrency_key, rate_key, debounce_key
  )
  values (
    p_row.run_id, p_row.organization_id, p_row.workflow_id, p_row.version, p_row.priority, p_row.is_held,
    p_row.held_until, p_row.concurrency_key, p_row.rate_key, p_row.debounce_key
  )
$$;

-- Returns the request with its concurrency key and, if it is held, the reason in its origin.
-- Releases other held runs first: they have waited longer for what this start finds free.
create or replace function engine.apply_flow_control(
  p_request engine.start_request,
  p_compiled engine.compiled_versions
)
  returns engine.start_request
  language plpgsql
  volatile
as $$
declare
  v_flow constant jsonb := p_compiled.settings -> 'flow';
  v_row engine.flow_runs;
  v_reason text;
  v_until timestamptz;
  v_now timestamptz := engine.now();
begin
  v_row.run_id := p_request.run_id;
  v_row.organization_id := p_request.organization_id;
  v_row.workflow_id := p_request.workflow_id;
  v_row.version := p_compiled.version;
  v_row.priority := coalesce(p_request.priority, (p_compiled.settings -> 'priority')::int, 0);
  v_row.concurrency_key := engine.flow_key(v_flow -> 'concurrency', p_request.input);
  v_row.rate_key := engine.flow_key(v_flow -> 'rateLimit', p_request.input);
  v_row.debounce_key := engine.flow_key(v_flow -> 'debounce', p_request.input);
  v_row.held_until := v_now + make_interval(secs => (v_flow -> 'debounce' -> 'ms')::double precision / 1000);

  if p_request.mode in ('manual', 'webhook', 'api') then
    perform engine.lock_flow(v_row.workflow_id);
    v_now := engine.now(); -- read under the lock: starts count in the order of the lock
    if v_row.concurrency_key is not null then
      perform engine.release_held_run(v_row.workflow_id, 'concurrency', v_row.concurrency_key, v_now);
    else
      perform engine.release_held_run(v_row.workflow_id, 'rate', v_row.rate_key, v_now);
    end if;
    select b.reason, b.until into v_reason, v_until from engine.flow_block(v_row, v_flow, v_now) as b;
  else
    -- This transaction holds later locks already, so it does not wait for this one: a job decides,
    -- in a transaction of its own.
    v_reason := case
      when v_flow ? 'debounce' then 'debounce' when v_flow ? 'concurrency' then 'concurrency' else 'rate'
    end;
    v_until := coalesce(v_row.held_until, v_now);
  end if;

  v_row.is_held := v_reason is not null;
  p_request.concurrency_key := v_row.concurrency_key;
  if v_row.is_held then
    p_request.origin := coalesce(p_request.origin, '{}') || jsonb_build_object('held', jsonb_build_object(
      'reason', v_reason,
      'key', case v_reason
        when 'debounce' then v_row.debounce_key when 'rate' then v_row.rate_key else v_row.concurrency_key
      end
    ));
    perform engine.insert_flow_run(v_row);
    if v_reason = 'rate' and v_until > v_now then
      perform engine.add_jobs(array[engine.rate_job(v_row, v_until)]);
    elsif v_until is not null then
      perform engine.add_jobs(array[
        engine.release_job(v_row.workflow_id, 'run', v_row.run_id::text, v_until)
      ]);
    end if;
  else
    perform engine.count_start(v_row, v_flow, v_now);
    if v_row.concurrency_key is not null then
      perform engine.insert_flow_run(v_row);
    end if;
  end if;
  return p_request;
end
$$;
