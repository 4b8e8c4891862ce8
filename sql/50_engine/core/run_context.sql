-- kind: code
-- What expressions read as $.run: the run and its resume addresses. Writes and locks nothing.

-- Returns what expressions read as $.run. p_at: the time of the event that made the run go on, so that a replay reads
-- the same.
create or replace function engine.run_context(
  p_run_id uuid,
  p_created jsonb,
  p_created_at timestamptz,
  p_nodes engine.compiled_node[],
  p_resume_key bytea,
  p_at timestamptz
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node engine.compiled_node;
  v_resume jsonb := '{}';
begin
  foreach v_node in array p_nodes loop
    if v_node.kind = 'wait' and v_node.properties ? 'webhook' then
      v_resume := v_resume || jsonb_build_object(
        v_node.id, '/resume/' || engine.resume_token(p_resume_key, p_run_id, v_node.id)
      );
    end if;
  end loop;
  return jsonb_build_object(
    'id', p_run_id,
    'mode', p_created -> 'mode',
    'startedAt', engine.iso_time(p_created_at),
    'now', engine.iso_time(p_at),
    'workflow', p_created -> 'workflowId',
    'resume', v_resume
  );
end
$$;
