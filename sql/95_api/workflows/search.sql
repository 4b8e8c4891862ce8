-- kind: code
-- Finds workflows by words and tags. Runs as the owner with the organization as a condition: for
-- flowgres_user no condition on a list or a part of a text can use an index, because their
-- operators are not leakproof and row-level security has to be applied first. Writes and locks
-- nothing.

create or replace function public.search_workflows(
  query text default null,
  tags text[] default null,
  archived boolean default false
)
  returns setof public.workflows
  language plpgsql
  stable
  security definer -- definer because of what stands above; the organization is the request's own
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan -- so that conditions that were not given cost nothing
  rows 50
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_tags constant text[] := private.tag_keys(v_organization_id, private.clean_tags(search_workflows.tags));
  v_pattern constant text := '%' || regexp_replace(btrim(query), E'([\\\\%_])', E'\\\\\\1', 'g') || '%';
begin
  perform private.require_scope('workflows:read');
  if length(query) > 200 then
    perform private.raise_error('INVALID_ARGUMENT', 'A search has at most 200 characters.');
  end if;
  return query
  select w.*
  from public.workflows as w
  where w.organization_id = v_organization_id
    and (cardinality(v_tags) = 0 or private.tag_keys(w.organization_id, w.tags) @> v_tags)
    and (v_pattern is null or w.name collate engine.unicode ilike v_pattern
      or w.description collate engine.unicode ilike v_pattern)
    and (w.archived_at is not null) = coalesce(archived, false)
  order by w.created_at desc, w.id desc;
end
$$;
comment on function public.search_workflows(text, text[], boolean) is
  'The workflows of the organization whose name or description contains query, without regard to case, and that have all of the tags; with archived true only archived ones, else only the others. Newest first. Scope: workflows:read. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT (a text above 200 characters), VALIDATION_FAILED (impossible tags). Example: select name from search_workflows(''invoice'', ''{finance}'');';

grant execute on function public.search_workflows(text, text[], boolean) to flowgres_user, flowgres_dba;
