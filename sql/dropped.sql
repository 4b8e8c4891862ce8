-- kind: drops
-- What earlier releases had and this one has not: a line each, in the order in which they can go. `flowgres migrate`
-- runs the list when it has changed, after the migrations and before the code, and applies again every file of kind
-- code that names what a line has removed. A function whose arguments or result change has its old signature here.
-- The list holds `drop … if exists …;` only, without cascade: a policy or a view that stands in the way is dropped by
-- a line above.

-- The importer of n8n's workflows
drop function if exists private.n8n_node(text, jsonb, jsonb, text);
drop function if exists private.n8n_problems(int, jsonb, jsonb, text);
drop function if exists private.n8n_connections(jsonb, jsonb, jsonb);
drop function if exists private.n8n_definition_node(jsonb, text, jsonb, text);
drop function if exists private.n8n_named(jsonb);
drop function if exists private.n8n_schedule(jsonb);
drop function if exists private.n8n_merge(jsonb);
drop function if exists private.n8n_http_request(jsonb, jsonb, text);
drop function if exists private.n8n_set(jsonb, jsonb, text);
drop function if exists private.n8n_if(jsonb, jsonb, text);
drop function if exists private.n8n_condition(text, text, text);
drop function if exists private.n8n_operand(jsonb, text, jsonb, text);
drop function if exists private.n8n_pairs(jsonb, jsonb, text);
drop function if exists private.n8n_value(jsonb, jsonb, text);
drop function if exists private.n8n_expression(text, jsonb, text);
drop function if exists private.n8n_path(text, jsonb, text);
drop function if exists engine.depth_of(public.workflow_runs);
drop function if exists engine.schema_problems(jsonb, jsonb, text[], boolean, text);
