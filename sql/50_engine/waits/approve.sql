-- kind: code
-- Approvals: a user decides, once, whether a waiting run continues at port approved or rejected.
-- Writes events, the row of the run, open steps and jobs through engine.write_transitions(). Locks
-- the row of the run (engine.load_runs()).

-- Ends the wait of an approval node and returns the run. p_user_id: the user who decides; null for
-- a DBA, who needs no permission. p_comment is cut to 10,000 characters.
-- Errors: NOT_FOUND (no run, no such approval), ALREADY_USED, EXPIRED, RUN_FINISHED, CONFLICT (the
-- run has not reached the node), FORBIDDEN.
create or replace function engine.approve_step(
  p_run_id uuid,
  p_node text,
  p_approved boolean,
  p_comment text,
  p_user_id uuid
)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
  v_compiled engine.compiled_versions;
  v_step engine.open_steps;
  v_opened engine.opened_step;
  v_transition engine.transition;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  v_compiled := engine.compiled_version_of(v_loaded.run);
  if not coalesce(
    (v_compiled.nodes[array_position(v_compiled.ids, p_node)]).properties ? 'approval'
      and (v_compiled.nodes[array_position(v_compiled.ids, p_node)]).type like 'wait@%',
    false
  ) then
    perform private.raise_error('NOT_FOUND', format('The run has no approval %L.', p_node));
  end if;
  perform engine.refuse_late(engine.first_outcome(v_loaded.log, p_node));
  perform engine.refuse_finished(v_loaded.run);
  v_step := engine.step_of(v_loaded.steps, p_node);
  if v_step.node is null then
    perform private.raise_error('CONFLICT', 'The run has not come to this approval.');
  elsif v_step.run_at <= v_now then
    perform private.raise_error('EXPIRED', 'The time for this is up.');
  end if;
  v_opened := engine.opened_step_of(v_compiled, p_run_id, v_loaded.log, p_node);
  if p_user_id is not null
    and not engine.may_approve((v_loaded.run).organization_id, p_user_id, v_opened.properties -> 'approval')
  then
    perform private.raise_error('FORBIDDEN', 'This approval is not yours to give.', null, jsonb_build_object(
      'approval', v_opened.properties -> 'approval'
    ));
  end if;

  v_step.attempt := 1;
  v_transition := engine.apply_result(v_loaded, v_compiled, v_step, jsonb_build_object(
    'ok', true,
    'port', case when p_approved then 'approved' else 'rejected' end,
    'output', jsonb_build_object(
      'approved', p_approved, 'by', p_user_id, 'comment', left(p_comment, engine.max_text_length()),
      'at', engine.iso_time(v_now)
    )
  ), null, v_now);
  perform engine.write_transitions(array[v_transition], v_now);
  return v_transition.run;
end
$$;

-- Returns whether a member of the organization may decide an approval: p_approval.users has the
-- member's e-mail or id, or the member has p_approval.role or a higher one. Without users and role,
-- admins and owners may decide; with users alone, only these users.
create or replace function engine.may_approve(p_organization_id uuid, p_user_id uuid, p_approval jsonb)
  returns boolean
  language sql
  stable
as $$
  select exists (
    select
    from public.organization_users as m
    join public.users as u on u.id = m.user_id
    where m.organization_id = p_organization_id
      and m.user_id = p_user_id
      and (
        array_position('{member,admin,owner}', m.role) >= array_position(
          '{member,admin,owner}',
          coalesce(p_approval ->> 'role', case when not p_approval ? 'users' then 'admin' end)
        )
        or exists (
          select
          from jsonb_path_query(p_approval, 'lax $.users[*]') as n (name)
          where lower((n.name #>> '{}') collate "C") in (lower(u.email collate "C"), u.id::text)
        )
      )
  )
$$;
