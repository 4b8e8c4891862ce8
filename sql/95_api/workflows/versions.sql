-- kind: code
-- Rolls a workflow back to an older version, and compares versions. Writes public.workflows and
-- through 60_triggers public.webhooks and public.schedules. Locks the row of the workflow, then
-- publications of the organization (advisory).

create or replace function public.rollback_workflow(id uuid, version int)
  returns public.workflow_versions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_workflow constant public.workflows := private.lock_workflow(id);
  v_version public.workflow_versions;
begin
  perform private.require_within_limit(v_workflow);
  if v_workflow.archived_at is not null then
    perform private.raise_error('CONFLICT', 'The workflow is archived.', 'Create a new one from its definition.');
  end if;
  select v.* into v_version
  from public.workflow_versions as v
  where v.organization_id = v_workflow.organization_id
    and v.workflow_id = v_workflow.id
    and v.version = rollback_workflow.version;
  if v_version.version is null then
    perform private.raise_error('NOT_FOUND', 'The workflow has no such version.');
  end if;
  if v_workflow.published_version is distinct from v_version.version then
    update public.workflows as w
    set published_version = v_version.version, updated_at = now()
    where w.id = v_workflow.id;
    perform engine.register_webhooks(v_version.organization_id, v_version.workflow_id, v_version.version);
    perform engine.register_schedules(v_version.organization_id, v_version.workflow_id, v_version.version);
  end if;
  return v_version;
end
$$;
comment on function public.rollback_workflow(uuid, int) is
  'Makes a version that was published earlier, with its webhooks and schedules, the one that new runs use. The draft does not change; unfinished runs keep their version. Repeating it changes nothing. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or the version), CONFLICT (archived, or a webhook path that another workflow serves by now), LIMIT_REACHED (beyond the plan: read-only). Example: select version from rollback_workflow(''0190…'', 2);';

-- Rewrites a definition so that each place has a name: nodes by their id, connections by what they
-- connect. An element that only changed its place in a list is then no difference, and one that was
-- inserted is one difference.
create or replace function private.pointers(p_definition jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select (p_definition - 'nodes' - 'connections')
    || jsonb_build_object(
      'nodes', (
        select jsonb_object_agg(coalesce(n.node ->> 'id', '#' || n.place), n.node - 'id')
        from jsonb_path_query(p_definition, 'lax $.nodes[*] ? (@.type() == "object")')
          with ordinality as n (node, place)
      ),
      'connections', (
        select jsonb_object_agg(
          format(
            '%s.%s -> %s.%s',
            c.connection ->> 'source', coalesce(c.connection ->> 'sourceOutput', 'main'),
            c.connection ->> 'target', coalesce(c.connection ->> 'targetInput', 'main')
          ),
          c.connection
        )
        from jsonb_path_query(p_definition, 'lax $.connections[*] ? (@.type() == "object")') as c (connection)
      )
    )
$$;

-- The members of an object, or the items of an array by their 0-based places.
create or replace function private.members_of(p_value jsonb)
  returns table (key text, value jsonb)
  language sql
  immutable
as $$
  select m.key, m.value from jsonb_each(case jsonb_typeof(p_value) when 'object' then p_value end) as m
  union all
  select (m.place - 1)::text, m.value
  from jsonb_array_elements(case jsonb_typeof(p_value) when 'array' then p_value end)
    with ordinality as m (value, place)
$$;

-- Compares members of two containers of the same kind, recursively; two other values that differ
-- are one difference.
create or replace function private.differences(p_before jsonb, p_after jsonb)
  returns table (pointer text, before jsonb, after jsonb)
  language sql
  immutable
as $$
  with recursive pair as (
    select '' as pointer, p_before as before, p_after as after
    union all
    select p.pointer || '/' || replace(replace(m.key, '~', '~0'), '/', '~1'), m.before, m.after
    from pair as p
    cross join lateral (
      select coalesce(b.key, a.key) as key, b.value as before, a.value as after
      from private.members_of(p.before) as b
      full join private.members_of(p.after) as a on a.key = b.key
    ) as m
    where m.before is distinct from m.after
      and p.before <> p.after
      and jsonb_typeof(p.before) = jsonb_typeof(p.after)
  )
  select p.pointer, p.before, p.after
  from pair as p
  where p.before is distinct from p.after
    and not coalesce(
      jsonb_typeof(p.before) = jsonb_typeof(p.after) and jsonb_typeof(p.before) in ('object', 'array'), false
    )
$$;

create or replace function public.workflow_version_diff(workflow uuid, from_version int, to_version int default null)
  returns setof public.workflow_difference
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
  rows 20
as $$
declare
  v_workflow public.workflows;
  v_from jsonb;
  v_to jsonb;
begin
  select w.* into v_workflow from public.workflows as w where w.id = workflow_version_diff.workflow;
  perform private.require_access(v_workflow.organization_id, 'workflows:read', 'workflow');
  select v.definition into v_from
  from public.workflow_versions as v
  where (v.organization_id, v.workflow_id, v.version) = (v_workflow.organization_id, v_workflow.id, from_version);
  if to_version is null then
    v_to := v_workflow.definition;
  else
    select v.definition into v_to
    from public.workflow_versions as v
    where (v.organization_id, v.workflow_id, v.version) = (v_workflow.organization_id, v_workflow.id, to_version);
  end if;
  if v_from is null or v_to is null then
    perform private.raise_error('NOT_FOUND', 'The workflow has no such version.');
  end if;
  return query
  select
    d.pointer, case when d.before is null then 'added' when d.after is null then 'removed' else 'changed' end,
    d.before, d.after
  from private.differences(private.pointers(v_from), private.pointers(v_to)) as d
  order by d.pointer collate "C";
end
$$;
comment on function public.workflow_version_diff(uuid, int, int) is
  'Compares two versions, or a version and the draft when to_version is not given. Returns no row when they are equal. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (the workflow or a version). Example: select pointer, kind, before, after from workflow_version_diff(''0190…'', 1, 2);';

grant execute on function
  public.rollback_workflow(uuid, int),
  public.workflow_version_diff(uuid, int, int)
  to flowgres_user, flowgres_dba;
