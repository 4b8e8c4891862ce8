-- kind: code
-- Documents of workflows: what apply_workflows and plan_workflows take. Writes and locks nothing.

create or replace function engine.max_documents()
  returns int language sql immutable parallel safe return 500;
comment on function engine.max_documents() is
  'Limit, workflows, whoever publishes a workflow: that are applied at once.';

create or replace function private.read_documents(p_documents jsonb)
  returns table (name text, description text, tags text[], definition jsonb)
  language sql
  immutable
as $$
  select
    d.document ->> 'name', d.document ->> 'description',
    array(select distinct btrim(t.tag) from jsonb_array_elements_text(d.document -> 'tags') as t (tag) order by 1),
    d.document -> 'definition'
  from jsonb_array_elements(p_documents) as d (document)
$$;
comment on function private.read_documents(jsonb) is
  'The documents as rows; their shape has been checked.';

-- Raises VALIDATION_FAILED unless documents, variables and project have the shape that is described.
create or replace function private.check_documents(p_documents jsonb, p_variables jsonb, p_project text)
  returns void
  language plpgsql
  stable
as $$
declare
  v_problems constant jsonb := (
    select jsonb_agg(to_jsonb(p)) from engine.schema_problems(p_documents, private.documents_schema()) as p
  );
  v_doubled text;
begin
  if v_problems is not null then
    perform private.raise_error(
      'VALIDATION_FAILED',
      format('The documents: %s: %s', v_problems -> 0 ->> 'pointer', v_problems -> 0 ->> 'message'),
      'Each is {"name", "description", "tags", "definition"}.', jsonb_build_object('problems', v_problems)
    );
  elsif jsonb_typeof(p_variables) is distinct from 'object' then
    perform private.raise_error(
      'VALIDATION_FAILED', 'Variables are an object: {"rate": 0.19}.', null, '{"field": "variables"}'
    );
  elsif not coalesce(private.is_name(p_project) and length(p_project) <= 100, false) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'A project has a name of 1 to 100 characters.', null, '{"field": "project"}'
    );
  end if;
  select d.name into v_doubled from private.read_documents(p_documents) as d group by d.name having count(*) > 1;
  if v_doubled is not null then
    perform private.raise_error(
      'VALIDATION_FAILED', format('Two documents have the name %L.', v_doubled), 'A workflow is found by its name.',
      jsonb_build_object('workflow', v_doubled)
    );
  end if;
end
$$;

create or replace function private.documents_schema()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object(
    'type', 'array',
    'maxItems', engine.max_documents(),
    'items', '{
      "type": "object", "required": ["name", "definition"], "additionalProperties": false,
      "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
        "description": {"type": ["string", "null"], "maxLength": 5000},
        "tags": {"type": "array", "maxItems": 20, "items": {"type": "string", "minLength": 1, "maxLength": 50}},
        "definition": {"type": "object"}
      }
    }'::jsonb
  )
$$;
