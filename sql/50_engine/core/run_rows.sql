-- kind: code
-- The row of a run, as it is and after an event, and the row of a step that was reached. Reads
-- public.workflow_runs; writes and locks nothing.

-- Returns the row of a run, without locking it; all null when there is none.
create or replace function engine.read_run(p_run_id uuid)
  returns public.workflow_runs
  language plpgsql
  stable
as $$
declare
  v_run public.workflow_runs;
begin
  select r.* into v_run from public.workflow_runs as r where r.id = p_run_id;
  return v_run;
end
$$;

-- Returns the row of a run after its last event. p_waiting: every open step waits for a time or for
-- something outside.
create or replace function engine.run_after(
  p_run public.workflow_runs,
  p_last engine.log_entry,
  p_waiting boolean
)
  returns public.workflow_runs
  language plpgsql
  immutable
as $$
begin
  case p_last.type
    when 'run.succeeded' then
      p_run.status := 'success';
      p_run.finished_at := p_last.ts;
    when 'run.failed' then
      p_run.status := 'error';
      p_run.finished_at := p_last.ts;
      p_run.error := p_last.payload -> 'error';
      if p_last.payload ? 'node' then
        p_run.error := jsonb_set(p_run.error, '{node}', p_last.payload -> 'node');
      end if;
    when 'run.canceled' then
      p_run.status := 'canceled';
      p_run.finished_at := p_last.ts;
    when 'run.paused' then
      p_run.status := 'paused';
    else
      p_run.status := case when p_waiting then 'waiting' else 'running' end;
  end case;
  return p_run;
end
$$;

-- Returns the row of a step that has just been reached.
create or replace function engine.new_step(
  p_run public.workflow_runs,
  p_opened engine.opened_step,
  p_now timestamptz
)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  v_step.organization_id := p_run.organization_id;
  v_step.run_id := p_run.id;
  v_step.node := p_opened.node;
  v_step.branch := p_opened.node;
  v_step.state := p_opened.state;
  v_step.attempt := 0;
  v_step.failures := 0;
  v_step.crashes := 0;
  v_step.is_isolated := coalesce(p_opened.is_isolated, false);
  v_step.run_at := case p_opened.state when 'queued' then p_now else p_opened.run_at end;
  return v_step;
end
$$;
