-- Validation: the problems of a definition.

--!include 30_workflows/validate/definition_schema.sql
--!include 30_workflows/validate/schedule_problem.sql
--!include 30_workflows/validate/webhook_problems.sql
--!include 30_workflows/validate/validate_nodes.sql
--!include 30_workflows/validate/validate_graph.sql
--!include 30_workflows/validate/validate_settings.sql
--!include 30_workflows/validate/notices_of_graph.sql
--!include 30_workflows/validate/validate.sql
